"""Will the store hold what is promised, and if not, when is it full? (pure)

Each camera adds so many bytes a day and keeps them until its class lets them go; what stands already goes day by day;
what is held stays. Counted by the latest moment of deletion (`delete_by`), so that a store that suffices on paper
suffices in the worst case.

Belongs here: the arithmetic. Does not belong here: how much a camera sends (`storage.plan_view`), how large the store
is (`gateway.ops.promise`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from config.units import DAY_MS
from storage.classes import DELETE_WITHIN_MS, RetentionClass, keep_until_ms

#: A camera of which nothing is known: 1080p, 25 pictures a second (REQUIREMENTS §4).
ASSUMED_BPS = 4_000_000
#: Nobody plans a disk for longer; permanent footage grows for ever.
HORIZON_DAYS = 400

Basis = Literal["measured", "reported", "assumed", "planned"]


@dataclass(frozen=True, slots=True)
class Inflow:
    """What `count` cameras of one class add."""

    camera_id: str | None  #: None: cameras that are only planned
    class_name: str
    count: int
    bytes_per_day: int  #: of all of them
    stay_days: int | None  #: from recording to the latest deletion; None: for ever
    basis: Basis

    def as_json(self) -> dict[str, Any]:
        return {
            "camera_id": self.camera_id,
            "class": self.class_name,
            "count": self.count,
            "bytes_per_day": self.bytes_per_day,
            "stay_days": self.stay_days,
            "basis": self.basis,
        }


@dataclass(frozen=True, slots=True)
class Forecast:
    """`days[n]` bytes stand when n days have passed."""

    now_ms: int
    days: tuple[int, ...]
    capacity_bytes: int | None  #: None: unknown
    inflow_bytes_per_day: int

    @property
    def standing_bytes(self) -> int:
        return self.days[0]

    @property
    def needed_bytes(self) -> int:
        """The most that stands at any time before the horizon."""
        return max(self.days)

    @property
    def needed_at_ms(self) -> int:
        """When that is reached first."""
        return self.now_ms + self.days.index(self.needed_bytes) * DAY_MS

    @property
    def full_ms(self) -> int | None:
        """When it no longer fits; None: never within the horizon, or unknown."""
        if self.capacity_bytes is None:
            return None
        for day, size in enumerate(self.days):
            if size > self.capacity_bytes:
                if day == 0:
                    return self.now_ms
                before = self.days[day - 1]
                return self.now_ms + (day - 1) * DAY_MS + DAY_MS * (self.capacity_bytes - before) // (size - before)
        return None


def stay_days(class_: RetentionClass, now_ms: int) -> int | None:
    """Whole days from the end of a segment to its latest deletion, at most, whenever it is recorded in the year to
    come: a month that begins in February is shorter than most. None: for ever."""
    return _longest_stay_days(class_, now_ms // DAY_MS)


@lru_cache(maxsize=64)
def _longest_stay_days(class_: RetentionClass, today: int) -> int | None:
    longest_ms = 0
    for end_ms in range(today * DAY_MS, (today + 366) * DAY_MS, DAY_MS):
        until_ms = keep_until_ms(end_ms, class_)
        if until_ms is None:
            return None
        longest_ms = max(longest_ms, until_ms - end_ms)
    return -(-(longest_ms + DELETE_WITHIN_MS) // DAY_MS)


def forecast(
    inflows: Iterable[Inflow], standing: Mapping[int | None, int], capacity_bytes: int | None, now_ms: int
) -> Forecast:
    """`standing`: days from now (1 or more) → bytes gone by then; None → bytes without an end (held, permanent)."""
    flows = list(inflows)
    last = max(
        [flow.stay_days for flow in flows if flow.stay_days is not None] + [day for day in standing if day is not None],
        default=0,
    )
    horizon = HORIZON_DAYS if any(flow.stay_days is None for flow in flows) else min(HORIZON_DAYS, last + 1)
    left = sum(standing.values())
    days = []
    for day in range(horizon + 1):
        left -= standing.get(day, 0)
        fresh = sum(flow.bytes_per_day * min(day, horizon if (s := flow.stay_days) is None else s) for flow in flows)
        days.append(left + fresh)
    return Forecast(now_ms, tuple(days), capacity_bytes, sum(flow.bytes_per_day for flow in flows))
