"""Retention classes: how long footage of a class stays, and which class a segment has. (pure)

A class has a floor and a ceiling (Order 799 art. 17: at least 30 days, then deletion): nothing shorter than the floor
can be set, nothing longer than the ceiling without a legal basis and a second person, and nothing beyond half a year
but by a hold. Months are of the Asia/Shanghai calendar and count from the segment's **end** (REQUIREMENTS §0.1).
"""

from __future__ import annotations

import calendar
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from config.reasons import Reason
from config.units import DAY_MS, SHANGHAI

#: Longest time for which unheld footage may outlive `keep_until` (I4): first sweep, grace, deletion.
DELETE_WITHIN_MS = 72 * 3_600_000

#: What the law says at least, by class; every other class has the first one's.
FLOOR_MONTHS = {"default": 1, "key": 3}
#: No class keeps longer, whatever the basis: what is needed beyond that is held, case by case (PIPL art. 19).
LONGEST_MONTHS = 6
MIN_DAYS_PER_MONTH = 30  #: "a month" is never less (Order 799 art. 17)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RetentionClass:
    """One row of `retention_class`."""

    name: str
    rank: int  #: the highest rank a camera had wins
    months: int | None  #: None: permanent
    min_days: int | None  #: "1 month" is never less than 30 × 24 h
    ceiling_months: int | None
    for_hold: bool  #: may only be given by a hold


@dataclass(frozen=True, slots=True)
class Membership:
    """A camera stands in an area of a class from `from_ms` until `to_ms` (None: still)."""

    class_name: str
    from_ms: int
    to_ms: int | None


def add_months_ms(moment_ms: int, months: int) -> int:
    """The same wall-clock time of Asia/Shanghai `months` later; the day is clamped to the month's last."""
    local = (_EPOCH + timedelta(milliseconds=moment_ms)).astimezone(SHANGHAI)
    index = local.month - 1 + months
    year, month = local.year + index // 12, index % 12 + 1
    day = min(local.day, calendar.monthrange(year, month)[1])
    return (local.replace(year=year, month=month, day=day) - _EPOCH) // timedelta(milliseconds=1)


def keep_until_ms(end_ms: int, class_: RetentionClass) -> int | None:
    """Until when footage that ended at `end_ms` must stay; None: for ever."""
    if class_.months is None:
        return None
    return max(add_months_ms(end_ms, class_.months), end_ms + (class_.min_days or 0) * DAY_MS)


def class_of(
    start_ms: int,
    end_ms: int,
    at_record: str,
    memberships: Iterable[Membership],
    classes: Mapping[str, RetentionClass],
) -> RetentionClass:
    """Of the classes that the camera had at any time from `start_ms` until the resulting `keep_until`, the one that
    keeps longest; the default is everybody's. Equal ones: the higher rank.

    A class that is raised moves `keep_until`, which may let a later membership count: repeated until nothing changes.
    """

    def strength(class_: RetentionClass) -> tuple[float, int]:
        until = keep_until_ms(end_ms, class_)
        return (math.inf if until is None else until, class_.rank)

    best = max(classes["default"], classes.get(at_record, classes["default"]), key=strength)
    known = [(m, classes[m.class_name]) for m in memberships if m.class_name in classes]
    while True:
        until = keep_until_ms(end_ms, best)
        raised = best
        for membership, class_ in known:
            begins_in_time = until is None or membership.from_ms < until
            stays_on = membership.to_ms is None or membership.to_ms > start_ms
            if begins_in_time and stays_on and strength(class_) > strength(raised):
                raised = class_
        if raised is best:
            return best
        best = raised


def judge_change(class_: RetentionClass, months: int, has_legal_basis: bool) -> Reason | None:
    """None when `class_` may keep `months` months; else why not. Floors are law and have no exception. Who must agree
    besides is said by `storage.approval_rules`."""
    fixed = _judge_fixed(class_)
    if fixed is not None:
        return fixed
    floor = FLOOR_MONTHS.get(class_.name, 1)
    if months < floor:
        return Reason("retention.below_floor", {"class": class_.name, "months": months, "floor": floor})
    if months > LONGEST_MONTHS:
        return Reason("retention.only_hold", {"class": class_.name, "months": months, "longest": LONGEST_MONTHS})
    if class_.ceiling_months is not None and months > class_.ceiling_months and not has_legal_basis:
        return Reason(
            "retention.above_ceiling", {"class": class_.name, "months": months, "ceiling": class_.ceiling_months}
        )
    return None


def judge_days(class_: RetentionClass, days: int) -> Reason | None:
    """The same for a length in days: below the floor, or none of whole months. None: judge its months."""
    fixed = _judge_fixed(class_)
    if fixed is not None:
        return fixed
    floor = FLOOR_MONTHS.get(class_.name, 1)
    if days < floor * MIN_DAYS_PER_MONTH:
        shown = {"class": class_.name, "days": days, "floor": floor, "floor_days": floor * MIN_DAYS_PER_MONTH}
        return Reason("retention.below_floor_days", shown)
    if days % MIN_DAYS_PER_MONTH:
        return Reason("retention.whole_months", {"class": class_.name, "days": days})
    return None


def _judge_fixed(class_: RetentionClass) -> Reason | None:
    """A class of holds, or one that keeps for ever, has no length to be changed."""
    return Reason("retention.class_fixed", {"class": class_.name}) if class_.for_hold or class_.months is None else None
