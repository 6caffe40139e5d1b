"""``/node``: which node this is. Public: the sign-in page shows it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from fastapi import APIRouter, Request

from config.ids import region_code
from gateway.evidence.verifier import fingerprint
from gateway.web.policy import policy
from gateway.web.services import services_of
from storage.catalog import places
from tiering.access import Principal

router = APIRouter(prefix="/api/v1", tags=["node"])


def _version() -> str:
    try:
        return version("tiergate")
    except PackageNotFoundError:
        return "0"


@router.get("/node")
async def show(request: Request, principal: Annotated[Principal | None, policy(public=True)]) -> dict[str, Any]:
    services = services_of(request)
    node = services.settings.node
    code = region_code(node.region)
    names = await services.read(lambda c: places.region_names(c, [code]))
    return {
        "name": node.name,
        "region": code,
        "region_name": names.get(code, code),
        "tier": node.tier,
        "node_id": services.keys.node_id,
        "fingerprint": fingerprint(services.keys.node_public),
        "version": _version(),
        "language": node.language,
        "now_ms": services.now_ms(),
    }
