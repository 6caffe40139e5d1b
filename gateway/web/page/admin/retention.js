// @ts-check
// How long footage stays and why: classes, what a change would delete before it does, one moment explained, holds.

import { html, useEffect, useState } from "../dom.js";
import { get, post, put } from "../api.js";
import { now } from "../clock.js";
import { Dialog } from "../dialogs/dialog.js";
import { Form } from "../form.js";
import { say, t, tk } from "../i18n.js";
import { refreshApprovals, store, toast } from "../state.js";
import { useStore } from "../store.js";
import { HOUR, day, fromInput, inputStamp, rangeText, stamp } from "../time.js";
import { Confirm, Page, Table, doing, useList } from "./parts.js";

/** @param {number | undefined} bytes */
const size = (bytes) => (bytes === undefined || bytes === null ? "–" : bytes > 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** Whatever a plan or an explanation says, in rows: sentences first. @param {{value: any}} props */
function Told({ value }) {
  if (value === null || value === undefined) return html`<span>–</span>`;
  if (Array.isArray(value)) return html`<ul class="told">${value.slice(0, 200).map((one, i) => html`<li key=${i}><${Told} value=${one} /></li>`)}</ul>`;
  if (typeof value === "object") {
    if (typeof value.en === "string" && typeof value.zh === "string") return html`<span>${say(value)}</span>`;
    return html`<dl class="facts">${Object.entries(value).map(([key, one]) => html`<div key=${key}><dt>${tk("fact", key)}</dt><dd>${key.endsWith("_ms") && typeof one === "number" ? stamp(one) : /(^|_)bytes$/.test(key) && typeof one === "number" ? size(/** @type {number} */ (one)) : html`<${Told} value=${one} />`}</dd></div>`)}</dl>`;
  }
  return html`<span>${typeof value === "boolean" ? t(value ? "yes" : "no") : String(value)}</span>`;
}

export function RetentionPage() {
  const [shown, setShown] = useState(/** @type {any} */ (null));
  const load = () => get("/retention").then(setShown, (problem) => setShown({ classes: [], problem }));
  useEffect(() => { void load(); }, []);
  const cameras = useStore(store, (s) => s.cameras);
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const [plan, setPlan] = useState(/** @type {any} */ (null));
  const [told, setTold] = useState(/** @type {any} */ (null));
  const [tried, setTried] = useState(/** @type {any} */ (null)); // what the change being typed would do
  const close = () => { setOpen(null); setTried(null); };
  return html`<${Page} title=${t("admin.retention")} note=${t("retention.note")} tools=${html`<button type="button" onClick=${() => void doing(() => get("/retention/plan"), t("retention.planned")).then((p) => p && setPlan(p))}>${t("retention.plan")}</button>
      <button type="button" class="danger" onClick=${() => setOpen({ sweep: true })}>${t("retention.sweep")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ c) => c.name} rows=${shown?.classes || null} error=${shown?.problem} columns=${[
      { name: "name", label: t("areas.class"), show: (/** @type {any} */ c) => tk("class", c.name) }, { name: "months", label: t("retention.months"), show: (/** @type {any} */ c) => c.months ?? t("retention.permanent"), end: true }, { name: "min_days", label: t("retention.min_days"), end: true },
      { name: "ceiling_months", label: t("retention.ceiling"), end: true }, { name: "for_hold", label: t("retention.use"), show: (/** @type {any} */ c) => t(c.for_hold ? "retention.for_hold" : "retention.for_area") }, { name: "pending", label: t("retention.pending"), show: (/** @type {any} */ c) => (c.pending ? t("retention.pending_text", { months: c.pending.months, at: stamp(c.pending.effective_ms, false) }) : "–") },
    ]} acts=${(/** @type {any} */ c) => !c.for_hold && html`<button type="button" class="small" onClick=${() => setOpen({ set: c })}>${t("edit")}</button>`} />
    ${shown?.sweep && html`<p class=${shown.sweep.refused_since_ms ? "form-problem" : "fine"}>${t("retention.last_sweep", { at: stamp(shown.sweep.last_success_ms) })} ${say(shown.sweep.refused_reason)}</p>`}
    ${plan && html`<section class="panel"><h2>${t("retention.plan")}</h2><${Told} value=${plan} /></section>`}
    <section class="panel"><h2>${t("retention.explain")}</h2><${Form} submit=${t("retention.explain_act")} onDone=${setTold} onSubmit=${(/** @type {any} */ v) => get("/retention/explain", { camera: v.camera, at: fromInput(v.at) })}
      fields=${[{ name: "camera", label: t("retention.camera"), type: "select", value: [...cameras.keys()][0], options: [...cameras.values()].map((c) => [c.id, c.name]) }, { name: "at", label: t("retention.at"), type: "datetime", value: inputStamp(now() - HOUR), required: true }]} />
      ${told && html`<${Told} value=${told} />`}</section>
    ${open?.set && html`<${Dialog} title=${tk("class", open.set.name)} onClose=${close}><${Form} submit=${t("save")} onCancel=${close} onDone=${() => { close(); void load(); }} onSubmit=${async (/** @type {any} */ v) => { const done = await put(`/retention/${open.set.name}`, { months: Number(v.months), legal_basis: v.legal_basis || undefined }); toast(done.reason || t("saved"), "good"); void refreshApprovals(); }}
      fields=${[{ name: "months", label: t("retention.months"), type: "number", min: 1, value: String(open.set.months ?? ""), required: true, hint: t("retention.shorter") }, { name: "legal_basis", label: t("retention.legal_basis") }]}>
      <div class="form-acts start"><button type="button" onClick=${async (/** @type {any} */ e) => { const form = new FormData(e.target.form); const p = await doing(() => get("/retention/plan", { class: open.set.name, months: form.get("months") }), t("retention.planned")); if (p) setTried(p); }}>${t("retention.try")}</button></div>${tried && html`<${Told} value=${tried} />`}<//><//>`}
    ${open?.sweep && html`<${Confirm} title=${t("retention.sweep")} text=${t("retention.sweep_text")} act=${t("retention.sweep")} onClose=${close} onYes=${() => doing(() => post("/retention/sweep"), t("retention.swept")).then((p) => p && setPlan(p))} />`}<//>`;
}

