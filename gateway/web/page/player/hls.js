// @ts-check
// Recorded footage by HLS. A player holds one window of a camera's recording; positions are wall clock (epoch ms)
// through each entry's program date-time, so gaps need no arithmetic.

import { address, fetchRaw } from "../api.js";
import { now } from "../clock.js";
import { playable } from "./mse.js";

const BEFORE_MS = 10 * 60_000, AFTER_MS = 2 * 3600_000, NEAR_LIVE_MS = 6000, GAP_MS = 1500;

/** @type {Promise<any> | null} */
let library = null;
const loadLibrary = () => (library ||= import("../vendor/hls.light.min.mjs").then((module) => module.default, (error) => {
  library = null; // the next replay asks for it again
  throw error;
}));

/** A playlist loader that answers with what we already hold. @param {string} text */
const given = (text) => class {
  constructor() {
    const at = performance.now();
    this.context = null;
    this.stats = {
      aborted: false, loaded: text.length, retry: 0, total: text.length, chunkCount: 0, bwEstimate: 0,
      loading: { start: at, first: at, end: at }, parsing: { start: at, end: at }, buffering: { start: at, first: at, end: at },
    };
  }
  /** @param {any} context @param {any} _ @param {any} callbacks */
  load(context, _, callbacks) {
    this.context = context;
    queueMicrotask(() => callbacks.onSuccess({ url: context.url, data: text }, this.stats, context, null));
  }
  abort() {}
  destroy() {}
};

export class HlsPlayer {
  /**
   * @param {string} camera
   * @param {{at_ms: number, rate: number, paused: boolean, why?: import("../state.js").Why, goesOn?: boolean}} want `goesOn`: behind what has just been played
   * @param {{onFirst: () => void, onGap: (from_ms: number, to_ms: number) => void,
   *   onOlder: (at_ms: number, shown_ms: number) => void,
   *   onEnd: (why: {kind: "live" | "window" | "error" | "empty" | "codec", at_ms: number, reason?: any}) => void}} on
   */
  constructor(camera, want, on) {
    this.method = "hls";
    this.on = on;
    this.camera = camera;
    this.want_ms = want.at_ms;
    this.from_ms = want.at_ms - BEFORE_MS;
    this.to_ms = Math.min(now(), want.at_ms + AFTER_MS);
    this.rate = want.rate;
    this.paused = want.paused;
    this.why = want.why;
    this.goesOn = Boolean(want.goesOn);
    this.ended = false;
    this.first = false;
    this.last_ms = 0;
    this.config = null;
    /** @type {any} */
    this.hls = null;
    /** @type {{start: number, duration: number, programDateTime: number}[]} */
    this.entries = [];
    this.factor = 1;
    this.session = "";
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.playsInline = true;
    this.video.disableRemotePlayback = true;
    this.video.requestVideoFrameCallback(() => { this.first = true; if (!this.ended) on.onFirst(); });
    this.video.addEventListener("ended", () => this.finish());
    this.video.addEventListener("timeupdate", () => this.watch());
    this.open().catch((error) => this.end({ kind: "error", at_ms: this.want_ms, reason: error }));
  }

