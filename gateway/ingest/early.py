"""The newest pictures of a stream that another process still records. (pure)

Belongs here: what is kept from before a take-over, and where it goes on. Does not belong here: when that happens
(`gateway.ingest.fleet`), writing (`gateway.ingest.recording`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import dropwhile, islice

from storage.media.access_unit import AccessUnit

#: Kept at most, from a key frame on.
EARLY_NS, EARLY_BYTES = 12 * 1_000_000_000, 24 << 20
#: A picture that two processes date differently by the jitter of arrival.
SAME_PICTURE_MS = 20


class EarlyUnits:
    """Units from a key frame on, the oldest group of pictures forgotten first."""

    def __init__(self) -> None:
        self._units: deque[AccessUnit] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._units)

    def keep(self, unit: AccessUnit) -> bool:
        """False for what comes before the first key frame."""
        if not (self._units or unit.opens_group):
            return False
        self._units.append(unit)
        self._bytes += len(unit.data)
        if self._bytes > EARLY_BYTES:
            self.clear()
        elif unit.wall_ns - self._units[0].wall_ns > EARLY_NS:
            self._forget_a_group()
        return True

    def clear(self) -> None:
        self._units.clear()
        self._bytes = 0

    def since(self, accounted_ms: int) -> Iterator[AccessUnit]:
        """From the first key frame that whoever has written up to `accounted_ms` does not have."""
        known_ms = accounted_ms - SAME_PICTURE_MS
        return dropwhile(lambda unit: not (unit.opens_group and unit.wall_ns // 1_000_000 >= known_ms), self._units)

    def _forget_a_group(self) -> None:
        if not any(unit.opens_group for unit in islice(self._units, 1, None)):
            return
        while True:
            self._bytes -= len(self._units.popleft().data)
            if self._units[0].opens_group:
                return
