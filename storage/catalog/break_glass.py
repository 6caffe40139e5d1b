"""Rows of sealed rights for the night when nobody may: sealed, opened once, reviewed by somebody else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from storage.catalog.tables import break_glass, user


@dataclass(frozen=True, slots=True)
class Seal:
    id: str
    sealed_ms: int
    sealed_by: str  #: actor of the audit log
    hours: int  #: how long the rights last once it is opened
    void_ms: int | None = None
    used_ms: int | None = None
    user_id: str | None = None
    person: str = ""  #: name of who opened it
    reason: str = ""
    until_ms: int | None = None
    reviewed_ms: int | None = None
    reviewed_by: str | None = None
    words: str = ""

    @property
    def state(self) -> str:
        """sealed, void, opened (not reviewed yet) or reviewed."""
        if self.used_ms is not None:
            return "opened" if self.reviewed_ms is None else "reviewed"
        return "sealed" if self.void_ms is None else "void"


_c = break_glass.c
_QUERY = select(break_glass, user.c.name.label("person")).outerjoin(user, user.c.id == _c.user_id)


def _seal(row: Any) -> Seal:
    return Seal(
        row.id, row.sealed_ms, row.sealed_by, row.hours, row.void_ms, row.used_ms, row.user_id, row.person or "",
        row.reason, row.until_ms, row.reviewed_ms, row.reviewed_by, row.words,
    )  # fmt: skip


def add(connection: Connection, row: Seal, seal_hash: bytes) -> None:
    values = {"id": row.id, "seal_hash": seal_hash, "sealed_ms": row.sealed_ms, "sealed_by": row.sealed_by}
    connection.execute(insert(break_glass).values(**values, hours=row.hours, reason=row.reason, words=row.words))


def all_of(connection: Connection) -> list[Seal]:
    """Newest first."""
    return [_seal(row) for row in connection.execute(_QUERY.order_by(_c.sealed_ms.desc(), _c.id.desc()))]


def get(connection: Connection, id_: str) -> Seal | None:
    row = connection.execute(_QUERY.where(_c.id == id_)).first()
    return None if row is None else _seal(row)


def by_hash(connection: Connection, seal_hash: bytes) -> Seal | None:
    row = connection.execute(_QUERY.where(_c.seal_hash == seal_hash)).first()
    return None if row is None else _seal(row)


def running_of(connection: Connection, user_id: str, now_ms: int) -> Seal | None:
    """What a person has open now; of two, the one that ends later."""
    query = _QUERY.where(_c.user_id == user_id, _c.until_ms > now_ms).order_by(_c.until_ms.desc())
    row = connection.execute(query.limit(1)).first()
    return None if row is None else _seal(row)


def unreviewed(connection: Connection) -> list[Seal]:
    """Opened, and nobody has looked into it."""
    query = _QUERY.where(_c.used_ms.is_not(None), _c.reviewed_ms.is_(None)).order_by(_c.used_ms)
    return [_seal(row) for row in connection.execute(query)]


def open_(connection: Connection, id_: str, user_id: str, reason: str, now_ms: int, until_ms: int) -> bool:
    """False when somebody else was faster, or it is void."""
    values = {"used_ms": now_ms, "user_id": user_id, "reason": reason, "until_ms": until_ms}
    still = (_c.id == id_) & _c.used_ms.is_(None) & _c.void_ms.is_(None)
    return connection.execute(update(break_glass).where(still).values(**values)).rowcount == 1


def change(connection: Connection, id_: str, **values: Any) -> None:
    connection.execute(update(break_glass).where(_c.id == id_).values(**values))
