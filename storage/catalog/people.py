"""Rows of users."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from config.errors import Kind, TiergateError
from storage.catalog.tables import department, user


@dataclass(frozen=True, slots=True)
class User:
    """A natural person (R38), or the shared account of a wall, which does nothing without one."""

    id: str
    login: str
    name: str
    department_id: str | None
    unit: str  #: the department's name; "" without one
    roles: tuple[str, ...]
    password_hash: str
    must_change: bool
    created_ms: int
    disabled_ms: int | None
    posted_to: str | None = None  #: department that the person works in for a time
    posted_until_ms: int | None = None
    posted_unit: str = ""  #: its name
    wall: bool = False  #: for good: what a person did is never read as a wall's, nor the other way round


_there = department.alias("there")
_QUERY = (
    select(user, department.c.name.label("unit"), _there.c.name.label("posted_unit"))
    .outerjoin(department, department.c.id == user.c.department_id)
    .outerjoin(_there, _there.c.id == user.c.posted_to)
)


def _user(row: Row[Any]) -> User:
    return User(
        row.id, row.login, row.name, row.department_id, row.unit or "", tuple(row.roles), row.password_hash,
        row.must_change, row.created_ms, row.disabled_ms, row.posted_to, row.posted_until_ms, row.posted_unit or "",
        row.wall,
    )  # fmt: skip


def users(connection: Connection, ids: Iterable[str] | None = None) -> dict[str, User]:
    query = _QUERY if ids is None else _QUERY.where(user.c.id.in_(list(ids)))
    return {row.id: _user(row) for row in connection.execute(query.order_by(user.c.login))}


def user_by_login(connection: Connection, login: str) -> User | None:
    row = connection.execute(_QUERY.where(user.c.login == login)).first()
    return None if row is None else _user(row)


def require_user(connection: Connection, id_: str) -> User:
    """Raises access.user_unknown."""
    row = connection.execute(_QUERY.where(user.c.id == id_)).first()
    if row is None:
        raise TiergateError(Kind.NOT_FOUND, "access.user_unknown", user=id_[:40])
    return _user(row)


def add_user(connection: Connection, row: User) -> None:
    """Raises access.name_taken."""
    if user_by_login(connection, row.login) is not None:
        raise TiergateError(Kind.CONFLICT, "access.name_taken", name=row.login)
    connection.execute(
        insert(user).values(
            id=row.id, login=row.login, name=row.name, department_id=row.department_id, roles=list(row.roles),
            password_hash=row.password_hash, must_change=row.must_change, created_ms=row.created_ms, wall=row.wall,
        )
    )  # fmt: skip


def change_user(connection: Connection, id_: str, values: dict[str, Any]) -> None:
    if values:
        connection.execute(update(user).where(user.c.id == id_).values(**values))


def keeps_role(connection: Connection, role: str, without: str) -> bool:
    """Whether an enabled user other than `without` has `role`: nobody locks everybody out."""
    return any(role in u.roles and u.disabled_ms is None and u.id != without for u in users(connection).values())
