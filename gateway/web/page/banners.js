// @ts-check
// Lines that say who watches across tiers: below calmly that somebody above looks, above loudly that nobody has confirmed yet.

import { cx, html, useEffect, useState } from "./dom.js";
import { list, post, remove } from "./api.js";
import { useNow } from "./clock.js";
import { say, t, tk } from "./i18n.js";
import { Icon } from "./icons.js";
import { byOwnName, mayRenew, running, unconfirmed } from "./shapes.js";
import { checkSession, enterAgain, openDialog, refreshCameras, refreshLeases, showCameras, store, toast } from "./state.js";
import { useStore } from "./store.js";
import { momentText, span } from "./time.js";

const WARN_MS = 10 * 60_000;

/** @param {string} id */
export async function endPull(id) {
  try {
    await remove(`/pulls/${id}`);
    toast(t("pull.ended"), "good");
  } catch (error) {
    toast(error, "bad");
  }
  await Promise.all([refreshLeases(), refreshCameras()]);
}

/** @param {string} id */
export async function confirmLease(id) {
  try {
    await post(`/leases/${id}/confirm`);
    toast(t("pull.confirmed"), "good");
  } catch (error) {
    toast(error, "bad");
  }
  await refreshLeases();
}

/** One's own broken glass: what it gives, how long, and how to end it. @param {{until_ms: number}} props */
function BrokenGlass({ until_ms }) {
  const at = useNow();
  const end = async () => {
    try {
      const mine = (await list("/break-glass")).filter((one) => one.state === "opened" && one.until_ms > at);
      for (const one of mine) await remove(`/break-glass/${one.id}`);
    } catch (error) {
      toast(error, "bad");
    }
    await enterAgain().catch(() => {});
  };
  return html`<div class="banner alarm" id="broken-glass" role="alert"><${Icon} name="warn" /><strong>${t("seals.banner")}</strong><span>${t("seals.banner_text")}</span><b>${t("banner.left", { left: span(until_ms - at) })}</b><span class="grow"></span>
    <button type="button" class="small danger" onClick=${() => void end()}>${t("seals.end")}</button></div>`;
}

/** The end of one's shift at a shared wall comes near; at the end the page asks who is on duty now. @param {{until_ms: number, at: number}} props */
function ShiftEnds({ until_ms, at }) {
  const over = at >= until_ms;
  useEffect(() => { if (over) void checkSession().catch(() => {}); }, [over && at]);
  return html`<div class="banner pulling" id="duty-ends" role="alert"><${Icon} name="warn" /><strong>${t("duty.ends")}</strong><span>${t("duty.ends_text")}</span><b>${t("banner.left", { left: span(Math.max(0, until_ms - at)) })}</b><span class="grow"></span>
    <button type="button" class="small" onClick=${() => openDialog("duty")}>${t("duty.hand_over")}</button></div>`;
}

/** @param {{lease: import("./shapes.js").Lease}} props */
export function Extend({ lease }) {
  const may = useStore(store, (s) => mayRenew(s.session, lease));
  return may && html`<button type="button" class="small" onClick=${() => openDialog("renew", { lease })}>${t("banner.extend")}</button>`;
}

