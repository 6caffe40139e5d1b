// @ts-check
// How long footage stays and why: classes, what a change would delete before it does, one moment explained.

import { html, useEffect, useState } from "../dom.js";
import { get, post, put } from "../api.js";
import { now } from "../clock.js";
import { Dialog } from "../dialogs/dialog.js";
import { Form } from "../form.js";
import { say, t, tk } from "../i18n.js";
import { refreshApprovals, store, toast } from "../state.js";
import { useStore } from "../store.js";
import { HOUR, fromInput, inputStamp, stamp } from "../time.js";
import { Confirm, Cut, Page, Table, doing, size } from "./parts.js";

/** So many things of a list are shown. */
const MOST_TOLD = 200;

/** Lengths of time, not moments. */
const DURATIONS = new Set(["clock_offset_ms"]);

/** One value of a plan or an explanation in words. @param {string} name @param {any} value */
function inWords(name, value) {
  if (typeof value === "number" && DURATIONS.has(name)) return `${value} ms`;
  if (typeof value === "number" && name.endsWith("_ms")) return stamp(value);
  if (typeof value === "number" && /(^|_)bytes$/.test(name)) return size(value);
  if (typeof value === "string" && name === "camera_id") return store.get().cameras.get(value)?.name || value;
  if (typeof value === "string" && name.startsWith("class")) return tk("class", value);
  if (typeof value === "string" && name === "verdict") return tk("check", value);
  return html`<${Told} name=${name} value=${value} />`;
}

/** Whatever a plan or an explanation says, in rows: sentences first. @param {{value: any, name?: string}} props */
function Told({ value, name = "" }) {
  if (value === null || value === undefined) return html`<span>–</span>`;
  if (Array.isArray(value)) return html`<ul class="told">${value.slice(0, MOST_TOLD).map((one, i) => html`<li key=${i}>${inWords(name, one)}</li>`)}</ul><${Cut} count=${MOST_TOLD} cut=${value.length > MOST_TOLD} />`;
  if (typeof value === "object") {
    if (typeof value.en === "string" && typeof value.zh === "string") return html`<span>${say(value)}</span>`;
    return html`<dl class="facts">${Object.entries(value).map(([key, one]) => html`<div key=${key}><dt>${tk("fact", key)}</dt><dd>${inWords(key, one)}</dd></div>`)}</dl>`;
  }
  return html`<span>${typeof value === "boolean" ? t(value ? "yes" : "no") : String(value)}</span>`;
}

/** The sums stand first, then what goes: a long plan is cut. @param {any} plan */
function arranged({ items, next, ...sums }) {
  return { ...sums, items: [...items.filter((/** @type {any} */ one) => !one.keep), ...items.filter((/** @type {any} */ one) => one.keep)] };
}

/** The one refusal of a sweep that a person may answer, by the number that it names. */
const GUARD = "retention.guard_unexplained";

/** @param {HTMLFormElement} form */
const changeOf = (form) => ({ months: String(new FormData(form).get("months")), legal_basis: String(new FormData(form).get("legal_basis")).trim() });

