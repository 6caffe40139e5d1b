"""The timeline of a camera: rows of segments and gaps become spans that a person can read. (pure)

Belongs here: which of several rows speaks for an instant, and what is said of an instant for which none does.
Does not belong here: the rows themselves (`storage.catalog`), playlists (`storage.media.playback_index`).

The spans of an answer partition the asked window: sorted, without holes, without overlap. Precedence at an instant:
footage, then expired (a manifest row outlives its bytes), then a gap row, then nothing: before `now` that is a gap too
(I5: every second is footage or a gap with a cause), after it merely the future.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

#: A hole up to this long between two pieces of footage, for which no gap row speaks, is a seam and not a gap: rows
#: carry milliseconds, and a camera may rest for a frame. Gap rows are always shown, however short.
MERGE_TOLERANCE_MS = 2_000
#: A recorder says every 5 s up to where it has written. A camera that falls silent is found within 10 s, and then a gap
#: row says why; until then its open segment is taken to reach until now.
OPEN_LAG_MS = 12_000


class SpanKind(Enum):
    FOOTAGE = "footage"
    OPEN = "open"  #: being recorded now
    EXPIRED = "expired"  #: was footage; removed by a retention rule or a person
    GAP = "gap"
    NONE = "none"  #: not yet


class Footage(NamedTuple):
    """A segment that can be played."""

    start_ms: int
    end_ms: int
    retention_class: str | None = None
    open: bool = False
    cause: str | None = None  #: `damaged`: the bytes are not what was recorded, and may play in part


@dataclass(frozen=True, slots=True)
class Gap:
    start_ms: int
    end_ms: int | None  #: None: still going on
    cause: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A manifest row: the bytes are gone, the row says that they were there."""

    start_ms: int
    end_ms: int
    cause: str | None = None


class Span(NamedTuple):
    kind: SpanKind
    from_ms: int
    to_ms: int
    cause: str | None = None
    retention_class: str | None = None


def open_end_ms(start_ms: int, last_media_ms: int, now_ms: int) -> int:
    """Up to where a segment that is being recorded since `start_ms` reaches, by the recorder's last word."""
    known_ms = max(start_ms, min(last_media_ms, now_ms))
    return now_ms if now_ms - known_ms <= OPEN_LAG_MS else known_ms


class _Layer:
    """Pieces of one kind of row; `at` tells the newest that covers an instant. Instants must not go back."""

    def __init__(self, pieces: Iterable[tuple[int, int, tuple[SpanKind, str | None, str | None]]]) -> None:
        self._waiting: list[tuple[int, int, tuple[SpanKind, str | None, str | None]]] = []
        for start, end, said in sorted((piece for piece in pieces if piece[0] < piece[1]), key=lambda piece: piece[0]):
            if self._waiting and start <= self._waiting[-1][1] and said == self._waiting[-1][2]:
                # A day is some 1 400 segments that say the same, each where the one before it ends. Nothing began in
                # between that could have been newer than the first and older than the second.
                first, until, _ = self._waiting[-1]
                self._waiting[-1] = (first, max(until, end), said)
            else:
                self._waiting.append((start, end, said))
        self._next = 0
        self._active: list[tuple[int, int, int]] = []  #: (-start, number, end)

    @property
    def edges(self) -> Iterable[int]:
        return (edge for start, end, _ in self._waiting for edge in (start, end))

    def at(self, instant: int) -> tuple[SpanKind, str | None, str | None] | None:
        if not self._active and (self._next == len(self._waiting) or self._waiting[self._next][0] > instant):
            return None
        while self._next < len(self._waiting) and self._waiting[self._next][0] <= instant:
            start, end, _ = self._waiting[self._next]
            heapq.heappush(self._active, (-start, -self._next, end))
            self._next += 1
        while self._active and self._active[0][2] <= instant:
            heapq.heappop(self._active)
        return self._waiting[-self._active[0][1]][2] if self._active else None


def build_timeline(
    segments: Iterable[Footage],
    gaps: Iterable[Gap],
    from_ms: int,
    to_ms: int,
    now_ms: int,
    removed: Iterable[Removed] = (),
    uncovered_cause: str = "unknown",
    merge_tolerance_ms: int = MERGE_TOLERANCE_MS,
) -> list[Span]:
    """Spans that partition ``[from_ms, to_ms)``.

    Give rows up to `merge_tolerance_ms` outside the window as well, or a seam that lies across its edge shows as a gap.
    `uncovered_cause` is said of the past for which no row speaks.
    """
    if to_ms <= from_ms:
        return []
    footage = _Layer(
        (s.start_ms, s.end_ms, (SpanKind.OPEN if s.open else SpanKind.FOOTAGE, s.cause, s.retention_class))
        for s in segments
    )
    expired = _Layer((r.start_ms, r.end_ms, (SpanKind.EXPIRED, r.cause, None)) for r in removed)
    missing = _Layer(
        (g.start_ms, now_ms if g.end_ms is None else min(g.end_ms, now_ms), (SpanKind.GAP, g.cause, None)) for g in gaps
    )
    margin = merge_tolerance_ms + 1
    low, high = from_ms - margin, to_ms + margin
    layers = (footage, expired, missing)
    unexplained: _Said = (SpanKind.GAP, uncovered_cause, None, True)
    edges = sorted({low, now_ms, high, *(edge for layer in layers for edge in layer.edges)})
    pieces: list[_Piece] = []
    for start, end in itertools.pairwise(edges):
        if start < low or end > high:
            # Instants outside the window still move the layers on; they are not shown.
            for layer in layers:
                layer.at(start)
            continue
        found = footage.at(start) or expired.at(start) or missing.at(start)
        if found is not None:
            said: _Said = (*found, False)
        else:
            said = (SpanKind.NONE, None, None, False) if start >= now_ms else unexplained
        if pieces and pieces[-1][2] == said:
            pieces[-1] = (pieces[-1][0], end, said)
        else:
            pieces.append((start, end, said))
    spans: list[Span] = []
    for start, end, (kind, cause, class_, _) in _close_seams(pieces, now_ms, merge_tolerance_ms):
        if end > from_ms and start < to_ms:
            spans.append(Span(kind, max(start, from_ms), min(end, to_ms), cause, class_))
    return spans


#: What is said of an instant: kind, cause, class, and whether no row speaks for it.
_Said = tuple[SpanKind, str | None, str | None, bool]
_Piece = tuple[int, int, _Said]
_PICTURES = (SpanKind.FOOTAGE, SpanKind.OPEN)


def _close_seams(pieces: Sequence[_Piece], now_ms: int, tolerance_ms: int) -> list[_Piece]:
    """Holes that nobody explains and that are short become part of the footage before them; alike neighbours join."""
    joined: list[_Piece] = []
    for index, (start, end, said) in enumerate(pieces):
        kind, cause, class_, is_unexplained = said
        if is_unexplained and joined and joined[-1][2][0] in _PICTURES:
            before = joined[-1][2]
            at_now = end == now_ms
            followed = index + 1 < len(pieces) and pieces[index + 1][2][0] in _PICTURES
            if end - start <= tolerance_ms and (at_now or followed):
                kind, cause, class_, _ = before
        plain = (kind, cause, class_, False)
        if joined and joined[-1][2] == plain:
            joined[-1] = (joined[-1][0], end, plain)
        else:
            joined.append((start, end, plain))
    return joined
