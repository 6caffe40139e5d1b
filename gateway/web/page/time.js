// @ts-check
// Times as people of the command room read them: China Standard Time, which has no summer time. Pure: `now` is an argument.

export const ZONE_MS = 8 * 3600 * 1000;
export const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;

/** @param {number} n @param {number} [width] */
const two = (n, width = 2) => String(n).padStart(width, "0");

/** Broken-down local time. @param {number} ms */
export function parts(ms) {
  const d = new Date(ms + ZONE_MS);
  return {
    year: d.getUTCFullYear(), month: d.getUTCMonth() + 1, day: d.getUTCDate(), weekday: d.getUTCDay(),
    hour: d.getUTCHours(), minute: d.getUTCMinutes(), second: d.getUTCSeconds(), ms: d.getUTCMilliseconds(),
  };
}

/** Epoch ms of a local time. @param {number} y @param {number} mo @param {number} d @param {number} [h] @param {number} [mi] @param {number} [s] */
export const local = (y, mo, d, h = 0, mi = 0, s = 0) => Date.UTC(y, mo - 1, d, h, mi, s) - ZONE_MS;

/** Local midnight at or before. @param {number} ms */
export const startOfDay = (ms) => Math.floor((ms + ZONE_MS) / DAY) * DAY - ZONE_MS;

/** `15:20:07` @param {number} ms @param {boolean} [seconds] */
export function clock(ms, seconds = true) {
  const p = parts(ms);
  return `${two(p.hour)}:${two(p.minute)}${seconds ? `:${two(p.second)}` : ""}`;
}

/** `2026-11-24` @param {number} ms */
export function day(ms) {
  const p = parts(ms);
  return `${two(p.year, 4)}-${two(p.month)}-${two(p.day)}`;
}

/** `2026-11-24 15:20:07` @param {number | null | undefined} ms @param {boolean} [seconds] */
export const stamp = (ms, seconds = true) => (ms === null || ms === undefined ? "–" : `${day(ms)} ${clock(ms, seconds)}`);

/** `2026-11-24 15:20:07 – 15:21:00`: the day once where it is one. @param {number} from_ms @param {number} to_ms @param {boolean} [seconds] */
export const rangeText = (from_ms, to_ms, seconds = true) => `${stamp(from_ms, seconds)} – ${day(from_ms) === day(to_ms) ? clock(to_ms, seconds) : stamp(to_ms, seconds)}`;

/** `15:20` of today, `2026-11-20 15:20` of another day. @param {number} ms @param {number} now @param {boolean} [seconds] */
export const momentText = (ms, now, seconds = true) => (day(ms) === day(now) ? clock(ms, seconds) : stamp(ms, seconds));

/** `15:20:07–15:21:00`, with the days where there are two. @param {number} from_ms @param {number} to_ms */
export const clockRange = (from_ms, to_ms) => (day(from_ms) === day(to_ms) ? `${clock(from_ms)}–${clock(to_ms)}` : rangeText(from_ms, to_ms));

/** For `<input type="datetime-local">`. @param {number} ms */
export const inputStamp = (ms) => `${day(ms)}T${clock(ms)}`;

/** The way back; NaN where the text is none. @param {string} text */
export function fromInput(text) {
  const m = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?)?/.exec(text || "");
  return m ? local(+m[1], +m[2], +m[3], +(m[4] || 0), +(m[5] || 0), +(m[6] || 0)) : NaN;
}

/** `1 d 02:03:04`, `02:03`, for what remains. @param {number} ms */
export function span(ms) {
  const total = Math.max(0, Math.floor(ms / SECOND));
  const days = Math.floor(total / 86400);
  const hours = Math.floor((total % 86400) / 3600), minutes = Math.floor((total % 3600) / 60), seconds = total % 60;
  const rest = days || hours ? `${two(hours)}:${two(minutes)}:${two(seconds)}` : `${two(minutes)}:${two(seconds)}`;
  return days ? `${days} d ${rest}` : rest;
}

const WEEKDAYS = [
  ["sun", "sunday", "日", "天"], ["mon", "monday", "一"], ["tue", "tuesday", "二"], ["wed", "wednesday", "三"],
  ["thu", "thursday", "四"], ["fri", "friday", "五"], ["sat", "saturday", "六"],
];
const UNITS = /** @type {Record<string, number>} */ ({ s: SECOND, 秒: SECOND, m: MINUTE, min: MINUTE, 分: MINUTE, 分钟: MINUTE, h: HOUR, 小时: HOUR, d: DAY, 天: DAY });

/**
 * The moment that somebody typed: `15:20`, `tue 15:20`, `last tuesday 15:20`, `上周二 15:20`, `昨天 15:20`, `11-20 15:20`,
 * `2026-11-20 15:20:30`, `-10m`. A weekday is the last such day before today; `上周二` is Tuesday of the calendar week before
 * (from Monday), `本周二` of this one. A time of day alone is of `base`'s day, and of the day before when that would lie
 * ahead. Returns null for what is not understood, for a day that no month has, and for the future.
 * @param {string} text @param {number} now @param {number} [base] where the footage on screen is in time
 * @returns {number | null}
 */
export function parseMoment(text, now, base = now) {
  let rest = text.trim().toLowerCase().replace(/[：]/g, ":").replace(/[/.年月](?=\d)/g, "-").replace(/[日号](?=\s|$)/g, "");
  const ago = /^[-−](\d+)\s*(s|m|min|h|d|秒|分|分钟|小时|天)$/.exec(rest);
  if (ago) return now - Number(ago[1]) * UNITS[ago[2]];
  const time = /(\d{1,2}):(\d{2})(?::(\d{2}))?$/.exec(rest);
  if (!time || +time[1] > 23 || +time[2] > 59 || +(time[3] || 0) > 59) return null;
  const ofDay = +time[1] * HOUR + +time[2] * MINUTE + +(time[3] || 0) * SECOND;
  rest = rest.slice(0, time.index).replace(/t$/, "").trim();
  const today = startOfDay(now);
  let at;
  const date = /^(?:(\d{4})-)?(\d{1,2})-(\d{1,2})$/.exec(rest);
  if (!rest) {
    at = startOfDay(base) + ofDay;
    if (at > now) at -= DAY;
  } else if (date) {
    const month = +date[2], dom = +date[3];
    const year = date[1] ? +date[1] : parts(now).year;
    at = local(year, month, dom) + ofDay;
    if (!date[1] && at > now) at = local(year - 1, month, dom) + ofDay;
    if (parts(at).month !== month || parts(at).day !== dom) return null;
  } else if (rest === "today" || rest === "今天" || rest === "今日") at = today + ofDay;
  else if (rest === "yesterday" || rest === "昨天" || rest === "昨日") at = today - DAY + ofDay;
  else if (rest === "前天") at = today - 2 * DAY + ofDay;
  else {
    const word = rest.replace(/^(last\s+|上周|上星期|本周|周|星期|礼拜)/, "");
    const weekday = WEEKDAYS.findIndex((names) => names.includes(word));
    if (weekday < 0) return null;
    const monday = today - ((parts(now).weekday + 6) % 7) * DAY, ofWeek = ((weekday + 6) % 7) * DAY;
    if (/^上/.test(rest)) at = monday - 7 * DAY + ofWeek + ofDay;
    else if (/^本/.test(rest)) at = monday + ofWeek + ofDay;
    else at = today - ((parts(now).weekday - weekday + 7) % 7 || 7) * DAY + ofDay;
  }
  return at > now ? null : at;
}
