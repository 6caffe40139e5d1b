"""WHEP sessions: a stream to one browser over WebRTC, passed through without decoding (draft-ietf-wish-whep).

Belongs here: offer and answer, the tracks that feed aiortc from the hub, picture loss. Does not belong here: permission
and the HTTP side (`gateway.web.routers.live`), what has to be bent inside aiortc (`gateway.live.aiortc_seam`).

H.264 without B-frames only; `gateway.live.choice` sees to that. G.711 rides along when the camera sends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence

from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from config.clock import Clock
from config.errors import Kind, TiergateError
from config.reasons import Reason
from gateway.live import rtp
from gateway.live.aiortc_seam import PassThroughTrack, UdpPorts, ports_in_use, use_ports
from gateway.live.candidates import sifted
from gateway.live.hub import Granted, Picture, Started, Viewer

_log = logging.getLogger(__name__)

OFFER_BYTES = 64 * 1024
CONNECT_S = 10.0  #: from answer to DTLS; a browser that has not come by then will not
REBURST_NS = 1_000_000_000  #: at most one answer to picture loss per viewer and second


class _VideoTrack(PassThroughTrack):
    kind = "video"

    def __init__(
        self,
        viewer: Viewer,
        granted: Granted,
        clock: Clock,
        audio: _AudioTrack | None,
        sent: Callable[[int], None],
        over: Callable[[], None],
    ) -> None:
        super().__init__()
        self._over = over
        self._viewer = viewer
        self._granted = granted  #: as the answer said; what else is given nobody could be told on this way
        self._clock = clock
        self._audio = audio
        self._sent = sent
        self._pending: deque[Picture] = deque()
        self._again: deque[Picture] = deque()
        self._timestamp = 0
        self._lost_ns = -REBURST_NS
        self.rebursts = 0

    async def next_payloads(self) -> tuple[list[bytes], int]:
        while True:
            if self._again:
                # The same pictures once more: RTP time must not go back, so they follow each other by one tick.
                self._timestamp += 1
                return self._count(self._again.popleft().payloads), self._timestamp
            if self._pending:
                picture = self._pending.popleft()
                self._timestamp = max(picture.presentation_time, self._timestamp + 1)
                return self._count(picture.payloads), self._timestamp
            await self._fetch()

    async def _fetch(self) -> None:
        entries = await self._viewer.take()
        if not entries:
            self._over()
            raise MediaStreamError
        for entry in entries:
            if isinstance(entry, Picture):
                if entry.video:
                    self._pending.append(entry)
                elif self._audio is not None:
                    self._audio.push(entry)
            elif isinstance(entry, Started):
                self._again.clear()
                if entry.granted != self._granted:
                    self._viewer.end()
                if entry.config.video.codec != "h264":  # the camera went over to H.265 in the middle
                    self._viewer.end(Reason("media.live_whep_codec", {"codec": entry.config.video.rfc6381}))
            elif entry.state == "stream" and Granted.of(entry.reason) != self._granted:
                self._viewer.end()

    def _count(self, payloads: list[bytes]) -> list[bytes]:
        self._sent(sum(map(len, payloads)))
        return payloads

    def picture_lost(self) -> None:
        now = self._clock.monotonic_ns()
        if now - self._lost_ns < REBURST_NS or self._again:
            return
        self._lost_ns = now
        known = {id(picture) for picture in self._pending}
        self._again.extend(picture for picture in self._viewer.reburst() if id(picture) not in known)
        self.rebursts += 1


class _AudioTrack(PassThroughTrack):
    """G.711 as the camera sent it. Fed by the video track, which reads the viewer's one queue."""

    kind = "audio"

    def __init__(self, sent: Callable[[int], None]) -> None:
        super().__init__()
        self._queue: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(maxsize=64)
        self._sent = sent

    def push(self, frame: Picture) -> None:
        for offset, piece in rtp.g711_pieces(frame.unit.data):
            if self._queue.full():
                self._queue.get_nowait()
            self._queue.put_nowait((frame.place.decode_time + offset, piece))

    async def next_payloads(self) -> tuple[list[bytes], int]:
        timestamp, piece = await self._queue.get()
        self._sent(len(piece))
        return [piece], timestamp


