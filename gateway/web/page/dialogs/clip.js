// @ts-check
// A clip: from, to, why, and whether one's name is burnt into the pictures; or a package that proves itself.

import { html, useEffect, useRef, useState } from "../dom.js";
import { Form } from "../form.js";
import { t } from "../i18n.js";
import { saveClip, saveEvidence } from "../save.js";
import { closeDialog, store, toast } from "../state.js";
import { fromInput, inputStamp, rangeText, span } from "../time.js";
import { Dialog } from "./dialog.js";

/** @param {{camera: string, from_ms: number, to_ms: number}} props */
export function ClipDialog({ camera, from_ms, to_ms }) {
  const one = store.get().cameras.get(camera);
  const [range, setRange] = useState({ from_ms, to_ms });
  // A name is burnt in where one sees it on the wall too, and for whoever may not have the pictures without it.
  const [marked, setMarked] = useState(Boolean(one?.watermark) || !one?.original);
  const [proving, setProving] = useState(false);
  const [done, setDone] = useState(/** @type {{bytes: number, total: number} | null} */ (null));
  const [told, setTold] = useState(/** @type {{gaps: import("../save.js").Range[], damaged: import("../save.js").Range[], more: number} | null} */ (null));
  const [running, setRunning] = useState(false);
  const [asking, setAsking] = useState(false);
  const leaving = useRef(new AbortController());
  useEffect(() => () => leaving.current.abort(), []); // a dialog that is closed asks for nothing any more
  useEffect(() => {
    dispatchEvent(new CustomEvent("tiergate:selection", { detail: range }));
    return () => { dispatchEvent(new CustomEvent("tiergate:selection", { detail: null })); };
  }, [range.from_ms, range.to_ms]);
  if (!one) return null;
  /** A transfer that runs is broken off by the second word only. */
  const close = () => (running && !asking ? setAsking(true) : closeDialog());
  return html`<${Dialog} title=${t("clip.title", { name: one.name })} onClose=${close}>
    <${Form} submit=${t("clip.make")} onCancel=${close} fields=${[
      { name: "from", label: t("clip.from"), type: "datetime", value: inputStamp(from_ms), required: true },
      { name: "to", label: t("clip.to"), type: "datetime", value: inputStamp(to_ms), required: true },
      { name: "reason", label: t("clip.reason"), type: "textarea", required: true, hint: t("clip.reason_hint") },
      { name: "case_no", label: t("clip.case") },
      { name: "evidence", label: t("clip.evidence"), type: "checkbox", value: proving, when: () => Boolean(one.original) && one.origin !== "lower" },
      { name: "watermark", label: t("clip.watermark"), type: "checkbox", value: marked, when: (/** @type {any} */ v) => Boolean(one.original) && !v.evidence },
    ]} onChange=${(/** @type {any} */ v) => {
      const from = fromInput(v.from), to = fromInput(v.to);
      if (from < to) setRange({ from_ms: from, to_ms: to });
      setMarked(v.watermark);
      setProving(Boolean(v.evidence));
    }} check=${(/** @type {any} */ v) => (fromInput(v.to) <= fromInput(v.from) ? { to: t("clip.order") } : [...v.reason.trim()].length < 5 ? { reason: t("clip.reason_short") } : null)}
      onSubmit=${async (/** @type {any} */ v) => {
        const asked = { from: fromInput(v.from), to: fromInput(v.to), reason: v.reason.trim(), case_no: v.case_no.trim() };
        setTold(null);
        setDone(null);
        setRunning(true);
        const options = { signal: leaving.current.signal, progress: (/** @type {number} */ bytes, /** @type {number} */ total) => setDone({ bytes, total }) };
        try {
          const found = v.evidence ? await saveEvidence(one, asked, options) : await saveClip(one, { ...asked, watermark: v.watermark }, options);
          toast(t(v.evidence ? "clip.evidence_saved" : "clip.saved", { name: one.name }), "good");
          return found;
        } finally {
          setRunning(false);
          setAsking(false);
        }
      }} onDone=${(/** @type {any} */ found) => (found.gaps.length || found.damaged.length ? setTold(found) : closeDialog())}>
      <p class="fine">${t("clip.length", { length: span(range.to_ms - range.from_ms) })} ${t(proving ? "clip.note_evidence" : marked ? "clip.note_watermark" : "clip.note")}</p>
      ${told && html`<div class="form-problem" role="alert">${told.gaps.length > 0 && html`<p>${t("clip.gaps")}</p><ul>${told.gaps.map((g) => html`<li key=${g.from_ms}>${rangeText(g.from_ms, g.to_ms)}</li>`)}</ul>`}
        ${told.damaged.length > 0 && html`<p>${t("clip.damaged")}</p><ul>${told.damaged.map((g) => html`<li key=${g.from_ms}>${rangeText(g.from_ms, g.to_ms)}</li>`)}</ul>`}${told.more > 0 && html`<p>${t("clip.more", { count: told.more })}</p>`}</div>`}
      ${done && html`<p role="status" class="fine">${t("clip.progress", { mib: (done.bytes / 1048576).toFixed(1) })}${done.total ? ` / ${(done.total / 1048576).toFixed(1)} MiB` : ""}</p>`}
      ${asking && html`<p class="form-problem" role="alert">${t("clip.still_running")}</p>`}
    <//><//>`;
}
