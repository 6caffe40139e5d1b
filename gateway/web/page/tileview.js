// @ts-check
// One tile as it is seen: picture, name, clock, badges, and a sentence whenever there is no picture.

import { cx, html, useEffect, useRef, useState } from "./dom.js";
import { everySecond, now } from "./clock.js";
import { say, t, tk } from "./i18n.js";
import { Icon } from "./icons.js";
import { TilePlayer } from "./player/tile.js";
import { PtzPad } from "./ptz.js";
import { byOwnName, codecName, mayDo, standing } from "./shapes.js";
import { assisting, backToLive, changeTile, emptyTile, focusTile, openDialog, players, refreshCamera, store, toggleSingle } from "./state.js";
import { toggleSound } from "./sound.js";
import { saveSnapshot } from "./save.js";
import { useStore } from "./store.js";
import { clock, clockRange, day, momentText } from "./time.js";

const DWELL_MS = 600, REST_MS = 8000;
/** @type {import("./shapes.js").Lease[]} */
const NO_LEASES = [];

/** Whether the tile shows more pixels than the sub stream has. @param {HTMLElement | null} stage @param {import("./shapes.js").Camera} camera */
function outgrows(stage, camera) {
  const width = (stage?.clientWidth || 0) * devicePixelRatio;
  return width > (camera.streams?.sub?.width || 640) * 1.15;
}

/** @param {{player: {current: TilePlayer | null}, replaying: boolean}} props */
function TileClock({ player, replaying }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    const draw = () => {
      const at = replaying ? player.current?.position() ?? now() : now();
      if (box.current) /** @type {HTMLElement[]} */ ([...box.current.children]).forEach((part, i) => { part.textContent = i ? clock(at) : day(at); });
    };
    draw();
    if (!replaying) return everySecond(draw);
    const timer = setInterval(draw, 250);
    return () => clearInterval(timer);
  }, [replaying]);
  return html`<time class="tile-clock" ref=${box}><span></span><b></b></time>`;
}

/** @param {{camera: import("./shapes.js").Camera}} props */
function Watermark({ camera }) {
  const session = useStore(store, (s) => s.session);
  const wanted = Boolean(camera.watermark ?? session?.watermark?.always);
  const [, again] = useState(0);
  useEffect(() => (wanted ? everySecond(() => { if (Math.floor(now() / 1000) % 60 === 0) again((n) => n + 1); }) : undefined), [wanted]);
  if (!wanted) return null;
  const text = `${session?.watermark?.text || session?.name || ""} ${day(now())} ${clock(now(), false)}`;
  return html`<div class="watermark" aria-hidden="true">${Array.from({ length: 6 }, (_, i) => html`<span key=${i}>${text}</span>`)}</div>`;
}

/** A lower tier's camera that no lease shows now. @param {import("./shapes.js").Camera} camera */
const unpulled = (camera) => camera.origin === "lower" && !camera.lease_id;

/** What became of the last pull that showed the camera. @param {import("./shapes.js").Camera} camera @param {import("./shapes.js").Lease[]} leases */
function pullWords(camera, leases) {
  const last = leases.filter((one) => one.side === "held" && one.cameras.includes(camera.id)).sort((a, b) => b.issued_ms - a.issued_ms)[0];
  if (!last) return { title: t("tile.unpulled"), text: t("tile.unpulled_text") };
  const over_ms = last.ended_ms ?? Math.min(last.expires_ms, now());
  return { title: t("tile.pull_over"), text: t("tile.pull_over_text", { at: momentText(over_ms, now(), false), case: last.case, why: tk("lease_end", last.end_reason || "expired") }) };
}

/** Why the small stream stands in for the large one. @param {import("./player/tile.js").Status} status */
function limitedWords(status) {
  const { missing } = status;
  if (!missing) return say(status.note) || t("tile.limited");
  const why = say(missing.reason) || t(missing.state === "offline" ? "tile.offline" : missing.state === "codec" ? "tile.codec" : "tile.forbidden");
  return t("tile.without_main", { why });
}

/** The sentence in place of a picture. @param {import("./player/tile.js").Status} status @param {import("./shapes.js").Camera} camera 
 * @param {import("./shapes.js").Lease[]} leases @returns {{title: string, text: string} | null} */
function words(status, camera, leases) {
  const reason = say(status.reason);
  switch (status.state) {
    case "connecting": return { title: t("tile.connecting"), text: reason };
    case "replay_wait": return { title: t("tile.opening_footage"), text: "" };
    case "offline": return { title: t("tile.offline"), text: reason || tk("cause", camera.streams?.main?.cause || "camera_offline") };
    case "disabled": return { title: t("standing.disabled"), text: t("tile.disabled") };
    case "forbidden": if (unpulled(camera)) return pullWords(camera, leases); return { title: t("tile.forbidden"), text: reason || t("tile.forbidden_text") };
    case "gone": return { title: t("tile.gone"), text: reason };
    case "codec": return { title: t("tile.codec"), text: reason || t(status.method === "hls" ? "tile.codec_replay" : "tile.codec_text", { codec: codecName(status.codec || camera.streams?.main?.codec) }) };
    case "no_footage": return { title: t("tile.no_footage"), text: reason || t("tile.no_footage_text") };
    case "error": return { title: t("tile.error"), text: reason || t("tile.error_text") };
    default: return null;
  }
}

