// @ts-check
// Forms: fields by description, and a refusal of the API beside the field that it is about.

import { cx, html, useLayoutEffect, useRef, useState } from "./dom.js";
import { ApiError } from "./api.js";
import { Choose } from "./choose.js";
import { say, t } from "./i18n.js";

/**
 * @typedef {{name: string, label: string, type?: "text" | "password" | "number" | "select" | "radio" | "checkbox" | "checks" | "cameras" | "textarea" | "datetime" | "date", value?: any,
 *   options?: [string, string][], required?: boolean, hint?: string, rows?: number, min?: number, max?: number, step?: string, autocomplete?: string, mono?: boolean,
 *   cameras?: import("./shapes.js").Camera[], when?: (values: any) => boolean, placeholder?: string, also?: string[]}} Field
 */

/** The field an error is about: named by the API, or a parameter of the same name. @param {ApiError} error @param {Field[]} fields */
function fieldOf(error, fields) {
  const named = /** @type {any} */ (error.params).field;
  const names = fields.map((one) => one.name);
  if (typeof named === "string" && names.includes(named.split(".").pop() || "")) return named.split(".").pop() || "";
  const other = fields.find((one) => one.also?.some((word) => error.code.includes(word) || word === String(named).split(".").pop()));
  if (other) return other.name;
  const tail = error.code.split(/[._]/).find((word) => names.includes(word));
  return tail || Object.keys(error.params).find((key) => names.includes(key)) || "";
}

/** Fields of several boxes. A label around them would tick the first one at a click on its words or beside the boxes.
 * @type {Record<string, string>} */
const GROUPS = { checks: "group", cameras: "group", radio: "radiogroup" };

/** @param {{field: Field, value: any, problem: string, onInput: (value: any) => void}} props */
function Control({ field, value, problem, onInput }) {
  const common = { name: field.name, required: field.required, "aria-invalid": Boolean(problem), placeholder: field.placeholder, autocomplete: field.autocomplete || "off" };
  /** @param {any} e */
  const input = (e) => onInput(e.target.value);
  switch (field.type) {
    case "textarea": return html`<textarea ...${common} rows=${field.rows || 3} class=${field.mono ? "mono" : ""} value=${value} onInput=${input}></textarea>`;
    case "select": return html`<select ...${common} value=${value} onChange=${input}>${(field.options || []).map(([v, label]) => html`<option key=${v} value=${v} selected=${v === value}>${label}</option>`)}</select>`;
    case "radio": return html`<span class="radios">${(field.options || []).map(([v, label]) => html`<label key=${v}><input type="radio" name=${field.name} value=${v} checked=${v === value} onChange=${() => onInput(v)} />${label}</label>`)}</span>`;
    case "checks": return html`<span class="checks">${(field.options || []).map(([v, label]) => html`<label key=${v}><input type="checkbox" checked=${(value || []).includes(v)}
      onChange=${(/** @type {any} */ e) => onInput(e.target.checked ? [...(value || []), v] : (value || []).filter((/** @type {string} */ x) => x !== v))} />${label}</label>`)}</span>`;
    case "cameras": return html`<${Choose} name=${field.name} invalid=${Boolean(problem)} cameras=${field.cameras || []} chosen=${new Set(value)} onChange=${(/** @type {Set<string>} */ chosen) => onInput([...chosen])} legend=${t("choose.chosen", { count: (value || []).length })} />`;
    case "datetime": return html`<input ...${common} type="datetime-local" step="1" value=${value} onInput=${input} />`;
    default: return html`<input ...${common} type=${field.type || "text"} min=${field.min} max=${field.max} step=${field.step} class=${field.mono ? "mono" : ""} spellcheck=${false} value=${value} onInput=${input} />`;
  }
}

/**
 * @param {{fields: Field[], submit: string, onSubmit: (values: any) => Promise<any>, onDone?: (answer: any) => void, onCancel?: () => void,
 *   check?: (values: any) => Record<string, string> | null, onChange?: (values: any) => void, patch?: ((values: any) => any) | null, children?: any, danger?: boolean, two?: boolean}} props
 *   `patch` makes the next values of these, once: for what is chosen outside the form
 */
export function Form({ fields, submit, onSubmit, onDone, onCancel, check, onChange, patch, children, danger, two = false }) {
  const [values, setValues] = useState(() => Object.fromEntries(fields.map((one) => [one.name, one.value ?? (one.type === "checks" || one.type === "cameras" ? [] : one.type === "checkbox" ? false : "")])));
  const [problems, setProblems] = useState(/** @type {Record<string, string>} */ ({}));
  const [busy, setBusy] = useState(false);
  const box = useRef(/** @type {HTMLFormElement | null} */ (null));
  useLayoutEffect(() => { if (patch) setValues(patch); }, [patch]); // in the same frame: nobody sees the old number beside the new incident
  const shown = fields.filter((one) => !one.when || one.when(values));
  /** @param {string} name @param {any} value */
  const change = (name, value) => {
    const next = { ...values, [name]: value };
    setValues(next);
    if (problems[name]) setProblems({ ...problems, [name]: "" });
    onChange?.(next);
  };
  /** @param {string} name */
  const goTo = (name) => /** @type {HTMLElement | null | undefined} */ (box.current?.querySelector(`[name="${name}"]`))?.focus();
  /** @param {Event} e */
  const send = async (e) => {
    e.preventDefault();
    const wrong = check?.(values);
    if (wrong) {
      setProblems(wrong);
      return goTo(Object.keys(wrong)[0]);
    }
    setBusy(true);
    setProblems({});
    try {
      const answer = await onSubmit(values);
      setBusy(false);
      onDone?.(answer);
    } catch (error) {
      setBusy(false);
      const words = say(error);
      const at = error instanceof ApiError ? fieldOf(error, shown) : "";
      setProblems({ [at]: words });
      if (at) goTo(at);
    }
  };
  return html`<form class=${cx("form", two && "two")} ref=${box} onSubmit=${send}>
    ${shown.map((field) => html`<${GROUPS[field.type || ""] ? "div" : "label"} key=${field.name} class=${cx("field", field.type === "checkbox" && "inline", problems[field.name] && "bad")} ...${GROUPS[field.type || ""] ? { role: GROUPS[field.type || ""], "aria-label": field.label } : {}}>
      ${field.type === "checkbox" ? html`<input type="checkbox" name=${field.name} checked=${values[field.name]} onChange=${(/** @type {any} */ e) => change(field.name, e.target.checked)} /><span>${field.label}</span>`
      : html`<span>${field.label}${field.required && html`<i aria-hidden="true"> *</i>`}</span><${Control} field=${field} value=${values[field.name]} problem=${problems[field.name]} onInput=${(/** @type {any} */ v) => change(field.name, v)} />`}
      ${field.hint && html`<small>${field.hint}</small>`}${problems[field.name] && html`<span class="field-problem" role="alert">${problems[field.name]}</span>`}<//>`)}
    ${children}
    ${problems[""] && html`<p class="form-problem" role="alert">${problems[""]}</p>`}
    <div class="form-acts">${onCancel && html`<button type="button" onClick=${onCancel}>${t("cancel")}</button>`}<button type="submit" class=${danger ? "primary danger" : "primary"} disabled=${busy}>${busy ? t("busy") : submit}</button></div>
  </form>`;
}
