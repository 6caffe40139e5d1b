"""Reads the clocks for `gateway.ingest.timekeeping` and hands its time to everything of one recorder.

`RecordedTime` is itself a Clock, the one that a recorder's rows are dated by. Sources date units by `steady`, which
never steps; each stream adds the shift of the era it is in, and goes over to a new era at a key frame, so that a step
costs no picture.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from config.clock import Clock
from gateway.ingest.timekeeping import HELD, Change, Era, Timekeeper


class _Steady:
    """A Clock whose wall hand is the steady clock, set once."""

    def __init__(self, clock: Clock, base_ns: int) -> None:
        self._clock = clock
        self._base_ns = base_ns

    def wall_ns(self) -> int:
        return self._clock.monotonic_ns() + self._base_ns

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    def synchronised(self) -> bool | None:
        return None


@dataclass(frozen=True, slots=True)
class Now:
    """Published in one piece: a stream that sees an era has seen the changes that led to it."""

    era: Era
    trust: str
    changes: tuple[Change, ...] = ()  #: all since the start, in order


class RecordedTime:
    """`look` from one thread; everything else from any."""

    def __init__(self, clock: Clock, assume_synchronised: bool = False) -> None:
        self._clock = clock
        self._assumed = assume_synchronised
        self._lock = threading.Lock()
        self._base_ns = clock.wall_ns() - clock.monotonic_ns()
        self.steady: Clock = _Steady(clock, self._base_ns)
        self._keeper = Timekeeper(clock.wall_ns(), clock.monotonic_ns(), self.certain)
        self.now = Now(self._keeper.era, self._keeper.trust)

    @property
    def certain(self) -> bool:
        """Whether the machine's clock may be believed now."""
        return self._assumed or self._clock.synchronised() is True

    def begin(self, floor_ns: int | None) -> None:
        """Before the first footage: nothing is dated before `floor_ns`."""
        with self._lock:
            self._keeper.limit(self._clock.wall_ns(), self._clock.monotonic_ns(), floor_ns)
            self.now = Now(self._keeper.era, self._keeper.trust, self.now.changes)

    def look(self) -> Change | None:
        """Follows the machine's clock. Call it some times a second."""
        certain = self.certain
        with self._lock:
            change = self._keeper.look(self._clock.wall_ns(), self._clock.monotonic_ns(), certain)
            changes = self.now.changes if change is None else (*self.now.changes, change)
            self.now = Now(self._keeper.era, self._keeper.trust, changes)
        return change

    @property
    def held_ns(self) -> int:
        """How far recorded time runs ahead of a machine's clock that was set back; else 0."""
        return self.wall_ns() - self._clock.wall_ns() if self.now.trust == HELD else 0

    def shift_ns(self, era: Era) -> int:
        """What a unit dated by `steady` lacks in `era`."""
        return era.offset_ns - self._base_ns

    # -- a Clock -----------------------------------------------------------------------------------------------------

    def wall_ns(self) -> int:
        return self._clock.monotonic_ns() + self.now.era.offset_ns

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    def synchronised(self) -> bool | None:
        return self._clock.synchronised()
