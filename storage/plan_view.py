"""The plan as people read it: what stays and what goes per camera, class and reason, now, later, or under other months.

Footage is judged by the hour (`storage.hours`): a plan over millions of segments stays a matter of seconds and says the
same as judging every one.

Belongs here: adding up. Does not belong here: the verdict (`storage.retention`), who may see which camera.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.reasons import Reason
from config.units import DAY_MS
from storage.classes import MIN_DAYS_PER_MONTH, RetentionClass
from storage.hours import hours
from storage.retention import Verdict
from storage.sweeper import Policies

_STATES = ("spooled", "stored", "condemned")
#: Verdicts that keep whatever the calendar says.
_ENDLESS = frozenset({"retention.held", "retention.not_ours", "retention.unknown_class"})


@dataclass(frozen=True, slots=True)
class PlanItem:
    """Segments of one camera and class with one fate. `reason` is that of the oldest of them."""

    camera_id: str
    class_name: str
    keep: bool
    reason: Reason
    segments: int
    bytes: int
    first_ms: int
    last_ms: int
    first_due_ms: int | None  #: when the oldest of them may go; None: never, or unknown

    def as_json(self) -> dict[str, Any]:
        return {
            "camera_id": self.camera_id,
            "class": self.class_name,
            "keep": self.keep,
            "reason": self.reason.as_json(),
            "segments": self.segments,
            "bytes": self.bytes,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "first_due_ms": self.first_due_ms,
        }


def require_class(policies: Policies, class_name: str) -> RetentionClass:
    """Raises retention.class_unknown."""
    found = policies.classes.get(class_name)
    if found is None:
        known = ", ".join(policies.classes)
        raise TiergateError(Kind.NOT_FOUND, "retention.class_unknown", **{"class": class_name[:40], "known": known})
    return found


def what_if(policies: Policies, class_name: str, months: int, days: int | None = None) -> Policies:
    """The same policies with another length of one class; `days` beside whole months, also a length that is refused.
    Raises retention.class_unknown."""
    found = require_class(policies, class_name)
    changed = replace(found, months=months, min_days=months * MIN_DAYS_PER_MONTH if days is None else days)
    return replace(policies, classes={**policies.classes, class_name: changed})


def plan_view(
    connection: Connection, policies: Policies, at_ms: int, cameras: Collection[str] | None = None
) -> list[PlanItem]:
    """What the plan says at `at_ms` of all standing footage, or of that of `cameras`."""
    groups: dict[tuple[str, str, bool, str], PlanItem] = {}
    for verdict, count, size, first_ms, last_ms in _verdicts(connection, policies, at_ms, cameras):
        key = (verdict.segment.camera_id, verdict.class_name, verdict.keep, verdict.code)
        item = PlanItem(*key[:3], verdict.reason, count, size, first_ms, last_ms, verdict.keep_until_ms)
        known = groups.get(key)
        if known is not None:
            older = known if known.first_ms <= first_ms else item
            item = replace(
                older,
                segments=known.segments + count,
                bytes=known.bytes + size,
                first_ms=min(known.first_ms, first_ms),
                last_ms=max(known.last_ms, last_ms),
            )
        groups[key] = item
    return sorted(groups.values(), key=lambda i: (i.camera_id, i.keep, i.class_name, i.reason.code))


def outflow(connection: Connection, policies: Policies, now_ms: int) -> dict[int | None, int]:
    """Days from `now_ms` → bytes of standing footage that are gone by then at the latest; None: no end is known."""
    going: dict[int | None, int] = {}
    for verdict, _, size, _, _ in _verdicts(connection, policies, now_ms, None):
        due_ms = None if verdict.code in _ENDLESS else verdict.delete_by_ms
        day = None if due_ms is None else max(1, -(-(due_ms - now_ms) // DAY_MS))
        going[day] = going.get(day, 0) + size
    return going


_Judged = tuple[Verdict, int, int, int, int]


def _verdicts(
    connection: Connection, policies: Policies, at_ms: int, cameras: Collection[str] | None
) -> Iterator[_Judged]:
    for hour in hours(connection, _STATES, cameras=cameras):
        ends = hour.verdicts(policies.planner, at_ms)
        if ends is not None:
            yield ends[0], hour.segments, hour.bytes, hour.first_start_ms, hour.last_end_ms
            continue
        for verdict in policies.plan(hour.each(connection), at_ms):
            found = verdict.segment
            yield verdict, 1, found.bytes, found.start_ms, found.end_ms
