// @ts-check
// Registering, changing and removing cameras.

import { html, useState } from "../dom.js";
import { get, patch, post, remove } from "../api.js";
import { standingText } from "../tree.js";
import { Dialog } from "../dialogs/dialog.js";
import { Form } from "../form.js";
import { say, t, tk } from "../i18n.js";
import { codecName, standing } from "../shapes.js";
import { refreshCameras, store, toast } from "../state.js";
import { useStore } from "../store.js";
import { day, fromInput, stamp } from "../time.js";
import { Confirm, Page, Table, doing, useList } from "./parts.js";

/** So many of the newest answers of an owner's recorder. */
const SHOWN_CHECKS = 6;
const MOST_ROWS = 500;
const SHARING = ["none", "departments", "upper"];
const SITES = ["street", "crossing", "traffic_artery", "checkpoint", "square", "station", "market", "commercial_centre", "stadium", "park", "school_surroundings", "religious_site_outside", "government_office",
  "service_hall", "command_room", "entrance", "residential_compound", "car_park", "corridor", "warehouse", "construction_site", "river", "forest", "scenic_spot", "other"];

/** What a probe found, in a few lines. @param {{found: any}} props */
function Found({ found }) {
  return html`<div class="found" role="status">${(found.items || []).map((/** @type {any} */ one, /** @type {number} */ i) => html`<div key=${i}><strong>${[one.channel, one.name, one.manufacturer, one.model].filter(Boolean).join(" · ") || t("cameras.found")}</strong>
    <ul>${(one.streams || []).map((/** @type {any} */ s) => html`<li key=${s.stream}><b>${s.stream}</b> ${[s.codec, s.width && `${s.width}×${s.height}`].filter(Boolean).join(" · ")}</li>`)}</ul>
    ${typeof one.clock_offset_s === "number" && html`<small>${t("cameras.clock", { seconds: one.clock_offset_s.toFixed(1) })}</small>`}</div>`)}</div>`;
}

/** What the node thinks of the account that a camera was given. @param {any} camera as registering and changing answer */
const warn = (camera) => { for (const warning of camera.warnings || []) toast(warning, "bad"); };

/** @param {{onClose: () => void}} props */
export function AddDialog({ onClose }) {
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [values, setValues] = useState(/** @type {any} */ ({ way: "url" }));
  const regions = useStore(store, (s) => s.regions);
  const departments = useList("/departments");
  /** @param {any} v */
  const account = (v) => ({ [v.way === "onvif" ? "onvif" : "url"]: v.address.trim(), username: v.username || undefined, password: v.password || undefined });
  const probe = async () => {
    setFound(null);
    const answer = await doing(() => post("/cameras/probe", account(values)), t("cameras.probed"));
    if (answer) setFound(answer);
  };
  return html`<${Dialog} title=${t("cameras.add")} onClose=${onClose} wide>
    <${Form} two submit=${t("cameras.add")} onCancel=${onClose} onChange=${setValues}
      onSubmit=${(/** @type {any} */ v) => post("/cameras", { name: v.name.trim(), ...account(v), sub_url: v.way === "url" && v.sub_url ? v.sub_url.trim() : undefined,
        channel: v.channel || undefined, sharing: v.sharing, region: v.region || undefined, department: v.department || undefined, place: v.place || undefined, site_type: v.site_type || undefined })}
      onDone=${(/** @type {any} */ camera) => { toast(t("cameras.added", { name: camera.name }), "good"); warn(camera); void refreshCameras(); onClose(); }} fields=${[
        { name: "way", label: t("cameras.way"), type: "radio", value: "url", options: [["url", "RTSP"], ["onvif", "ONVIF"]] },
        { name: "address", label: values.way === "onvif" ? t("cameras.onvif") : t("cameras.url"), required: true, mono: true, also: ["url", "onvif", "scheme", "address", "host"], placeholder: values.way === "onvif" ? "192.0.2.10:80" : "rtsp://192.0.2.10/main" },
        { name: "sub_url", label: t("cameras.sub_url"), mono: true, when: (/** @type {any} */ v) => v.way === "url" },
        { name: "username", label: t("cameras.username") }, { name: "password", label: t("cameras.password"), type: "password", autocomplete: "new-password" },
        { name: "name", label: t("cameras.name"), required: true },
        { name: "channel", label: t("cameras.channel"), when: (/** @type {any} */ v) => v.way === "onvif", hint: t("cameras.channel_hint") },
        { name: "sharing", label: t("cameras.sharing"), type: "select", value: "none", options: SHARING.map((s) => [s, tk("sharing", s)]) },
        { name: "region", label: t("cameras.region"), type: "select", options: [["", t("cameras.node_region")], ...regions.map((r) => [r.code, `${r.name} ${r.code}`])] },
        { name: "department", label: t("cameras.department"), type: "select", options: [["", "–"], ...(departments.items || []).map((d) => [d.id, d.name])] },
        { name: "site_type", label: t("cameras.site_type"), type: "select", value: "street", hint: t("cameras.site_type_hint"), options: SITES.map((s) => [s, tk("site", s)]) }, { name: "place", label: t("cameras.place") },
      ]}><div class="form-acts start"><button type="button" disabled=${!values.address} onClick=${() => void probe()}>${t("cameras.probe")}</button></div>${found && html`<${Found} found=${found} />`}<//><//>`;
}

