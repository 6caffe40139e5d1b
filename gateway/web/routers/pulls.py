"""``/pulls``: a lower node's video on demand. The lower node's rules decide; here it is decided who of ours may ask."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from config.errors import Kind, TiergateError
from gateway.relay.pulls import PullOrder
from gateway.web.policy import policy
from gateway.web.routers.leases import described, one, rows_as_json
from gateway.web.routers.links import relay_of
from gateway.web.services import Services, services_of
from gateway.web.wire import Body, LongText, Name, TimeMs, page
from storage.catalog import leases, people
from tiering.access import Principal
from tiering.lease import Person

router = APIRouter(prefix="/api/v1/pulls", tags=["pulls"])
_APPROVERS = frozenset({"duty"})
_EMERGENCY = frozenset({"duty", "operator"})
_SUPERVISION = frozenset({"duty", "inspection"})


class NewPull(Body):
    mechanism: str = Field("emergency", min_length=1, max_length=40)
    cameras: list[str] = Field(min_length=1, max_length=200)
    case_no: Name = Field(alias="case")
    reason: LongText = Field(min_length=1, max_length=500)
    minutes: int = Field(30, ge=1, le=7 * 24 * 60)
    from_: TimeMs | None = Field(None, alias="from")
    to: TimeMs | None = None
    persons: list[str] = Field(
        default_factory=list, max_length=50
    )  #: logins of ours who may watch besides the requester
    approver: str | None = Field(None, max_length=60)  #: login of who approved (supervision)
    functions: list[str] | None = Field(None, max_length=10)
    max_stream: str = Field("main", pattern="^(main|sub)$")
    cache_minutes: int | None = Field(None, ge=0, le=7 * 24 * 60)


class Renewal(Body):
    reason: LongText = Field(min_length=1, max_length=500)
    minutes: int = Field(30, ge=1, le=7 * 24 * 60)


async def _people(services: Services, logins: list[str]) -> dict[str, people.User]:
    found = await services.read(lambda c: people.users(c, None))
    return {user.login: user for user in found.values() if user.login in logins and _is_there(user)}


def _is_there(user: people.User) -> bool:
    """A shared wall is nobody: neither does a lease name it, nor is it a second person."""
    return user.disabled_ms is None and not user.wall


def _unit(services: Services, unit: str | None) -> str:
    return unit or services.settings.node.name


@router.get("")
async def list_pulls(request: Request, principal: Annotated[Principal, policy(users_only=True)]) -> dict[str, Any]:
    """Pulls of this node that run, newest first."""
    services = services_of(request)
    rows = await services.read(lambda c: leases.listed(c, "held", services.now_ms()))
    return page(await rows_as_json(services, rows))


@router.post("", status_code=201)
async def start(
    request: Request, body: NewPull, principal: Annotated[Principal, policy(role=("duty", "operator", "inspection"))]
) -> dict[str, Any]:
    """One lease per lower node that has cameras of the list. The first lease's fields, all of them under `items`,
    refusals of other nodes under `refused`, and in `narrowed` what is less than was asked."""
    services = services_of(request)
    may = _EMERGENCY if body.mechanism == "emergency" else _SUPERVISION
    if may.isdisjoint(principal.roles):
        raise TiergateError(Kind.FORBIDDEN, "access.role_needed", roles=", ".join(sorted(may)), field="mechanism")
    if (body.from_ is None) != (body.to is None) or (
        body.from_ is not None and body.to is not None and body.from_ >= body.to
    ):
        raise TiergateError(Kind.INVALID, "time.range_empty", field="to")
    requester = Person(principal.name, _unit(services, principal.unit))
    named = await _people(services, [*body.persons, *([body.approver] if body.approver else [])])
    unknown = [login for login in body.persons if login not in named]
    if unknown:
        raise TiergateError(Kind.INVALID, "tier.approver_unknown", login=unknown[0], field="persons")
    approver: Person | None = None
    if body.approver is not None:
        user = named.get(body.approver)
        if user is None or not _APPROVERS & set(user.roles) or user.id == principal.id:
            raise TiergateError(Kind.INVALID, "tier.approver_unknown", login=body.approver, field="approver")
        approver = Person(user.name, _unit(services, user.unit))
    persons = (requester, *(Person(named[n].name, _unit(services, named[n].unit)) for n in body.persons))
    order = PullOrder(
        mechanism=body.mechanism,
        case_no=body.case_no,
        reason=body.reason,
        requester=requester,
        persons=tuple(dict.fromkeys(persons)),
        cameras=tuple(dict.fromkeys(body.cameras)),
        minutes=body.minutes,
        actor=principal.actor,
        functions=tuple(body.functions) if body.functions is not None else None,
        max_stream=body.max_stream,
        approver=approver,
        from_ms=body.from_,
        to_ms=body.to,
        cache_minutes=body.cache_minutes,
    )
    answer = await relay_of(services).pull(order)
    services.watch.bump()
    items = [await one(services, lease_id, "held") for lease_id in answer["leases"]]
    return {**items[0], "items": items, "narrowed": answer["narrowed"], "refused": answer["refused"]}


@router.get("/{lease_id}")
async def show(
    request: Request, lease_id: str, principal: Annotated[Principal, policy(users_only=True)]
) -> dict[str, Any]:
    return await one(services_of(request), lease_id, "held")


@router.post("/{lease_id}/renew")
async def renew(
    request: Request, lease_id: str, body: Renewal, principal: Annotated[Principal, policy(role="duty")]
) -> dict[str, Any]:
    services = services_of(request)
    await described(services, lease_id, "held")
    await relay_of(services).renew(lease_id, body.reason, body.minutes, principal.actor)
    services.watch.bump()
    return await one(services, lease_id, "held")


@router.delete("/{lease_id}", status_code=204)
async def stop(
    request: Request,
    lease_id: str,
    principal: Annotated[Principal, policy(role=("duty", "operator", "inspection", "security_admin"))],
) -> Response:
    """Ends the pull on both sides; its temporary cache goes at once."""
    services = services_of(request)
    await described(services, lease_id, "held")
    await relay_of(services).end(lease_id, "released", principal.actor)
    services.watch.bump()
    return Response(status_code=204)
