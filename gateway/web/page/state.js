// @ts-check
// What the page knows and what the operator arranged, and the acts that change it. Nothing here draws.

import { get, list, listed, post, remove, whenSignedOut } from "./api.js";
import { learn, now } from "./clock.js";
import { browserLanguage, keptLanguage, setLanguage } from "./i18n.js";
import * as shapes from "./shapes.js";
import { createStore } from "./store.js";

/**
 * @typedef {{case_no: string, reason: string}} Why a person concerned is shown the footage
 * @typedef {{key: number, camera: string | null, playback: null | {at_ms: number, nonce: number, why?: Why}, rate: number, paused: boolean, sound: boolean}} Tile
 * @typedef {{id: number, kind: "info" | "good" | "bad", text: any}} Toast
 */

const KEPT_WALL = "tiergate.wall", KEPT_LEAVING = "tiergate.leaving";
/** Between two tries of what has to succeed. */
const AGAIN_MS = 5000;
/** Layout name → number of tiles. */
export const LAYOUTS = /** @type {Record<string, number>} */ ({ 1: 1, 4: 4, 6: 6, 9: 9, 16: 16 });
const MOST = 16;

/** @param {number} key @param {string | null} camera @returns {Tile} */
const tile = (key, camera) => ({ key, camera, playback: null, rate: 1, paused: false, sound: false });

function keptWall() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT_WALL) || "");
    const cameras = Array.isArray(kept.cameras) ? kept.cameras : [];
    return { layout: kept.layout in LAYOUTS ? String(kept.layout) : "4", cameras };
  } catch {
    return { layout: "4", cameras: [] };
  }
}

const kept = keptWall();

export const store = createStore({
  phase: /** @type {"boot" | "out" | "must_change" | "off_duty" | "share" | "in"} */ ("boot"),
  session: /** @type {any} */ (null),
  node: /** @type {any} */ ({ name: "tiergate" }),
  language: "zh",
  outReason: /** @type {any} */ (null),
  stillIn: /** @type {any} */ (null), // why signing out has not succeeded yet
  reachable: true,
  known_ms: 0, // of when what is shown is
  regions: /** @type {any[]} */ ([]),
  cameras: /** @type {Map<string, shapes.Camera>} */ (new Map()),
  camerasLoaded: false,
  camerasCut: false, // there are more than the page takes
  leases: /** @type {shapes.Lease[]} */ ([]),
  approvals: /** @type {any[]} */ ([]), // undecided ones that the person may read
  alarms: /** @type {any[]} */ ([]), // what stands wrong on the node, the worst first, for those who may know
  view: "wall",
  layout: kept.layout,
  tiles: Array.from({ length: MOST }, (_, i) => tile(i, typeof kept.cameras[i] === "string" ? kept.cameras[i] : null)),
  focus: /** @type {number | null} */ (null),
  single: /** @type {number | null} */ (null),
  ptz: false,
  timelineEpoch: 0,
  dialog: /** @type {{name: string, props: any} | null} */ (null),
  toasts: /** @type {Toast[]} */ ([]),
});

/** Running players by tile key: positions and pictures are read from here, they are too quick for the store.
 * @type {Map<number, import("./player/tile.js").TilePlayer>} */
export const players = new Map();

// --- signing in and out -------------------------------------------------------------------------------------------

/** Who is at the page, counted: an answer that one person asked for is not shown to the next. */
let person = 0;

/** @param {any} session */
const whose = (session) => JSON.stringify([session.kind, session.login, session.name, session.unit, session.kind === "token" ? session.valid_until_ms : null]);

/** Nothing of what a person saw or asked for stays on the page. How the screen is arranged is the screen's. */
function forgetPerson() {
  person += 1;
  answered.clear();
  for (const player of players.values()) player.clear();
  store.set((s) => ({
    cameras: new Map(), camerasLoaded: false, camerasCut: false, regions: [], leases: [], approvals: [], alarms: [],
    dialog: null, view: "wall", single: null, ptz: false, tiles: s.tiles.map((one) => tile(one.key, one.camera)),
  }));
}

/** @param {any} [why] */
function leave(why = null) {
  forgetPerson();
  store.set({ phase: "out", session: null, outReason: why });
}

