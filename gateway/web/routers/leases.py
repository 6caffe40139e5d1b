"""``/leases``: both sides. At the lower node the banner's facts: who watches, unit, case, reason, cameras, until
when.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.reasons import Reason
from config.units import HOUR_MS
from gateway.web.policy import policy
from gateway.web.routers.links import relay_of
from gateway.web.services import Services, services_of
from gateway.web.wire import Body, Cursor, Limit, ShortText, TimeMs, page, seq_cursor
from storage.audit import log as audit
from storage.catalog import leases, links
from storage.catalog.leases import LeaseRow, LookRow
from storage.catalog.links import LinkRow
from storage.media.timeline import Footage, Gap, Span, SpanKind, build_timeline
from tiering.access import Principal
from tiering.lease import Person, phase, unconfirmed
from tiering.server import events_of, terms_of
from tiering.wire import FootageIndex

router = APIRouter(prefix="/api/v1/leases", tags=["leases"])
MOST_HOURS = 24 * 31
_OUTSIDE = "tier.range_not_in_lease"
Side = Literal["granted", "held"]


class Revoke(Body):
    reason: ShortText = Field("")


def _statement(row: LeaseRow) -> dict[str, Any] | None:
    """What the upper node signed when nothing of the lease was left: counts, digest of the list, key destroyed."""
    kept = row.purge_statement
    return {**json.loads(kept["statement"]), "signature": kept["signature"]} if kept else None


def as_json(row: LeaseRow, link: LinkRow | None, looks: list[LookRow], now_ms: int) -> dict[str, Any]:
    terms = terms_of(row)
    events = events_of(row, link)
    return {
        "id": row.id,
        "side": row.side,
        "link_id": row.link_id,
        "peer_name": link.peer_name if link is not None else None,
        "peer_tier": link.peer_tier if link is not None else None,
        "mechanism": row.mechanism,
        "kind": row.kind,
        "case_no": row.case_no,
        "case": row.case_no,
        "reason": row.reason,
        "requester": {"name": terms.requester.name, "unit": terms.requester.unit},
        "approver": terms.approver and {"name": terms.approver.name, "unit": terms.approver.unit},
        "persons": row.persons,
        "cameras": row.cameras,
        "functions": row.functions,
        "max_stream": row.max_stream,
        "from_ms": row.from_ms,
        "to_ms": row.to_ms,
        "issued_ms": row.issued_ms,
        "expires_ms": row.expires_ms,
        "confirm_by_ms": row.confirm_by_ms,
        "confirmed_ms": row.confirmed_ms,
        "confirmed_by": row.confirmed_by,
        "renewals": terms.renewals,
        "ended_ms": row.ended_ms,
        "end_reason": row.end_reason,
        "cache_until_ms": row.cache_until_ms,
        "purged_ms": row.purged_ms,
        "purge_statement": _statement(row),
        "state": phase(terms, events, row.cache_until_ms, now_ms).value,
        "violation": Reason("tier.unconfirmed").as_json() if unconfirmed(terms, events, now_ms) else None,
        "watching": bool(looks),
        "watchers": [
            {
                "camera": look.camera_id, "stream": look.stream, "function": look.function, "person": look.person,
                "unit": look.unit, "since_ms": look.opened_ms,
            }
            for look in looks
        ],
    }  # fmt: skip


async def rows_as_json(services: Services, rows: list[LeaseRow]) -> list[dict[str, Any]]:
    now_ms = services.now_ms()

    def read(connection: Connection) -> list[dict[str, Any]]:
        looks: dict[str, list[LookRow]] = {}
        for look in leases.watching(connection, [row.id for row in rows]):
            looks.setdefault(look.lease_id, []).append(look)
        known = {link.id: link for link in links.all_of(connection, removed=True)}
        return [as_json(row, known.get(row.link_id), looks.get(row.id, []), now_ms) for row in rows]

    return await services.read(read)


async def described(services: Services, lease_id: str, side: str | None = None) -> LeaseRow:
    """The row, of the given side or of whichever there is. Raises tier.lease_unknown."""
    sides = (side,) if side is not None else ("held", "granted")
    for each in sides:
        row = await services.read(lambda c, s=each: leases.get(c, lease_id, s))  # type: ignore[misc]  # bound now
        if row is not None:
            return row
    raise TiergateError(Kind.NOT_FOUND, "tier.lease_unknown")


async def one(services: Services, lease_id: str, side: str | None = None) -> dict[str, Any]:
    row = await described(services, lease_id, side)
    return (await rows_as_json(services, [row]))[0]


@router.get("")
async def list_leases(
    request: Request,
    principal: Annotated[Principal, policy(users_only=True, on_walls=True)],
    side: Side | None = None,
    active: bool = False,
    cursor: Cursor = None,
    limit: Limit = 200,
) -> dict[str, Any]:
    """Newest first; `active`: only those that run."""
    services = services_of(request)
    now_ms, before = services.now_ms() if active else None, _behind(cursor)
    found = await services.read(lambda c: leases.listed(c, side, now_ms, limit + 1, before))
    rows = found[:limit]
    next_ = f"{rows[-1].issued_ms}.{rows[-1].id}.{rows[-1].side}" if len(found) > limit else None
    return page(await rows_as_json(services, rows), next_)


def _behind(cursor: str | None) -> tuple[int, str, str] | None:
    """The lease that a cursor names: each lower node gives ids by a clock of its own. Raises web.cursor."""
    if cursor is None:
        return None
    at_ms, dot, rest = cursor.partition(".")
    id_, _, side = rest.partition(".")
    issued_ms = seq_cursor(at_ms)
    if not dot or issued_ms is None:
        raise TiergateError(Kind.INVALID, "web.cursor")
    return issued_ms, id_, side


@router.get("/{lease_id}")
async def show(
    request: Request, lease_id: str, principal: Annotated[Principal, policy(users_only=True)], side: Side | None = None
) -> dict[str, Any]:
    return await one(services_of(request), lease_id, side)


@router.post("/{lease_id}/confirm")
async def confirm(
    request: Request, lease_id: str, principal: Annotated[Principal, policy(role="duty")]
) -> dict[str, Any]:
    """The second person's word for an emergency; the lower node is told at once."""
    services = services_of(request)
    await described(services, lease_id, "held")
    who = Person(principal.name, principal.unit or services.settings.node.name)
    await relay_of(services).confirm(lease_id, who, principal.actor)
    services.watch.bump()
    return await one(services, lease_id, "held")


