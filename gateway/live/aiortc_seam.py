"""Everything in which tiergate reaches into aiortc and aioice, in one place.

Three things that their public API cannot say, each as a method put in place of theirs at import:

* `RTCRtpSender._next_encoded_frame`: a track of ours hands over RTP payloads that were made once for all viewers. No
  encoder.
* `RTCRtpSender._send_keyframe`: a picture loss indication (RFC 4585 §6.3.1) reaches our track, which sends the cached
  pictures since the last key frame again; a camera that we only pass through cannot be told to make one.
* `aioice.Connection.get_component_candidates` and `get_host_addresses`: aioice binds UDP port 0 on every address
  except loopback (MEASUREMENTS D8, B1). A firewall needs a known range, and a node that listens on loopback has
  viewers there alone.

Connections that are not ours behave as before, except for the port range. Written against aiortc 1.16 and aioice 0.13;
a test plays pictures to a real peer and fails when an update moves one of these.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from dataclasses import dataclass
from typing import Any

import aioice.ice
from aioice.candidate import candidate_foundation, candidate_priority
from aiortc import MediaStreamTrack, RTCRtpSender
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtcrtpsender import RTCEncodedFrame
from av.frame import Frame
from av.packet import Packet

_RECEIVE_BUFFER_BYTES = 256 * 1024


class PassThroughTrack(MediaStreamTrack):
    """A track whose pictures are already RTP payloads. Subclasses give `next_payloads` and `picture_lost`."""

    async def recv(self) -> Frame | Packet[Any]:
        raise NotImplementedError("a pass-through track has payloads, not frames")

    async def next_payloads(self) -> tuple[list[bytes], int]:
        """(payloads of one frame, timestamp in the track's RTP clock). Raises MediaStreamError at the end."""
        raise NotImplementedError

    def picture_lost(self) -> None:
        """The peer's decoder lost its reference."""


@dataclass(frozen=True, slots=True)
class UdpPorts:
    """The range of local UDP ports; (0, 0) lets the kernel choose."""

    lowest: int = 0
    highest: int = 0
    loopback: bool = False  #: offer loopback addresses, and nothing else

    def bind(self, address: str) -> socket.socket:
        """A bound socket on `address`. Raises OSError when the range is used up."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if not self.lowest:
            return self._bind_one(family, address, 0)
        count = self.highest - self.lowest + 1
        for step in range(count):
            try:
                return self._bind_one(family, address, self.lowest + (next(_turn) + step) % count)
            except OSError:
                continue
        raise OSError(f"no free UDP port in {self.lowest}-{self.highest}")

    @staticmethod
    def _bind_one(family: int, address: str, port: int) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind((address, port))
        except OSError:
            sock.close()
            raise
        return sock


_turn = itertools.count()  #: spreads attempts over the range: the port of a session just ended may be held for a moment
_ports = UdpPorts()


def use_ports(ports: UdpPorts) -> None:
    """Connections made from now on bind there. One setting per process, as aioice has no other place for it."""
    global _ports
    _ports = ports


def ports_in_use() -> UdpPorts:
    """What `use_ports` set last."""
    return _ports


_library_next_encoded_frame = RTCRtpSender._next_encoded_frame
_library_send_keyframe = RTCRtpSender._send_keyframe
_library_host_addresses = aioice.ice.get_host_addresses


async def _next_encoded_frame(self: RTCRtpSender, codec: RTCRtpCodecParameters) -> RTCEncodedFrame | None:
    track = self.track
    if not isinstance(track, PassThroughTrack):
        return await _library_next_encoded_frame(self, codec)
    payloads, timestamp = await track.next_payloads()
    if not self._enabled or not payloads:
        return None
    return RTCEncodedFrame(payloads, timestamp & 0xFFFF_FFFF, None)  # type: ignore[arg-type]  # None: no audio level


def _send_keyframe(self: RTCRtpSender) -> None:
    if isinstance(self.track, PassThroughTrack):
        self.track.picture_lost()
    else:
        _library_send_keyframe(self)


def _host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    if _ports.loopback:
        return ["127.0.0.1"] if use_ipv4 else ["::1"]
    found: list[str] = _library_host_addresses(use_ipv4, use_ipv6)
    return found


async def _component_candidates(
    self: aioice.ice.Connection, component: int, addresses: list[str], timeout: int = 5
) -> list[aioice.Candidate]:
    """Host candidates only: tiergate has no STUN or TURN server, on purpose (isolated networks)."""
    loop = asyncio.get_running_loop()
    candidates: list[aioice.Candidate] = []
    for address in addresses:
        try:
            sock = _ports.bind(address)
        except OSError:
            continue
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        host, port = sock.getsockname()[:2]
        _, protocol = await loop.create_datagram_endpoint(lambda: aioice.ice.StunProtocol(self), sock=sock)
        protocol.local_candidate = aioice.Candidate(
            foundation=candidate_foundation("host", "udp", host),
            component=component,
            transport="udp",
            priority=candidate_priority(component, "host"),
            host=host,
            port=port,
            type="host",
        )
        candidates.append(protocol.local_candidate)
        self._protocols.append(protocol)
    return candidates


RTCRtpSender._next_encoded_frame = _next_encoded_frame  # type: ignore[method-assign]  # see above
RTCRtpSender._send_keyframe = _send_keyframe  # type: ignore[method-assign]  # see above
aioice.ice.get_host_addresses = _host_addresses
aioice.ice.Connection.get_component_candidates = _component_candidates  # type: ignore[method-assign]  # see above
