// @ts-check
// The line at the top: which node this is, what one does here, what time it is, who is signed in.

import { WaitingCount } from "./admin/approvals.js";
import { cx, html, useEffect, useRef } from "./dom.js";
import { now, useNow } from "./clock.js";
import { say, setLanguage, t, tk } from "./i18n.js";
import { Icon } from "./icons.js";
import { byOwnName, sections } from "./shapes.js";
import { approvalsToDecide, openDialog, signOut, store } from "./state.js";
import { useStore } from "./store.js";
import { clock, day, momentText, parts, stamp } from "./time.js";
import { WallTools } from "./wall.js";

export function LanguageSwitch() {
  const language = useStore(store, (s) => s.language);
  const next = language === "zh" ? "en" : "zh";
  return html`<button type="button" id="language" class="tool wide" lang=${next === "zh" ? "zh-CN" : "en"} aria-label=${t("language.switch")} title=${t("language.switch")}
    onClick=${() => { setLanguage(next, true); store.set({ language: next }); }}>${next === "zh" ? "中文" : "English"}</button>`;
}

function Clock() {
  const at = useNow();
  return html`<time class="clock" title="UTC+8"><span>${day(at)} ${t(`weekday.${parts(at).weekday}`)}</span><b>${clock(at)}</b></time>`;
}

/** A list under its button in the top line: Esc and a press elsewhere close it; after Esc the focus is on the button. */
function useMenu() {
  const box = useRef(/** @type {HTMLDetailsElement | null} */ (null));
  useEffect(() => {
    /** @param {PointerEvent} e */
    const press = (e) => { if (box.current && !box.current.contains(/** @type {Node} */ (e.target))) box.current.open = false; };
    /** @param {KeyboardEvent} e */
    const key = (e) => {
      if (e.key !== "Escape" || !box.current?.open) return;
      e.stopPropagation();
      closeMenu(box.current);
    };
    addEventListener("pointerdown", press);
    addEventListener("keydown", key, true);
    return () => { removeEventListener("pointerdown", press); removeEventListener("keydown", key, true); };
  }, []);
  return box;
}

/** The button keeps the focus: what is hidden cannot, and a dialog gives it back to whoever had it.
 * @param {HTMLDetailsElement} menu */
function closeMenu(menu) {
  menu.open = false;
  menu.querySelector("summary")?.focus();
}

/** What stands wrong on this node, for those who may know: how much, and behind it each sentence with its next step. */
function Alarms() {
  const alarms = useStore(store, (s) => s.alarms);
  const box = useMenu();
  if (!alarms.length) return null;
  const level = alarms.some((one) => one.level === "bad") ? "bad" : "warn";
  return html`<details class="menu" id="alarms" ref=${box}><summary class=${cx("tool", "wide", "alarms", level)} title=${t("alarms.title", { count: alarms.length })}><${Icon} name="warn" /><span class="label" role="status">${t("alarms.title", { count: alarms.length })}</span></summary>
    <div class="menu-body alarm-list" role="list">${alarms.map((one) => html`<div key=${`${one.check}/${say(one.reason)}`} role="listitem" class=${one.level} data-check=${one.check}><strong>${say(one.reason)}</strong>
      <span>${say(one.next)}</span><small class="dim">${tk("alarm_level", one.level)} · ${t("alarms.since", { at: stamp(one.since_ms, false) })}</small></div>`)}</div></details>`;
}

/** Who answers for what is looked at on this wall, until when; behind it handing over. @param {{session: any}} props */
function OnDuty({ session }) {
  const words = t("duty.on", { person: session.name, at: momentText(session.wall.until_ms, now(), false) });
  return html`<button type="button" id="duty" class="tool wide" title=${`${t("duty.title")} (D)`} onClick=${() => openDialog("duty")}><${Icon} name="user" /><span class="label">${words}</span></button>`;
}

export function TopBar() {
  const node = useStore(store, (s) => s.node);
  const session = useStore(store, (s) => s.session);
  const view = useStore(store, (s) => s.view);
  const reachable = useStore(store, (s) => s.reachable), known_ms = useStore(store, (s) => s.known_ms);
  const lower = useStore(store, (s) => [...s.cameras.values()].some((c) => c.origin === "lower"));
  useStore(store, (s) => s.language);
  const menu = useMenu();
  const admin = sections(session);
  const duty = byOwnName(session) && lower;
  return html`<header class="topbar">
    <div class="brand"><img src="/page/icon.svg" alt="" width="22" height="22" /><strong>${node.name}</strong>
      ${node.region_name && html`<span class="dim">${node.region_name}</span>`}${node.tier && html`<span class="chip">${tk("tier", node.tier)}</span>`}</div>
    <nav class="views" aria-label=${t("view.label")}>
      <button type="button" class=${cx("tool", "wide", view === "wall" && "on")} aria-current=${view === "wall" ? "page" : null} onClick=${() => store.set({ view: "wall" })}><${Icon} name="wall" /><span class="label">${t("view.wall")}</span></button>
      ${admin.length > 0 && html`<button type="button" id="view-admin" class=${cx("tool", "wide", view !== "wall" && "on")} aria-current=${view !== "wall" ? "page" : null} onClick=${() => store.set((s) => ({ view: approvalsToDecide(s.approvals).length ? "approvals" : admin[0] }))}><${Icon} name="gear" /><span class="label">${t("view.admin")}</span><${WaitingCount} /></button>`}
      ${duty && html`<button type="button" id="open-pull" class="tool wide" title="P" onClick=${() => openDialog("pull", {})}><${Icon} name="pull" /><span class="label">${t("view.pull")}</span></button>`}
    </nav>
    ${view === "wall" && html`<${WallTools} />`}
    <span class="grow"></span>
    <${Alarms} />
    ${session?.wall && html`<${OnDuty} session=${session} />`}
    ${!reachable && html`<span class="chip bad" role="status">${known_ms ? t("unreachable_since", { at: clock(known_ms) }) : t("unreachable")}</span>`}
    <${Clock} />
    <${LanguageSwitch} />
    <button type="button" class="tool" aria-label=${t("keys.help")} title="?" onClick=${() => openDialog("help")}><${Icon} name="help" /></button>
    <details class="menu" id="user-menu" ref=${menu}><summary class="tool wide"><${Icon} name="user" /><span class="label">${session?.name || ""}</span></summary>
      <div class="menu-body" role="menu" onClick=${(/** @type {any} */ e) => { if (e.target.closest("button")) closeMenu(e.currentTarget.closest("details")); }}>
        <p><strong>${session?.name}</strong><span class="dim">${session?.unit || ""}</span></p>
        <button type="button" role="menuitem" onClick=${() => openDialog("share")}>${t("menu.share")}</button>
        ${byOwnName(session) && html`<button type="button" role="menuitem" onClick=${() => openDialog("password")}>${t("menu.password")}</button>`}
        ${byOwnName(session) && html`<button type="button" role="menuitem" onClick=${() => openDialog("sessions")}>${t("sessions.own")}</button>`}
        ${byOwnName(session) && html`<button type="button" role="menuitem" onClick=${() => openDialog("break_glass")}>${t("seals.open")}</button>`}
        <button type="button" role="menuitem" onClick=${() => void signOut()}>${t("menu.sign_out")}</button></div></details>
  </header>`;
}

