"""Rows that the retention plan reads: classes, memberships, holds, candidates; and the moves of a deletion.

What each sweep asks is built once (see `storage.catalog.facts`).

Belongs here: statements. Does not belong here: any opinion about what may go (`storage.retention`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    bindparam,
    func,
    insert,
    literal,
    literal_column,
    not_,
    select,
    tuple_,
    update,
)

from config.units import HOUR_MS
from storage.catalog.tables import area, area_camera, hold, hold_camera, retention_class, segment
from storage.classes import Membership, RetentionClass
from storage.holds import Hold
from storage.retention import Candidate

_CLASSES = select(retention_class).order_by(retention_class.c.rank)
_MEMBERSHIPS = select(
    area_camera.c.camera_id,
    area_camera.c.from_ms,
    area_camera.c.to_ms,
    area.c.class_,
    area.c.valid_from_ms,
    area.c.valid_to_ms,
).join(area, area.c.id == area_camera.c.area_id)
_HOLDS = select(hold).order_by(hold.c.created_ms)
_STANDING_HOLDS = _HOLDS.where(hold.c.released_ms.is_(None))
_HELD_CAMERAS = select(hold_camera).order_by(hold_camera.c.camera_id)


def classes(connection: Connection) -> dict[str, RetentionClass]:
    rows = connection.execute(_CLASSES)
    return {r.name: RetentionClass(r.name, r.rank, r.months, r.min_days, r.ceiling_months, r.for_hold) for r in rows}


def set_class_months(connection: Connection, name: str, months: int, min_days: int, now_ms: int) -> None:
    connection.execute(
        update(retention_class)
        .where(retention_class.c.name == name)
        .values(months=months, min_days=min_days, effective_ms=now_ms)
    )


def memberships(connection: Connection, camera_ids: Iterable[str] | None = None) -> dict[str, list[Membership]]:
    """Per camera, each stretch in an area with a class: the overlap of the membership's and the area's own validity."""
    query = _MEMBERSHIPS
    if camera_ids is not None:
        query = query.where(area_camera.c.camera_id.in_(list(camera_ids)))
    found: dict[str, list[Membership]] = {}
    for row in connection.execute(query):
        stretch = _stretch(row)
        if stretch is not None:
            found.setdefault(row.camera_id, []).append(stretch)
    return found


def _stretch(row: Any) -> Membership | None:
    ends = [t for t in (row.to_ms, row.valid_to_ms) if t is not None]
    from_ms, to_ms = max(row.from_ms, row.valid_from_ms), min(ends) if ends else None
    return Membership(row.class_, from_ms, to_ms) if to_ms is None or to_ms > from_ms else None


@dataclass(frozen=True, slots=True)
class AreaStay:
    """A stretch of a camera in an area, and the document that made the area."""

    area_id: str
    name: str
    document_no: str
    class_name: str
    from_ms: int
    to_ms: int | None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.area_id,
            "name": self.name,
            "document_no": self.document_no,
            "class": self.class_name,
            "from_ms": self.from_ms,
            "to_ms": self.to_ms,
        }


def area_stays(connection: Connection, camera_id: str) -> list[AreaStay]:
    """Every stretch in an area, oldest first."""
    query = _MEMBERSHIPS.add_columns(area.c.id, area.c.name, area.c.document_no)
    found = [
        AreaStay(row.id, row.name, row.document_no, row.class_, stretch.from_ms, stretch.to_ms)
        for row in connection.execute(query.where(area_camera.c.camera_id == camera_id))
        if (stretch := _stretch(row)) is not None
    ]
    return sorted(found, key=lambda stay: (stay.from_ms, stay.area_id))


@dataclass(frozen=True, slots=True)
class HoldRow:
    """A hold with everything a person wants to know about it."""

    id: str
    cameras: tuple[str, ...]
    from_ms: int
    to_ms: int
    owner: str
    reason: str
    case_no: str
    approver: str | None
    class_name: str
    review_ms: int
    created_ms: int
    released_ms: int | None
    released_by: str | None

    def rule(self) -> Hold:
        return Hold(self.id, frozenset(self.cameras), self.from_ms, self.to_ms, self.case_no, self.released_ms)


def holds(connection: Connection, standing_only: bool = True) -> list[HoldRow]:
    rows = connection.execute(_STANDING_HOLDS if standing_only else _HOLDS).all()
    cameras: dict[str, list[str]] = {}
    for link in connection.execute(_HELD_CAMERAS):
        cameras.setdefault(link.hold_id, []).append(link.camera_id)
    return [
        HoldRow(
            r.id, tuple(cameras.get(r.id, ())), r.from_ms, r.to_ms, r.owner, r.reason, r.case_no, r.approver,
            r.class_, r.review_ms, r.created_ms, r.released_ms, r.released_by,
        )
        for r in rows
    ]  # fmt: skip


#: Written out: the index of these few is used only for the condition that it was made with.
DATE_UNKNOWN = segment.c.time_trust == literal_column("'unknown'")


def add_hold(connection: Connection, row: HoldRow) -> None:
    connection.execute(
        insert(hold).values(
            id=row.id,
            from_ms=row.from_ms,
            to_ms=row.to_ms,
            owner=row.owner,
            reason=row.reason,
            case_no=row.case_no,
            approver=row.approver,
            class_=row.class_name,
            review_ms=row.review_ms,
            created_ms=row.created_ms,
        )
    )
    connection.execute(insert(hold_camera), [{"hold_id": row.id, "camera_id": c} for c in row.cameras])
    _rescue(connection, row)


def _rescue(connection: Connection, row: HoldRow) -> None:
    """Condemned footage that the hold touches stands again: a hold placed within the grace wins.

    Footage of unknown date may be of any time before it was first seen (`storage.retention.Planner`).
    """
    dated = (segment.c.start_ms <= row.to_ms) & (segment.c.end_ms >= row.from_ms)
    touched = (not_(DATE_UNKNOWN) & dated) | (DATE_UNKNOWN & (segment.c.aged_from_ms >= row.from_ms))
    connection.execute(
        update(segment)
        .where(segment.c.state == "condemned", segment.c.camera_id.in_(row.cameras), touched)
        .values(state="stored", condemned_ms=None, delete_reason=None)
    )


def approve_hold(connection: Connection, hold_id: str, approver: str) -> bool:
    """False when there is no such standing hold."""
    done = connection.execute(
        update(hold).where(hold.c.id == hold_id, hold.c.released_ms.is_(None)).values(approver=approver)
    )
    return done.rowcount == 1


def release_hold(connection: Connection, hold_id: str, by: str, now_ms: int) -> bool:
    """False when there is no such standing hold."""
    return _release(connection, by, now_ms, hold.c.id == hold_id)


def lapse_hold(connection: Connection, hold_id: str, by: str, now_ms: int) -> bool:
    """As `release_hold`, but never one that has an approver."""
    return _release(connection, by, now_ms, hold.c.id == hold_id, hold.c.approver.is_(None))


def _release(connection: Connection, by: str, now_ms: int, *which: ColumnElement[bool]) -> bool:
    done = connection.execute(
        update(hold).where(*which, hold.c.released_ms.is_(None)).values(released_ms=now_ms, released_by=by)
    )
    return done.rowcount == 1


#: In the order of the fields of `Candidate`.
_CANDIDATE = (
    segment.c.id,
    segment.c.camera_id,
    segment.c.start_ms,
    segment.c.end_ms,
    segment.c.bytes,
    segment.c.kind,
    segment.c.state,
    segment.c.class_,
    segment.c.condemned_ms,
    (segment.c.time_trust == "unknown").label("date_unknown"),
    segment.c.aged_from_ms,
)


_UNSEEN = (
    select(segment.c.id).where(DATE_UNKNOWN, segment.c.aged_from_ms.is_(None)).limit(bindparam("most", type_=Integer))
)
_AGE = update(segment).where(segment.c.id.in_(_UNSEEN)).values(aged_from_ms=bindparam("now_ms"))


def age_from(connection: Connection, now_ms: int, limit: int) -> int:
    """Footage of unknown date that was not seen before ages from `now_ms` on; how much there was, up to `limit`."""
    return connection.execute(_AGE, {"now_ms": now_ms, "most": limit}).rowcount


def candidates(
    connection: Connection,
    state: str,
    before_ms: int,
    after: tuple[int, str] | None,
    limit: int,
    date_unknown: bool = False,
) -> list[Candidate]:
    """Segments of one state that ended, or of unknown date age, from before a moment, oldest first, paged by
    (that time, id)."""
    asked: dict[str, Any] = {"of": state, "before_ms": before_ms, "most": limit}
    if after is not None:
        asked |= {"after_ms": after[0], "after_id": after[1]}
    query = _candidates(date_unknown, from_the_start=after is None)
    return [Candidate(*row) for row in connection.execute(query, asked)]


@cache
def _candidates(date_unknown: bool, *, from_the_start: bool) -> Select[Any]:
    by = segment.c.aged_from_ms if date_unknown else segment.c.end_ms
    query = select(*_CANDIDATE).where(by < bindparam("before_ms")).order_by(by, segment.c.id)
    query = query.limit(bindparam("most", type_=Integer))
    if date_unknown:
        # They are few, and have an index of their own. SQLite would rather walk through all footage of the state, so
        # the state is hidden from its planner.
        query = query.where(DATE_UNKNOWN, func.coalesce(segment.c.state, "") == bindparam("of"))
    else:
        query = query.where(not_(DATE_UNKNOWN), segment.c.state == bindparam("of"))
    if from_the_start:
        return query
    # As a pair: written out as "later, or as late and a higher id", SQLite begins each page at the oldest row again.
    return query.where(tuple_(by, segment.c.id) > tuple_(bindparam("after_ms"), bindparam("after_id")))


def segment_at(connection: Connection, camera_id: str, at_ms: int) -> Candidate | None:
    row = connection.execute(
        select(*_CANDIDATE)
        .where(segment.c.camera_id == camera_id, segment.c.start_ms <= at_ms, segment.c.end_ms >= at_ms)
        .order_by(segment.c.start_ms.desc())
        .limit(1)
    ).first()
    return None if row is None else Candidate(*row)


def of_hour(
    connection: Connection, camera_id: str, class_name: str, kind: str, state: str, date_unknown: bool, hour_ms: int
) -> list[Candidate]:
    """Segments alike in all this that ended within the hour from `hour_ms`."""
    query = select(*_CANDIDATE).where(
        segment.c.camera_id == camera_id,
        segment.c.class_ == class_name,
        segment.c.kind == kind,
        segment.c.state == state,
        (segment.c.time_trust == "unknown") == date_unknown,
        segment.c.end_ms >= hour_ms,
        segment.c.end_ms < hour_ms + HOUR_MS,
    )
    return [Candidate(*row) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Deletion:
    """How far the deletion of a segment has come."""

    condemned_ms: int | None
    deleted_ms: int | None
    reason: dict[str, Any] | None  #: config.reasons.Reason.as_json of the plan that condemned it


def deletion_of(connection: Connection, segment_id: str) -> Deletion:
    row = connection.execute(
        select(segment.c.condemned_ms, segment.c.deleted_ms, segment.c.delete_reason).where(segment.c.id == segment_id)
    ).one()
    return Deletion(*row)


def footage_in(
    connection: Connection, camera_ids: Iterable[str], from_ms: int, to_ms: int
) -> dict[str, tuple[int, int]]:
    """Per state: how many segments of the cameras touch a range, and their bytes."""
    rows = connection.execute(
        select(segment.c.state, func.count(), func.sum(segment.c.bytes))
        .where(segment.c.camera_id.in_(list(camera_ids)), segment.c.start_ms <= to_ms, segment.c.end_ms >= from_ms)
        .group_by(segment.c.state)
    )
    return {state: (int(count), int(size)) for state, count, size in rows}


def segments_by_id(connection: Connection, ids: Sequence[str]) -> list[Candidate]:
    return [Candidate(*row) for row in connection.execute(select(*_CANDIDATE).where(segment.c.id.in_(ids)))]


def standing_count(connection: Connection) -> int:
    """Own segments that exist."""
    return int(
        connection.execute(
            select(func.count()).select_from(segment).where(segment.c.state.in_(("spooled", "stored", "condemned")))
        ).scalar_one()
    )


def condemn(connection: Connection, ids: Sequence[str], reasons: dict[str, Any], now_ms: int) -> None:
    change = (
        update(segment)
        .where(segment.c.id == bindparam("one"), segment.c.state == "stored")
        .values(state="condemned", condemned_ms=now_ms, delete_reason=bindparam("why"))
    )
    connection.execute(change, [{"one": id_, "why": reasons[id_]} for id_ in ids])


def move(connection: Connection, ids: Sequence[str], from_state: str, to_state: str, **values: Any) -> int:
    """Changes the state of those rows that are still in `from_state`; how many were."""
    done = connection.execute(
        update(segment).where(segment.c.id.in_(ids), segment.c.state == from_state).values(state=to_state, **values)
    )
    return done.rowcount


def oldest_tombstone_ms(connection: Connection) -> int | None:
    """When the deletion that has waited longest for the store was decided; None when none waits."""
    oldest: int | None = connection.execute(
        select(func.min(segment.c.condemned_ms)).where(segment.c.state == "deleting")
    ).scalar_one()
    return oldest


_TOMBSTONES = (
    select(segment.c.end_ms, segment.c.id)
    .where(segment.c.state == "deleting")
    .order_by(segment.c.end_ms, segment.c.id)
    .limit(bindparam("most", type_=Integer))
)


def tombstones(connection: Connection, after: tuple[int, str] | None, limit: int) -> list[tuple[int, str]]:
    """(end, id) of the segments whose bytes are to be deleted, oldest first, behind `after`: tried for ever
    (FAULTS B15)."""
    query = _TOMBSTONES
    if after is not None:
        query = query.where(tuple_(segment.c.end_ms, segment.c.id) > after)
    return [(row.end_ms, row.id) for row in connection.execute(query, {"most": limit})]


def deleting(connection: Connection, ids: Sequence[str]) -> list[tuple[Candidate, str]]:
    """(segment, object key) of those of `ids` whose bytes are to be deleted. The plan is to judge them as what they
    were before, so they say `condemned`."""
    as_condemned = [literal("condemned") if column is segment.c.state else column for column in _CANDIDATE]
    rows = connection.execute(
        select(*as_condemned, segment.c.object_key)
        .where(segment.c.id.in_(ids), segment.c.state == "deleting")
        .order_by(segment.c.end_ms)
    )
    return [(Candidate(*row[:-1]), row.object_key) for row in rows]
