// @ts-check
// The second person's queue: what waits, what both persons read of it, and the word that gives or refuses it.

import { html, useEffect, useState } from "../dom.js";
import { post } from "../api.js";
import { Dialog } from "../dialogs/dialog.js";
import { Form } from "../form.js";
import { say, t, tk } from "../i18n.js";
import { approvalsToDecide, refreshApprovals, store, toast } from "../state.js";
import { useStore } from "../store.js";
import { stamp } from "../time.js";
import { Page, Table, useList } from "./parts.js";

/** How many wait for this person's word; nothing when none does. */
export function WaitingCount() {
  const count = useStore(store, (s) => approvalsToDecide(s.approvals).length);
  return count ? html`<span class="badge lease waiting" title=${t("approvals.waiting", { count })}>${count}</span>` : null;
}

/** @param {{approval: any, give: boolean, onClose: () => void, onDone: () => void}} props */
function DecideDialog({ approval, give, onClose, onDone }) {
  const cameras = useStore(store, (s) => s.cameras);
  const names = (approval.params.cameras || []).map((/** @type {string} */ id) => cameras.get(id)?.name || id).join(t("between"));
  return html`<${Dialog} title=${t(give ? "approvals.give" : "approvals.refuse")} onClose=${onClose}>
    <p class="plain">${say(approval.what)}</p>
    <dl class="facts"><div><dt>${t("approvals.requester")}</dt><dd>${approval.requester_name}</dd></div>
      ${approval.reason && html`<div><dt>${t("pull.reason")}</dt><dd>${approval.reason}</dd></div>`}${names && html`<div><dt>${t("areas.cameras")}</dt><dd>${names}</dd></div>`}
      <div><dt>${t("approvals.until")}</dt><dd>${stamp(approval.expires_ms, false)}</dd></div></dl>
    <p class="fine">${t(give ? "approvals.give_text" : approval.action === "hold.add" ? "approvals.refuse_hold_text" : "approvals.refuse_text")}</p>
    <${Form} submit=${t(give ? "approvals.give" : "approvals.refuse")} danger=${!give} onCancel=${onClose}
      onSubmit=${(/** @type {any} */ v) => post(`/approvals/${approval.id}`, { decision: give ? "give" : "refuse", words: v.words.trim() })}
      onDone=${(/** @type {any} */ decided) => { toast(decided.outcome, "good"); onDone(); }}
      fields=${[{ name: "words", label: t("approvals.words"), type: "textarea", rows: 2, required: !give }]} /><//>`;
}

export function ApprovalsPage() {
  const approvals = useList("/approvals");
  const pending = useStore(store, (s) => s.approvals);
  const [open, setOpen] = useState(/** @type {any} */ (null));
  useEffect(() => { void approvals.load(); }, [pending]);
  const close = () => setOpen(null);
  const done = () => { close(); void refreshApprovals(); };
  return html`<${Page} title=${t("admin.approvals")} note=${t("approvals.note")}>
    <${Table} rowKey=${(/** @type {any} */ a) => a.id} rows=${approvals.items} cut=${approvals.cut} error=${approvals.error} dim=${(/** @type {any} */ a) => a.state !== "pending"} empty=${t("approvals.none")} columns=${[
      { name: "state", label: t("tokens.state"), show: (/** @type {any} */ a) => tk("approval", a.state) }, { name: "what", label: t("approvals.what"), show: (/** @type {any} */ a) => say(a.what), wide: true },
      { name: "reason", label: t("pull.reason"), show: (/** @type {any} */ a) => a.reason || "–", wide: true }, { name: "requester_name", label: t("approvals.requester") },
      { name: "expires_ms", label: t("approvals.until"), show: (/** @type {any} */ a) => stamp(a.expires_ms, false) }, { name: "decided_name", label: t("approvals.decided"), show: (/** @type {any} */ a) => [a.decided_name, a.words].filter(Boolean).join(" · ") || "–", wide: true },
    ]} acts=${(/** @type {any} */ a) => a.may_decide
      ? html`<button type="button" class="small primary" data-act="give" onClick=${() => setOpen({ approval: a, give: true })}>${t("approvals.give")}</button><button type="button" class="small danger" data-act="refuse" onClick=${() => setOpen({ approval: a, give: false })}>${t("approvals.refuse")}</button>`
      : html`<small class="dim">${say(a.barred)}</small>`} />
    ${open && html`<${DecideDialog} approval=${open.approval} give=${open.give} onClose=${close} onDone=${done} />`}<//>`;
}
