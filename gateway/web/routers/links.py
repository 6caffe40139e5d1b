"""``/links``: pairing with nodes above and below; suspend, resume, remove. A suspended link stops every running
pull.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from gateway.relay import certificate, pairing
from gateway.relay.control import RelayControl
from gateway.web.policy import policy
from gateway.web.services import Services, services_of
from gateway.web.wire import Body, page
from storage.audit import log as audit
from storage.catalog import leases, links
from storage.catalog.links import LinkRow
from tiering import pins, quota
from tiering.access import Principal

router = APIRouter(prefix="/api/v1/links", tags=["links"])
Manager = Annotated[Principal, policy(role="security_admin")]


class NewInvite(Body):
    peer_role: Literal["upper", "lower"]  #: what the accepting node becomes to us


class Accept(Body):
    code: str = Field(min_length=8, max_length=2000)
    url: str | None = Field(None, max_length=300)  #: where the inviting node is reached, if not as it says


class ChangedLink(Body):
    kind: Literal["dedicated", "shared", "diode"] | None = None
    capacity_bps: int | None = Field(None, ge=100_000, le=10**12)
    #: Bytes of our pictures that the upper node may be given in any 24 hours.
    bytes_per_day: int | None = Field(None, ge=1_000_000, le=10**15)
    suspended: bool | None = None
    url: str | None = Field(None, min_length=8, max_length=300)


def relay_of(services: Services) -> RelayControl:
    """The relay's control socket; made at the first need, closed with the process."""
    control = services.parts.get("relay")
    if not isinstance(control, RelayControl):
        control = services.parts["relay"] = RelayControl(services.settings.paths.run_dir / "relay.sock")
    return control


@dataclass(frozen=True, slots=True)
class _More:
    """What is shown of a link and does not stand in its row."""

    bytes_left: int | None  #: of today's quota of pictures upward; None: we are the upper node, the other one counts
    knows_certificate: bool | None  #: what our relay shows, or will show next; None: as it was paired


def as_json(row: LinkRow, more: _More, problem: Any = None) -> dict[str, Any]:
    return {
        "id": row.id,
        "peer_node": row.peer_node,
        "peer_name": row.peer_name,
        "peer_region": row.peer_region,
        "peer_tier": row.peer_tier,
        "peer_role": row.peer_role,
        "url": row.url,
        "kind": row.kind,
        "capacity_bps": row.capacity_bps,
        "bytes_per_day": row.bytes_per_day,
        "bytes_left": more.bytes_left,
        "pinned": row.tls_sha256 is not None,
        "knows_certificate": more.knows_certificate,
        "created_ms": row.created_ms,
        "suspended_ms": row.suspended_ms,
        "last_seen_ms": row.last_seen_ms,
        "problem": problem,
    }


@router.get("")
async def list_links(request: Request, principal: Annotated[Principal, policy(users_only=True)]) -> dict[str, Any]:
    """With what the relay last met when it asked a lower node."""
    services = services_of(request)
    now_ms = services.now_ms()
    listed = await services.read(lambda c: [(row, _more(c, row, now_ms)) for row in links.all_of(c)])
    problems: dict[str, Any] = {}
    if any(row.peer_role == "lower" for row, _ in listed):
        try:
            problems = (await relay_of(services).status())["problems"]
        except TiergateError as exc:
            problems = {row.id: exc.reason.as_json() for row, _ in listed}
    return page([as_json(row, more, problems.get(row.id)) for row, more in listed])


@router.post("/invite", status_code=201)
async def invite(request: Request, body: NewInvite, principal: Manager) -> dict[str, Any]:
    """A one-time code, good for 15 minutes; whoever redeems it becomes our upper or lower node."""
    services = services_of(request)
    settings, keys = services.settings, services.keys
    shown = await services.read(lambda c: certificate.shown(c, settings))
    card = pairing.own_card(settings, keys.node_id, keys.node_public, certificate=shown)
    code, expires_ms = await pairing.invite(services.catalog, card, body.peer_role, principal.actor, services.now_ms())
    return {"code": code, "expires_ms": expires_ms, "peer_role": body.peer_role, "url": card.url}


@router.post("/accept", status_code=201)
async def accept(request: Request, body: Accept, principal: Manager) -> dict[str, Any]:
    services = services_of(request)
    made = await relay_of(services).accept_link(body.code, principal.actor, body.url)
    services.watch.bump()
    return await _shown(services, made)


def _more(connection: Connection, row: LinkRow, now_ms: int) -> _More:
    bytes_left = quota.left(connection, row, now_ms) if row.peer_role == "upper" else None
    state = pins.own(connection)
    return _More(bytes_left, None if state is None else state.is_taken(row.tls_told_ms, row.created_ms))


async def _shown(services: Services, link_id: str) -> dict[str, Any]:
    row, now_ms = await _row(services, link_id), services.now_ms()
    return as_json(row, await services.read(lambda c: _more(c, row, now_ms)))


async def _row(services: Services, link_id: str) -> LinkRow:
    row = await services.read(lambda c: links.get(c, link_id))
    if row is None or row.removed_ms is not None:
        raise TiergateError(Kind.NOT_FOUND, "tier.link_unknown")
    return row


@router.get("/{link_id}")
async def get_link(
    request: Request, link_id: str, principal: Annotated[Principal, policy(users_only=True)]
) -> dict[str, Any]:
    return await _shown(services_of(request), link_id)


@router.patch("/{link_id}")
async def change_link(request: Request, link_id: str, body: ChangedLink, principal: Manager) -> dict[str, Any]:
    services = services_of(request)
    row, now_ms = await _row(services, link_id), services.now_ms()
    values: dict[str, Any] = {}
    if body.kind is not None:
        values["kind"] = body.kind
    if body.capacity_bps is not None:
        values["capacity_bps"] = body.capacity_bps
    if body.bytes_per_day is not None:
        if row.peer_role != "upper":
            raise TiergateError(Kind.CONFLICT, "tier.quota_upward", name=row.peer_name)
        values["bytes_per_day"] = body.bytes_per_day
    if body.url is not None:
        from tiering.wire import checked_url

        values["url"] = checked_url(body.url)
    if body.suspended is not None and body.suspended != (row.suspended_ms is not None):
        values["suspended_ms"] = now_ms if body.suspended else None

    def change(connection: Connection) -> None:
        if not values:
            return
        links.change(connection, link_id, values)
        if values.get("suspended_ms") is not None:
            _end_leases(connection, link_id, now_ms, "suspended")
        audit.append(connection, now_ms, principal.actor, "link.change", link_id, values)

    await services.write(change)
    return await _shown(services, link_id)


@router.delete("/{link_id}", status_code=204)
async def remove_link(request: Request, link_id: str, principal: Manager) -> Response:
    services = services_of(request)
    row, now_ms = await _row(services, link_id), services.now_ms()

    def change(connection: Connection) -> None:
        _end_leases(connection, link_id, now_ms, "link_removed")
        links.change(connection, link_id, {"removed_ms": now_ms})
        details = {"peer": row.peer_node, "name": row.peer_name}
        audit.append(connection, now_ms, principal.actor, "link.remove", link_id, details)

    await services.write(change)
    return Response(status_code=204)


def _end_leases(connection: Connection, link_id: str, now_ms: int, why: str) -> None:
    """Both sides, with their caches: what the relay keeps of them is purged within seconds."""
    for side in ("granted", "held"):
        leases.end_all(connection, link_id, side, now_ms, why)
