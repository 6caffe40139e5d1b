// @ts-check
// Assisted view: footage shown to a person whom it concerns, beside the person on duty (Order 799 art. 21). It stands in
// the register with the request; nothing is taken away from it.

import { html } from "../dom.js";
import { now } from "../clock.js";
import { Form } from "../form.js";
import { t } from "../i18n.js";
import { assist, closeDialog, store } from "../state.js";
import { fromInput, inputStamp } from "../time.js";
import { Dialog } from "./dialog.js";

/** @param {{tile: number, camera: string, at_ms: number}} props */
export function AssistDialog({ tile, camera, at_ms }) {
  const one = store.get().cameras.get(camera);
  if (!one) return null;
  return html`<${Dialog} title=${t("assist.title", { name: one.name })}><p class="fine">${t("assist.text")}</p>
    <${Form} submit=${t("assist.show")} onCancel=${closeDialog} fields=${[
      { name: "at", label: t("assist.at"), type: "datetime", value: inputStamp(at_ms), required: true },
      { name: "case_no", label: t("assist.case"), required: true },
      { name: "person", label: t("assist.person"), required: true, hint: t("assist.person_hint") },
      { name: "about", label: t("assist.about"), type: "textarea", rows: 2, required: true },
    ]} check=${(/** @type {any} */ v) => (fromInput(v.at) < now() ? null : { at: t("assist.past") })}
      onSubmit=${async (/** @type {any} */ v) => { assist(tile, fromInput(v.at), { case_no: v.case_no.trim(), reason: `${v.person.trim()}: ${v.about.trim()}` }); }}
      onDone=${closeDialog} /><//>`;
}
