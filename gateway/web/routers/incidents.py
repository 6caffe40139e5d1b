"""``/incidents``: number, place, time, cameras near it. They open a wall and fill the pull dialog; no case
management.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.ids import CameraId
from gateway.access.ids import fresh_id
from gateway.web.policy import policy
from gateway.web.services import services_of
from gateway.web.wire import Body, Name, ShortText, TimeMs, page
from storage.audit import log as audit
from storage.catalog import incidents
from storage.catalog.incidents import IncidentRow
from tiering.access import Principal

router = APIRouter(prefix="/api/v1/incidents", tags=["incidents"])
Keeper = Annotated[Principal, policy(role=("duty", "operator"))]


class NewIncident(Body):
    number: str = Field(min_length=1, max_length=80)
    place: ShortText = Field(min_length=1)
    cameras: list[str] = Field(default_factory=list, max_length=200)
    at: TimeMs | None = None


class ChangedIncident(Body):
    place: Name | None = None
    cameras: list[str] | None = Field(None, max_length=200)
    closed: bool | None = None


def as_json(row: IncidentRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "number": row.number,
        "place": row.place,
        "at_ms": row.at_ms,
        "cameras": row.cameras,
        "closed_ms": row.closed_ms,
    }


def _checked(cameras: list[str]) -> list[str]:
    return [str(CameraId.parse(camera)) for camera in dict.fromkeys(cameras)]


@router.get("")
async def list_incidents(
    request: Request, principal: Annotated[Principal, policy(users_only=True)], closed: bool = False
) -> dict[str, Any]:
    rows = await services_of(request).read(lambda c: incidents.listed(c, closed))
    return page([as_json(row) for row in rows])


@router.post("", status_code=201)
async def open_incident(request: Request, body: NewIncident, principal: Keeper) -> dict[str, Any]:
    services = services_of(request)
    now_ms = services.now_ms()
    row = IncidentRow(
        fresh_id(services.clock), body.number.strip(), body.place, body.at or now_ms, _checked(body.cameras)
    )  # fmt: skip

    def change(connection: Connection) -> None:
        if incidents.by_number(connection, row.number) is not None:
            raise TiergateError(Kind.CONFLICT, "tier.incident_exists", number=row.number)
        incidents.add(connection, row)
        audit.append(connection, now_ms, principal.actor, "incident.open", row.id, as_json(row))

    await services.write(change)
    return as_json(row)


@router.get("/{incident_id}")
async def show(
    request: Request, incident_id: str, principal: Annotated[Principal, policy(users_only=True)]
) -> dict[str, Any]:
    row = await services_of(request).read(lambda c: incidents.get(c, incident_id))
    if row is None:
        raise TiergateError(Kind.NOT_FOUND, "tier.incident_unknown")
    return as_json(row)


@router.patch("/{incident_id}")
async def change_incident(
    request: Request, incident_id: str, body: ChangedIncident, principal: Keeper
) -> dict[str, Any]:
    services = services_of(request)
    now_ms = services.now_ms()
    values: dict[str, Any] = {}
    if body.place is not None:
        values["place"] = body.place
    if body.cameras is not None:
        values["cameras"] = _checked(body.cameras)
    if body.closed is not None:
        values["closed_ms"] = now_ms if body.closed else None

    def change(connection: Connection) -> IncidentRow:
        if incidents.get(connection, incident_id) is None:
            raise TiergateError(Kind.NOT_FOUND, "tier.incident_unknown")
        if values:
            incidents.change(connection, incident_id, values)
            audit.append(connection, now_ms, principal.actor, "incident.change", incident_id, values)
        found = incidents.get(connection, incident_id)
        if found is None:
            raise TiergateError(Kind.NOT_FOUND, "tier.incident_unknown")
        return found

    return as_json(await services.write(change))
