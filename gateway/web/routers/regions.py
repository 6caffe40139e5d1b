"""``/regions``: the tree of places."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy import Connection

from gateway.web.policy import policy
from gateway.web.services import services_of
from gateway.web.wire import Body, Cursor, Limit, Name, page
from storage.audit import log as audit
from storage.catalog import places
from storage.catalog.engine import CHUNK_ROWS
from storage.catalog.places import Region
from tiering.access import Principal

router = APIRouter(prefix="/api/v1", tags=["regions"])


class NewRegion(Body):
    code: str = Field(min_length=2, max_length=12)
    name: Name
    tier: str | None = Field(None, max_length=10)
    parent: str | None = Field(None, max_length=12)
    code_source: str | None = Field(None, max_length=8)


class RegionList(Body):
    csv: str = Field(min_length=1, max_length=1_000_000)


def as_json(region: Region) -> dict[str, Any]:
    return {"code": region.code, "name": region.name, "tier": region.tier, "parent": region.parent}


@router.get("/regions")
async def list_regions(
    request: Request,
    principal: Annotated[Principal, policy(signed_in=True)],
    cursor: Cursor = None,
    limit: Limit = 1000,
) -> dict[str, Any]:
    rows = sorted((await services_of(request).read(places.regions)).values(), key=lambda r: r.code)
    rest = [r for r in rows if cursor is None or r.code > cursor]
    return page([as_json(r) for r in rest[:limit]], rest[limit - 1].code if len(rest) > limit else None)


@router.post("/regions", status_code=201)
async def add_region(
    request: Request, body: NewRegion, principal: Annotated[Principal, policy(role="system_admin")]
) -> dict[str, Any]:
    services = services_of(request)
    made = places.make_region(body.code, body.name, body.tier, body.parent, body.code_source)

    def write(connection: Connection) -> None:
        places.put_regions(connection, places.in_order([made], places.regions(connection)), services.now_ms())
        audit.append(connection, services.now_ms(), principal.actor, "region.put", made.code, as_json(made))

    await services.write(write)
    return as_json(made)


@router.post("/regions/import")
async def import_regions(
    request: Request, body: RegionList, principal: Annotated[Principal, policy(role="system_admin")]
) -> dict[str, Any]:
    """All or nothing is judged before; written in chunks, parents first, so that a crash leaves a valid tree."""
    services = services_of(request)
    wanted = places.parse_regions(body.csv)
    known = await services.read(places.regions)
    ordered = places.in_order(wanted, known)
    for start in range(0, len(ordered), CHUNK_ROWS):
        chunk = ordered[start : start + CHUNK_ROWS]
        await services.write(lambda c, rows=chunk: places.put_regions(c, rows, services.now_ms()))  # type: ignore[misc]  # a default binds the loop's value
    details = {"rows": len(ordered), "new": len({r.code for r in ordered} - set(known))}
    await services.write(
        lambda c: audit.append(c, services.now_ms(), principal.actor, "region.import", "regions", details)
    )
    return details
