// @ts-check
// Pictures and clips to the operator's disk: a refusal is shown as its sentence, never saved as a file.

import { ApiError, fetchRaw } from "./api.js";
import { t } from "./i18n.js";
import { toast } from "./state.js";
import { stamp } from "./time.js";
import { now } from "./clock.js";

/** A transfer is cut on purpose when the right to it ends, or where footage is found damaged: half of it is no file. */
const BROKEN_OFF = {
  code: "page.broken_off",
  en: "The transfer broke off; no file was saved. Export it again.",
  zh: "传输中断，未保存文件，请重新导出。",
};

/** The whole of an answer's body. @param {Response} response @param {AbortSignal} [signal] */
async function whole(response, signal) {
  try {
    return await response.blob();
  } catch (error) {
    throw signal?.aborted ? error : new ApiError(0, BROKEN_OFF);
  }
}

/** @param {Blob} blob @param {string} name */
function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** @param {Response} response @param {string} otherwise */
function nameOf(response, otherwise) {
  const header = response.headers.get("Content-Disposition") || "";
  const star = /filename\*=UTF-8''([^;]+)/i.exec(header), plain = /filename="?([^";]+)"?/i.exec(header);
  try {
    return star ? decodeURIComponent(star[1]) : plain ? plain[1] : otherwise;
  } catch {
    return otherwise;
  }
}

/** @param {string} name @param {number} at_ms */
const fileStamp = (name, at_ms) => `${name}_${stamp(at_ms).replace(/[: ]/g, "-")}`.replace(/[\\/:*?"<>|\s]+/g, "_");

/** @param {import("./shapes.js").Camera} camera @param {number} [at_ms] */
export async function saveSnapshot(camera, at_ms) {
  try {
    const response = await fetchRaw("GET", `/cameras/${camera.id}/snapshot.jpg`, { query: { at: at_ms === undefined ? undefined : Math.round(at_ms) } });
    // The picture is the key frame shown at that moment: the file bears that one's time.
    const shown_ms = Number(response.headers.get("X-Tiergate-At")) || (at_ms ?? now());
    save(await whole(response), nameOf(response, `${fileStamp(camera.name, shown_ms)}.jpg`));
    toast(t("act.snapshot_saved", { name: camera.name }), "good");
  } catch (error) {
    toast(error, "bad");
  }
}

/** @typedef {{from_ms: number, to_ms: number}} Range */

/** Ranges that an answer's header lists. @param {Response} response @param {string} name @returns {Range[]} */
function ranges(response, name) {
  try {
    return JSON.parse(response.headers.get(name) || "[]");
  } catch {
    return [];
  }
}

/**
 * What is missing in the file and what differs from its recording, as the server says of a clip.
 * @param {string} path @param {Record<string, any>} query @param {string} name
 * @param {{signal?: AbortSignal, progress?: (bytes: number, total: number) => void}} options
 * @returns {Promise<{gaps: Range[], damaged: Range[], more: number}>}
 */
async function saveFile(path, query, name, options) {
  const response = await fetchRaw("GET", path, { query, signal: options.signal });
  const total = Number(response.headers.get("Content-Length")) || 0;
  let bytes = 0;
  const counted = /** @type {ReadableStream} */ (response.body).pipeThrough(new TransformStream({
    transform(chunk, controller) {
      bytes += chunk.byteLength;
      options.progress?.(bytes, total);
      controller.enqueue(chunk);
    },
  }));
  const blob = await whole(new Response(counted, { headers: { "Content-Type": response.headers.get("Content-Type") || "" } }), options.signal);
  save(blob, nameOf(response, name));
  return { gaps: ranges(response, "X-Tiergate-Gaps"), damaged: ranges(response, "X-Tiergate-Damaged"), more: Number(response.headers.get("X-Tiergate-Not-Listed")) };
}

/**
 * @param {import("./shapes.js").Camera} camera
 * @param {{from: number, to: number, reason: string, case_no: string, watermark: boolean}} query
 * @param {{signal?: AbortSignal, progress?: (bytes: number, total: number) => void}} [options]
 */
export const saveClip = (camera, query, options = {}) =>
  saveFile(`/cameras/${camera.id}/clip.mp4`, query, `${fileStamp(camera.name, query.from)}.mp4`, options);

/**
 * Segments as they were recorded, with a signed manifest.
 * @param {import("./shapes.js").Camera} camera
 * @param {{from: number, to: number, reason: string, case_no: string}} query
 * @param {{signal?: AbortSignal, progress?: (bytes: number, total: number) => void}} [options]
 */
export const saveEvidence = (camera, query, options = {}) =>
  saveFile("/exports/evidence.zip", { camera: camera.id, ...query }, `${fileStamp(camera.name, query.from)}.zip`, options);
