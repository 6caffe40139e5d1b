// @ts-check
// A live picture by WebRTC (WHEP): the quickest path, for the tile that somebody looks at. One instance is one attempt.

import { fetchRaw } from "../api.js";

const ICE_MS = 2000, GATHER_MS = 400;

export class WhepPlayer {
  /**
   * @param {string} camera
   * @param {{stream: string}} query
   * @param {{onFirst: () => void, onEnd: (why: {kind: "closed" | "error" | "ice"}) => void}} on
   */
  constructor(camera, query, on) {
    this.method = "whep";
    this.on = on;
    this.camera = camera;
    this.ended = false;
    this.first = false;
    this.heard_ms = performance.now();
    this.location = "";
    /** What is sent and why it is not what was asked for. @type {import("./mse.js").Word | null} */
    this.config = null;
    this.video = document.createElement("video");
    this.video.muted = true;
    this.video.autoplay = true;
    this.video.playsInline = true;
    this.video.disableRemotePlayback = true;
    const frame = () => {
      if (this.ended) return;
      this.heard_ms = performance.now();
      if (!this.first) {
        this.first = true;
        on.onFirst();
      }
      this.video.requestVideoFrameCallback(frame);
    };
    this.video.requestVideoFrameCallback(frame);
    // No server of anybody else is ever asked for an address.
    this.peer = new RTCPeerConnection({ iceServers: [] });
    this.peer.ontrack = (event) => {
      if (this.ended) return;
      const stream = /** @type {MediaStream | null} */ (this.video.srcObject) || new MediaStream();
      stream.addTrack(event.track);
      this.video.srcObject = stream;
      void this.video.play().catch(() => {});
    };
    this.peer.onconnectionstatechange = () => {
      const state = this.peer.connectionState;
      if (state === "connected") clearTimeout(this.deadline);
      if (state === "failed" || state === "closed" || state === "disconnected") this.end({ kind: "closed" });
    };
    this.deadline = 0;
    this.start(query).catch(() => this.end({ kind: "error" }));
  }

  /** @param {{stream: string}} query */
  async start(query) {
    this.peer.addTransceiver("video", { direction: "recvonly" });
    this.peer.addTransceiver("audio", { direction: "recvonly" });
    await this.peer.setLocalDescription(await this.peer.createOffer());
    await this.gathered();
    const answer = await fetchRaw("POST", `/cameras/${this.camera}/whep`, {
      query, type: "application/sdp", body: this.peer.localDescription?.sdp || "",
    });
    this.location = answer.headers.get("Location") || "";
    this.config = { stream: answer.headers.get("X-Tiergate-Stream") || query.stream, note: JSON.parse(answer.headers.get("X-Tiergate-Note") || "null") };
    const sdp = await answer.text();
    if (this.ended) return this.hangUp();
    this.deadline = window.setTimeout(() => this.end({ kind: "ice" }), ICE_MS);
    await this.peer.setRemoteDescription({ type: "answer", sdp });
  }

  /** Candidates go with the offer: there is no trickle. */
  gathered() {
    if (this.peer.iceGatheringState === "complete") return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(done, GATHER_MS);
      const peer = this.peer;
      function done() {
        clearTimeout(timer);
        resolve(undefined);
      }
      peer.addEventListener("icegatheringstatechange", () => { if (peer.iceGatheringState === "complete") done(); });
    });
  }

  silent_ms() {
    return performance.now() - this.heard_ms;
  }

  lag_ms() {
    return null;
  }

  /** @param {{kind: "closed" | "error" | "ice"}} why */
  end(why) {
    if (this.ended) return;
    this.stop();
    this.on.onEnd(why);
  }

  /** The server hears first that it is over: of a connection that closed by itself it would know nothing any more. */
  async hangUp() {
    const gone = ["closed", "failed", "disconnected"].includes(this.peer.connectionState);
    const where = this.location ? new URL(this.location, location.href) : null;
    this.location = "";
    if (where && !gone && where.origin === location.origin) await fetch(where, { method: "DELETE", keepalive: true }).catch(() => {});
    this.peer.close();
  }

  stop() {
    this.ended = true;
    clearTimeout(this.deadline);
    this.peer.onconnectionstatechange = null;
    for (const receiver of this.peer.getReceivers()) receiver.track.stop();
    this.video.srcObject = null;
    this.video.remove();
    void this.hangUp();
  }
}