export function HoldsPage() {
  const holds = useList("/holds", { all: true });
  const cameras = useStore(store, (s) => s.cameras);
  const waiting = useStore(store, (s) => s.approvals);
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const close = () => setOpen(null);
  /** What waits for a second person is told; otherwise the list says it. @param {any} answer */
  const done = (answer) => { close(); if (answer.notice) toast(answer.notice, "info"); void holds.load(); void refreshApprovals(); };
  /** @param {any} h */
  const provisional = (h) => waiting.some((a) => a.action === "hold.add" && a.subject === h.id);
  /** @param {any} h */
  const names = (h) => (h.cameras || []).map((/** @type {any} */ c) => cameras.get(c.id || c)?.name || c.id || c).join(t("between"));
  return html`<${Page} title=${t("admin.holds")} note=${t("holds.note")} tools=${html`<button type="button" class="primary" onClick=${() => setOpen({ add: true })}>${t("holds.add")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ h) => h.id} rows=${holds.items} error=${holds.error} dim=${(/** @type {any} */ h) => Boolean(h.released_ms)} columns=${[
      { name: "case", label: t("pull.case"), show: (/** @type {any} */ h) => h.case_no }, { name: "reason", label: t("pull.reason"), wide: true }, { name: "cameras", label: t("areas.cameras"), show: names, wide: true },
      { name: "range", label: t("holds.range"), show: (/** @type {any} */ h) => rangeText(h.from_ms, h.to_ms, false) }, { name: "class", label: t("areas.class"), show: (/** @type {any} */ h) => tk("class", h.class) },
      { name: "owner", label: t("holds.owner") }, { name: "review_ms", label: t("holds.review"), show: (/** @type {any} */ h) => (h.review_ms ? day(h.review_ms) : "–") }, { name: "state", label: t("tokens.state"), show: (/** @type {any} */ h) => (h.released_ms ? t("holds.released", { at: stamp(h.released_ms, false) }) : t(provisional(h) ? "holds.provisional" : "holds.active")) },
    ]} acts=${(/** @type {any} */ h) => !h.released_ms && html`<button type="button" class="small danger" onClick=${() => setOpen({ release: h })}>${t("holds.release")}</button>`} />
    ${open?.add && html`<${Dialog} title=${t("holds.add")} onClose=${close}><${Form} submit=${t("holds.add")} onCancel=${close} onDone=${done}
      check=${(/** @type {any} */ v) => (!v.cameras.length ? { cameras: t("pull.choose_one") } : [...v.reason.trim()].length < 5 ? { reason: t("clip.reason_short") } : null)}
      onSubmit=${(/** @type {any} */ v) => post("/holds", { cameras: v.cameras, from: fromInput(v.from), to: fromInput(v.to), class: v.class, case_no: v.case.trim(), reason: v.reason.trim(), review: `${v.review}d` })} fields=${[
        { name: "cameras", label: t("areas.cameras"), type: "checks", options: [...cameras.values()].filter((c) => c.origin !== "lower").map((c) => [c.id, c.name]) }, { name: "from", label: t("clip.from"), type: "datetime", value: inputStamp(now() - HOUR), required: true },
        { name: "to", label: t("clip.to"), type: "datetime", value: inputStamp(now()), required: true }, { name: "class", label: t("areas.class"), type: "select", value: "3_months", options: ["3_months", "1_year", "permanent"].map((c) => [c, tk("class", c)]) },
        { name: "case", label: t("pull.case"), required: true }, { name: "reason", label: t("pull.reason"), type: "textarea", rows: 2, required: true }, { name: "review", label: t("holds.review_days"), type: "number", min: 1, max: 90, value: "90", required: true },
      ]} /><//>`}
    ${open?.release && html`<${Dialog} title=${t("holds.release")} onClose=${close}><p>${t("holds.release_text", { case: open.release.case_no })}</p><${Form} submit=${t("holds.release")} danger onCancel=${close} onDone=${done}
      onSubmit=${(/** @type {any} */ v) => post(`/holds/${open.release.id}/release`, { reason: v.reason.trim() })} fields=${[{ name: "reason", label: t("pull.reason"), type: "textarea", rows: 2, required: true }]} /><//>`}<//>`;
}
