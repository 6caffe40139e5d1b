// @ts-check
// The API's JSON as the page uses it: one place where names of the contract are read. Pure.

/**
 * @typedef {{code?: string, params?: object, en: string, zh: string}} Reason
 * @typedef {{url?: string, state?: string, cause?: string | null, reason?: Reason | null, since_ms?: number, last_media_ms?: number,
 *   codec?: string | null, audio_codec?: string | null, width?: number, height?: number, fps?: number | string,
 *   bit_rate_bps?: number, b_frames?: boolean | null}} Stream
 * @typedef {{id: string, name: string, tier: string, region: string, region_name?: string, department?: string, department_id?: string,
 *   area_class?: string, areas?: any[], recorded_by?: string, sharing?: string, enabled: boolean, audio?: boolean, secrecy?: number,
 *   site_type?: string, place?: string, ptz?: boolean, origin?: "own" | "lower", link_id?: string | null, lease_id?: string | null,
 *   functions?: string[], max_stream?: "main" | "sub", streams: {main?: Stream, sub?: Stream}, watermark?: boolean | string, original?: boolean,
 *   health?: {verdict: string, since_ms: number, checked_ms: number} | null}} Camera
 * @typedef {{id: string, side: "held" | "granted", kind: string, case: string, reason: string, persons: string, cameras: string[],
 *   from_ms: number | null, to_ms: number | null, issued_ms: number, expires_ms: number, confirm_by_ms: number | null,
 *   confirmed_ms: number | null, ended_ms: number | null, cache_until_ms: number | null, peer: string, watching: boolean, violation: Reason | null, end_reason: string | null}} Lease
 * @typedef {{kind: "footage" | "gap" | "expired" | "open" | "none", from_ms: number, to_ms: number, cause: string | null,
 *   reason: Reason | null, class?: string}} Span
 */

/** @param {Camera} camera @param {string} name */
export const mayDo = (camera, name) => (camera.functions || []).includes(name);

/** One word for the tree and the tile: how the camera stands. @param {Camera} camera
 * @returns {"online" | "connecting" | "offline" | "disabled" | "unknown"} */
export function standing(camera) {
  if (camera.enabled === false) return "disabled";
  const main = camera.streams?.main, sub = camera.streams?.sub;
  const state = main?.state || sub?.state;
  if (state === "online" || state === "connecting" || state === "offline") return state;
  return "unknown";
}

/** The stream whose trouble explains the camera's. @param {Camera} camera @returns {Stream | undefined} */
export function troubled(camera) {
  return [camera.streams?.main, camera.streams?.sub].find((s) => s && s.state === "offline");
}

/** Which stream brings the camera's sound into a browser, and how; or the word for why none does.
 * AAC goes with the picture; G.711 goes by WebRTC, which takes H.264 without B-frames along. @param {Camera} camera
 * @returns {{stream?: "main" | "sub", method?: "mse" | "whep", why?: string}} */
export function soundPath(camera) {
  if (!camera.audio) return { why: "off" };
  let why = "none";
  for (const name of /** @type {("main" | "sub")[]} */ (camera.max_stream === "sub" ? ["sub"] : ["main", "sub"])) {
    const stream = camera.streams?.[name];
    if (!stream?.audio_codec) continue;
    if (/^mp4a/i.test(stream.audio_codec) && !isHevc(stream)) return { stream: name, method: "mse" };
    if (/^(alaw|ulaw|pcm[au])/i.test(stream.audio_codec) && /^avc/i.test(stream.codec || "") && !stream.b_frames) return { stream: name, method: "whep" };
    why = "codec";
  }
  return { why };
}

/** @param {Stream | undefined | null} stream */
export const isHevc = (stream) => /^(hvc1|hev1|hevc|h265)/i.test(stream?.codec || "");

/** The name that people use for a codec string. @param {string | null | undefined} codec */
export const codecName = (codec) => (/^avc/i.test(codec || "") ? "H.264" : isHevc({ codec }) ? "H.265" : codec || "?");

/** People of a lease as one text. @param {unknown} persons */
export function personsText(persons) {
  if (typeof persons === "string") return persons;
  if (Array.isArray(persons)) return persons.map(personsText).filter(Boolean).join("、");
  if (persons && typeof persons === "object") {
    const p = /** @type {any} */ (persons);
    return [p.unit, p.name || p.person || (p.names ? personsText(p.names) : "")].filter(Boolean).join(" ");
  }
  return "";
}

/** @param {any} raw @returns {Lease} */
export function lease(raw) {
  return {
    id: raw.id,
    side: raw.side || "held",
    kind: raw.kind || raw.mechanism || "",
    case: raw.case ?? raw.case_no ?? "",
    reason: raw.reason ?? "",
    persons: personsText(raw.persons),
    cameras: raw.cameras || [],
    from_ms: raw.from_ms ?? null,
    to_ms: raw.to_ms ?? null,
    issued_ms: raw.issued_ms ?? 0,
    expires_ms: raw.expires_ms ?? 0,
    confirm_by_ms: raw.confirm_by_ms ?? null,
    confirmed_ms: raw.confirmed_ms ?? null,
    ended_ms: raw.ended_ms ?? null,
    cache_until_ms: raw.cache_until_ms ?? null,
    peer: raw.peer_name ?? raw.link_id ?? "",
    watching: raw.watching ?? true,
    violation: raw.violation ?? null,
    end_reason: raw.end_reason ?? null,
  };
}

/** @param {Lease} l @param {number} now */
export const running = (l, now) => l.ended_ms === null && l.expires_ms > now;

/** Still waiting for its second person. @param {Lease} l @param {number} now */
export const unconfirmed = (l, now) => running(l, now) && l.confirm_by_ms !== null && l.confirmed_ms === null;

/** Whether a person acts by their own sign-in; on a shared wall one looks and does nothing else. @param {any} session */
export const byOwnName = (session) => session?.kind === "user" && !session.wall;

/** Whether a person may make a pull longer that this node holds; a supervision is asked for anew. @param {any} session @param {Lease} l */
export const mayRenew = (session, l) => byOwnName(session) && session.roles?.includes("duty") && l.side === "held" && l.kind === "emergency";

/** Whether a person hears what stands wrong on the node. @param {any} session */
export const toldOfAlarms = (session) => session?.kind === "user" && ["system_admin", "duty"].some((r) => session.roles?.includes(r));

/** What a signed-in person's roles open; unknown roles open everything and the API refuses with its sentence. @param {any} session */
export function sections(session) {
  if (!session || session.kind !== "user") return [];
  const roles = session.roles;
  /** @type {[string, string[]][]} */
  const who = [
    ["cameras", ["system_admin"]],
    ["areas", ["system_admin"]],
    ["departments", ["system_admin", "security_admin"]],
    ["tokens", ["security_admin"]],
    ["users", ["security_admin"]],
    ["sessions", ["security_admin", "audit_admin"]],
    ["shifts", ["security_admin", "audit_admin"]],
    ["links", ["security_admin", "system_admin"]],
    ["retention", ["system_admin", "duty"]],
    ["holds", ["duty", "analysis"]],
    ["approvals", ["duty", "security_admin", "system_admin", "audit_admin"]],
    ["incidents", ["duty", "operator"]],
    ["pulls", ["duty", "operator", "inspection", "security_admin"]],
    ["register", ["audit_admin", "inspection"]],
    ["audit", ["audit_admin", "inspection"]],
    ["seals", ["security_admin", "audit_admin"]],
    ["node", ["system_admin"]],
  ];
  return who.filter(([, wanted]) => !Array.isArray(roles) || wanted.some((r) => roles.includes(r))).map(([name]) => name);
}
