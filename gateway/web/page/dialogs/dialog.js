// @ts-check
// The frame of every dialog: the browser's own <dialog>, which keeps the focus inside and ends with Esc.

import { html, useEffect, useRef } from "../dom.js";
import { t } from "../i18n.js";
import { Icon } from "../icons.js";
import { closeDialog } from "../state.js";

/** Where the focus goes when a dialog is gone: back to what opened it; when that is gone too (a row that was removed, a
 * menu that has closed), to the section that is shown. Without it the next Tab would begin at the top of the page.
 * @param {Element | null} opener */
export function giveBack(opener) {
  if (document.querySelector("dialog[open]")) return;
  const there = opener instanceof HTMLElement && opener !== document.body && opener.isConnected && opener.getClientRects().length > 0;
  /** @type {HTMLElement | null} */ (there ? opener : document.querySelector(".admin-nav [aria-current]"))?.focus({ preventScroll: true });
}

/** @param {{title: string, children?: any, wide?: boolean, onClose?: () => void}} props */
export function Dialog({ title, children, wide = false, onClose = closeDialog }) {
  const box = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const opener = document.activeElement;
    element.showModal();
    /** @type {HTMLElement | null} */ (element.querySelector(".dialog-body :is(input, textarea, select, button)"))?.focus();
    return () => { element.close(); giveBack(opener); };
  }, []);
  return html`<dialog ref=${box} class=${wide ? "dialog wide" : "dialog"} aria-label=${title} onCancel=${(/** @type {Event} */ e) => { e.preventDefault(); onClose(); }}>
    <header class="dialog-head"><h2>${title}</h2><button type="button" class="tool" aria-label=${t("close")} onClick=${onClose}><${Icon} name="close" /></button></header>
    <div class="dialog-body">${children}</div></dialog>`;
}
