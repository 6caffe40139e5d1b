"""``/approvals``: the one queue of what needs a second person, and their word."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.reasons import Reason
from config.units import format_time_ms
from gateway.access import approvals
from gateway.web.policy import policy
from gateway.web.services import services_of
from gateway.web.wire import Body, Cursor, Limit, LongText, page, paged
from storage.approval_rules import STATES, Approval, State, may_not_decide, may_read, shown, state_at
from storage.catalog import approvals as rows
from tiering.access import Principal

router = APIRouter(prefix="/api/v1/approvals", tags=["approvals"])
#: What the answer of a route that may queue says in the API's document.
MAY_QUEUE: dict[int | str, dict[str, Any]] = {202: {"description": "It waits for a second person (`approval`)"}}


class Decision(Body):
    decision: Literal["give", "refuse"]
    words: LongText = ""


def as_json(row: Approval, principal: Principal, now_ms: int) -> dict[str, Any]:
    open_ = state_at(row, now_ms) == "pending"
    barred = may_not_decide(row, principal.kind, principal.id, principal.roles)
    return {
        "id": row.id,
        "action": row.action,
        "subject": row.subject,
        "params": dict(row.params),
        "what": shown(row).as_json(),
        "reason": row.reason,
        "requester": row.requester,
        "requester_name": row.requester_name,
        "requested_ms": row.requested_ms,
        "expires_ms": row.expires_ms,
        "state": state_at(row, now_ms),
        "decided_by": row.decided_by,
        "decided_name": row.decided_name,
        "decided_ms": row.decided_ms,
        "words": row.words,
        "outcome": row.outcome,
        "may_decide": open_ and barred is None,
        "barred": barred.as_json() if open_ and barred is not None else None,
    }


def queued(row: Approval, code: str = "approval.queued") -> dict[str, Any]:
    """What a route adds to its answer, a 202, about the request that waits now."""
    until = format_time_ms(row.expires_ms, local=True)
    params = {"approval": row.id, "until": until} | ({"what": shown(row)} if code == "approval.queued" else {})
    return {"approval": row.id, "approval_expires_ms": row.expires_ms, "notice": Reason(code, params).as_json()}


@router.get("")
async def list_approvals(
    request: Request,
    principal: Annotated[Principal, policy(users_only=True)],
    state: Annotated[Literal["pending", "given", "refused", "expired", "used"] | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 200,
) -> dict[str, Any]:
    """Newest first: one's own requests, what one may decide, and for the audit administrator all."""
    services = services_of(request)
    # One whose time is over stands as pending until the keeper's clock is trusted, and is shown as expired.
    states: tuple[State, ...] = STATES if state is None else ("pending", state) if state == "expired" else (state,)

    def read(connection: Connection) -> list[Approval]:
        found = rows.newest(connection, states, cursor)
        return [row for row in found if may_read(row, principal.kind, principal.id, principal.roles)]

    now_ms = services.now_ms()
    found = [row for row in await services.read(read) if state is None or state_at(row, now_ms) == state]
    some, next_ = paged(found[: limit + 1], limit, "id")
    return page([as_json(row, principal, now_ms) for row in some], next_)


@router.post("/{approval_id}")
async def decide(
    request: Request, approval_id: str, body: Decision, principal: Annotated[Principal, policy(users_only=True)]
) -> dict[str, Any]:
    """Gives or refuses. What is given is done at once, exactly as shown; 409 when that is not possible any more."""
    services = services_of(request)

    def write(connection: Connection) -> Approval:
        return approvals.decide(
            connection,
            services.principals,
            principal,
            approval_id,
            body.decision == "give",
            body.words,
            services.now_ms(),
        )

    decided = await services.write(write)
    if body.decision == "give" and decided.state == "refused" and decided.outcome is not None:
        # The refusal is in the catalog already: raised here, it rolls nothing back.
        raise TiergateError(Kind.CONFLICT, "approval.not_done", **decided.outcome["params"])
    return as_json(decided, principal, services.now_ms())
