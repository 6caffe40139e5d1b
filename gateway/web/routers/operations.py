"""``/healthz``, ``/readyz``, ``/metrics``: for machines that watch the node. No names, no secrets, no pictures."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from gateway.ops import metrics
from gateway.rtsp.server import RtspServer
from gateway.web.policy import client_of, policy
from gateway.web.services import services_of
from tiering.access import Principal

router = APIRouter(tags=["operations"])


@router.get("/healthz")
async def healthz(principal: Annotated[Principal | None, policy(public=True, unlimited=True)]) -> dict[str, Any]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(
    request: Request, principal: Annotated[Principal | None, policy(public=True, unlimited=True)]
) -> Response:
    """The catalog answers as well."""
    await services_of(request).catalog.aversion()
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=PlainTextResponse)
async def show_metrics(request: Request, principal: Annotated[Principal | None, policy(public=True)]) -> Response:
    """For the machine itself, or for whoever signs in: counts tell about a place, too."""
    services = services_of(request)
    metrics.require_local_or_signed_in(client_of(request), principal)
    facts = await services.read(lambda c: metrics.read_facts(c, services.settings, services.now_ms()))
    here = [metrics.looks_running(len(services.looks.running)), metrics.requests_refused(services.limits.refused)]
    served = services.parts.get("rtsp")
    if isinstance(served, RtspServer):
        counted = served.counters
        here += metrics.rtsp(
            served.connections, served.streams, counted.refused, counted.malformed, counted.turned_away
        )
    body, media_type = metrics.render([*facts, *here])
    return Response(body, media_type=media_type)
