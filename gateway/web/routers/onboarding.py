"""Registering cameras: ``POST /cameras``, ``/cameras/probe``, ``/cameras/discover``."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from dataclasses import replace
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.reasons import Reason
from config.redact import Secret, redact_url, split_credentials
from gateway.access.ids import fresh_id
from gateway.cameras import address, discovery, factory_accounts, known_firmware
from gateway.cameras import onboarding as devices
from gateway.cameras.onboarding import SCHEMES, Offer
from gateway.cameras.onvif import Information
from gateway.web import camera_json
from gateway.web.policy import client_of, policy
from gateway.web.services import Services, services_of
from gateway.web.wire import Body, LongText, Name, ShortText, page
from storage.audit import log as audit
from storage.catalog import cameras as rows
from storage.catalog import places
from storage.catalog.cameras import NewCamera
from storage.sites import check_site_type
from tiering.access import Principal

router = APIRouter(prefix="/api/v1", tags=["cameras"])
Url = Annotated[str, Field(min_length=1, max_length=1000)]
Degrees = Annotated[str, Field(max_length=20, pattern=r"^-?[0-9]{1,3}(\.[0-9]{1,10})?$")]


class Address(Body):
    url: Url | None = None
    sub_url: Url | None = None
    onvif: ShortText | None = None
    username: ShortText | None = None
    password: str | None = Field(None, max_length=256)


class Registration(Address):
    id: str | None = Field(None, max_length=20)
    name: Name | None = None
    channel: ShortText | None = None
    region: str | None = Field(None, max_length=12)
    department_id: str | None = Field(None, max_length=120, alias="department")
    site_type: str = Field("street", max_length=40)
    recorded_by: Literal["self", "owner"] = "self"
    sharing: Literal["none", "departments", "upper"] = "none"
    enabled: bool = True
    audio: bool = False
    audio_basis: LongText | None = None
    secrecy: int = Field(0, ge=0, le=1)
    longitude: Degrees | None = None
    latitude: Degrees | None = None
    place: ShortText | None = None
    warm_sub: bool = False
    tier: Literal["city", "district", "street", "community"] | None = None


class Search(Body):
    seconds: float = Field(3.0, gt=0, le=15)


class Source:
    """Where a camera's pictures come from, checked: URLs without credentials, the account apart."""

    def __init__(self, url: str, username: str | None, password: Secret | None) -> None:
        self.url, self.username, self.password = url, username, password


async def checked_source(services: Services, url: str, username: str | None, password: Secret | None) -> Source:
    """Raises camera.scheme_refused, camera.url_malformed, camera.address_not_allowed, web.url_credentials."""
    url = url.strip()
    scheme, colon, _ = url.partition(":")
    if any(unicodedata.category(c) == "Cc" for c in url):
        raise TiergateError(Kind.INVALID, "camera.url_malformed", url=ascii(redact_url(url))[1:121])
    if colon and re.fullmatch("[A-Za-z][A-Za-z0-9+.-]*", scheme) and scheme.lower() not in SCHEMES:
        raise TiergateError(Kind.INVALID, "camera.scheme_refused", scheme=scheme[:20].lower())
    try:
        clean, own_username, own_password = split_credentials(url)
        if not colon or urlsplit(clean).port == 0:
            raise ValueError("no camera there")
    except ValueError:
        raise TiergateError(Kind.INVALID, "camera.url_malformed", url=redact_url(url)[:120]) from None
    if own_username is not None and username is not None:
        raise TiergateError(Kind.INVALID, "web.url_credentials")
    await asyncio.to_thread(address.pinned_url, clean, services.settings.cameras.allowed_networks)
    return Source(clean, own_username or username, own_password or password)


def offer_json(offer: Offer) -> dict[str, Any]:
    return {
        "channel": offer.channel,
        "name": offer.name,
        "ptz": offer.ptz,
        "manufacturer": offer.manufacturer,
        "model": offer.model,
        "serial": offer.serial,
        "firmware": offer.firmware,
        "clock_offset_s": offer.clock_offset_s,
        "streams": [
            {"stream": s.stream, "url": s.url, "codec": s.codec, "width": s.width, "height": s.height}
            for s in offer.streams
        ],
    }


@router.post("/cameras/probe")
async def probe(
    request: Request, body: Address, principal: Annotated[Principal, policy(role="system_admin")]
) -> dict[str, Any]:
    """What a device offers. Nothing is registered; of a device that is, the firmware it names now is what counts."""
    services = services_of(request)
    if (body.url is None) == (body.onvif is None):
        raise TiergateError(Kind.INVALID, "web.camera_source")
    password = None if body.password is None else Secret(body.password)
    if body.url is not None:
        source = await checked_source(services, body.url, body.username, password)
        offers = await devices.describe(
            services.settings, services.clock, url=source.url, username=source.username, password=source.password
        )
    else:
        offers = await devices.describe(
            services.settings, services.clock, onvif=body.onvif, username=body.username, password=password
        )
        await services.write(lambda c: _told_anew(c, offers[0]))
    return page([offer_json(o) for o in offers])


@router.post("/cameras/discover")
async def discover(
    request: Request, body: Search, principal: Annotated[Principal, policy(role="system_admin")]
) -> dict[str, Any]:
    """ONVIF devices that answer on this network."""
    services = services_of(request)
    found = await discovery.discover(body.seconds)
    known = await services.read(lambda c: {u for r in rows.cameras(c).values() if (u := r.onvif_url)})
    hosts = {urlsplit(u).hostname for u in known}
    return page(
        [
            {
                "address": f.address,
                "name": f.name,
                "hardware": f.hardware,
                "known": urlsplit(f"//{f.address}").hostname in hosts,
            }
            for f in found
        ]
    )


