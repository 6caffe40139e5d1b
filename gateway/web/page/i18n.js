// @ts-check
// Labels of the page in two languages. Sentences about decisions, failures and states come from the API in both
// languages (`say`); only what the page itself prints stands in words/en.js and words/zh.js.

import { en } from "./words/en.js";
import { zh } from "./words/zh.js";

/** @typedef {"en" | "zh"} Language */

/** @type {Record<Language, Record<string, string>>} */
const TABLES = { en, zh };
const KEPT = "tiergate.language";

/** @type {Language} */
let language = "zh";

/** @returns {Language} */
export const currentLanguage = () => language;

/** What this browser chose before, or prefers. @returns {Language | null} */
export function keptLanguage() {
  const kept = localStorage.getItem(KEPT);
  return kept === "en" || kept === "zh" ? kept : null;
}

/** @returns {Language} */
export function browserLanguage() {
  return (navigator.language || "").toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** @param {Language} next @param {boolean} [keep] */
export function setLanguage(next, keep = false) {
  language = next;
  document.documentElement.lang = next === "zh" ? "zh-CN" : "en";
  if (keep) localStorage.setItem(KEPT, next);
}

/** @param {string} text @param {Record<string, unknown>} params */
const fill = (text, params) => text.replace(/\{(\w+)\}/g, (whole, name) => (name in params ? String(params[name]) : whole));

/** The label for a key. @param {string} key @param {Record<string, unknown>} [params] */
export function t(key, params = {}) {
  return fill(TABLES[language][key] ?? key, params);
}

/** The label of a word of the API, such as a gap's cause: `tk("cause", "network")`; an unknown word stays itself.
 * @param {string} group @param {string | null | undefined} word */
export function tk(group, word) {
  if (word === null || word === undefined || word === "") return "";
  return TABLES[language][`${group}.${word}`] ?? String(word);
}

/** The sentence of a reason, an ApiError, or plain `{en, zh}`. @param {any} reason @returns {string} */
export function say(reason) {
  if (!reason) return "";
  if (typeof reason === "string") return reason;
  const words = reason.words || reason;
  return words[language] || words.en || words.zh || reason.message || "";
}
