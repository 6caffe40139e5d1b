// @ts-check
// The keyboard: one table that the page obeys and the `?` overlay prints.

import { openDialog, LAYOUTS, emptyTile, focusTile, setLayout, store, toggleSingle, focused } from "./state.js";
import { byOwnName } from "./shapes.js";
import { assistFocused, clipFocused, faster, jump, live, snapshotFocused, step, togglePause } from "./timeline.js";
import { toggleSound } from "./sound.js";
import { MINUTE, SECOND } from "./time.js";

/** @param {string} id */
const go = (id) => {
  const element = /** @type {HTMLInputElement | null} */ (document.getElementById(id));
  element?.focus();
  element?.select?.();
};

/** Columns of a layout. @type {Record<string, number>} */
const COLUMNS = { 1: 1, 4: 2, 6: 3, 9: 3, 16: 4 };

/** @param {number} dx @param {number} dy */
function walk(dx, dy) {
  const { tiles, focus, layout, single } = store.get();
  const shown = tiles.slice(0, LAYOUTS[layout]);
  const at = shown.findIndex((one) => one.key === focus);
  const next = at < 0 ? 0 : Math.max(0, Math.min(shown.length - 1, at + dx + dy * COLUMNS[layout]));
  focusTile(shown[next].key);
  // What is enlarged is what the keys act on: it walks along, or they would act on a tile that nobody sees.
  if (single !== null) store.set({ single: shown[next].key });
  /** @type {HTMLElement | null} */ (document.querySelector(`[data-tile="${next}"]`))?.focus({ preventScroll: true });
}

const withFocus = (/** @type {(key: number) => void} */ act) => () => {
  const { focus } = store.get();
  if (focus !== null) act(focus);
};

/** Shown name, label key, what `KeyboardEvent`s it means, what it does. @type {[string, string, (e: KeyboardEvent) => boolean, () => void][]} */
export const KEYS = [
  ["?", "keys.help", (e) => e.key === "?", () => openDialog("help")],
  ["/", "keys.search", (e) => e.key === "/", () => go("camera-search")],
  ["T", "keys.time", (e) => e.key === "t", () => go("time-field")],
  ["1 4 6 9 0", "keys.layout", (e) => "14690".includes(e.key) && e.key.length === 1, () => {}],
  ["← ↑ ↓ →", "keys.walk", (e) => e.key.startsWith("Arrow") && !e.shiftKey, () => {}],
  ["Enter", "keys.single", (e) => e.key === "Enter", withFocus((key) => toggleSingle(key))],
  ["F", "keys.full", (e) => e.key === "f", () => { dispatchEvent(new Event("tiergate:fullscreen")); }],
  ["Del", "keys.empty", (e) => e.key === "Delete" || e.key === "Backspace", withFocus(emptyTile)],
  ["Space", "keys.pause", (e) => e.key === " " || e.key === "k", togglePause],
  ["B", "keys.back_10", (e) => e.key === "b", () => jump(-10 * MINUTE)],
  ["Shift ←", "keys.back", (e) => e.shiftKey && e.key === "ArrowLeft", () => jump(-10 * SECOND)],
  ["Shift →", "keys.on", (e) => e.shiftKey && e.key === "ArrowRight", () => jump(10 * SECOND)],
  [", .", "keys.frame", (e) => e.key === "," || e.key === ".", () => {}],
  ["[ ]", "keys.speed", (e) => e.key === "[" || e.key === "]", () => {}],
  ["L / End", "keys.live", (e) => e.key === "l" || e.key === "End", live],
  ["S", "keys.snapshot", (e) => e.key === "s", snapshotFocused],
  ["C", "keys.clip", (e) => e.key === "c", clipFocused],
  ["A", "keys.assist", (e) => e.key === "a", assistFocused],
  ["M", "keys.sound", (e) => e.key === "m", () => { const at = focused(); if (at) toggleSound(at.tile, at.camera); }],
  ["Z", "keys.ptz", (e) => e.key === "z", () => { const at = focused(); if (at?.camera.ptz) store.set((s) => ({ ptz: !s.ptz })); }],
  ["P", "keys.pull", (e) => e.key === "p", () => { if (byOwnName(store.get().session)) openDialog("pull", {}); }],
  ["D", "keys.duty", (e) => e.key === "d", () => { if (store.get().session?.wall) openDialog("duty"); }],
  ["Esc", "keys.escape", (e) => e.key === "Escape", () => store.set({ single: null, ptz: false })],
];

/** Starts obeying; the answer stops. */
export function listenKeys() {
  /** @param {KeyboardEvent} e */
  const press = (e) => {
    const target = /** @type {HTMLElement} */ (e.target);
    const { phase, dialog, view } = store.get();
    if (phase !== "in" || dialog || view !== "wall" || e.ctrlKey || e.metaKey || e.altKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || target.isContentEditable) return;
    if ((e.key === "Enter" || e.key === " ") && target.closest("button, summary, a")) return;
    const lower = new Proxy(e, { get: (event, name) => (name === "key" && event.key.length === 1 ? event.key.toLowerCase() : Reflect.get(event, name, event)) });
    const found = KEYS.find(([, , means]) => means(lower));
    if (!found) return;
    e.preventDefault();
    const key = e.key;
    if ("14690".includes(key) && key.length === 1) setLayout(key === "0" ? "16" : key);
    else if (key.startsWith("Arrow") && !e.shiftKey) walk(key === "ArrowLeft" ? -1 : key === "ArrowRight" ? 1 : 0, key === "ArrowUp" ? -1 : key === "ArrowDown" ? 1 : 0);
    else if (key === "," || key === ".") step(key === "." ? 1 : -1);
    else if (key === "[" || key === "]") faster(key === "]" ? 1 : -1);
    else found[3]();
  };
  addEventListener("keydown", press);
  return () => removeEventListener("keydown", press);
}