@router.post("/cameras", status_code=201)
async def register(
    request: Request, body: Registration, principal: Annotated[Principal, policy(role="system_admin")]
) -> dict[str, Any]:
    """Recording begins within seconds; a camera that does not answer yet says so in its state."""
    services = services_of(request)
    check_site_type(body.site_type)
    if (body.url is None) == (body.onvif is None):
        raise TiergateError(Kind.INVALID, "web.camera_source")
    password = None if body.password is None else Secret(body.password)
    if body.url is not None:
        offer = None
        new, username, password = await _by_url(services, body, body.url, password)
    else:
        new, offer = await _by_onvif(services, body, password)
        username = body.username
    made = await store(services, principal, new, username, password, offer)
    shown = await services.read(
        lambda c: camera_json.of(c, principal, [made.id], services.now_ms(), client_of(request))
    )
    return shown[made.id] | await warnings(services, made.id)


async def warnings(services: Services, camera_id: str) -> dict[str, list[dict[str, Any]]]:
    """What whoever has just registered or changed a camera should know of it."""

    def read(connection: Connection) -> list[Reason]:
        accounts = factory_accounts.cameras_with(connection, services.secrets, [camera_id])
        risks = known_firmware.cameras_with(connection, [camera_id])
        return [
            *(Reason("camera.factory_account", {"camera": id_}) for id_ in accounts),
            *(Reason("camera.bad_firmware", risk.params) for risk in risks),
        ]

    return {"warnings": [reason.as_json() for reason in await services.read(read)]}


def _told_anew(connection: Connection, offer: Offer) -> None:
    if offer.onvif_url is not None and any(r.onvif_url == offer.onvif_url for r in rows.cameras(connection).values()):
        _remember(connection, offer)


def _remember(connection: Connection, offer: Offer) -> None:
    if offer.onvif_url is not None:
        device = Information(offer.manufacturer, offer.model, offer.firmware, offer.serial)
        known_firmware.remember(connection, offer.onvif_url, device)


async def _by_url(
    services: Services, body: Registration, url: str, password: Secret | None
) -> tuple[NewCamera, str | None, Secret | None]:
    main = await checked_source(services, url, body.username, password)
    streams: list[tuple[str, str, str | None]] = [("main", main.url, None)]
    if body.sub_url is not None:
        sub = await checked_source(services, body.sub_url, main.username if "@" not in body.sub_url else None, None)
        streams.append(("sub", sub.url, None))
    name = body.name or (urlsplit(main.url).hostname or "camera")
    return _new(services, body, name, tuple(streams)), main.username, main.password


async def _by_onvif(services: Services, body: Registration, password: Secret | None) -> tuple[NewCamera, Offer]:
    offers = await devices.describe(
        services.settings, services.clock, onvif=body.onvif, username=body.username, password=password
    )
    offer = devices.pick(offers, body.channel, body.onvif or "")
    streams = tuple((s.stream, s.url, s.profile) for s in offer.streams)
    new = _new(
        services, body, body.name or offer.name[:120], streams,
        onvif_url=offer.onvif_url, ptz=offer.ptz, serial=offer.serial[:120] or None, model=offer.model[:120] or None,
    )  # fmt: skip
    return new, offer


def _new(
    services: Services, body: Registration, name: str, streams: tuple[tuple[str, str, str | None], ...], **more: Any
) -> NewCamera:
    return NewCamera(
        name=name,
        region=body.region or services.settings.node.region,
        streams=streams,
        id=body.id,
        department_id=body.department_id,
        site_type=body.site_type,
        recorded_by=body.recorded_by,
        sharing=body.sharing,
        enabled=body.enabled,
        audio=body.audio,
        audio_basis=body.audio_basis,
        secrecy=body.secrecy,
        longitude=body.longitude,
        latitude=body.latitude,
        place=body.place,
        warm_sub=body.warm_sub,
        tier=body.tier,
        **more,
    )


async def store(
    services: Services,
    principal: Principal,
    new: NewCamera,
    username: str | None,
    password: Secret | None,
    offer: Offer | None = None,
) -> rows.Camera:
    def write(connection: Connection) -> rows.Camera:
        now_ms = services.now_ms()
        account = _account(services, connection, new.onvif_url, username, password)
        unit = _department(connection, new.department_id)
        made = rows.create_camera(
            connection,
            replace(new, credential_id=account, department_id=unit),
            services.settings.node.tier,
            services.settings.recorder.shard_size,
            now_ms,
        )
        details = {"name": made.name, "region": made.region, "streams": [s for s, _, _ in new.streams]}
        audit.append(connection, now_ms, principal.actor, "camera.add", made.id, details)
        if offer is not None:
            _remember(connection, offer)
        return made

    return await services.write(write)


def _department(connection: Connection, given: str | None) -> str | None:
    """Lists name departments by their names."""
    units = places.departments(connection)
    return next((u.id for u in units.values() if u.name == given), given)


def _account(
    services: Services, connection: Connection, onvif_url: str | None, username: str | None, password: Secret | None
) -> str | None:
    """The credential row's id: that of another channel of the same recorder with the same account, or a fresh one."""
    if username is None:
        return None
    secret = password or Secret("")
    if onvif_url is not None:
        siblings = {c.credential_id for c in rows.cameras(connection).values() if c.onvif_url == onvif_url}
        for row in rows.credentials(connection, {s for s in siblings if s is not None}).values():
            if row.username == username and services.secrets.open(row) == secret:
                return row.id
    id_ = fresh_id(services.clock)
    rows.put_credential(connection, services.secrets.seal(connection, services.clock, id_, username, secret))
    return id_
