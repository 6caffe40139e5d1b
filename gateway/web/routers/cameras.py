"""``/cameras``: list, show, change, remove, steer. Registering is in `onboarding`, the timeline in `timeline`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy import Connection, select

from config.errors import Kind, TiergateError
from config.ids import region_code
from config.redact import Secret
from gateway.access.ids import fresh_id
from gateway.cameras.ptz import Steering, Target
from gateway.web import camera_json
from gateway.web.policy import client_of, policy
from gateway.web.routers.onboarding import Degrees, Source, Url, checked_source, warnings
from gateway.web.services import Services, services_of
from gateway.web.wire import Body, Cursor, LongText, Name, ShortText, page
from storage.audit import log as audit
from storage.catalog import cameras as rows
from storage.catalog import places
from storage.catalog.cameras import StreamRow
from storage.catalog.tables import peer_camera
from tiering.access import Function, Principal

router = APIRouter(prefix="/api/v1", tags=["cameras"])


class Changes(Body):
    name: Name | None = None
    url: Url | None = None
    sub_url: Annotated[str, Field(max_length=1000)] | None = None  #: "" takes the sub stream away
    username: ShortText | None = None
    password: str | None = Field(None, max_length=256)
    enabled: bool | None = None
    sharing: Literal["none", "departments", "upper"] | None = None
    department_id: str | None = Field(None, max_length=26, alias="department")
    region: str | None = Field(None, max_length=12)
    site_type: str | None = Field(None, max_length=40)
    recorded_by: Literal["self", "owner"] | None = None
    audio: bool | None = None
    audio_basis: LongText | None = None
    secrecy: int | None = Field(None, ge=0, le=1)
    longitude: Degrees | None = None
    latitude: Degrees | None = None
    place: ShortText | None = None
    schedule: str | None = Field(None, max_length=400)  #: windows of the week in which it is recorded; null: always


class Movement(Body):
    pan: float = Field(0, ge=-1, le=1)
    tilt: float = Field(0, ge=-1, le=1)
    zoom: float = Field(0, ge=-1, le=1)
    stop: bool = False


_PLAIN = (
    "name",
    "enabled",
    "sharing",
    "department_id",
    "region",
    "site_type",
    "recorded_by",
    "audio",
    "audio_basis",
    "secrecy",
    "longitude",
    "latitude",
    "place",
    "schedule",
)
#: May be emptied by null; for the others null means "leave as it is".
_EMPTIABLE = frozenset({"department_id", "longitude", "latitude", "place", "schedule"})
_BATCH = 200


@router.get("/cameras")
async def list_cameras(
    request: Request,
    principal: Annotated[Principal, policy(signed_in=True)],
    region: Annotated[str | None, Query(max_length=12)] = None,
    q: Annotated[str | None, Query(max_length=100)] = None,
    scope: Literal["own", "lower", "all"] = "all",
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """The caller's catalogue in the order of ids."""
    services, client = services_of(request), client_of(request)
    code = None if region is None else region_code(region)
    ids = await services.read(lambda c: _candidates(c, code, q, scope, cursor))
    items: list[dict[str, Any]] = []
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        found = await services.read(_shower(services, principal, batch, client))
        items += [found[i] for i in batch if i in found]
        if len(items) > limit:
            break
    more = len(items) > limit
    return page(items[:limit], items[limit - 1]["id"] if more else None)


def _shower(services: Services, principal: Principal, ids: Iterable[str], client: str) -> Any:
    return lambda c: camera_json.of(c, principal, ids, services.now_ms(), client)


def _candidates(connection: Connection, code: str | None, q: str | None, scope: str, after: str | None) -> list[str]:
    below = None if code is None else places.subtree(places.regions(connection), code)
    found: set[str] = set()
    if scope != "lower":
        found |= {c.id for c in rows.search(connection, below, q, after, 100_000)}
    if scope != "own":
        query = select(peer_camera.c.camera_id, peer_camera.c.name, peer_camera.c.region)
        for row in connection.execute(query.where(peer_camera.c.removed_ms.is_(None))):
            inside = code is None or row.region.startswith(code) or (below is not None and row.region in below)
            named = not q or q.lower() in row.name.lower() or q in row.camera_id
            if inside and named and (after is None or row.camera_id > after):
                found.add(row.camera_id)
    return sorted(found)


@router.get("/cameras/{camera_id}")
async def show(
    request: Request, camera_id: str, principal: Annotated[Principal, policy(camera=True)]
) -> dict[str, Any]:
    services = services_of(request)
    return await _shown(services, principal, camera_id, client_of(request))


async def _shown(services: Services, principal: Principal, camera_id: str, client: str) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = await services.read(_shower(services, principal, [camera_id], client))
    if camera_id not in found:
        raise TiergateError(Kind.NOT_FOUND, "access.not_found")
    return found[camera_id]


