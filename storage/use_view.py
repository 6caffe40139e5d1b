"""Use, read from the catalog: the sums of a month, and the reports of past months that were kept.

A kept report is a fact; its digest stands in the audit log, written in the same transaction. So the numbers of a month
cannot be changed afterwards, and rows of the register that are changed afterwards do not add up to them any more.

Belongs here: which rows count, what is kept. Does not belong here: the sums (`storage.use`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, or_, select

from config.errors import Kind, TiergateError
from config.units import month_before, month_of_ms, month_range_ms
from storage.audit.log import append, canonical_json
from storage.catalog import facts
from storage.catalog.tables import audit, lease, register
from storage.use import RefusedLook, RegisteredLook, Use

REFUSED = "look.refuse"  #: action of the audit log; details: unit, viewer, pictures, purpose, function, code
KEPT = "report.use."  #: fact: report of that month, `2026-11`
ABOVE = "report.use_above."  #: fact: what the people of that link's upper node saw in that month
BELOW = "report.use_below."  #: fact: {"link_id", …} of that link's node and month, as it was received
MOST_MONTHS = 12  #: so far back a missing report is made up for
_AT_ONCE = 1_000


def report(connection: Connection, month: str, now_ms: int, node: str | None = None) -> dict[str, Any]:
    """The sums of a month, of the running one until now. With `node`, only what the people of that upper node saw.

    Raises time.month_malformed, time.range_empty for a month to come. Rows are streamed: the register may be large.
    """
    from_ms, to_ms = month_range_ms(month)
    end_ms = min(to_ms, now_ms + 1)  # what happens in this very millisecond has happened
    if end_ms <= from_ms:
        raise TiergateError(Kind.INVALID, "time.range_empty")
    use = Use(from_ms, end_ms)
    for look in _looks(connection, from_ms, end_ms, node):
        use.add(look)
    if node is None:
        for refused in _refused(connection, from_ms, end_ms):
            use.add_refused(refused)
    head = {"month": month, "from_ms": from_ms, "to_ms": to_ms, "whole": now_ms >= to_ms}
    return head | use.as_json(_kinds(connection, sorted(use.leases)))


def _looks(connection: Connection, from_ms: int, end_ms: int, node: str | None) -> Iterator[RegisteredLook]:
    query = select(
        register.c.opened_ms, register.c.closed_ms, register.c.person, register.c.unit, register.c.principal,
        register.c.purpose, register.c.function, register.c.camera_id, register.c.lease_id, register.c.case_no,
        register.c.bytes, register.c.result,
    ).where(
        register.c.opened_ms < end_ms, or_(register.c.closed_ms.is_(None), register.c.closed_ms >= from_ms)
    )  # fmt: skip
    for row in connection.execute(query.execution_options(yield_per=_AT_ONCE)):
        if node is not None and (row.principal.get("kind"), row.principal.get("id")) != ("node", node):
            continue
        yield RegisteredLook(
            row.opened_ms, row.closed_ms, row.person, row.unit, _viewer(row.principal), row.purpose,
            row.function, row.camera_id, row.lease_id, row.case_no, row.bytes or 0, row.result,
        )  # fmt: skip


def _viewer(principal: Mapping[str, Any]) -> str:
    return "wall" if "wall" in principal else str(principal.get("kind", ""))


def _refused(connection: Connection, from_ms: int, end_ms: int) -> Iterator[RefusedLook]:
    query = select(audit.c.details).where(audit.c.action == REFUSED, audit.c.at_ms >= from_ms, audit.c.at_ms < end_ms)
    for (details,) in connection.execute(query.execution_options(yield_per=_AT_ONCE)):
        yield RefusedLook(*(details[name] for name in ("unit", "viewer", "pictures", "purpose", "function")))


def _kinds(connection: Connection, lease_ids: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for at in range(0, len(lease_ids), 500):
        query = select(lease.c.id, lease.c.kind).where(lease.c.id.in_(lease_ids[at : at + 500]))
        found.update({row.id: row.kind for row in connection.execute(query)})
    return found


# --- kept ------------------------------------------------------------------------------------------------------------


def kept(connection: Connection, month: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = facts.get(connection, KEPT + month)
    return found


def kept_months(connection: Connection) -> list[str]:
    return [key.removeprefix(KEPT) for key in facts.keys(connection, KEPT)]


def months_due(connection: Connection, now_ms: int) -> list[str]:
    """Months that are over and have no kept report, the oldest first; none from before this node's first entry."""
    began_ms = connection.execute(select(audit.c.at_ms).order_by(audit.c.seq).limit(1)).scalar()
    if began_ms is None:
        return []
    have = set(kept_months(connection))
    due, month = [], month_before(month_of_ms(now_ms))
    for _ in range(MOST_MONTHS):
        if month_range_ms(month)[1] <= began_ms:
            break
        if month not in have:
            due.append(month)
        month = month_before(month)
    return due[::-1]


def keep(
    connection: Connection,
    month: str,
    value: dict[str, Any],
    now_ms: int,
    actor: str,
    above: Mapping[str, dict[str, Any]] | None = None,
) -> None:
    """Once: a report that is kept stays as it is. `above`: by link, what its upper node is told of its own people."""
    if kept(connection, month) is not None:
        return
    facts.set(connection, KEPT + month, value | {"made_ms": now_ms})
    told = {} if above is None else above
    for link_id, one in told.items():
        facts.set(connection, f"{ABOVE}{month}.{link_id}", one)
    details = {"sha256": digest(value), "above": {link_id: digest(one) for link_id, one in told.items()}}
    append(connection, now_ms, actor, "report.keep", f"use {month}", details)


def agrees(connection: Connection, told: dict[str, Any], fresh: dict[str, Any]) -> bool:
    """Whether a kept report is the one that was kept, and the register still adds up to it."""
    query = select(audit.c.details).where(audit.c.action == "report.keep", audit.c.subject == f"use {told['month']}")
    noted = {str(details["sha256"]) for (details,) in connection.execute(query)}
    return noted == {digest(told)} == {digest(fresh)}


def digest(value: dict[str, Any]) -> str:
    """SHA-256 over what was summed, whenever it was made."""
    summed = {name: value[name] for name in ("month", "items", "sum", "without_case")}
    return hashlib.sha256(canonical_json(summed)).hexdigest()


def above(connection: Connection, month: str, link_id: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = facts.get(connection, f"{ABOVE}{month}.{link_id}")
    return found


# --- of lower nodes --------------------------------------------------------------------------------------------------


def below(connection: Connection, month: str) -> list[dict[str, Any]]:
    """What lower nodes said of this month: how their cameras were used under leases that they granted to us."""
    return [facts.get(connection, key) for key in facts.keys(connection, f"{BELOW}{month}.")]


def has_below(connection: Connection, month: str, link_id: str) -> bool:
    return facts.get(connection, f"{BELOW}{month}.{link_id}") is not None


def keep_below(connection: Connection, month: str, link_id: str, name: str, value: dict[str, Any], now_ms: int) -> None:
    said = {"link_id": link_id, "name": name, "received_ms": now_ms, "report": value}
    facts.set(connection, f"{BELOW}{month}.{link_id}", said)
    append(connection, now_ms, "system:relay", "report.receive", f"use {month} {link_id}", {"sha256": digest(value)})
