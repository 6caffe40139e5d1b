"""``/cameras/{id}/attestations``: how many days an owner's recorder keeps, as its unit answers for it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from gateway.access.ids import fresh_id
from gateway.web.policy import policy
from gateway.web.services import services_of
from gateway.web.wire import Body, Name, TimeMs, page
from storage.attested import Attestation, judge_until
from storage.audit import log as audit
from storage.catalog import attestations, cameras
from storage.reach_view import kept_elsewhere
from storage.sweeper import Policies
from tiering.access import Function, Principal

router = APIRouter(prefix="/api/v1/cameras/{camera_id}/attestations", tags=["cameras"])


class New(Body):
    days: int = Field(ge=0, le=3_660)  #: 0: the recorder keeps nothing
    attested_by: Name
    document: Name
    valid_until: TimeMs


@router.get("")
async def show(
    request: Request, camera_id: str, principal: Annotated[Principal, policy(function=Function.MANAGE)]
) -> dict[str, Any]:
    """All that were entered, the newest first: that one counts."""
    found = await services_of(request).read(lambda c: attestations.of(c, camera_id))
    return page([row.as_json() for row in found])


@router.post("", status_code=201)
async def attest(
    request: Request,
    camera_id: str,
    body: New,
    principal: Annotated[Principal, policy(function=Function.MANAGE)],
) -> dict[str, Any]:
    """Of a camera with `recorded_by=owner`; takes the place of what was attested before. `reason` and `state` say how
    the camera stands now: also fewer days than its class asks for are taken down."""
    services = services_of(request)

    def write(connection: Connection) -> dict[str, Any]:
        now_ms = services.now_ms()
        if cameras.cameras(connection, [camera_id])[camera_id].recorded_by != "owner":
            raise TiergateError(Kind.CONFLICT, "retention.attest_recorded_here", camera=camera_id)
        refusal = judge_until(body.valid_until, now_ms)
        if refusal is not None:
            raise TiergateError(Kind.INVALID, refusal.code, field="valid_until", **refusal.params)
        before = attestations.newest(connection, [camera_id]).get(camera_id)
        # A clock that was set back does not make an earlier word the last one.
        made_ms = now_ms if before is None else max(now_ms, before.made_ms + 1)
        row = Attestation(
            fresh_id(services.clock), camera_id, body.days, body.attested_by, body.document, body.valid_until, made_ms,
            principal.actor,
        )  # fmt: skip
        attestations.add(connection, row)
        told = row.as_json()
        details = {name: told[name] for name in ("id", "days", "attested_by", "document", "valid_until_ms")}
        audit.append(connection, now_ms, principal.actor, "camera.attest", camera_id, details)
        (standing,) = kept_elsewhere(connection, Policies.read(connection), now_ms, [camera_id])
        return told | standing.as_json()

    return await services.write(write)
