// @ts-check
// Which dialog stands open.

import { AddDialog } from "../admin/cameras.js";
import { SessionsTable } from "../admin/sessions.js";
import { html } from "../dom.js";
import { t, tk } from "../i18n.js";
import { KEYS } from "../keys.js";
import { ShareWords } from "../signin.js";
import { closeDialog, store, toast } from "../state.js";
import { useStore } from "../store.js";
import { stamp } from "../time.js";
import { AssistDialog } from "./assist.js";
import { BreakGlassDialog } from "./break_glass.js";
import { ClipDialog } from "./clip.js";
import { Dialog } from "./dialog.js";
import { DutyDialog } from "./duty.js";
import { PasswordForm } from "./password.js";
import { PullDialog } from "./pull.js";
import { RenewDialog } from "./renew.js";

function Help() {
  return html`<${Dialog} title=${t("keys.title")}><dl class="keys">${KEYS.map(([shown, label]) => html`<div key=${shown}><dt>${shown.split(" ").map((k) => html`<kbd key=${k}>${k}</kbd>`)}</dt><dd>${t(label)}</dd></div>`)}</dl>
    <h3>${t("keys.timeline")}</h3><dl class="keys"><div><dt><kbd>${t("keys.wheel")}</kbd></dt><dd>${t("keys.wheel_text")}</dd></div><div><dt><kbd>${t("keys.drag")}</kbd></dt><dd>${t("keys.drag_text")}</dd></div>
      <div><dt><kbd>+</kbd><kbd>-</kbd></dt><dd>${t("keys.zoom")}</dd></div><div><dt><kbd>G</kbd></dt><dd>${t("keys.gap")}</dd></div></dl><//>`;
}

/** @param {{lease: import("../shapes.js").Lease}} props */
function LeaseDialog({ lease }) {
  const cameras = useStore(store, (s) => s.cameras);
  /** @type {[string, any][]} */
  const rows = [
    [t("lease.persons"), lease.persons], [t("lease.peer"), lease.peer], [t("lease.kind"), tk("mechanism", lease.kind)], [t("lease.case"), lease.case], [t("lease.reason"), lease.reason],
    [t("lease.cameras"), lease.cameras.map((id) => cameras.get(id)?.name || id).join(t("between"))], [t("lease.from"), stamp(lease.issued_ms)], [t("lease.until"), stamp(lease.expires_ms)],
    [t("lease.range"), lease.from_ms ? `${stamp(lease.from_ms)} – ${stamp(lease.to_ms)}` : t("lease.live_only")],
    [t("lease.cache_until"), stamp(lease.cache_until_ms)], [t("lease.confirmed"), lease.confirmed_ms ? stamp(lease.confirmed_ms) : lease.confirm_by_ms ? t("lease.confirm_by", { at: stamp(lease.confirm_by_ms) }) : "–"],
  ];
  return html`<${Dialog} title=${t("lease.title")}><dl class="facts">${rows.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value || "–"}</dd></div>`)}</dl><//>`;
}

export function Dialogs() {
  const dialog = useStore(store, (s) => s.dialog);
  const login = useStore(store, (s) => s.session?.login);
  if (!dialog) return null;
  switch (dialog.name) {
    case "camera_add": return html`<${AddDialog} onClose=${closeDialog} />`;
    case "break_glass": return html`<${BreakGlassDialog} />`;
    case "duty": return html`<${DutyDialog} />`;
    case "help": return html`<${Help} />`;
    case "assist": return html`<${AssistDialog} ...${dialog.props} />`;
    case "clip": return html`<${ClipDialog} ...${dialog.props} />`;
    case "pull": return html`<${PullDialog} ...${dialog.props} />`;
    case "renew": return html`<${RenewDialog} ...${dialog.props} />`;
    case "lease": return html`<${LeaseDialog} ...${dialog.props} />`;
    case "share": return html`<${Dialog} title=${t("share.title")}><${ShareWords} /><//>`;
    case "sessions": return html`<${Dialog} title=${t("sessions.own")} wide><p class="dim">${t("sessions.own_note")}</p><${SessionsTable} user=${login} /><//>`;
    case "password": return html`<${Dialog} title=${t("password.title")}><${PasswordForm} onDone=${() => { closeDialog(); toast(t("password.changed"), "good"); }} /><//>`;
    default: return null;
  }
}