/** What a session opens: of a shared wall, with nobody on duty, the sign-on alone. @param {any} session */
export function enter(session) {
  const before = store.get().session;
  const offDuty = Boolean(session.wall && !session.wall.until_ms);
  if (offDuty || (before && whose(before) !== whose(session))) forgetPerson();
  const chosen = keptLanguage() || browserLanguage();
  setLanguage(chosen);
  const first = session.kind === "token" && store.get().phase !== "boot";
  store.set({
    session, language: chosen, outReason: null,
    phase: session.must_change ? "must_change" : offDuty ? "off_duty" : first ? "share" : "in",
  });
  if (!offDuty && !session.must_change) void refreshAll();
}

export async function boot() {
  setLanguage(keptLanguage() || browserLanguage());
  store.set({ language: document.documentElement.lang.startsWith("zh") ? "zh" : "en" });
  whenSignedOut((error) => { if (store.get().phase !== "out") leave(error); });
  get("/node").then((node) => store.set({ node }), () => {});
  if (localStorage.getItem(KEPT_LEAVING)) {
    store.set({ phase: "out" });
    return endSession(); // whoever has signed out is not signed in again by loading the page
  }
  try {
    const session = await get("/session");
    if (session?.kind) return enter(session);
    store.set({ phase: "out" });
  } catch (error) {
    const e = /** @type {any} */ (error);
    store.set({ phase: "out", outReason: e.status === 401 ? null : e });
    if (e.status !== 401) setTimeout(() => { if (store.get().phase === "out") void boot(); }, AGAIN_MS);
  }
}

/** @param {{login: string, password: string} | {token: string}} credentials */
export async function signIn(credentials) {
  clearTimeout(ending.again);
  await ending.asked;
  const session = await post("/session", credentials);
  endedSession();
  enter(session);
  get("/node").then((node) => store.set({ node }), () => {});
}

/** Asks whose the session is, and at a wall who is on duty; one that is over ends the page, another's begins anew. */
export async function checkSession() {
  const session = await get("/session");
  if (!session?.kind) return leave();
  const before = store.get().session;
  if (!before || whose(session) !== whose(before) || session.wall?.until_ms !== before.wall?.until_ms) enter(session);
}

/** Nobody is on duty at this wall any more. */
export async function signOffDuty() {
  await remove("/session/shift").catch((error) => toast(error, "bad"));
  await checkSession();
}

/** The same person with other rights: who they are, and what there is to see, asked again. */
export async function enterAgain() {
  const session = await get("/session");
  if (session?.kind) store.set({ session });
  await refreshAll();
}

export async function signOut() {
  leave();
  localStorage.setItem(KEPT_LEAVING, "1");
  await endSession();
}

/** The session that is being ended: the question on its way, and the next one. */
const ending = { asked: Promise.resolve(), again: 0 };

function endedSession() {
  localStorage.removeItem(KEPT_LEAVING);
  store.set({ stillIn: null });
}

/** Until the server has said so, the session is not over: the cookie opens it for whoever loads the page. */
export function endSession() {
  clearTimeout(ending.again);
  ending.asked = remove("/session").then(endedSession, (error) => {
    if (error.status === 401) return endedSession();
    store.set({ stillIn: error });
    ending.again = window.setTimeout(endSession, AGAIN_MS);
  });
  return ending.asked;
}

// --- what the server knows ----------------------------------------------------------------------------------------

/** Stores what an answer says, unless somebody else is at the page by then; without an answer all stays as it was, and the
 * page says of when it is. Whether there was one.
 * @template T @param {Promise<T>} asking @param {(answer: T, state: ReturnType<typeof store.get>) => Partial<ReturnType<typeof store.get>>} stored */
async function keep(asking, stored) {
  const asker = person;
  try {
    const answer = await asking;
    if (asker === person) store.set((s) => ({ ...stored(answer, s), reachable: true, known_ms: now() }));
    return true;
  } catch {
    if (asker === person) store.set({ reachable: false });
    return false;
  }
}

/** A list; what may not be known is an empty one. @param {string} path @param {Record<string, unknown>} [query] @param {number} [most] */
const known = (path, query, most) => list(path, query, most).catch((error) => {
  if (error.status === 403 || error.status === 404) return [];
  throw error;
});

let questions = 0;
/** Camera → number of the question whose answer is shown: an older answer does not take its place. @type {Map<string, number>} */
const answered = new Map();

export function refreshCameras() {
  const question = ++questions;
  return keep(listed("/cameras", { scope: "all", limit: 500 }), ({ items, cut }, s) => {
    const newer = (/** @type {string} */ id) => (answered.get(id) || 0) > question;
    const cameras = new Map(items.filter((c) => !newer(c.id)).map((c) => [c.id, c]));
    for (const id of cameras.keys()) answered.set(id, question);
    for (const [id, camera] of s.cameras) if (newer(id)) cameras.set(id, camera);
    return { cameras, camerasLoaded: true, camerasCut: cut };
  });
}

