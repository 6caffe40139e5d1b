// @ts-check
// Named people and their roles.

import { html, useState } from "../dom.js";
import { patch, post } from "../api.js";
import { Dialog } from "../dialogs/dialog.js";
import { Form } from "../form.js";
import { t, tk } from "../i18n.js";
import { now } from "../clock.js";
import { fromInput, inputStamp, stamp } from "../time.js";
import { Once, Page, Table, doing, useList } from "./parts.js";

const ROLES = ["system_admin", "security_admin", "audit_admin", "duty", "operator", "auxiliary", "analysis", "inspection"];

/** @param {any} u */
const posted = (u) => Boolean(u.posted_to) && u.posted_until_ms > now();

/** What of a posting was changed. @param {any} v @param {any} u */
function posting(v, u) {
  const until = v.posted_to ? fromInput(v.posted_until) : null;
  if ((v.posted_to || null) === u.posted_to && until === u.posted_until_ms) return {};
  return { posted_to: v.posted_to || null, posted_until: until };
}

export function UsersPage() {
  const users = useList("/users");
  const departments = useList("/departments");
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const close = () => setOpen(null);
  const done = (/** @type {any} */ answer) => {
    void users.load();
    setOpen(answer?.password ? { password: answer.password } : null);
  };
  const choices = [["", "–"], ...(departments.items || []).map((d) => [d.id, d.name])];
  /** @param {any} u */
  const fields = (u) => [
    ...(u ? [] : [{ name: "login", label: t("signin.login"), required: true, mono: true }]),
    { name: "name", label: t("users.name"), value: u?.name, required: true, hint: t(u?.wall ? "users.wall_hint" : "users.name_hint") },
    { name: "department", label: t("cameras.department"), type: "select", value: u?.department_id || "", options: choices },
    ...(u ? [] : [{ name: "wall", label: t("users.wall"), type: "checkbox", value: false, hint: t("users.wall_hint") }]),
    ...(u && !u.wall ? [{ name: "posted_to", label: t("users.posted_to"), type: "select", value: u.posted_to || "", options: choices, hint: t("users.posted_hint") },
      { name: "posted_until", label: t("users.posted_until"), type: "datetime", value: u.posted_until_ms ? inputStamp(u.posted_until_ms) : "", when: (/** @type {any} */ v) => Boolean(v.posted_to), required: true }] : []),
    { name: "roles", label: t("users.roles"), type: "checks", value: u?.roles || ["operator"], options: ROLES.map((r) => [r, tk("role", r)]) },
    { name: "password", label: t(u ? "users.new_password" : "signin.password"), type: "password", required: !u, autocomplete: "new-password", hint: t("users.password_hint") },
  ];
  return html`<${Page} title=${t("admin.users")} tools=${html`<button type="button" class="primary" onClick=${() => setOpen({ add: true })}>${t("users.add")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ u) => u.id} rows=${users.items} cut=${users.cut} error=${users.error} dim=${(/** @type {any} */ u) => Boolean(u.disabled_ms)} columns=${[
      { name: "login", label: t("signin.login"), mono: true }, { name: "name", label: t("users.name"), show: (/** @type {any} */ u) => html`${u.name}${u.wall && html` <span class="chip">${t("users.wall_chip")}</span> <span class="dim">${u.on_duty.length ? t("users.on_duty", { persons: u.on_duty.join(t("between")) }) : t("duty.nobody")}</span>`}` }, { name: "department", label: t("cameras.department"), show: (/** @type {any} */ u) => `${u.department || "–"}${posted(u) ? ` → ${u.posted_unit}` : ""}` },
      { name: "roles", label: t("users.roles"), show: (/** @type {any} */ u) => (u.roles || []).map((/** @type {string} */ r) => html`<span key=${r} class="chip">${tk("role", r)}</span>`), wide: true },
      { name: "created_ms", label: t("created"), show: (/** @type {any} */ u) => stamp(u.created_ms, false) }, { name: "state", label: t("tokens.state"), show: (/** @type {any} */ u) => t(u.disabled_ms ? "users.disabled" : "users.active") },
    ]} acts=${(/** @type {any} */ u) => html`<button type="button" class="small" onClick=${() => setOpen({ edit: u })}>${t("edit")}</button>
      <button type="button" class=${u.disabled_ms ? "small" : "small danger"} onClick=${() => void doing(() => patch(`/users/${u.id}`, { disabled: !u.disabled_ms }), t("saved")).then(users.load)}>${t(u.disabled_ms ? "cameras.enable" : "cameras.disable")}</button>`} />
    ${open?.add && html`<${Dialog} title=${t("users.add")} onClose=${close}><${Form} submit=${t("save")} onCancel=${close} onDone=${done} fields=${fields(null)}
      onSubmit=${(/** @type {any} */ v) => post("/users", { login: v.login.trim(), name: v.name, roles: v.roles, password: v.password, department_id: v.department || undefined, wall: v.wall })} /><//>`}
    ${open?.edit && html`<${Dialog} title=${open.edit.login} onClose=${close}><${Form} submit=${t("save")} onCancel=${close} onDone=${done} fields=${fields(open.edit)}
      onSubmit=${(/** @type {any} */ v) => patch(`/users/${open.edit.id}`, { name: v.name, department_id: v.department || null, password: v.password || undefined, ...(open.edit.wall ? {} : posting(v, open.edit)),
        roles: [...v.roles].sort().join() === [...open.edit.roles].sort().join() ? undefined : v.roles })} /><//>`}
    ${open?.password && html`<${Dialog} title=${t("signin.password")} onClose=${close}><${Once} label=${t("users.once")} value=${open.password} /><//>`}<//>`;
}
