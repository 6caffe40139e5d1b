// @ts-check
// Before the wall: signing in by name or by a department's token, a first password, and what a token lets one see.

import { html, useEffect, useState } from "./dom.js";
import { say, t, tk } from "./i18n.js";
import { boot, checkSession, endSession, signIn, signOut, store } from "./state.js";
import { useStore } from "./store.js";
import { DutyForm } from "./dialogs/duty.js";
import { PasswordForm } from "./dialogs/password.js";
import { LanguageSwitch } from "./topbar.js";
import { stamp } from "./time.js";

const ASK_MS = 10_000;
const MOST_SHARED = 200;

/** @param {{children?: any, title: string}} props */
function Card({ children, title }) {
  const node = useStore(store, (s) => s.node);
  return html`<main class="door"><section class="card" aria-label=${title}>
    <header class="card-head"><img src="/page/icon.svg" alt="" width="34" height="34" /><div><strong>${node.name}</strong><span class="dim">${[node.region_name, tk("tier", node.tier)].filter(Boolean).join(" · ")}</span></div>
      <span class="grow"></span><${LanguageSwitch} /></header>${children}</section></main>`;
}

export function SignIn() {
  const why = useStore(store, (s) => s.outReason), stillIn = useStore(store, (s) => s.stillIn);
  const [way, setWay] = useState("user");
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  /** @param {SubmitEvent} e */
  const submit = async (e) => {
    e.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (e.target));
    setBusy(true);
    setProblem(null);
    try {
      await signIn(way === "user" ? { login: String(form.get("login")).trim(), password: String(form.get("password")) } : { token: String(form.get("token")).trim() });
    } catch (error) {
      setProblem(error);
      setBusy(false);
    }
  };
  return html`<${Card} title=${t("signin.title")}>
    <div class="tabs" role="tablist"><button type="button" role="tab" id="way-user" aria-selected=${way === "user"} onClick=${() => { setWay("user"); setProblem(null); }}>${t("signin.by_name")}</button>
      <button type="button" role="tab" id="way-token" aria-selected=${way === "token"} onClick=${() => { setWay("token"); setProblem(null); }}>${t("signin.by_token")}</button></div>
    ${stillIn && html`<div class="form-problem" id="still-in" role="alert"><strong>${t("signin.still_in")}</strong> ${say(stillIn)} <button type="button" class="small" onClick=${() => void endSession()}>${t("signin.end_now")}</button></div>`}
    ${why && !problem && html`<p class="notice">${say(why)}</p>`}
    <form class="form" onSubmit=${submit} key=${way}>
      ${way === "user" ? html`
        <label class="field"><span>${t("signin.login")}</span><input name="login" autocomplete="username" autocapitalize="off" spellcheck=${false} required autofocus /></label>
        <label class="field"><span>${t("signin.password")}</span><input name="password" type="password" autocomplete="current-password" required /></label>`
      : html`<label class="field"><span>${t("signin.token")}</span><textarea name="token" rows="5" class="mono" autocomplete="off" spellcheck=${false} required autofocus></textarea>
          <small>${t("signin.token_hint")}</small></label>`}
      ${problem && html`<p class="form-problem" role="alert">${say(problem)}</p>`}
      <div class="form-acts"><button type="submit" class="primary" disabled=${busy}>${t(busy ? "signin.busy" : "signin.enter")}</button></div>
    </form>
    <p class="fine">${t("signin.register_note")}</p>
  <//>`;
}

export function MustChange() {
  return html`<${Card} title=${t("password.title")}><p class="notice">${t("password.must")}</p>
    <${PasswordForm} onDone=${() => void boot()} /><div class="form-acts"><button type="button" onClick=${() => void signOut()}>${t("menu.sign_out")}</button></div><//>`;
}

/** A shared wall without anybody: no picture, and how there will be one. */
export function OffDuty() {
  const wall = useStore(store, (s) => s.session?.wall?.name || "");
  useEffect(() => {
    const timer = setInterval(() => void checkSession().catch(() => {}), ASK_MS);
    return () => clearInterval(timer);
  }, []);
  return html`<${Card} title=${t("duty.nobody")}><div id="off-duty"><h1>${t("duty.nobody")}</h1><p>${t("duty.nobody_text", { wall })}</p></div>
    <${DutyForm} /><p class="fine">${t("signin.register_note")}</p><div class="form-acts"><button type="button" onClick=${() => void signOut()}>${t("menu.sign_out")}</button></div><//>`;
}

/** What the session may see, in plain words and then exactly. */
export function ShareWords() {
  const session = useStore(store, (s) => s.session);
  const cameras = useStore(store, (s) => s.cameras);
  if (!session) return null;
  return html`<div class="share" id="share-words">
    ${session.plain && html`<p class="plain">${say(session.plain)}</p>`}
    <dl><dt>${t("share.who")}</dt><dd>${[session.unit, session.name].filter(Boolean).join(" · ")}</dd>
      <dt>${t("share.functions")}</dt><dd>${(session.functions || []).map((/** @type {string} */ f) => html`<span key=${f} class="chip">${tk("function", f)}</span>`)}</dd>
      ${session.valid_until_ms && html`<dt>${t("share.until")}</dt><dd>${stamp(session.valid_until_ms)}</dd>`}
      <dt>${t("share.cameras", { count: cameras.size })}</dt><dd><ul class="share-cameras">${[...cameras.values()].slice(0, MOST_SHARED).map((c) => html`<li key=${c.id}><b>${c.name}</b><span class="mono dim">${c.id}</span>
        <span class="dim">${(c.functions || []).map((f) => tk("function", f)).join(t("between"))}</span></li>`)}${cameras.size > MOST_SHARED && html`<li class="dim">${t("more", { count: cameras.size - MOST_SHARED })}</li>`}</ul></dd></dl></div>`;
}

export function Share() {
  return html`<${Card} title=${t("share.title")}><h1>${t("share.title")}</h1><${ShareWords} />
    <div class="form-acts"><button type="button" onClick=${() => void signOut()}>${t("menu.sign_out")}</button><button type="button" class="primary" id="enter" onClick=${() => store.set({ phase: "in" })}>${t("share.enter")}</button></div><//>`;
}
