// @ts-check
// Opening a sealed envelope: the duty officer's rights for some hours, and an alarm until somebody else has reviewed it.

import { html } from "../dom.js";
import { post } from "../api.js";
import { now } from "../clock.js";
import { Form } from "../form.js";
import { t } from "../i18n.js";
import { closeDialog, enterAgain, toast } from "../state.js";
import { momentText } from "../time.js";
import { Dialog } from "./dialog.js";

export function BreakGlassDialog() {
  return html`<${Dialog} title=${t("seals.open")}><p>${t("seals.open_text")}</p><${Form} danger submit=${t("seals.open")} onCancel=${closeDialog}
    onSubmit=${(/** @type {any} */ v) => post("/break-glass/open", { seal: v.seal, reason: v.reason.trim() })}
    onDone=${(/** @type {any} */ opened) => { closeDialog(); toast(t("seals.opened_until", { at: momentText(opened.until_ms, now(), false) }), "good"); void enterAgain(); }}
    fields=${[{ name: "seal", label: t("seals.code"), required: true, mono: true, placeholder: "XXXXX-XXXXX-XXXXX-XXXXX-XXXXX" }, { name: "reason", label: t("pull.reason"), type: "textarea", rows: 2, required: true }]} /><//>`;
}