/** @param {{camera: any, onClose: () => void}} props */
function EditDialog({ camera, onClose }) {
  return html`<${Dialog} title=${camera.name} onClose=${onClose} wide><p class="mono dim">${camera.id}</p>
    <${Form} two submit=${t("save")} onCancel=${onClose} onSubmit=${(/** @type {any} */ v) => patch(`/cameras/${camera.id}`, { name: v.name, place: v.place || null, sharing: v.sharing, recorded_by: v.recorded_by, enabled: v.enabled, audio: v.audio,
      audio_basis: v.audio ? v.audio_basis : undefined, url: v.url === camera.streams?.main?.url ? undefined : v.url || undefined, sub_url: v.sub_url === (camera.streams?.sub?.url || "") ? undefined : v.sub_url,
      username: v.username || undefined, password: v.password || undefined })}
      onDone=${(/** @type {any} */ changed) => { warn(changed); void refreshCameras(); onClose(); }} fields=${[
        { name: "name", label: t("cameras.name"), value: camera.name, required: true }, { name: "place", label: t("cameras.place"), value: camera.place || "" },
        { name: "sharing", label: t("cameras.sharing"), type: "select", value: camera.sharing, options: SHARING.map((s) => [s, tk("sharing", s)]) },
        { name: "recorded_by", label: t("cameras.recorded_by"), type: "select", value: camera.recorded_by, options: [["self", t("recorded.self")], ["owner", t("recorded.owner")]] },
        { name: "url", label: t("cameras.url"), value: camera.streams?.main?.url || "", mono: true, also: ["url", "scheme", "address"] }, { name: "sub_url", label: t("cameras.sub_url"), value: camera.streams?.sub?.url || "", mono: true },
        { name: "username", label: t("cameras.username"), hint: t("cameras.account_hint") }, { name: "password", label: t("cameras.password"), type: "password", autocomplete: "new-password" },
        { name: "enabled", label: t("cameras.enabled"), type: "checkbox", value: camera.enabled }, { name: "audio", label: t("cameras.audio"), type: "checkbox", value: camera.audio },
        { name: "audio_basis", label: t("cameras.audio_basis"), required: true, when: (/** @type {any} */ v) => v.audio },
      ]} /><//>`;
}

/** What its owner answers for, of a camera that somebody else's recorder keeps. @param {{camera: any, onClose: () => void}} props */
function AttestDialog({ camera, onClose }) {
  const { items, error, load } = useList(`/cameras/${camera.id}/attestations`);
  const [newest] = items || [];
  const checks = useList(`/cameras/${camera.id}/owner-checks`, {}, SHOWN_CHECKS);
  const [asking, setAsking] = useState(false);
  const ask = async () => {
    setAsking(true);
    try {
      const answer = await post(`/cameras/${camera.id}/owner-checks`, {});
      toast(answer.reason, answer.state === "present" ? "good" : "bad");
      await checks.load();
    } catch (problem) { toast(problem, "bad"); } finally { setAsking(false); }
  };
  const words = newest && t("cameras.attested", { by: newest.attested_by, days: newest.days, document: newest.document, until: day(newest.valid_until_ms) });
  return html`<${Dialog} title=${camera.name} onClose=${onClose}><p class="mono dim">${camera.id}</p><p class="fine">${t("cameras.attest_note")}</p>
    ${items && html`<p class="plain" role="status">${error ? say(error) : words || t("cameras.attest_none")}</p>`}
    <div class="found" id="owner-checks">${checks.items && (checks.error ? say(checks.error) : checks.items.length === 0 ? t("cameras.check_none") : html`<ul>${checks.items.slice(0, SHOWN_CHECKS).map((/** @type {any} */ row) =>
      html`<li key=${row.id} data-verdict=${row.verdict}><b>${tk("check", row.verdict)}</b> ${stamp(row.at_ms)}: ${say(row.reason)}</li>`)}</ul>`)}
      <button type="button" class="small" disabled=${asking} onClick=${ask}>${t(asking ? "busy" : "cameras.check_now")}</button></div>
    <${Form} submit=${t("save")} onCancel=${onClose} onSubmit=${(/** @type {any} */ v) => post(`/cameras/${camera.id}/attestations`, { days: Number(v.days), attested_by: v.attested_by.trim(), document: v.document.trim(), valid_until: fromInput(v.valid_until) })}
      onDone=${(/** @type {any} */ answer) => { toast(answer.reason, answer.state === "attested" ? "good" : "bad"); void load(); }} fields=${[
        { name: "days", label: t("cameras.attest_days"), type: "number", value: "30", min: 0, max: 3660, required: true }, { name: "attested_by", label: t("cameras.attest_by"), required: true },
        { name: "document", label: t("cameras.attest_document"), required: true }, { name: "valid_until", label: t("cameras.attest_until"), type: "date", required: true },
      ]} /><//>`;
}

