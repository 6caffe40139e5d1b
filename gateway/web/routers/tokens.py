"""``/tokens``: scoped tokens for departments: cameras × functions × footage window × expiry."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from config.crypto import b64
from config.errors import Kind, TiergateError
from config.ids import region_code
from config.units import DAY_MS, expiry_ms, parse_duration_ms
from gateway.access import resources, token_keys, tokens
from gateway.access.ids import fresh_id
from gateway.access.principals import of_token
from gateway.web.policy import policy
from gateway.web.services import Services, services_of
from gateway.web.wire import Body, Cursor, Limit, Name, TimeMs, page, paged
from storage.audit import log as audit
from storage.catalog import cameras, grants, places
from storage.catalog.grants import TokenRow
from tiering.access import Conditions, Function, Grant, Principal, Resources, decide, widens_own

router = APIRouter(prefix="/api/v1", tags=["tokens"])


class NewToken(Body):
    department_id: str = Field(min_length=1, max_length=26)
    label: Name
    cameras: list[str] = Field(default_factory=list, max_length=1000)
    regions: list[str] = Field(default_factory=list, max_length=100)
    functions: list[str] = Field(min_length=1, max_length=10)
    expires: str | int = "30d"  #: duration (8h, 30d) or a moment
    footage_from: TimeMs | None = None
    footage_to: TimeMs | None = None
    look_back: str | None = Field(None, max_length=12)
    max_stream: Literal["main", "sub"] = "main"
    max_streams: int | None = Field(None, ge=1, le=10_000, strict=True)  #: pictures at once, all holders together
    networks: list[str] | None = Field(None, max_length=50)


def as_json(row: TokenRow, now_ms: int) -> dict[str, Any]:
    """Never the token itself: it is shown once."""
    state = "revoked" if row.revoked_ms is not None else "expired" if now_ms >= row.expires_ms else "valid"
    return {
        "jti": row.jti,
        "department_id": row.department_id,
        "department": row.unit,
        "label": row.label,
        "grant": row.grant,
        "issued_ms": row.issued_ms,
        "expires_ms": row.expires_ms,
        "issued_by": row.issued_by,
        "revoked_ms": row.revoked_ms,
        "revoked_by": row.revoked_by,
        "state": state,
    }


def _grant(body: NewToken) -> Grant:
    """Raises access.grant_malformed, access.grant_empty, access.token_functions."""
    for function in sorted(set(body.functions) - set(tokens.FUNCTIONS)):
        raise TiergateError(
            Kind.INVALID, "access.token_functions", function=function[:40], allowed=", ".join(tokens.FUNCTIONS)
        )
    functions = frozenset(map(Function, body.functions))
    if not body.cameras and not body.regions:
        raise TiergateError(Kind.INVALID, "access.grant_empty")
    if body.footage_from is not None and body.footage_to is not None and body.footage_to <= body.footage_from:
        raise TiergateError(Kind.INVALID, "time.range_empty")
    regions = frozenset(region_code(code) for code in body.regions)
    conditions = Conditions(
        footage_from_ms=body.footage_from,
        footage_to_ms=body.footage_to,
        look_back_ms=None if body.look_back is None else parse_duration_ms(body.look_back),
        max_stream=body.max_stream,
        max_streams=body.max_streams,
        networks=None if body.networks is None else tuple(body.networks),
    )
    made = Grant("new", "token", Resources(cameras=frozenset(body.cameras), regions=regions), functions, conditions)
    return Grant.from_json("new", "token", made.as_json())  # the same judgement as when it comes back


def _expires_ms(value: str | int, now_ms: int) -> int:
    """Whole seconds, as the signed claim has it. Raises access.token_expiry, duration.malformed, time.malformed."""
    moment = expiry_ms(value, now_ms)
    if not tokens.LEAST_MS <= moment - now_ms // 1000 * 1000 <= tokens.MOST_MS:
        raise TiergateError(
            Kind.INVALID, "access.token_expiry",
            least_minutes=tokens.LEAST_MS // 60_000, most_days=tokens.MOST_MS // DAY_MS,
        )  # fmt: skip
    return moment


def _prepare(
    services: Services, connection: Connection, body: NewToken, principal: Principal
) -> tuple[TokenRow, list[str]]:
    """The row and the names of the cameras it covers now. Raises what stands in the way."""
    now_ms = services.now_ms()
    unit = places.require_department(connection, body.department_id)
    if services.settings.node.governance == "full" and widens_own(principal, "department", unit.id):
        raise TiergateError(Kind.FORBIDDEN, "access.own_rights", field="department_id")
    grant = _grant(body)
    found = resources.load(connection, None, now_ms)
    for id_ in body.cameras:
        camera = found.get(id_)
        if camera is None or camera.origin != "own":
            raise TiergateError(Kind.INVALID, "access.camera_unknown", camera=id_[:40])
        if camera.sharing == "none":
            raise TiergateError(Kind.CONFLICT, "access.token_not_shared", camera=id_)
    for code in grant.resources.regions:
        places.require_region(connection, code)
    row = TokenRow(
        fresh_id(services.clock), unit.id, unit.name, body.label, grant.as_json(),
        max(now_ms, token_keys.read(connection).earliest_ms), _expires_ms(body.expires, now_ms), principal.login,
    )  # fmt: skip
    holder = of_token(row)
    covered = [id_ for id_, camera in found.items() if decide(holder, Function.CATALOG, camera, now_ms).visible]
    return row, [c.name for c in cameras.cameras(connection, covered).values()]


@router.get("/tokens")
async def list_tokens(
    request: Request,
    principal: Annotated[Principal, policy(role=("security_admin", "audit_admin"))],
    cursor: Cursor = None,
    limit: Limit = 200,
) -> dict[str, Any]:
    services = services_of(request)
    found, book = await services.read(lambda c: (grants.tokens(c, cursor, limit + 1), token_keys.read(c)))
    shown, next_ = paged(found, limit, "jti")
    return page([as_json(book.cut(r), services.now_ms()) for r in shown], next_)


@router.get("/tokens/jwks.json")
async def keys(
    request: Request, response: Response, principal: Annotated[Principal | None, policy(public=True)]
) -> dict[str, Any]:
    """The public keys whose tokens are taken now (RFC 7517, RFC 8037), the one in force first: for whoever is shown a
    token and wants to know that this node signed it. Whether it was revoked only the node knows."""
    services = services_of(request)
    services.tokens.learn(await services.read(token_keys.read))
    response.headers["Cache-Control"] = "no-store"
    public = services.tokens.public_keys()
    return {
        "keys": [
            {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.key_id, "x": b64(key.public)}
            for key in public
        ]
    }


@router.post("/tokens/preview")
async def preview(
    request: Request, body: NewToken, principal: Annotated[Principal, policy(role="security_admin")]
) -> dict[str, Any]:
    """What the token would say, in plain words, before it is signed."""
    services = services_of(request)
    row, names = await services.read(lambda c: _prepare(services, c, body, principal))
    grant = Grant.from_json(row.jti, "token", row.grant)
    return {"plain": tokens.plain_words(grant, names, row.expires_ms), "grant": row.grant, "expires_ms": row.expires_ms}


@router.post("/tokens", status_code=201)
async def issue(
    request: Request, body: NewToken, principal: Annotated[Principal, policy(role="security_admin")]
) -> dict[str, Any]:
    services = services_of(request)

    def write(connection: Connection) -> tuple[TokenRow, list[str], token_keys.KeyBook]:
        row, names = _prepare(services, connection, body, principal)
        grants.add_token(connection, row)
        audit.append(
            connection, services.now_ms(), principal.actor, "token.issue", row.jti, as_json(row, services.now_ms())
        )
        return row, names, token_keys.read(connection)

    row, names, book = await services.write(write)
    services.tokens.learn(book)
    plain = tokens.plain_words(Grant.from_json(row.jti, "token", row.grant), names, row.expires_ms)
    return as_json(row, services.now_ms()) | {"token": services.tokens.sign(row), "plain": plain}


@router.post("/tokens/{jti}/revoke")
async def revoke(
    request: Request, jti: str, principal: Annotated[Principal, policy(role="security_admin")]
) -> dict[str, Any]:
    """Running pictures stop within seconds."""
    services = services_of(request)

    def write(connection: Connection) -> TokenRow:
        if jti not in grants.tokens_by_jti(connection, [jti]):
            raise TiergateError(Kind.NOT_FOUND, "access.not_found")
        if grants.revoke_token(connection, jti, principal.login, services.now_ms()):
            audit.append(connection, services.now_ms(), principal.actor, "token.revoke", jti, {})
        return grants.tokens_by_jti(connection, [jti])[jti]

    return as_json(await services.write(write), services.now_ms())
