"""``/areas``: key places; a camera's class is the highest of its areas'."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from gateway.access.ids import fresh_id
from gateway.web.policy import policy
from gateway.web.services import services_of
from gateway.web.wire import Body, Cursor, Limit, Name, TimeMs, page
from storage.audit import log as audit
from storage.catalog import places
from storage.catalog.places import Area
from tiering.access import ROLES, Principal

router = APIRouter(prefix="/api/v1", tags=["areas"])


_REGIONS = "Instead of cameras: all cameras of these regions and below, those too that come later."


class NewArea(Body):
    name: Name
    class_name: str = Field("key", alias="class", max_length=20)
    document_no: Name
    cameras: list[str] = Field(default_factory=list, max_length=5000)
    regions: list[str] = Field(default_factory=list, max_length=100, description=_REGIONS)
    from_: TimeMs | None = Field(None, alias="from")
    to: TimeMs | None = None


class ChangedArea(Body):
    name: Name | None = None
    document_no: Name | None = None
    cameras: list[str] | None = Field(None, max_length=5000)
    regions: list[str] | None = Field(None, max_length=100, description=_REGIONS)
    to: TimeMs | None = None


def as_json(row: Area) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "class": row.class_name,
        "document_no": row.document_no,
        "valid_from_ms": row.valid_from_ms,
        "valid_to_ms": row.valid_to_ms,
        "cameras": list(row.cameras),
        "regions": list(row.regions),
    }


@router.get("/areas")
async def list_areas(
    request: Request,
    principal: Annotated[Principal, policy(role=tuple(ROLES))],
    cursor: Cursor = None,
    limit: Limit = 1000,
) -> dict[str, Any]:
    services = services_of(request)
    found = await services.read(lambda c: places.areas(c, services.now_ms()))
    rest = [r for r in sorted(found.values(), key=lambda a: a.id) if cursor is None or r.id > cursor]
    return page([as_json(r) for r in rest[:limit]], rest[limit - 1].id if len(rest) > limit else None)


@router.post("/areas", status_code=201)
async def add_area(
    request: Request, body: NewArea, principal: Annotated[Principal, policy(role=("system_admin", "duty"))]
) -> dict[str, Any]:
    services = services_of(request)
    from_ms = services.now_ms() if body.from_ is None else body.from_
    if body.to is not None and body.to <= from_ms:
        raise TiergateError(Kind.INVALID, "time.range_empty")
    row = Area(
        fresh_id(services.clock), body.name, body.class_name, body.document_no, from_ms, body.to, tuple(body.cameras),
        tuple(body.regions),
    )  # fmt: skip

    def write(connection: Connection) -> Area:
        places.add_area(connection, row)
        made = places.areas(connection, from_ms).get(row.id, row)
        audit.append(connection, services.now_ms(), principal.actor, "area.add", row.id, as_json(made))
        return made

    return as_json(await services.write(write))


@router.patch("/areas/{area_id}")
async def change_area(
    request: Request,
    area_id: str,
    body: ChangedArea,
    principal: Annotated[Principal, policy(role=("system_admin", "duty"))],
) -> dict[str, Any]:
    """From now on; what was before stays as it was, so no end lies before now. Another class is another area: footage
    keeps what it was given."""
    services = services_of(request)
    if body.cameras and body.regions:
        raise TiergateError(Kind.INVALID, "access.area_mixed")

    def write(connection: Connection) -> Area | None:
        now_ms = services.now_ms()
        places.change_area(connection, area_id, body.name, body.document_no)
        if "to" in body.model_fields_set:
            places.set_area_end(connection, area_id, body.to, now_ms)
        if body.regions:
            places.set_area_regions(connection, area_id, body.regions, now_ms)
        elif body.cameras is not None:
            places.set_area_cameras(connection, area_id, body.cameras, now_ms)
        details = body.model_dump(exclude_unset=True, by_alias=True)
        audit.append(connection, now_ms, principal.actor, "area.change", area_id, details)
        return places.areas(connection, now_ms).get(area_id)

    changed = await services.write(write)
    return {"id": area_id, "ended": True} if changed is None else as_json(changed)


@router.delete("/areas/{area_id}", status_code=204)
async def end_area(
    request: Request, area_id: str, principal: Annotated[Principal, policy(role="system_admin")]
) -> Response:
    """Ends now; footage that was of its class stays of its class."""
    services = services_of(request)

    def write(connection: Connection) -> None:
        now_ms = services.now_ms()
        places.end_area(connection, area_id, now_ms)
        audit.append(connection, now_ms, principal.actor, "area.end", area_id, {})

    await services.write(write)
    return Response(status_code=204)
