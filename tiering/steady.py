"""A wall clock that a lease cannot be cheated with: it never runs slower than the monotonic clock.

Leases end by wall *and* monotonic time (REQUIREMENTS §3.5): a wall clock that is set back while a pull runs does not
make the pull longer. Forward steps count at once; both errors end early, never late.

A wall clock that has been ahead and is set right again would leave this one ahead for as long as the process lives, and
every lease that it dates with it. It follows when whoever may judge clocks says so, by two steps: `set_back` says
where it would go to and which leases were dated by the wrong time, and would last longer; these are ended; then
`follow`. Does not belong here: the evidence for a clock (`storage.clock_trust`), the rows (`gateway.relay.set_back`).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from config.clock import Clock
from tiering.signing import SKEW_MS

#: A step that matters. With less neither signatures nor the times of a lease are refused on the other side.
STEP_MS = SKEW_MS


@dataclass(frozen=True, slots=True)
class SetBack:
    """A clock that is to go back."""

    from_ms: int  #: what it says
    to_ms: int  #: what it shall say
    #: What was dated from here on was dated by a clock that ran ahead. 0: nobody saw when it went ahead.
    ahead_since_ms: int
    monotonic_ns: int  #: when that was so

    def outlives(self, issued_ms: int) -> bool:
        """Whether a lease with a document of that time could last longer than it was granted for."""
        return issued_ms >= self.ahead_since_ms


class SteadyClock:
    """One for all that dates or judges leases in a process. May be asked from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wall_ns = clock.wall_ns()
        self._monotonic_ns = clock.monotonic_ns()
        self._ahead_since_ns = 0
        self._line_ns: int | None = None  #: what it would say without the steps forward since then

    def now_ms(self) -> int:
        with self._lock:
            return self._now_ns() // 1_000_000

    def _now_ns(self) -> int:
        wall_ns, monotonic_ns = self._clock.wall_ns(), self._clock.monotonic_ns()
        passed_ns = monotonic_ns - self._monotonic_ns
        went_on_ns = self._wall_ns + passed_ns
        if self._line_ns is not None:
            self._line_ns += passed_ns
        elif wall_ns - went_on_ns >= STEP_MS * 1_000_000:
            self._line_ns, self._ahead_since_ns = went_on_ns, wall_ns
        self._wall_ns = max(wall_ns, went_on_ns)
        self._monotonic_ns = monotonic_ns
        return self._wall_ns

    def wall_ms(self) -> int:
        """The plain wall clock: for signatures, which the other side compares with its own."""
        return self._clock.wall_ns() // 1_000_000

    def set_back(self) -> SetBack | None:
        """Where it would go to if the wall clock is right; None: that is not behind it by a step."""
        with self._lock:
            now_ns, to_ns, since_ns = self._now_ns(), self._clock.wall_ns(), self._ahead_since_ns
            if now_ns - to_ns < STEP_MS * 1_000_000:
                return None
            if self._line_ns is None or to_ns < self._line_ns - STEP_MS * 1_000_000:
                since_ns = 0  # further back than it ever went ahead here
            else:
                to_ns = max(to_ns, self._line_ns)  # leases from before the step end by monotonic time as ever
            return SetBack(now_ns // 1_000_000, -(-to_ns // 1_000_000), since_ns // 1_000_000, self._monotonic_ns)

    def follow(self, back: SetBack) -> None:
        """Goes back. What `back.outlives` names has ended by now; what was dated since then is to end right after."""
        with self._lock:
            self._now_ns()
            self._wall_ns = back.to_ms * 1_000_000 + self._monotonic_ns - back.monotonic_ns
            self._line_ns, self._ahead_since_ns = None, 0


def is_due(last_ms: int | None, now_ms: int, every_ms: int) -> bool:
    """Whether something that is done each `every_ms` is to be done; also when its last time lies ahead, because the
    clock was set back since."""
    return last_ms is None or not 0 <= now_ms - last_ms < every_ms
