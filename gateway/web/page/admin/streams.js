// @ts-check
// Stream passwords: what a recorder, a VMS or a player signs in with over RTSP. Name and password are shown once.

import { html, useState } from "../dom.js";
import { post } from "../api.js";
import { now } from "../clock.js";
import { Dialog } from "../dialogs/dialog.js";
import { Form } from "../form.js";
import { t } from "../i18n.js";
import { store } from "../state.js";
import { useStore } from "../store.js";
import { DAY, day, fromInput, stamp } from "../time.js";
import { Confirm, Once, Table, doing, useList } from "./parts.js";

/** @param {any} v */
const bodyOf = (v) => ({
  owner_kind: v.owner.split(":")[0], owner: v.owner.split(":")[1], label: v.label.trim() || "…", cameras: v.cameras, max_stream: v.max_stream, expires: fromInput(v.expires) + DAY - 1000,
  networks: v.networks.trim() ? v.networks.split(/[\s,，;；]+/).filter(Boolean) : undefined, unmarked_basis: v.unmarked_basis.trim(),
});

/** @param {any} made */
const shown = (made) => [`${t("streams.username")}: ${made.username}`, `${t("streams.password")}: ${made.password}`, ...made.urls].join("\n");

/** @param {{onClose: () => void, onDone: () => void}} props */
function CreateDialog({ onClose, onDone }) {
  const cameras = useStore(store, (s) => s.cameras);
  const tokens = useList("/tokens");
  const users = useList("/users");
  const [made, setMade] = useState(/** @type {any} */ (null));
  if (!tokens.items || !users.items) return null;
  if (made) {
    return html`<${Dialog} title=${t("streams.created")} onClose=${onDone}><${Once} label=${t("streams.once")} value=${shown(made)} />${!made.urls.length && html`<p class="fine">${t("streams.off")}</p>`}
      <div class="form-acts"><button type="button" onClick=${onDone}>${t("close")}</button></div><//>`;
  }
  const owners = [...tokens.items.filter((k) => k.state === "valid").map((k) => [`token:${k.jti}`, `${k.label} (${k.department})`]), ...users.items.filter((u) => !u.disabled_ms).map((u) => [`user:${u.id}`, `${u.name} (${u.login})`])];
  return html`<${Dialog} title=${t("streams.create")} onClose=${onClose} wide><${Form} submit=${t("streams.create")} onCancel=${onClose} onDone=${setMade} check=${(/** @type {any} */ v) => (!v.cameras.length ? { cameras: t("pull.choose_one") } : null)}
    onSubmit=${(/** @type {any} */ v) => post("/stream-passwords", bodyOf(v))} fields=${[
      { name: "owner", label: t("streams.owner"), type: "select", value: owners[0]?.[0] || "", options: owners, hint: t("streams.owner_hint") },
      { name: "label", label: t("tokens.label"), required: true, hint: t("tokens.label_hint") },
      { name: "cameras", label: t("areas.cameras"), type: "cameras", cameras: [...cameras.values()].filter((c) => c.origin !== "lower") },
      { name: "max_stream", label: t("tokens.max_stream"), type: "radio", value: "main", options: [["main", t("tokens.main_and_sub")], ["sub", t("tokens.sub_only")]] },
      { name: "networks", label: t("streams.networks"), placeholder: "10.1.2.0/24", hint: t("streams.networks_hint") },
      { name: "unmarked_basis", label: t("streams.unmarked_basis"), hint: t("streams.unmarked_basis_hint") },
      { name: "expires", label: t("tokens.expires"), type: "date", value: day(now() + 30 * DAY), required: true },
    ]} /><//>`;
}

export function StreamPasswords() {
  const passwords = useList("/stream-passwords");
  const cameras = useStore(store, (s) => s.cameras);
  const [open, setOpen] = useState(/** @type {any} */ (null));
  const close = () => setOpen(null);
  /** @param {any} p */
  const state = (p) => (p.revoked_ms ? t("tokens.revoked", { at: stamp(p.revoked_ms, false) }) : p.state === "expired" ? t("tokens.expired") : t("tokens.valid"));
  return html`<section class="panel" aria-label=${t("streams.title")}><header class="admin-head"><div><h2>${t("streams.title")}</h2><p class="dim">${t("streams.note")}</p></div><span class="grow"></span><button type="button" id="stream-password-create" onClick=${() => setOpen({ create: true })}>${t("streams.create")}</button></header>
    <${Table} rowKey=${(/** @type {any} */ p) => p.id} rows=${passwords.items} cut=${passwords.cut} error=${passwords.error} dim=${(/** @type {any} */ p) => p.state !== "valid"} columns=${[
      { name: "label", label: t("tokens.label") }, { name: "id", label: t("streams.username"), mono: true }, { name: "owner_name", label: t("streams.owner") },
      { name: "cameras", label: t("areas.cameras"), show: (/** @type {any} */ p) => p.cameras.map((/** @type {string} */ id) => cameras.get(id)?.name || id).join(t("between")), wide: true },
      { name: "state", label: t("tokens.state"), show: state }, { name: "expires_ms", label: t("share.until"), show: (/** @type {any} */ p) => stamp(p.expires_ms, false) }, { name: "created_by", label: t("tokens.issued_by") },
    ]} acts=${(/** @type {any} */ p) => p.state === "valid" && html`<button type="button" class="small danger" onClick=${() => setOpen({ revoke: p })}>${t("tokens.revoke")}</button>`} />
    ${open?.create && html`<${CreateDialog} onClose=${close} onDone=${() => { close(); void passwords.load(); }} />`}
    ${open?.revoke && html`<${Confirm} title=${t("tokens.revoke")} text=${t("tokens.revoke_text", { label: open.revoke.label })} act=${t("tokens.revoke")} onClose=${close} onYes=${() => doing(() => post(`/stream-passwords/${open.revoke.id}/revoke`), t("streams.revoked_now")).then(passwords.load)} />`}</section>`;
}
