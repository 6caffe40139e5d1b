"""``/sessions``: who is signed in, from where, and ending that: one's own, or as a security administrator anybody's."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from gateway.web.policy import policy
from gateway.web.services import services_of
from gateway.web.wire import Cursor, Limit, page
from storage.audit import log as audit
from storage.catalog import grants, people, sessions, shifts
from storage.catalog.sessions import SessionRow
from tiering.access import Principal

router = APIRouter(prefix="/api/v1", tags=["session"])
_SEE_ALL = frozenset({"security_admin", "audit_admin"})
_END_ALL = frozenset({"security_admin"})


def _described(
    connection: Connection, rows: list[SessionRow], principal: Principal, now_ms: int
) -> list[dict[str, Any]]:
    """`kind`: user, wall (a shared account; `on_duty` is who stands there), token (a department at the page)."""
    accounts = people.users(connection, [row.user_id for row in rows if row.user_id is not None])
    tokens = grants.tokens_by_jti(connection, [row.token_jti for row in rows if row.token_jti is not None])
    described = []
    for row in rows:
        item: dict[str, Any] = {"id": row.short_id, "kind": "token", "login": row.token_jti, "name": None}
        if row.user_id is not None:
            account = accounts[row.user_id]
            item |= {"kind": "wall" if account.wall else "user", "login": account.login, "name": account.name}
        elif row.token_jti is not None and row.token_jti in tokens:
            item["name"] = tokens[row.token_jti].label
        shift = shifts.running_on(connection, row.id_hash, now_ms) if item["kind"] == "wall" else None
        described.append(
            item
            | {
                "on_duty": None if shift is None else shift.person,
                "client": row.client,
                "created_ms": row.created_ms,
                "expires_ms": row.expires_ms,
                "current": row.id_hash.hex() == principal.session,
            }
        )
    return described


@router.get("/sessions")
async def list_sessions(
    request: Request,
    principal: Annotated[Principal, policy(users_only=True)],
    user: Annotated[str | None, Query(max_length=60, description="Of this account, by login or id.")] = None,
    cursor: Cursor = None,
    limit: Limit = 200,
) -> dict[str, Any]:
    """Sign-ins that run, newest first: one's own; everybody's for security and audit administrators."""
    services = services_of(request)
    now_ms = services.now_ms()
    of = user if _SEE_ALL & principal.roles else principal.id

    def read(connection: Connection) -> dict[str, Any]:
        after = None if cursor is None else sessions.open_session(connection, cursor, now_ms)
        if cursor is not None and after is None:
            raise TiergateError(Kind.INVALID, "web.cursor")
        rows = sessions.open_sessions(connection, now_ms, of=of, after=after, limit=limit + 1)
        shown = rows[:limit]
        return page(_described(connection, shown, principal, now_ms), shown[-1].short_id if len(rows) > limit else None)

    return await services.read(read)


@router.delete("/sessions/{session_id}", status_code=204)
async def end(request: Request, session_id: str, principal: Annotated[Principal, policy(users_only=True)]) -> Response:
    """What is looked at under it ends within seconds. One that is over already, or is not the caller's to end, is not
    found."""
    services = services_of(request)

    def write(connection: Connection) -> None:
        now_ms = services.now_ms()
        found = sessions.open_session(connection, session_id, now_ms)
        if found is None or (found.user_id != principal.id and not _END_ALL & principal.roles):
            raise TiergateError(Kind.NOT_FOUND, "access.not_found")
        [told] = _described(connection, [found], principal, now_ms)
        sessions.end_session(connection, found.id_hash, now_ms)
        details = {"of": told["login"], "kind": told["kind"], "client": found.client}
        audit.append(connection, now_ms, principal.actor, "session.end", found.short_id, details)

    await services.write(write)
    return Response(status_code=204)
