"""Rows of the second person's queue.

Belongs here: statements. Does not belong here: who may decide (`storage.approval_rules`), audited moves
(`storage.approvals`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from storage.approval_rules import Approval, State
from storage.catalog.tables import approval

_QUERY = select(approval)
_PENDING = _QUERY.where(approval.c.state == "pending").order_by(approval.c.id)


def _approval(row: Row[Any]) -> Approval:
    return Approval(**row._mapping)


def add(connection: Connection, row: Approval) -> None:
    connection.execute(
        insert(approval).values(
            id=row.id, action=row.action, subject=row.subject, params=dict(row.params), reason=row.reason,
            requester_id=row.requester_id, requester=row.requester, requester_name=row.requester_name,
            client=row.client, requested_ms=row.requested_ms, expires_ms=row.expires_ms, state=row.state,
            words=row.words,
        )
    )  # fmt: skip


def find(connection: Connection, id_: str) -> Approval | None:
    row = connection.execute(_QUERY.where(approval.c.id == id_)).first()
    return None if row is None else _approval(row)


def newest(connection: Connection, states: Sequence[State], before: str | None) -> list[Approval]:
    """Newest first, from behind the id `before`."""
    query = _QUERY.where(approval.c.state.in_(states)).order_by(approval.c.id.desc())
    if before is not None:
        query = query.where(approval.c.id < before)
    return [_approval(row) for row in connection.execute(query)]


def pending(connection: Connection, action: str | None = None, subject: str | None = None) -> list[Approval]:
    """Undecided ones, oldest first, those whose time is over included."""
    query = _PENDING
    if action is not None:
        query = query.where(approval.c.action == action)
    if subject is not None:
        query = query.where(approval.c.subject == subject)
    return [_approval(row) for row in connection.execute(query)]


def move(connection: Connection, id_: str, from_state: State, to_state: State, **values: Any) -> bool:
    """False when it is not in `from_state` (any more): of two who decide at once one finds it so."""
    done = connection.execute(
        update(approval).where(approval.c.id == id_, approval.c.state == from_state).values(state=to_state, **values)
    )
    return done.rowcount == 1


def set_outcome(connection: Connection, id_: str, outcome: Mapping[str, Any]) -> None:
    connection.execute(update(approval).where(approval.c.id == id_).values(outcome=dict(outcome)))
