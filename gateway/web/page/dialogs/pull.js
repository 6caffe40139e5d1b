// @ts-check
// Pulling pictures from the tier below: cameras, mechanism, case, reason, minutes. Below it, the pulls that run.

import { html, useEffect, useMemo, useState } from "../dom.js";
import { list, post } from "../api.js";
import { endPull } from "../banners.js";
import { Choose } from "../choose.js";
import { now, useNow } from "../clock.js";
import { Form } from "../form.js";
import { t, tk } from "../i18n.js";
import { running } from "../shapes.js";
import { closeDialog, refreshCameras, refreshLeases, showCameras, store, toast } from "../state.js";
import { useStore } from "../store.js";
import { HOUR, fromInput, inputStamp, span } from "../time.js";
import { Dialog } from "./dialog.js";

/** Of these, the cameras that a node below has: no other can be pulled. @param {string[]} [ids] */
const lowerOf = (ids = []) => ids.filter((id) => store.get().cameras.get(id)?.origin === "lower");

/** @param {{cameras?: string[], incident?: any}} props */
export function PullDialog({ cameras = [], incident = null }) {
  const [chosen, setChosen] = useState(() => new Set(lowerOf(cameras)));
  const [incidents, setIncidents] = useState(/** @type {any[]} */ ([]));
  const [picked, setPicked] = useState(incident);
  /** Cameras that are chosen because the incident has them. */
  const [brought, setBrought] = useState(() => new Set(incident ? lowerOf(incident.cameras) : []));
  const [patch, setPatch] = useState(/** @type {((values: any) => any) | null} */ (null));
  const known = useStore(store, (s) => s.cameras);
  const lower = useMemo(() => [...known.values()].filter((c) => c.origin === "lower"), [known]);
  const leases = useStore(store, (s) => s.leases);
  const at = useNow();
  const held = leases.filter((one) => one.side === "held" && running(one, at));
  useEffect(() => { list("/incidents").then((items) => setIncidents(items.filter((one) => !one.closed_ms)), () => {}); }, []);

  /** Another incident, or none: what the one before brought goes, everything else stays as it was filled in. @param {any} one */
  const pick = (one) => {
    const kept = [...chosen].filter((id) => !brought.has(id)), brings = lowerOf(one?.cameras);
    setChosen(new Set([...kept, ...brings]));
    setBrought(new Set(brings.filter((id) => !kept.includes(id))));
    setPatch(() => (/** @type {any} */ v) => ({ ...v, case: one ? one.number : v.case === picked?.number ? "" : v.case }));
    setPicked(one);
  };
  /** @param {any} v */
  const submit = async (v) => {
    /** @type {any} */
    const body = { mechanism: v.mechanism, cameras: [...chosen], case: v.case.trim(), reason: v.reason.trim(), minutes: Number(v.minutes) };
    if (v.recorded) Object.assign(body, { from: fromInput(v.from), to: fromInput(v.to) });
    if (v.mechanism !== "emergency") body.approver = v.approver.trim() || undefined;
    const answer = await post("/pulls", body);
    // One order may go to several nodes below: what one of them refuses or narrows is said, the rest runs.
    for (const one of [...(answer.refused || []), ...(answer.narrowed || [])]) toast(one.reason || one, "bad");
    // The order stands: what cannot be asked again just now, the next event tells.
    await Promise.all([refreshLeases(), refreshCameras()]).catch(() => {});
    showCameras([...chosen].slice(0, 16));
    toast(t("pull.started"), "good");
  };
  return html`<${Dialog} title=${t("pull.title")} wide>
    <div class="pull">
      <div>
        ${incidents.length > 0 && html`<label class="field"><span>${t("pull.incident")}</span><select onChange=${(/** @type {any} */ e) => pick(incidents.find((each) => each.id === e.target.value) || null)}><option value="">–</option>${incidents.map((one) => html`<option key=${one.id} value=${one.id} selected=${one.id === picked?.id}>${one.number} ${one.place}</option>`)}</select></label>`}
        <${Choose} cameras=${lower} chosen=${chosen} onChange=${setChosen} legend=${t("pull.cameras", { count: chosen.size })} />${!lower.length && html`<p class="fine">${t("pull.no_lower")}</p>`}</div>
      <${Form} patch=${patch} submit=${t("pull.start")} onCancel=${closeDialog} onDone=${closeDialog} onSubmit=${submit}
        check=${(/** @type {any} */ v) => (!chosen.size ? { "": t("pull.choose_one") } : [...v.reason.trim()].length < 5 ? { reason: t("clip.reason_short") } : null)}
        fields=${[
          { name: "mechanism", label: t("pull.mechanism"), type: "radio", value: "emergency", options: [["emergency", tk("mechanism", "emergency")], ["supervision", tk("mechanism", "supervision")]] },
          { name: "approver", label: t("pull.approver"), hint: t("pull.approver_hint"), mono: true, when: (/** @type {any} */ v) => v.mechanism !== "emergency" },
          { name: "case", label: t("pull.case"), required: true, value: picked?.number || "" },
          { name: "reason", label: t("pull.reason"), type: "textarea", rows: 2, required: true, hint: t("pull.reason_hint") },
          { name: "minutes", label: t("pull.minutes"), type: "number", value: "30", min: 1, max: 120, required: true },
          { name: "recorded", label: t("pull.recorded"), type: "checkbox" },
          { name: "from", label: t("clip.from"), type: "datetime", value: inputStamp(now() - HOUR), when: (/** @type {any} */ v) => v.recorded },
          { name: "to", label: t("clip.to"), type: "datetime", value: inputStamp(now()), when: (/** @type {any} */ v) => v.recorded },
        ]}><p class="fine">${t("pull.note")}</p><//>
    </div>
    ${held.length > 0 && html`<h3>${t("pull.running")}</h3><ul class="running">${held.map((one) => html`<li key=${one.id}><b>${tk("mechanism", one.kind)}</b><span>${one.case}</span><span class="dim">${t("pull.count", { count: one.cameras.length })}</span>
      <span class="grow"></span><b>${t("banner.left", { left: span(one.expires_ms - at) })}</b><button type="button" class="small" onClick=${() => { showCameras(one.cameras.slice(0, 16)); closeDialog(); }}>${t("banner.show")}</button>
      <button type="button" class="small danger" onClick=${() => void endPull(one.id)}>${t("banner.end")}</button></li>`)}</ul>`}<//>`;
}
