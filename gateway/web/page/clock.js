// @ts-check
// The server's clock as the page knows it, and one ticker for everything that shows time.

import { useEffect, useState } from "./dom.js";

let offset_ms = 0;

/** Learn the server's time from an answer. @param {number | undefined} server_ms */
export function learn(server_ms) {
  if (typeof server_ms === "number" && Number.isFinite(server_ms)) offset_ms = server_ms - Date.now();
}

/** Epoch ms by the server's clock. */
export const now = () => Date.now() + offset_ms;

/** @type {Set<() => void>} */
const each = new Set();
setInterval(() => { for (const f of [...each]) f(); }, 1000);

/** Calls `f` once a second. @param {() => void} f */
export function everySecond(f) {
  each.add(f);
  return () => { each.delete(f); };
}

/** The current time, rendering again each second. */
export function useNow() {
  const [at, set] = useState(now());
  useEffect(() => everySecond(() => set(now())), []);
  return at;
}
