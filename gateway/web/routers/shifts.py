"""``/session/shift`` and ``/shifts``: who is on duty at a shared wall. It signs in once; people sign on in turn."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from config.errors import Kind, TiergateError
from config.redact import Secret
from gateway.access import shifts
from gateway.access.ids import fresh_id
from gateway.web.policy import client_of, policy
from gateway.web.routers.session import describe
from gateway.web.services import services_of
from gateway.web.signing import by_password, one_try
from gateway.web.wire import Body, Cursor, Limit, page, paged
from storage.catalog import shifts as rows
from storage.catalog.shifts import Shift
from tiering.access import Principal

router = APIRouter(prefix="/api/v1", tags=["users"])
AtWall = Annotated[Principal, policy(signed_in=True, while_off_duty=True)]


class SignOn(Body):
    login: str = Field(min_length=1, max_length=60)
    password: str = Field(min_length=1, max_length=256)
    hours: int = Field(shifts.HOURS, ge=1, le=shifts.HOURS_MOST)


def as_json(row: Shift, now_ms: int) -> dict[str, Any]:
    """`state`: running, over (ran to its end), or why it ended before."""
    return {
        "id": row.id,
        "state": "running" if row.runs(now_ms) else row.ended_why or "over",
        "wall": row.wall,
        "wall_id": row.wall_id,
        "person": row.person,
        "login": row.login,
        "started_ms": row.started_ms,
        "until_ms": row.until_ms,
        "ended_ms": row.ended_ms,
        "client": row.client,
    }


@router.post("/session/shift", status_code=201)
async def sign_on(request: Request, body: SignOn, principal: AtWall) -> dict[str, Any]:
    """On a sign-in of a shared wall: a person with their own name and password is on duty there for so many hours. Who
    was before them is not any more, and what they looked at ends. The answer is the session as it is now."""
    services, client = services_of(request), client_of(request)
    if principal.wall is None:
        raise TiergateError(Kind.CONFLICT, "access.not_a_wall")
    with one_try(services, client, body.login):
        id_, now_ms = fresh_id(services.clock), services.now_ms()
        shift = await by_password(
            services, body.login, Secret(body.password), client,
            lambda c, person: shifts.sign_on(c, principal, person, id_, body.hours, client, now_ms),
            refused="shift.refuse", kind=Kind.FORBIDDEN, walls=False,
        )  # fmt: skip
    fresh = await services.read(lambda c: services.principals.by_session(c, shift.session_hash, services.now_ms()))
    return await describe(services, fresh)


@router.delete("/session/shift", status_code=204)
async def sign_off(request: Request, principal: AtWall) -> Response:
    """Nobody is on duty at the wall any more; what was looked at ends, the wall stays signed in."""
    services = services_of(request)
    await services.write(lambda c: shifts.sign_off(c, principal, services.now_ms()))
    return Response(status_code=204)


@router.get("/shifts")
async def list_shifts(
    request: Request,
    principal: Annotated[Principal, policy(role=("security_admin", "audit_admin"))],
    running: bool = False,
    cursor: Cursor = None,
    limit: Limit = 200,
) -> dict[str, Any]:
    """Newest first; `running`: only those of people who are on duty now."""
    services = services_of(request)
    now_ms = services.now_ms()
    found = await services.read(
        lambda c: rows.listed(c, running_ms=now_ms if running else None, after=cursor, limit=limit + 1)
    )
    shown, next_ = paged(found, limit, "id")
    return page([as_json(row, now_ms) for row in shown], next_)


@router.delete("/shifts/{shift_id}")
async def end(
    request: Request, shift_id: str, principal: Annotated[Principal, policy(role="security_admin")]
) -> dict[str, Any]:
    """What is looked at under it ends within seconds."""
    services = services_of(request)
    now_ms = services.now_ms()
    return as_json(await services.write(lambda c: shifts.end(c, principal, shift_id, now_ms)), now_ms)
