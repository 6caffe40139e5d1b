// @ts-check
// A store of one object: patches, subscribers told once per turn, and a hook that re-renders on what it selects.

import { useEffect, useState } from "./dom.js";

/**
 * @template {object} S
 * @param {S} initial
 */
export function createStore(initial) {
  let state = initial;
  let told = true;
  /** @type {Set<(state: S) => void>} */
  const listeners = new Set();

  const tell = () => {
    told = true;
    for (const listener of [...listeners]) listener(state);
  };

  return {
    get: () => state,
    /** @param {Partial<S> | ((state: S) => Partial<S>)} patch */
    set(patch) {
      state = { ...state, ...(typeof patch === "function" ? patch(state) : patch) };
      if (told) {
        told = false;
        queueMicrotask(tell);
      }
    },
    /** @param {(state: S) => void} listener */
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/**
 * The selected part of a store; the component renders again when it is another value.
 * @template {object} S
 * @template T
 * @param {{get: () => S, subscribe: (listener: (state: S) => void) => () => void}} store
 * @param {(state: S) => T} select
 * @returns {T}
 */
export function useStore(store, select) {
  const [, again] = useState(0);
  const value = select(store.get());
  useEffect(() => {
    let last = value;
    const check = () => {
      const next = select(store.get());
      if (!Object.is(next, last)) {
        last = next;
        again((n) => n + 1);
      }
    };
    check();
    const stop = store.subscribe(check);
    return () => { stop(); };
  });
  return value;
}
