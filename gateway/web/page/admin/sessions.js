// @ts-check
// Who is signed in, and ending that: of everybody in the administration, one's own in a dialog.

import { html } from "../dom.js";
import { remove } from "../api.js";
import { t, tk } from "../i18n.js";
import { signOut, store } from "../state.js";
import { useStore } from "../store.js";
import { stamp } from "../time.js";
import { Page, Table, doing, useList } from "./parts.js";

/** @param {{user?: string}} props `user`: only sign-ins of this login */
export function SessionsTable({ user }) {
  const sessions = useList("/sessions", user ? { user } : {});
  const me = useStore(store, (s) => s.session);
  const may = (/** @type {any} */ s) => s.login === me?.login || (me?.roles || []).includes("security_admin");
  const end = (/** @type {any} */ s) => (s.current ? void signOut() : void doing(() => remove(`/sessions/${s.id}`), t("saved")).then(sessions.load));
  return html`<${Table} rowKey=${(/** @type {any} */ s) => s.id} rows=${sessions.items} cut=${sessions.cut} error=${sessions.error} columns=${[
    ...(user ? [] : [{ name: "login", label: t("signin.login"), mono: true }, { name: "name", label: t("users.name"), show: (/** @type {any} */ s) => html`${s.name || "–"} ${s.kind !== "user" && html`<span class="chip">${tk("signed_in", s.kind)}</span>`} ${s.on_duty && html`<span class="dim">${t("users.on_duty", { persons: s.on_duty })}</span>`}` }]),
    { name: "client", label: t("shifts.client"), mono: true, show: (/** @type {any} */ s) => html`${s.client || "–"} ${s.current && html`<span class="chip good">${t("sessions.current")}</span>`}` },
    { name: "created_ms", label: t("sessions.since"), show: (/** @type {any} */ s) => stamp(s.created_ms, false) }, { name: "expires_ms", label: t("sessions.until"), show: (/** @type {any} */ s) => stamp(s.expires_ms, false) },
  ]} acts=${(/** @type {any} */ s) => may(s) && html`<button type="button" class="small danger" onClick=${() => end(s)}>${t(s.current ? "menu.sign_out" : "sessions.end")}</button>`} />`;
}

export function SessionsPage() {
  return html`<${Page} title=${t("admin.sessions")} note=${t("sessions.note")}><${SessionsTable} /><//>`;
}
