"""The second person's queue: asking, deciding, expiring, each audited in the transaction of its deed.

What is provisional (a hold) is undone here when it is refused or its time is over. Time is over only by a trusted
clock: `expire` is called by the sweep, after it has judged the clock, so that a clock that jumps lets no hold lapse.

Belongs here: moves between states. Does not belong here: the rules (`storage.approval_rules`), what a given approval
does (`gateway.access.approvals`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.reasons import Reason
from storage.approval_rules import ACTIONS, Approval, State, over, shown, state_at
from storage.audit import log as audit
from storage.catalog import approvals as rows
from storage.catalog import retention_rows


def ask(connection: Connection, asked: Approval) -> Approval:
    """The request in the queue. Raises approval.asked_already."""
    for other in rows.pending(connection, asked.action, asked.subject):
        if state_at(other, asked.requested_ms) == "pending":
            raise TiergateError(Kind.CONFLICT, "approval.asked_already", approval=other.id)
    rows.add(connection, asked)
    details = {
        "action": asked.action,
        "subject": asked.subject,
        "params": dict(asked.params),
        "reason": asked.reason,
        "expires_ms": asked.expires_ms,
    }
    audit.append(connection, asked.requested_ms, f"user:{asked.requester}", "approval.ask", asked.id, details)
    return asked


def decide(connection: Connection, row: Approval, to: State, by: str, name: str, words: str, now_ms: int) -> Approval:
    """`row` given or refused. Raises approval.expired, approval.decided: also to the later one of two who decide."""
    late = over(row, now_ms)
    if late is not None:
        raise TiergateError(Kind.CONFLICT, late.code, **late.params)
    decided = replace(row, state=to, decided_by=by, decided_name=name, decided_ms=now_ms, words=words)
    values = {"decided_by": by, "decided_name": name, "decided_ms": now_ms, "words": words}
    if not rows.move(connection, row.id, "pending", to, **values):
        raise _decided(connection, row.id)
    action = "approval.give" if to == "given" else "approval.refuse"
    details = {"action": row.action, "subject": row.subject, "asked_by": row.requester, "words": words}
    audit.append(connection, now_ms, by, action, row.id, details)
    if to == "refused":
        _undo(connection, row, by, now_ms)
        decided = _ended(connection, decided, Reason("approval.refused", {"what": shown(row)}))
    return decided


def used(connection: Connection, row: Approval, now_ms: int) -> Approval:
    """A given approval, after its act was done in this transaction."""
    if not rows.move(connection, row.id, "given", "used"):
        raise _decided(connection, row.id)
    audit.append(connection, now_ms, row.decided_by or "", "approval.use", row.id, {"action": row.action})
    return _ended(connection, replace(row, state="used"), Reason("approval.done", {"what": shown(row)}))


def failed(connection: Connection, row: Approval, why: Reason, now_ms: int) -> Approval:
    """A given approval whose act is not possible any more. Nothing is undone: the second person did not refuse it."""
    rows.move(connection, row.id, "given", "refused")
    audit.append(connection, now_ms, row.decided_by or "", "approval.fail", row.id, why.as_json())
    return _ended(
        connection, replace(row, state="refused"), Reason("approval.not_done", {"approval": row.id, "why": why})
    )


def overdue(connection: Connection, now_ms: int) -> list[Approval]:
    return [row for row in rows.pending(connection) if now_ms >= row.expires_ms]


def expire(connection: Connection, now_ms: int, actor: str) -> None:
    """Ends requests that nobody decided in time."""
    for row in overdue(connection, now_ms):
        rows.move(connection, row.id, "pending", "expired", decided_by=actor, decided_ms=now_ms)
        audit.append(connection, now_ms, actor, "approval.expire", row.id, {"action": row.action})
        _undo(connection, row, actor, now_ms)


#: How the audit log tells of each end of a request.
_ENDS: Mapping[str, State] = {
    "approval.use": "used", "approval.refuse": "refused", "approval.fail": "refused", "approval.expire": "expired",
}  # fmt: skip


def ends(entries: Iterable[audit.Entry]) -> dict[str, State]:
    """What became of requests, by id, of what the audit log says."""
    return {entry.subject: _ENDS[entry.action] for entry in entries if entry.action in _ENDS}


def end_decided(connection: Connection, decided: Mapping[str, State], now_ms: int, actor: str) -> int:
    """After a restore: requests that wait in the backup and were decided after it end as they did; how many.

    Nothing is done or undone for them: their objects are as people left them. `decided`: by id, what is known; of the
    others a hold tells that was approved or released since.
    """
    holds = {hold.id: hold for hold in retention_rows.holds(connection, standing_only=False)}
    ended = 0
    for row in rows.pending(connection):
        to = decided.get(row.id)
        found = holds.get(row.subject) if row.action.startswith("hold.") else None
        if to is None and found is not None:
            if found.released_ms is not None:
                to = "used" if row.action == "hold.release" else "refused"
            elif row.action == "hold.add" and found.approver is not None:
                to = "used"
        if to is not None and rows.move(connection, row.id, "pending", to, decided_by=actor, decided_ms=now_ms):
            rows.set_outcome(connection, row.id, Reason("approval.restored", {"approval": row.id}).as_json())
            audit.append(connection, now_ms, actor, "approval.restore", row.id, {"action": row.action, "state": to})
            ended += 1
    return ended


def _decided(connection: Connection, id_: str) -> TiergateError:
    found = rows.find(connection, id_)
    return TiergateError(Kind.CONFLICT, "approval.decided", approval=id_, state=found and found.state)


def _ended(connection: Connection, row: Approval, outcome: Reason) -> Approval:
    value = outcome.as_json()
    rows.set_outcome(connection, row.id, value)
    return replace(row, outcome=value)


def _undo(connection: Connection, row: Approval, by: str, now_ms: int) -> None:
    """What was done provisionally ends, and nothing that was approved. What another hold covers stays."""
    if ACTIONS[row.action].provisional and retention_rows.lapse_hold(connection, row.subject, by, now_ms):
        audit.append(connection, now_ms, by, "hold.lapse", row.subject, {"approval": row.id})
