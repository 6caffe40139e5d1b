// @ts-check
// What one tile shows: chooses the path (WebSocket, WebRTC, HLS), swaps pictures without a black moment, tries again, and
// always has a state to say. Imperative on purpose: it outlives renders.

import { get } from "../api.js";
import { now } from "../clock.js";
import { mayDo, soundPath, standing, troubled } from "../shapes.js";
import { HlsPlayer } from "./hls.js";
import { MsePlayer } from "./mse.js";
import { WhepPlayer } from "./whep.js";

/**
 * @typedef {"empty" | "connecting" | "playing" | "stale" | "offline" | "disabled" | "forbidden" | "codec" | "gone" | "replay_wait" | "replay" | "no_footage" | "error"} State
 * @typedef {{state: State, reason: any, stream: string | null, method: string | null, limited: boolean, stale_s: number, codec: string | null, note: any,
 *   skipped: {from_ms: number, to_ms: number} | null, missing: Missing | null}} Status
 *   `skipped`: over what playing went on; back to something older where `to_ms` lies before `from_ms`
 * @typedef {{state: State, reason: any}} Missing why the main stream does not take the place of the sub stream that runs
 * @typedef {{camera: import("../shapes.js").Camera | null, live: {stream: "main" | "sub", quick: boolean} | null,
 *   replay: {at_ms: number, nonce: number, why?: import("../state.js").Why} | null, rate: number, paused: boolean, sound: boolean, active: boolean}} Want
 */

const STALE_MS = 3000, DEAD_MS = 15_000, FIRST_MS = 10_000, BACKOFF_MS = [300, 1000, 2000, 4000, 8000], WHEP_AGAIN_MS = 60_000;
const SKIP_SHOWN_MS = 6000, REFUSED_MS = 30_000;

/** @type {Status} */
const NOTHING = { state: "empty", reason: null, stream: null, method: null, limited: false, stale_s: 0, codec: null, note: null, skipped: null, missing: null };

/** Cameras for which WebRTC did not come up, and until when it is not tried again. @type {Map<string, number>} */
const noWhep = new Map();

/** WebRTC carries H.264 without B-frames. @param {import("../shapes.js").Stream | undefined} stream */
const whepFits = (stream) => Boolean(stream && /^avc/i.test(stream.codec || "") && !stream.b_frames);

/** @param {import("./mse.js").Word} word @returns {State} */
const refusal = (word) => (/^media\./.test(word.reason?.code || "") ? "codec" : "forbidden");

export class TilePlayer {
  /** @param {HTMLElement} stage @param {(status: Status) => void} report */
  constructor(stage, report) {
    this.stage = stage;
    this.report = report;
    /** @type {Status} */
    this.status = NOTHING;
    /** @type {Want} */
    this.want = { camera: null, live: null, replay: null, rate: 1, paused: false, sound: false, active: true };
    /** The picture shown, and the one being prepared behind it. @type {any} */
    this.front = null;
    /** @type {any} */
    this.back = null;
    this.showing = "";
    this.preparing = "";
    this.tries = 0;
    this.retry = 0;
    /** Refused by what the page knows of the camera, and by no answer: over as soon as it knows better. */
    this.withheld = false;
    /** The wish that did not come up while another picture runs; not wished again before the next try. */
    this.putOff = "";
    this.asked = 0;
    this.heartbeat = setInterval(() => this.beat(), 500);
  }

  /** @param {Partial<Status>} patch */
  tell(patch) {
    const next = { ...this.status, ...patch };
    const same = Object.keys(next).every((key) => /** @type {any} */ (next)[key] === /** @type {any} */ (this.status)[key]);
    this.status = next;
    if (!same) this.report(next);
  }

  /** @param {Want} want */
  show(want) {
    const before = this.want;
    this.want = want;
    if (before.camera?.id !== want.camera?.id) {
      this.clear();
      this.tries = 0;
    }
    const camera = want.camera;
    if (!camera || !want.active) return this.clear();
    if (want.replay) return this.showReplay(before);
    if (before.replay) {
      this.tell({ skipped: null });
      this.front?.video.pause();
    }
    this.showLive(camera);
  }