export function Banners() {
  const shift_ms = useStore(store, (s) => s.session?.wall?.until_ms || 0);
  const acts = useStore(store, (s) => byOwnName(s.session));
  const opened_ms = useStore(store, (s) => s.session?.break_glass_until_ms || 0);
  const leases = useStore(store, (s) => s.leases);
  const cameras = useStore(store, (s) => s.cameras);
  const at = useNow();
  const [more, setMore] = useState(false);
  const alive = leases.filter((one) => running(one, at));
  const watched = alive.filter((one) => one.side === "granted").sort((a, b) => Number(Boolean(b.violation)) - Number(Boolean(a.violation)) || Number(b.watching) - Number(a.watching));
  const held = alive.filter((one) => one.side === "held");
  const open = held.filter((one) => unconfirmed(one, at));
  const calm = held.filter((one) => !unconfirmed(one, at));
  const broken = opened_ms > at;
  const ending = shift_ms > 0 && at >= shift_ms - WARN_MS;
  if (!alive.length && !broken && !ending) return null;
  /** @param {string[]} ids */
  const names = (ids) => ids.slice(0, 3).map((id) => cameras.get(id)?.name || id).join(t("between")) + (ids.length > 3 ? t("more", { count: ids.length - 3 }) : "");
  const shownWatched = more ? watched : watched.slice(0, 1);
  return html`<aside class="banners" aria-label=${t("banner.label")}>
    ${ending && html`<${ShiftEnds} until_ms=${shift_ms} at=${at} />`}
    ${broken && html`<${BrokenGlass} until_ms=${opened_ms} />`}
    ${open.map((one) => html`<div key=${one.id} class="banner alarm" role="alert"><${Icon} name="warn" /><strong>${t("banner.unconfirmed")}</strong>
      <span>${tk("mechanism", one.kind)} ${one.case} · ${one.reason} · ${names(one.cameras)} ${say(one.violation)}</span>
      <b>${(one.confirm_by_ms || 0) > at ? t("banner.confirm_in", { left: span((one.confirm_by_ms || 0) - at) }) : t("banner.confirm_late")}</b><b>${t("banner.left", { left: span(one.expires_ms - at) })}</b><span class="grow"></span>
      ${acts && html`<button type="button" class="small" onClick=${() => void confirmLease(one.id)}>${t("banner.confirm")}</button>`}<${Extend} lease=${one} /><button type="button" class="small" onClick=${() => showCameras(one.cameras.slice(0, 16))}>${t("banner.show")}</button>
      ${acts && html`<button type="button" class="small danger" onClick=${() => void endPull(one.id)}>${t("banner.end")}</button>`}</div>`)}
    ${calm.map((one) => html`<div key=${one.id} class="banner pulling"><${Icon} name="pull" /><strong>${t("banner.pulling")}</strong><span>${tk("mechanism", one.kind)} ${one.case} · ${names(one.cameras)}</span>
      <b>${t("banner.left", { left: span(one.expires_ms - at) })}</b><span class="grow"></span>
      <${Extend} lease=${one} /><button type="button" class="small" onClick=${() => showCameras(one.cameras.slice(0, 16))}>${t("banner.show")}</button>${acts && html`<button type="button" class="small" onClick=${() => void endPull(one.id)}>${t("banner.end")}</button>`}</div>`)}
    ${shownWatched.map((one, i) => html`<div key=${one.id} class=${cx("banner", one.violation ? "alarm" : "watched")} id=${i === 0 ? "watched-banner" : null} role=${one.violation ? "alert" : "status"}><${Icon} name=${one.violation ? "warn" : "link"} /><strong>${t(one.watching ? "banner.watched" : "banner.may_watch", { who: one.persons || one.peer })}</strong>
      <span>${tk("mechanism", one.kind)} · ${t("banner.case", { case: one.case })} · ${one.reason} · ${names(one.cameras)}</span><b>${t("banner.until", { at: momentText(one.expires_ms, at, false) })}</b>
      ${one.violation ? html`<b>${t("banner.unconfirmed_below")}</b>` : unconfirmed(one, at) && html`<span class="soft">${t("banner.confirm_by_below", { at: momentText(one.confirm_by_ms || 0, at, false) })}</span>`}
      <span class="grow"></span>${watched.length > 1 && html`<button type="button" class="small" onClick=${() => setMore(!more)}>${more ? t("banner.less") : t("banner.all", { count: watched.length })}</button>`}
      <button type="button" class="small" onClick=${() => openDialog("lease", { lease: one })}>${t("banner.details")}</button></div>`)}
  </aside>`;
}
