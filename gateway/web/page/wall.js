// @ts-check
// The wall: how many tiles, where they stand, what falls into them. A tile keeps its element when it moves, so its picture goes on.

import { cx, html, useEffect } from "./dom.js";
import { t } from "./i18n.js";
import { Icon } from "./icons.js";
import { byOwnName } from "./shapes.js";
import { LAYOUTS, openDialog, setLayout, showCamera, store, swapTiles } from "./state.js";
import { useStore } from "./store.js";
import { TileView } from "./tileview.js";
import { Welcome } from "./welcome.js";

/** @param {{name: string}} props */
function LayoutPicture({ name }) {
  const cells = name === "6"
    ? "M1 1h9v9H1zM11.5 1h3.5v4H11.5zM11.5 6h3.5v4H11.5zM1 11.5h4V15H1zM6 11.5h4V15H6zM11.5 11.5h3.5V15H11.5z"
    : (() => {
      const n = Math.sqrt(LAYOUTS[name]), size = (14 - (n - 1)) / n;
      let d = "";
      for (let i = 0; i < n * n; i += 1) d += `M${1 + (i % n) * (size + 1)} ${1 + Math.floor(i / n) * (size + 1)}h${size}v${size}h-${size}z`;
      return d;
    })();
  return html`<svg class="layout-picture" viewBox="0 0 16 16" width="18" height="18" aria-hidden="true"><path d=${cells} /></svg>`;
}

export function Wall() {
  const layout = useStore(store, (s) => s.layout);
  const tiles = useStore(store, (s) => s.tiles);
  const single = useStore(store, (s) => s.single);
  const nothing = useStore(store, (s) => s.camerasLoaded && !s.cameras.size);
  const shown = tiles.slice(0, LAYOUTS[layout]);
  const isSingle = single !== null && shown.some((one) => one.key === single);

  useEffect(() => {
    // The whole page, of which the style leaves wall, banners and messages: a red banner is for the big screen too.
    const full = () => { if (document.fullscreenElement) void document.exitFullscreen(); else void document.documentElement.requestFullscreen().catch(() => {}); };
    addEventListener("tiergate:fullscreen", full);
    return () => removeEventListener("tiergate:fullscreen", full);
  }, []);

  /** @param {DragEvent} e @param {number} key */
  const drop = (e, key) => {
    e.preventDefault();
    const camera = e.dataTransfer?.getData("text/x-tiergate-camera"), from = e.dataTransfer?.getData("text/x-tiergate-tile");
    if (camera) {
      const found = store.get().cameras.get(camera);
      if (found?.origin === "lower" && !found.lease_id && byOwnName(store.get().session)) openDialog("pull", { cameras: [camera] });
      else showCamera(camera, key);
    } else if (from) swapTiles(Number(from), key);
  };

  return html`<section class=${cx("wall", `layout-${layout}`, isSingle && "single")} aria-label=${t("wall.label")}>
    ${nothing ? html`<${Welcome} />` : [...shown].sort((a, b) => a.key - b.key).map((one) => html`<${TileView} key=${one.key} tile=${one} place=${shown.indexOf(one)}
      hidden=${isSingle && one.key !== single} big=${isSingle || layout === "1" || (layout === "6" && shown[0] === one)} onDrop=${drop} />`)}
  </section>`;
}

export function WallTools() {
  const layout = useStore(store, (s) => s.layout);
  return html`<div class="layouts" role="radiogroup" aria-label=${t("wall.layout")}>
    ${Object.keys(LAYOUTS).map((name) => html`<button key=${name} type="button" role="radio" aria-checked=${layout === name} class=${cx("tool", layout === name && "on")}
      title=${`${t("wall.tiles", { count: name === "6" ? "1+5" : name })} (${name === "16" ? "0" : name})`} onClick=${() => setLayout(name)}><${LayoutPicture} name=${name} /></button>`)}
    <button type="button" class="tool" title=${`${t("wall.fullscreen")} (F)`} aria-label=${t("wall.fullscreen")}
      onClick=${() => dispatchEvent(new Event("tiergate:fullscreen"))}><${Icon} name="full" /></button>
  </div>`;
}
