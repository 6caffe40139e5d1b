"""``/audit/checkpoint``: the head of the audit log, signed now: what makes an export prove its own end.
``/audit/review``: a person's word about an end that was cut.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from gateway.web.policy import policy
from gateway.web.services import Services, services_of
from gateway.web.wire import Body, LongText
from storage.audit import log, signed
from storage.audit.signed import Standing
from storage.objects import make_store
from tiering.access import Principal

router = APIRouter(prefix="/api/v1", tags=["audit"])


class Review(Body):
    words: LongText = Field(min_length=5, max_length=2000)


async def standing_of(services: Services) -> Standing:
    """What the signed heads in the store say of the log. Raises what the store raises."""

    def work() -> Standing:
        keys, store = services.keys, make_store(services.settings)
        return signed.judge(services.catalog.read, store, keys.node_id, keys.node_public, services.now_ms())

    return await asyncio.to_thread(work)


@router.get("/audit/checkpoint")
async def checkpoint(request: Request, principal: Annotated[Principal, policy(role="audit_admin")]) -> dict[str, Any]:
    services = services_of(request)
    made = await services.read(lambda c: log.checkpoint(c, services.keys.node, services.now_ms()))
    return made.as_json()


@router.post("/audit/review")
async def review(
    request: Request,
    body: Review,
    principal: Annotated[Principal, policy(role=("security_admin", "audit_admin"))],
) -> dict[str, Any]:
    """What was found about an end of the log that was cut. The alarm ends, and heads are signed again; the cut and
    these words stay in the log. 409 where nothing was cut."""
    services = services_of(request)
    keys, now_ms = services.keys, services.now_ms()
    cut = (await standing_of(services)).cut
    return {
        "reviewed": await services.write(
            lambda c: signed.review(c, keys.node_id, keys.node, cut, principal.actor, body.words, now_ms)
        )
    }
