// @ts-check
// Choosing cameras: a search over boxes to tick, in forms and in the dialog of pulls.

import { html, useState } from "./dom.js";
import { t } from "./i18n.js";
import { standing } from "./shapes.js";

/** So many are shown: of more, a few words of the name find the right ones. */
const MOST = 100;

/** @typedef {import("./shapes.js").Camera} Camera */

/** @param {{cameras: Camera[], chosen: Set<string>, onChange: (chosen: Set<string>) => void, legend: string, name?: string, invalid?: boolean}} props */
export function Choose({ cameras, chosen, onChange, legend, name, invalid = false }) {
  const [query, setQuery] = useState("");
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const fitting = cameras.filter((c) => words.every((w) => `${c.name} ${c.region_name || ""} ${c.id}`.toLowerCase().includes(w)));
  const shown = [...fitting.filter((c) => chosen.has(c.id)), ...fitting.filter((c) => !chosen.has(c.id))].slice(0, MOST);
  /** @param {string} id */
  const toggle = (id) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    onChange(next);
  };
  /** Enter would send the form around it. @param {KeyboardEvent} e */
  const key = (e) => { if (e.key === "Enter") e.preventDefault(); };
  return html`<fieldset class="choose"><legend>${legend}</legend>
    <input type="search" name=${name} value=${query} placeholder=${t("tree.search")} aria-label=${t("tree.search")} aria-invalid=${invalid} autocomplete="off" onKeyDown=${key} onInput=${(/** @type {any} */ e) => setQuery(e.target.value)} />
    <ul>${shown.map((c) => html`<li key=${c.id}><label><input type="checkbox" checked=${chosen.has(c.id)} onChange=${() => toggle(c.id)} /><span class=${`dot ${standing(c)}`}></span><b>${c.name}</b><span class="dim">${c.region_name || c.region}</span></label></li>`)}</ul>
    ${cameras.length > 0 && !fitting.length && html`<p class="fine">${t("tree.nothing_found")}</p>`}${fitting.length > MOST && html`<p class="fine cut" role="status">${t("list.cut", { count: MOST })}</p>`}</fieldset>`;
}
