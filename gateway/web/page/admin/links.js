// @ts-check
// Links to the nodes above and below.

import { html, useState } from "../dom.js";
import { patch, post, remove } from "../api.js";
import { Dialog } from "../dialogs/dialog.js";
import { Form } from "../form.js";
import { say, t, tk } from "../i18n.js";
import { stamp } from "../time.js";
import { Confirm, Once, Page, Table, doing, useList } from "./parts.js";

/** @param {number} bytes */
const gigabytes = (bytes) => (bytes / 1e9).toFixed(bytes < 1e10 ? 1 : 0);

export function LinksPage() {
  const links = useList("/links");
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const close = () => setOpen(null);
  return html`<${Page} title=${t("admin.links")} note=${t("links.note")} tools=${html`<button type="button" onClick=${() => setOpen({ accept: true })}>${t("links.accept")}</button><button type="button" class="primary" onClick=${() => setOpen({ invite: true })}>${t("links.invite")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ l) => l.id} rows=${links.items} cut=${links.cut} error=${links.error} dim=${(/** @type {any} */ l) => Boolean(l.suspended_ms || l.removed_ms)} empty=${t("links.none")} columns=${[
      { name: "peer_name", label: t("links.peer") }, { name: "peer_role", label: t("links.role"), show: (/** @type {any} */ l) => t(`links.${l.peer_role === "upper" ? "upper" : "lower"}`) }, { name: "peer_tier", label: t("links.tier"), show: (/** @type {any} */ l) => tk("tier", l.peer_tier) },
      { name: "url", label: t("links.url"), mono: true }, { name: "capacity_bps", label: t("links.capacity"), show: (/** @type {any} */ l) => (l.capacity_bps ? `${(l.capacity_bps / 1e6).toFixed(0)} Mbit/s` : "–"), end: true },
      { name: "bytes_left", label: t("links.quota"), show: (/** @type {any} */ l) => (l.bytes_left === null ? "–" : t("links.quota_left", { left: gigabytes(l.bytes_left), limit: gigabytes(l.bytes_per_day) })), end: true },
      { name: "last_seen_ms", label: t("links.seen"), show: (/** @type {any} */ l) => stamp(l.last_seen_ms, false) }, { name: "state", label: t("tokens.state"), wide: true, show: (/** @type {any} */ l) => say(l.problem) || t(l.suspended_ms ? "links.suspended" : l.peer_role === "upper" && l.knows_certificate === false ? "links.certificate_unknown" : "links.active") },
    ]} acts=${(/** @type {any} */ l) => html`<button type="button" class="small" onClick=${() => void doing(() => patch(`/links/${l.id}`, { suspended: !l.suspended_ms }), t("saved")).then(links.load)}>${t(l.suspended_ms ? "links.resume" : "links.suspend")}</button>
      <button type="button" class="small" onClick=${() => setOpen({ edit: l })}>${t("edit")}</button><button type="button" class="small danger" onClick=${() => setOpen({ remove: l })}>${t("remove")}</button>`} />
    ${open?.invite && html`<${Dialog} title=${t("links.invite")} onClose=${close}>${open.code ? html`<${Once} label=${t("links.code")} value=${open.code} />`
      : html`<${Form} submit=${t("links.invite")} onCancel=${close} onDone=${(/** @type {any} */ a) => setOpen({ invite: true, code: a.code })} onSubmit=${(/** @type {any} */ v) => post("/links/invite", { peer_role: v.peer_role })}
          fields=${[{ name: "peer_role", label: t("links.role"), type: "radio", value: "upper", options: [["upper", t("links.upper")], ["lower", t("links.lower")]] }]} />`}<//>`}
    ${open?.accept && html`<${Dialog} title=${t("links.accept")} onClose=${close}><${Form} submit=${t("links.accept")} onCancel=${close} onDone=${() => { close(); void links.load(); }} onSubmit=${(/** @type {any} */ v) => post("/links/accept", { code: v.code.trim(), url: v.url.trim() || undefined })}
      fields=${[{ name: "code", label: t("links.code"), type: "textarea", mono: true, required: true }, { name: "url", label: t("links.url"), mono: true, hint: t("links.url_hint") }]} /><//>`}
    ${open?.edit && html`<${Dialog} title=${open.edit.peer_name} onClose=${close}><${Form} submit=${t("save")} onCancel=${close} onDone=${() => { close(); void links.load(); }} onSubmit=${(/** @type {any} */ v) => patch(`/links/${open.edit.id}`, { kind: v.kind, capacity_bps: Math.round(Number(v.capacity) * 1e6), ...(v.quota ? { bytes_per_day: Math.round(Number(v.quota) * 1e9) } : {}) })}
      fields=${[{ name: "kind", label: t("links.kind"), type: "select", value: open.edit.kind, options: ["dedicated", "shared", "diode"].map((k) => [k, tk("link_kind", k)]) }, { name: "capacity", label: t("links.capacity_mbit"), type: "number", min: 1, value: String((open.edit.capacity_bps || 1e7) / 1e6) },
        ...(open.edit.peer_role === "upper" ? [{ name: "quota", label: t("links.quota_gb"), type: "number", min: 0.001, step: "any", value: String(open.edit.bytes_per_day / 1e9), hint: t("links.quota_hint") }] : [])]} /><//>`}
    ${open?.remove && html`<${Confirm} title=${t("remove")} text=${t("links.remove_text", { name: open.remove.peer_name })} act=${t("remove")} onClose=${close} onYes=${() => doing(() => remove(`/links/${open.remove.id}`), t("removed")).then(links.load)} />`}<//>`;
}
