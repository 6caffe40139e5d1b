"""Rows of shifts: who is on duty at a shared wall, on which sign-in of it, from when to when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, insert, or_, select, update

from storage.catalog.tables import shift, user

#: signed_off: by who was on duty; replaced: by who came after; ended: by an administrator; signed_out: with the wall's
#: sign-in; account: with the person's or the wall's account, by a new password or because it was disabled.
Why = Literal["signed_off", "replaced", "ended", "signed_out", "account"]


@dataclass(frozen=True, slots=True)
class Shift:
    id: str
    session_hash: bytes
    wall_id: str
    user_id: str
    started_ms: int
    until_ms: int
    client: str
    ended_ms: int | None = None  #: before its time; None for one that runs or ran to its end
    ended_why: Why | None = None
    wall: str = ""  #: name of the wall's account
    login: str = ""  #: of who is on duty
    person: str = ""

    def runs(self, now_ms: int) -> bool:
        return self.ended_ms is None and now_ms < self.until_ms


_c = shift.c
_wall = user.alias("wall_account")
_QUERY = (
    select(shift, _wall.c.name.label("wall"), user.c.login.label("login"), user.c.name.label("person"))
    .join(_wall, _wall.c.id == _c.wall_id)
    .join(user, user.c.id == _c.user_id)
)


def _shift(row: Any) -> Shift:
    return Shift(**{name: getattr(row, name) for name in Shift.__dataclass_fields__})


def add(connection: Connection, row: Shift) -> None:
    connection.execute(
        insert(shift).values(
            id=row.id, session_hash=row.session_hash, wall_id=row.wall_id, user_id=row.user_id,
            started_ms=row.started_ms, until_ms=row.until_ms, client=row.client,
        )
    )  # fmt: skip


def get(connection: Connection, id_: str) -> Shift | None:
    row = connection.execute(_QUERY.where(_c.id == id_)).first()
    return None if row is None else _shift(row)


def running_on(connection: Connection, session_hash: bytes, now_ms: int) -> Shift | None:
    """The one that runs on a sign-in; there is never a second."""
    row = connection.execute(_QUERY.where(_c.session_hash == session_hash, _running(now_ms))).first()
    return None if row is None else _shift(row)


def listed(
    connection: Connection, *, running_ms: int | None = None, after: str | None = None, limit: int = 200
) -> list[Shift]:
    """Newest first; `running_ms`: only those that run at that time; `after`: id of the last one already shown."""
    query = _QUERY.order_by(_c.id.desc()).limit(limit)
    if running_ms is not None:
        query = query.where(_running(running_ms))
    if after is not None:
        query = query.where(_c.id < after)
    return [_shift(row) for row in connection.execute(query)]


def end(connection: Connection, id_: str, now_ms: int, why: Why) -> None:
    _end(connection, _c.id == id_, now_ms, why)


def end_on(connection: Connection, session_hash: bytes, now_ms: int, why: Why) -> None:
    _end(connection, _c.session_hash == session_hash, now_ms, why)


def end_of(connection: Connection, user_id: str, now_ms: int) -> None:
    """Of a person, or all at a wall."""
    _end(connection, or_(_c.user_id == user_id, _c.wall_id == user_id), now_ms, "account")


def _running(now_ms: int) -> ColumnElement[bool]:
    return _c.ended_ms.is_(None) & (_c.until_ms > now_ms)


def _end(connection: Connection, which: ColumnElement[bool], now_ms: int, why: Why) -> None:
    connection.execute(update(shift).where(which, _running(now_ms)).values(ended_ms=now_ms, ended_why=why))
