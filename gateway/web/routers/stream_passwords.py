"""``/stream-passwords``: what software that knows no token signs in with over RTSP."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.redact import Secret
from config.settings import split_listen
from config.units import DAY_MS, expiry_ms
from gateway.access import resources, stream_passwords
from gateway.access.ids import fresh_id
from gateway.access.principals import within
from gateway.web.policy import policy
from gateway.web.services import Services, services_of
from gateway.web.wire import Body, Cursor, Limit, LongText, Name, page, paged
from storage.audit import log as audit
from storage.catalog import grants, people
from storage.catalog import stream_passwords as rows
from storage.catalog.stream_passwords import StreamPasswordRow
from tiering.access import Facts, Function, Principal, Stream, decide, watermarked

router = APIRouter(prefix="/api/v1", tags=["tokens"])

#: Why a picture may be refused at one moment and not at another: no reason to refuse the password.
_PASSING = frozenset({"access.outside_week", "access.network", "access.purpose"})


class NewStreamPassword(Body):
    owner_kind: Literal["token", "user"]
    owner: str = Field(min_length=1, max_length=60)  #: a token's id; a person's id or login
    label: Name
    cameras: list[str] = Field(min_length=1, max_length=1000)
    expires: str | int = "30d"  #: duration (8h, 30d) or a moment
    max_stream: Literal["main", "sub"] = "main"
    networks: list[str] | None = Field(None, max_length=50)
    unmarked_basis: LongText = ""  #: why pictures may leave without the owner's name in them: who agreed, in what


def as_json(row: StreamPasswordRow, owner: str | None, now_ms: int) -> dict[str, Any]:
    """Never the password: it is shown once."""
    state = "revoked" if row.revoked_ms is not None else "expired" if now_ms >= row.expires_ms else "valid"
    return {
        "id": row.id,
        "owner_kind": row.owner_kind,
        "owner": row.owner,
        "owner_name": owner,
        "label": row.label,
        "cameras": list(row.cameras),
        "max_stream": row.max_stream,
        "networks": None if row.networks is None else list(row.networks),
        "unmarked_basis": row.unmarked_basis,
        "created_ms": row.created_ms,
        "created_by": row.created_by,
        "expires_ms": row.expires_ms,
        "revoked_ms": row.revoked_ms,
        "revoked_by": row.revoked_by,
        "state": state,
    }


def _owner_names(connection: Connection, found: list[StreamPasswordRow]) -> dict[str, str]:
    """Label and unit of a token, login of a person."""
    tokens = grants.tokens_by_jti(connection, [r.owner for r in found if r.owner_kind == "token"])
    users = people.users(connection, [r.owner for r in found if r.owner_kind == "user"])
    return {jti: f"{t.label} ({t.unit})" for jti, t in tokens.items()} | {id_: u.login for id_, u in users.items()}


def _networks(body: NewStreamPassword) -> tuple[str, ...] | None:
    """Raises access.grant_malformed."""
    if body.networks is None:
        return None
    try:
        return tuple(sorted(str(ipaddress.ip_network(n)) for n in body.networks))
    except ValueError:
        raise TiergateError(Kind.INVALID, "access.grant_malformed", field="networks") from None


def _owner(services: Services, connection: Connection, body: NewStreamPassword) -> Principal:
    """Raises access.user_unknown, access.must_change, and what the owner's own end raises."""
    id_ = body.owner
    if body.owner_kind == "user":
        by_login = people.user_by_login(connection, id_)
        id_ = by_login.id if by_login is not None else people.require_user(connection, id_).id
    try:
        owner = services.principals.again(connection, {"kind": body.owner_kind, "id": id_}, services.now_ms())
    except TiergateError as error:  # it is not the caller who is not signed in
        raise TiergateError(Kind.CONFLICT, error.reason.code, **error.reason.params) from error
    if owner.must_change:
        raise TiergateError(Kind.CONFLICT, "access.must_change")
    return owner


