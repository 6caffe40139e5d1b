// @ts-check
// Draws the timeline and turns the pointer into seek, pan and zoom. Knows spans and pixels, nothing of the server.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./dom.js";
import { now } from "./clock.js";
import { say, t, tk } from "./i18n.js";
import { DAY, clock, day, parts, rangeText, span as spanText, stamp } from "./time.js";
import { coarse, pan, spanAt, ticks, zoom } from "./timeline_model.js";

/** A colour for each cause: told apart by lightness and hue, and by the tooltip's words. */
export const CAUSE_COLOURS = /** @type {Record<string, string>} */ ({
  camera_offline: "#c2554f", network: "#c98243", credentials: "#a868b0", unsupported: "#7b6fc4", recorder_down: "#cf6d8f", disk_full: "#c7b13f",
  disk_slow: "#9e9a4a", clock: "#3fa3ad", disabled: "#66707d", shed: "#8a9a54", damaged: "#9a3b3b", unknown: "#8b8f96",
});
export const KEY_COLOUR = "#2b9c86";
const FOOTAGE = "#2f7fc6", OPEN = "#4fa6ec", LANE_TOP = 22, LANE = 22;

/** @param {import("./shapes.js").Span} one */
function colour(one) {
  if (one.cause === "damaged") return CAUSE_COLOURS.damaged || "";
  if (one.kind === "footage") return one.class && one.class !== "default" ? KEY_COLOUR : FOOTAGE;
  if (one.kind === "open") return OPEN;
  if (one.kind === "gap") return CAUSE_COLOURS[one.cause || "unknown"] || CAUSE_COLOURS.unknown;
  return "";
}

/** @param {CanvasRenderingContext2D} g */
function hatch(g) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const h = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
  h.strokeStyle = "#3b4653";
  h.lineWidth = 1.5;
  h.beginPath();
  h.moveTo(-2, 10);
  h.lineTo(10, -2);
  h.stroke();
  return /** @type {CanvasPattern} */ (g.createPattern(tile, "repeat"));
}

/** @param {import("./shapes.js").Span} one */
export function spanSentence(one) {
  const range = `${rangeText(one.from_ms, one.to_ms)} (${spanText(one.to_ms - one.from_ms)})`;
  const what = one.kind === "gap" ? `${t("span.gap")}: ${tk("cause", one.cause || "unknown")}` : `${tk("span", one.kind)}${one.class ? ` · ${tk("class", one.class)}` : ""}${one.cause ? ` · ${tk("cause", one.cause)}` : ""}`;
  return { what, range, why: say(one.reason) };
}

/**
 * @param {{view: import("./timeline_model.js").View, spans: import("./shapes.js").Span[], position: () => number, selection: {from_ms: number, to_ms: number} | null, live: boolean,
 *   onView: (view: import("./timeline_model.js").View) => void, onSeek: (at_ms: number) => void, onKey: (e: KeyboardEvent) => void, label: string}} props
 */
