// @ts-check
// A wall with nothing to show yet: what to do next, by what one may do.

import { html } from "./dom.js";
import { t } from "./i18n.js";
import { Icon } from "./icons.js";
import { sections } from "./shapes.js";
import { openDialog, store } from "./state.js";
import { useStore } from "./store.js";

export function Welcome() {
  const session = useStore(store, (s) => s.session);
  const open = sections(session);
  const adds = open.includes("cameras"), links = open.includes("links");
  return html`<section class="welcome" aria-label=${t("welcome.title")}><h1>${t("welcome.title")}</h1>
    ${!adds && !links ? html`<p>${t("welcome.nothing")}</p>` : html`
      ${adds && html`<div class="welcome-step"><div><strong>${t("welcome.add")}</strong><span>${t("welcome.add_text")}</span></div>
        <button type="button" class="primary" id="welcome-add" onClick=${() => openDialog("camera_add")}><${Icon} name="plus" />${t("cameras.add")}</button></div>
        <div class="welcome-step"><div><strong>${t("welcome.find")}</strong><span>${t("welcome.find_text")}</span></div><code>tiergate camera discover</code></div>`}
      ${links && html`<div class="welcome-step"><div><strong>${t("welcome.link")}</strong><span>${t("welcome.link_text")}</span></div>
        <button type="button" onClick=${() => store.set({ view: "links" })}><${Icon} name="link" />${t("admin.links")}</button></div>`}
      ${adds && html`<div class="welcome-step"><div><strong>${t("welcome.demo")}</strong><span>${t("welcome.demo_text")}</span></div><code>scripts/demo</code></div>`}`}
  </section>`;
}
