// @ts-check
// Holds: orders that footage stays, what each really protects, and what of it waits for a second person.

import { html, useEffect, useState } from "../dom.js";
import { post } from "../api.js";
import { now } from "../clock.js";
import { Dialog } from "../dialogs/dialog.js";
import { Form } from "../form.js";
import { t, tk } from "../i18n.js";
import { refreshApprovals, store, toast } from "../state.js";
import { useStore } from "../store.js";
import { HOUR, MINUTE, day, fromInput, inputStamp, rangeText, stamp } from "../time.js";
import { Page, Table, size, useList } from "./parts.js";

/** No segment is longer: of what was recorded less than that ago there may be none yet. */
const LONGEST_SEGMENT = 10 * MINUTE;

/** Whether footage of a hold may still come. @param {any} hold */
const coming = (hold) => hold.to_ms > now() - LONGEST_SEGMENT;

/** What a new hold found. @param {any} hold as placing it answers */
function sayProtected(hold) {
  const { segments, bytes, gone_segments } = hold.footage;
  const found = segments ? t("holds.protects", { segments, size: size(bytes) }) : t(coming(hold) ? "holds.protects_later" : "holds.protects_nothing");
  const gone = gone_segments ? ` ${t("holds.gone", { count: gone_segments })}` : "";
  toast(found + gone, !segments && !coming(hold) ? "bad" : gone ? "info" : "good");
}

/** @type {Record<string, string>} */
const CHIPS = { green: "good", yellow: "warn", red: "bad" };

/** How much of a standing hold's footage is in two places. @param {{hold: any}} props */
function Evidence({ hold }) {
  const found = hold.evidence;
  if (!found) return "–";
  if (!found.segments) return coming(hold) ? t("evidence.none") : html`<span class="chip bad">${t("holds.nothing")}</span>`;
  const word = found.lock === "lies" && found.verified === found.segments ? t("holds.lock_lies") : tk("evidence", found.colour);
  return html`<span class=${`chip ${CHIPS[found.colour] || ""}`}>${word}</span><br />${t("holds.verified", { verified: found.verified, segments: found.segments, size: size(found.bytes) })}${
    found.waiting > 0 && html`<br />${t("holds.waiting", { count: found.waiting, since: stamp(found.oldest_waiting_ms, false) })}`}${found.bad > 0 && html`<br /><span class="bad">${t("holds.bad", { count: found.bad })}</span>`}`;
}

/** What a second person has to decide. @param {{what: string, until_ms: number | null}} props */
const Waits = ({ what, until_ms }) => (until_ms ? html`<div><span class="chip warn">${what}</span> ${t("holds.second", { until: stamp(until_ms, false) })}</div>` : null);

/** @param {{hold: any}} props */
function State({ hold }) {
  if (hold.released_ms) return t("holds.released", { at: stamp(hold.released_ms, false) });
  if (!hold.provisional_until_ms && !hold.release_until_ms) return t("holds.active");
  return html`<${Waits} what=${t("holds.provisional")} until_ms=${hold.provisional_until_ms} /><${Waits} what=${t("holds.release_waits")} until_ms=${hold.release_until_ms} />`;
}

export function HoldsPage() {
  const holds = useList("/holds");
  const over = useList("/holds", { released: true });
  const cameras = useStore(store, (s) => s.cameras);
  const approvals = useStore(store, (s) => s.approvals);
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const load = () => { void holds.load(); void over.load(); };
  useEffect(load, [approvals]); // a second person's word changes what stands here
  const close = () => setOpen(null);
  /** What waits for a second person is told; otherwise the list says it. @param {any} answer */
  const done = (answer) => {
    close();
    if (answer.footage) sayProtected(answer);
    if (answer.notice) toast(answer.notice, "info");
    load();
    void refreshApprovals();
  };
  /** @param {any} h */
  const names = (h) => (h.cameras || []).map((/** @type {any} */ c) => cameras.get(c.id || c)?.name || c.id || c).join(t("between"));
  return html`<${Page} title=${t("admin.holds")} note=${t("holds.note")} tools=${html`<button type="button" class="primary" id="hold-add" onClick=${() => setOpen({ add: true })}>${t("holds.add")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ h) => h.id} rows=${holds.items && [...holds.items, ...(over.items || [])]} cut=${holds.cut || over.cut} error=${holds.error || over.error} dim=${(/** @type {any} */ h) => Boolean(h.released_ms)} columns=${[
      { name: "case", label: t("pull.case"), show: (/** @type {any} */ h) => h.case_no }, { name: "reason", label: t("pull.reason"), wide: true }, { name: "cameras", label: t("areas.cameras"), show: names, wide: true },
      { name: "range", label: t("holds.range"), show: (/** @type {any} */ h) => rangeText(h.from_ms, h.to_ms, false), wide: true }, { name: "evidence", label: t("holds.evidence"), show: (/** @type {any} */ h) => html`<${Evidence} hold=${h} />` },
      { name: "class", label: t("areas.class"), show: (/** @type {any} */ h) => tk("class", h.class) }, { name: "owner", label: t("holds.owner") },
      { name: "review_ms", label: t("holds.review"), show: (/** @type {any} */ h) => html`${day(h.review_ms)}${!h.released_ms && h.review_ms < now() && html` <span class="chip bad">${t("holds.overdue")}</span>`}` },
      { name: "state", label: t("tokens.state"), show: (/** @type {any} */ h) => html`<${State} hold=${h} />`, wide: true },
    ]} acts=${(/** @type {any} */ h) => !h.released_ms && !h.release_until_ms && html`<button type="button" class="small danger" onClick=${() => setOpen({ release: h })}>${t("holds.release")}</button>`} />
    ${open?.add && html`<${Dialog} title=${t("holds.add")} onClose=${close}><${Form} submit=${t("holds.add")} onCancel=${close} onDone=${done}
      check=${(/** @type {any} */ v) => (!v.cameras.length ? { cameras: t("pull.choose_one") } : [...v.reason.trim()].length < 5 ? { reason: t("clip.reason_short") } : null)}
      onSubmit=${(/** @type {any} */ v) => post("/holds", { cameras: v.cameras, from: fromInput(v.from), to: fromInput(v.to), class: v.class, case_no: v.case.trim(), reason: v.reason.trim(), review: `${v.review}d` })} fields=${[
        { name: "cameras", label: t("areas.cameras"), type: "cameras", cameras: [...cameras.values()].filter((c) => c.origin !== "lower") }, { name: "from", label: t("clip.from"), type: "datetime", value: inputStamp(now() - HOUR), required: true },
        { name: "to", label: t("clip.to"), type: "datetime", value: inputStamp(now()), required: true }, { name: "class", label: t("areas.class"), type: "select", value: "3_months", options: ["3_months", "1_year", "permanent"].map((c) => [c, tk("class", c)]) },
        { name: "case", label: t("pull.case"), required: true }, { name: "reason", label: t("pull.reason"), type: "textarea", rows: 2, required: true }, { name: "review", label: t("holds.review_days"), type: "number", min: 1, max: 90, value: "90", required: true },
      ]} /><//>`}
    ${open?.release && html`<${Dialog} title=${t("holds.release")} onClose=${close}><p>${t("holds.release_text", { case: open.release.case_no })}</p><${Form} submit=${t("holds.release")} danger onCancel=${close} onDone=${done}
      onSubmit=${(/** @type {any} */ v) => post(`/holds/${open.release.id}/release`, { reason: v.reason.trim() })} fields=${[{ name: "reason", label: t("pull.reason"), type: "textarea", rows: 2, required: true }]} /><//>`}<//>`;
}
