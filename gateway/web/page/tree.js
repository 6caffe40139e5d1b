// @ts-check
// Cameras by region: search, status at a glance, drag or Enter into a tile. Draws only the rows in sight.

import { cx, html, useEffect, useMemo, useRef, useState } from "./dom.js";
import { t, tk, say } from "./i18n.js";
import { Icon } from "./icons.js";
import { byOwnName, isHevc, standing, troubled } from "./shapes.js";
import { openDialog, showCamera, store, toggleSingle } from "./state.js";
import { useStore } from "./store.js";

const ROW = 30, SPARE = 8;

/** @typedef {{kind: "region", code: string, name: string, depth: number, open: boolean, total: number, online: number}
 *   | {kind: "camera", camera: import("./shapes.js").Camera, depth: number}} Row */

/** Rows of the tree in order. Pure. @param {Map<string, import("./shapes.js").Camera>} cameras @param {any[]} regions
 * @param {string} query @param {Set<string>} closed @returns {Row[]} */
export function rowsOf(cameras, regions, query, closed) {
  const words = query.trim().toLowerCase().split(/\s+/).filter(Boolean);
  /** @param {import("./shapes.js").Camera} c */
  const fits = (c) => {
    const text = `${c.name} ${c.place || ""} ${c.region_name || ""}`.toLowerCase();
    // Short numbers stand in every id: a part of one is meant only when it is long enough to mean something.
    return words.every((w) => text.includes(w) || (w.length >= 4 && c.id.includes(w)));
  };
  const known = new Map(regions.map((r) => [r.code, r]));
  /** @type {Map<string, import("./shapes.js").Camera[]>} */
  const at = new Map();
  for (const camera of cameras.values()) {
    if (words.length && !fits(camera)) continue;
    at.set(camera.region, [...(at.get(camera.region) || []), camera]);
    if (!known.has(camera.region)) known.set(camera.region, { code: camera.region, name: camera.region_name || camera.region, parent: null });
  }
  /** @type {Map<string | null, any[]>} */
  const children = new Map();
  for (const region of known.values()) {
    const parent = region.parent && known.has(region.parent) ? region.parent : null;
    children.set(parent, [...(children.get(parent) || []), region]);
  }
  const byName = new Intl.Collator("zh-CN", { numeric: true });
  /** @type {Row[]} */
  const rows = [];
  /** @param {any} region @param {number} depth @returns {[number, number]} */
  const count = (region, depth) => {
    let total = 0, online = 0;
    for (const camera of at.get(region.code) || []) {
      total += 1;
      if (standing(camera) === "online") online += 1;
    }
    for (const child of children.get(region.code) || []) {
      const [a, b] = count(child, depth + 1);
      total += a;
      online += b;
    }
    return [total, online];
  };
  /** @param {any} region @param {number} depth */
  const walk = (region, depth) => {
    const [total, online] = count(region, depth);
    if (!total) return;
    const below = children.get(region.code) || [];
    const own = at.get(region.code) || [];
    // A level that only leads to one other level says nothing: it is passed over.
    if (!own.length && below.filter((r) => count(r, 0)[0]).length === 1) {
      for (const child of below) walk(child, depth);
      return;
    }
    const open = words.length > 0 || !closed.has(region.code);
    rows.push({ kind: "region", code: region.code, name: region.name, depth, open, total, online });
    if (!open) return;
    for (const camera of own.sort((a, b) => byName.compare(a.name, b.name))) rows.push({ kind: "camera", camera, depth: depth + 1 });
    for (const child of below.sort((a, b) => a.code.localeCompare(b.code))) walk(child, depth + 1);
  };
  for (const root of (children.get(null) || []).sort((a, b) => a.code.localeCompare(b.code))) walk(root, 0);
  return rows;
}

