// @ts-check
// What was done (audit) and what was looked at (register): read, filter, never change.

import { html, useState } from "../dom.js";
import { now } from "../clock.js";
import { t, tk } from "../i18n.js";
import { DAY, fromInput, inputStamp, rangeText, span, stamp } from "../time.js";
import { Cut, Page, Table, useList } from "./parts.js";

const MOST = 500;

/** @param {{from: number | null, fields: [string, string][], onFilter: (query: any) => void}} props */
function Filter({ from, fields, onFilter }) {
  const [range, setRange] = useState({ from: from === null ? "" : inputStamp(from), to: "" });
  const [problem, setProblem] = useState("");
  /** @param {any} e */
  const send = (e) => {
    e.preventDefault();
    const from_ms = fromInput(range.from), to_ms = fromInput(range.to);
    if (from_ms >= to_ms) return setProblem(t("records.order"));
    setProblem("");
    onFilter({ ...Object.fromEntries(new FormData(e.target)), from: from_ms || undefined, to: to_ms || undefined });
  };
  /** @param {"from" | "to"} name */
  const moment = (name) => html`<label>${t(`clip.${name}`)}<input type="datetime-local" step="1" name=${name} value=${range[name]} onInput=${(/** @type {any} */ e) => setRange({ ...range, [name]: e.target.value })} /></label>`;
  return html`<form class="filter" onSubmit=${send}>${moment("from")}${moment("to")}
    ${fields.map(([name, label]) => html`<label key=${name}>${label}<input name=${name} autocomplete="off" /></label>`)}<button type="submit" class="primary">${t("filter")}</button></form>
    ${problem && html`<p class="form-problem" role="alert">${problem}</p>`}`;
}

const LONG = 160;

/** Details on one line, without the punctuation of a program; what is long stands in the tooltip. @param {any} details */
function line(details) {
  const whole = details && typeof details === "object" ? Object.entries(details).map(([k, v]) => `${k}: ${v && typeof v === "object" ? JSON.stringify(v) : v}`).join(" · ") : String(details ?? "");
  return whole.length > LONG ? html`<span class="clipped" title=${whole}>${whole.slice(0, LONG)}…</span>` : whole;
}

/** @param {{rows: {items: any[] | null, cut: boolean}}} props */
function More({ rows }) {
  const count = (rows.items || []).length;
  return html`<${Cut} count=${count} cut=${rows.cut} text=${t("records.more", { count })} />`;
}

export function AuditPage() {
  const [query, setQuery] = useState(/** @type {any} */ ({ limit: 200 }));
  const rows = useList("/audit", query, MOST);
  return html`<${Page} title=${t("admin.audit")} note=${t("audit.note")}><${Filter} from=${null} fields=${[["actor", t("audit.actor")], ["action", t("audit.action")], ["subject", t("audit.subject")]]} onFilter=${(/** @type {any} */ q) => setQuery({ ...q, limit: 200 })} />
    <${Table} rowKey=${(/** @type {any} */ a) => String(a.seq)} rows=${rows.items} error=${rows.error} columns=${[{ name: "at_ms", label: t("audit.at"), show: (/** @type {any} */ a) => stamp(a.at_ms) }, { name: "actor", label: t("audit.actor"), mono: true }, { name: "action", label: t("audit.action"), mono: true },
      { name: "subject", label: t("audit.subject"), mono: true }, { name: "details", label: t("audit.details"), show: (/** @type {any} */ a) => line(a.details), wide: true }]} /><${More} rows=${rows} /><//>`;
}

export function RegisterPage() {
  const [query, setQuery] = useState(/** @type {any} */ ({ from: now() - DAY, limit: 200 }));
  const rows = useList("/register", query, MOST);
  return html`<${Page} title=${t("admin.register")} note=${t("register.note")}><${Filter} from=${now() - DAY} fields=${[["person", t("register.person")], ["unit", t("register.unit")], ["camera", t("cameras.id")]]} onFilter=${(/** @type {any} */ q) => setQuery({ ...q, limit: 200 })} />
    <${Table} rowKey=${(/** @type {any} */ r) => r.id} rows=${rows.items} error=${rows.error} columns=${[{ name: "opened_ms", label: t("register.opened"), show: (/** @type {any} */ r) => stamp(r.opened_ms) }, { name: "person", label: t("register.person"), show: (/** @type {any} */ r) => [r.unit, r.person, r.wall && t("register.at_wall", { wall: r.wall })].filter(Boolean).join(" ") },
      { name: "camera_id", label: t("retention.camera"), show: (/** @type {any} */ r) => r.camera_name || r.camera }, { name: "function", label: t("register.function"), show: (/** @type {any} */ r) => [tk("function", r.function), r.watermark === null || r.watermark === undefined ? "" : t(r.watermark ? "register.watermark" : "register.original")].filter(Boolean).join(" · ") },
      { name: "range", label: t("holds.range"), show: (/** @type {any} */ r) => (r.from_ms === null ? t("register.live") : r.to_ms - r.from_ms <= 1 ? stamp(r.from_ms) : rangeText(r.from_ms, r.to_ms)) }, { name: "reason", label: t("pull.reason"), show: (/** @type {any} */ r) => [r.case, r.reason, r.stream_password && t("register.stream_password", { id: r.stream_password })].filter(Boolean).join(" · "), wide: true },
      { name: "length", label: t("register.length"), show: (/** @type {any} */ r) => (r.closed_ms ? span(r.closed_ms - r.opened_ms) : t("register.runs")), end: true }, { name: "bytes", label: t("register.bytes"), show: (/** @type {any} */ r) => (r.bytes ? `${(r.bytes / 1048576).toFixed(1)} MiB` : "–"), end: true }, { name: "result", label: t("register.result"), show: (/** @type {any} */ r) => tk("result", r.result) }]} /><${More} rows=${rows} /><//>`;
}
