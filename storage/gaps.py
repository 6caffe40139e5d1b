"""Coverage: how much of a stretch is footage, what is missing and why. (pure)

Belongs here: arithmetic on spans of footage and gaps (I5). Does not belong here: who notices a gap (recorder, salvage),
the rows (`storage.catalog.gaps`), the timeline of the page (`storage.media.timeline`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from config.units import SHANGHAI

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Coverage:
    """One stretch. Footage wins where a gap row overlaps it; what neither explains is `unexplained_ms`."""

    from_ms: int
    to_ms: int
    footage_ms: int
    gaps_ms: dict[str, int] = field(default_factory=dict)  #: by cause
    unexplained_ms: int = 0
    longest_ms: int = 0
    longest_from_ms: int | None = None
    longest_cause: str | None = None  #: None while `longest_from_ms` is set: nobody knows

    @property
    def share(self) -> float | None:
        """Footage in the stretch, 0 to 1; None for an empty stretch."""
        return self.footage_ms / (self.to_ms - self.from_ms) if self.to_ms > self.from_ms else None


def merged(spans: Iterable[Span], from_ms: int, to_ms: int, join_ms: int = 0) -> list[Span]:
    """Clipped, sorted, disjoint; spans not more than `join_ms` apart become one."""
    found: list[Span] = []
    for start, end in sorted((max(a, from_ms), min(b, to_ms)) for a, b in spans):
        if start >= end:
            continue
        if found and start <= found[-1][1] + join_ms:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _free(covered: Sequence[Span], from_ms: int, to_ms: int) -> list[Span]:
    """Parts of [from_ms, to_ms) that `covered` (disjoint, sorted) does not touch."""
    left: list[Span] = []
    at = from_ms
    for low, high in covered[bisect_right(covered, from_ms, key=lambda span: span[1]) :]:
        if low >= to_ms:
            break
        if low > at:
            left.append((at, low))
        at = high
    if at < to_ms:
        left.append((at, to_ms))
    return left


#: Between two segments of one run the end of one and the start of the next are off by less than two frames.
JOIN_MS = 250


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch without footage, of one cause."""

    from_ms: int
    to_ms: int
    cause: str | None  #: None: nobody knows

    @property
    def length_ms(self) -> int:
        return self.to_ms - self.from_ms


GapSpan = tuple[int, int | None, str]  #: (from, to or None while open, cause)


def _holes(here: Sequence[Span], gaps: Iterable[GapSpan], from_ms: int, to_ms: int) -> list[Hole]:
    """All that is not `here` (disjoint, sorted), in order; where two gaps overlap, the earlier one explains."""
    found: list[Hole] = []

    def add(low: int, high: int, cause: str | None) -> None:
        for start, end in _free(here, low, high) if low < high else ():
            if found and found[-1].to_ms == start and found[-1].cause == cause:
                found[-1] = Hole(found[-1].from_ms, end, cause)
            else:
                found.append(Hole(start, end, cause))

    told = from_ms  #: up to here everything is in `found`
    for start, end, cause in sorted(gaps, key=lambda gap: gap[0]):
        high = to_ms if end is None else min(end, to_ms)
        low = max(start, told)
        if low < high:
            add(told, low, None)
            add(low, high, cause)
            told = high
    add(told, to_ms, None)
    return found


def coverage(footage: Iterable[Span], gaps: Iterable[GapSpan], from_ms: int, to_ms: int) -> Coverage:
    """`gaps`: where two overlap, the earlier one explains."""
    here = merged(footage, from_ms, to_ms, JOIN_MS)
    missing = _holes(here, gaps, from_ms, to_ms)
    by_cause: dict[str, int] = {}
    for hole in missing:
        if hole.cause is not None:
            by_cause[hole.cause] = by_cause.get(hole.cause, 0) + hole.length_ms
    longest = max(missing, key=lambda hole: hole.length_ms, default=None)
    return Coverage(
        from_ms,
        to_ms,
        footage_ms=sum(b - a for a, b in here),
        gaps_ms=by_cause,
        unexplained_ms=sum(hole.length_ms for hole in missing if hole.cause is None),
        longest_ms=longest.length_ms if longest else 0,
        longest_from_ms=longest.from_ms if longest else None,
        longest_cause=longest.cause if longest else None,
    )


#: A hole that is not longer does not count (REQUIREMENTS, table of completeness).
COUNTS_ABOVE_MS = 2_000
#: Nothing was due: the camera was switched off, or outside its windows of the week.
NOT_DUE = "disabled"


@dataclass(frozen=True, slots=True)
class Ledger:
    """One stretch of one camera: footage, what was not due, what is missing, and holes too short to count."""

    from_ms: int
    to_ms: int
    footage_ms: int
    gaps: tuple[Hole, ...]  #: in order; of holes longer than COUNTS_ABOVE_MS, each cause by itself
    not_due: tuple[Hole, ...]
    brief_ms: int

    def completeness(self, from_ms: int, to_ms: int) -> tuple[int, int]:
        """(milliseconds due, missing of them) within a part of the stretch."""
        due_ms = to_ms - from_ms - _inside(self.not_due, from_ms, to_ms)
        return due_ms, _inside(self.gaps, from_ms, to_ms)


def _inside(holes: Iterable[Hole], from_ms: int, to_ms: int) -> int:
    return sum(max(0, min(hole.to_ms, to_ms) - max(hole.from_ms, from_ms)) for hole in holes)


def ledger(footage: Iterable[Span], gaps: Iterable[GapSpan], from_ms: int, to_ms: int) -> Ledger:
    """A hole that changes its cause midway is one hole: it counts by its whole length within the stretch."""
    here = merged(footage, from_ms, to_ms, JOIN_MS)
    not_due: list[Hole] = []
    together: list[list[Hole]] = []
    for hole in _holes(here, gaps, from_ms, to_ms):
        if hole.cause == NOT_DUE:
            not_due.append(hole)
        elif together and together[-1][-1].to_ms == hole.from_ms:
            together[-1].append(hole)
        else:
            together.append([hole])
    counted: list[Hole] = []
    brief_ms = 0
    for parts in together:
        length_ms = parts[-1].to_ms - parts[0].from_ms
        if length_ms > COUNTS_ABOVE_MS:
            counted += parts
        else:
            brief_ms += length_ms
    return Ledger(from_ms, to_ms, sum(b - a for a, b in here), tuple(counted), tuple(not_due), brief_ms)


def days(from_ms: int, to_ms: int) -> list[tuple[str, int, int]]:
    """(date, from, to) of each day of Asia/Shanghai that [from_ms, to_ms) touches, clipped to it."""
    found: list[tuple[str, int, int]] = []
    at = from_ms
    while at < to_ms:
        local = (_EPOCH + timedelta(milliseconds=at)).astimezone(SHANGHAI)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        end = min(to_ms, (midnight - _EPOCH) // timedelta(milliseconds=1))
        found.append((local.date().isoformat(), at, end))
        at = end
    return found
