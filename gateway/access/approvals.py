"""Asking for a second person, and carrying out what they gave: exactly what was shown, if it is still possible.

The act is done in the transaction of the giving, in the requester's name and by the requester's rights of that moment;
to keep a hold, which stands since it was asked for, needs no right of theirs any more.
Another action joins by a row in `storage.approval_rules.ACTIONS` and a performer in `PERFORM`.

Belongs here: who asks and who gives, as principals; performers. Does not belong here: rules, moves between states
(`storage.approvals`), HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection

from config.clock import Clock, wall_ms
from config.errors import Kind, TiergateError
from gateway.access import footage
from gateway.access.ids import fresh_id
from gateway.access.principals import Principals
from storage import approvals, class_changes, sweeper
from storage.approval_rules import ACTIONS, Approval, State, may_not_decide, may_read, over
from storage.audit import log as audit
from storage.catalog import approvals as rows
from storage.catalog import people, retention_rows
from storage.catalog.retention_rows import HoldRow
from tiering.access import Principal


def ask(
    connection: Connection,
    clock: Clock,
    principal: Principal,
    action: str,
    subject: str,
    params: Mapping[str, Any],
    reason: str,
    client: str,
) -> Approval:
    """A request in the queue. Raises access.users_only, approval.asked_already."""
    if principal.kind != "user":
        raise TiergateError(Kind.FORBIDDEN, "access.users_only")
    now_ms = wall_ms(clock)
    asked = Approval(
        id=fresh_id(clock),
        action=action,
        subject=subject,
        params=params,
        reason=reason,
        requester_id=principal.id,
        requester=principal.login,
        requester_name=principal.name,
        client=client,
        requested_ms=now_ms,
        expires_ms=now_ms + ACTIONS[action].wait_ms,
    )
    return approvals.ask(connection, asked)


def decide(
    connection: Connection,
    principals: Principals,
    principal: Principal,
    approval_id: str,
    give: bool,
    words: str,
    now_ms: int,
) -> Approval:
    """The request after the decision: used, or refused; given but not possible any more is refused, with its outcome.

    Raises approval.unknown, own, expired, decided, words_needed, access.role_needed, users_only.
    """
    row = rows.find(connection, approval_id)
    if row is None or not may_read(row, principal.kind, principal.id, principal.roles):
        raise TiergateError(Kind.NOT_FOUND, "approval.unknown", approval=approval_id[:40])
    giver = _now(connection, principals, principal.id, now_ms)
    bar = may_not_decide(row, principal.kind, principal.id, frozenset() if giver is None else giver.roles)
    if bar is not None:
        raise TiergateError(Kind.FORBIDDEN, bar.code, **bar.params)
    late = over(row, now_ms)
    if late is not None:
        raise TiergateError(Kind.CONFLICT, late.code, **late.params)
    if not give and not words:
        raise TiergateError(Kind.INVALID, "approval.words_needed", field="words")
    state: State = "given" if give else "refused"
    decided = approvals.decide(connection, row, state, principal.actor, principal.name, words, now_ms)
    if not give:
        return decided
    try:
        with connection.begin_nested():
            requester = _now(connection, principals, row.requester_id, now_ms)
            PERFORM[row.action](connection, decided, requester, now_ms)
    except TiergateError as error:
        return approvals.failed(connection, decided, error.reason, now_ms)
    return approvals.used(connection, decided, now_ms)


def _now(connection: Connection, principals: Principals, user_id: str, now_ms: int) -> Principal | None:
    """The person with the roles and grants of this moment; None for one who is not there any more, or disabled."""
    user = people.users(connection, [user_id]).get(user_id)
    if user is None or user.disabled_ms is not None:
        return None
    return principals.of_user(connection, user, None, now_ms)


def _gone(row: Approval) -> TiergateError:
    return TiergateError(Kind.CONFLICT, "approval.requester_gone", person=row.requester_name)


# --- performers ------------------------------------------------------------------------------------------------------


def _set_class(connection: Connection, row: Approval, requester: Principal | None, now_ms: int) -> None:
    """Raises approval.requester_gone, approval.class_changed and what `class_changes.propose` raises."""
    if requester is None or "system_admin" not in requester.roles:
        raise _gone(row)
    shown = row.params
    present = class_changes.propose(connection, shown["class"], shown["months"], shown["legal_basis"])
    if present != shown:
        raise TiergateError(
            Kind.CONFLICT,
            "approval.class_changed",
            **{"class": shown["class"], "was": _lengths(shown), "now": _lengths(present)},
        )
    class_changes.ask(
        connection, shown["class"], shown["months"], now_ms, requester.actor, shown["legal_basis"], "full",
        row.decided_by,
    )  # fmt: skip


def _lengths(params: Mapping[str, Any]) -> str:
    waiting = params["replaces_months"]
    return f"{params['from_months']}" + ("" if waiting is None else f" → {waiting}")


def _confirm_sweep(connection: Connection, row: Approval, requester: Principal | None, now_ms: int) -> None:
    """Raises approval.requester_gone."""
    if requester is None or "system_admin" not in requester.roles:
        raise _gone(row)
    sweeper.confirm(connection, row.params["due"], now_ms)
    details = {"confirm": row.params["due"], "approval": row.id, "approver": row.decided_by}
    audit.append(connection, now_ms, requester.actor, "retention.confirm", "sweep", details)


def _standing(connection: Connection, row: Approval) -> HoldRow:
    """The hold that the request is about. Raises approval.hold_over."""
    found = {hold.id: hold for hold in retention_rows.holds(connection)}.get(row.subject)
    if found is None:
        raise TiergateError(Kind.CONFLICT, "approval.hold_over", hold=row.subject)
    return found


def _keep_hold(connection: Connection, row: Approval, requester: Principal | None, now_ms: int) -> None:
    """The hold stands already, by the requester's right of that moment; now it has its approver and does not lapse.
    Whether the requester might place it today is no matter: who says "keep" must not end it."""
    hold = _standing(connection, row)
    retention_rows.approve_hold(connection, hold.id, row.decided_name or "")
    audit.append(connection, now_ms, row.decided_by or "", "hold.approve", hold.id, {"approval": row.id})


def _release_hold(connection: Connection, row: Approval, requester: Principal | None, now_ms: int) -> None:
    """Raises approval.hold_over, approval.requester_gone."""
    hold = _standing(connection, row)
    if requester is None:
        raise _gone(row)
    try:
        footage.require_hold(connection, requester, hold.cameras, hold.from_ms, hold.to_ms, now_ms, row.client)
    except TiergateError as error:
        raise _gone(row) from error
    retention_rows.release_hold(connection, hold.id, requester.actor, now_ms)
    details = {"reason": row.reason, "approval": row.id, "approver": row.decided_by}
    audit.append(connection, now_ms, requester.actor, "hold.release", hold.id, details)


#: action → what is done when it is given; raises what stands in the way now. The requester is None when gone, or
#: disabled.
PERFORM: dict[str, Callable[[Connection, Approval, Principal | None, int], None]] = {
    "retention.set": _set_class,
    "retention.sweep": _confirm_sweep,
    "hold.add": _keep_hold,
    "hold.release": _release_hold,
}
