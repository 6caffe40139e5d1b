// @ts-check
// The bar under the wall: the focused tile's recording, and everything that moves it in time.

import { cx, html, useEffect, useRef, useState } from "./dom.js";
import { get } from "./api.js";
import { learn, now } from "./clock.js";
import { say, t, tk } from "./i18n.js";
import { Icon } from "./icons.js";
import { mayDo } from "./shapes.js";
import { assisting, backToLive, changeTile, focused, openDialog, playFrom, players, position, store } from "./state.js";
import { saveSnapshot } from "./save.js";
import { useStore } from "./store.js";
import { CAUSE_COLOURS, KEY_COLOUR, TimelineCanvas, spanSentence } from "./timeline_canvas.js";
import { MOST_MS, around, clamp, neighbourGap, pan, spanAt, zoom } from "./timeline_model.js";
import { knownSpans } from "./tileview.js";
import { DAY, HOUR, MINUTE, SECOND, day, fromInput, parseMoment, rangeText } from "./time.js";

export const SPEEDS = [0.5, 1, 2, 4];
const WIDTHS = /** @type {[string, number][]} */ ([["10m", 10 * MINUTE], ["1h", HOUR], ["6h", 6 * HOUR], ["1d", DAY], ["7d", 7 * DAY], ["30d", 30 * DAY]]);

// --- acts on the focused tile, shared with the keyboard -------------------------------------------------------------

/** @param {number} by_ms */
export function jump(by_ms) {
  const at = focused();
  if (at && mayDo(at.camera, "playback")) playFrom(at.tile.key, position(at.tile.key) + by_ms);
}
export function live() {
  const at = focused();
  if (at) backToLive(at.tile.key);
  dispatchEvent(new Event("tiergate:live"));
}
export function togglePause() {
  const at = focused();
  if (!at) return;
  if (at.tile.playback) changeTile(at.tile.key, { paused: !at.tile.paused });
  else if (mayDo(at.camera, "playback")) jump(-10 * SECOND);
}
/** @param {number} direction */
export function step(direction) {
  const at = focused();
  if (!at?.tile.playback) return;
  if (!at.tile.paused) changeTile(at.tile.key, { paused: true });
  players.get(at.tile.key)?.step(direction);
}
/** @param {number} direction */
export function faster(direction) {
  const at = focused();
  if (!at?.tile.playback) return;
  const next = SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, SPEEDS.indexOf(at.tile.rate) + direction))];
  changeTile(at.tile.key, { rate: next });
}
export function snapshotFocused() {
  const at = focused();
  if (at && mayDo(at.camera, "snapshot") && !assisting(at.tile)) void saveSnapshot(at.camera, at.tile.playback ? position(at.tile.key) : undefined);
}
export function clipFocused() {
  const at = focused();
  if (!at || !mayDo(at.camera, "export") || assisting(at.tile)) return;
  const to = Math.min(now(), position(at.tile.key) + 30 * SECOND);
  openDialog("clip", { camera: at.camera.id, from_ms: to - MINUTE, to_ms: to });
}
export function assistFocused() {
  const at = focused();
  if (!at || !mayDo(at.camera, "playback") || store.get().session?.kind !== "user") return;
  openDialog("assist", { tile: at.tile.key, camera: at.camera.id, at_ms: Math.min(now() - MINUTE, position(at.tile.key)) });
}

// --- the spans of a camera ------------------------------------------------------------------------------------------

/** Spans for the view, with a margin; asked again when the view leaves what is known, and each 10 s near now.
 * @param {import("./shapes.js").Camera | null} camera @param {import("./timeline_model.js").View} view */
