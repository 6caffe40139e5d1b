"""Access units out of fragments: what a late joiner gets before the present. (pure)

Belongs here: turning bytes of an open part file back into units with the times of the live stream. Does not belong
here: reading the file, sending.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage.media.access_unit import AccessUnit, Track
from storage.media.boxes import parse_moof
from storage.media.fragment_index import FragmentEntry


@dataclass(frozen=True, slots=True)
class ReplayClock:
    """How times in a segment relate to those of the live stream."""

    origin: int  #: live dts at decode time 0 of the run
    media_start: int  #: decode time of the segment's first picture
    wall_start_ns: int
    timescale: int
    epoch: int


def replay_units(data: bytes, base: int, entries: Sequence[FragmentEntry], clock: ReplayClock) -> Iterator[AccessUnit]:
    """The pictures of `entries`; `data` begins at file offset `base`. Sound is left out: it starts with the present.

    A fragment that is not whole ends the iteration: it is still being written.
    """
    for entry in entries:
        if entry.track is not Track.VIDEO:
            continue
        start = entry.offset - base
        chunk = data[start : start + entry.size]
        if len(chunk) != entry.size:
            return
        try:
            moof = parse_moof(chunk)
        except ValueError:
            return
        time = moof.decode_time
        for sample in moof.samples:
            dts = time + clock.origin
            wall_ns = clock.wall_start_ns + (time - clock.media_start) * 1_000_000_000 // clock.timescale
            body = chunk[sample.offset : sample.offset + sample.size]
            yield AccessUnit(
                Track.VIDEO, dts, dts + sample.cto, sample.duration, wall_ns, sample.key, body, clock.epoch
            )  # fmt: skip
            time += sample.duration
