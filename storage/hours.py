"""Footage by the hour: what a plan over millions of segments says, without judging every one.

Footage of one camera, class, kind, state and hour is judged by its first and its last segment. Only where these two
differ, where a hold touches some of the hour, or where nobody vouches for its date, is each segment judged by itself.

Belongs here: reading and grouping. Does not belong here: the verdict (`storage.retention`), what becomes of it
(`storage.sweeper`, `storage.plan_view`, `storage.reach_view`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, bindparam, func, select

from config.units import HOUR_MS
from storage.catalog import retention_rows
from storage.catalog.tables import segment
from storage.retention import Candidate, Planner, Verdict


class Hour(NamedTuple):
    """Segments alike in all this that ended within one hour."""

    camera_id: str
    class_name: str
    kind: str
    state: str
    date_unknown: bool
    number: int  #: hours since 1970 at which they ended
    segments: int
    bytes: int
    first_start_ms: int
    first_end_ms: int
    last_start_ms: int
    last_end_ms: int

    def verdicts(self, planner: Planner, now_ms: int, state: str | None = None) -> tuple[Verdict, Verdict] | None:
        """Of its first and its last segment, where these speak for all between them. `state`: as if it were that."""
        ends = ((self.first_start_ms, self.first_end_ms), (self.last_start_ms, self.last_end_ms))
        first, last = planner.plan(
            [
                Candidate("", self.camera_id, start_ms, end_ms, 0, self.kind, state or self.state, self.class_name)
                for start_ms, end_ms in ends
            ],
            now_ms,
        )
        alike = (first.keep, first.class_name, first.code) == (last.keep, last.class_name, last.code)
        if not alike or self.date_unknown:
            return None
        if not planner.is_held(self.camera_id, self.first_start_ms, self.last_end_ms):
            return first, last
        # A hold that touches both touches all between.
        return (first, last) if any(hold in last.held_by for hold in first.held_by) else None

    def each(self, connection: Connection) -> list[Candidate]:
        return retention_rows.of_hour(
            connection, self.camera_id, self.class_name, self.kind, self.state, self.date_unknown,
            self.number * HOUR_MS,
        )  # fmt: skip


def hours(
    connection: Connection,
    states: Collection[str],
    before_ms: int | None = None,
    cameras: Collection[str] | None = None,
) -> list[Hour]:
    """All footage of these states, or what of it ended before a moment, or that of these cameras."""
    asked: dict[str, Any] = {"states": sorted(states)}
    asked |= {} if before_ms is None else {"before_ms": before_ms}
    asked |= {} if cameras is None else {"cameras": sorted(cameras)}
    rows = connection.execute(_hours(before_ms is not None, cameras is not None), asked)
    return [Hour(row[0], row[1], row[2], row[3], bool(row[4]), *(int(value) for value in row[5:])) for row in rows]


@cache
def _hours(until: bool, of_cameras: bool) -> Select[Any]:
    number = (segment.c.end_ms // HOUR_MS).label("number")
    unknown = (segment.c.time_trust == "unknown").label("date_unknown")
    same = (segment.c.camera_id, segment.c.class_, segment.c.kind, segment.c.state, unknown, number)
    query = (
        select(
            *same,
            func.count(),
            func.sum(segment.c.bytes),
            func.min(segment.c.start_ms),
            func.min(segment.c.end_ms),
            func.max(segment.c.start_ms),
            func.max(segment.c.end_ms),
        )
        .where(segment.c.state.in_(bindparam("states", expanding=True)))
        .group_by(*same)
    )
    if until:
        query = query.where(segment.c.end_ms < bindparam("before_ms"))
    if of_cameras:
        query = query.where(segment.c.camera_id.in_(bindparam("cameras", expanding=True)))
    return query


Span = tuple[int, int]


def open_stretches(
    found: Iterable[Hour], planner: Planner, now_ms: int
) -> tuple[list[Span], list[tuple[Verdict, int]]]:
    """(stretches of full hours in which some segment of known date may go, (verdict, count) of what is kept outside of
    them). Whoever looks for what is due need not look elsewhere."""
    unsure: set[int] = set()
    kept: list[tuple[int, Verdict, int]] = []
    for hour in found:
        if hour.date_unknown:
            continue
        ends = hour.verdicts(planner, now_ms)
        if ends is None or not ends[0].keep:
            unsure.add(hour.number)
        else:
            kept.append((hour.number, ends[0], hour.segments))
    stretches: list[Span] = []
    for number in sorted(unsure):
        if stretches and stretches[-1][1] == number * HOUR_MS:
            stretches[-1] = (stretches[-1][0], (number + 1) * HOUR_MS)
        else:
            stretches.append((number * HOUR_MS, (number + 1) * HOUR_MS))
    return stretches, [(verdict, count) for number, verdict, count in kept if number not in unsure]
