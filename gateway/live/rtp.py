"""RTP payloads of one H.264 picture or a run of G.711, made once for all viewers. (pure)

Belongs here: RFC 6184 packetisation mode 1 (single NAL units and FU-A). Does not belong here: headers, sequence numbers
and SRTP, which differ per viewer (aiortc, behind `gateway.live.aiortc_seam`).
"""

from __future__ import annotations

from collections.abc import Iterable

from storage.media.access_unit import StreamConfig
from storage.media.codecs import parse_record, split_length_prefixed

#: Payload bytes: under the 1280 of an IPv6 minimum link with IP, UDP, SRTP and header extensions around them.
MTU_BYTES = 1200

_FU_A = 28
_DELIMITER = 9
_G711_BYTES = 480  #: 60 ms at 8 kHz


def parameter_sets(config: StreamConfig) -> tuple[bytes, ...]:
    """SPS and PPS, which the access units do not carry and every IDR needs in front of it (MEASUREMENTS B1)."""
    return parse_record("h264", config.video.record).parameter_sets


def h264_payloads(data: bytes, key: bool, sets: Iterable[bytes], mtu_bytes: int = MTU_BYTES) -> list[bytes]:
    """Payloads of one length-prefixed access unit, in order; the last one bears the marker. Raises ValueError."""
    payloads: list[bytes] = []
    if key:
        for nal in sets:
            _append(payloads, nal, mtu_bytes)
    for nal in split_length_prefixed(data):
        if nal[0] & 0x1F != _DELIMITER:
            _append(payloads, nal, mtu_bytes)
    return payloads


def _append(payloads: list[bytes], nal: bytes, mtu_bytes: int) -> None:
    if len(nal) <= mtu_bytes:
        payloads.append(nal)
        return
    # RFC 6184 §5.8: the NAL header becomes FU indicator (F, NRI, 28) and FU header (S, E, R, type)
    indicator = nal[0] & 0xE0 | _FU_A
    kind = nal[0] & 0x1F
    room = mtu_bytes - 2
    middle = bytes((indicator, kind))
    last = (len(nal) - 2) // room * room + 1
    payloads.append(bytes((indicator, 0x80 | kind)) + nal[1 : 1 + room])
    payloads.extend([middle + nal[at : at + room] for at in range(1 + room, last, room)])
    payloads.append(bytes((indicator, 0x40 | kind)) + nal[last:])


def g711_pieces(data: bytes) -> list[tuple[int, bytes]]:
    """(samples since the start of `data`, payload): one RTP packet each, since each has its own timestamp."""
    return [(at, data[at : at + _G711_BYTES]) for at in range(0, len(data), _G711_BYTES)]
