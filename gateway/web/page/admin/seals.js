// @ts-check
// Break-glass: seals that lie in envelopes, who opened one, and what somebody else found afterwards.

import { html, useState } from "../dom.js";
import { post, remove } from "../api.js";
import { useNow } from "../clock.js";
import { Dialog } from "../dialogs/dialog.js";
import { Form } from "../form.js";
import { t, tk } from "../i18n.js";
import { store } from "../state.js";
import { useStore } from "../store.js";
import { stamp } from "../time.js";
import { Once, Page, Table, doing, useList } from "./parts.js";

export function SealsPage() {
  const seals = useList("/break-glass");
  const roles = useStore(store, (s) => s.session?.roles || []);
  const at = useNow();
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const close = () => setOpen(null);
  const may = roles.includes("security_admin");
  /** @param {any} s */
  const acts = (s) => {
    const running = s.state === "opened" && s.until_ms > at;
    return html`${may && (running || s.state === "sealed") && html`<button type="button" class="small danger" onClick=${() => void doing(() => remove(`/break-glass/${s.id}`), t("saved")).then(seals.load)}>${t(running ? "seals.end" : "seals.void")}</button>`}
      ${s.state === "opened" && !running && html`<button type="button" class="small primary" onClick=${() => setOpen({ review: s })}>${t("seals.review")}</button>`}`;
  };
  return html`<${Page} title=${t("admin.seals")} note=${t("seals.note")} tools=${may && html`<button type="button" class="primary" onClick=${() => setOpen({ add: true })}>${t("seals.add")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ s) => s.id} rows=${seals.items} cut=${seals.cut} error=${seals.error} dim=${(/** @type {any} */ s) => ["void", "reviewed"].includes(s.state)} acts=${acts} columns=${[
      { name: "state", label: t("tokens.state"), show: (/** @type {any} */ s) => tk("seal", s.state) }, { name: "sealed_ms", label: t("seals.sealed"), show: (/** @type {any} */ s) => stamp(s.sealed_ms, false) }, { name: "hours", label: t("seals.hours"), end: true },
      { name: "person", label: t("seals.person") }, { name: "reason", label: t("pull.reason"), show: (/** @type {any} */ s) => s.reason || "–", wide: true }, { name: "used_ms", label: t("seals.opened"), show: (/** @type {any} */ s) => (s.used_ms ? `${stamp(s.used_ms, false)} – ${stamp(s.until_ms, false)}` : "–") },
      { name: "words", label: t("seals.found"), show: (/** @type {any} */ s) => [s.reviewed_by, s.words].filter(Boolean).join(" · ") || "–", wide: true },
    ]} />
    ${open?.add && html`<${Dialog} title=${t("seals.add")} onClose=${close}><${Form} submit=${t("seals.add")} onCancel=${close} onDone=${(/** @type {any} */ made) => { setOpen({ seal: made.seal }); void seals.load(); }}
      onSubmit=${(/** @type {any} */ v) => post("/break-glass", { hours: Number(v.hours) })} fields=${[{ name: "hours", label: t("seals.hours"), type: "number", min: 1, max: 12, value: "2", required: true }]} /><//>`}
    ${open?.seal && html`<${Dialog} title=${t("seals.add")} onClose=${close}><${Once} label=${t("seals.once")} value=${open.seal} /><//>`}
    ${open?.review && html`<${Dialog} title=${t("seals.review")} onClose=${close}><p>${t("seals.review_text", { person: open.review.person, reason: open.review.reason })}</p><${Form} submit=${t("seals.review")} onCancel=${close} onDone=${() => { close(); void seals.load(); }}
      onSubmit=${(/** @type {any} */ v) => post(`/break-glass/${open.review.id}/review`, { words: v.words.trim() })} fields=${[{ name: "words", label: t("seals.found"), type: "textarea", rows: 3, required: true }]} /><//>`}<//>`;
}
