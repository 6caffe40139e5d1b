// @ts-check
// Starts the page: who is signed in decides what is drawn.

import { html, render, useEffect } from "./dom.js";
import { AdminView } from "./admin/admin.js";
import { Banners } from "./banners.js";
import { Dialogs } from "./dialogs/dialogs.js";
import { listen } from "./events.js";
import { listenKeys } from "./keys.js";
import { MustChange, OffDuty, Share, SignIn } from "./signin.js";
import { boot, store } from "./state.js";
import { useStore } from "./store.js";
import { Timeline } from "./timeline.js";
import { Toasts } from "./toasts.js";
import { TopBar } from "./topbar.js";
import { Tree } from "./tree.js";
import { Wall } from "./wall.js";

function Main() {
  const view = useStore(store, (s) => s.view);
  useEffect(listen, []);
  useEffect(listenKeys, []);
  return html`<div class="shell">
    <${TopBar} />
    <${Banners} />
    ${view === "wall"
      ? html`<main class="watch"><${Tree} /><div class="watch-right"><${Wall} /><${Timeline} /></div></main>`
      : html`<${AdminView} section=${view} />`}
    <${Dialogs} />
  </div>`;
}

function App() {
  const phase = useStore(store, (s) => s.phase);
  const language = useStore(store, (s) => s.language);
  const name = useStore(store, (s) => s.node?.name || "tiergate");
  const watch = useStore(store, (s) => (s.session?.wall ? s.session.login : ""));
  useEffect(() => { document.title = name; }, [name]);
  const page = phase === "boot" ? html`<p class="boot" role="status">tiergate</p>`
    : phase === "out" ? html`<${SignIn} />`
      : phase === "must_change" ? html`<${MustChange} />`
      : phase === "off_duty" ? html`<${OffDuty} />`
        : phase === "share" ? html`<${Share} />` : html`<${Main} />`;
  // The language is the key: every label is drawn anew, players are kept out of it by their own store. Who comes on duty
  // at a wall opens every picture anew: what was open was somebody else's.
  return html`<div class="page" key=${phase === "in" ? `in ${watch}` : language} data-language=${language}>${page}<${Toasts} /></div>`;
}

const root = /** @type {HTMLElement} */ (document.getElementById("app"));
root.replaceChildren();
render(html`<${App} />`, root);
void boot();
