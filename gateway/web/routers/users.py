"""``/users``: natural persons, their roles and departments; and the shared accounts of walls where they are on duty."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.ids import LOGIN_PATTERN
from config.redact import Secret
from config.units import DAY_MS
from gateway.access.ids import fresh_id
from gateway.access.passwords import check_strength
from gateway.web.policy import policy
from gateway.web.services import services_of
from gateway.web.wire import Body, Cursor, Limit, Name, TimeMs, page
from storage.audit import log as audit
from storage.catalog import people, places, sessions, shifts
from storage.catalog.people import User
from tiering.access import ROLES, Principal

router = APIRouter(prefix="/api/v1", tags=["users"])
#: Somebody must always be able to administer, to give rights and to read the log.
_KEPT = ("system_admin", "security_admin", "audit_admin")
_ADMINISTRATORS = frozenset(_KEPT)
POSTED_MOST_MS = 366 * DAY_MS
WALL_LOGIN_MOST = 40  #: so that person and wall together have room where the audit log names who did it


class NewUser(Body):
    login: Annotated[str, Field(pattern=LOGIN_PATTERN)]
    name: Name
    roles: list[str] = Field(default_factory=list, max_length=10)
    department_id: str | None = Field(None, max_length=26)
    password: str = Field(min_length=1, max_length=256)
    must_change: bool = True
    wall: bool = False  #: the shared account of a wall of screens; for good


class ChangedUser(Body):
    name: Name | None = None
    roles: list[str] | None = Field(None, max_length=10)
    department_id: str | None = Field(None, max_length=26)
    password: str | None = Field(None, min_length=1, max_length=256)
    disabled: bool | None = None
    posted_to: str | None = Field(None, max_length=26)  #: department; null ends the posting
    posted_until: TimeMs | None = None


def as_json(user: User, on_duty: Iterable[str] = ()) -> dict[str, Any]:
    """`on_duty`: names of who is on duty at this wall, one for each of its sign-ins."""
    return {
        "id": user.id,
        "login": user.login,
        "name": user.name,
        "department_id": user.department_id,
        "department": user.unit or None,
        "roles": list(user.roles),
        "must_change": user.must_change,
        "created_ms": user.created_ms,
        "disabled_ms": user.disabled_ms,
        "posted_to": user.posted_to,
        "posted_unit": user.posted_unit or None,
        "posted_until_ms": user.posted_until_ms,
        "wall": user.wall,
        "on_duty": list(on_duty),
    }


def check_roles(roles: list[str]) -> None:
    """Raises access.role_unknown."""
    for role in roles:
        if role not in ROLES:
            raise TiergateError(Kind.INVALID, "access.role_unknown", role=role[:40], known=", ".join(ROLES))


@router.get("/users")
async def list_users(
    request: Request,
    principal: Annotated[Principal, policy(role=("security_admin", "audit_admin"))],
    cursor: Cursor = None,
    limit: Limit = 1000,
) -> dict[str, Any]:
    services = services_of(request)
    now_ms = services.now_ms()
    found, running = await services.read(lambda c: (people.users(c), shifts.listed(c, running_ms=now_ms)))
    rest = [u for u in sorted(found.values(), key=lambda u: u.id) if cursor is None or u.id > cursor]
    items = [as_json(u, [shift.person for shift in running if shift.wall_id == u.id]) for u in rest[:limit]]
    return page(items, rest[limit - 1].id if len(rest) > limit else None)


@router.post("/users", status_code=201)
async def add_user(
    request: Request, body: NewUser, principal: Annotated[Principal, policy(role="security_admin")]
) -> dict[str, Any]:
    """The first password is changed at the first sign-in.

    The shared account of a wall (`wall`) may nothing by itself: people sign on there for a shift
    (`/session/shift`), and what the two both may of looking is shown. It has no administrator's role; one sets its
    password.
    """
    services = services_of(request)
    check_roles(body.roles)
    if body.wall:
        _check_wall(body.roles)
        if len(body.login) > WALL_LOGIN_MOST:
            raise TiergateError(Kind.INVALID, "access.wall_login", most=WALL_LOGIN_MOST, field="login")
    password = Secret(body.password)
    check_strength(password, body.login)
    digest = await services.passwords.hash(password)
    made = User(
        fresh_id(services.clock), body.login, body.name, body.department_id, "", tuple(dict.fromkeys(body.roles)),
        digest, body.must_change and not body.wall, services.now_ms(), None, wall=body.wall,
    )  # fmt: skip

    def write(connection: Connection) -> User:
        if made.department_id is not None:
            places.require_department(connection, made.department_id)
        people.add_user(connection, made)
        details = {"login": made.login, "name": made.name, "roles": list(made.roles), "wall": made.wall}
        audit.append(connection, services.now_ms(), principal.actor, "user.add", made.id, details)
        return people.require_user(connection, made.id)

    return as_json(await services.write(write))


@router.patch("/users/{user_id}")
async def change_user(
    request: Request, user_id: str, body: ChangedUser, principal: Annotated[Principal, policy(role="security_admin")]
) -> dict[str, Any]:
    """Disabling, new roles and a new password end what the person is looking at within seconds.

    Who is posted (`posted_to`, `posted_until`) may what both their own unit and that one may; the register names both.
    """
    services = services_of(request)
    digest: str | None = None
    if body.roles is not None:
        check_roles(body.roles)
        if user_id == principal.id:
            raise TiergateError(Kind.FORBIDDEN, "access.own_roles")
    if user_id == principal.id and services.settings.node.governance == "full":
        # What is allowed to another unit would be allowed to them; what is denied to theirs, not denied any more.
        if "department_id" in body.model_fields_set and body.department_id != principal.department_id:
            raise TiergateError(Kind.FORBIDDEN, "access.own_rights", field="department_id")
    user = await services.read(lambda c: people.require_user(c, user_id))
    if user.wall:
        _check_wall(body.roles or ())
        if body.posted_to is not None:
            raise TiergateError(Kind.CONFLICT, "access.wall_account", field="posted_to")
    if body.password is not None:
        check_strength(Secret(body.password), user.login)
        digest = await services.passwords.hash(Secret(body.password))

    def write(connection: Connection) -> User:
        now_ms = services.now_ms()
        values: dict[str, Any] = {}
        if body.name is not None:
            values["name"] = body.name
        if body.roles is not None:
            values["roles"] = list(dict.fromkeys(body.roles))
        if "department_id" in body.model_fields_set:
            if body.department_id is not None:
                places.require_department(connection, body.department_id)
            values["department_id"] = body.department_id
        if body.disabled is not None:
            values["disabled_ms"] = now_ms if body.disabled else None
        if "posted_to" in body.model_fields_set or body.posted_until is not None:
            values |= _posting(connection, user, body, now_ms)
        if digest is not None:
            values |= {"password_hash": digest, "must_change": not user.wall}
        if user.posted_to is not None and _ADMINISTRATORS & set(body.roles or ()) and "posted_to" not in values:
            raise TiergateError(Kind.CONFLICT, "access.posting_admin", field="roles")
        _keep_somebody(connection, user, body)
        people.change_user(connection, user_id, values)
        if body.disabled or digest is not None:
            sessions.end_sessions_of(connection, user_id, now_ms)
        details = {k: v for k, v in values.items() if k != "password_hash"}
        audit.append(connection, now_ms, principal.actor, "user.change", user_id, {"login": user.login} | details)
        return people.require_user(connection, user_id)

    return as_json(await services.write(write))


def _check_wall(roles: Iterable[str]) -> None:
    """Raises access.wall_account."""
    if not _ADMINISTRATORS.isdisjoint(roles):
        raise TiergateError(Kind.CONFLICT, "access.wall_account", field="roles")


def _posting(connection: Connection, user: User, body: ChangedUser, now_ms: int) -> dict[str, Any]:
    """Raises access.posting_end, access.posting_admin, access.department_unknown."""
    if body.posted_to is None and body.posted_until is None:
        return {"posted_to": None, "posted_until_ms": None}
    if body.posted_to is None or body.posted_until is None or not now_ms < body.posted_until <= now_ms + POSTED_MOST_MS:
        raise TiergateError(Kind.INVALID, "access.posting_end", field="posted_until")
    home = body.department_id if "department_id" in body.model_fields_set else user.department_id
    roles = user.roles if body.roles is None else body.roles
    if body.posted_to == home or _ADMINISTRATORS & set(roles):
        raise TiergateError(Kind.CONFLICT, "access.posting_admin", field="posted_to")
    places.require_department(connection, body.posted_to)
    return {"posted_to": body.posted_to, "posted_until_ms": body.posted_until}


def _keep_somebody(connection: Connection, user: User, body: ChangedUser) -> None:
    """Raises access.last_admin."""
    lost = (
        set(user.roles)
        if body.disabled
        else set(user.roles) - set(body.roles if body.roles is not None else user.roles)
    )
    for role in _KEPT:
        if role in lost and not people.keeps_role(connection, role, without=user.id):
            raise TiergateError(Kind.CONFLICT, "access.last_admin", role=role)
