"""Coverage: how much of a stretch is footage, what is missing and why. (pure)

Belongs here: arithmetic on spans of footage and gaps (I5). Does not belong here: who notices a gap (recorder, salvage),
the rows (`storage.catalog.gaps`), the timeline of the page (`storage.media.timeline`).
"""

from __future__ import annotations

from collections.abc import Iterable
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


def without(spans: Iterable[Span], covered: list[Span]) -> list[Span]:
    """Parts of disjoint sorted `spans` that `covered` (disjoint, sorted) does not touch."""
    left: list[Span] = []
    for start, end in spans:
        at = start
        for low, high in covered:
            if high <= at:
                continue
            if low >= end:
                break
            if low > at:
                left.append((at, low))
            at = high
        if at < end:
            left.append((at, end))
    return left


#: Between two segments of one run the end of one and the start of the next are off by less than two frames.
JOIN_MS = 250


def coverage(
    footage: Iterable[Span], gaps: Iterable[tuple[int, int | None, str]], from_ms: int, to_ms: int
) -> Coverage:
    """`gaps` are (from, to or None while open, cause); where two overlap, the earlier one explains."""
    here = merged(footage, from_ms, to_ms, JOIN_MS)
    explained: list[Span] = list(here)
    missing: list[tuple[int, int, str | None]] = []
    for start, end, cause in sorted(gaps, key=lambda g: g[0]):
        whole = merged([(start, to_ms if end is None else end)], from_ms, to_ms)
        for a, b in without(whole, explained):
            missing.append((a, b, cause))
        explained = merged([*explained, *whole], from_ms, to_ms)
    missing += [(a, b, None) for a, b in without([(from_ms, to_ms)] if to_ms > from_ms else [], explained)]
    by_cause: dict[str, int] = {}
    for a, b, why in missing:
        if why is not None:
            by_cause[why] = by_cause.get(why, 0) + b - a
    longest = max(missing, key=lambda m: m[1] - m[0], default=None)
    return Coverage(
        from_ms,
        to_ms,
        footage_ms=sum(b - a for a, b in here),
        gaps_ms=by_cause,
        unexplained_ms=sum(b - a for a, b, why in missing if why is None),
        longest_ms=longest[1] - longest[0] if longest else 0,
        longest_from_ms=longest[0] if longest else None,
        longest_cause=longest[2] if longest else None,
    )


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