export function CamerasPage() {
  const cameras = useStore(store, (s) => s.cameras);
  const [query, setQuery] = useState("");
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...cameras.values()].filter((c) => c.origin !== "lower" && words.every((w) => `${c.name} ${c.id} ${c.region_name || ""} ${c.department || ""}`.toLowerCase().includes(w)));
  const close = () => setOpen(null);
  return html`<${Page} title=${t("admin.cameras")} tools=${html`<input type="search" placeholder=${t("tree.search")} aria-label=${t("tree.search")} value=${query} onInput=${(/** @type {any} */ e) => setQuery(e.target.value)} />
      <button type="button" class="primary" id="camera-add" onClick=${() => setOpen({ what: "add" })}>${t("cameras.add")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ c) => c.id} rows=${rows.slice(0, MOST_ROWS)} cut=${rows.length > MOST_ROWS} dim=${(/** @type {any} */ c) => !c.enabled} empty=${t("tree.no_cameras")} columns=${[
      { name: "state", label: t("cameras.state"), show: (/** @type {any} */ c) => html`<span class=${`dot ${standing(c)}`}></span> ${standingText(c)}`, wide: true },
      { name: "name", label: t("cameras.name") }, { name: "id", label: t("cameras.id"), mono: true }, { name: "region", label: t("cameras.region"), show: (/** @type {any} */ c) => c.region_name || c.region },
      { name: "department", label: t("cameras.department"), show: (/** @type {any} */ c) => c.department || "–" },
      { name: "class", label: t("cameras.class"), show: (/** @type {any} */ c) => tk("class", c.area_class || "default") },
      { name: "video", label: t("cameras.video"), show: (/** @type {any} */ c) => { const s = c.streams?.main || {}; return s.width ? `${s.width}×${s.height} ${codecName(s.codec)}` : "–"; }, mono: true },
      { name: "sharing", label: t("cameras.sharing"), show: (/** @type {any} */ c) => tk("sharing", c.sharing) },
    ]} acts=${(/** @type {any} */ c) => html`${c.recorded_by === "owner" && html`<button type="button" class="small" onClick=${() => setOpen({ what: "attest", camera: c })}>${t("cameras.attest")}</button>`}
      <button type="button" class="small" onClick=${async () => setOpen({ what: "edit", camera: await get(`/cameras/${c.id}`).catch(() => c) })}>${t("edit")}</button>
      <button type="button" class="small" onClick=${() => void doing(() => patch(`/cameras/${c.id}`, { enabled: !c.enabled }), t("saved")).then(refreshCameras)}>${t(c.enabled ? "cameras.disable" : "cameras.enable")}</button>
      <button type="button" class="small danger" onClick=${() => setOpen({ what: "remove", camera: c })}>${t("remove")}</button>`} />
    ${open?.what === "add" && html`<${AddDialog} onClose=${close} />`}${open?.what === "attest" && html`<${AttestDialog} camera=${open.camera} onClose=${close} />`}
    ${open?.what === "edit" && html`<${EditDialog} camera=${open.camera} onClose=${close} />`}
    ${open?.what === "remove" && html`<${Confirm} title=${t("remove")} text=${t("cameras.remove_text", { name: open.camera.name })} act=${t("remove")} onClose=${close}
      onYes=${() => doing(() => remove(`/cameras/${open.camera.id}`), t("removed")).then(refreshCameras)} />`}<//>`;
}
