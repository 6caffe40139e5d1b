// @ts-check
// Departments and the tokens that let them see their share. A token is shown once, in full, when it is issued.

import { html, useEffect, useState } from "../dom.js";
import { post, remove } from "../api.js";
import { now } from "../clock.js";
import { Dialog } from "../dialogs/dialog.js";
import { Form } from "../form.js";
import { say, t, tk } from "../i18n.js";
import { store } from "../state.js";
import { useStore } from "../store.js";
import { DAY, day, fromInput, stamp } from "../time.js";
import { Confirm, Once, Page, Table, doing, useList } from "./parts.js";
import { StreamPasswords } from "./streams.js";

export const FUNCTIONS = ["live", "playback", "snapshot", "export", "ptz", "status", "catalog"];

export function DepartmentsPage() {
  const departments = useList("/departments");
  const regions = useStore(store, (s) => s.regions);
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const close = () => setOpen(null);
  return html`<${Page} title=${t("admin.departments")} tools=${html`<button type="button" class="primary" onClick=${() => setOpen({ add: true })}>${t("departments.add")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ d) => d.id} rows=${departments.items} cut=${departments.cut} error=${departments.error} dim=${(/** @type {any} */ d) => Boolean(d.removed_ms)} columns=${[
      { name: "name", label: t("departments.name") }, { name: "region", label: t("cameras.region"), show: (/** @type {any} */ d) => d.region_name || d.region }, { name: "created_ms", label: t("created"), show: (/** @type {any} */ d) => stamp(d.created_ms, false) },
    ]} acts=${(/** @type {any} */ d) => !d.removed_ms && html`<button type="button" class="small danger" onClick=${() => setOpen({ remove: d })}>${t("remove")}</button>`} />
    ${open?.add && html`<${Dialog} title=${t("departments.add")} onClose=${close}><${Form} submit=${t("save")} onCancel=${close} onDone=${() => { close(); void departments.load(); }} onSubmit=${(/** @type {any} */ v) => post("/departments", { name: v.name.trim(), region: v.region || undefined })}
      fields=${[{ name: "name", label: t("departments.name"), required: true }, { name: "region", label: t("cameras.region"), type: "select", value: store.get().node.region, options: regions.map((r) => [r.code, `${r.name} ${r.code}`]) }]} /><//>`}
    ${open?.remove && html`<${Confirm} title=${t("remove")} text=${t("departments.remove_text", { name: open.remove.name })} act=${t("remove")} onClose=${close} onYes=${() => doing(() => remove(`/departments/${open.remove.id}`), t("removed")).then(departments.load)} />`}<//>`;
}

/** @param {any} v */
const grantOf = (v) => ({
  department_id: v.department, label: v.label.trim() || "…", cameras: v.cameras, functions: v.functions, max_stream: v.max_stream, max_streams: v.max_streams ? Number(v.max_streams) : undefined, expires: fromInput(v.expires) + DAY - 1000,
  footage_from: v.from ? fromInput(v.from) : undefined, footage_to: v.to ? fromInput(v.to) : undefined, look_back: v.look_back || undefined,
});

/** What the token would say, asked of the API while it is still being written. @param {{values: any}} props */
function Preview({ values }) {
  const [plain, setPlain] = useState(/** @type {any} */ (null));
  const ready = values.department && values.cameras?.length && values.functions?.length;
  useEffect(() => {
    if (!ready) return setPlain(null);
    const timer = setTimeout(() => post("/tokens/preview", grantOf(values)).then((answer) => setPlain(answer.plain), setPlain), 400);
    return () => clearTimeout(timer);
  }, [JSON.stringify(values)]);
  return html`<p class="plain preview" aria-live="polite">${plain ? say(plain) : t("tokens.preview_wait")}</p>`;
}