/** @param {{camera: import("./shapes.js").Camera}} props */
export function Badges({ camera }) {
  const health = camera.health?.verdict;
  return html`<span class="badges">
    ${health && health !== "ok" && html`<b class="badge bad" title=${t("health.since")}>${tk("health", health)}</b>`}
    ${camera.area_class && camera.area_class !== "default" && html`<b class="badge key" title=${t("tree.key_area")}>${tk("class", camera.area_class)}</b>`}
    ${isHevc(camera.streams?.main) && html`<b class="badge">H.265</b>`}
    ${camera.lease_id ? html`<b class="badge lease" title=${t("tree.lease")}>${t("badge.lease")}</b>`
      : camera.origin === "lower" && html`<b class="badge lower" title=${tk("tier", camera.tier)}>${t("badge.lower")}</b>`}
  </span>`;
}

/** @param {import("./shapes.js").Camera} camera */
export function standingText(camera) {
  const state = standing(camera);
  const trouble = troubled(camera);
  if (state === "offline") return `${tk("cause", trouble?.cause || "camera_offline")}${trouble?.reason ? `: ${say(trouble.reason)}` : ""}`;
  return tk("standing", state);
}

export function Tree() {
  const cameras = useStore(store, (s) => s.cameras);
  const regions = useStore(store, (s) => s.regions);
  const loaded = useStore(store, (s) => s.camerasLoaded);
  const cut = useStore(store, (s) => s.camerasCut);
  const tiles = useStore(store, (s) => s.tiles);
  const [query, setQuery] = useState("");
  const [closed, setClosed] = useState(() => new Set());
  const [cursor, setCursor] = useState(0);
  const [scroll, setScroll] = useState(0);
  const [height, setHeight] = useState(600);
  const box = useRef(null);
  const rows = useMemo(() => rowsOf(cameras, regions, query, closed), [cameras, regions, query, closed]);
  const onWall = useMemo(() => new Set(tiles.map((one) => one.camera)), [tiles]);

  useEffect(() => {
    const element = /** @type {HTMLElement | null} */ (/** @type {unknown} */ (box.current));
    if (!element) return;
    const watch = new ResizeObserver(() => setHeight(element.clientHeight));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);

  /** @param {number} i */
  const reveal = (i) => {
    const next = Math.max(0, Math.min(rows.length - 1, i));
    setCursor(next);
    const element = /** @type {any} */ (box.current);
    if (!element) return;
    if (next * ROW < element.scrollTop) element.scrollTop = next * ROW;
    else if ((next + 1) * ROW > element.scrollTop + element.clientHeight) element.scrollTop = (next + 1) * ROW - element.clientHeight;
  };
  /** @param {string} code */
  const toggle = (code) => setClosed((now) => {
    const next = new Set(now);
    if (!next.delete(code)) next.add(code);
    return next;
  });
  /** @param {Row | undefined} row */
  const act = (row) => {
    if (!row) return;
    if (row.kind === "region") toggle(row.code);
    else choose(row.camera);
  };
  /** @param {import("./shapes.js").Camera} camera */
  const choose = (camera) => {
    if (camera.origin === "lower" && !camera.lease_id && byOwnName(store.get().session)) openDialog("pull", { cameras: [camera.id] });
    else showCamera(camera.id);
  };
  /** @param {KeyboardEvent} e */
  const key = (e) => {
    const row = rows[cursor];
    if (e.key === "ArrowDown") reveal(cursor + 1);
    else if (e.key === "ArrowUp") reveal(cursor - 1);
    else if (e.key === "Home") reveal(0);
    else if (e.key === "End") reveal(rows.length - 1);
    else if (e.key === "PageDown") reveal(cursor + Math.floor(height / ROW));
    else if (e.key === "PageUp") reveal(cursor - Math.floor(height / ROW));
    else if (e.key === "Enter") act(row);
    else if (e.key === "ArrowLeft" && row?.kind === "region" && row.open) toggle(row.code);
    else if (e.key === "ArrowRight" && row?.kind === "region" && !row.open) toggle(row.code);
    else return;
    e.preventDefault();
    e.stopPropagation();
  };
  const firstCamera = rows.findIndex((row) => row.kind === "camera");
  /** @param {KeyboardEvent} e */
  const searchKey = (e) => {
    if (e.key === "Enter" && firstCamera >= 0) act(rows[rows[cursor]?.kind === "camera" ? cursor : firstCamera]);
    else if (e.key === "ArrowDown" || e.key === "ArrowUp") reveal(Math.max(cursor + (e.key === "ArrowDown" ? 1 : -1), firstCamera));
    else if (e.key === "Escape") {
      setQuery("");
      /** @type {HTMLElement} */ (e.target).blur();
    } else return;
    e.preventDefault();
    e.stopPropagation();
  };

  const from = Math.max(0, Math.floor(scroll / ROW) - SPARE), to = Math.min(rows.length, Math.ceil((scroll + height) / ROW) + SPARE);
  const total = cameras.size;
  const online = useMemo(() => [...cameras.values()].filter((c) => standing(c) === "online").length, [cameras]);

  return html`<nav class="tree" aria-label=${t("tree.label")}>
    <label class="search"><${Icon} name="search" />
      <input id="camera-search" type="search" placeholder=${t("tree.search")} aria-label=${t("tree.search")} value=${query} autocomplete="off" spellcheck=${false}
        onInput=${(/** @type {any} */ e) => { setQuery(e.target.value); setCursor(0); }} onKeyDown=${searchKey} /><kbd>/</kbd></label>
    <div class="tree-rows" role="tree" tabindex="0" ref=${box} aria-label=${t("tree.label")} onKeyDown=${key}
      aria-activedescendant=${rows.length ? `tree-row-${cursor}` : null} onScroll=${(/** @type {any} */ e) => setScroll(e.target.scrollTop)}>
      <div class="tree-space" style=${{ height: `${rows.length * ROW}px` }}>
        ${rows.slice(from, to).map((row, k) => {
          const i = from + k;
          const place = { top: `${i * ROW}px`, paddingLeft: `${8 + row.depth * 14}px` };
          if (row.kind === "region") return html`<div key=${row.code} id=${`tree-row-${i}`} role="treeitem" aria-expanded=${row.open} aria-level=${row.depth + 1}
              class=${cx("row", "region", i === cursor && "cursor")} style=${place} onClick=${() => { setCursor(i); toggle(row.code); }}>
            <span class=${cx("twist", row.open && "open")}><${Icon} name="chevron" /></span><span class="name">${row.name}</span>
            <span class="count" title=${t("tree.online_of")}>${row.online}/${row.total}</span></div>`;
          const c = row.camera, state = standing(c);
          return html`<div key=${c.id} id=${`tree-row-${i}`} role="treeitem" aria-level=${row.depth + 1} aria-selected=${i === cursor} draggable="true"
              class=${cx("row", "camera", i === cursor && "cursor", onWall.has(c.id) && "on-wall")} style=${place} title=${`${c.name}\n${standingText(c)}\n${c.id}`}
              data-camera=${c.id} onDragStart=${(/** @type {DragEvent} */ e) => e.dataTransfer?.setData("text/x-tiergate-camera", c.id)}
              onClick=${() => setCursor(i)} onDblClick=${() => { choose(c); const s = store.get(); if (s.dialog === null && s.focus !== null && s.single !== s.focus) toggleSingle(s.focus); }}>
            <span class=${`dot ${state}`} role="img" aria-label=${standingText(c)}></span><span class="name">${c.name}</span>
            ${state === "offline" && html`<span class="cause">${tk("cause", troubled(c)?.cause || "camera_offline")}</span>`}<${Badges} camera=${c} /></div>`;
        })}
      </div>
      ${loaded && !rows.length && html`<p class="none">${query ? t("tree.nothing_found") : t("tree.no_cameras")}</p>`}
    </div>
    <footer class="tree-foot"><span><i class="dot online"></i>${t("tree.online_count", { online, total })}</span>${cut && html`<span class="bad" role="status" title=${t("tree.cut_title")}>${t("tree.cut", { count: total })}</span>`}</footer>
  </nav>`;
}
