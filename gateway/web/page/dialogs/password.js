// @ts-check
// A new password for oneself.

import { html } from "../dom.js";
import { post } from "../api.js";
import { Form } from "../form.js";
import { t } from "../i18n.js";

/** @param {{onDone: () => void}} props */
export function PasswordForm({ onDone }) {
  return html`<${Form} submit=${t("password.change")} onDone=${onDone} fields=${[
    { name: "old", label: t("password.old"), type: "password", required: true, autocomplete: "current-password" },
    { name: "new", label: t("password.new"), type: "password", required: true, autocomplete: "new-password", hint: t("password.hint") },
    { name: "again", label: t("password.again"), type: "password", required: true, autocomplete: "new-password" },
  ]} check=${(/** @type {any} */ v) => (v.new !== v.again ? { again: t("password.differ") } : null)}
    onSubmit=${(/** @type {any} */ v) => post("/session/password", { old: v.old, new: v.new })} />`;
}
