// @ts-check
// Who was on duty at which shared wall, and who is now.

import { html } from "../dom.js";
import { remove } from "../api.js";
import { t, tk } from "../i18n.js";
import { store } from "../state.js";
import { useStore } from "../store.js";
import { stamp } from "../time.js";
import { Page, Table, doing, useList } from "./parts.js";

const MOST = 500;

export function ShiftsPage() {
  const shifts = useList("/shifts", {}, MOST);
  const may = useStore(store, (s) => (s.session?.roles || []).includes("security_admin"));
  return html`<${Page} title=${t("admin.shifts")} note=${t("shifts.note")}>
    <${Table} rowKey=${(/** @type {any} */ s) => s.id} rows=${shifts.items} cut=${shifts.cut} error=${shifts.error} dim=${(/** @type {any} */ s) => s.state !== "running"} columns=${[
      { name: "wall", label: t("shifts.wall") }, { name: "person", label: t("register.person"), show: (/** @type {any} */ s) => `${s.person} (${s.login})` }, { name: "state", label: t("tokens.state"), show: (/** @type {any} */ s) => tk("shift", s.state) },
      { name: "started_ms", label: t("shifts.from"), show: (/** @type {any} */ s) => stamp(s.started_ms, false) }, { name: "until_ms", label: t("shifts.until"), show: (/** @type {any} */ s) => stamp(s.ended_ms || s.until_ms, false) }, { name: "client", label: t("shifts.client"), mono: true },
    ]} acts=${may && ((/** @type {any} */ s) => s.state === "running" && html`<button type="button" class="small danger" onClick=${() => void doing(() => remove(`/shifts/${s.id}`), t("saved")).then(shifts.load)}>${t("shifts.end")}</button>`)} /><//>`;
}
