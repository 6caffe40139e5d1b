"""Rows of sign-ins and of media session paths. A shift at a wall ends with the sign-in that it is on.

Only hashes of the secrets are kept: a stolen catalog signs nobody in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update

from storage.catalog import shifts
from storage.catalog.tables import media_session, register, session, user

_SHORT_BYTES = 8


@dataclass(frozen=True, slots=True)
class SessionRow:
    id_hash: bytes
    user_id: str | None
    token_jti: str | None
    created_ms: int
    expires_ms: int
    ended_ms: int | None = None
    client: str | None = None

    @property
    def short_id(self) -> str:
        """By which people name it: the first half of what is kept, of which nobody can sign in."""
        return self.id_hash[:_SHORT_BYTES].hex()


def _session(row: Row[Any]) -> SessionRow:
    return SessionRow(row.id_hash, row.user_id, row.token_jti, row.created_ms, row.expires_ms, row.ended_ms, row.client)


def sessions(connection: Connection, hashes: Iterable[bytes]) -> dict[bytes, SessionRow]:
    query = select(session).where(session.c.id_hash.in_(list(hashes)))
    return {r.id_hash: _session(r) for r in connection.execute(query)}


def open_sessions(
    connection: Connection, now_ms: int, *, of: str | None = None, after: SessionRow | None = None, limit: int = 1000
) -> list[SessionRow]:
    """Sign-ins that run, newest first; `of`: one account's, by its id or login; `after`: the last one already shown."""
    query = (
        select(session)
        .where(session.c.ended_ms.is_(None), session.c.expires_ms > now_ms)
        .order_by(session.c.created_ms.desc(), session.c.id_hash.desc())
        .limit(limit)
    )
    if of is not None:
        account = select(user.c.id).where(or_(user.c.id == of, user.c.login == of))
        query = query.where(session.c.user_id.in_(account))
    if after is not None:
        same = (session.c.created_ms == after.created_ms) & (session.c.id_hash < after.id_hash)
        query = query.where(or_(session.c.created_ms < after.created_ms, same))
    return [_session(row) for row in connection.execute(query)]


def open_session(connection: Connection, short_id: str, now_ms: int) -> SessionRow | None:
    """The one that runs under its `short_id`."""
    try:
        first = bytes.fromhex(short_id)
    except ValueError:
        return None
    if len(first) != _SHORT_BYTES:
        return None
    row = connection.execute(
        select(session).where(
            session.c.id_hash >= first.ljust(32, b"\0"), session.c.id_hash <= first.ljust(32, b"\xff"),
            session.c.ended_ms.is_(None), session.c.expires_ms > now_ms,
        )
    ).first()  # fmt: skip
    return None if row is None else _session(row)


def add_session(connection: Connection, row: SessionRow) -> None:
    connection.execute(
        insert(session).values(
            id_hash=row.id_hash, user_id=row.user_id, token_jti=row.token_jti, created_ms=row.created_ms,
            expires_ms=row.expires_ms, client=row.client,
        )
    )  # fmt: skip


def end_session(connection: Connection, id_hash: bytes, now_ms: int) -> None:
    connection.execute(
        update(session).where(session.c.id_hash == id_hash, session.c.ended_ms.is_(None)).values(ended_ms=now_ms)
    )
    shifts.end_on(connection, id_hash, now_ms, "signed_out")


def end_sessions_of(connection: Connection, user_id: str, now_ms: int, but: bytes | None = None) -> None:
    """Every sign-in of a person ends, for a shift at a wall as well: disabled, or a new password."""
    query = update(session).where(session.c.user_id == user_id, session.c.ended_ms.is_(None))
    if but is not None:
        query = query.where(session.c.id_hash != but)
    connection.execute(query.values(ended_ms=now_ms))
    shifts.end_of(connection, user_id, now_ms)


@dataclass(frozen=True, slots=True)
class MediaSessionRow:
    """One session path: one camera, function and window."""

    id_hash: bytes
    principal: dict[str, Any]
    camera_id: str
    stream: str
    function: str
    from_ms: int | None
    to_ms: int | None
    lease_id: str | None
    register_id: str
    created_ms: int
    expires_ms: int
    ended_ms: int | None = None


def add_media_session(connection: Connection, row: MediaSessionRow) -> None:
    connection.execute(
        insert(media_session).values(
            id_hash=row.id_hash, principal=row.principal, camera_id=row.camera_id, stream=row.stream,
            function=row.function, from_ms=row.from_ms, to_ms=row.to_ms, lease_id=row.lease_id,
            register_id=row.register_id, created_ms=row.created_ms, expires_ms=row.expires_ms,
        )
    )  # fmt: skip


def media_session_by_hash(connection: Connection, id_hash: bytes) -> MediaSessionRow | None:
    r = connection.execute(select(media_session).where(media_session.c.id_hash == id_hash)).first()
    if r is None:
        return None
    return MediaSessionRow(
        r.id_hash, r.principal, r.camera_id, r.stream, r.function, r.from_ms, r.to_ms, r.lease_id, r.register_id,
        r.created_ms, r.expires_ms, r.ended_ms,
    )  # fmt: skip


def media_progress(connection: Connection, hashes: Iterable[bytes]) -> dict[bytes, tuple[int | None, int]]:
    """By hash of a path: when it ended, and the bytes that all processes have written down for it."""
    query = (
        select(media_session.c.id_hash, media_session.c.ended_ms, register.c.bytes)
        .outerjoin(register, register.c.id == media_session.c.register_id)
        .where(media_session.c.id_hash.in_(list(hashes)))
    )
    return {r.id_hash: (r.ended_ms, r.bytes or 0) for r in connection.execute(query)}


def end_media_session(connection: Connection, id_hash: bytes, now_ms: int) -> None:
    connection.execute(
        update(media_session)
        .where(media_session.c.id_hash == id_hash, media_session.c.ended_ms.is_(None))
        .values(ended_ms=now_ms)
    )


def end_media_sessions_of(connection: Connection, register_id: str, now_ms: int) -> None:
    connection.execute(
        update(media_session)
        .where(media_session.c.register_id == register_id, media_session.c.ended_ms.is_(None))
        .values(ended_ms=now_ms)
    )
