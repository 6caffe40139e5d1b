// @ts-check
// Small line icons drawn as SVG; always beside a label or an aria-label, never alone in meaning.

import { html } from "./dom.js";

/** @type {Record<string, string>} */
const PATHS = {
  play: "M5 3.5v9l7.5-4.5z", pause: "M5 3.5v9M11 3.5v9", live: "M8 8h.01M4.8 4.8a4.5 4.5 0 000 6.4M11.2 4.8a4.5 4.5 0 010 6.4",
  camera: "M2 5.5h2.5L6 3.5h4l1.5 2H14v7H2zM8 11a2.2 2.2 0 100-4.4A2.2 2.2 0 008 11z",
  clip: "M4.5 6a1.8 1.8 0 100-3.6A1.8 1.8 0 004.5 6zM4.5 13.6a1.8 1.8 0 100-3.6 1.8 1.8 0 000 3.6zM6 5.2L14 12M6 10.8L14 4",
  close: "M4 4l8 8M12 4l-8 8", expand: "M9.5 2.5h4v4M13.5 2.5L9 7M6.5 13.5h-4v-4M2.5 13.5L7 9", shrink: "M13 3L9.5 6.5M9.5 3.2v3.3h3.3M3 13l3.5-3.5M6.5 12.8V9.5H3.2",
  sound: "M2.5 6.2v3.6H5L8.5 13V3L5 6.2zM11 5.6a3.4 3.4 0 010 4.8", mute: "M2.5 6.2v3.6H5L8.5 13V3L5 6.2zM11 6.2l3 3.6M14 6.2l-3 3.6",
  ptz: "M8 1.8v12.4M1.8 8h12.4M8 1.8L6.4 3.6M8 1.8l1.6 1.8M8 14.2l-1.6-1.8M8 14.2l1.6-1.8M1.8 8l1.8-1.6M1.8 8l1.8 1.6M14.2 8l-1.8-1.6M14.2 8l-1.8 1.6",
  back: "M8 4L4 8l4 4M13 4L9 8l4 4", forward: "M8 4l4 4-4 4M3 4l4 4-4 4", stepback: "M10.5 4l-4 4 4 4M4.5 4v8", stepon: "M5.5 4l4 4-4 4M11.5 4v8",
  full: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10", search: "M7 11.5a4.5 4.5 0 100-9 4.5 4.5 0 000 9zM10.4 10.4l3.4 3.4",
  link: "M6.5 9.5a2.5 2.5 0 003.6.2l2.3-2.3a2.5 2.5 0 00-3.6-3.6L8 4.6M9.5 6.5a2.5 2.5 0 00-3.6-.2L3.6 8.6a2.5 2.5 0 003.6 3.6l.8-.8",
  pull: "M8 2.5v8M4.8 7.5L8 10.7l3.2-3.2M3 13.5h10", chevron: "M6 4l4 4-4 4", plus: "M8 3v10M3 8h10", user: "M8 8a2.6 2.6 0 100-5.2A2.6 2.6 0 008 8zM3 13.8c.5-2.6 2.5-4 5-4s4.5 1.4 5 4",
  gear: "M8 10.2a2.2 2.2 0 100-4.4 2.2 2.2 0 000 4.4zM8 1.8v1.8M8 12.4v1.8M1.8 8h1.8M12.4 8h1.8M3.6 3.6l1.3 1.3M11.1 11.1l1.3 1.3M12.4 3.6l-1.3 1.3M4.9 11.1l-1.3 1.3",
  key: "M5.5 9.8a2.8 2.8 0 100-5.6 2.8 2.8 0 000 5.6zM8 7.5h6v2.5M11.5 7.5v1.8", help: "M6 6.2a2 2 0 114 0c0 1.4-2 1.5-2 3.1M8 12h.01", wall: "M2.5 3h11v10h-11zM8 3v10M2.5 8h11",
  lock: "M4 7.5h8v6H4zM5.7 7.5V5.3a2.3 2.3 0 014.6 0v2.2", warn: "M8 2.5l6 11H2zM8 6.8v3M8 11.7h.01",
};

/** @param {{name: string}} props */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">
    <path d=${PATHS[name] || ""} /></svg>`;
}
