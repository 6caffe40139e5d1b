"""One track of one session as interleaved RTP and RTCP (RFC 3550, RFC 2326 §10.12). (pure)

The payloads are those that the hub makes once for all viewers (`gateway.live.rtp`); headers are this session's own.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from config.units import NTP_EPOCH_S

_CNAME = b"tiergate"
_HEAD = struct.Struct(">BBHBBHII").pack  # frame header, then the RTP header up to the SSRC


class TrackSender:
    def __init__(
        self, payload_type: int, rate_hz: int, channels: tuple[int, int], ssrc: int, sequence: int, shift: int
    ) -> None:
        """`channels`: of RTP and RTCP. `sequence` and `shift` (of times) should be random (RFC 3550 §5.1)."""
        self.payload_type = payload_type
        self.rate_hz = rate_hz
        self.channels = channels
        self.ssrc = ssrc
        self.sequence = sequence & 0xFFFF  #: of the packet that comes next
        self._shift = shift
        self._packets = 0
        self._octets = 0
        self._reported: int | None = None  #: time of the last report

    def packets(self, payloads: Sequence[bytes], time: int) -> bytes:
        """All with the time `time` (ticks); the last one bears the marker."""
        parts: list[bytes] = []
        stamp, last = (time + self._shift) & 0xFFFFFFFF, len(payloads) - 1
        for index, payload in enumerate(payloads):
            marked = self.payload_type | (0x80 if index == last else 0)
            size = 12 + len(payload)
            parts.append(_HEAD(0x24, self.channels[0], size, 0x80, marked, self.sequence, stamp, self.ssrc))
            parts.append(payload)
            self.sequence = (self.sequence + 1) & 0xFFFF
            self._octets += len(payload)
        self._packets += len(payloads)
        return b"".join(parts)

    def report_due(self, time: int, every_s: int) -> bool:
        """Before the first packet, and then each `every_s` seconds of media."""
        return self._reported is None or time - self._reported >= every_s * self.rate_hz

    def report(self, wall_ns: int, time: int) -> bytes:
        """A sender report: at `wall_ns` (UTC) the track stood at `time` (ticks)."""
        self._reported = time
        seconds, rest_ns = divmod(wall_ns, 1_000_000_000)
        ntp = ((seconds + NTP_EPOCH_S) & 0xFFFFFFFF) << 32 | (rest_ns << 32) // 1_000_000_000
        sender = struct.pack(
            ">BBHIQIII", 0x80, 200, 6, self.ssrc, ntp, (time + self._shift) & 0xFFFFFFFF,
            self._packets & 0xFFFFFFFF, self._octets & 0xFFFFFFFF,
        )  # fmt: skip
        return self._control(sender + self._names())

    def goodbye(self, why: str) -> bytes:
        """BYE with the reason (RFC 3550 §6.6): in RTSP 1.0 a server has no other word for the end of a stream."""
        said = why.encode()[:255]
        words = bytes((len(said),)) + said
        words += b"\0" * (-len(words) % 4)
        receiver = struct.pack(">BBHI", 0x80, 201, 1, self.ssrc)  # a compound begins with a report
        bye = struct.pack(">BBHI", 0x81, 203, 1 + len(words) // 4, self.ssrc) + words
        return self._control(receiver + self._names() + bye)

    def _names(self) -> bytes:
        chunk = struct.pack(">IBB", self.ssrc, 1, len(_CNAME)) + _CNAME + b"\0"
        chunk += b"\0" * (-len(chunk) % 4)
        return struct.pack(">BBH", 0x81, 202, len(chunk) // 4) + chunk

    def _control(self, compound: bytes) -> bytes:
        return struct.pack(">BBH", 0x24, self.channels[1], len(compound)) + compound
