"""That linked nodes agree with this machine's clock: told to who may delete by it (`gateway.ops.clock_evidence`)."""

from __future__ import annotations

from config.clock import Clock
from gateway.ops import clock_evidence
from storage.catalog.engine import Catalog
from storage.clock_trust import Sighting

TELL_EVERY_MS = 10 * 60_000  #: each commit wakes every process of the node
_MOVED_MS = 1000  #: the clock was set: this is told at once


class Agreement:
    """In memory, what was told last; in the catalog, what counts."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock
        self._told: Sighting | None = None

    def sighting(self) -> Sighting:
        """To be taken before the exchange: a clock that is set meanwhile must not count as agreed with."""
        return clock_evidence.sighting(self._clock)

    async def heard(self, before: Sighting) -> None:
        """A linked node has taken a signature of ours, or we one of its, since `before`."""
        told = self._told
        if told is not None:
            since_ms = before.monotonic_ms - told.monotonic_ms
            moved_ms = before.wall_ms - told.wall_ms - since_ms
            if 0 <= since_ms < TELL_EVERY_MS and abs(moved_ms) <= _MOVED_MS:
                return
        await self._catalog.awrite(lambda c: clock_evidence.agreed(c, before))
        self._told = before
