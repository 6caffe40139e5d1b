"""A wall clock that a lease cannot be cheated with: it never runs slower than the monotonic clock.

Leases end by wall *and* monotonic time (REQUIREMENTS §3.5): a wall clock that is set back while a pull runs does not
make the pull longer. Forward steps count at once; both errors end early, never late.
"""

from __future__ import annotations

from config.clock import Clock


class SteadyClock:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall_ns = clock.wall_ns()
        self._monotonic_ns = clock.monotonic_ns()

    def now_ms(self) -> int:
        wall_ns, monotonic_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        self._wall_ns = max(wall_ns, self._wall_ns + monotonic_ns - self._monotonic_ns)
        self._monotonic_ns = monotonic_ns
        return self._wall_ns // 1_000_000

    def wall_ms(self) -> int:
        """The plain wall clock: for signatures, which the other side compares with its own."""
        return self._clock.wall_ns() // 1_000_000
