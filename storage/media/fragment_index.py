"""The fragment index: where each fragment of a segment lies, kept in the segment's row. (pure)

Belongs here: `FragmentEntry` and its compact bytes. Does not belong here: finding fragments in a file
(`storage.media.boxes`), choosing those of a window (`storage.media.playback_index`).

Format, version 1: byte 1; varint count; per fragment: varint flags (bit 0 audio, bit 1 key, bit 2 "offset follows"),
varint size, signed varint start minus the expected start of its track, varint duration, varint samples. A fragment
normally begins where the last one ended, so offsets cost nothing; a segment of 60 s takes about 0.5 kB.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from storage.media.access_unit import Track

VERSION = 1
#: Above 10 min of the shortest fragments of two tracks; a row that claims more is damaged.
ENTRIES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class FragmentEntry:
    """One `moof`+`mdat` of a segment."""

    offset: int  #: bytes from the start of the object
    size: int  #: bytes of moof and mdat
    track: Track
    start: int  #: ticks of the track's timescale since the segment's first picture; late audio may be negative
    duration: int  #: ticks
    key: bool  #: a decoder may start at its first sample; True for every audio fragment
    samples: int

    @property
    def end(self) -> int:
        return self.start + self.duration


def _put(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


class _Reader:
    __slots__ = ("_data", "_pos")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0

    def varint(self) -> int:
        value = shift = 0
        while True:
            if self._pos >= len(self._data) or shift > 63:
                raise ValueError("fragment index is damaged")
            byte = self._data[self._pos]
            self._pos += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def signed(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def finish(self) -> None:
        if self._pos != len(self._data):
            raise ValueError("fragment index is damaged")


def encode(entries: Iterable[FragmentEntry]) -> bytes:
    """Compact bytes of `entries`; `decode` gives them back equal."""
    body = bytearray()
    count = position = 0
    expected = {Track.VIDEO: 0, Track.AUDIO: 0}
    for entry in entries:
        if min(entry.offset, entry.size, entry.duration, entry.samples) < 0:
            raise ValueError("negative value in a fragment entry")
        explicit = entry.offset != position
        _put(body, (entry.track is Track.AUDIO) | entry.key << 1 | explicit << 2)
        if explicit:
            _put(body, entry.offset)
        _put(body, entry.size)
        delta = entry.start - expected[entry.track]
        _put(body, delta << 1 if delta >= 0 else (-delta << 1) - 1)
        _put(body, entry.duration)
        _put(body, entry.samples)
        position = entry.offset + entry.size
        expected[entry.track] = entry.end
        count += 1
    head = bytearray((VERSION,))
    _put(head, count)
    return bytes(head + body)


def decode(data: bytes) -> tuple[FragmentEntry, ...]:
    """The entries of `encode`; anything else raises ValueError."""
    if data[:1] != bytes((VERSION,)):
        raise ValueError("unknown version of the fragment index")
    r = _Reader(data[1:])
    count = r.varint()
    if count > ENTRIES_MAX:
        raise ValueError("fragment index is damaged")
    entries: list[FragmentEntry] = []
    position = 0
    expected = {Track.VIDEO: 0, Track.AUDIO: 0}
    for _ in range(count):
        flags = r.varint()
        if flags > 7:
            raise ValueError("fragment index is damaged")
        track = Track.AUDIO if flags & 1 else Track.VIDEO
        offset = r.varint() if flags & 4 else position
        size, start = r.varint(), r.signed() + expected[track]
        entry = FragmentEntry(offset, size, track, start, r.varint(), bool(flags & 2), r.varint())
        entries.append(entry)
        position = offset + size
        expected[track] = entry.end
    r.finish()
    return tuple(entries)
