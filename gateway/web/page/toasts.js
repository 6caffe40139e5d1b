// @ts-check
// Short messages in a corner: what was done, or why not.

import { html } from "./dom.js";
import { say, t } from "./i18n.js";
import { Icon } from "./icons.js";
import { dropToast, store } from "./state.js";
import { useStore } from "./store.js";

export function Toasts() {
  const toasts = useStore(store, (s) => s.toasts);
  return html`<div class="toasts" role="log" aria-live="polite">${toasts.map((one) => html`<div key=${one.id} class=${`toast ${one.kind}`}><span>${say(one.text)}</span>
    <button type="button" class="tool" aria-label=${t("close")} onClick=${() => dropToast(one.id)}><${Icon} name="close" /></button></div>`)}</div>`;
}
