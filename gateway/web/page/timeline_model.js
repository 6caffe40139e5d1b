// @ts-check
// Arithmetic of the timeline: what part of time is in view, where its ticks stand, what lies under a moment. Pure.

import { DAY, HOUR, MINUTE, SECOND, ZONE_MS } from "./time.js";

/** @typedef {{from_ms: number, to_ms: number}} View @typedef {import("./shapes.js").Span} Span */

export const LEAST_MS = 30 * SECOND, MOST_MS = 31 * DAY;
/** How far the view may look past now, as a share of its width. */
const AHEAD = 0.08;

/** Keeps a view within its bounds. @param {View} view @param {number} now @returns {View} */
export function clamp(view, now) {
  const width = Math.min(MOST_MS, Math.max(LEAST_MS, view.to_ms - view.from_ms));
  const to = Math.min(view.from_ms + width, now + width * AHEAD);
  return { from_ms: to - width, to_ms: to };
}

/** Zoom by a factor around a moment that keeps its place. @param {View} view @param {number} factor @param {number} at_ms @param {number} now */
export function zoom(view, factor, at_ms, now) {
  const width = view.to_ms - view.from_ms;
  const next = Math.min(MOST_MS, Math.max(LEAST_MS, width * factor));
  const share = (at_ms - view.from_ms) / width;
  return clamp({ from_ms: at_ms - share * next, to_ms: at_ms - share * next + next }, now);
}

/** @param {View} view @param {number} by_ms @param {number} now */
export const pan = (view, by_ms, now) => clamp({ from_ms: view.from_ms + by_ms, to_ms: view.to_ms + by_ms }, now);

/** A view of a width around a moment. @param {number} at_ms @param {number} width_ms @param {number} now */
export const around = (at_ms, width_ms, now) => clamp({ from_ms: at_ms - width_ms / 2, to_ms: at_ms + width_ms / 2 }, now);

const STEPS = [SECOND, 5 * SECOND, 10 * SECOND, 30 * SECOND, MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY];

/** Round moments in view, no closer than `least_px`. @param {View} view @param {number} width_px @param {number} [least_px] */
export function ticks(view, width_px, least_px = 92) {
  const per_px = (view.to_ms - view.from_ms) / Math.max(1, width_px);
  const step_ms = STEPS.find((one) => one / per_px >= least_px) || 7 * DAY;
  const first = Math.ceil((view.from_ms + ZONE_MS) / step_ms) * step_ms - ZONE_MS;
  const at = [];
  for (let ms = first; ms <= view.to_ms; ms += step_ms) at.push(ms);
  return { step_ms, at };
}

/** @param {Span[]} spans @param {number} at_ms @returns {Span | null} */
export function spanAt(spans, at_ms) {
  return spans.find((one) => one.from_ms <= at_ms && at_ms < one.to_ms) || null;
}

/** The start of the next footage at or after a moment. @param {Span[]} spans @param {number} at_ms @returns {number | null} */
export function nextFootage(spans, at_ms) {
  for (const one of spans) {
    if (one.kind !== "footage" && one.kind !== "open") continue;
    if (one.to_ms > at_ms) return Math.max(at_ms, one.from_ms);
  }
  return null;
}

/** The nearest gap before (−1) or after (1) a moment. @param {Span[]} spans @param {number} at_ms @param {number} direction */
export function neighbourGap(spans, at_ms, direction) {
  const gaps = spans.filter((one) => one.kind === "gap");
  return direction > 0 ? gaps.find((one) => one.from_ms > at_ms) || null : gaps.filter((one) => one.to_ms < at_ms).pop() || null;
}

/** Neighbouring spans that say the same become one, so that a month draws as quickly as an hour. @param {Span[]} spans @param {number} grain_ms @returns {Span[]} */
export function coarse(spans, grain_ms) {
  /** @type {Span[]} */
  const merged = [];
  for (const one of spans) {
    const last = merged[merged.length - 1];
    const alike = last && last.kind === one.kind && last.cause === one.cause && last.class === one.class;
    if (alike && one.from_ms - last.to_ms <= grain_ms) merged[merged.length - 1] = { ...last, to_ms: Math.max(last.to_ms, one.to_ms) };
    else merged.push(one);
  }
  return merged;
}