def _prepare(
    services: Services, connection: Connection, body: NewStreamPassword, principal: Principal
) -> tuple[StreamPasswordRow, str, dict[str, Stream]]:
    """The row, what its owner is called, and the best stream of each camera. Raises what stands in the way."""
    now_ms = services.now_ms()
    owner = _owner(services, connection, body)
    ends_ms = expiry_ms(body.expires, now_ms)
    if not stream_passwords.LEAST_MS <= ends_ms - now_ms // 1000 * 1000 <= stream_passwords.MOST_MS:
        raise TiergateError(
            Kind.INVALID, "access.stream_password_expiry",
            least_minutes=stream_passwords.LEAST_MS // 60_000, most_days=stream_passwords.MOST_MS // DAY_MS,
        )  # fmt: skip
    id_ = fresh_id(services.clock)
    row = StreamPasswordRow(
        id_, body.owner_kind, owner.id, body.label, tuple(dict.fromkeys(body.cameras)), body.max_stream,
        _networks(body), body.unmarked_basis, id_, now_ms, principal.login, ends_ms,
    )  # fmt: skip
    if watermarked(owner) and not row.unmarked_basis:
        raise TiergateError(Kind.INVALID, "access.stream_unmarked_basis")
    holder = within(owner, row)
    found = resources.load(connection, row.cameras, now_ms)
    best: dict[str, Stream] = {}
    for camera_id in row.cameras:
        decision = decide(holder, Function.LIVE, found.get(camera_id), now_ms, Facts(stream="sub", unmarked=True))
        if not decision.visible:
            raise TiergateError(Kind.CONFLICT, "access.stream_beyond", camera=camera_id[:40])
        if not decision.allow and decision.reason.code not in _PASSING:
            raise TiergateError(Kind.CONFLICT, decision.reason.code, **decision.reason.params)
        best[camera_id] = decision.max_stream if decision.allow else body.max_stream
    return row, owner.name if owner.kind == "user" else f"{owner.name} ({owner.unit})", best


def _addresses(services: Services, best: dict[str, Stream]) -> list[str]:
    """Where each camera is read, without any password in it; none while RTSP is off."""
    on = services.settings.rtsp.listeners
    if not on:
        return []
    scheme = max(on)  # the one with TLS, where there is one
    host, port = split_listen(on[scheme])
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = urlsplit(services.settings.web.public_url or "").hostname or host
    shown = f"[{host}]" if ":" in host else host
    return [f"{scheme}://{shown}:{port}/{camera}/{stream}" for camera, stream in best.items()]


@router.get("/stream-passwords")
async def list_stream_passwords(
    request: Request,
    principal: Annotated[Principal, policy(role=("security_admin", "audit_admin"))],
    cursor: Cursor = None,
    limit: Limit = 200,
) -> dict[str, Any]:
    services = services_of(request)

    def read(connection: Connection) -> tuple[list[StreamPasswordRow], dict[str, str]]:
        found = rows.newest(connection, cursor, limit + 1)
        return found, _owner_names(connection, found)

    found, names = await services.read(read)
    shown, next_ = paged(found, limit, "id")
    return page([as_json(r, names.get(r.owner), services.now_ms()) for r in shown], next_)


@router.post("/stream-passwords", status_code=201)
async def create(
    request: Request, body: NewStreamPassword, principal: Annotated[Principal, policy(role="security_admin")]
) -> dict[str, Any]:
    """The answer holds the password, this once."""
    services = services_of(request)
    password: Secret = stream_passwords.fresh_password()

    def write(connection: Connection) -> tuple[StreamPasswordRow, str, dict[str, Stream]]:
        row, owner, best = _prepare(services, connection, body, principal)
        stream_passwords.keep(connection, services.clock, services.secrets, row.id, password)
        rows.add(connection, row)
        now_ms = services.now_ms()
        audit.append(connection, now_ms, principal.actor, "stream_password.create", row.id, as_json(row, owner, now_ms))
        return row, owner, best

    row, owner, best = await services.write(write)
    shown = {"username": row.id, "password": password.reveal(), "urls": _addresses(services, best)}
    return as_json(row, owner, services.now_ms()) | shown


@router.post("/stream-passwords/{password_id}/revoke")
async def revoke(
    request: Request, password_id: str, principal: Annotated[Principal, policy(role="security_admin")]
) -> dict[str, Any]:
    """Running streams stop within seconds."""
    services = services_of(request)

    def write(connection: Connection) -> tuple[StreamPasswordRow, dict[str, str]]:
        if password_id not in rows.by_id(connection, [password_id]):
            raise TiergateError(Kind.NOT_FOUND, "access.not_found")
        if rows.revoke(connection, password_id, principal.login, services.now_ms()):
            audit.append(connection, services.now_ms(), principal.actor, "stream_password.revoke", password_id, {})
        row = rows.by_id(connection, [password_id])[password_id]
        return row, _owner_names(connection, [row])

    row, names = await services.write(write)
    return as_json(row, names.get(row.owner), services.now_ms())
