// @ts-check
// Moving a camera: hold to move, let go (or lose the window) to stop; never more than five commands a second.

import { html, useEffect, useRef } from "./dom.js";
import { post } from "./api.js";
import { t } from "./i18n.js";
import { Icon } from "./icons.js";
import { toast } from "./state.js";

const LEAST_MS = 200, REPEAT_MS = 500;

/** Sends the newest wish at most each 200 ms; a stop is never lost. */
export class PtzSender {
  /** @param {(body: object) => Promise<unknown>} send @param {() => number} [clock] */
  constructor(send, clock = () => performance.now()) {
    this.send = send;
    this.clock = clock;
    this.last_ms = -Infinity;
    /** @type {object | null} */
    this.wish = null;
    this.timer = 0;
    this.moving = false;
  }

  /** @param {{pan?: number, tilt?: number, zoom?: number}} vector */
  move(vector) {
    this.moving = true;
    this.offer({ pan: vector.pan || 0, tilt: vector.tilt || 0, zoom: vector.zoom || 0 });
  }

  stop() {
    if (!this.moving) return;
    this.moving = false;
    this.offer({ stop: true });
  }

  /** @param {object} body */
  offer(body) {
    this.wish = body;
    const wait = this.last_ms + LEAST_MS - this.clock();
    if (wait <= 0) this.flush();
    else if (!this.timer) this.timer = /** @type {any} */ (setTimeout(() => { this.timer = 0; this.flush(); }, wait));
  }

  flush() {
    if (!this.wish) return;
    const body = this.wish;
    this.wish = null;
    this.last_ms = this.clock();
    void this.send(body);
  }
}

const DIRECTIONS = /** @type {[string, string, number, number][]} */ ([
  ["ul", "ptz.up_left", -1, 1], ["u", "ptz.up", 0, 1], ["ur", "ptz.up_right", 1, 1],
  ["l", "ptz.left", -1, 0], ["c", "", 0, 0], ["r", "ptz.right", 1, 0],
  ["dl", "ptz.down_left", -1, -1], ["d", "ptz.down", 0, -1], ["dr", "ptz.down_right", 1, -1],
]);
const SPEED = 0.6;
/** @type {Record<string, {pan?: number, tilt?: number, zoom?: number}>} */
const KEYS = { ArrowUp: { tilt: SPEED }, ArrowDown: { tilt: -SPEED }, ArrowLeft: { pan: -SPEED }, ArrowRight: { pan: SPEED }, "+": { zoom: SPEED }, "=": { zoom: SPEED }, "-": { zoom: -SPEED } };

/** @param {{camera: import("./shapes.js").Camera}} props */
export function PtzPad({ camera }) {
  const sender = useRef(/** @type {PtzSender | null} */ (null));
  useEffect(() => {
    let told = 0;
    const one = new PtzSender((body) => post(`/cameras/${camera.id}/ptz`, body).catch((error) => {
      if (performance.now() - told > 3000) toast(error, "bad");
      told = performance.now();
    }));
    sender.current = one;
    let repeat = 0;
    const stop = () => { clearInterval(repeat); one.stop(); };
    /** @param {any} e */
    const start = (e) => {
      clearInterval(repeat);
      one.move(e.detail);
      repeat = window.setInterval(() => { if (one.moving) one.move(e.detail); }, REPEAT_MS);
    };
    /** @param {KeyboardEvent} e */
    const down = (e) => {
      if (!(e.key in KEYS) || /^(INPUT|TEXTAREA|SELECT)$/.test(/** @type {HTMLElement} */ (e.target).tagName)) return;
      e.preventDefault();
      e.stopPropagation();
      if (!e.repeat) start({ detail: KEYS[e.key] });
    };
    /** @param {KeyboardEvent} e */
    const up = (e) => { if (e.key in KEYS) stop(); };
    addEventListener("tiergate:ptz", start);
    addEventListener("keydown", down, true);
    addEventListener("keyup", up, true);
    for (const name of ["pointerup", "pointercancel", "blur"]) addEventListener(name, stop);
    document.addEventListener("visibilitychange", stop);
    return () => {
      stop();
      removeEventListener("tiergate:ptz", start);
      removeEventListener("keydown", down, true);
      removeEventListener("keyup", up, true);
      for (const name of ["pointerup", "pointercancel", "blur"]) removeEventListener(name, stop);
      document.removeEventListener("visibilitychange", stop);
    };
  }, [camera.id]);

  /** @param {PointerEvent} e @param {{pan?: number, tilt?: number, zoom?: number}} vector */
  const hold = (e, vector) => {
    e.preventDefault();
    e.stopPropagation();
    dispatchEvent(new CustomEvent("tiergate:ptz", { detail: vector }));
  };
  return html`<div class="ptz" role="group" aria-label=${t("ptz.label")} onMouseDown=${(/** @type {Event} */ e) => e.stopPropagation()} onDblClick=${(/** @type {Event} */ e) => e.stopPropagation()}>
    <div class="ptz-pad">${DIRECTIONS.map(([name, label, pan, tilt]) => (label
      ? html`<button key=${name} type="button" class=${`ptz-${name}`} aria-label=${t(label)} title=${t(label)} onPointerDown=${(/** @type {PointerEvent} */ e) => hold(e, { pan: pan * SPEED, tilt: tilt * SPEED })}><${Icon} name="chevron" /></button>`
      : html`<span key=${name} class="ptz-c"><${Icon} name="ptz" /></span>`))}</div>
    <div class="ptz-zoom"><button type="button" aria-label=${t("ptz.zoom_in")} title=${t("ptz.zoom_in")} onPointerDown=${(/** @type {PointerEvent} */ e) => hold(e, { zoom: SPEED })}>+</button>
      <button type="button" aria-label=${t("ptz.zoom_out")} title=${t("ptz.zoom_out")} onPointerDown=${(/** @type {PointerEvent} */ e) => hold(e, { zoom: -SPEED })}>−</button></div>
  </div>`;
}