export function TimelineCanvas({ view, spans, position, selection, live, onView, onSeek, onKey, label }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [width, setWidth] = useState(800);
  const [hover, setHover] = useState(/** @type {{x: number, at_ms: number} | null} */ (null));
  const drag = useRef(/** @type {{x: number, view: any, moved: boolean} | null} */ (null));
  const latest = useRef({ view, spans, selection, width, hover, live });
  latest.current = { view, spans, selection, width, hover, live };

  useLayoutEffect(() => {
    const element = /** @type {HTMLElement} */ (box.current);
    const watch = new ResizeObserver(() => setWidth(Math.max(100, element.clientWidth)));
    watch.observe(element);
    setWidth(Math.max(100, element.clientWidth));
    return () => watch.disconnect();
  }, []);

  const height = 62;
  useEffect(() => {
    let stop = 0;
    const draw = () => {
      const element = canvas.current;
      const g = element?.getContext("2d");
      if (!element || !g) return;
      const { view: v, spans: all, selection: chosen, width: w, hover: over } = latest.current;
      const ratio = devicePixelRatio || 1;
      if (element.width !== Math.round(w * ratio) || element.height !== Math.round(height * ratio)) {
        element.width = Math.round(w * ratio);
        element.height = Math.round(height * ratio);
      }
      g.setTransform(ratio, 0, 0, ratio, 0, 0);
      g.clearRect(0, 0, w, height);
      const length = v.to_ms - v.from_ms;
      /** @param {number} ms */
      const x = (ms) => ((ms - v.from_ms) / length) * w;
      g.fillStyle = "#0b0e12";
      g.fillRect(0, LANE_TOP, w, LANE);
      const expired = hatch(g);
      for (const one of coarse(all, length / w)) {
        if (one.to_ms < v.from_ms || one.from_ms > v.to_ms || one.kind === "none") continue;
        const left = Math.max(0, x(one.from_ms)), right = Math.min(w, x(one.to_ms));
        g.fillStyle = one.kind === "expired" ? expired : colour(one);
        g.fillRect(left, LANE_TOP, Math.max(one.kind === "gap" ? 2 : 1, right - left), LANE);
        if (one.kind === "gap") {
          // A gap also lies lower than footage: it is seen without its colour.
          g.fillStyle = "#0b0e12";
          g.fillRect(left, LANE_TOP, Math.max(2, right - left), 7);
        }
      }
      const nowX = x(now());
      if (nowX < w) {
        g.fillStyle = "rgba(20,24,30,.85)";
        g.fillRect(nowX, LANE_TOP, w - nowX, LANE);
        g.fillStyle = "#58c08c";
        g.fillRect(nowX, LANE_TOP - 4, 1.5, LANE + 8);
      }
      g.font = "11px system-ui, 'Noto Sans CJK SC', sans-serif";
      g.textBaseline = "middle";
      const { at, step_ms } = ticks(v, w);
      for (const ms of at) {
        const px = Math.round(x(ms)) + 0.5;
        const p = parts(ms), midnight = p.hour === 0 && p.minute === 0 && p.second === 0;
        g.fillStyle = midnight ? "#5a6878" : "#323c48";
        g.fillRect(px - 0.5, LANE_TOP - 4, 1, LANE + 4);
        g.fillStyle = midnight ? "#d7dde5" : "#97a4b3";
        const text = step_ms >= DAY || midnight ? day(ms).slice(5) : clock(ms, step_ms < 60_000);
        if (px > 18 && px < w - 18) {
          g.textAlign = "center";
          g.fillText(text, px, 9);
        }
      }
      if (chosen) {
        g.fillStyle = "rgba(240,190,90,.28)";
        g.fillRect(x(chosen.from_ms), LANE_TOP, Math.max(2, x(chosen.to_ms) - x(chosen.from_ms)), LANE);
      }
      if (over) {
        g.fillStyle = "rgba(215,221,229,.55)";
        g.fillRect(Math.round(over.x), LANE_TOP - 4, 1, LANE + 8);
      }
      const head = x(position());
      if (head >= -6 && head <= w + 6) {
        g.fillStyle = latest.current.live ? "#58c08c" : "#ffd37a";
        g.fillRect(head - 1, LANE_TOP - 4, 2, LANE + 10);
        g.beginPath();
        g.moveTo(head - 5, LANE_TOP - 6);
        g.lineTo(head + 5, LANE_TOP - 6);
        g.lineTo(head, LANE_TOP + 1);
        g.fill();
        const text = clock(position());
        const half = g.measureText(text).width / 2 + 5, mid = Math.min(w - half, Math.max(half, head));
        g.fillStyle = "#10151b";
        g.fillRect(mid - half, LANE_TOP + LANE + 3, half * 2, 15);
        g.fillStyle = latest.current.live ? "#8ee0b4" : "#ffd37a";
        g.textAlign = "center";
        g.fillText(text, mid, LANE_TOP + LANE + 11);
      }
    };
    draw();
    const timer = setInterval(() => { cancelAnimationFrame(stop); stop = requestAnimationFrame(draw); }, live ? 500 : 120);
    return () => {
      clearInterval(timer);
      cancelAnimationFrame(stop);
    };
  }, [view, spans, selection, width, hover, live]);

  /** @param {number} px */
  const at = (px) => view.from_ms + (px / width) * (view.to_ms - view.from_ms);
  /** @param {MouseEvent} e */
  const px = (e) => e.clientX - /** @type {HTMLElement} */ (box.current).getBoundingClientRect().left;

  useEffect(() => {
    const element = /** @type {HTMLElement} */ (box.current);
    /** @param {WheelEvent} e */
    const wheel = (e) => {
      e.preventDefault();
      const v = latest.current.view;
      if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
        onView(pan(v, ((e.deltaX || e.deltaY) / latest.current.width) * (v.to_ms - v.from_ms), now()));
        return;
      }
      const where = v.from_ms + (px(e) / latest.current.width) * (v.to_ms - v.from_ms);
      onView(zoom(v, Math.exp(e.deltaY * 0.0015), where, now()));
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, []);

  /** @param {PointerEvent} e */
  const down = (e) => {
    if (e.button) return;
    /** @type {HTMLElement} */ (e.currentTarget).setPointerCapture(e.pointerId);
    drag.current = { x: px(e), view, moved: false };
  };
  /** @param {PointerEvent} e */
  const move = (e) => {
    const x = px(e);
    const held = drag.current;
    if (held && (held.moved || Math.abs(x - held.x) > 4)) {
      held.moved = true;
      onView(pan(held.view, (-(x - held.x) / width) * (view.to_ms - view.from_ms), now()));
      setHover(null);
      return;
    }
    setHover({ x, at_ms: at(x) });
  };
  /** @param {PointerEvent} e */
  const up = (e) => {
    const held = drag.current;
    drag.current = null;
    if (held && !held.moved) onSeek(at(px(e)));
  };

  const under = hover ? spanAt(spans, hover.at_ms) : null;
  const words = under && under.kind !== "none" ? spanSentence(under) : null;
  return html`<div class="timeline-box" ref=${box} tabindex="0" role="slider" aria-label=${label} aria-valuemin=${Math.round(view.from_ms)} aria-valuemax=${Math.round(view.to_ms)}
      aria-valuenow=${Math.round(position())} aria-valuetext=${stamp(position())} onKeyDown=${onKey}
      onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} onPointerCancel=${() => { drag.current = null; }} onPointerLeave=${() => { if (!drag.current) setHover(null); }}>
    <canvas ref=${canvas} class="timeline-canvas" aria-hidden="true"></canvas>
    ${hover && html`<div class="timeline-tip" role="tooltip" style=${{ left: `${Math.min(width - 150, Math.max(150, hover.x))}px` }}>
      <strong>${stamp(hover.at_ms)}</strong>${words && html`<span>${words.what}</span><span class="dim">${words.range}</span>${words.why && html`<span>${words.why}</span>`}`}</div>`}
  </div>`;
}
