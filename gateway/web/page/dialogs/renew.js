// @ts-check
// A running pull for longer: with a reason of its own, up to what the lower node's mechanism allows.

import { html } from "../dom.js";
import { post } from "../api.js";
import { now } from "../clock.js";
import { Form } from "../form.js";
import { t } from "../i18n.js";
import { closeDialog, refreshCameras, refreshLeases, toast } from "../state.js";
import { MINUTE, momentText } from "../time.js";
import { Dialog } from "./dialog.js";

const LONGER_MIN = 30, MOST_MIN = 120;

/** @param {{lease: import("../shapes.js").Lease}} props */
export function RenewDialog({ lease }) {
  // The API counts from now on: what is left counts too.
  const left_min = Math.ceil(Math.max(0, lease.expires_ms - now()) / MINUTE);
  return html`<${Dialog} title=${t("renew.title", { case: lease.case })}><p>${t("renew.text", { at: momentText(lease.expires_ms, now(), false) })}</p>
    <${Form} submit=${t("banner.extend")} onCancel=${closeDialog} onDone=${closeDialog} fields=${[
      { name: "reason", label: t("pull.reason"), type: "textarea", rows: 2, required: true, hint: t("pull.reason_hint") },
      { name: "minutes", label: t("renew.minutes"), type: "number", value: String(Math.min(MOST_MIN, left_min + LONGER_MIN)), min: 1, max: MOST_MIN, required: true },
    ]} check=${(/** @type {any} */ v) => ([...v.reason.trim()].length < 5 ? { reason: t("clip.reason_short") } : null)}
      onSubmit=${async (/** @type {any} */ v) => {
        const longer = await post(`/pulls/${lease.id}/renew`, { reason: v.reason.trim(), minutes: Number(v.minutes) });
        toast(t("renew.done", { at: momentText(longer.expires_ms, now(), false) }), "good");
        await Promise.all([refreshLeases(), refreshCameras()]);
      }} /><//>`;
}
