"""Rows of stream passwords, by which software that knows no token signs in over RTSP; the secret is a `credential`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from storage.catalog.tables import stream_password


@dataclass(frozen=True, slots=True)
class StreamPasswordRow:
    id: str  #: also the name that the software signs in with
    owner_kind: str  #: token, user
    owner: str  #: a token's jti or a user's id
    label: str
    cameras: tuple[str, ...]
    max_stream: str  #: main, sub
    networks: tuple[str, ...] | None  #: None: those of its owner
    unmarked_basis: str  #: why pictures may leave without the owner's name in them, or ""
    credential_id: str
    created_ms: int
    created_by: str
    expires_ms: int
    revoked_ms: int | None = None
    revoked_by: str | None = None


def _row(row: Row[Any]) -> StreamPasswordRow:
    networks = None if row.networks is None else tuple(row.networks)
    return StreamPasswordRow(
        row.id, row.owner_kind, row.owner, row.label, tuple(row.cameras), row.max_stream, networks, row.unmarked_basis,
        row.credential_id, row.created_ms, row.created_by, row.expires_ms, row.revoked_ms, row.revoked_by,
    )  # fmt: skip


def by_id(connection: Connection, ids: Iterable[str]) -> dict[str, StreamPasswordRow]:
    query = select(stream_password).where(stream_password.c.id.in_(list(ids)))
    return {row.id: _row(row) for row in connection.execute(query)}


def newest(connection: Connection, after: str | None = None, limit: int = 1000) -> list[StreamPasswordRow]:
    """Newest first; `after` is the id of the last one already shown."""
    query = select(stream_password).order_by(stream_password.c.id.desc()).limit(limit)
    if after is not None:
        query = query.where(stream_password.c.id < after)
    return [_row(row) for row in connection.execute(query)]


def add(connection: Connection, row: StreamPasswordRow) -> None:
    """Its credential stands already."""
    connection.execute(
        insert(stream_password).values(
            id=row.id, owner_kind=row.owner_kind, owner=row.owner, label=row.label, cameras=list(row.cameras),
            max_stream=row.max_stream, networks=None if row.networks is None else list(row.networks),
            unmarked_basis=row.unmarked_basis, credential_id=row.credential_id, created_ms=row.created_ms,
            created_by=row.created_by, expires_ms=row.expires_ms,
        )
    )  # fmt: skip


def revoke(connection: Connection, id_: str, by: str, now_ms: int) -> bool:
    """False when there is no such standing password."""
    done = connection.execute(
        update(stream_password)
        .where(stream_password.c.id == id_, stream_password.c.revoked_ms.is_(None))
        .values(revoked_ms=now_ms, revoked_by=by)
    )
    return done.rowcount == 1