/** @param {{tile: import("./state.js").Tile, place: number, hidden: boolean, big: boolean, onDrop: (e: DragEvent, key: number) => void}} props */
export function TileView({ tile, place, hidden, big, onDrop }) {
  const camera = useStore(store, (s) => (tile.camera ? s.cameras.get(tile.camera) || null : null));
  const loaded = useStore(store, (s) => s.camerasLoaded);
  const focusedNow = useStore(store, (s) => s.focus === tile.key);
  const ptz = useStore(store, (s) => s.ptz && s.focus === tile.key);
  const single = useStore(store, (s) => s.single === tile.key);
  const mayPull = useStore(store, (s) => byOwnName(s.session));
  const stage = useRef(/** @type {HTMLElement | null} */ (null));
  const player = useRef(/** @type {TilePlayer | null} */ (null));
  const [status, setStatus] = useState(/** @type {import("./player/tile.js").Status} */ ({ state: "empty", reason: null, stream: null, method: null, limited: false, stale_s: 0, codec: null, note: null, skipped: null, missing: null }));
  const [near, setNear] = useState(false);
  const [rested, setRested] = useState(false);
  const [over, setOver] = useState(false);

  useEffect(() => {
    const one = new TilePlayer(/** @type {HTMLElement} */ (stage.current), setStatus);
    one.onCaughtUp = () => backToLive(tile.key);
    player.current = one;
    players.set(tile.key, one);
    return () => {
      players.delete(tile.key);
      one.destroy();
    };
  }, []);

  // The better stream comes after a moment's look, so that walking over the wall does not open one behind each step.
  useEffect(() => {
    const looking = focusedNow || big;
    const timer = setTimeout(() => setNear(looking), looking ? DWELL_MS : 1500);
    return () => clearTimeout(timer);
  }, [focusedNow, big]);
  // What a single tile hides goes on for a while: the way back is mostly short.
  useEffect(() => {
    const timer = setTimeout(() => setRested(hidden), hidden ? REST_MS : 0);
    return () => clearTimeout(timer);
  }, [hidden]);

  useEffect(() => {
    const main = Boolean(camera && near && (ptz || outgrows(stage.current, camera)));
    player.current?.show({
      camera, replay: tile.playback, rate: tile.rate, paused: tile.paused, sound: tile.sound, active: !rested,
      live: { stream: main ? "main" : "sub", quick: focusedNow && (main || ptz) },
    });
  }, [camera, near, rested, ptz, focusedNow, big, tile.playback, tile.rate, tile.paused, tile.sound]);

  useEffect(() => {
    if (status.state === "gone" && tile.camera) void refreshCamera(tile.camera);
  }, [status.state]);

  const replaying = tile.playback !== null;
  const leases = useStore(store, (s) => (camera && unpulled(camera) ? s.leases : NO_LEASES));
  const sentence = camera ? words(status, camera, leases) : null;
  const missing = tile.camera && !camera && loaded;
  const picture = status.state === "playing" || status.state === "stale" || status.state === "replay";
  /** @param {Event} e @param {() => void} act */
  const press = (e, act) => { e.stopPropagation(); act(); };

  return html`<article class=${cx("tile", focusedNow && "focused", single && "is-single", hidden && "hidden", over && "over", place === 0 && "first", replaying && "replaying", !tile.camera && "empty")}
      style=${{ order: String(place) }} tabindex="0" data-tile=${place} data-state=${status.state} data-stream=${status.stream || ""} data-method=${status.method || ""} data-camera=${tile.camera || ""}
      aria-label=${camera ? `${camera.name}: ${sentence ? sentence.title : t("tile.picture")}` : t("tile.empty_label", { place: place + 1 })}
      onMouseDown=${() => focusTile(tile.key)} onFocus=${() => focusTile(tile.key)} onDblClick=${() => camera && toggleSingle(tile.key)} draggable=${Boolean(tile.camera) && !ptz}
      onDragStart=${(/** @type {DragEvent} */ e) => e.dataTransfer?.setData("text/x-tiergate-tile", String(tile.key))}
      onDragOver=${(/** @type {DragEvent} */ e) => { e.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)}
      onDrop=${(/** @type {DragEvent} */ e) => { setOver(false); onDrop(e, tile.key); }}>
    <div class="stage" ref=${stage}></div>
    ${!tile.camera && html`<p class="tile-empty"><${Icon} name="plus" />${t("tile.drop_here")}</p>`}
    ${missing && html`<div class="tile-words"><strong>${t("tile.gone")}</strong><span>${t("tile.gone_text")}</span></div>`}
    ${camera && html`
      ${sentence && html`<div class=${cx("tile-words", `is-${status.state}`)} role="status"><strong>${sentence.title}</strong>${sentence.text && html`<span>${sentence.text}</span>`}
        ${status.state === "forbidden" && unpulled(camera) && mayPull && html`<button type="button" class="small" onClick=${(/** @type {Event} */ e) => press(e, () => openDialog("pull", { cameras: [camera.id] }))}>${t("tile.pull_again")}</button>`}
        ${(status.state === "no_footage" || status.state === "error" || (status.state === "codec" && replaying) || (status.state === "forbidden" && replaying)) && html`<button type="button" class="small" onClick=${(/** @type {Event} */ e) => press(e, () => backToLive(tile.key))}>${t("timeline.live")}</button>`}</div>`}
      ${picture && html`<${Watermark} camera=${camera} />`}
      <header class="tile-top"><span class=${`dot ${standing(camera)}`} aria-hidden="true"></span><span class="tile-name">${camera.name}</span>
        ${replaying ? html`<b class="badge replay">${t("badge.replay")}${tile.rate !== 1 ? ` ×${tile.rate}` : ""}</b>` : null}
        ${tile.playback?.why && html`<b class="badge assist" title=${tile.playback.why.reason}>${t("badge.assist", { case: tile.playback.why.case_no })}</b>`}
        ${camera.lease_id && html`<b class="badge lease">${t("badge.lease")}</b>`}
        ${camera.health && camera.health.verdict !== "ok" && html`<b class="badge bad">${tk("health", camera.health.verdict)}</b>`}
        ${status.limited && html`<b class="badge" title=${limitedWords(status)}>SD</b>`}
        ${status.state === "stale" && html`<b class="badge bad" role="status">${t("badge.stale", { seconds: status.stale_s })}</b>`}
        <span class="grow"></span><${TileClock} player=${player} replaying=${replaying} /></header>
      ${status.skipped && html`<p class="tile-skip" role="status">${skipWords(camera.id, status.skipped)}</p>`}
      <footer class="tile-tools" onDblClick=${(/** @type {Event} */ e) => e.stopPropagation()}>
        <span class="tile-quality">${picture && !replaying ? `${status.stream === "main" ? "HD" : "SD"}${status.method === "whep" ? " · RTC" : ""}` : ""}</span><span class="grow"></span>
        ${camera.audio && picture && html`<button type="button" class="tool" title=${`${t(tile.sound ? "tile.mute" : "tile.unmute")} (M)`} aria-label=${t(tile.sound ? "tile.mute" : "tile.unmute")}
          onClick=${(/** @type {Event} */ e) => press(e, () => toggleSound(tile, camera))}><${Icon} name=${tile.sound ? "sound" : "mute"} /></button>`}
        ${camera.ptz && mayDo(camera, "ptz") && !replaying && html`<button type="button" class=${cx("tool", ptz && "on")} aria-pressed=${ptz} title=${`${t("ptz.label")} (Z)`} aria-label=${t("ptz.label")}
          onClick=${(/** @type {Event} */ e) => press(e, () => store.set((s) => ({ ptz: !(s.ptz && s.focus === tile.key), focus: tile.key })))}><${Icon} name="ptz" /></button>`}
        ${mayDo(camera, "snapshot") && !assisting(tile) && html`<button type="button" class="tool" title=${`${t("act.snapshot")} (S)`} aria-label=${t("act.snapshot")}
          onClick=${(/** @type {Event} */ e) => press(e, () => void saveSnapshot(camera, replaying ? player.current?.position() : undefined))}><${Icon} name="camera" /></button>`}
        <button type="button" class="tool" title=${`${t(single ? "tile.shrink" : "tile.single")} (Enter)`} aria-label=${t(single ? "tile.shrink" : "tile.single")}
          onClick=${(/** @type {Event} */ e) => press(e, () => toggleSingle(tile.key))}><${Icon} name=${single ? "shrink" : "expand"} /></button>
        <button type="button" class="tool" title=${`${t("tile.remove")} (Del)`} aria-label=${t("tile.remove")} onClick=${(/** @type {Event} */ e) => press(e, () => emptyTile(tile.key))}><${Icon} name="close" /></button>
      </footer>
      ${ptz && html`<${PtzPad} camera=${camera} />`}`}
  </article>`;
}

/** @type {Map<string, import("./shapes.js").Span[]>} */
export const knownSpans = new Map();

/** @param {string} camera @param {{from_ms: number, to_ms: number}} skipped */
const skipWords = (camera, skipped) => (skipped.to_ms < skipped.from_ms
  ? t("tile.not_yet", { at: momentText(skipped.from_ms, now()), newest: momentText(skipped.to_ms, now()) })
  : `${t("tile.skipped", { range: clockRange(skipped.from_ms, skipped.to_ms) })} ${skipCause(camera, skipped)}`);

/** What the timeline knows about a hole that playing crossed. @param {string} camera @param {{from_ms: number, to_ms: number}} hole */
function skipCause(camera, hole) {
  const middle = (hole.from_ms + hole.to_ms) / 2;
  const span = (knownSpans.get(camera) || []).find((one) => one.kind !== "footage" && one.kind !== "open" && one.from_ms <= middle && one.to_ms >= middle);
  if (!span) return "";
  return say(span.reason) || tk("cause", span.cause) || tk("span", span.kind);
}
