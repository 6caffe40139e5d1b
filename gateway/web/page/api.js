// @ts-check
// Calls of /api/v1. An answer is JSON; a refusal is an ApiError that carries the sentence of the API in both languages.

const ROOT = "/api/v1";

/** A refusal or failure, with words for people. */
export class ApiError extends Error {
  /** @param {number} status @param {{code?: string, params?: Record<string, unknown>, title?: string, en?: string, zh?: string}} problem */
  constructor(status, problem) {
    super(problem.en || problem.title || `HTTP ${status}`);
    this.status = status;
    this.code = problem.code || (status ? `http.${status}` : "page.unreachable");
    this.params = problem.params || {};
    this.words = {
      en: problem.en || problem.title || `The server answered ${status}.`,
      zh: problem.zh || problem.title || `服务器返回 ${status}。`,
    };
  }
}

const UNREACHABLE = {
  code: "page.unreachable",
  en: "The server does not answer. The page keeps trying.",
  zh: "服务器没有响应，页面会继续重试。",
};

/** @type {(error: ApiError) => void} */
let onSignedOut = () => {};

/** Called once when an answer says that the session is over. @param {(error: ApiError) => void} listener */
export function whenSignedOut(listener) {
  onSignedOut = listener;
}

/** The address of an API path. @param {string} path @param {Record<string, unknown>} [query] */
export function address(path, query) {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query || {})) {
    if (value !== undefined && value !== null && value !== "") search.set(key, String(value));
  }
  const text = search.toString();
  return `${ROOT}${path}${text ? `?${text}` : ""}`;
}

/** The same for a WebSocket. @param {string} path @param {Record<string, unknown>} [query] */
export function socketAddress(path, query) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}${address(path, query)}`;
}

/** @param {Response} response */
export async function problemOf(response) {
  try {
    return new ApiError(response.status, await response.json());
  } catch {
    return new ApiError(response.status, {});
  }
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{query?: Record<string, unknown>, body?: unknown, type?: string, signal?: AbortSignal, keepalive?: boolean}} [options]
 * @returns {Promise<Response>}
 */
export async function fetchRaw(method, path, options = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json, */*" };
  /** @type {BodyInit | undefined} */
  let body;
  if (options.body !== undefined) {
    headers["Content-Type"] = options.type || "application/json";
    body = options.type ? /** @type {string} */ (options.body) : JSON.stringify(options.body);
  }
  let response;
  try {
    response = await fetch(address(path, options.query), {
      method, headers, body, signal: options.signal, keepalive: options.keepalive, credentials: "same-origin", cache: "no-store",
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, UNREACHABLE);
  }
  if (response.ok) return response;
  const problem = await problemOf(response);
  if (problem.status === 401 && path !== "/session") onSignedOut(problem);
  throw problem;
}

/** @param {string} method @param {string} path @param {Parameters<typeof fetchRaw>[2]} [options] */
async function json(method, path, options) {
  const response = await fetchRaw(method, path, options);
  return response.status === 204 ? null : response.json();
}

/** @param {string} path @param {Record<string, unknown>} [query] @param {AbortSignal} [signal] */
export const get = (path, query, signal) => json("GET", path, { query, signal });
/** @param {string} path @param {unknown} [body] @param {Record<string, unknown>} [query] */
export const post = (path, body = {}, query) => json("POST", path, { body, query });
/** @param {string} path @param {unknown} body */
export const put = (path, body) => json("PUT", path, { body });
/** @param {string} path @param {unknown} body */
export const patch = (path, body) => json("PATCH", path, { body });
/** @param {string} path */
export const remove = (path) => json("DELETE", path);

/** Items of a list, page after page until there are `most`, and whether it is longer. @param {string} path @param {Record<string, unknown>} [query] @param {number} [most] */
export async function listed(path, query = {}, most = 5000) {
  /** @type {any[]} */
  const items = [];
  let cursor;
  do {
    const page = await get(path, cursor === undefined ? query : { ...query, cursor });
    items.push(...(page.items || []));
    cursor = page.next ?? undefined;
  } while (cursor !== undefined && items.length < most);
  return { items, cut: cursor !== undefined };
}

/** The items alone. @param {string} path @param {Record<string, unknown>} [query] @param {number} [most] */
export const list = async (path, query, most) => (await listed(path, query, most)).items;