  /** @param {import("../shapes.js").Camera} camera */
  showLive(camera) {
    if (!mayDo(camera, "live")) return this.withhold("forbidden");
    if (standing(camera) === "disabled") return this.withhold("disabled");
    if (this.withheld) this.stopAll();
    const asked = camera.max_stream === "sub" ? "sub" : this.want.live?.stream || "sub";
    const heard = this.want.sound ? soundPath(camera) : null;
    const stream = heard?.stream || (asked === "sub" && !camera.streams?.sub && camera.max_stream !== "sub" ? "main" : asked);
    const quick = (heard?.method === "whep" || Boolean(this.want.live?.quick)) && whepFits(camera.streams?.[stream]) && (noWhep.get(camera.id) || 0) < now();
    const sound = heard?.method === "mse";
    const method = quick && !sound ? "whep" : "mse";
    const wish = `live/${camera.id}/${stream}/${method}${sound ? "/sound" : ""}`;
    if (this.showing === wish || this.preparing === wish) {
      if (this.showing === wish) this.settle(stream);
      return this.applySound();
    }
    if (this.retry && this.running() && this.putOff === wish) return this.applySound();
    // A stream that answers needs no new one to be a little bigger while the old one is still coming up.
    if (this.retry && !this.front && this.preparing === "") return;
    this.prepare(wish, stream, method, sound);
  }

  /** What is shown is what is wanted: nothing else is prepared, tried again or missed. @param {string} stream */
  settle(stream) {
    this.dropBack();
    clearTimeout(this.retry);
    this.retry = 0;
    this.putOff = "";
    if (this.status.missing) this.tell({ missing: null, ...this.given(this.front.config, stream) });
  }

  /** Whether a live picture is shown, which trouble of another stream does not concern. */
  running() {
    return Boolean(this.front) && this.front.method !== "hls";
  }

  /** @param {string} wish @param {"main" | "sub"} stream @param {"mse" | "whep"} method @param {boolean} audio */
  prepare(wish, stream, method, audio) {
    const camera = /** @type {import("../shapes.js").Camera} */ (this.want.camera);
    this.dropBack();
    clearTimeout(this.retry);
    this.retry = 0;
    this.preparing = wish;
    if (!this.front) {
      this.tell({ ...NOTHING, state: "connecting", stream, method });
    }
    const on = {
      onFirst: () => this.swap(wish, stream, method),
      onWord: (/** @type {import("./mse.js").Word} */ word) => this.hear(player, word),
      onEnd: (/** @type {any} */ why) => this.lost(player, wish, why),
    };
    /** @type {any} */
    const player = method === "whep"
      ? new WhepPlayer(camera.id, { stream }, on)
      : new MsePlayer(camera.id, { stream, audio: audio || undefined }, on);
    this.back = player;
    player.video.classList.add("behind");
    this.stage.prepend(player.video);
  }

  /** The first picture is there: it becomes the one shown. @param {string} wish @param {string} stream @param {string} method */
  swap(wish, stream, method) {
    if (!this.back || this.preparing !== wish) return;
    const old = this.front;
    this.front = this.back;
    this.back = null;
    this.showing = wish;
    this.preparing = "";
    this.tries = 0;
    this.front.video.classList.remove("behind");
    old?.stop();
    this.tell({ ...NOTHING, state: "playing", method, ...this.given(this.front.config, stream) });
    this.applySound();
  }

  /** What is shown of the stream that was asked for, and why it is less. @param {import("./mse.js").Word | null | undefined} config @param {string} asked */
  given(config, asked) {
    const stream = config?.stream || asked;
    return { stream, codec: config?.codec || null, limited: (this.want.live?.stream === "main" || asked === "main") && stream === "sub", note: config?.note || null };
  }

  /** @param {any} player @param {import("./mse.js").Word} word */
  hear(player, word) {
    if (player !== this.front && player !== this.back) return;
    if (player === this.back && this.running()) return this.hearBehind(word);
    if (word.state === "stream" && player.config) {
      // What a lower tier gives changes while it runs: with a new announcement or, when the reason alone does, without.
      player.config = { ...player.config, stream: word.reason?.stream || player.config.stream, note: word.reason?.code ? word.reason : null };
    }
    if ((word.mime || word.state === "stream") && player === this.front) this.tell(this.given(player.config, this.showing.split("/")[2]));
    if (word.state === "refused") this.refuse(refusal(word), word.reason || null);
    else if (word.state === "offline" || word.state === "ended") this.tell({ state: "offline", reason: word.reason || null });
    else if (word.state === "connecting" && !this.status.reason) this.tell({ state: "connecting" });
    else if (word.state === "online" && this.front === player) this.tell({ state: "playing", reason: null });
  }

  /** Of a stream that is being prepared behind a running picture. @param {import("./mse.js").Word} word */
  hearBehind(word) {
    if (word.state === "refused") this.doWithout(refusal(word), word.reason || null);
    else if (word.state === "offline" || word.state === "ended") this.doWithout("offline", word.reason || null);
  }

  /** The running picture stays, with a note of what it stands in for. @param {State} state @param {any} reason */
  doWithout(state, reason) {
    this.putOff = this.preparing;
    this.dropBack();
    if (this.putOff.split("/")[2] === "main" && this.status.stream === "sub") this.tell({ limited: true, missing: { state, reason } });
    this.askAgain();
  }