@router.patch("/cameras/{camera_id}")
async def change(
    request: Request,
    camera_id: str,
    body: Changes,
    principal: Annotated[Principal, policy(function=Function.MANAGE)],
) -> dict[str, Any]:
    services = services_of(request)
    given = body.model_fields_set
    values = {k: getattr(body, k) for k in _PLAIN if k in given and (getattr(body, k) is not None or k in _EMPTIABLE)}
    password = None if body.password is None else Secret(body.password)
    urls: dict[str, Source] = {}
    for stream, url in (("main", body.url), ("sub", body.sub_url)):
        if url:
            urls[stream] = await checked_source(services, url, body.username if stream == "main" else None, password)

    def write(connection: Connection) -> None:
        now_ms = services.now_ms()
        before = rows.cameras(connection, [camera_id])[camera_id]
        own = urls.get("main")
        username, secret = (own.username, own.password) if own is not None else (body.username, password)
        account = _account(services, connection, before.credential_id, username, secret)
        if account is not None:
            values["credential_id"] = account
        rows.change_camera(connection, camera_id, values, now_ms)
        known = rows.streams(connection, [camera_id]).get(camera_id, {})
        for stream, source in urls.items():
            old = known.get(stream)
            rows.put_stream(connection, StreamRow(camera_id, stream, source.url, warm=old.warm if old else False))
        if body.sub_url == "":
            rows.drop_stream(connection, camera_id, "sub")
        details = sorted(given)
        audit.append(
            connection, now_ms, principal.actor, "camera.change", camera_id, {"fields": details} | _public(values)
        )

    await services.write(write)
    shown = await _shown(services, principal, camera_id, client_of(request))
    return shown | await warnings(services, camera_id)


def _public(values: dict[str, Any]) -> dict[str, Any]:
    told = ("recorded_by", "sharing", "enabled", "audio", "audio_basis", "secrecy", "region", "schedule")
    return {k: v for k, v in values.items() if k in told}


def _account(
    services: Services, connection: Connection, credential_id: str | None, username: str | None, password: Secret | None
) -> str | None:
    """A changed account keeps its row: it may serve all channels of a recorder."""
    if username is None and password is None:
        return None
    old = rows.credentials(connection, [credential_id or ""]).get(credential_id or "")
    name = username if username is not None else (old.username if old else "")
    secret = password if password is not None else (services.secrets.open(old) if old else Secret(""))
    id_ = old.id if old else fresh_id(services.clock)
    rows.put_credential(connection, services.secrets.seal(connection, services.clock, id_, name, secret))
    return id_


@router.delete("/cameras/{camera_id}", status_code=204)
async def remove(
    request: Request, camera_id: str, principal: Annotated[Principal, policy(function=Function.MANAGE)]
) -> Response:
    """Its footage stays until its time ends."""
    services = services_of(request)

    def write(connection: Connection) -> None:
        rows.remove_camera(connection, camera_id, services.now_ms())
        audit.append(connection, services.now_ms(), principal.actor, "camera.remove", camera_id, {})

    await services.write(write)
    return Response(status_code=204)


@router.post("/cameras/{camera_id}/ptz", status_code=204)
async def steer(
    request: Request,
    camera_id: str,
    body: Movement,
    principal: Annotated[Principal, policy(function=Function.PTZ)],
    purpose: Annotated[str, Query(max_length=40)] = "daily_watch",
) -> Response:
    """A movement ends by itself after a second unless it is renewed."""
    services = services_of(request)
    steering = services.parts.setdefault("steering", Steering(services.settings, services.clock))
    target = await services.read(lambda c: _target(services, c, camera_id))
    if body.stop:
        await steering.stop(target)
        return Response(status_code=204)
    async with services.looks.open(principal, Function.PTZ, camera_id, purpose=purpose, client=client_of(request)):
        await steering.move(target, body.pan, body.tilt, body.zoom)
    return Response(status_code=204)


def _target(services: Services, connection: Connection, camera_id: str) -> Target:
    """Raises camera.no_ptz."""
    camera = rows.cameras(connection, [camera_id]).get(camera_id)
    streams = rows.streams(connection, [camera_id]).get(camera_id, {})
    profile = next((s.profile for s in streams.values() if s.profile), None)
    if camera is None or not camera.ptz or camera.onvif_url is None or profile is None:
        raise TiergateError(Kind.CONFLICT, "web.no_ptz")
    account = rows.credentials(connection, [camera.credential_id or ""]).get(camera.credential_id or "")
    username = account.username if account else ""
    password = services.secrets.open(account) if account else Secret("")
    return Target(camera_id, camera.onvif_url, profile, username, password)