class WhepSession:
    """One peer connection and its viewer. `ended` is set when it is over, whoever ended it."""

    def __init__(self, viewer: Viewer, clock: Clock, sent: Callable[[int], None]) -> None:
        self.viewer = viewer
        self.ended = asyncio.Event()
        self._clock = clock
        self._sent = sent
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._video: _VideoTrack | None = None
        self._closing: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def rebursts(self) -> int:
        return self._video.rebursts if self._video else 0

    async def answer(
        self, offer_sdp: str, started: Started, client_host: str | None = None, networks: Sequence[str] = ()
    ) -> str:
        """The answer's SDP. Of the offer's candidates those stay that are `client_host` or lie in `networks`.

        Raises media.live_whep_offer, media.live_whep_ports, media.live_whep_candidates.
        """
        allowed = sifted(offer_sdp, client_host, networks, loopback=ports_in_use().loopback)
        if allowed.refused:
            _log.info("WHEP candidates refused: %d, kept: %d", allowed.refused, allowed.kept)
        if allowed.waits_for_us:
            await self.close()
            raise TiergateError(Kind.INVALID, "media.live_whep_candidates", refused=allowed.refused)
        offer = RTCSessionDescription(allowed.sdp, "offer")
        audio = None
        law = started.config.audio.codec if started.config.audio else None
        if law in ("pcma", "pcmu") and started.config.audio is not None and "m=audio" in offer_sdp:
            plain = started.config.audio.sample_rate_hz == 8000 and started.config.audio.channels == 1
            audio = _AudioTrack(self._sent) if plain else None
        self._video = _VideoTrack(self.viewer, started.granted, self._clock, audio, self._sent, self._close_soon)
        peer = self._peer
        peer.on("connectionstatechange", self._state_changed)
        try:
            peer.addTrack(self._video)
            if audio is not None:
                peer.addTrack(audio)
            # Before setRemoteDescription: afterwards VP8 stands first and H.264 goes out under its payload type.
            wanted = {"video": {"video/h264", "video/rtx"}, "audio": {f"audio/{law}"}}
            for transceiver in peer.getTransceivers():
                codecs = RTCRtpSender.getCapabilities(transceiver.kind).codecs
                transceiver.setCodecPreferences([c for c in codecs if c.mimeType.lower() in wanted[transceiver.kind]])
            await peer.setRemoteDescription(offer)
            await peer.setLocalDescription(await peer.createAnswer())
        except TiergateError:
            await self.close()
            raise
        except (
            Exception
        ) as exc:  # aiortc raises what it likes on hostile SDP: ValueError, KeyError, IndexError, its own
            _log.info("WHEP offer refused: %s", type(exc).__name__)
            await self.close()
            raise TiergateError(Kind.INVALID, "media.live_whep_offer") from exc
        sdp = str(peer.localDescription.sdp)
        if "a=candidate" not in sdp:
            await self.close()
            raise TiergateError(Kind.UNAVAILABLE, "media.live_whep_ports")
        self._deadline = asyncio.get_running_loop().call_later(CONNECT_S, self._not_connected)
        return sdp

    def _not_connected(self) -> None:
        if self._peer.connectionState != "connected":
            self._close_soon()

    def _state_changed(self) -> None:
        if self._peer.connectionState in ("failed", "closed", "disconnected"):
            self._close_soon()

    def _close_soon(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self.close(), name="whep close")

    async def close(self) -> None:
        """Ends the connection. Safe to call twice."""
        if self._deadline is not None:
            self._deadline.cancel()
        self.viewer.end()
        with contextlib.suppress(ConnectionError):
            await self._peer.close()
        self.ended.set()


def configure_ports(port_min: int, port_max: int, loopback: bool) -> None:
    """From the settings `live.whep_port_min`, `live.whep_port_max` and whether the web listens on loopback."""
    if port_min and port_max < port_min:
        raise TiergateError(Kind.ENVIRONMENT, "media.live_whep_range", lowest=port_min, highest=port_max)
    use_ports(UdpPorts(port_min, port_max, loopback))
