"""Live pictures between nodes: access units as chunked CMAF and back. (pure)

One HTTP response is ``init, (prft moof mdat)*``, one access unit per fragment; a new init means new parameters (a new
epoch, or the in-band switch main ↔ sub). `prft` carries the unit's arrival on the lower node's clock, so the upper node
knows its true age (MEASUREMENTS B4). `tfdt` is the source's own decode time modulo 2^64, so audio and video keep their
relation. Between fragments a `uuid` box may carry a notice as JSON (camera offline, line reduced); players skip it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from config.units import NTP_EPOCH_S
from storage.media.access_unit import AccessUnit, StreamConfig, Track
from storage.media.boxes import parse_init, parse_moof
from storage.media.fmp4 import Sample, box, fragment, init_segment

NOTICE_UUID = uuid.UUID("0b0c1a0e-5a55-5a0e-8c52-7a1d9a5b7e11")
#: The largest box a peer may send: a key frame of 4K at high quality is 2 MB.
BOX_MAX_BYTES = 16 << 20
_NTP_ERA_S = 1 << 32
_PIVOT_S = 1_577_836_800  #: 2020: an earlier time belongs to the next NTP era (2036 …)
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that is not media: ``{"state", "reason", "stream"}``."""

    state: str  #: "online", "offline", "stream", "ended", "alive"
    reason: dict[str, Any] | None = None
    stream: str | None = None


class CmafWriter:
    """Access units in, bytes out."""

    def __init__(self) -> None:
        self._sequence = 0

    def config(self, config: StreamConfig) -> bytes:
        return init_segment(config)

    def unit(self, unit: AccessUnit) -> bytes:
        self._sequence += 1
        sample = Sample(unit.data, unit.duration, unit.key, unit.pts - unit.dts)
        return fragment(unit.track, self._sequence, unit.dts & _MASK, (sample,), unit.wall_ns)

    def notice(self, notice: Notice) -> bytes:
        value = {"state": notice.state, "reason": notice.reason, "stream": notice.stream}
        return box(b"uuid", NOTICE_UUID.bytes, json.dumps(value, separators=(",", ":")).encode())


@dataclass(slots=True)
class CmafReader:
    """Bytes in, in whatever pieces the network makes; configs, units and notices out. Raises ValueError on garbage."""

    epoch: int = -1
    _buffer: bytearray = field(default_factory=bytearray)
    _ftyp: bytes = b""
    _moof: bytes = b""
    _wall_ns: int | None = None

    def feed(self, data: bytes) -> Iterator[StreamConfig | AccessUnit | Notice]:
        self._buffer += data
        position = 0
        while len(self._buffer) - position >= 8:
            size = int.from_bytes(self._buffer[position : position + 4], "big")
            if not 8 <= size <= BOX_MAX_BYTES:
                raise ValueError(f"a box of {size} bytes in a live stream")
            if len(self._buffer) - position < size:
                break
            kind = bytes(self._buffer[position + 4 : position + 8])
            found = self._take(kind, bytes(self._buffer[position : position + size]))
            position += size
            if found is not None:
                yield found
        del self._buffer[:position]

    def _take(self, kind: bytes, data: bytes) -> StreamConfig | AccessUnit | Notice | None:
        if kind == b"ftyp":
            self._ftyp = data
        elif kind == b"moov":
            self.epoch += 1
            return parse_init(self._ftyp + data).config
        elif kind == b"prft":
            self._wall_ns = _wall_of(data)
        elif kind == b"moof":
            self._moof = data
        elif kind == b"mdat":
            return self._unit(data)
        elif kind == b"uuid" and data[8:24] == NOTICE_UUID.bytes:
            return _notice_of(data[24:])
        return None

    def _unit(self, mdat: bytes) -> AccessUnit:
        moof = parse_moof(self._moof)
        if self.epoch < 0 or self._wall_ns is None or len(moof.samples) != 1:
            raise ValueError("a fragment without init or prft, or of several samples")
        sample = moof.samples[0]
        if sample.offset != len(self._moof) + 8 or sample.size != len(mdat) - 8:
            raise ValueError("sample and mdat differ")
        dts = moof.decode_time if moof.decode_time < 1 << 63 else moof.decode_time - (1 << 64)
        key = sample.key or moof.track is Track.AUDIO
        wall_ns, self._wall_ns, self._moof = self._wall_ns, None, b""
        return AccessUnit(moof.track, dts, dts + sample.cto, sample.duration, wall_ns, key, mdat[8:], self.epoch)


def _wall_of(prft: bytes) -> int:
    if len(prft) < 24:
        raise ValueError("prft is too short")
    ntp = int.from_bytes(prft[16:24], "big")
    seconds = (ntp >> 32) - NTP_EPOCH_S
    if seconds < _PIVOT_S:
        seconds += _NTP_ERA_S
    # The writer cut the fraction down to 2^-32 s; rounding up gives its nanoseconds back exactly.
    fraction_ns = ((ntp & 0xFFFF_FFFF) * 1_000_000_000 + (1 << 32) - 1) >> 32
    return seconds * 1_000_000_000 + fraction_ns


def _notice_of(payload: bytes) -> Notice:
    try:
        value = json.loads(payload)
        state, reason, stream = value["state"], value["reason"], value["stream"]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise ValueError("a malformed notice") from exc
    if (
        not isinstance(state, str)
        or not isinstance(reason, (dict, type(None)))
        or not isinstance(stream, (str, type(None)))
    ):
        raise ValueError("a malformed notice")
    return Notice(state[:20], reason, stream)
