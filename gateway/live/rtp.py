"""RTP payloads of a picture, an AAC frame or a run of G.711, made once for all viewers. (pure)

Belongs here: RFC 6184 packetisation mode 1 (single NAL units and FU-A), RFC 7798 (single NAL units and FUs), RFC 3640.
Does not belong here: headers, sequence numbers and SRTP, which differ per viewer (aiortc, behind
`gateway.live.aiortc_seam`; `gateway.rtsp.media`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from storage.media.access_unit import StreamConfig
from storage.media.codecs import parse_record, split_length_prefixed

#: Payload bytes: under the 1280 of an IPv6 minimum link with IP, UDP, SRTP and header extensions around them.
MTU_BYTES = 1200

_FU_A = 28
_DELIMITER = 9
_H265_FU = 49
_H265_DELIMITER = 35
_G711_BYTES = 480  #: 60 ms at 8 kHz


def parameter_sets(config: StreamConfig) -> tuple[bytes, ...]:
    """SPS and PPS (of H.265 VPS before them), which the access units do not carry and every IDR needs in front of it
    (MEASUREMENTS B1)."""
    return parse_record(config.video.codec, config.video.record).parameter_sets


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


def h265_payloads(data: bytes, key: bool, sets: Iterable[bytes], mtu_bytes: int = MTU_BYTES) -> list[bytes]:
    """As `h264_payloads`, of H.265 (RFC 7798 §4.4, no DONL: pictures are sent in decoding order). What is too short for
    the two bytes of a NAL unit header is left out. Raises ValueError."""
    payloads: list[bytes] = []
    if key:
        for nal in sets:
            _append_h265(payloads, nal, mtu_bytes)
    for nal in split_length_prefixed(data):
        if len(nal) >= 2 and (nal[0] >> 1) & 0x3F != _H265_DELIMITER:
            _append_h265(payloads, nal, mtu_bytes)
    return payloads


def _append_h265(payloads: list[bytes], nal: bytes, mtu_bytes: int) -> None:
    if len(nal) <= mtu_bytes:
        payloads.append(nal)
        return
    # RFC 7798 §4.4.3: the two header bytes with type 49, then the FU header (S, E, type)
    kind = (nal[0] >> 1) & 0x3F
    head = bytes((nal[0] & 0x81 | _H265_FU << 1, nal[1]))
    room = mtu_bytes - 3
    last = (len(nal) - 3) // room * room + 2
    middle = head + bytes((kind,))
    payloads.append(head + bytes((0x80 | kind,)) + nal[2 : 2 + room])
    payloads.extend([middle + nal[at : at + room] for at in range(2 + room, last, room)])
    payloads.append(head + bytes((0x40 | kind,)) + nal[last:])


def aac_payload(frame: bytes) -> bytes:
    """One AAC frame in the mode AAC-hbr (RFC 3640 §3.3.6): one AU header of 13 bits of size and 3 of index. Raises
    ValueError for a frame that such a header cannot describe."""
    if len(frame) >= 1 << 13:
        raise ValueError("AAC frame of 8 KiB or more")
    return struct.pack(">HH", 16, len(frame) << 3) + frame


def g711_pieces(data: bytes) -> list[tuple[int, bytes]]:
    """(samples since the start of `data`, payload): one RTP packet each, since each has its own timestamp."""
    return [(at, data[at : at + _G711_BYTES]) for at in range(0, len(data), _G711_BYTES)]
