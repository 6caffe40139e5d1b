"""``/audit/checkpoint``: the head of the audit log, signed now: what makes an export prove its own end."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request

from gateway.web.policy import policy
from gateway.web.services import services_of
from storage.audit import log
from tiering.access import Principal

router = APIRouter(prefix="/api/v1", tags=["audit"])


@router.get("/audit/checkpoint")
async def checkpoint(request: Request, principal: Annotated[Principal, policy(role="audit_admin")]) -> dict[str, Any]:
    services = services_of(request)
    made = await services.read(lambda c: log.checkpoint(c, services.keys.node, services.now_ms()))
    return made.as_json()
