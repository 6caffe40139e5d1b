"""Gaps: intervals without footage, each with a cause (I5). At most one gap of a stream is open at a time.

Belongs here: statements about `gap` and the closed list of causes. Does not belong here: who notices a gap (recorder,
salvage, check), how footage and gaps become a timeline (`storage.media.timeline`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update

from storage.catalog.tables import gap

#: DESIGN §2. Expired footage is not a gap.
CAUSES = frozenset(
    {
        "camera_offline", "network", "credentials", "unsupported", "recorder_down", "disk_full", "disk_slow", "clock",
        "disabled", "shed", "damaged", "unknown",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GapRow:
    id: str
    camera_id: str
    stream: str
    cause: str
    from_ms: int
    to_ms: int | None  #: None: still open
    detected_ms: int
    reason: dict[str, Any] | None = None  #: config.reasons.Reason.as_json


_GAP = tuple(gap.c[f.name] for f in fields(GapRow))


def _checked(row: GapRow) -> GapRow:
    if row.cause not in CAUSES:
        raise ValueError(f"{row.cause!r} is no cause of a gap")
    if row.to_ms is not None and row.to_ms < row.from_ms:
        raise ValueError("a gap ends before it begins")
    return row


def insert_gap(connection: Connection, row: GapRow) -> None:
    """A gap with a known end, or an open one; idempotent by id."""
    _checked(row)
    if not _is_there(connection, row.id):
        connection.execute(insert(gap).values(**asdict(row)))


def gap_of(connection: Connection, gap_id: str) -> GapRow | None:
    row = connection.execute(select(*_GAP).where(gap.c.id == gap_id)).first()
    return GapRow(*row) if row is not None else None


def put_gap(connection: Connection, row: GapRow) -> None:
    """A gap as it is known now, whatever the row of its id said before."""
    values = asdict(_checked(row))
    if connection.execute(update(gap).where(gap.c.id == row.id).values(**values)).rowcount == 0:
        connection.execute(insert(gap).values(**values))


def withdraw(connection: Connection, gap_id: str, now_ms: int) -> None:
    """It turned out to be none. The row stays, with no length; `detected_ms` moves so that the journal tells it too."""
    connection.execute(update(gap).where(gap.c.id == gap_id).values(to_ms=gap.c.from_ms, detected_ms=now_ms))


def _is_there(connection: Connection, gap_id: str) -> bool:
    return connection.execute(select(gap.c.id).where(gap.c.id == gap_id)).first() is not None


def open_gap(connection: Connection, row: GapRow) -> str:
    """Opens a gap unless the stream has an open one with the same cause; the id of the open gap. Idempotent by id.

    An open gap with another cause ends where this one begins: an outage may change its cause (network, then
    credentials).
    """
    _checked(row)
    if _is_there(connection, row.id):
        return row.id
    for standing in open_gaps(connection, row.camera_id, row.stream):
        if standing.cause == row.cause:
            return standing.id
        close_gap(connection, standing.id, max(row.from_ms, standing.from_ms))
    connection.execute(insert(gap).values(**{**asdict(row), "to_ms": None}))
    return row.id


def close_gap(connection: Connection, gap_id: str, to_ms: int) -> bool:
    """False when it was closed before. An end before the beginning (a clock stepped back) becomes the beginning."""
    row = connection.execute(select(gap.c.from_ms).where(gap.c.id == gap_id, gap.c.to_ms.is_(None))).first()
    if row is None:
        return False
    connection.execute(update(gap).where(gap.c.id == gap_id).values(to_ms=max(to_ms, row.from_ms)))
    return True


def give_back(
    connection: Connection, camera_id: str, stream: str, from_ms: int, to_ms: int, head_id: str | None = None
) -> None:
    """Footage that was given up has been found whole after all: no gap lies over it any more.

    A gap that is open and began earlier ends at the footage; what follows is the caller's to account for. With
    `head_id` it stays open, behind the footage and under its id, by which it will be closed; what was before the
    footage becomes a gap `head_id`.
    """
    for row in gaps_between(connection, camera_id, stream, from_ms, to_ms):
        this = gap.c.id == row.id
        if row.from_ms >= from_ms:
            if row.to_ms is not None and row.to_ms <= to_ms:
                connection.execute(delete(gap).where(this))
            else:
                connection.execute(update(gap).where(this).values(from_ms=to_ms))
        elif row.to_ms is None and head_id is not None:
            connection.execute(update(gap).where(this).values(from_ms=to_ms))
            connection.execute(insert(gap).values(**{**asdict(row), "id": head_id, "to_ms": from_ms}))
        elif row.to_ms is None or row.to_ms <= to_ms:
            connection.execute(update(gap).where(this).values(to_ms=from_ms))


def open_gaps(connection: Connection, camera_id: str | None = None, stream: str | None = None) -> list[GapRow]:
    query = select(*_GAP).where(gap.c.to_ms.is_(None)).order_by(gap.c.from_ms)
    if camera_id is not None:
        query = query.where(gap.c.camera_id == camera_id)
    if stream is not None:
        query = query.where(gap.c.stream == stream)
    return [GapRow(*row) for row in connection.execute(query)]


def gaps_between(
    connection: Connection, camera_id: str, stream: str, from_ms: int, to_ms: int, limit: int = 10_000
) -> list[GapRow]:
    """Gaps that touch [from_ms, to_ms), oldest first; open ones included."""
    query = (
        select(*_GAP)
        .where(
            gap.c.camera_id == camera_id,
            gap.c.stream == stream,
            gap.c.from_ms < to_ms,
            or_(gap.c.to_ms.is_(None), gap.c.to_ms > from_ms),
        )
        .order_by(gap.c.from_ms)
        .limit(limit)
    )
    return [GapRow(*row) for row in connection.execute(query)]
