"""Footage that was recorded under a wrong clock is put where it belongs, once the true time is known. (FAULTS A25)

What was believed first stays readable: `start_wall_ns` of the row, the file's own identity box and the object's key are
not touched; `time_trust` becomes ``restamped``; the audit log names every run and by how much it moved. The journal
carries that log's word into the store, so that a rebuild moves the same rows again (I9).

Belongs here: moving rows of segments, runs and gaps. Does not belong here: deciding by how much
(`gateway.ingest.timekeeping`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from config.reasons import Reason
from storage.audit import log as audit
from storage.catalog.gaps import GapRow, insert_gap
from storage.catalog.tables import gap, run, segment

ACTION = "segment.restamp"
ACTOR = "system:recorder"
RESTAMPED = "restamped"
#: Less than this is the jitter of arrival (`gateway.ingest.coverage`).
_TOLERANCE_MS = 250


def restamp(
    connection: Connection, camera_id: str, stream: str, from_ms: int, runs: Mapping[str, int],
    moved_ms: Callable[[int], int], now_ms: int, gap_id: str,
) -> int:  # fmt: skip
    """Moves the `runs` (run → amount to add) of a stream and the gaps since `from_ms`; how many segments moved.

    Once moved, nothing moves again: of a transaction whose fate nobody knows the same is asked a second time. What was
    there before stays. When the moved stretch now begins later than what was there ended, the time between
    becomes a gap of its own under `gap_id`.
    """
    if _have_moved(connection, camera_id, stream, runs):
        return 0
    known_ms = _end_before(connection, camera_id, stream, from_ms)
    count = sum(_move(connection, run_id, add_ms) for run_id, add_ms in runs.items())
    here = gap.c.camera_id == camera_id, gap.c.stream == stream
    for row in connection.execute(select(gap).where(*here, or_(gap.c.to_ms.is_(None), gap.c.to_ms >= from_ms))).all():
        begins_ms = moved_ms(row.from_ms)
        ends_ms = None if row.to_ms is None else max(begins_ms, moved_ms(row.to_ms))
        if ends_ms is not None and row.cause == "clock" and ends_ms - begins_ms <= _TOLERANCE_MS:
            ends_ms = begins_ms  # the jump was the clock's, not the camera's: nothing is missing
        # `detected_ms` says when this was found; it is also what makes the journal write the row again.
        values = {"from_ms": begins_ms, "to_ms": ends_ms, "detected_ms": now_ms}
        connection.execute(update(gap).where(gap.c.id == row.id).values(**values))
    begins_ms = moved_ms(from_ms)
    if known_ms is not None and begins_ms - known_ms > _TOLERANCE_MS:
        reason = Reason("recorder.clock_unknown").as_json()
        insert_gap(connection, GapRow(gap_id, camera_id, stream, "clock", known_ms, begins_ms, now_ms, reason))
    if runs:
        details = {"stream": stream, "runs": dict(runs)}
        audit.append(connection, now_ms, ACTOR, ACTION, camera_id, details)
    return count


def _have_moved(connection: Connection, camera_id: str, stream: str, runs: Mapping[str, int]) -> bool:
    here = segment.c.camera_id == camera_id, segment.c.stream == stream, segment.c.run_id.in_(runs)
    query = select(segment.c.id).where(*here, segment.c.time_trust == RESTAMPED).limit(1)
    return connection.execute(query).first() is not None


def _end_before(connection: Connection, camera_id: str, stream: str, from_ms: int) -> int | None:
    """How far the stream is accounted for before `from_ms`; None: nothing is there, or a gap reaches beyond."""
    ends = []
    for table, start in ((segment, segment.c.start_ms), (gap, gap.c.from_ms)):
        end = table.c.end_ms if table is segment else table.c.to_ms
        row = connection.execute(
            select(end)
            .where(table.c.camera_id == camera_id, table.c.stream == stream, start < from_ms)
            .order_by(start.desc())
            .limit(1)
        ).first()
        if row is not None:
            if table is gap and (row[0] is None or row[0] >= from_ms):
                return None
            ends.append(min(int(row[0]), from_ms))
    return max(ends, default=None)


def _move(connection: Connection, run_id: str, add_ms: int) -> int:
    """A run that was moved before stays where it is; how many segments moved."""
    row = connection.execute(select(run).where(run.c.id == run_id)).first()
    if row is None or add_ms == 0:
        return 0
    here: tuple[ColumnElement[bool], ...] = (
        segment.c.camera_id == row.camera_id, segment.c.stream == row.stream, segment.c.run_id == run_id,
        segment.c.time_trust != RESTAMPED,
    )  # fmt: skip
    begins_ms = connection.execute(select(func.min(segment.c.start_ms)).where(*here)).scalar_one()
    # The journal may have told of a run when it had been moved already, while its segments come from their files.
    told = begins_ms is not None and abs(row.started_ms - add_ms - begins_ms) <= _TOLERANCE_MS
    if not told:
        here = (*here, segment.c.start_ms >= row.started_ms - _TOLERANCE_MS)
    count = int(connection.execute(select(func.count()).select_from(segment).where(*here)).scalar_one())
    if count:
        values = {"start_ms": segment.c.start_ms + add_ms, "end_ms": segment.c.end_ms + add_ms}
        connection.execute(update(segment).where(*here).values(**values, time_trust=RESTAMPED, aged_from_ms=None))
        if not told:
            ended_ms = None if row.ended_ms is None else row.ended_ms + add_ms
            moved = {"started_ms": row.started_ms + add_ms, "ended_ms": ended_ms}
            connection.execute(update(run).where(run.c.id == run_id).values(**moved))
    return count


def moves(entries: list[audit.Entry]) -> dict[str, int]:
    """Run → amount, of what the audit log says."""
    return {
        run_id: int(add_ms)
        for entry in entries
        if entry.action == ACTION
        for run_id, add_ms in entry.details["runs"].items()
    }


def move_again(connection: Connection, found: Mapping[str, int]) -> int:
    """After a rebuild: the rows come from files, which hold what was believed first."""
    return sum(_move(connection, run_id, add_ms) for run_id, add_ms in found.items())
