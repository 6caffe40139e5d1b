"""The Clock port: the only door to time for every process (DESIGN §4).

Pure modules never use it: they take ``now`` as an argument. Shells hold one `Clock` and pass values on.
Wall time is UTC and may step; monotonic time never goes back and has no meaning outside the process.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01T00:00:00Z."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary point; steady."""
        ...


class SystemClock:
    """The machine's clocks."""

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


class ManualClock:
    """A clock that moves when told, for tests: both hands move together unless `step_wall` is used."""

    def __init__(self, wall_ns: int = 1_790_000_000_000_000_000) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = 1_000_000_000

    def wall_ns(self) -> int:
        return self._wall_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        self._wall_ns += round(seconds * 1e9)
        self._monotonic_ns += round(seconds * 1e9)

    def step_wall(self, seconds: float) -> None:
        """The wall clock alone jumps, as under NTP or an administrator's hand."""
        self._wall_ns += round(seconds * 1e9)


def wall_ms(clock: Clock) -> int:
    """`clock`'s wall time in whole milliseconds, the unit of the catalog."""
    return clock.wall_ns() // 1_000_000
