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


def _varints(data: bytes) -> list[int]:
    values: list[int] = []
    value = shift = 0
    for byte in data:
        if byte < 0x80:
            values.append(value | byte << shift)
            value = shift = 0
        else:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("fragment index is damaged")
    if shift:
        raise ValueError("fragment index is damaged")
    return values


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
    values = iter(_varints(data[1:]))
    take = values.__next__
    entries: list[FragmentEntry] = []
    position = video_end = audio_end = 0
    video, audio = Track.VIDEO, Track.AUDIO
    try:
        count = take()
        if count > ENTRIES_MAX:
            raise ValueError("fragment index is damaged")
        for _ in range(count):
            flags = take()
            if flags > 7:
                raise ValueError("fragment index is damaged")
            offset = take() if flags & 4 else position
            size, delta, duration, samples = take(), take(), take(), take()
            start = (delta >> 1) ^ -(delta & 1)
            if flags & 1:
                start += audio_end
                audio_end = start + duration
            else:
                start += video_end
                video_end = start + duration
            position = offset + size
            entries.append(
                FragmentEntry(offset, size, audio if flags & 1 else video, start, duration, flags & 2 != 0, samples)
            )
    except StopIteration:
        raise ValueError("fragment index is damaged") from None
    if next(values, None) is not None:
        raise ValueError("fragment index is damaged")
    return tuple(entries)