/** @param {{onClose: () => void, onDone: () => void}} props */
function IssueDialog({ onClose, onDone }) {
  const cameras = useStore(store, (s) => s.cameras);
  const departments = useList("/departments");
  const [values, setValues] = useState(/** @type {any} */ ({ functions: ["live"], cameras: [] }));
  const [issued, setIssued] = useState(/** @type {any} */ (null));
  if (!departments.items) return null;
  const offered = departments.items.filter((d) => !d.removed_ms);
  const start = { department: offered[0]?.id || "", functions: ["live"], expires: day(now() + 30 * DAY) };
  if (issued) {
    return html`<${Dialog} title=${t("tokens.issued")} onClose=${onDone}>${issued.plain && html`<p class="plain">${say(issued.plain)}</p>`}<${Once} label=${t("tokens.once")} value=${issued.token} />
      <div class="form-acts"><button type="button" onClick=${onDone}>${t("close")}</button></div><//>`;
  }
  return html`<${Dialog} title=${t("tokens.issue")} onClose=${onClose} wide><${Form} submit=${t("tokens.issue")} onCancel=${onClose} onChange=${setValues} onDone=${setIssued}
    check=${(/** @type {any} */ v) => (!v.department ? { department: t("tokens.no_department") } : !v.cameras.length ? { cameras: t("pull.choose_one") } : !v.functions.length ? { functions: t("tokens.choose_function") } : null)}
    onSubmit=${(/** @type {any} */ v) => post("/tokens", grantOf(v))} fields=${[
      { name: "department", label: t("cameras.department"), type: "select", value: start.department, options: offered.map((d) => [d.id, d.name]), hint: offered.length ? undefined : t("tokens.no_department") },
      { name: "label", label: t("tokens.label"), required: true, hint: t("tokens.label_hint") },
      { name: "cameras", label: t("areas.cameras"), type: "cameras", cameras: [...cameras.values()].filter((c) => c.origin !== "lower" && c.sharing !== "none"), hint: t("tokens.shared_only") },
      { name: "functions", label: t("share.functions"), type: "checks", value: start.functions, options: FUNCTIONS.map((f) => [f, tk("function", f)]) },
      { name: "max_stream", label: t("tokens.max_stream"), type: "radio", value: "main", options: [["main", t("tokens.main_and_sub")], ["sub", t("tokens.sub_only")]] },
      { name: "max_streams", label: t("tokens.max_streams"), type: "number", min: 1, max: 10000, hint: t("tokens.max_streams_hint") },
      { name: "look_back", label: t("tokens.look_back"), placeholder: "7d", hint: t("tokens.look_back_hint") }, { name: "from", label: t("tokens.from"), type: "datetime" }, { name: "to", label: t("tokens.to"), type: "datetime" }, { name: "expires", label: t("tokens.expires"), type: "date", value: start.expires, required: true },
    ]}><${Preview} values=${{ ...start, label: "", max_stream: "main", ...values }} /><//><//>`;
}

export function TokensPage() {
  const tokens = useList("/tokens");
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const close = () => setOpen(null);
  const at = now();
  /** @param {any} k */
  const state = (k) => (k.revoked_ms ? t("tokens.revoked", { at: stamp(k.revoked_ms, false) }) : k.expires_ms < at ? t("tokens.expired") : t("tokens.valid"));
  return html`<${Page} title=${t("admin.tokens")} note=${t("tokens.note")} tools=${html`<button type="button" class="primary" id="token-issue" onClick=${() => setOpen({ issue: true })}>${t("tokens.issue")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ k) => k.jti} rows=${tokens.items} cut=${tokens.cut} error=${tokens.error} dim=${(/** @type {any} */ k) => k.revoked_ms || k.expires_ms < at} columns=${[
      { name: "label", label: t("tokens.label") }, { name: "department", label: t("cameras.department"), show: (/** @type {any} */ k) => k.department || k.department_id },
      { name: "plain", label: t("tokens.plain"), show: (/** @type {any} */ k) => (k.grant?.functions || []).map((/** @type {string} */ f) => tk("function", f)).join(t("between")), wide: true },
      { name: "state", label: t("tokens.state"), show: state }, { name: "expires_ms", label: t("share.until"), show: (/** @type {any} */ k) => stamp(k.expires_ms, false) }, { name: "issued_by", label: t("tokens.issued_by") },
    ]} acts=${(/** @type {any} */ k) => !k.revoked_ms && k.expires_ms >= at && html`<button type="button" class="small danger" onClick=${() => setOpen({ revoke: k })}>${t("tokens.revoke")}</button>`} />
    <${StreamPasswords} />
    ${open?.issue && html`<${IssueDialog} onClose=${close} onDone=${() => { close(); void tokens.load(); }} />`}
    ${open?.revoke && html`<${Confirm} title=${t("tokens.revoke")} text=${t("tokens.revoke_text", { label: open.revoke.label })} act=${t("tokens.revoke")} onClose=${close} onYes=${() => doing(() => post(`/tokens/${open.revoke.jti}/revoke`), t("tokens.revoked_now")).then(tokens.load)} />`}<//>`;
}
