"""Rows of second copies of held segments, and what holds lack.

Belongs here: statements. Does not belong here: when a copy may go (`storage.evidence_rules`), stores
(`storage.evidence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, case, func, insert, not_, select, update

from config.units import DAY_MS
from storage.catalog.retention_rows import DATE_UNKNOWN, HoldRow
from storage.catalog.segments import SEGMENT_MAX_MS, SegmentRow
from storage.catalog.tables import evidence_copy, gap, segment
from storage.evidence_rules import Standing
from storage.retention import undated_span

_SEGMENT = tuple(segment.c[f.name] for f in fields(SegmentRow))
#: What a hold may still save.
_HERE = ("spooled", "stored", "condemned", "deleting")
_IN_STORE = ("stored", "condemned")
AWAY = "media.store_unavailable"  #: a problem that is no segment's
UNEXPLAINED = "evidence.unexplained"  #: locked in the store, by no hold that this catalog knows
_FAR_MS = 2 * DAY_MS


@dataclass(frozen=True, slots=True)
class CopyRow:
    segment_id: str
    state: str
    version_id: str | None
    tries: int
    next_ms: int
    problem: str | None
    read_ms: int | None
    locked_until_ms: int | None
    legal_hold: bool


_COPY = tuple(evidence_copy.c[f.name] for f in fields(CopyRow))


class Due(NamedTuple):
    """A copy to be looked at. `start_ms` and `end_ms`: of what time its pictures may be, as the plan sees it."""

    copy: CopyRow
    segment: SegmentRow
    start_ms: int
    end_ms: int
    has_end: bool  #: False: of unknown date and not yet seen on a proven clock, so that `end_ms` is whatever time it is


def _covered(hold: HoldRow, now_ms: int) -> tuple[Any, Any]:
    """Conditions for footage that a hold touches: of known date, and of unknown (`storage.retention.Planner`). Each
    has an index of its own; joined by "or" neither would serve."""
    own = segment.c.camera_id.in_(hold.cameras) & (segment.c.kind == "own")
    dated = and_(
        own,
        segment.c.stream.in_(("main", "sub")),  # so that the timeline's index serves
        segment.c.start_ms <= hold.to_ms,
        segment.c.start_ms >= hold.from_ms - SEGMENT_MAX_MS,
        segment.c.end_ms >= hold.from_ms,
        not_(DATE_UNKNOWN),
    )
    seen = segment.c.aged_from_ms >= hold.from_ms
    if hold.from_ms <= now_ms:
        seen |= segment.c.aged_from_ms.is_(None)
    return dated, and_(own, DATE_UNKNOWN, seen)


def uncopied(connection: Connection, hold: HoldRow, now_ms: int, limit: int) -> list[str]:
    """Segments in the store that a hold covers and that nobody has ordered a copy of, or whose copy only waited for a
    hold to explain it."""
    waits = (evidence_copy.c.state == "wanted") & (evidence_copy.c.problem == UNEXPLAINED)
    found: list[str] = []
    for covered in _covered(hold, now_ms):
        query = (
            select(segment.c.id)
            .select_from(segment.outerjoin(evidence_copy))
            .where(
                covered,
                segment.c.state.in_(_IN_STORE),
                evidence_copy.c.state.is_(None) | evidence_copy.c.state.in_(("releasing", "gone")) | waits,
            )
            .limit(limit - len(found))
        )
        found += connection.execute(query).scalars()
    return found


def untold(connection: Connection, ids: Sequence[str]) -> list[str]:
    """Of segments whose copies lie in the evidence store, those of which no row says so. What still waits in the spool
    is ordered when the store has it."""
    query = (
        select(segment.c.id)
        .select_from(segment.outerjoin(evidence_copy))
        .where(
            segment.c.id.in_(ids),
            segment.c.state != "spooled",
            evidence_copy.c.state.is_(None) | (evidence_copy.c.state == "gone"),
        )
    )
    return list(connection.execute(query).scalars())


def want(connection: Connection, ids: Sequence[str], now_ms: int) -> None:
    """Orders copies; a copy that was about to go is wanted again, and keeps what is known of its lock."""
    known = set(
        connection.execute(select(evidence_copy.c.segment_id).where(evidence_copy.c.segment_id.in_(ids))).scalars()
    )
    fresh = [{"segment_id": id_, "state": "wanted", "next_ms": now_ms} for id_ in ids if id_ not in known]
    if fresh:
        connection.execute(insert(evidence_copy), fresh)
    if known:
        again = {"state": "wanted", "next_ms": now_ms, "tries": 0, "problem": None}
        connection.execute(update(evidence_copy).where(evidence_copy.c.segment_id.in_(known)).values(**again))


def want_all_anew(connection: Connection, now_ms: int) -> int:
    """Of a node whose evidence store is another from now on: what the old one has and locks is no copy any more. How
    many."""
    fresh = {"version_id": None, "read_ms": None, "locked_until_ms": None, "legal_hold": False, "tries": 0}
    wanted = {"state": "wanted", "next_ms": now_ms, "problem": None}
    done = connection.execute(update(evidence_copy).where(evidence_copy.c.state != "gone").values(**fresh | wanted))
    return done.rowcount


def due(connection: Connection, states: Sequence[str], now_ms: int, limit: int) -> list[Due]:
    """Rows to be looked at, the longest waiting first."""
    query = (
        select(*_COPY, *(column.label(f"s_{column.key}") for column in _SEGMENT), segment.c.aged_from_ms)
        .select_from(evidence_copy.join(segment))
        .where(
            evidence_copy.c.state.in_(states),
            # A time far ahead was written by a clock that was wrong.
            (evidence_copy.c.next_ms <= now_ms) | (evidence_copy.c.next_ms > now_ms + _FAR_MS),
        )
        .order_by(evidence_copy.c.next_ms, evidence_copy.c.segment_id)
        .limit(limit)
    )
    split = len(_COPY)
    found = []
    for *values, aged_from_ms in connection.execute(query):
        row = SegmentRow(*values[split:])
        start_ms, end_ms, has_end = row.start_ms, row.end_ms, True
        if row.time_trust == "unknown":
            start_ms, end_ms = undated_span(aged_from_ms, now_ms)
            has_end = aged_from_ms is not None
        found.append(Due(CopyRow(*values[:split]), row, start_ms, end_ms, has_end))
    return found


def verified_keys(connection: Connection, limit: int) -> list[str]:
    """Of copies that both stores should give, those that are looked at last: nobody has read them of late."""
    query = (
        select(segment.c.object_key)
        .select_from(evidence_copy.join(segment))
        .where(evidence_copy.c.state == "verified")
        .order_by(evidence_copy.c.next_ms.desc())
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def change(connection: Connection, segment_id: str, from_states: Sequence[str], **values: Any) -> bool:
    """Whether the row was still in one of `from_states`."""
    done = connection.execute(
        update(evidence_copy)
        .where(evidence_copy.c.segment_id == segment_id, evidence_copy.c.state.in_(from_states))
        .values(**values)
    )
    return done.rowcount > 0


def copy_of(connection: Connection, segment_id: str) -> CopyRow | None:
    row = connection.execute(select(*_COPY).where(evidence_copy.c.segment_id == segment_id)).first()
    return CopyRow(*row) if row is not None else None


def counts(connection: Connection) -> dict[str, tuple[int, int]]:
    """Per state: how many copies, and their bytes."""
    query = (
        select(evidence_copy.c.state, func.count(), func.sum(segment.c.bytes))
        .select_from(evidence_copy.join(segment))
        .group_by(evidence_copy.c.state)
    )
    return {state: (int(count), int(size)) for state, count, size in connection.execute(query)}


@dataclass(frozen=True, slots=True)
class Unexplained:
    """Copies that are kept because nobody knows whether they are needed."""

    count: int
    camera_id: str | None  #: of the oldest
    start_ms: int | None


def unexplained(connection: Connection) -> Unexplained:
    mine = evidence_copy.c.state.in_(("wanted", "releasing")) & (evidence_copy.c.problem == UNEXPLAINED)
    copies = evidence_copy.join(segment)
    count = connection.execute(select(func.count()).select_from(copies).where(mine)).scalar_one()
    oldest = select(segment.c.camera_id, segment.c.start_ms).select_from(copies).where(mine)
    first = connection.execute(oldest.order_by(segment.c.start_ms).limit(1)).first()
    return Unexplained(count, *(first or (None, None)))


def standing_of(connection: Connection, hold: HoldRow, failed_after: int, now_ms: int) -> Standing:
    """How far a hold's footage is in two places. A copy that failed `failed_after` times in a row counts as bad,
    unless a store was away."""
    lost = segment.c.state == "lost"
    copied = func.coalesce(evidence_copy.c.state == "verified", False)
    tried = (evidence_copy.c.state == "wanted") & (evidence_copy.c.tries >= failed_after)
    failed = tried & (func.coalesce(evidence_copy.c.problem, "") != AWAY)
    bad = gap.c.id.is_not(None) | lost | func.coalesce(failed, False)
    whole = copied & ~bad & segment.c.state.in_(_IN_STORE)
    counted = select(
        func.count(),
        func.coalesce(func.sum(segment.c.bytes), 0),
        func.coalesce(func.sum(case((whole, 1), else_=0)), 0),
        func.coalesce(func.sum(case((bad, 1), else_=0)), 0),
        func.min(case((~whole & ~bad, func.coalesce(segment.c.aged_from_ms, segment.c.end_ms)))),
    ).select_from(
        segment.outerjoin(evidence_copy).outerjoin(
            gap, (gap.c.id == segment.c.id) & (gap.c.cause == "damaged") & (gap.c.to_ms > gap.c.from_ms)
        )
    )
    # What was lost while it was held counts, from the spool too, where no copy is ordered yet; what was lost before was
    # no footage to hold. The gap of a lost segment is as old as the loss (`storage.damage.mark`).
    lost_while_held = func.coalesce(gap.c.detected_ms >= hold.created_ms, False)
    counts_here = segment.c.state.in_(_HERE) | (lost & (evidence_copy.c.state.is_not(None) | lost_while_held))
    parts = [connection.execute(counted.where(covered, counts_here)).one() for covered in _covered(hold, now_ms)]
    count, size, verified, failures = (sum(int(part[n]) for part in parts) for n in range(4))
    oldest = min((part[4] for part in parts if part[4] is not None), default=None)
    waiting_ms = None if oldest is None else max(oldest, hold.created_ms)
    return Standing(count, size, verified, count - verified - failures, failures, waiting_ms)