@router.post("/{lease_id}/revoke")
async def revoke(
    request: Request,
    lease_id: str,
    principal: Annotated[Principal, policy(role=("security_admin", "duty"))],
    body: Revoke | None = None,
) -> dict[str, Any]:
    """Ends a lease. One that we hold: as `DELETE /pulls/{lease}`. One that we granted: supervision by the duty officer,
    an emergency only by the security administrator, and the act stands in both audit logs."""
    services = services_of(request)
    row = await described(services, lease_id)
    if row.side == "held":
        await relay_of(services).end(lease_id, "revoked", principal.actor)
        services.watch.bump()
        return await one(services, lease_id, "held")
    if row.kind == "emergency" and "security_admin" not in principal.roles:
        raise TiergateError(Kind.FORBIDDEN, "access.role_needed", roles="security_admin")
    now_ms, why = services.now_ms(), body.reason if body is not None else ""

    def change(connection: Connection) -> None:
        if leases.end(connection, lease_id, "granted", now_ms, "revoked", now_ms):
            audit.append(connection, now_ms, principal.actor, "lease.revoke", lease_id, {"reason": why})

    await services.write(change)
    return await one(services, lease_id, "granted")


@router.get("/{lease_id}/timeline")
async def timeline(
    request: Request,
    lease_id: str,
    principal: Annotated[Principal, policy(users_only=True, on_walls=True)],
    camera: Annotated[str, Query(min_length=20, max_length=20)],
    from_ms: Annotated[TimeMs, Query(alias="from")],
    to_ms: Annotated[TimeMs, Query(alias="to")],
    stream: Annotated[str, Query(pattern="^(main|sub)$")] = "main",
) -> dict[str, Any]:
    """What the lower node recorded of a camera, inside the lease's range; facts, not pictures."""
    services = services_of(request)
    if to_ms <= from_ms:
        raise TiergateError(Kind.INVALID, "time.range_empty")
    if to_ms - from_ms > MOST_HOURS * HOUR_MS:
        raise TiergateError(Kind.INVALID, "time.range_too_long", limit_hours=MOST_HOURS)
    await services.looks.require_visible(principal, camera)
    row = await described(services, lease_id, "held")
    spans: list[dict[str, Any]] = []
    over = row.ended_ms is not None
    low, high = max(from_ms, row.from_ms or to_ms), min(to_ms, row.to_ms or from_ms)
    if low < high and not over:
        index = await relay_of(services).index(lease_id, camera, stream, low, high)
        spans = spans_of(index, low, high)
    return {
        "camera": camera,
        "lease": lease_id,
        "from_ms": from_ms,
        "to_ms": to_ms,
        "now_ms": services.now_ms(),
        "spans": _around(spans, low, low if over else high, from_ms, to_ms, "tier.lease_ended" if over else _OUTSIDE),
    }


def spans_of(index: FootageIndex, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
    footage = [Footage(s.start_ms, s.end_ms) for s in index.segments]
    missing = [Gap(g.from_ms, g.to_ms, g.cause) for g in index.gaps]
    # What is being recorded below has no sealed segment yet: the last minute and a half say nothing of a gap.
    fresh_ms = max((s.end_ms for s in index.segments), default=from_ms)
    known_ms = max(fresh_ms, index.now_ms - 90_000)
    words = {(g.cause, g.from_ms): g.reason for g in index.gaps}
    spans = build_timeline(footage, missing, from_ms, to_ms, min(known_ms, index.now_ms))
    # The lower node accounts for every second since a camera is registered: before its first word there was none yet,
    # or its time is over.
    first_ms = min([f.start_ms for f in footage] + [g.start_ms for g in missing], default=to_ms)
    return [
        _span_json(s, words) if s.to_ms > first_ms else _span_json(s._replace(kind=SpanKind.NONE, cause=None), words)
        for s in spans
    ]


def _span_json(span: Span, words: dict[tuple[str, int], dict[str, Any] | None]) -> dict[str, Any]:
    reason = None
    if span.kind is SpanKind.GAP and span.cause is not None:
        reason = words.get((span.cause, span.from_ms)) or Reason(f"web.gap.{span.cause}").as_json()
    return {
        "kind": span.kind.value, "from_ms": span.from_ms, "to_ms": span.to_ms, "cause": span.cause, "reason": reason,
        "class": None,
    }  # fmt: skip


def _around(
    spans: list[dict[str, Any]], low: int, high: int, from_ms: int, to_ms: int, why: str
) -> list[dict[str, Any]]:
    """The whole window: outside the lease's range nothing is said."""
    outside = Reason(why).as_json()

    def nothing(start: int, end: int) -> list[dict[str, Any]]:
        if start >= end:
            return []
        return [{"kind": "none", "from_ms": start, "to_ms": end, "cause": None, "reason": outside, "class": None}]

    if low >= high:
        return nothing(from_ms, to_ms)
    return [*nothing(from_ms, low), *spans, *nothing(high, to_ms)]