  async open() {
    const path = `/cameras/${this.camera}/playback.m3u8`;
    const why = this.why ? { purpose: "person_request", ...this.why } : {};
    const query = { ...why, from: Math.round(this.from_ms), to: Math.round(this.to_ms), speed: this.rate > 2 ? this.rate : undefined, around: Math.round(this.want_ms) };
    // Asked once by ourselves: a refusal comes with its sentence, and the address of the media session is the final one.
    const answer = await fetchRaw("GET", path, { query });
    const text = await answer.text();
    this.session = answer.headers.get("X-Tiergate-Session") || "";
    if (this.ended) return this.leave();
    if (!/#EXTINF/.test(text)) return this.end({ kind: "empty", at_ms: this.want_ms });
    const Hls = await loadLibrary();
    if (this.ended) return;
    const base = answer.url || address(path, query);
    const hls = (this.hls = new Hls({
      enableWorker: false, backBufferLength: 60, maxBufferLength: 20, maxMaxBufferLength: 40, startFragPrefetch: true,
      autoStartLoad: false, lowLatencyMode: false, pLoader: given(text),
    }));
    hls.on(Hls.Events.LEVEL_LOADED, (/** @type {any} */ _, /** @type {any} */ data) => this.learn(data.details));
    hls.on(Hls.Events.FRAG_PARSING_INIT_SEGMENT, (/** @type {any} */ _, /** @type {any} */ data) => this.checkCodec(data.tracks?.video));
    hls.on(Hls.Events.ERROR, (/** @type {any} */ _, /** @type {any} */ data) => {
      if (!data.fatal || this.ended) return;
      if (data.type === Hls.ErrorTypes.MEDIA_ERROR && !this.recovered) {
        this.recovered = true;
        hls.recoverMediaError();
      } else this.end({ kind: /codec/i.test(data.details) ? "codec" : "error", at_ms: this.position() });
    });
    hls.loadSource(new URL(base, location.href).href);
    hls.attachMedia(this.video);
  }

  /** What this browser cannot decode is said: the library would wait for ever. @param {{codec?: string, container?: string} | undefined} track */
  checkCodec(track) {
    if (track?.codec && !playable(`${track.container || "video/mp4"}; codecs="${track.codec}"`)) this.end({ kind: "codec", at_ms: this.want_ms });
  }

  /** @param {any} details */
  learn(details) {
    if (this.entries.length || this.ended) return;
    this.entries = details.fragments.filter((/** @type {any} */ f) => f.programDateTime);
    if (!this.entries.length) return this.end({ kind: "empty", at_ms: this.want_ms });
    // A key-frame playlist may be written in recorded time or already quickened: the entries' own dates tell.
    const [a, b] = this.entries;
    this.factor = this.rate > 2 && b ? Math.max(1, (b.programDateTime - a.programDateTime) / (a.duration * 1000)) : 1;
    if (this.factor < 1.5 || this.factor > 3 * this.rate) this.factor = 1;
    const at = this.mediaTime(this.want_ms) || this.newest();
    if (at === null) return this.end({ kind: this.reached(this.to_ms), at_ms: this.to_ms });
    this.hls.startLoad(at.time_s);
    this.video.currentTime = at.time_s;
    if (at.skipped_to_ms) this.on.onGap(this.want_ms, at.skipped_to_ms);
    this.last_ms = at.skipped_to_ms || this.want_ms;
    this.applyRate();
    if (!this.paused) void this.video.play().catch(() => {});
  }

  applyRate() {
    const rate = this.rate / this.factor;
    this.video.defaultPlaybackRate = rate;
    this.video.playbackRate = rate;
  }

  /** Where to begin when what was asked for is not there yet: footage of a lower node comes when it is sealed below. Whoever
   * has just seen what there is goes on to now. @returns {{time_s: number} | null} */
  newest() {
    const last = this.entries[this.entries.length - 1];
    if (this.goesOn || this.reached(this.to_ms) !== "live") return null;
    this.on.onOlder(this.want_ms, last.programDateTime);
    this.want_ms = last.programDateTime;
    return { time_s: last.start + 0.01 };
  }

  /** Media time of a moment; in a gap, of the first picture after it. @param {number} at_ms
   * @returns {{time_s: number, skipped_to_ms?: number} | null} */
  mediaTime(at_ms) {
    for (const entry of this.entries) {
      const length_ms = entry.duration * 1000 * this.factor;
      if (at_ms < entry.programDateTime - GAP_MS) return { time_s: entry.start + 0.01, skipped_to_ms: entry.programDateTime };
      if (at_ms < entry.programDateTime + length_ms) {
        return { time_s: entry.start + Math.max(0.01, (at_ms - entry.programDateTime) / 1000 / this.factor) };
      }
    }
    return null;
  }

  /** Wall clock of the picture shown. */
  position() {
    const time_s = this.video.currentTime;
    let found = null;
    for (const entry of this.entries) {
      if (entry.start > time_s + 0.001) break;
      found = entry;
    }
    if (!found || !this.first) return this.want_ms;
    return found.programDateTime + Math.min(time_s - found.start, found.duration) * 1000 * this.factor;
  }

  watch() {
    if (this.ended || !this.entries.length || this.video.seeking) return;
    const at_ms = this.position();
    if (this.last_ms && at_ms - this.last_ms > GAP_MS) this.reportGap(this.last_ms, at_ms);
    this.last_ms = at_ms;
  }

  /** The hole between two entries that playing just crossed. @param {number} from_ms @param {number} to_ms */
  reportGap(from_ms, to_ms) {
    for (let i = 1; i < this.entries.length; i += 1) {
      const end_ms = this.entries[i - 1].programDateTime + this.entries[i - 1].duration * 1000 * this.factor;
      const start_ms = this.entries[i].programDateTime;
      if (start_ms - end_ms > GAP_MS && start_ms > from_ms && start_ms <= to_ms) this.on.onGap(end_ms, start_ms);
    }
  }

  /** Whether the window can show it without asking again. @param {number} at_ms */
  holds(at_ms) {
    return this.entries.length > 0 && at_ms >= this.from_ms && at_ms < this.to_ms && this.mediaTime(at_ms) !== null;
  }

  /** @param {number} at_ms */
  seek(at_ms) {
    const at = this.mediaTime(at_ms);
    if (!at) return;
    this.want_ms = at_ms;
    this.last_ms = at.skipped_to_ms || at_ms;
    if (at.skipped_to_ms) this.on.onGap(at_ms, at.skipped_to_ms);
    this.video.currentTime = at.time_s;
    if (!this.paused) void this.video.play().catch(() => {});
  }

  /** One picture on or back. @param {number} direction @param {number} fps */
  step(direction, fps) {
    this.video.pause();
    this.video.currentTime = Math.max(0, this.video.currentTime + direction / (fps || 25));
  }

  /** @param {boolean} paused */
  setPaused(paused) {
    this.paused = paused;
    if (paused) this.video.pause();
    else void this.video.play().catch(() => {});
  }

  /** False where another playlist is needed for it. @param {number} rate */
  setRate(rate) {
    if ((rate > 2 || this.rate > 2) && rate !== this.rate) return false;
    this.rate = rate;
    this.applyRate();
    return true;
  }

  finish() {
    const last = this.entries[this.entries.length - 1];
    const end_ms = last ? last.programDateTime + last.duration * 1000 * this.factor : this.to_ms;
    // Behind the last entry there may be more since: it is looked for from there, and only then from the window's end.
    const behind = this.to_ms - end_ms > NEAR_LIVE_MS;
    this.end({ kind: behind ? "window" : this.reached(this.to_ms), at_ms: end_ms });
  }

  /** What comes behind the window's end: now itself, or what was recorded while the window was played. @param {number} at_ms @returns {"live" | "window"} */
  reached(at_ms) {
    return at_ms >= now() - NEAR_LIVE_MS ? "live" : "window";
  }

  silent_ms() {
    return 0;
  }

  lag_ms() {
    return null;
  }

  /** @param {{kind: "live" | "window" | "error" | "empty" | "codec", at_ms: number, reason?: any}} why */
  end(why) {
    if (this.ended) return;
    this.stop();
    this.on.onEnd(why);
  }

  /** Ends the session path: the register then says how long it was watched. */
  leave() {
    if (/^\/m\/[\w-]+$/.test(this.session)) void fetch(this.session, { method: "DELETE", keepalive: true, credentials: "same-origin" }).catch(() => {});
    this.session = "";
  }

  stop() {
    this.ended = true;
    this.hls?.destroy(); // first what is on its way: it would be of a session that is over
    this.leave();
    this.video.removeAttribute("src");
    this.video.load();
    this.video.remove();
  }
}
