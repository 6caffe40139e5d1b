// @ts-check
// Key areas: which cameras belong to one, and the class that keeps their footage longer.

import { html, useState } from "../dom.js";
import { get, patch, post, remove } from "../api.js";
import { Dialog } from "../dialogs/dialog.js";
import { Form } from "../form.js";
import { t, tk } from "../i18n.js";
import { refreshCameras, store } from "../state.js";
import { useStore } from "../store.js";
import { DAY, day, fromInput } from "../time.js";
import { now } from "../clock.js";
import { Confirm, Page, Table, doing, useList } from "./parts.js";

/** @param {{area: any | null, classes: string[], onClose: () => void, onDone: () => void}} props */
function AreaDialog({ area, classes, onClose, onDone }) {
  const cameras = useStore(store, (s) => s.cameras);
  const regions = useStore(store, (s) => s.regions);
  const last = area?.valid_to_ms ? day(area.valid_to_ms) : ""; // the last day on which it is valid
  const own = [...cameras.values()].filter((c) => c.origin !== "lower");
  return html`<${Dialog} title=${area ? area.name : t("areas.add")} onClose=${onClose}><${Form} submit=${t("save")} onCancel=${onClose} onDone=${onDone}
    onSubmit=${(/** @type {any} */ v) => {
      const body = { name: v.name.trim(), document_no: v.document_no.trim(), ...(v.regions.length ? { regions: v.regions, ...(v.cameras.length ? { cameras: v.cameras } : {}) } : { cameras: v.cameras }), to: v.valid_to === last ? undefined : v.valid_to ? fromInput(v.valid_to) + DAY - 1000 : null };
      return area ? patch(`/areas/${area.id}`, body) : post("/areas", { ...body, class: v.class, from: v.valid_from === day(now()) ? undefined : fromInput(v.valid_from) });
    }} fields=${[
      { name: "name", label: t("areas.name"), value: area?.name, required: true },
      { name: "document_no", label: t("areas.document"), value: area?.document_no, required: true, hint: t("areas.document_hint") },
      ...(area ? [] : [{ name: "class", label: t("areas.class"), type: "select", value: "key", options: classes.map((c) => [c, tk("class", c)]) }, { name: "valid_from", label: t("areas.from"), type: "date", value: day(now()), required: true }]),
      { name: "valid_to", label: t("areas.to"), type: "date", value: last },
      { name: "regions", label: t("areas.regions"), type: "checks", value: area?.regions || [], options: regions.map((r) => [r.code, `${r.name} ${r.code}`]), hint: t("areas.regions_hint") },
      { name: "cameras", label: t("areas.cameras"), type: "cameras", value: area?.regions?.length ? [] : area?.cameras || [], cameras: own },
    ]} /><//>`;
}

export function AreasPage() {
  const areas = useList("/areas");
  const regions = useStore(store, (s) => s.regions);
  const names = new Map(regions.map((r) => [r.code, r.name]));
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const [classes, setClasses] = useState(["default", "key"]);
  /** @param {any} what */
  const show = async (what) => {
    const known = (await get("/retention").catch(() => ({ classes: [] }))).classes;
    if (known.length) setClasses(known.filter((/** @type {any} */ c) => !c.for_hold).map((/** @type {any} */ c) => c.name));
    setOpen(what);
  };
  const close = () => setOpen(null);
  const done = () => { close(); void areas.load(); void refreshCameras(); };
  return html`<${Page} title=${t("admin.areas")} note=${t("areas.note")} tools=${html`<button type="button" class="primary" onClick=${() => void show({ area: null })}>${t("areas.add")}</button>`}>
    <${Table} rowKey=${(/** @type {any} */ a) => a.id} rows=${areas.items} cut=${areas.cut} error=${areas.error} columns=${[
      { name: "name", label: t("areas.name") }, { name: "class", label: t("areas.class"), show: (/** @type {any} */ a) => tk("class", a.class) }, { name: "document_no", label: t("areas.document") },
      { name: "regions", label: t("areas.regions"), show: (/** @type {any} */ a) => a.regions.map((/** @type {string} */ code) => names.get(code) || code).join(t("between")) },
      { name: "cameras", label: t("areas.cameras"), show: (/** @type {any} */ a) => (a.cameras || []).length, end: true },
      { name: "valid", label: t("areas.valid"), show: (/** @type {any} */ a) => `${day(a.valid_from_ms)} – ${a.valid_to_ms ? day(a.valid_to_ms) : ""}` },
    ]} acts=${(/** @type {any} */ a) => html`<button type="button" class="small" onClick=${() => void show({ area: a })}>${t("edit")}</button><button type="button" class="small danger" onClick=${() => setOpen({ end: a })}>${t("areas.end")}</button>`} />
    ${open && "area" in open && html`<${AreaDialog} area=${open.area} classes=${classes} onClose=${close} onDone=${done} />`}
    ${open?.end && html`<${Confirm} title=${t("areas.end")} text=${t("areas.end_text", { name: open.end.name })} act=${t("areas.end")} onClose=${close} onYes=${() => doing(() => remove(`/areas/${open.end.id}`), t("saved")).then(done)} />`}<//>`;
}
