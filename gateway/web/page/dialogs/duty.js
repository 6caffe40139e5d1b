// @ts-check
// Who is on duty at a shared wall: signing on with one's own name, handing over, signing off.

import { html, useEffect, useRef } from "../dom.js";
import { post } from "../api.js";
import { Form } from "../form.js";
import { t } from "../i18n.js";
import { closeDialog, enter, signOffDuty, store, toast } from "../state.js";
import { useStore } from "../store.js";
import { stamp } from "../time.js";
import { Dialog } from "./dialog.js";

const HOURS = "8", MOST_HOURS = 12;

/** @param {{onCancel?: () => void}} props */
export function DutyForm({ onCancel }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => { box.current?.querySelector("input")?.focus(); }, []);
  return html`<div id="duty-form" ref=${box}><${Form} submit=${t("duty.sign_on")} onCancel=${onCancel}
    onSubmit=${(/** @type {any} */ v) => post("/session/shift", { login: v.login.trim(), password: v.password, hours: Number(v.hours) })}
    onDone=${(/** @type {any} */ session) => { closeDialog(); enter(session); toast(t("duty.on", { person: session.name, at: stamp(session.wall.until_ms, false) }), "good"); }}
    fields=${[
      { name: "login", label: t("signin.login"), required: true, mono: true },
      { name: "password", label: t("signin.password"), type: "password", required: true },
      { name: "hours", label: t("duty.hours"), type: "number", min: 1, max: MOST_HOURS, value: HOURS, required: true },
    ]} /></div>`;
}

export function DutyDialog() {
  const session = useStore(store, (s) => s.session);
  return html`<${Dialog} title=${t("duty.title")}><p>${t("duty.on", { person: session.name, at: stamp(session.wall.until_ms, false) })} <span class="dim">${session.unit}</span></p>
    <h3>${t("duty.hand_over")}</h3><p class="fine">${t("duty.hand_over_text")}</p><${DutyForm} onCancel=${closeDialog} />
    <h3>${t("duty.leave")}</h3><p class="fine">${t("duty.leave_text")}</p><div class="form-acts"><button type="button" id="duty-off" onClick=${() => void signOffDuty()}>${t("duty.sign_off")}</button></div><//>`;
}
