// @ts-check
// Live refresh: server-sent events name what changed, polling stands in while they are away.

import { address } from "./api.js";
import { checkSession, refreshAll, refreshAlarms, refreshApprovals, refreshCamera, refreshCameras, refreshLeases, store } from "./state.js";

const TOPICS = ["message", "camera", "lease", "link", "health", "approval", "alarm"];
const POLL_MS = 10_000, SLOW_POLL_MS = 60_000, SETTLE_MS = 250;

/** Starts listening; the answer ends it. */
export function listen() {
  /** @type {EventSource | null} */
  let source = null;
  let ended = false, heardBefore = false;
  /** @type {Set<string>} */
  const cameras = new Set();
  let leases = false, approvals = false, alarms = false, all = false, settle = 0;

  const flush = async () => {
    settle = 0;
    const ids = [...cameras], doLeases = leases, doApprovals = approvals, doAlarms = alarms, doAll = all;
    cameras.clear();
    leases = approvals = alarms = all = false;
    if (doAll || ids.length > 20) await refreshCameras();
    else await Promise.all(ids.map(refreshCamera));
    if (doLeases) await Promise.all([refreshLeases(), doAll ? null : refreshCameras()]);
    if (doApprovals) await refreshApprovals();
    if (doAlarms) await refreshAlarms();
    if (ids.length || doAll) store.set((s) => ({ timelineEpoch: s.timelineEpoch + 1 }));
  };

  /** @param {MessageEvent} message */
  const heard = (message) => {
    let event;
    try {
      event = JSON.parse(message.data);
    } catch {
      return;
    }
    const topic = event.topic || message.type;
    const id = event.id;
    if (topic === "session") void checkSession().catch(() => {});
    else if (topic === "lease" || topic === "link") leases = true;
    else if (topic === "approval") approvals = true;
    else if (topic === "alarm") alarms = true;
    else if ((topic === "camera" || topic === "health") && typeof id === "string") cameras.add(id);
    else all = true;
    if (!settle) settle = window.setTimeout(flush, SETTLE_MS);
  };

  /** What has changed while nobody told of it. */
  const everything = () => {
    void refreshAll();
    store.set((s) => ({ timelineEpoch: s.timelineEpoch + 1 }));
  };

  const connect = () => {
    source = new EventSource(address("/events"));
    for (const topic of TOPICS) source.addEventListener(topic, /** @type {any} */ (heard));
    // A stream that begins anew may be of another session: of whoever has signed in beside, in the same browser.
    source.onopen = () => {
      store.set({ reachable: true });
      void checkSession().catch(() => {});
      if (heardBefore) everything();
      heardBefore = true;
    };
  };
  connect();

  let slow = 0;
  const poll = setInterval(() => {
    if (ended || document.hidden) return;
    const open = source?.readyState === EventSource.OPEN;
    slow += POLL_MS;
    if (open && slow < SLOW_POLL_MS) return;
    slow = 0;
    void checkSession().catch(() => {});
    void refreshAll();
    if (source?.readyState === EventSource.CLOSED) connect();
  }, POLL_MS);

  return () => {
    ended = true;
    clearInterval(poll);
    clearTimeout(settle);
    source?.close();
  };
}
