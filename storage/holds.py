"""Holds: orders that footage of a range stays, whatever its class says. (pure)

A hold is an interval of one or more cameras; it covers footage that exists, that is on its way, and that will come.
Holds are counted, not merged: the release of one never frees what another covers (REQUIREMENTS §3.3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hold:
    id: str
    cameras: frozenset[str]
    from_ms: int
    to_ms: int
    case_no: str
    released_ms: int | None = None

    def covers(self, camera_id: str, start_ms: int, end_ms: int) -> bool:
        """True when the hold stands and its range touches [start, end]: a segment is held whole or not at all."""
        return (
            self.released_ms is None and camera_id in self.cameras and start_ms <= self.to_ms and end_ms >= self.from_ms
        )


def holds_on(camera_id: str, start_ms: int, end_ms: int, holds: Iterable[Hold]) -> list[Hold]:
    return [hold for hold in holds if hold.covers(camera_id, start_ms, end_ms)]