function useSpans(camera, view) {
  const epoch = useStore(store, (s) => s.timelineEpoch);
  const [spans, setSpans] = useState(/** @type {import("./shapes.js").Span[]} */ ([]));
  const [error, setError] = useState(/** @type {any} */ (null));
  const [beat, setBeat] = useState(0);
  const has = useRef({ id: "", from_ms: 0, to_ms: 0, width: 0, epoch: -1, beat: -1 });
  const id = camera?.id || "";

  useEffect(() => {
    const timer = setInterval(() => setBeat((n) => n + 1), 10_000);
    return () => clearInterval(timer);
  }, []);
  useEffect(() => {
    if (has.current.id !== id) {
      setSpans([]);
      setError(null);
      has.current = { id, from_ms: 0, to_ms: 0, width: 0, epoch: -1, beat: -1 };
    }
    if (!camera || !(mayDo(camera, "playback") || mayDo(camera, "status"))) return;
    const width = view.to_ms - view.from_ms, known = has.current;
    const inside = view.from_ms >= known.from_ms && Math.min(view.to_ms, now()) <= known.to_ms && width > known.width / 8;
    const stale = known.epoch !== epoch || (known.beat !== beat && view.to_ms > now() - MINUTE);
    if (inside && !stale) return;
    const stop = new AbortController();
    const timer = setTimeout(async () => {
      const margin = Math.max(0, Math.min(width / 2, (MOST_MS - width) / 2 - 1));
      const from = Math.round(view.from_ms - margin), to = Math.round(Math.min(now(), view.to_ms + margin));
      if (to <= from) return;
      const path = camera.lease_id ? `/leases/${camera.lease_id}/timeline` : `/cameras/${camera.id}/timeline`;
      try {
        const answer = await get(path, { from, to, camera: camera.lease_id ? camera.id : undefined }, stop.signal);
        learn(answer.now_ms);
        has.current = { id, from_ms: from, to_ms: to, width, epoch, beat };
        knownSpans.set(camera.id, answer.spans);
        setSpans(answer.spans);
        setError(null);
      } catch (problem) {
        if (!stop.signal.aborted) setError(problem);
      }
    }, inside ? 0 : 120);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [id, camera?.lease_id, Math.round(view.from_ms), Math.round(view.to_ms), epoch, beat]);
  return { spans, error };
}

// --- the bar ----------------------------------------------------------------------------------------------------------

/** @param {{onGo: (at_ms: number) => void, base: () => number}} props `base` is of the day that a time of day alone is of */
function TimeField({ onGo, base }) {
  const [text, setText] = useState("");
  const [bad, setBad] = useState(false);
  /** @param {Event} e */
  const go = (e) => {
    e.preventDefault();
    const at = parseMoment(text, now(), base());
    setBad(at === null);
    if (at === null) return;
    onGo(at);
    setText("");
  };
  return html`<form class=${cx("time-field", bad && "bad")} onSubmit=${go}>
    <input id="time-field" value=${text} placeholder=${t("timeline.time_hint")} aria-label=${t("timeline.time_field")} aria-invalid=${bad} autocomplete="off" spellcheck=${false}
      title=${t("timeline.time_examples")} onInput=${(/** @type {any} */ e) => { setText(e.target.value); setBad(false); }}
      onKeyDown=${(/** @type {KeyboardEvent} */ e) => { if (e.key === "Escape") /** @type {HTMLElement} */ (e.target).blur(); }} />
    ${bad && html`<span class="field-problem" role="alert">${t("timeline.time_bad")}</span>`}</form>`;
}

export function Timeline() {
  const focus = useStore(store, (s) => s.focus);
  const tile = useStore(store, (s) => s.tiles.find((one) => one.key === focus) || null);
  const camera = useStore(store, (s) => (tile?.camera ? s.cameras.get(tile.camera) || null : null));
  const [view, setView] = useState(() => clamp({ from_ms: now() - HOUR, to_ms: now() }, now()));
  const [selection, setSelection] = useState(/** @type {any} */ (null));
  const { spans, error } = useSpans(camera, view);
  const key = tile?.key ?? -1;
  const replaying = Boolean(tile?.playback);
  const isPerson = useStore(store, (s) => s.session?.kind === "user");
  const mayPlay = Boolean(camera && mayDo(camera, "playback"));
  const follow = useRef(0);
  /** Midnight of the day that was picked, until something is played or another tile is looked at. */
  const [picked, setPicked] = useState(/** @type {number | null} */ (null));

  // The view follows what plays, unless somebody has just moved it; a day that was picked stays until something is played.
  useEffect(() => {
    const timer = setInterval(() => {
      if (!camera || performance.now() - follow.current < 8000) return;
      const at = position(key);
      setView((v) => {
        const width = v.to_ms - v.from_ms;
        if (!replaying) return Math.abs(v.to_ms - now() - width * 0.08) > width / 400 ? clamp({ from_ms: now(), to_ms: now() + width }, now()) : v;
        return at < v.from_ms || at > v.to_ms - width * 0.05 ? around(at + width * 0.3, width, now()) : v;
      });
    }, 1000);
    return () => clearInterval(timer);
  }, [key, camera?.id, replaying]);
  useEffect(() => {
    const again = () => {
      follow.current = 0;
      setPicked(null);
    };
    again();
    addEventListener("tiergate:live", again);
    return () => removeEventListener("tiergate:live", again);
  }, [camera?.id, tile?.playback?.nonce]);
  useEffect(() => {
    /** @param {any} e */
    const select = (e) => setSelection(e.detail);
    addEventListener("tiergate:selection", select);
    return () => removeEventListener("tiergate:selection", select);
  }, []);
  useEffect(() => {
    if (tile?.playback) setView((v) => (tile.playback && (tile.playback.at_ms < v.from_ms || tile.playback.at_ms > v.to_ms) ? around(tile.playback.at_ms, v.to_ms - v.from_ms, now()) : v));
  }, [tile?.playback?.nonce]);

  /** @param {import("./timeline_model.js").View} next */
  const moveView = (next) => {
    follow.current = Math.max(follow.current, performance.now());
    setView(next);
  };
  /** @param {number} at_ms */
  const seek = (at_ms) => { if (mayPlay) playFrom(key, at_ms); };
  /** @param {string} text */
  const pickDay = (text) => {
    const from = fromInput(text);
    if (!Number.isFinite(from)) return;
    follow.current = Infinity;
    setPicked(from);
    moveView(clamp({ from_ms: from, to_ms: from + DAY }, now()));
  };
  /** @param {KeyboardEvent} e */
  const keys = (e) => {
    const by = e.ctrlKey ? 10 * MINUTE : e.shiftKey ? MINUTE : 10 * SECOND;
    if (e.key === "ArrowLeft") jump(-by);
    else if (e.key === "ArrowRight") jump(by);
    else if (e.key === "+" || e.key === "=") moveView(zoom(view, 0.6, position(key), now()));
    else if (e.key === "-") moveView(zoom(view, 1 / 0.6, position(key), now()));
    else if (e.key === "PageUp") moveView(pan(view, -(view.to_ms - view.from_ms) * 0.8, now()));
    else if (e.key === "PageDown") moveView(pan(view, (view.to_ms - view.from_ms) * 0.8, now()));
    else if (e.key === "g" || e.key === "G") {
      const gap = neighbourGap(spans, position(key), e.key === "g" ? 1 : -1);
      if (gap) moveView(around((gap.from_ms + gap.to_ms) / 2, view.to_ms - view.from_ms, now()));
    } else return;
    e.preventDefault();
    e.stopPropagation();
  };

  /** The day that typed times are of: where the tile is in time, not what the view happens to show. */
  const base = () => picked ?? position(key);
  const causes = [...new Set(spans.filter((one) => one.kind === "gap" && one.to_ms > view.from_ms && one.from_ms < view.to_ms).map((one) => one.cause || "unknown"))];
  const here = replaying ? spanAt(spans, position(key)) : null;
  const empty = !camera;
  return html`<section class=${cx("timeline", empty && "idle")} aria-label=${t("timeline.label")}>
    <div class="timeline-tools">
      <strong class="timeline-camera" title=${camera?.name || ""}>${camera ? camera.name : t("timeline.pick")}</strong>
      <div class="group" role="group" aria-label=${t("timeline.transport")}>
        <button type="button" class="tool wide" disabled=${!mayPlay} onClick=${() => jump(-10 * MINUTE)} title="B">${t("timeline.back_10")}</button>
        <button type="button" class="tool" disabled=${!mayPlay} onClick=${() => jump(-10 * SECOND)} title="−10 s (Shift+←)" aria-label=${t("timeline.back_10s")}><${Icon} name="back" /></button>
        <button type="button" class="tool" disabled=${!replaying} onClick=${() => step(-1)} title=", " aria-label=${t("timeline.frame_back")}><${Icon} name="stepback" /></button>
        <button type="button" class="tool main" disabled=${!mayPlay} onClick=${togglePause} title=${t("timeline.space")} aria-label=${t(replaying && !tile?.paused ? "timeline.pause" : "timeline.play")}><${Icon} name=${!replaying || !tile?.paused ? "pause" : "play"} /></button>
        <button type="button" class="tool" disabled=${!replaying} onClick=${() => step(1)} title="." aria-label=${t("timeline.frame_on")}><${Icon} name="stepon" /></button>
        <button type="button" class="tool" disabled=${!replaying} onClick=${() => jump(10 * SECOND)} title="+10 s (Shift+→)" aria-label=${t("timeline.on_10s")}><${Icon} name="forward" /></button>
      </div>
      <div class="group" role="radiogroup" aria-label=${t("timeline.speed")}>${SPEEDS.map((speed) => html`<button key=${speed} type="button" role="radio" aria-checked=${tile?.rate === speed} class=${cx("tool", "wide", replaying && tile?.rate === speed && "on")}
        disabled=${!replaying} onClick=${() => changeTile(key, { rate: speed })}>×${speed}</button>`)}</div>
      <button type="button" id="back-to-live" class=${cx("tool", "wide", "live-button", camera && !replaying && "is-live")} disabled=${!camera} onClick=${live} title="L, End" aria-pressed=${Boolean(camera) && !replaying}><i class="live-dot"></i>${t("timeline.live")}</button>
      <div class="group"><input type="date" class="day" aria-label=${t("timeline.day")} value=${day(base())} max=${day(now())} disabled=${empty} onChange=${(/** @type {any} */ e) => pickDay(e.target.value)} />
        <${TimeField} onGo=${(/** @type {number} */ at) => { moveView(around(at, Math.min(view.to_ms - view.from_ms, 2 * HOUR), now())); seek(at); }} base=${base} /></div>
      <span class="grow"></span>
      <div class="group zooms" role="group" aria-label=${t("timeline.zoom")}>${WIDTHS.map(([name, width]) => html`<button key=${name} type="button" class=${cx("tool", "wide", Math.abs((view.to_ms - view.from_ms) / width - 1) < 0.02 && "on")}
        onClick=${() => moveView(around(replaying ? position(key) : now(), width, now()))}>${t(`zoom.${name}`)}</button>`)}</div>
      <button type="button" class="tool wide" disabled=${!camera || !mayDo(camera, "snapshot") || assisting(tile)} onClick=${snapshotFocused} title=${`${t("act.snapshot")} (S)`} aria-label=${t("act.snapshot")}><${Icon} name="camera" /><span class="label">${t("act.snapshot")}</span></button>
      <button type="button" class="tool wide" disabled=${!camera || !mayDo(camera, "export") || assisting(tile)} onClick=${clipFocused} title=${`${t("act.clip")} (C)`} aria-label=${t("act.clip")}><${Icon} name="clip" /><span class="label">${t("act.clip")}</span></button>
      ${isPerson && html`<button type="button" class="tool" disabled=${!mayPlay || assisting(tile)} onClick=${assistFocused} title=${`${t("act.assist")} (A)`} aria-label=${t("act.assist")}><${Icon} name="user" /></button>`}
    </div>
    <${TimelineCanvas} view=${view} spans=${spans} position=${() => (camera ? position(key) : now())} selection=${selection} live=${!replaying} onView=${moveView} onSeek=${seek} onKey=${keys}
      label=${camera ? t("timeline.of", { name: camera.name }) : t("timeline.label")} />
    <div class="timeline-foot">
      ${error ? html`<span class="bad" role="status">${say(error)}</span>` : empty ? html`<span>${t("timeline.pick_long")}</span>`
        : !mayPlay ? html`<span>${t(camera.origin === "lower" && !camera.lease_id ? "tile.unpulled_text" : "timeline.no_playback")}</span>`
          : here && here.kind !== "footage" && here.kind !== "open" && here.kind !== "none" ? html`<span role="status">${spanSentence(here).what} ${spanSentence(here).why}</span>` : html`<span>${t("timeline.hint")}</span>`}
      <span class="grow"></span>
      <span class="legend"><i style=${{ background: "#2f7fc6" }}></i>${t("span.footage")}</span>
      ${spans.some((one) => one.kind === "footage" && one.class && one.class !== "default") && html`<span class="legend"><i style=${{ background: KEY_COLOUR }}></i>${t("tree.key_area")}</span>`}
      ${causes.map((cause) => html`<span class="legend" key=${cause}><i class="low" style=${{ background: CAUSE_COLOURS[cause] || CAUSE_COLOURS.unknown }}></i>${tk("cause", cause)}</span>`)}
      <span class="dim">${rangeText(view.from_ms, view.to_ms, false)} UTC+8</span>
    </div>
  </section>`;
}