/** One camera again; gone from the catalogue means gone from the page. @param {string} id */
export function refreshCamera(id) {
  const question = ++questions;
  const asking = get(`/cameras/${id}`).catch((error) => {
    if (error.status === 404) return null;
    throw error;
  });
  return keep(asking, (camera, s) => {
    if ((answered.get(id) || 0) > question) return {};
    answered.set(id, question);
    const cameras = new Map(s.cameras);
    if (camera) cameras.set(id, camera);
    else cameras.delete(id);
    return { cameras };
  });
}

/** One page of them: whatever runs is among the newest, and each change of a lease asks for them again. */
const NEWEST_LEASES = 200;

export function refreshLeases() {
  const { session } = store.get();
  const asking = session?.kind !== "user" ? Promise.resolve([[], []]) : Promise.all([known("/leases", {}, NEWEST_LEASES), session.wall ? [] : known("/pulls")]);
  return keep(asking, ([granted, held]) => {
    /** @type {Map<string, shapes.Lease>} */
    const leases = new Map();
    for (const one of [...granted.map(shapes.lease), ...held.map((raw) => shapes.lease({ side: "held", ...raw }))]) leases.set(`${one.side}/${one.id}`, one);
    return { leases: [...leases.values()] };
  });
}

export function refreshApprovals() {
  const asking = shapes.byOwnName(store.get().session) ? known("/approvals", { state: "pending" }) : Promise.resolve([]);
  return keep(asking, (approvals) => ({ approvals }));
}

export function refreshAlarms() {
  const asking = shapes.toldOfAlarms(store.get().session) ? known("/alarms") : Promise.resolve([]);
  return keep(asking, (alarms) => ({ alarms }));
}

/** Those that wait for this person's word. @param {any[]} approvals */
export const approvalsToDecide = (approvals) => approvals.filter((one) => one.may_decide);

/** Everything anew. */
export async function refreshAll() {
  const asker = person;
  const all = await Promise.all([
    keep(get("/node"), (node) => { learn(node.now_ms); return { node }; }), keep(known("/regions"), (regions) => ({ regions })),
    refreshCameras(), refreshLeases(), refreshApprovals(), refreshAlarms(),
  ]);
  if (asker === person) store.set({ reachable: all.every(Boolean) });
}

// --- the wall -----------------------------------------------------------------------------------------------------

function keepWall() {
  const { layout, tiles } = store.get();
  localStorage.setItem(KEPT_WALL, JSON.stringify({ layout, cameras: tiles.map((one) => one.camera) }));
}

/** @param {(tiles: Tile[]) => Tile[]} change */
function changeTiles(change) {
  store.set((s) => ({ tiles: change(s.tiles) }));
  keepWall();
}

/** @param {number} key @param {Partial<Tile>} patch */
export const changeTile = (key, patch) => changeTiles((tiles) => tiles.map((one) => (one.key === key ? { ...one, ...patch } : one)));

/** @param {string} layout */
export function setLayout(layout) {
  store.set((s) => {
    const shown = s.tiles.slice(0, LAYOUTS[layout]).map((one) => one.key);
    return { layout, single: null, focus: s.focus !== null && shown.includes(s.focus) ? s.focus : null };
  });
  keepWall();
}

/** @param {number | null} key */
export const focusTile = (key) => store.set((s) => ({ focus: key, ptz: s.focus === key ? s.ptz : false }));

/** Puts a camera into a tile: the one named; else it is only looked at when it is on the wall already; else the focused tile
 * if that is empty, the next empty one after it, or, on a full wall, the focused one. @param {string} camera @param {number | null} [key] */
export function showCamera(camera, key = null) {
  const { tiles, focus, layout, single } = store.get();
  const shown = tiles.slice(0, LAYOUTS[layout]);
  const there = shown.find((one) => one.camera === camera);
  if (key === null && there && single === null) return store.set({ focus: there.key, view: "wall" });
  const at = Math.max(0, shown.findIndex((one) => one.key === (single ?? focus)));
  const free = single === null ? [...shown.slice(at), ...shown.slice(0, at)].find((one) => one.camera === null) : undefined;
  const target = key ?? (free || shown[at]).key;
  changeTile(target, { camera, playback: null, rate: 1, paused: false, sound: false });
  store.set({ focus: target, ptz: false, view: "wall" });
}

