"""``/healthz``, ``/readyz``, ``/metrics``: for machines that watch the node. No names, no secrets, no pictures."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from config.errors import TiergateError
from gateway.ops import metrics
from gateway.rtsp.server import RtspServer
from gateway.web.policy import client_of, policy
from gateway.web.routers.links import relay_of
from gateway.web.services import Services, services_of
from tiering.access import Principal

router = APIRouter(tags=["operations"])
RELAY_S = 1.0  #: a scrape waits no longer for the relay's counts


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
    facts += await asyncio.to_thread(metrics.disks, services.settings)
    refused = {**services.limits.refused, **await _refused_by_the_relay(services)}
    here = [metrics.looks_running(len(services.looks.running)), metrics.requests_refused(refused)]
    served = services.parts.get("rtsp")
    if isinstance(served, RtspServer):
        counted = served.counters
        here += metrics.rtsp(
            served.connections, served.streams, counted.refused, counted.malformed, counted.turned_away
        )
    body, media_type = metrics.render([*facts, *here])
    return Response(body, media_type=media_type)


async def _refused_by_the_relay(services: Services) -> dict[str, int]:
    """Nothing where no relay answers: what is not known is not 0."""
    try:
        async with asyncio.timeout(RELAY_S):
            refused: dict[str, int] = (await relay_of(services).status())["refused"]
    except (TiergateError, TimeoutError):
        return {}
    return refused
