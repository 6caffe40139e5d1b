// @ts-check
// Sound of a tile on and off; where there is none to be had, a sentence says why.

import { t } from "./i18n.js";
import { soundPath } from "./shapes.js";
import { changeTile, toast } from "./state.js";

/** @param {import("./state.js").Tile} tile @param {import("./shapes.js").Camera} camera */
export function toggleSound(tile, camera) {
  if (tile.sound) return changeTile(tile.key, { sound: false });
  const why = tile.playback ? "replay" : soundPath(camera).why;
  if (why) return toast(t(`sound.${why}`, { name: camera.name, codec: camera.streams?.main?.audio_codec || "?" }));
  changeTile(tile.key, { sound: true });
}
