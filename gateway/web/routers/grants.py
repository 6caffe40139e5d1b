"""``/grants``: rights of users, roles and departments beyond their roles."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.ids import region_code
from config.units import parse_time_ms
from gateway.access.ids import fresh_id
from gateway.web.policy import policy
from gateway.web.routers.users import check_roles
from gateway.web.services import services_of
from gateway.web.wire import Body, Cursor, Limit, page, paged
from storage.approval_rules import Governance
from storage.audit import log as audit
from storage.catalog import cameras, people, places
from storage.catalog import grants as rows
from storage.catalog.grants import GrantRow
from tiering.access import Grant, Principal, widens_own

router = APIRouter(prefix="/api/v1", tags=["grants"])
_TIMES = ("valid_from", "valid_to", "footage_from", "footage_to")


class NewGrant(Body):
    subject_kind: Literal["user", "department", "role"]
    subject: str = Field(min_length=1, max_length=60)
    effect: Literal["allow", "deny"] = "allow"
    resources: dict[str, Any]
    functions: list[str] = Field(min_length=1, max_length=10)
    conditions: dict[str, Any] = Field(default_factory=dict)


def as_json(row: GrantRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "subject_kind": row.subject_kind,
        "subject": row.subject,
        **row.value,
        "created_ms": row.created_ms,
        "created_by": row.created_by,
        "revoked_ms": row.revoked_ms,
    }


@router.get("/grants")
async def list_grants(
    request: Request,
    principal: Annotated[Principal, policy(role=("security_admin", "audit_admin"))],
    cursor: Cursor = None,
    limit: Limit = 200,
) -> dict[str, Any]:
    found = await services_of(request).read(lambda c: rows.grants(c, cursor, limit + 1))
    shown, next_ = paged(found, limit, "id")
    return page([as_json(r) for r in shown], next_)


@router.post("/grants", status_code=201)
async def add_grant(
    request: Request, body: NewGrant, principal: Annotated[Principal, policy(role="security_admin")]
) -> dict[str, Any]:
    services = services_of(request)
    conditions = dict(body.conditions)
    for name in _TIMES:
        if name in conditions:
            conditions[f"{name}_ms"] = parse_time_ms(str(conditions.pop(name)))
    resources = dict(body.resources)
    if isinstance(resources.get("regions"), list):
        resources["regions"] = [region_code(str(code)) for code in resources["regions"]]
    raw = {"effect": body.effect, "resources": resources, "functions": body.functions, "conditions": conditions}
    grant = Grant.from_json("new", "user", raw)
    if not grant.functions or not grant.resources.as_json():
        raise TiergateError(Kind.INVALID, "access.grant_empty")
    row = GrantRow(
        fresh_id(services.clock), body.subject_kind, body.subject, grant.as_json(), services.now_ms(), principal.login
    )

    def write(connection: Connection) -> None:
        _check_subject(connection, body.subject_kind, body.subject)
        if grant.effect == "allow":
            _refuse_own(principal, body.subject_kind, body.subject, services.settings.node.governance)
        _check_resources(connection, grant)
        rows.add_grant(connection, row)
        audit.append(connection, services.now_ms(), principal.actor, "grant.add", row.id, as_json(row))

    await services.write(write)
    return as_json(row)


def _refuse_own(principal: Principal, kind: str, subject: str, governance: Governance) -> None:
    """Raises access.own_rights. Where one person is all administrators (small governance), they may give rights to a
    role or a unit of theirs: nobody else could. To themselves by name they may not."""
    if widens_own(principal, kind, subject) and (kind == "user" or governance == "full"):
        raise TiergateError(Kind.FORBIDDEN, "access.own_rights")


def _check_subject(connection: Connection, kind: str, subject: str) -> None:
    """Raises access.user_unknown, access.department_unknown, access.role_unknown."""
    if kind == "user":
        people.require_user(connection, subject)
    elif kind == "department":
        places.require_department(connection, subject)
    else:
        check_roles([subject])


def _check_resources(connection: Connection, grant: Grant) -> None:
    """A slip of the pen in an id is refused now, not discovered by somebody who sees nothing."""
    known = cameras.cameras(connection, grant.resources.cameras)
    for id_ in sorted(grant.resources.cameras - set(known)):
        raise TiergateError(Kind.INVALID, "access.camera_unknown", camera=id_[:40])
    for code in sorted(grant.resources.regions):
        places.require_region(connection, code)
    for id_ in sorted(grant.resources.departments):
        places.require_department(connection, id_)


@router.delete("/grants/{grant_id}", status_code=204)
async def revoke_grant(
    request: Request, grant_id: str, principal: Annotated[Principal, policy(role="security_admin")]
) -> Response:
    """What rests on it ends within seconds. A denial that stands against the caller somebody else takes back, under
    full governance."""
    services = services_of(request)
    governance = services.settings.node.governance

    def write(connection: Connection) -> None:
        found = rows.standing(connection, grant_id)
        if found is None:
            raise TiergateError(Kind.NOT_FOUND, "access.not_found")
        if found.value["effect"] == "deny" and governance == "full":
            _refuse_own(principal, found.subject_kind, found.subject, governance)
        rows.revoke_grant(connection, grant_id, services.now_ms())
        audit.append(connection, services.now_ms(), principal.actor, "grant.revoke", grant_id, {})

    await services.write(write)
    return Response(status_code=204)
