"""Rows of second copies of held segments, and what holds lack.

Belongs here: statements. Does not belong here: when a copy may go (`storage.evidence_rules`), stores
(`storage.evidence`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, case, func, insert, select, update

from config.units import DAY_MS
from storage.catalog.retention_rows import HoldRow
from storage.catalog.segments import SEGMENT_MAX_MS, SegmentRow
from storage.catalog.tables import evidence_copy, gap, segment
from storage.evidence_rules import Standing

_SEGMENT = tuple(segment.c[f.name] for f in fields(SegmentRow))
#: What a hold may still save.
_HERE = ("spooled", "stored", "condemned", "deleting")
_IN_STORE = ("stored", "condemned")
AWAY = "media.store_unavailable"  #: a problem that is no segment's
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


def _covered(hold: HoldRow) -> Any:
    return (
        segment.c.camera_id.in_(hold.cameras)
        & segment.c.stream.in_(("main", "sub"))  # so that the timeline's index serves
        & (segment.c.start_ms <= hold.to_ms)
        & (segment.c.start_ms >= hold.from_ms - SEGMENT_MAX_MS)
        & (segment.c.end_ms >= hold.from_ms)
        & (segment.c.kind == "own")
    )


def uncopied(connection: Connection, hold: HoldRow, limit: int) -> list[str]:
    """Segments in the store that a hold covers and that nobody has ordered a copy of."""
    query = (
        select(segment.c.id)
        .select_from(segment.outerjoin(evidence_copy))
        .where(
            _covered(hold),
            segment.c.state.in_(_IN_STORE),
            evidence_copy.c.state.is_(None) | evidence_copy.c.state.in_(("releasing", "gone")),
        )
        .limit(limit)
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


def due(connection: Connection, states: Sequence[str], now_ms: int, limit: int) -> list[tuple[CopyRow, SegmentRow]]:
    """Rows to be looked at, the longest waiting first."""
    query = (
        select(*_COPY, *(column.label(f"s_{column.key}") for column in _SEGMENT))
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
    return [(CopyRow(*row[:split]), SegmentRow(*row[split:])) for row in connection.execute(query)]


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


def standing_of(connection: Connection, hold: HoldRow, failed_after: int) -> Standing:
    """How far a hold's footage is in two places. A copy that failed `failed_after` times in a row counts as bad,
    unless a store was away."""
    lost = segment.c.state == "lost"
    copied = func.coalesce(evidence_copy.c.state == "verified", False)
    tried = (evidence_copy.c.state == "wanted") & (evidence_copy.c.tries >= failed_after)
    failed = tried & (func.coalesce(evidence_copy.c.problem, "") != AWAY)
    bad = gap.c.id.is_not(None) | lost | func.coalesce(failed, False)
    whole = copied & ~bad & segment.c.state.in_(_IN_STORE)
    query = (
        select(
            func.count(),
            func.coalesce(func.sum(segment.c.bytes), 0),
            func.coalesce(func.sum(case((whole, 1), else_=0)), 0),
            func.coalesce(func.sum(case((bad, 1), else_=0)), 0),
            func.min(case((~whole & ~bad, segment.c.end_ms))),
        )
        .select_from(
            segment.outerjoin(evidence_copy).outerjoin(
                gap, (gap.c.id == segment.c.id) & (gap.c.cause == "damaged") & (gap.c.to_ms > gap.c.from_ms)
            )
        )
        # What was lost while it was held counts; what was lost before was no footage to hold.
        .where(_covered(hold), segment.c.state.in_(_HERE) | (lost & evidence_copy.c.state.is_not(None)))
    )
    count, size, verified, failures, oldest = connection.execute(query).one()
    waiting_ms = None if oldest is None else max(oldest, hold.created_ms)
    waiting = int(count) - int(verified) - int(failures)
    return Standing(int(count), int(size), int(verified), waiting, int(failures), waiting_ms)
