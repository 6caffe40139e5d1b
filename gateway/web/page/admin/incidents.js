// @ts-check
// Incidents, which open a wall or fill the pull dialog, and all pulls that are or were.

import { html, useState } from "../dom.js";
import { patch, post } from "../api.js";
import { Extend, confirmLease, endPull } from "../banners.js";
import { now, useNow } from "../clock.js";
import { Dialog } from "../dialogs/dialog.js";
import { Form } from "../form.js";
import { t, tk } from "../i18n.js";
import { lease, running, unconfirmed } from "../shapes.js";
import { openDialog, refreshLeases, showCameras, store, toast } from "../state.js";
import { useStore } from "../store.js";
import { fromInput, inputStamp, stamp } from "../time.js";
import { Page, Table, doing, useList } from "./parts.js";

const MOST_PULLS = 2000;

export function IncidentsPage() {
  const incidents = useList("/incidents", { closed: true });
  const cameras = useStore(store, (s) => s.cameras);
  const [open, setOpen] = useState(false);
  const close = () => setOpen(false);
  return html`<${Page} title=${t("admin.incidents")} tools=${html`<button type="button" class="primary" onClick=${() => setOpen(true)}>${t("incidents.add")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ i) => i.id} rows=${incidents.items} cut=${incidents.cut} error=${incidents.error} dim=${(/** @type {any} */ i) => Boolean(i.closed_ms)} columns=${[
      { name: "number", label: t("incidents.number") }, { name: "place", label: t("incidents.place"), wide: true }, { name: "at_ms", label: t("incidents.at"), show: (/** @type {any} */ i) => stamp(i.at_ms, false) },
      { name: "cameras", label: t("areas.cameras"), show: (/** @type {any} */ i) => (i.cameras || []).length, end: true }, { name: "closed_ms", label: t("tokens.state"), show: (/** @type {any} */ i) => (i.closed_ms ? stamp(i.closed_ms, false) : t("incidents.open")) },
    ]} acts=${(/** @type {any} */ i) => !i.closed_ms && html`<button type="button" class="small" onClick=${() => showCameras((i.cameras || []).slice(0, 16))}>${t("incidents.wall")}</button>
      <button type="button" class="small" onClick=${() => openDialog("pull", { incident: i, cameras: i.cameras })}>${t("view.pull")}</button><button type="button" class="small" onClick=${() => void doing(() => patch(`/incidents/${i.id}`, { closed: true }), t("saved")).then(incidents.load)}>${t("incidents.close")}</button>`} />
    ${open && html`<${Dialog} title=${t("incidents.add")} onClose=${close}><${Form} submit=${t("save")} onCancel=${close} onDone=${() => { close(); void incidents.load(); }} onSubmit=${(/** @type {any} */ v) => post("/incidents", { number: v.number.trim(), place: v.place.trim(), at: fromInput(v.at), cameras: v.cameras })}
      fields=${[{ name: "number", label: t("incidents.number"), required: true }, { name: "place", label: t("incidents.place"), required: true }, { name: "at", label: t("incidents.at"), type: "datetime", value: inputStamp(now()), required: true },
        { name: "cameras", label: t("areas.cameras"), type: "cameras", cameras: [...cameras.values()] }]} /><//>`}<//>`;
}

export function PullsPage() {
  const leases = useStore(store, (s) => s.leases);
  const cameras = useStore(store, (s) => s.cameras);
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const close = () => setOpen(null);
  const at = useNow();
  const past = useList("/leases", { limit: 500 }, MOST_PULLS);
  // The store's own are the newest, and as they stand now.
  const known = new Map([...(past.items || []).map(lease), ...leases].map((l) => [`${l.side}${l.id}`, l]));
  const rows = [...known.values()].sort((a, b) => b.issued_ms - a.issued_ms);
  return html`<${Page} title=${t("admin.pulls")} tools=${html`<button type="button" class="primary" onClick=${() => openDialog("pull", {})}>${t("view.pull")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ l) => `${l.side}${l.id}`} rows=${rows} cut=${past.cut} error=${past.error} dim=${(/** @type {any} */ l) => !running(l, at)} columns=${[
      { name: "kind", label: t("pull.mechanism"), show: (/** @type {any} */ l) => html`${tk("mechanism", l.kind)}<br /><span class="dim">${t(`side.${l.side === "granted" ? "granted" : "held"}`)}</span>` }, { name: "case", label: t("pull.case"), wide: true },
      { name: "reason", label: t("pull.reason"), wide: true }, { name: "persons", label: t("lease.persons"), wide: true }, { name: "cameras", label: t("areas.cameras"), show: (/** @type {any} */ l) => l.cameras.map((/** @type {string} */ id) => cameras.get(id)?.name || id).join(t("between")), wide: true },
      { name: "expires_ms", label: t("pulls.time"), show: (/** @type {any} */ l) => html`${stamp(l.issued_ms, false)}<br />– ${stamp(l.ended_ms ?? l.expires_ms, false)}` },
      { name: "state", label: t("tokens.state"), show: (/** @type {any} */ l) => t(!running(l, at) ? "pulls.over" : unconfirmed(l, at) ? "banner.unconfirmed" : "pulls.runs") },
    ]} acts=${(/** @type {any} */ l) => html`<button type="button" class="small" onClick=${() => openDialog("lease", { lease: l })}>${t("banner.details")}</button>
      ${unconfirmed(l, at) && l.side === "held" && html`<button type="button" class="small" onClick=${() => void confirmLease(l.id)}>${t("banner.confirm")}</button>`}
      ${running(l, at) && html`<${Extend} lease=${l} />`}
      ${running(l, at) && l.side === "held" && html`<button type="button" class="small danger" onClick=${() => void endPull(l.id)}>${t("banner.end")}</button>`}
      ${running(l, at) && l.side === "granted" && html`<button type="button" class="small danger" onClick=${() => setOpen(l)}>${t("tokens.revoke")}</button>`}`} />
    ${open && html`<${Dialog} title=${t("tokens.revoke")} onClose=${close}><p>${t("pulls.revoke_text", { case: open.case, peer: open.peer })}</p><${Form} danger submit=${t("tokens.revoke")} onCancel=${close} onDone=${() => { close(); toast(t("saved"), "good"); void refreshLeases(); void past.load(); }}
      onSubmit=${(/** @type {any} */ v) => post(`/leases/${open.id}/revoke`, { reason: v.reason.trim() })} fields=${[{ name: "reason", label: t("pull.reason"), type: "textarea", rows: 2, required: true }]} /><//>`}<//>`;
}
