"""``/departments``: units that cameras belong to and footage is shared with."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind
from config.ids import region_code
from gateway.access.ids import fresh_id
from gateway.web.policy import policy
from gateway.web.services import services_of
from gateway.web.wire import Body, Cursor, Limit, Name, page
from storage.audit import log as audit
from storage.catalog import places
from storage.catalog.places import Department
from tiering.access import ROLES, Principal

router = APIRouter(prefix="/api/v1", tags=["departments"])
_ADMINS = ("system_admin", "security_admin")


class NewDepartment(Body):
    name: Name
    region: str | None = Field(None, min_length=2, max_length=12)


class ChangedDepartment(Body):
    name: Name


def as_json(row: Department) -> dict[str, Any]:
    return {"id": row.id, "name": row.name, "region": row.region, "created_ms": row.created_ms}


@router.get("/departments")
async def list_departments(
    request: Request,
    principal: Annotated[Principal, policy(role=tuple(ROLES))],
    cursor: Cursor = None,
    limit: Limit = 1000,
) -> dict[str, Any]:
    rows = sorted((await services_of(request).read(places.departments)).values(), key=lambda d: d.id)
    rest = [r for r in rows if cursor is None or r.id > cursor]
    return page([as_json(r) for r in rest[:limit]], rest[limit - 1].id if len(rest) > limit else None)


@router.post("/departments", status_code=201)
async def add_department(
    request: Request, body: NewDepartment, principal: Annotated[Principal, policy(role=_ADMINS)]
) -> dict[str, Any]:
    services = services_of(request)
    region, id_ = region_code(body.region or services.settings.node.region), fresh_id(services.clock)

    def write(connection: Connection) -> Department:
        made = places.add_department(connection, id_, body.name, region, services.now_ms())
        audit.append(connection, services.now_ms(), principal.actor, "department.add", id_, {"name": body.name})
        return made

    return as_json(await services.write(write))


@router.patch("/departments/{department_id}")
async def change_department(
    request: Request,
    department_id: str,
    body: ChangedDepartment,
    principal: Annotated[Principal, policy(role=_ADMINS)],
) -> dict[str, Any]:
    services = services_of(request)

    def write(connection: Connection) -> Department:
        _exists(connection, department_id)
        places.rename_department(connection, department_id, body.name)
        audit.append(
            connection, services.now_ms(), principal.actor, "department.rename", department_id, {"name": body.name}
        )
        return places.require_department(connection, department_id)

    return as_json(await services.write(write))


@router.delete("/departments/{department_id}", status_code=204)
async def remove_department(
    request: Request, department_id: str, principal: Annotated[Principal, policy(role=_ADMINS)]
) -> Response:
    """Its tokens count as revoked from now on."""
    services = services_of(request)

    def write(connection: Connection) -> None:
        _exists(connection, department_id)
        places.remove_department(connection, department_id, services.now_ms())
        audit.append(connection, services.now_ms(), principal.actor, "department.remove", department_id, {})

    await services.write(write)
    return Response(status_code=204)


def _exists(connection: Connection, department_id: str) -> None:
    if department_id not in places.departments(connection):
        raise places.department_unknown(connection, department_id, Kind.NOT_FOUND)
