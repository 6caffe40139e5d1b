// @ts-check
// What every admin view is made of: a loaded list, a table, a page with a form beside it, a confirmation.

import { cx, html, useCallback, useEffect, useLayoutEffect, useRef, useState } from "../dom.js";
import { listed } from "../api.js";
import { say, t } from "../i18n.js";
import { toast } from "../state.js";
import { Dialog, giveBack } from "../dialogs/dialog.js";

/** A list of the API, whether it is longer than `most`, and how to load it again. @param {string} path @param {Record<string, unknown>} [query] @param {number} [most] */
export function useList(path, query = {}, most = 2000) {
  const [items, setItems] = useState(/** @type {any[] | null} */ (null));
  const [cut, setCut] = useState(false);
  const [error, setError] = useState(/** @type {any} */ (null));
  const key = JSON.stringify(query);
  const asked = useRef(0);
  const load = useCallback(async () => {
    const mine = ++asked.current; // an answer that comes after a later question is not what was asked for
    try {
      const found = await listed(path, JSON.parse(key), most);
      if (mine !== asked.current) return;
      setItems(found.items);
      setCut(found.cut);
      setError(null);
    } catch (problem) {
      if (mine !== asked.current) return;
      setError(problem);
      setItems([]);
      setCut(false);
    }
  }, [path, key]);
  useEffect(() => { void load(); }, [load]);
  return { items, cut, error, load };
}

/** @typedef {{name: string, label: string, show?: (row: any) => any, mono?: boolean, wide?: boolean, end?: boolean}} Column */

/** That a list is longer than what is shown of it. @param {{count: number, cut: boolean, text?: string}} props */
export const Cut = ({ count, cut, text }) => (cut ? html`<p class="fine cut" role="status">${text || t("list.cut", { count })}</p>` : null);

/** @param {{columns: Column[], rows: any[] | null, cut?: boolean, error?: any, acts?: (row: any) => any, rowKey: (row: any) => string, empty?: string, dim?: (row: any) => boolean}} props */
export function Table({ columns, rows, cut = false, error, acts, rowKey, empty, dim }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const had = Boolean(box.current?.contains(document.activeElement)); // a row that goes takes the focus with it
  useLayoutEffect(() => { if (had && document.activeElement === document.body) giveBack(null); });
  if (error) return html`<p class="form-problem" role="alert">${say(error)}</p>`;
  if (!rows) return html`<p class="fine" role="status">${t("loading")}</p>`;
  if (!rows.length) return html`<p class="none">${empty || t("nothing")}</p>`;
  return html`<div class="table-box" ref=${box}><table><thead><tr>${columns.map((c) => html`<th key=${c.name} scope="col" class=${cx(c.end && "end")}>${c.label}</th>`)}${acts && html`<th scope="col"><span class="sr">${t("acts")}</span></th>`}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${rowKey(row)} class=${dim?.(row) ? "dim-row" : ""}>${columns.map((c) => html`<td key=${c.name} class=${cx(c.mono && "mono", c.wide && "wide", c.end && "end")}>${c.show ? c.show(row) : row[c.name] ?? "–"}</td>`)}
      ${acts && html`<td class="acts">${acts(row)}</td>`}</tr>`)}</tbody></table></div><${Cut} count=${rows.length} cut=${cut} />`;
}

/** @param {{title: string, tools?: any, children?: any, note?: string}} props */
export function Page({ title, tools, children, note }) {
  return html`<section class="admin-page" aria-label=${title}><header class="admin-head"><div><h1>${title}</h1>${note && html`<p class="dim">${note}</p>`}</div><span class="grow"></span>${tools}</header>${children}</section>`;
}

/** Runs an act and says how it went. @param {() => Promise<any>} act @param {string} done */
export async function doing(act, done) {
  try {
    const answer = await act();
    toast(done, "good");
    return answer;
  } catch (error) {
    toast(error, "bad");
    return undefined;
  }
}

/** @param {{title: string, text: string, act: string, onYes: () => Promise<any>, onClose: () => void, danger?: boolean, children?: any}} props */
export function Confirm({ title, text, act, onYes, onClose, danger = true, children }) {
  const [busy, setBusy] = useState(false);
  return html`<${Dialog} title=${title} onClose=${onClose}><p>${text}</p>${children}<div class="form-acts"><button type="button" onClick=${onClose}>${t("cancel")}</button>
    <button type="button" class=${cx("primary", danger && "danger")} disabled=${busy} onClick=${async () => { setBusy(true); await onYes(); onClose(); }}>${act}</button></div><//>`;
}

/** @param {number | null | undefined} bytes */
export const size = (bytes) => (bytes === undefined || bytes === null ? "–" : bytes > 1e9 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(1)} MB`);

/** A secret that is shown once. @param {{label: string, value: string}} props */
export function Once({ label, value }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(value);
      setCopied(true);
    } catch {
      /** @type {HTMLTextAreaElement | null} */ (document.querySelector(".once textarea"))?.select();
    }
  };
  return html`<div class="once" role="status"><strong>${label}</strong><textarea class="mono" readonly rows="4" value=${value} onFocus=${(/** @type {any} */ e) => e.target.select()}></textarea>
    <div class="form-acts"><span class="fine">${t("once.note")}</span><span class="grow"></span><button type="button" class="primary" onClick=${() => void copy()}>${t(copied ? "once.copied" : "once.copy")}</button></div></div>`;
}
