"""The time that footage is dated by: it never goes back over what has been recorded. (pure; FAULTS A25, A26, B24)

A wall clock steps: a dead battery says 1970 until the network is up, an administrator mistypes an hour, a real-time
clock that holds local time is eight hours ahead. The steady clock never does. So footage is dated by the steady clock
plus an offset, and the offset changes only by these rules:

1. The wall clock stepped forward: the offset follows, and the time between is a gap called `clock`.
2. It stepped back: nobody can know yet which reading was wrong, and two pictures must not share a second. The offset
   stays (`held`) and nears the wall clock by at most `SLEW`. The same when a recorder starts behind recorded footage.
3. The clock is found synchronised after a stretch in which it was not (or was held), and shows another time: everything
   that was recorded in the stretch is moved by the difference, in one piece, because within one boot the steady clock
   knows how it lies to the true time. Not so when that would lay it over footage from before the stretch: then 2 holds.

What a row says about it (`time_trust`): `synchronised`, `unknown`, `held`; `restamped` after 3, where the row's
`start_wall_ns` keeps the time that was believed first.

Belongs here: those decisions. Does not belong here: reading clocks (`gateway.ingest.recorded_time`), moving rows
(`storage.restamp`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from storage.segmenter import SEAM_NS

_NS = 1_000_000_000

SYNCHRONISED, UNKNOWN, HELD = "synchronised", "unknown", "held"
STEP_NS = 1 * _NS  #: less than this is closed by slewing
_DRIFT_NS = _NS // 10  #: a stretch that nears the clock is cut so often that each piece is right to this
_BEHIND_NS = _NS // 10  #: less is the last picture's duration
SLEW = 250e-6  #: of elapsed time: half of what `gateway.ingest.arrival` follows without a break


@dataclass(eq=False, slots=True)
class Era:
    """A stretch of one offset; compared by identity. `offset_ns` moves within it only by slewing."""

    from_ns: int  #: recorded time
    offset_ns: int  #: recorded time - steady time


@dataclass(frozen=True, slots=True)
class Correction:
    """Recorded times of a stretch, as they are and as they should have been."""

    from_ns: int
    pieces: tuple[tuple[int, int], ...]  #: (start, amount to add), in the order of time

    def moved_ns(self, time_ns: int) -> int:
        """Where a recorded time belongs; what a forward step jumped over falls together in one point."""
        if time_ns < self.from_ns:
            return time_ns
        index = max(i for i, (start_ns, _) in enumerate(self.pieces) if start_ns <= time_ns)
        moved = time_ns + self.pieces[index][1]
        if index + 1 < len(self.pieces):
            next_ns, next_add_ns = self.pieces[index + 1]
            moved = min(moved, next_ns + next_add_ns)
        return moved


@dataclass(frozen=True, slots=True)
class Change:
    """What a look found. Streams go over to `era` at their next key frame."""

    era: Era
    jumped_ns: int = 0  #: forward, without footage between
    correction: Correction | None = None


def floor_ns(ends_ns: Mapping[str, int], now_ns: int) -> int | None:
    """Up to where a recorder's clock, which says `now_ns`, has to wait for footage that exists; `ends_ns` by camera.

    The media clock of one camera may run ahead of ours, and what a crash left of it then ends a little after now. That
    is for this camera alone to wait for (`Segmenter.not_before`), not for the time of all others. Two cameras do not
    tell the same lie, and no lie is longer than a segment bears: such ends show that our clock itself is behind.
    """
    ordered = sorted(ends_ns.values())
    if len(ordered) > 1 and ordered[-1] - now_ns <= SEAM_NS:
        return ordered[-2]
    return ordered[-1] if ordered else None


class Timekeeper:
    """Fed with looks at both clocks, in the order of time."""

    __slots__ = ("_begun_ns", "_floor_ns", "_looked_ns", "_stretch", "era", "trust")

    def __init__(self, wall_ns: int, steady_ns: int, synchronised: bool) -> None:
        self._enter(Era(wall_ns, wall_ns - steady_ns))
        self.trust = SYNCHRONISED if synchronised else UNKNOWN
        self._stretch = [] if synchronised else [self.era]  #: eras since the clock was last certain
        self._floor_ns: int | None = None  #: nothing of the stretch may be moved before this
        self._looked_ns = steady_ns

    def limit(self, wall_ns: int, steady_ns: int, floor_ns: int | None) -> None:
        """Before the first footage. `floor_ns`: the end of what is recorded and not known to be wrong."""
        self._floor_ns = floor_ns
        if floor_ns is not None and floor_ns - wall_ns > _BEHIND_NS:
            self._enter(Era(floor_ns, floor_ns - steady_ns))
            self.trust = HELD
            self._stretch = [self.era]

    def look(self, wall_ns: int, steady_ns: int, synchronised: bool) -> Change | None:
        actual = wall_ns - steady_ns
        away = actual - self.era.offset_ns
        room = int((steady_ns - self._looked_ns) * SLEW)
        self._looked_ns = steady_ns
        now_ns = steady_ns + self.era.offset_ns
        if not synchronised and not self._stretch:
            self._doubt(now_ns)
        if synchronised and any(abs(actual - era.offset_ns) > STEP_NS for era in self._stretch):
            correction = self._correction(actual)
            if correction is not None:
                self._stretch, self.trust = [], SYNCHRONISED
                self._enter(Era(steady_ns + actual, actual))
                return Change(self.era, correction=correction)
        if abs(away) <= STEP_NS:
            self.era.offset_ns += max(-room, min(room, away))
            if synchronised:
                self._stretch = []
            self.trust = SYNCHRONISED if synchronised else UNKNOWN
            return None
        if away > 0:
            self._enter(Era(now_ns + away, actual))
            if self._stretch:
                self._stretch.append(self.era)
            self.trust = SYNCHRONISED if synchronised and not self._stretch else UNKNOWN
            return Change(self.era, jumped_ns=away)
        if not self._stretch:
            self._doubt(now_ns)
        elif self._begun_ns - self.era.offset_ns > _DRIFT_NS:
            self._enter(Era(now_ns, self.era.offset_ns))
            self._stretch.append(self.era)
        self.era.offset_ns -= min(room, -away)
        self.trust = HELD
        return None

    def _enter(self, era: Era) -> None:
        self.era = era
        self._begun_ns = era.offset_ns  #: slewing has moved it since

    def _doubt(self, now_ns: int) -> None:
        """From now on the clock is not certain; what was recorded before was, and stays where it is."""
        self._enter(Era(now_ns, self.era.offset_ns))
        self._stretch, self._floor_ns = [self.era], now_ns

    def _correction(self, actual: int) -> Correction | None:
        first = self._stretch[0]
        begins_ns = first.from_ns + actual - first.offset_ns
        if self._floor_ns is not None and begins_ns < self._floor_ns:
            return None
        return Correction(first.from_ns, tuple((era.from_ns, actual - era.offset_ns) for era in self._stretch))