/** Cameras onto the wall beside what is on it: into free tiles, of a larger layout where the present one has too few. Of a
 * wall that is full, the last tiles are taken. @param {string[]} cameras */
export function showCameras(cameras) {
  store.set((s) => {
    /** @param {string} name */
    const room = (name) => {
      const shown = s.tiles.slice(0, LAYOUTS[name]);
      const waiting = cameras.filter((id) => !shown.some((one) => one.camera === id));
      return { shown, waiting, free: shown.filter((one) => one.camera === null) };
    };
    const larger = Object.keys(LAYOUTS).filter((name) => LAYOUTS[name] >= LAYOUTS[s.layout]);
    const layout = larger.find((name) => room(name).free.length >= room(name).waiting.length) || String(MOST);
    const { shown, waiting, free } = room(layout);
    const others = shown.filter((one) => one.camera !== null && !cameras.includes(one.camera));
    const short = Math.max(0, waiting.length - free.length);
    const places = [...free, ...(short ? others.slice(-short) : [])];
    const into = new Map(waiting.map((id, i) => [places[i]?.key, id]));
    const tiles = s.tiles.map((one) => (into.has(one.key) ? tile(one.key, into.get(one.key) || null) : one));
    const first = tiles.find((one) => one.camera !== null && cameras.includes(one.camera));
    return { layout, tiles, single: null, focus: first ? first.key : s.focus, view: "wall" };
  });
  keepWall();
}

/** @param {number} a @param {number} b */
export function swapTiles(a, b) {
  changeTiles((tiles) => {
    const i = tiles.findIndex((one) => one.key === a), j = tiles.findIndex((one) => one.key === b);
    const next = [...tiles];
    [next[i], next[j]] = [next[j], next[i]];
    return next;
  });
  store.set({ focus: a });
}

/** @param {number} key */
export const emptyTile = (key) => {
  changeTile(key, { camera: null, playback: null, rate: 1, paused: false, sound: false });
  if (store.get().single === key) store.set({ single: null });
};

/** @param {number | null} key */
export const toggleSingle = (key) => store.set((s) => ({ single: s.single === key ? null : key, focus: key ?? s.focus }));

/** The focused tile with its camera, or null. */
export function focused() {
  const { tiles, focus, cameras } = store.get();
  const one = tiles.find((each) => each.key === focus);
  const camera = one?.camera ? cameras.get(one.camera) : undefined;
  return one && camera ? { tile: one, camera } : null;
}

let nonce = 0;
/** Recorded footage from a moment on; once it is shown to a person concerned, until the tile is back to live.
 * @param {number} key @param {number} at_ms @param {Why} [why] */
export function playFrom(key, at_ms, why = store.get().tiles.find((one) => one.key === key)?.playback?.why) {
  if (at_ms >= now() - 4000) return backToLive(key);
  changeTile(key, { playback: { at_ms, nonce: ++nonce, why }, paused: false });
}

/** Shows footage to a person concerned: alone on the screen, with nothing to take away. @param {number} key @param {number} at_ms @param {Why} why */
export function assist(key, at_ms, why) {
  store.set({ single: key, focus: key, ptz: false });
  playFrom(key, at_ms, why);
}

/** Whether somebody is shown what the tile plays: then no picture of it is taken. @param {Tile | undefined} one */
export const assisting = (one) => Boolean(one?.playback?.why);

/** @param {number} key */
export const backToLive = (key) => changeTile(key, { playback: null, rate: 1, paused: false });

/** Where the tile's picture is in time. @param {number} key */
export const position = (key) => players.get(key)?.position() ?? now();

// --- dialogs and messages -----------------------------------------------------------------------------------------

/** @param {string} name @param {any} [props] */
export const openDialog = (name, props = {}) => store.set({ dialog: { name, props } });
export const closeDialog = () => store.set({ dialog: null });

let toastId = 0;
/** A message that leaves by itself. @param {any} text sentence or reason @param {Toast["kind"]} [kind] */
export function toast(text, kind = "info") {
  const id = ++toastId;
  store.set((s) => ({ toasts: [...s.toasts.slice(-3), { id, kind, text }] }));
  setTimeout(() => dropToast(id), kind === "bad" ? 12000 : 6000);
}
/** @param {number} id */
export const dropToast = (id) => store.set((s) => ({ toasts: s.toasts.filter((one) => one.id !== id) }));
