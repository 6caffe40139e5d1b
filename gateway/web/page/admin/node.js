// @ts-check
// How this node stands: who it is, its cameras in numbers, and which of them are in trouble.

import { html } from "../dom.js";
import { say, t, tk } from "../i18n.js";
import { standing, troubled } from "../shapes.js";
import { store } from "../state.js";
import { useStore } from "../store.js";
import { Page } from "./parts.js";

export function NodePage() {
  const node = useStore(store, (s) => s.node);
  const cameras = useStore(store, (s) => s.cameras);
  const own = [...cameras.values()].filter((c) => c.origin !== "lower");
  /** @param {string} state */
  const count = (state) => own.filter((c) => standing(c) === state).length;
  const bad = own.filter((c) => standing(c) === "offline" || (c.health && c.health.verdict !== "ok"));
  return html`<${Page} title=${t("admin.node")}>
    <div class="numbers"><div><b>${own.length}</b><span>${t("node.cameras")}</span></div><div class="good"><b>${count("online")}</b><span>${tk("standing", "online")}</span></div><div class=${count("offline") ? "bad" : ""}><b>${count("offline")}</b><span>${tk("standing", "offline")}</span></div>
      <div><b>${own.filter((c) => c.health && c.health.verdict !== "ok").length}</b><span>${t("node.unhealthy")}</span></div></div>
    <dl class="facts">${[[t("node.name"), node.name], [t("cameras.region"), `${node.region_name || ""} ${node.region || ""}`], [t("links.tier"), tk("tier", node.tier)], [t("node.id"), node.node_id], [t("node.version"), node.version]].map(([k, v]) => html`<div key=${k}><dt>${k}</dt><dd class="mono">${v || "–"}</dd></div>`)}</dl>
    <p class="fine">${t("node.doctor_note")}</p>
    <section class="panel"><h2>${t("node.trouble")}</h2>${bad.length ? html`<ul class="checks-list">${bad.map((c) => html`<li key=${c.id} class="bad"><b>${c.name}</b> <span>${standing(c) === "offline" ? say(troubled(c)?.reason) || tk("cause", troubled(c)?.cause) : tk("health", c.health?.verdict)}</span></li>`)}</ul>` : html`<p class="none">${t("node.no_trouble")}</p>`}</section><//>`;
}
