"""``/break-glass``: rights that lie in a sealed envelope. Opening one is an alarm until somebody else reviews it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from config.errors import TiergateError
from gateway.access import break_glass
from gateway.access.ids import fresh_id
from gateway.web.policy import policy
from gateway.web.services import services_of
from gateway.web.wire import Body, LongText, page
from storage.catalog import break_glass as rows
from storage.catalog.break_glass import Seal
from tiering.access import Principal

router = APIRouter(prefix="/api/v1/break-glass", tags=["users"])


class NewSeal(Body):
    hours: int = Field(2, ge=1, le=break_glass.HOURS_MOST)


class Opening(Body):
    seal: str = Field(min_length=1, max_length=100)
    reason: LongText = Field(min_length=5, max_length=500)


class Review(Body):
    words: LongText = Field(min_length=5, max_length=2000)


def as_json(row: Seal) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": row.state,
        "sealed_ms": row.sealed_ms,
        "sealed_by": row.sealed_by,
        "hours": row.hours,
        "used_ms": row.used_ms,
        "person": row.person or None,
        "reason": row.reason,
        "until_ms": row.until_ms,
        "reviewed_ms": row.reviewed_ms,
        "reviewed_by": row.reviewed_by,
        "words": row.words,
    }


@router.get("")
async def list_seals(request: Request, principal: Annotated[Principal, policy(users_only=True)]) -> dict[str, Any]:
    """Newest first: all to the security and audit administrators, to others what they opened."""
    found = break_glass.visible_to(principal, await services_of(request).read(rows.all_of))
    return page([as_json(row) for row in found])


@router.post("", status_code=201)
async def seal(
    request: Request, body: NewSeal, principal: Annotated[Principal, policy(role="security_admin")]
) -> dict[str, Any]:
    """The code is in this answer and nowhere else: print it, seal it, lock it away."""
    services = services_of(request)
    id_, now_ms = fresh_id(services.clock), services.now_ms()
    code = await services.write(lambda c: break_glass.seal(c, principal, id_, body.hours, now_ms))
    return {"id": id_, "hours": body.hours, "seal": code}


@router.post("/open")
async def open_(
    request: Request, body: Opening, principal: Annotated[Principal, policy(users_only=True)]
) -> dict[str, Any]:
    """Gives the caller the duty officer's rights for the hours of the seal. It can be opened once, and under full
    governance not by who sealed it."""
    services = services_of(request)
    now_ms, governance = services.now_ms(), services.settings.node.governance
    try:
        opened = await services.write(
            lambda c: break_glass.open_(c, principal, body.seal, body.reason, now_ms, governance)
        )
    except TiergateError:
        await services.write(lambda c: break_glass.refused(c, principal, now_ms))
        raise
    return as_json(opened)


@router.delete("/{seal_id}")
async def end(
    request: Request, seal_id: str, principal: Annotated[Principal, policy(users_only=True)]
) -> dict[str, Any]:
    """A sealed one becomes void; an opened one ends, and what is looked at by it within seconds."""
    services = services_of(request)
    return as_json(await services.write(lambda c: break_glass.end(c, principal, seal_id, services.now_ms())))


@router.post("/{seal_id}/review")
async def review(
    request: Request,
    seal_id: str,
    body: Review,
    principal: Annotated[Principal, policy(role=("security_admin", "audit_admin"))],
) -> dict[str, Any]:
    """Somebody else's word about what was done with it; the register of those hours is the matter."""
    services = services_of(request)
    return as_json(
        await services.write(lambda c: break_glass.review(c, principal, seal_id, body.words, services.now_ms()))
    )
