"""What each route demands of its caller. A route that declares nothing fails at start and in the tests.

``principal: Annotated[Principal, policy(function=Function.LIVE)]`` on a route with ``{camera_id}`` in its path
answers 401 for nobody, 404 for a camera outside the caller's catalogue, 403 with the reason for one inside it, and 429
to whoever asks too often (`gateway.web.limits`).
The route itself still opens a `Look` (with stream and range) before the first byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.requests import HTTPConnection
from fastapi.routing import APIRoute, APIWebSocketRoute, iter_route_contexts

from config.errors import Kind, TiergateError
from gateway.web.services import services_of
from tiering.access import Function, Principal

SESSION_COOKIE = "tiergate_session"


@dataclass(frozen=True, slots=True)
class Policy:
    """One of: `public`, `path_session`, `signed_in`, `roles`, `camera`, `function`."""

    function: Function | None = None  #: on the camera named by ``{camera_id}``
    camera: bool = False  #: that camera is in the caller's catalogue, whatever for
    roles: frozenset[str] = frozenset()  #: any of them; people only
    signed_in: bool = False  #: whoever has a valid credential, departments' tokens included
    users_only: bool = False
    public: bool = False  #: nobody in particular
    path_session: bool = False  #: the 128 random bits in the path are the credential (`gateway.access.media_sessions`)
    while_must_change: bool = False  #: also before the first password was changed
    on_walls: bool = False  #: for people, and also for who is on duty at a shared wall: what helps to look
    while_off_duty: bool = False  #: also for a shared wall where nobody is on duty
    purpose: str = "daily_watch"  #: of `function`, where the request names none
    unlimited: bool = False  #: asked by machines that watch the node: a flood by others must not make it look dead


class Gate:
    """A policy as a FastAPI dependency; its value is the `Principal`, None on a public route without a credential."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    async def __call__(self, connection: HTTPConnection) -> Principal | None:
        policy, services, client = self.policy, services_of(connection), client_of(connection)
        if policy.path_session:
            services.limits.piece(services.media_sessions.holder(connection.path_params["session"]), client)
            return None
        if policy.unlimited:
            return None
        try:
            principal = await services.principals.of(
                connection.headers.get("authorization"), connection.cookies.get(SESSION_COOKIE)
            )
        except TiergateError:
            services.limits.request(None, client)
            if policy.public:
                return None
            raise
        services.limits.request(principal, client)
        if policy.public:
            return principal
        if principal is None:
            raise TiergateError(Kind.UNAUTHENTICATED, "access.not_signed_in")
        if principal.must_change and not policy.while_must_change:
            raise TiergateError(Kind.FORBIDDEN, "access.must_change")
        if (policy.users_only or policy.roles) and principal.kind != "user":
            raise TiergateError(Kind.FORBIDDEN, "access.users_only")
        if principal.wall is not None and (policy.users_only or policy.roles) and not policy.on_walls:
            raise TiergateError(Kind.FORBIDDEN, "access.wall_looks")
        if principal.wall is not None and principal.wall.until_ms is None and not policy.while_off_duty:
            raise TiergateError(Kind.FORBIDDEN, "access.nobody_on_duty")
        if policy.roles and policy.roles.isdisjoint(principal.roles):
            raise TiergateError(Kind.FORBIDDEN, "access.role_needed", roles=" / ".join(sorted(policy.roles)))
        if policy.function is not None:
            camera_id = str(connection.path_params["camera_id"])
            purpose = connection.query_params.get("purpose", policy.purpose)
            await services.looks.decide(principal, policy.function, camera_id, purpose=purpose, client=client)
        elif policy.camera:
            await services.looks.require_visible(principal, str(connection.path_params["camera_id"]))
        return principal


def policy(
    *,
    function: Function | None = None,
    camera: bool = False,
    role: str | tuple[str, ...] = (),
    signed_in: bool = False,
    users_only: bool = False,
    public: bool = False,
    path_session: bool = False,
    while_must_change: bool = False,
    on_walls: bool = False,
    while_off_duty: bool = False,
    purpose: str = "daily_watch",
    unlimited: bool = False,
) -> Any:
    """Declares one of function, camera, role, signed_in, users_only, public, path_session."""
    roles = frozenset((role,) if isinstance(role, str) else role)
    chosen = [function is not None, camera, bool(roles), signed_in or users_only, public, path_session]
    if sum(chosen) != 1:
        raise ValueError("a policy says exactly one thing")
    return Depends(
        Gate(
            Policy(
                function,
                camera,
                roles,
                signed_in or users_only,
                users_only,
                public,
                path_session,
                while_must_change,
                on_walls,
                while_off_duty,
                purpose,
                unlimited,
            )
        )
    )


def client_of(connection: HTTPConnection) -> str:
    """The peer's address. Forwarded headers are not believed (ASVS 4.1.3)."""
    return connection.client.host if connection.client else "local"


# --- the check at start ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Declared:
    """A route as it is reached, with what it demands."""

    path: str
    methods: frozenset[str]  #: empty for a WebSocket
    policy: Policy


def declared(app: FastAPI) -> list[Declared]:
    """Every route with its policy. Raises LookupError naming the routes without exactly one, and those whose function
    names no camera: called at start, so that such a program does not run."""
    found: list[Declared] = []
    bad: list[str] = []
    for context in iter_route_contexts(app.routes):
        path = context.path or str(context.original_route)
        if not isinstance(context.original_route, (APIRoute, APIWebSocketRoute)):
            bad.append(f"{path} (not a route that can declare one)")
            continue
        gates = list(_gates(context.dependant))
        if len(gates) != 1:
            bad.append(path)
        elif (gates[0].policy.function is not None or gates[0].policy.camera) and "{camera_id}" not in path:
            bad.append(f"{path} (its policy needs {{camera_id}})")
        else:
            found.append(Declared(path, frozenset(context.methods or ()), gates[0].policy))
    if bad:
        raise LookupError("routes without a policy: " + ", ".join(bad))
    return found


def _gates(dependant: Dependant) -> Iterator[Gate]:
    if isinstance(dependant.call, Gate):
        yield dependant.call
    for inner in dependant.dependencies:
        yield from _gates(inner)
