// @ts-check
// How far behind the newest picture a live tile plays. Pure: no clock, no element. Numbers are measured (jitter of
// 0–100 ms: a target of 40 ms stalls 22 times in 10 s, 150 ms never).

export const START_S = 0.15, FLOOR_S = 0.06, CEILING_S = 1.5;
const PER_STALL_S = 0.05, PER_QUIET_S = 0.01, QUIET_MS = 10_000;
const JUMP_S = 2, EARLY_JUMP_S = 0.3, EARLY_MS = 4000, KEEP_S = 10, TRIM_ABOVE_S = 20;
const OVERLAP_S = 0.5; // how far a picture may reach into the next group by its duration, which was known before it ended

/** The target: grows with each stall, shrinks while nothing happens. */
export class LagTarget {
  constructor() {
    this.target_s = START_S;
    /** @type {number | null} */
    this.quiet_since_ms = null;
  }

  /** @param {number} now_ms */
  stalled(now_ms) {
    this.target_s = Math.min(CEILING_S, this.target_s + PER_STALL_S);
    this.quiet_since_ms = now_ms;
  }

  /** @param {number} now_ms */
  tick(now_ms) {
    if (this.quiet_since_ms === null) this.quiet_since_ms = now_ms;
    while (now_ms - this.quiet_since_ms >= QUIET_MS) {
      this.quiet_since_ms += QUIET_MS;
      this.target_s = Math.max(FLOOR_S, this.target_s - PER_QUIET_S);
    }
  }
}

/** A group of pictures opens about `from_s`, where the buffer ended before its first came, and before `to_s`.
 * @typedef {{from_s: number, to_s: number}} Group */

/**
 * What to do with the element now.
 * @param {{start_s: number, last_start_s: number, end_s: number, current_s: number, target_s: number, age_ms: number, placed: boolean,
 *   groups: Group[]}} at `last_start_s` … `end_s` is the newest buffered range, `age_ms` the time since the player started
 * @returns {{seek_s?: number, rate: number, trim_to_s?: number}}
 */
export function advise(at) {
  const lag = at.end_s - at.current_s;
  /** @type {{seek_s?: number, rate: number, trim_to_s?: number}} */
  const advice = { rate: 1 };
  const aim = Math.max(at.last_start_s, at.end_s - at.target_s);
  if (!at.placed || at.current_s < at.last_start_s) advice.seek_s = aim;
  else if (lag > JUMP_S || (lag > at.target_s + EARLY_JUMP_S && at.age_ms < EARLY_MS)) advice.seek_s = aim;
  else if (lag > at.target_s + 0.1) advice.rate = 1.1;
  else if (lag < at.target_s / 2) advice.rate = 0.95;
  if (at.end_s - at.start_s > TRIM_ABOVE_S) {
    // A browser removes up to the next key frame, and where none has come yet, everything: the picture shown too, and
    // what comes until the next one (Media Source Extensions, coded frame removal).
    const kept = at.groups.findLast((group) => group.to_s <= at.end_s - KEEP_S);
    if (kept && kept.from_s - OVERLAP_S > at.start_s) advice.trim_to_s = kept.from_s - OVERLAP_S;
  }
  return advice;
}
