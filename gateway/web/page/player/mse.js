// @ts-check
// A live picture by fMP4 over a WebSocket into Media Source Extensions. One instance is one attempt: it ends by `onEnd`
// and is not used again; whoever owns the tile decides about the next.

import { socketAddress } from "../api.js";
import { opensGroup } from "./fragment.js";
import { advise, LagTarget } from "./lag.js";

/** Text of the server on the socket. @typedef {{mime?: string, width?: number, height?: number, codec?: string, stream?: string,
 *   epoch?: number | string, path?: string, note?: any, state?: string, reason?: any}} Word */

/** @param {string} mime */
export function playable(mime) {
  const Source = /** @type {any} */ (window).ManagedMediaSource || window.MediaSource;
  return Boolean(Source) && Source.isTypeSupported(mime);
}

/** What this browser can decode, as the API's `can` names it: the server chooses stream, other stream or transcode by it. */
export const decodes = () => [["h264", "avc1.640028"], ["h265", "hvc1.1.6.L123.B0"]]
  .filter(([, codec]) => playable(`video/mp4; codecs="${codec}"`)).map(([name]) => name).join(",");

export class MsePlayer {
  /**
   * @param {string} camera
   * @param {{stream: string, audio?: boolean}} query
   * @param {{onFirst: () => void, onWord: (word: Word) => void, onEnd: (why: {kind: "closed" | "codec" | "error", mime?: string}) => void}} on
   */
  constructor(camera, query, on) {
    this.method = "mse";
    this.on = on;
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.autoplay = true;
    this.video.playsInline = true;
    this.video.disableRemotePlayback = true;
    this.lag = new LagTarget();
    this.started_ms = performance.now();
    this.heard_ms = performance.now();
    this.first = false;
    this.placed = false;
    this.ended = false;
    /** @type {Word | null} */
    this.config = null;
    /** Work for the source buffer in its order: media bytes, or a new configuration. @type {(ArrayBuffer | {mime: string})[]} */
    this.queue = [];
    /** @type {SourceBuffer | null} */
    this.buffer = null;
    /** Of the buffer, oldest first. @type {import("./lag.js").Group[]} */
    this.groups = [];
    /** Where the buffer ended before a key frame that is being appended. @type {number | null} */
    this.opening_s = null;

    const Source = /** @type {any} */ (window).ManagedMediaSource || window.MediaSource;
    /** @type {MediaSource} */
    this.source = new Source();
    this.url = URL.createObjectURL(this.source);
    this.video.src = this.url;
    this.source.addEventListener("sourceopen", () => this.pump(), { once: true });
    this.video.addEventListener("waiting", () => { if (this.first && !document.hidden) this.lag.stalled(performance.now()); });
    this.video.addEventListener("error", () => this.end({ kind: "error" }));
    this.video.addEventListener("pause", () => { if (!this.ended && !document.hidden) void this.video.play().catch(() => {}); });
    this.video.requestVideoFrameCallback(() => { this.first = true; if (!this.ended) on.onFirst(); });

    this.socket = new WebSocket(socketAddress(`/cameras/${camera}/live.ws`, { ...query, can: decodes() }));
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = (message) => this.hear(message.data);
    this.socket.onclose = () => this.end({ kind: "closed" });
  }

  /** @param {string | ArrayBuffer} data */
  hear(data) {
    if (this.ended) return;
    if (typeof data !== "string") {
      this.heard_ms = performance.now();
      this.queue.push(data);
      this.pump();
      return;
    }
    /** @type {Word} */
    let word;
    try {
      word = JSON.parse(data);
    } catch {
      return;
    }
    if (word.mime) {
      if (!playable(word.mime)) return this.end({ kind: "codec", mime: word.mime });
      this.config = word;
      this.queue.push({ mime: word.mime });
      this.pump();
    }
    this.on.onWord(word);
  }

  /** Feeds the source buffer; runs again from `updateend`. */
  pump() {
    if (this.ended || this.source.readyState !== "open" || this.buffer?.updating || !this.queue.length) return;
    try {
      const head = this.queue[0];
      if (!(head instanceof ArrayBuffer)) {
        if (this.buffer && this.buffer.buffered.length) {
          // A new stream starts its own time: what is buffered of the old one only stands in the way.
          this.buffer.abort();
          this.buffer.remove(0, Infinity);
          this.groups = [];
          this.placed = false;
          return;
        }
        this.queue.shift();
        if (this.buffer) this.buffer.changeType(head.mime);
        else {
          this.buffer = this.source.addSourceBuffer(head.mime);
          this.buffer.mode = "segments";
          this.buffer.addEventListener("updateend", () => this.updated());
        }
        this.pump();
        return;
      }
      if (!this.buffer) return;
      let count = 0, size = 0;
      while (count < this.queue.length && this.queue[count] instanceof ArrayBuffer) {
        size += /** @type {ArrayBuffer} */ (this.queue[count]).byteLength;
        count += 1;
      }
      const joined = new Uint8Array(size);
      let at = 0;
      const ranges = this.buffer.buffered, before_s = ranges.length ? ranges.end(ranges.length - 1) : 0;
      for (const chunk of /** @type {ArrayBuffer[]} */ (this.queue.splice(0, count))) {
        if (opensGroup(chunk)) this.opening_s = before_s;
        joined.set(new Uint8Array(chunk), at);
        at += chunk.byteLength;
      }
      this.buffer.appendBuffer(joined);
    } catch (error) {
      this.end({ kind: "error" });
    }
  }

  updated() {
    if (this.ended || !this.buffer) return;
    const ranges = this.video.buffered;
    if (ranges.length && !this.buffer.updating) {
      const now_ms = performance.now();
      this.lag.tick(now_ms);
      const last = ranges.length - 1;
      if (this.opening_s !== null) this.groups.push({ from_s: this.opening_s, to_s: ranges.end(last) });
      this.opening_s = null;
      const advice = advise({
        start_s: ranges.start(0), last_start_s: ranges.start(last), end_s: ranges.end(last), current_s: this.video.currentTime,
        target_s: this.lag.target_s, age_ms: now_ms - this.started_ms, placed: this.placed, groups: this.groups,
      });
      if (advice.seek_s !== undefined) {
        this.video.currentTime = advice.seek_s;
        this.placed = true;
      }
      if (this.video.playbackRate !== advice.rate) this.video.playbackRate = advice.rate;
      if (this.video.paused) void this.video.play().catch(() => {});
      const { trim_to_s } = advice;
      if (trim_to_s !== undefined) {
        this.groups = this.groups.filter((group) => group.from_s >= trim_to_s);
        this.buffer.remove(0, trim_to_s);
        return;
      }
    }
    this.pump();
  }

  /** Milliseconds since the last media byte. */
  silent_ms() {
    return performance.now() - this.heard_ms;
  }

  /** How far the picture is behind the newest byte here, in ms; null before the first picture. */
  lag_ms() {
    const ranges = this.video.buffered;
    return this.first && ranges.length ? Math.round(1000 * (ranges.end(ranges.length - 1) - this.video.currentTime)) : null;
  }

  /** @param {{kind: "closed" | "codec" | "error", mime?: string}} why */
  end(why) {
    if (this.ended) return;
    this.stop();
    this.on.onEnd(why);
  }

  stop() {
    this.ended = true;
    this.queue = [];
    const socket = this.socket;
    socket.onmessage = socket.onclose = null;
    // Closing one that is still being opened would be an error in the console: it is closed as soon as it is open.
    if (socket.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
    else socket.close();
    this.video.removeAttribute("src");
    this.video.load();
    this.video.remove();
    URL.revokeObjectURL(this.url);
  }
}
