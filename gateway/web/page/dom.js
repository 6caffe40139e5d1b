// @ts-check
// The one door to the rendering library: every other file imports from here, so a change of library is a change of one file.

export {
  Component, createContext, h, html, render,
  useCallback, useContext, useEffect, useLayoutEffect, useMemo, useRef, useState,
} from "./vendor/htm-preact.mjs";

/**
 * Class names from a mixed list: `cx("tile", focused && "focused")`.
 * @param {...(string|false|null|undefined)} names
 */
export function cx(...names) {
  return names.filter(Boolean).join(" ");
}
