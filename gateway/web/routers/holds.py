"""``/holds``: orders that footage stays. A hold placed within the grace rescues what is condemned already."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.units import DAY_MS, parse_duration_ms
from gateway.access import approvals, footage
from gateway.access.ids import fresh_id
from gateway.web.policy import client_of, policy
from gateway.web.routers.approvals import MAY_QUEUE, queued
from gateway.web.services import services_of
from gateway.web.wire import Body, Cursor, Limit, LongText, Name, ShortText, TimeMs, page
from storage import evidence_state
from storage.approval_rules import Approval, needs_second, state_at
from storage.audit import log as audit
from storage.catalog import approvals as approval_rows
from storage.catalog import retention_rows
from storage.catalog.retention_rows import HoldRow
from tiering.access import Principal

router = APIRouter(prefix="/api/v1/holds", tags=["holds"])

REVIEW_DAYS = 90  #: an order that nobody looks at again is no order


class NewHold(Body):
    cameras: list[str] = Field(min_length=1, max_length=500)
    from_: TimeMs = Field(alias="from")
    to: TimeMs
    case_no: Name
    reason: LongText = Field(min_length=1)
    class_name: str = Field("3_months", alias="class", max_length=20)
    review: str = Field(f"{REVIEW_DAYS}d", max_length=12)


class Release(Body):
    reason: ShortText = Field(min_length=1)


def as_json(row: HoldRow, visible: frozenset[str] | None = None) -> dict[str, Any]:
    return {
        "id": row.id,
        "cameras": [c for c in row.cameras if visible is None or c in visible],
        "from_ms": row.from_ms,
        "to_ms": row.to_ms,
        "case_no": row.case_no,
        "reason": row.reason,
        "owner": row.owner,
        "approver": row.approver,
        "class": row.class_name,
        "review_ms": row.review_ms,
        "created_ms": row.created_ms,
        "released_ms": row.released_ms,
        "released_by": row.released_by,
    }


@router.get("")
async def list_holds(
    request: Request,
    principal: Annotated[Principal, policy(users_only=True)],
    all_: Annotated[bool, Query(alias="all")] = False,
    released: bool = False,
    cursor: Cursor = None,
    limit: Limit = 500,
) -> dict[str, Any]:
    """Standing holds on cameras of the caller's catalogue, newest first; with `all` also released ones, with `released`
    these alone.

    `evidence` of a standing one: how much of its footage is verified in both places. `green` only when all of it is.
    `provisional_until_ms`: it protects, and lapses then unless a second person approves it. `release_until_ms`: so long
    its release waits for a second person's word; it protects until that is given.
    """
    services, client = services_of(request), client_of(request)
    now_ms = services.now_ms()

    def read(connection: Connection) -> dict[str, Any]:
        seen = footage.visible_cameras(connection, principal, now_ms, client)
        rows = retention_rows.holds(connection, standing_only=not (all_ or released))
        if released:
            rows = [row for row in rows if row.released_ms is not None]
        mine = [row for row in rows if not seen.isdisjoint(row.cameras) and (cursor is None or row.id < cursor)]
        rest = sorted(mine, key=lambda r: r.id, reverse=True)
        awaited = _awaited(connection, now_ms)
        items = [
            as_json(row, seen)
            | {
                "provisional_until_ms": awaited.get(("hold.add", row.id)),
                "release_until_ms": awaited.get(("hold.release", row.id)),
                "evidence": _evidence(connection, row, seen, now_ms),
            }
            for row in rest[:limit]
        ]
        return page(items, rest[limit - 1].id if len(rest) > limit else None)

    return await services.read_apart(read)


def _awaited(connection: Connection, now_ms: int) -> dict[tuple[str, str], int]:
    """Until when a second person's word is awaited, by act and hold. A provisional hold whose time is over stands until
    a sweep ends it."""
    return {
        (row.action, row.subject): row.expires_ms
        for row in approval_rows.pending(connection)
        if row.action == "hold.add" or state_at(row, now_ms) == "pending"
    }


def _evidence(connection: Connection, row: HoldRow, visible: frozenset[str], now_ms: int) -> dict[str, Any] | None:
    """Of the cameras that the caller may know of."""
    if row.released_ms is not None:
        return None
    mine = replace(row, cameras=tuple(c for c in row.cameras if c in visible))
    return evidence_state.of_hold(connection, mine, now_ms).as_json()


@router.post("", status_code=201, responses=MAY_QUEUE)
async def add_hold(
    request: Request, response: Response, body: NewHold, principal: Annotated[Principal, policy(users_only=True)]
) -> dict[str, Any]:
    """Needs the function `hold` on each camera for the whole range, which may lie in the future.

    It protects at once: holding is the direction in which a mistake costs disk space, not evidence. Under full
    governance it does so provisionally (202) and lapses unless a second person approves it in time; under small
    governance its approver stays empty, and the audit says so.
    """
    services, client = services_of(request), client_of(request)
    if body.to <= body.from_:
        raise TiergateError(Kind.INVALID, "time.range_empty")
    review_ms = parse_duration_ms(body.review)
    if not 0 < review_ms <= REVIEW_DAYS * DAY_MS:
        raise TiergateError(Kind.INVALID, "retention.hold_review_late", limit_days=REVIEW_DAYS)
    cameras = tuple(dict.fromkeys(body.cameras))
    now_ms = services.now_ms()
    row = HoldRow(
        id=fresh_id(services.clock),
        cameras=cameras,
        from_ms=body.from_,
        to_ms=body.to,
        owner=principal.name,
        reason=body.reason,
        case_no=body.case_no,
        approver=None,
        class_name=body.class_name,
        review_ms=now_ms + review_ms,
        created_ms=now_ms,
        released_ms=None,
        released_by=None,
    )

    governance = services.settings.node.governance

    def write(connection: Connection) -> tuple[dict[str, tuple[int, int]], Approval | None]:
        footage.require_hold(connection, principal, cameras, row.from_ms, row.to_ms, now_ms, client)
        known = [c.name for c in retention_rows.classes(connection).values() if c.for_hold]
        if row.class_name not in known:
            raise TiergateError(
                Kind.INVALID, "retention.hold_class_unknown", **{"class": row.class_name, "known": ", ".join(known)}
            )
        retention_rows.add_hold(connection, row)
        details = as_json(row) | {"governance": governance}
        audit.append(connection, now_ms, principal.actor, "hold.add", row.id, details)
        asked = None
        if needs_second("hold.add", _params(row), governance):
            asked = approvals.ask(
                connection, services.clock, principal, "hold.add", row.id, _params(row), row.reason, client
            )
        return retention_rows.footage_in(connection, cameras, row.from_ms, row.to_ms), asked

    states, asked = await services.write(write)
    more: dict[str, Any] = {}
    if asked is not None:
        response.status_code = 202
        more = queued(asked, "approval.hold_stands")
    gone = [states[state] for state in ("deleting", "deleted", "lost") if state in states]
    here = [found for state, found in states.items() if state not in ("deleting", "deleted", "lost")]
    return (
        as_json(row)
        | more
        | {
            "footage": {
                "segments": sum(count for count, _ in here),
                "bytes": sum(size for _, size in here),
                "gone_segments": sum(count for count, _ in gone),
            }
        }
    )


def _params(row: HoldRow) -> dict[str, Any]:
    """What two persons read of a hold before one of them places or releases it."""
    return {
        "cameras": list(row.cameras),
        "from_ms": row.from_ms,
        "to_ms": row.to_ms,
        "case_no": row.case_no,
        "class": row.class_name,
        "review_ms": row.review_ms,
    }


@router.post("/{hold_id}/release", responses=MAY_QUEUE)
async def release(
    request: Request,
    response: Response,
    hold_id: str,
    body: Release,
    principal: Annotated[Principal, policy(users_only=True)],
) -> dict[str, Any]:
    """Needs the function `hold` on each of its cameras. What another hold covers stays. Under full governance the hold
    stands (202) until a second person has approved its release."""
    services, client = services_of(request), client_of(request)
    governance = services.settings.node.governance

    def write(connection: Connection) -> tuple[HoldRow, Approval | None]:
        now_ms = services.now_ms()
        known = {row.id: row for row in retention_rows.holds(connection, standing_only=False)}
        row = known.get(hold_id)
        seen = footage.visible_cameras(connection, principal, now_ms, client)
        if row is None or seen.isdisjoint(row.cameras):
            raise TiergateError(Kind.NOT_FOUND, "retention.hold_unknown", hold=hold_id[:40])
        footage.require_hold(connection, principal, row.cameras, row.from_ms, row.to_ms, now_ms, client)
        if row.released_ms is not None:
            raise TiergateError(Kind.CONFLICT, "retention.hold_released_already", hold=hold_id)
        if needs_second("hold.release", _params(row), governance):
            return row, approvals.ask(
                connection, services.clock, principal, "hold.release", hold_id, _params(row), body.reason, client
            )
        retention_rows.release_hold(connection, hold_id, principal.actor, now_ms)
        audit.append(connection, now_ms, principal.actor, "hold.release", hold_id, {"reason": body.reason})
        return replace(row, released_ms=now_ms, released_by=principal.actor), None

    row, asked = await services.write(write)
    if asked is None:
        return as_json(row)
    response.status_code = 202
    return as_json(row) | queued(asked)