export function RetentionPage() {
  const [shown, setShown] = useState(/** @type {any} */ (null));
  const load = () => get("/retention").then(setShown, (problem) => setShown({ classes: [], problem }));
  useEffect(() => { void load(); }, []);
  const cameras = useStore(store, (s) => s.cameras);
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const [plan, setPlan] = useState(/** @type {any} */ (null));
  const [report, setReport] = useState(/** @type {any} */ (null)); // of the sweep that was ordered here
  const [unexplained, setUnexplained] = useState(/** @type {number | null} */ (null)); // segments that the guard asks about
  const [told, setTold] = useState(/** @type {any} */ (null));
  const [tried, setTried] = useState(/** @type {any} */ (null)); // what the change being typed would do
  const close = () => { setOpen(null); setTried(null); };
  /** @param {number} [confirm] so many segments may be condemned although the last plan did not expect them */
  const sweep = async (confirm) => {
    try {
      const told = await post("/retention/sweep", {}, { confirm });
      if (told.notice) { // a second person must agree; the keeper does it then
        setUnexplained(null);
        toast(told.notice, "good");
        return void refreshApprovals();
      }
      toast(told.refused || t("retention.swept"), told.refused ? "bad" : "good");
      setReport(told);
      setUnexplained(told.refused?.code === GUARD ? told.refused.params.due : null);
    } catch (problem) {
      toast(problem, "bad");
    }
    await load();
  };
  /** What is typed while the answer is on its way is another question. @param {HTMLFormElement} form */
  const tryOut = async (form) => {
    const asked = changeOf(form);
    const found = await doing(() => get("/retention/plan", { class: open.set.name, ...asked }), t("retention.planned"));
    if (found && JSON.stringify(asked) === JSON.stringify(changeOf(form))) setTried(arranged(found));
  };
  return html`<${Page} title=${t("admin.retention")} note=${t("retention.note")} tools=${html`<button type="button" onClick=${() => void doing(() => get("/retention/plan"), t("retention.planned")).then((p) => p && setPlan(arranged(p)))}>${t("retention.plan")}</button>
      <button type="button" class="danger" onClick=${() => setOpen({ sweep: true })}>${t("retention.sweep")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ c) => c.name} rows=${shown?.classes || null} error=${shown?.problem} columns=${[
      { name: "name", label: t("areas.class"), show: (/** @type {any} */ c) => tk("class", c.name) }, { name: "months", label: t("retention.months"), show: (/** @type {any} */ c) => c.months ?? t("retention.permanent"), end: true }, { name: "min_days", label: t("retention.min_days"), end: true },
      { name: "ceiling_months", label: t("retention.ceiling"), end: true }, { name: "for_hold", label: t("retention.use"), show: (/** @type {any} */ c) => t(c.for_hold ? "retention.for_hold" : "retention.for_area") }, { name: "pending", label: t("retention.pending"), show: (/** @type {any} */ c) => (c.pending ? t("retention.pending_text", { months: c.pending.months, at: stamp(c.pending.effective_ms, false) }) : "–") },
    ]} acts=${(/** @type {any} */ c) => !c.for_hold && html`<button type="button" class="small" onClick=${() => setOpen({ set: c })}>${t("edit")}</button>`} />
    ${shown?.sweep && html`<p class=${shown.sweep.refused_since_ms ? "form-problem" : "fine"}>${t("retention.last_sweep", { at: stamp(shown.sweep.last_success_ms) })} ${say(shown.sweep.refused_reason)}</p>`}
    ${report && html`<section class="panel"><h2>${t("retention.report")}</h2><${Told} value=${report} /></section>`}
    ${plan && html`<section class="panel"><h2>${t("retention.plan")}</h2><${Told} value=${plan} /></section>`}
    <section class="panel"><h2>${t("retention.explain")}</h2><${Form} submit=${t("retention.explain_act")} onDone=${setTold} onSubmit=${(/** @type {any} */ v) => get("/retention/explain", { camera: v.camera, at: fromInput(v.at) })}
      fields=${[{ name: "camera", label: t("retention.camera"), type: "select", value: [...cameras.keys()][0], options: [...cameras.values()].map((c) => [c.id, c.name]) }, { name: "at", label: t("retention.at"), type: "datetime", value: inputStamp(now() - HOUR), required: true }]} />
      ${told && html`<${Told} value=${told} />`}</section>
    ${open?.set && html`<${Dialog} title=${tk("class", open.set.name)} onClose=${close}><${Form} submit=${t("save")} onCancel=${close} onChange=${() => setTried(null)} onDone=${() => { close(); void load(); }} onSubmit=${async (/** @type {any} */ v) => { const done = await put(`/retention/${open.set.name}`, { months: Number(v.months), legal_basis: v.legal_basis || undefined }); toast(done.reason || t("saved"), "good"); void refreshApprovals(); }}
      fields=${[{ name: "months", label: t("retention.months"), type: "number", min: 1, value: String(open.set.months ?? ""), required: true, hint: t("retention.shorter") }, { name: "legal_basis", label: t("retention.legal_basis") }]}>
      <div class="form-acts start"><button type="button" onClick=${(/** @type {any} */ e) => void tryOut(e.target.form)}>${t("retention.try")}</button></div>${tried && html`<${Told} value=${tried} />`}<//><//>`}
    ${open?.sweep && html`<${Confirm} title=${t("retention.sweep")} text=${t("retention.sweep_text")} act=${t("retention.sweep")} onClose=${close} onYes=${() => sweep()} />`}
    ${unexplained !== null && html`<${Confirm} title=${t("retention.confirm")} text=${t("retention.confirm_text", { count: unexplained })} act=${t("retention.confirm_act", { count: unexplained })} onClose=${() => setUnexplained(null)} onYes=${() => sweep(unexplained)} />`}<//>`;
}
