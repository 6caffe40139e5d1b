// @ts-check
// What the page knows and what the operator arranged, and the acts that change it. Nothing here draws.

import { get, list, post, remove, whenSignedOut } from "./api.js";
import { learn, now } from "./clock.js";
import { browserLanguage, keptLanguage, setLanguage } from "./i18n.js";
import * as shapes from "./shapes.js";
import { createStore } from "./store.js";

/**
 * @typedef {{case_no: string, reason: string}} Why a person concerned is shown the footage
 * @typedef {{key: number, camera: string | null, playback: null | {at_ms: number, nonce: number, why?: Why}, rate: number, paused: boolean, sound: boolean}} Tile
 * @typedef {{id: number, kind: "info" | "good" | "bad", text: any}} Toast
 */

const KEPT_WALL = "tiergate.wall";
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
  reachable: true,
  regions: /** @type {any[]} */ ([]),
  cameras: /** @type {Map<string, shapes.Camera>} */ (new Map()),
  camerasLoaded: false,
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

/** What a session opens: of a shared wall, with nobody on duty, the sign-on alone. @param {any} session */
export function enter(session) {
  const chosen = keptLanguage() || browserLanguage();
  setLanguage(chosen);
  const first = session.kind === "token" && store.get().phase !== "boot", offDuty = Boolean(session.wall && !session.wall.until_ms);
  store.set({
    session, language: chosen, outReason: null,
    phase: session.must_change ? "must_change" : offDuty ? "off_duty" : first ? "share" : "in",
  });
  if (offDuty) leave();
  else if (!session.must_change) void refreshAll();
}

export async function boot() {
  setLanguage(keptLanguage() || browserLanguage());
  store.set({ language: document.documentElement.lang.startsWith("zh") ? "zh" : "en" });
  whenSignedOut((error) => {
    if (store.get().phase !== "out") store.set({ phase: "out", outReason: error, session: null, dialog: null });
  });
  get("/node").then((node) => store.set({ node }), () => {});
  try {
    const session = await get("/session");
    if (session?.kind) return enter(session);
    store.set({ phase: "out" });
  } catch (error) {
    const e = /** @type {any} */ (error);
    store.set({ phase: "out", outReason: e.status === 401 ? null : e });
  }
}

/** @param {{login: string, password: string} | {token: string}} credentials */
export async function signIn(credentials) {
  enter(await post("/session", credentials));
  get("/node").then((node) => store.set({ node }), () => {});
}

/** Asks whether the session still stands, and at a wall who is on duty; a session that is over ends the page. */
export async function checkSession() {
  const session = await get("/session");
  if (!session?.kind) return store.set({ phase: "out", session: null, dialog: null });
  const before = store.get().session;
  if (session.wall && (session.login !== before?.login || session.wall.until_ms !== before?.wall?.until_ms)) enter(session);
}

/** Nobody is on duty at this wall any more. */
export async function signOffDuty() {
  await remove("/session/shift").catch((error) => toast(error, "bad"));
  await checkSession();
}

/** Nothing of what was seen stays on the page. */
function leave() {
  for (const player of players.values()) player.clear();
  store.set({ cameras: new Map(), leases: [], approvals: [], alarms: [], dialog: null, view: "wall", camerasLoaded: false });
}

/** The same person with other rights: who they are, and what there is to see, asked again. */
export async function enterAgain() {
  const session = await get("/session");
  if (session?.kind) store.set({ session });
  await refreshAll();
}

export async function signOut() {
  await remove("/session").catch(() => {});
  leave();
  store.set({ phase: "out", session: null });
}

// --- what the server knows ----------------------------------------------------------------------------------------

export async function refreshCameras() {
  const items = await list("/cameras", { scope: "all", limit: 500 });
  store.set({ cameras: new Map(items.map((c) => [c.id, c])), camerasLoaded: true, reachable: true });
}

/** One camera again; gone from the catalogue means gone from the page. @param {string} id */
export async function refreshCamera(id) {
  const cameras = new Map(store.get().cameras);
  try {
    cameras.set(id, await get(`/cameras/${id}`));
  } catch (error) {
    if (/** @type {any} */ (error).status !== 404) throw error;
    cameras.delete(id);
  }
  store.set({ cameras });
}

export async function refreshLeases() {
  if (store.get().session?.kind !== "user") return;
  const [granted, held] = await Promise.all([
    list("/leases").catch(() => []),
    store.get().session.wall ? [] : list("/pulls").catch(() => []),
  ]);
  /** @type {Map<string, shapes.Lease>} */
  const leases = new Map();
  for (const raw of granted) {
    const one = shapes.lease(raw);
    leases.set(`${one.side}/${one.id}`, one);
  }
  for (const raw of held) {
    const one = shapes.lease({ side: "held", ...raw });
    leases.set(`${one.side}/${one.id}`, one);
  }
  store.set({ leases: [...leases.values()] });
}

export async function refreshApprovals() {
  if (!shapes.byOwnName(store.get().session)) return;
  store.set({ approvals: await list("/approvals", { state: "pending" }).catch(() => []) });
}

export async function refreshAlarms() {
  if (!shapes.toldOfAlarms(store.get().session)) return;
  store.set({ alarms: await list("/alarms").catch(() => []) });
}

/** Those that wait for this person's word. @param {any[]} approvals */
export const approvalsToDecide = (approvals) => approvals.filter((one) => one.may_decide);

export async function refreshAll() {
  try {
    const node = await get("/node");
    learn(node.now_ms);
    store.set({ node });
    const regions = await list("/regions").catch(() => []);
    store.set({ regions });
    await Promise.all([refreshCameras(), refreshLeases(), refreshApprovals(), refreshAlarms()]);
  } catch (error) {
    store.set({ reachable: /** @type {any} */ (error).status !== 0 });
  }
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

/** Cameras into the wall from its first tile on, in the smallest layout that takes them. @param {string[]} cameras */
export function showCameras(cameras) {
  const layout = Object.keys(LAYOUTS).find((name) => LAYOUTS[name] >= cameras.length) || "16";
  store.set((s) => ({
    layout, single: null, focus: s.tiles[0].key, view: "wall",
    tiles: s.tiles.map((one, i) => (i < cameras.length ? { ...tile(one.key, cameras[i]) } : i < LAYOUTS[layout] ? tile(one.key, null) : one)),
  }));
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
