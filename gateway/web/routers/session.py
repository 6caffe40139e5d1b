"""``/session``: signing in with a password or with a department's token, saying who one is, signing out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.redact import Secret
from gateway.access import resources
from gateway.access.passwords import check_strength
from gateway.access.tokens import plain_words
from gateway.web.policy import SESSION_COOKIE, client_of, policy
from gateway.web.services import Services, services_of
from gateway.web.signing import by_password, one_try, unchanged
from gateway.web.wire import Body
from storage.audit import log as audit
from storage.catalog import cameras, grants, people, sessions
from storage.catalog.people import User
from tiering.access import ON_WALLS, Function, Grant, Principal, Resources, functions, role_functions, watermarked

router = APIRouter(prefix="/api/v1", tags=["session"])


class SignIn(Body):
    login: str | None = Field(None, min_length=1, max_length=60)
    password: str | None = Field(None, min_length=1, max_length=256)
    token: str | None = Field(None, min_length=1, max_length=16_384)
    bearer: bool = False


class NewPassword(Body):
    old: str = Field(min_length=1, max_length=256)
    new: str = Field(min_length=1, max_length=256)


async def describe(services: Services, principal: Principal) -> dict[str, Any]:
    """Who it is and what they may do, in plain words."""
    now_ms = services.now_ms()

    def look(connection: Connection) -> tuple[frozenset[Function], list[str], int | None]:
        found = resources.load(connection, None, now_ms)
        own = {i: r for i, r in found.items() if r.origin == "own"}
        allowed = {i: functions(principal, r, now_ms) for i, r in own.items()}
        seen = [i for i, some in allowed.items() if some]
        names = cameras.cameras(connection, seen)
        # A token's own end is what its holder wants to know, not that of this sign-in by it.
        until_ms = principal.expires_ms
        if principal.kind == "token":
            until_ms = grants.tokens_by_jti(connection, [principal.id])[principal.id].expires_ms
        return frozenset(f for some in allowed.values() for f in some), [c.name for c in names.values()], until_ms

    here, names, until_ms = await services.read(look)
    given = _given(principal.roles, principal.grants)
    wall = principal.wall
    if wall is not None:
        given &= _given(wall.roles, wall.grants) & ON_WALLS
    shown = principal.grants[0] if principal.kind == "token" else _roughly(given)
    unit = principal.unit or services.settings.node.name
    return {
        "kind": principal.kind,
        "login": principal.login,
        "name": principal.name,
        "unit": principal.unit,
        "roles": [] if wall is not None else sorted(principal.roles),
        "language": services.settings.node.language,
        "functions": [
            f.value for f in Function if f in (given if principal.kind == "user" else given & (here or given))
        ],
        "expires_ms": principal.expires_ms,
        "must_change": principal.must_change,
        "break_glass_until_ms": None if wall is not None else principal.opened_until_ms,
        "wall": None if wall is None else {"login": wall.login, "name": wall.name, "until_ms": wall.until_ms},
        "valid_until_ms": until_ms,
        "plain": plain_words(shown, names, until_ms),
        # DESIGN §7: whoever sees pictures by a token, or of another tier, sees their own name in them.
        "watermark": {"text": " ".join(filter(None, (unit, principal.name))), "always": watermarked(principal)},
    }


def _given(roles: Iterable[str], grants_: Iterable[Grant]) -> frozenset[Function]:
    return role_functions(roles) | {f for g in grants_ if g.effect == "allow" for f in g.functions}


def _roughly(given: frozenset[Function]) -> Grant:
    return Grant("all", "user", Resources(all_own=True), given)


@router.get("/session")
async def show(request: Request, principal: Annotated[Principal | None, policy(public=True)]) -> dict[str, Any]:
    """``{"kind": null}`` for nobody: asking who one is is no failure."""
    if principal is None:
        return {"kind": None}
    return await describe(services_of(request), principal)


@router.post("/session")
async def sign_in(
    request: Request, response: Response, body: SignIn, principal: Annotated[Principal | None, policy(public=True)]
) -> dict[str, Any]:
    services, client = services_of(request), client_of(request)
    with one_try(services, client, body.login):
        if body.token is not None and body.login is None and body.password is None:
            secret = await _by_token(services, body.token, client)
        elif body.login is not None and body.password is not None and body.token is None:
            secret = await _by_password(services, body.login, Secret(body.password), client)
        else:
            raise TiergateError(Kind.UNAUTHENTICATED, "access.bad_login")
    fresh = await services.principals.of_credential(secret)
    answer = await describe(services, fresh)
    if body.bearer:
        return answer | {"session": secret}
    response.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=max(1, ((fresh.expires_ms or 0) - services.now_ms()) // 1000),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        path="/",
    )
    return answer


async def _by_password(services: Services, login: str, password: Secret, client: str) -> str:
    def start(connection: Connection, user: User) -> str:
        secret, _ = services.sessions.start(connection, user_id=user.id, client=client)
        actor = f"{'wall' if user.wall else 'user'}:{user.login}"
        audit.append(connection, services.now_ms(), actor, "session.start", user.login, {"client": client})
        return secret

    return await by_password(
        services, login, password, client, start,
        refused="session.refuse", kind=Kind.UNAUTHENTICATED, walls=True,
    )  # fmt: skip


async def _by_token(services: Services, text: str, client: str) -> str:
    claims = await services.principals.claims_of(text.strip())

    def start(connection: Connection) -> str:
        row = services.tokens.require(claims, grants.tokens_by_jti(connection, [claims.jti]).get(claims.jti))
        secret, _ = services.sessions.start(connection, token_jti=row.jti, not_after_ms=row.expires_ms, client=client)
        audit.append(connection, services.now_ms(), f"token:{row.jti}", "session.start", row.label, {"client": client})
        return secret

    return await services.write(start)


@router.delete("/session", status_code=204)
async def sign_out(
    request: Request,
    principal: Annotated[Principal, policy(signed_in=True, while_must_change=True, while_off_duty=True)],
) -> Response:
    services = services_of(request)
    if principal.session is not None:
        id_hash = bytes.fromhex(principal.session)

        def end(connection: Connection) -> None:
            services.sessions.end(connection, id_hash)
            audit.append(connection, services.now_ms(), principal.actor, "session.end", principal.login, {})

        await services.write(end)
    response = Response(status_code=204)
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")
    return response


@router.post("/session/password", status_code=204)
async def change_password(
    request: Request,
    body: NewPassword,
    principal: Annotated[Principal, policy(users_only=True, while_must_change=True)],
) -> Response:
    """One's own. Every other sign-in of the person ends."""
    services, client = services_of(request), client_of(request)
    user = await services.read(lambda c: people.require_user(c, principal.id))
    with one_try(services, client, user.login):
        if not await services.passwords.verify(user.password_hash, Secret(body.old)):
            raise TiergateError(Kind.FORBIDDEN, "access.bad_login")
    fresh = Secret(body.new)
    check_strength(fresh, user.login)
    digest = await services.passwords.hash(fresh)
    keep = None if principal.session is None else bytes.fromhex(principal.session)

    def change(connection: Connection) -> None:
        if unchanged(connection, user) is None:
            raise TiergateError(Kind.FORBIDDEN, "access.bad_login")
        people.change_user(connection, user.id, {"password_hash": digest, "must_change": False})
        sessions.end_sessions_of(connection, user.id, services.now_ms(), keep)
        audit.append(connection, services.now_ms(), principal.actor, "user.password", user.login, {})

    await services.write(change)
    return Response(status_code=204)
