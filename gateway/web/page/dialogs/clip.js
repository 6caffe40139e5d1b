// @ts-check
// A clip: from, to, why, and whether one's name is burnt into the pictures.

import { html, useEffect, useState } from "../dom.js";
import { Form } from "../form.js";
import { t } from "../i18n.js";
import { saveClip } from "../save.js";
import { closeDialog, store, toast } from "../state.js";
import { fromInput, inputStamp, span } from "../time.js";
import { Dialog } from "./dialog.js";

/** @param {{camera: string, from_ms: number, to_ms: number}} props */
export function ClipDialog({ camera, from_ms, to_ms }) {
  const one = store.get().cameras.get(camera);
  const [range, setRange] = useState({ from_ms, to_ms });
  // A name is burnt in where one sees it on the wall too, and for whoever may not have the pictures without it.
  const [marked, setMarked] = useState(Boolean(one?.watermark) || !one?.original);
  const [done, setDone] = useState(/** @type {{bytes: number, total: number} | null} */ (null));
  useEffect(() => {
    dispatchEvent(new CustomEvent("tiergate:selection", { detail: range }));
    return () => { dispatchEvent(new CustomEvent("tiergate:selection", { detail: null })); };
  }, [range.from_ms, range.to_ms]);
  if (!one) return null;
  return html`<${Dialog} title=${t("clip.title", { name: one.name })}>
    <${Form} submit=${t("clip.make")} fields=${[
      { name: "from", label: t("clip.from"), type: "datetime", value: inputStamp(from_ms), required: true },
      { name: "to", label: t("clip.to"), type: "datetime", value: inputStamp(to_ms), required: true },
      { name: "reason", label: t("clip.reason"), type: "textarea", required: true, hint: t("clip.reason_hint") },
      { name: "case_no", label: t("clip.case") },
      { name: "watermark", label: t("clip.watermark"), type: "checkbox", value: marked, when: () => Boolean(one.original) },
    ]} onChange=${(/** @type {any} */ v) => {
      const from = fromInput(v.from), to = fromInput(v.to);
      if (from < to) setRange({ from_ms: from, to_ms: to });
      setMarked(v.watermark);
    }} check=${(/** @type {any} */ v) => (fromInput(v.to) <= fromInput(v.from) ? { to: t("clip.order") } : [...v.reason.trim()].length < 5 ? { reason: t("clip.reason_short") } : null)}
      onSubmit=${async (/** @type {any} */ v) => {
        await saveClip(one, { from: fromInput(v.from), to: fromInput(v.to), reason: v.reason.trim(), case_no: v.case_no.trim(), watermark: v.watermark }, { progress: (bytes, total) => setDone({ bytes, total }) });
        toast(t("clip.saved", { name: one.name }), "good");
      }} onDone=${closeDialog}>
      <p class="fine">${t("clip.length", { length: span(range.to_ms - range.from_ms) })} ${marked ? t("clip.note_watermark") : t("clip.note")}</p>
      ${done && html`<p role="status" class="fine">${t("clip.progress", { mib: (done.bytes / 1048576).toFixed(1) })}${done.total ? ` / ${(done.total / 1048576).toFixed(1)} MiB` : ""}</p>`}
    <//><//>`;
}
