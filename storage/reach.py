"""How far back footage reaches, against what its class promises; and when that promise will be broken. (pure)

A promise counts from the registration: a camera of ten days cannot have thirty. It is broken by footage that is gone
before its time, and by gaps that exceed a share of it; what the disk does to it is `storage.forecast`'s to say.

Belongs here: the arithmetic. Does not belong here: reading (`storage.reach_view`), sentences (`gateway.ops.promise`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from config.units import DAY_MS
from storage.classes import FLOOR_MONTHS, MIN_DAYS_PER_MONTH, Membership, RetentionClass, class_of, keep_until_ms

#: Nobody looks back farther, not even for a class without an end.
HORIZON_MS = 400 * DAY_MS
#: More of the promised time may not be missing (REQUIREMENTS: a camera-day is in order from 95 % on).
MOST_MISSING = 0.05

State = Literal["none", "growing", "kept", "broken"]


def promised_since_ms(class_: RetentionClass, now_ms: int) -> int:
    """The earliest end of footage that the class keeps at `now_ms`."""
    if class_.months is None:
        return now_ms - HORIZON_MS
    low, high = now_ms - (max(class_.min_days or 0, 31 * class_.months) + 1) * DAY_MS, now_ms
    while low + 1 < high:
        middle = (low + high) // 2
        until_ms = keep_until_ms(middle, class_)
        if until_ms is None or until_ms > now_ms:
            high = middle
        else:
            low = middle
    return high


def due_since_ms(memberships: Sequence[Membership], classes: Mapping[str, RetentionClass], now_ms: int) -> int:
    """From when on all footage of a camera must still be there.

    Later than its class of today promises where the class was raised: what had expired before is not asked back.
    """
    today = class_of(now_ms, now_ms, "default", memberships, classes)
    floor_ms = promised_since_ms(today, now_ms)
    if not memberships:
        return floor_ms

    def is_due(end_ms: int) -> bool:
        until_ms = keep_until_ms(end_ms, class_of(end_ms, end_ms, "default", memberships, classes))
        return until_ms is None or until_ms > now_ms

    high = now_ms
    while high > floor_ms:
        low = max(floor_ms, high - DAY_MS)
        if is_due(low):
            high = low
            continue
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if is_due(middle) else (middle, high)
        return high
    return floor_ms


def went_early(end_ms: int, class_: RetentionClass, gone_ms: int) -> bool:
    """Footage was deleted before the law's own floor of its class: no policy, old or new, can have allowed it."""
    months = FLOOR_MONTHS.get(class_.name, 1)
    least = RetentionClass(class_.name, class_.rank, months, months * MIN_DAYS_PER_MONTH, None, class_.for_hold)
    until_ms = keep_until_ms(end_ms, least)
    return until_ms is not None and gone_ms < until_ms


@dataclass(frozen=True, slots=True)
class Reach:
    """How far back one camera's footage reaches. `state`: ``growing``: nothing is lost, but it is not that old yet."""

    camera_id: str
    class_name: str
    registered_ms: int
    promised_since_ms: int  #: by the class of today
    due_since_ms: int  #: by what the camera's classes were, and not before it was registered
    attained_since_ms: int | None  #: from here on nothing is gone; None: there is nothing
    state: State
    lost_segments: int = 0

    def attained_ms(self, now_ms: int) -> int | None:
        return None if self.attained_since_ms is None else max(0, now_ms - self.attained_since_ms)


def judge_reach(
    due_ms: int, oldest_ms: int | None, before_ms: int | None, lost_to_ms: int | None, after_lost_ms: int | None
) -> tuple[State, int | None]:
    """(state, from when on nothing is gone).

    `oldest_ms`: start of the oldest footage after `due_ms`; `before_ms`: end of whatever was recorded before that;
    `lost_to_ms`: end of the newest footage that is gone before its time; `after_lost_ms`: start of what follows it.
    """
    if lost_to_ms is not None and lost_to_ms > due_ms:
        return "broken", after_lost_ms
    if oldest_ms is None:
        return "none", None
    if oldest_ms <= due_ms or (before_ms is not None and before_ms <= due_ms):
        return "kept", due_ms
    return "growing", oldest_ms


def gaps_break_ms(missing_ms: int, recent_ms: int, recent_of_ms: int, promised_ms: int, now_ms: int) -> int | None:
    """When more than MOST_MISSING of the promised time is missing; None: not at the rate of late.

    `missing_ms` of all promised time, `recent_ms` of the last `recent_of_ms`. Old gaps that leave the promised time
    meanwhile are not counted in its favour: a warning may come early, never late.
    """
    most_ms = int(promised_ms * MOST_MISSING)
    if missing_ms > most_ms:
        return now_ms
    if recent_of_ms <= 0 or recent_ms <= recent_of_ms * MOST_MISSING:
        return None
    return now_ms + (most_ms - missing_ms) * recent_of_ms // recent_ms