  /** @param {any} player @param {string} wish @param {any} why */
  lost(player, wish, why) {
    const camera = this.want.camera;
    if (player !== this.front && player !== this.back) return;
    if (player === this.back && this.running() && why.kind === "codec") return this.doWithout("codec", null);
    if (player === this.front) {
      this.front = null;
      this.showing = "";
    } else {
      this.back = null;
      this.preparing = "";
    }
    if (!camera || this.want.replay) return;
    if (wish.endsWith("/whep")) {
      noWhep.set(camera.id, now() + WHEP_AGAIN_MS);
      return this.showLive(camera);
    }
    if (why.kind === "codec") {
      return this.refuse("codec", null, /codecs="([^"]+)"/.exec(why.mime || "")?.[1] || null);
    }
    if (this.front?.method === "hls") {
      // A picture of then must not stand where now is to be seen.
      this.front.stop();
      this.front = null;
      this.showing = "";
    }
    if (!this.front) this.explain(camera.id);
    this.again();
  }

  again() {
    clearTimeout(this.retry);
    const wait = BACKOFF_MS[Math.min(this.tries, BACKOFF_MS.length - 1)];
    this.tries += 1;
    this.retry = window.setTimeout(() => {
      this.retry = 0;
      if (this.want.camera && !this.want.replay && this.want.active) this.showLive(this.want.camera);
    }, wait + Math.random() * 200);
  }

  /** A socket cannot say why it was refused: the camera's own record can. @param {string} id */
  explain(id) {
    const camera = this.want.camera;
    const trouble = camera && troubled(camera);
    if (this.status.state !== "forbidden" && this.status.state !== "offline") {
      this.tell({ state: trouble ? "offline" : "connecting", reason: trouble?.reason || null });
    }
    if (performance.now() - this.asked < 5000) return;
    this.asked = performance.now();
    get(`/cameras/${id}`).then((fresh) => {
      if (this.want.camera?.id !== id || this.front || this.want.replay) return;
      const bad = troubled(fresh);
      if (bad) this.tell({ state: "offline", reason: bad.reason || null });
      else if (!mayDo(fresh, "live")) this.refuse("forbidden", null);
    }, (error) => {
      if (this.want.camera?.id !== id || this.front) return;
      if (error.status === 404) this.refuse("gone", error);
      else if (error.status === 403) this.refuse("forbidden", error);
      else this.tell({ state: "connecting", reason: error.status === 0 ? error : null });
    });
  }

  /** @param {State} state @param {any} reason @param {string | null} [codec] */
  refuse(state, reason, codec = null) {
    this.stopAll();
    this.tell({ ...NOTHING, state, reason, codec });
    this.askAgain();
  }

  /** Rights, codecs and service change: what is refused now is asked again, seldom. */
  askAgain() {
    clearTimeout(this.retry);
    this.retry = window.setTimeout(() => {
      this.retry = 0;
      if (this.want.camera && !this.want.replay && this.want.active) this.showLive(this.want.camera);
    }, REFUSED_MS);
  }

  /** @param {State} state */
  withhold(state) {
    this.refuse(state, null);
    this.withheld = true;
  }

  // --- recorded ---------------------------------------------------------------------------------------------------

  /** @param {Want} before */
  showReplay(before) {
    const { camera, replay, rate, paused } = this.want;
    if (!camera || !replay) return;
    if (!mayDo(camera, "playback")) return this.withhold("forbidden");
    if (this.withheld) return this.openReplay(replay.at_ms);
    const current = /** @type {HlsPlayer | null} */ (this.front?.method === "hls" ? this.front : this.back?.method === "hls" ? this.back : null);
    if (current && before.replay && before.camera?.id === camera.id) {
      const moved = before.replay.nonce !== replay.nonce;
      if (!moved) {
        if (before.paused !== paused) current.setPaused(paused);
        if (before.rate !== rate && !current.setRate(rate)) this.openReplay(current.position());
        return this.applySound();
      }
      if (current.rate === rate && current.why === replay.why && current.holds(replay.at_ms)) {
        current.setPaused(paused);
        current.seek(replay.at_ms);
        return this.tell({ state: current.first ? "replay" : "replay_wait", reason: null });
      }
    } else if (before.replay?.nonce === replay.nonce && before.camera?.id === camera.id && before.camera.lease_id === camera.lease_id
      && ["no_footage", "error", "codec", "forbidden"].includes(this.status.state)) return;
    this.openReplay(replay.at_ms);
  }

  /** @param {number} at_ms @param {boolean} [goesOn] behind what has just been played */
  openReplay(at_ms, goesOn = false) {
    const camera = /** @type {import("../shapes.js").Camera} */ (this.want.camera);
    const wish = `replay/${camera.id}/${at_ms}/${this.want.rate}`;
    this.dropBack();
    clearTimeout(this.retry);
    this.retry = 0;
    this.withheld = false;
    this.preparing = wish;
    this.tell({ ...NOTHING, state: "replay_wait", method: "hls", stream: "main", skipped: this.status.skipped });
    const player = new HlsPlayer(camera.id, { at_ms, rate: this.want.rate, paused: this.want.paused, why: this.want.replay?.why, goesOn }, {
      onFirst: () => {
        if (this.back !== player) return;
        this.front?.stop();
        this.front = player;
        this.back = null;
        this.showing = wish;
        this.preparing = "";
        player.video.classList.remove("behind");
        this.tell({ state: "replay", reason: null });
        this.applySound();
      },
      onGap: (from_ms, to_ms) => this.tellSkipped({ from_ms, to_ms }),
      onOlder: (at_ms, shown_ms) => this.tellSkipped({ from_ms: at_ms, to_ms: shown_ms }),
      onEnd: (why) => this.replayEnded(player, why),
    });
    this.back = player;
    player.video.classList.add("behind");
    this.stage.prepend(player.video);
  }

  /** Shown for a moment. @param {{from_ms: number, to_ms: number}} skipped */
  tellSkipped(skipped) {
    this.tell({ skipped });
    setTimeout(() => { if (this.status.skipped === skipped) this.tell({ skipped: null }); }, SKIP_SHOWN_MS);
  }

  /** @param {HlsPlayer} player @param {{kind: string, at_ms: number, reason?: any}} why */
  replayEnded(player, why) {
    if (player !== this.front && player !== this.back) return;
    if (player === this.front) {
      this.front = null;
      this.showing = "";
    } else {
      this.back = null;
      this.preparing = "";
    }
    if (why.kind === "window") return this.openReplay(why.at_ms + 1, true);
    if (why.kind === "live") return this.onCaughtUp();
    this.front?.stop();
    this.front = null;
    this.showing = "";
    if (why.kind === "codec") this.tell({ ...NOTHING, state: "codec", codec: this.want.camera?.streams?.main?.codec || null, method: "hls" });
    else if (why.kind === "empty" || why.reason?.status === 404) this.tell({ ...NOTHING, state: "no_footage", reason: why.reason || null, method: "hls" });
    else this.tell({ ...NOTHING, state: why.reason?.status === 403 ? "forbidden" : "error", reason: why.reason || null, method: "hls" });
  }

  /** Replay reached now; the owner of the tile sets it. */
  onCaughtUp() {}

  /** @param {number} direction */
  step(direction) {
    if (this.front?.method === "hls") this.front.step(direction, Number(this.want.camera?.streams?.main?.fps) || 25);
  }

  // --- all ---------------------------------------------------------------------------------------------------------

  beat() {
    const front = this.front;
    if (front && front.method !== "hls" && this.want.active) {
      const silent = front.silent_ms();
      if (silent > DEAD_MS) {
        front.end({ kind: "closed" });
      } else if (silent > STALE_MS && (this.status.state === "playing" || this.status.state === "stale")) {
        this.tell({ state: "stale", stale_s: Math.round(silent / 1000) });
      } else if (silent <= STALE_MS && this.status.state === "stale") this.tell({ state: "playing", stale_s: 0, reason: null });
    }
    const back = this.back;
    if (back && back.method === "mse" && performance.now() - back.started_ms > FIRST_MS && back.silent_ms() > FIRST_MS) back.end({ kind: "closed" });
  }

  applySound() {
    const video = this.front?.video;
    if (video) video.muted = !this.want.sound;
  }

  /** Epoch ms of what is seen. */
  position() {
    if (!this.want.replay) return now();
    const replay = this.front?.method === "hls" ? this.front : this.back?.method === "hls" ? this.back : null;
    return replay ? replay.position() : this.want.replay.at_ms;
  }

  /** The element on screen. @returns {HTMLVideoElement | null} */
  picture() {
    return this.front?.video || null;
  }

  dropBack() {
    this.back?.stop();
    this.back = null;
    this.preparing = "";
  }

  stopAll() {
    clearTimeout(this.retry);
    this.retry = 0;
    this.withheld = false;
    this.dropBack();
    this.front?.stop();
    this.front = null;
    this.showing = "";
  }

  clear() {
    this.stopAll();
    this.tell(NOTHING);
  }

  destroy() {
    clearInterval(this.heartbeat);
    this.stopAll();
  }
}

