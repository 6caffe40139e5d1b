"""Rows of the call register (Order 799 art. 16(2)(3)): who looked at what, why, how long, how much."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, func, insert, or_, select, update

from storage.catalog.tables import register


@dataclass(frozen=True, slots=True)
class RegisterRow:
    id: str
    opened_ms: int
    person: str
    unit: str
    principal: dict[str, Any]
    purpose: str
    reason: str
    camera_id: str
    stream: str
    function: str
    from_ms: int | None
    to_ms: int | None
    lease_id: str | None
    case_no: str | None
    client: str | None
    process: str
    closed_ms: int | None = None
    bytes: int | None = None
    result: str | None = None
    watermark: bool | None = None  #: of an export: whether the person's name was burnt into the pictures


_COLUMNS = tuple(RegisterRow.__dataclass_fields__)


def _row(row: Row[Any]) -> RegisterRow:
    return RegisterRow(**{name: getattr(row, name) for name in _COLUMNS})


def open_row(connection: Connection, row: RegisterRow) -> None:
    """An entry that is there already stays: replaying a journal twice changes nothing."""
    if connection.execute(select(register.c.id).where(register.c.id == row.id)).first() is None:
        connection.execute(insert(register).values(**{name: getattr(row, name) for name in _COLUMNS}))


def close_row(connection: Connection, id_: str, now_ms: int, sent_bytes: int | None, result: str) -> bool:
    """False when it was closed before."""
    done = connection.execute(
        update(register)
        .where(register.c.id == id_, register.c.closed_ms.is_(None))
        .values(closed_ms=now_ms, bytes=sent_bytes, result=result)
    )
    return done.rowcount == 1


def finish(connection: Connection, id_: str, now_ms: int, result: str) -> None:
    """Closes a row whose bytes were added by `add_bytes`."""
    connection.execute(
        update(register)
        .where(register.c.id == id_, register.c.closed_ms.is_(None))
        .values(closed_ms=now_ms, result=result, bytes=func.coalesce(register.c.bytes, 0))
    )


def open_rows(connection: Connection, limit: int = 1000) -> list[RegisterRow]:
    query = select(register).where(register.c.closed_ms.is_(None)).order_by(register.c.id).limit(limit)
    return [_row(r) for r in connection.execute(query)]


def rows(
    connection: Connection,
    *,
    camera_id: str | None = None,
    unit: str | None = None,
    person: str | None = None,
    lease_id: str | None = None,
    from_ms: int | None = None,
    to_ms: int | None = None,
    after: str | None = None,
    limit: int = 200,
) -> list[RegisterRow]:
    """Newest first; `after` is the id of the last one already shown."""
    query = select(register).order_by(register.c.id.desc()).limit(limit)
    for column, value in (
        (register.c.camera_id, camera_id),
        (register.c.unit, unit),
        (register.c.person, person),
        (register.c.lease_id, lease_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if from_ms is not None:
        query = query.where(register.c.opened_ms >= from_ms)
    if to_ms is not None:
        query = query.where(register.c.opened_ms < to_ms)
    if after is not None:
        query = query.where(register.c.id < after)
    return [_row(r) for r in connection.execute(query)]


def open_count(connection: Connection) -> int:
    return int(
        connection.execute(
            select(func.count()).select_from(register).where(register.c.closed_ms.is_(None))
        ).scalar_one()
    )


def open_under(connection: Connection, kind: str, id_: str, wall_id: str | None = None) -> Counter[str]:
    """How many looks of a principal are open under each grant that counts them; all its sign-ins together, and those of
    everybody on duty at the same wall, whose rights they use up as well."""
    who = register.c.principal
    mine = and_(who["kind"].as_string() == kind, who["id"].as_string() == id_)
    if wall_id is not None:
        mine = or_(mine, who["wall"]["id"].as_string() == wall_id)
    query = select(who).where(register.c.closed_ms.is_(None), mine)
    return Counter(grant for row in connection.execute(query) for grant in row.principal.get("under", ()))


def add_bytes(connection: Connection, id_: str, count: int) -> None:
    """Several processes may serve one session path."""
    connection.execute(
        update(register).where(register.c.id == id_).values(bytes=func.coalesce(register.c.bytes, 0) + count)
    )
