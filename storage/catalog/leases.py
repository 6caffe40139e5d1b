"""Rows: leases, granted (we are the lower node) and held (we are the upper one)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, tuple_, update

from storage.catalog.tables import lease, link, register


@dataclass(frozen=True, slots=True)
class LeaseRow:
    id: str
    side: str  #: granted or held
    link_id: str
    mechanism: str
    mechanism_version: int
    kind: str
    case_no: str
    reason: str
    persons: list[dict[str, str]]  #: [{"name", "unit"}], the requester first
    cameras: list[str]
    functions: list[str]
    max_stream: str
    from_ms: int | None
    to_ms: int | None
    issued_ms: int
    expires_ms: int
    cache_until_ms: int
    confirm_by_ms: int | None
    confirmed_ms: int | None
    confirmed_by: str | None
    ended_ms: int | None
    end_reason: str | None
    document: str
    signature: str
    purged_ms: int | None = None
    purge_statement: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class LookRow:
    """An open register row under a lease: somebody is watching now."""

    register_id: str
    lease_id: str
    camera_id: str
    stream: str
    function: str
    person: str
    unit: str
    opened_ms: int


def _row(row: Row[Any]) -> LeaseRow:
    return LeaseRow(**row._mapping)


def add(connection: Connection, row: LeaseRow) -> None:
    connection.execute(insert(lease).values(**{name: getattr(row, name) for name in LeaseRow.__slots__}))


def get(connection: Connection, lease_id: str, side: str) -> LeaseRow | None:
    query = select(lease).where(lease.c.id == lease_id, lease.c.side == side)
    found = connection.execute(query).one_or_none()
    return _row(found) if found is not None else None


def change(connection: Connection, lease_id: str, side: str, values: Mapping[str, Any]) -> None:
    connection.execute(update(lease).where(lease.c.id == lease_id, lease.c.side == side).values(**values))


def end(
    connection: Connection, lease_id: str, side: str, now_ms: int, why: str, cache_until_ms: int | None = None
) -> bool:
    """Ends a lease once: the first reason stays. `cache_until_ms` moves the cache's end towards now, never away."""
    found = get(connection, lease_id, side)
    if found is None:
        return False
    values: dict[str, Any] = {}
    if cache_until_ms is not None and cache_until_ms < found.cache_until_ms:
        values["cache_until_ms"] = cache_until_ms
    if found.ended_ms is None:
        values |= {"ended_ms": now_ms, "end_reason": why}
    if values:
        change(connection, lease_id, side, values)
    return found.ended_ms is None


def listed(
    connection: Connection,
    side: str | None = None,
    active_at_ms: int | None = None,
    limit: int = 500,
    before: tuple[int, str, str] | None = None,
) -> list[LeaseRow]:
    """Newest first, from behind the one of `before` (its time of issue, id and side); with `active_at_ms` only those
    that neither ended nor expired then."""
    order = (lease.c.issued_ms, lease.c.id, lease.c.side)
    query = select(lease).order_by(*(column.desc() for column in order)).limit(limit)
    if before is not None:
        query = query.where(tuple_(*order) < before)
    if side is not None:
        query = query.where(lease.c.side == side)
    if active_at_ms is not None:
        query = query.where(lease.c.ended_ms.is_(None), lease.c.expires_ms > active_at_ms)
    return [_row(row) for row in connection.execute(query)]


def since(connection: Connection, side: str, since_ms: int) -> list[LeaseRow]:
    """All that were issued since, or had not expired then."""
    query = select(lease).where(lease.c.side == side, lease.c.expires_ms > since_ms)
    return [_row(row) for row in connection.execute(query.order_by(lease.c.issued_ms, lease.c.id))]


def running(connection: Connection, now_ms: int) -> list[tuple[LeaseRow, str]]:
    """Leases of both sides that are neither over nor on a suspended or removed link, with the peer's node id."""
    query = (
        select(lease, link.c.peer_node)
        .join(link, link.c.id == lease.c.link_id)
        .where(lease.c.ended_ms.is_(None), lease.c.expires_ms > now_ms)
        .where(link.c.suspended_ms.is_(None), link.c.removed_ms.is_(None))
    )
    found = []
    for row in connection.execute(query):
        values = dict(row._mapping)
        peer = values.pop("peer_node")
        found.append((LeaseRow(**values), peer))
    return found


def of_link(connection: Connection, link_id: str, side: str, since_ms: int) -> list[LeaseRow]:
    """Leases of a link that were issued or ended since."""
    query = select(lease).where(lease.c.link_id == link_id, lease.c.side == side)
    query = query.where((lease.c.expires_ms >= since_ms) | (lease.c.ended_ms >= since_ms))
    return [_row(row) for row in connection.execute(query.order_by(lease.c.id).limit(1000))]


def open_of(connection: Connection, link_id: str, side: str, now_ms: int) -> list[LeaseRow]:
    """Leases of a link that run, or whose cache may hold something."""
    running = (lease.c.ended_ms.is_(None)) & (lease.c.expires_ms > now_ms)
    query = select(lease).where(lease.c.link_id == link_id, lease.c.side == side)
    return [_row(row) for row in connection.execute(query.where(running | (lease.c.cache_until_ms > now_ms)))]


def open_(connection: Connection, now_ms: int) -> list[LeaseRow]:
    """Leases of both sides and all links that run, or whose cache may hold something and was not said to be purged."""
    running = (lease.c.ended_ms.is_(None)) & (lease.c.expires_ms > now_ms)
    kept = (lease.c.cache_until_ms > now_ms) & (lease.c.purged_ms.is_(None))
    return [_row(row) for row in connection.execute(select(lease).where(running | kept).order_by(lease.c.id))]


def end_all(connection: Connection, link_id: str, side: str, now_ms: int, why: str) -> list[LeaseRow]:
    """Ends those of `open_of` with their caches; them, as they were.

    One that has expired is ended too when it has a cache: only what has ended is told to the upper node.
    """
    found = open_of(connection, link_id, side, now_ms)
    for row in found:
        end(connection, row.id, side, now_ms, why, now_ms)
    return found


def ended_unpurged(connection: Connection, link_id: str, since_ms: int) -> list[LeaseRow]:
    """Granted leases of a link that ended since and of which the upper node may still keep something, newest first."""
    query = select(lease).where(
        lease.c.link_id == link_id, lease.c.side == "granted", lease.c.ended_ms >= since_ms, lease.c.purged_ms.is_(None)
    )
    return [_row(row) for row in connection.execute(query.order_by(lease.c.ended_ms.desc()).limit(1000))]


def owed(connection: Connection, link_id: str, issued_until_ms: int, now_ms: int, limit: int) -> list[str]:
    """Granted leases of a link that were issued by then and that the upper node must have a row of: they run, or it
    should have purged them and has not said so. Ids, oldest first."""
    running = (lease.c.ended_ms.is_(None)) & (lease.c.expires_ms > now_ms)
    query = select(lease.c.id).where(
        lease.c.link_id == link_id, lease.c.side == "granted", lease.c.issued_ms <= issued_until_ms,
        lease.c.purged_ms.is_(None), running | (lease.c.cache_until_ms <= now_ms),
    )  # fmt: skip
    return list(connection.execute(query.order_by(lease.c.issued_ms, lease.c.id).limit(limit)).scalars())


def unheld(connection: Connection, lease_ids: Iterable[str]) -> list[str]:
    """Those of which there is no row as the upper node, over whichever link; in their order."""
    wanted = list(lease_ids)
    query = select(lease.c.id).where(lease.c.side == "held", lease.c.id.in_(wanted))
    known = set(connection.execute(query).scalars())
    return [lease_id for lease_id in wanted if lease_id not in known]


def camera_ms_since(connection: Connection, link_id: str, since_ms: int) -> int:
    """Camera time granted over a link since then: what was promised, renewals included, and not given back early
    (S15)."""
    total = 0
    query = select(lease.c.cameras, lease.c.issued_ms, lease.c.expires_ms, lease.c.ended_ms).where(
        lease.c.link_id == link_id, lease.c.side == "granted", lease.c.expires_ms > since_ms
    )
    for row in connection.execute(query):
        last = row.expires_ms if row.ended_ms is None else min(row.expires_ms, row.ended_ms)
        total += max(0, last - max(row.issued_ms, since_ms)) * len(row.cameras)
    return total


def to_purge(connection: Connection, now_ms: int) -> list[LeaseRow]:
    """Held leases whose cache time is over and that were not purged yet."""
    query = select(lease).where(lease.c.side == "held", lease.c.purged_ms.is_(None), lease.c.cache_until_ms <= now_ms)
    over = (lease.c.expires_ms <= now_ms) | lease.c.ended_ms.is_not(None)
    return [_row(row) for row in connection.execute(query.where(over).order_by(lease.c.cache_until_ms))]


def unconfirmed_late(connection: Connection, now_ms: int) -> list[LeaseRow]:
    """Running held leases past their time to be confirmed whose cache is still to go."""
    query = select(lease).where(
        lease.c.side == "held",
        lease.c.confirmed_ms.is_(None),
        lease.c.confirm_by_ms <= now_ms,
        lease.c.ended_ms.is_(None),
    )
    return [_row(row) for row in connection.execute(query.where(lease.c.expires_ms > now_ms))]


def purged_unacknowledged(connection: Connection) -> list[LeaseRow]:
    """Held leases whose purge statement the lower node has not taken yet."""
    query = select(lease).where(lease.c.side == "held", lease.c.purged_ms.is_not(None))
    rows = (_row(row) for row in connection.execute(query.order_by(lease.c.purged_ms)))
    return [
        row for row in rows if row.purge_statement is not None and row.purge_statement.get("acknowledged_ms") is None
    ]


def overdue_purges(connection: Connection, before_ms: int) -> list[LeaseRow]:
    """Granted leases whose cache should be gone since `before_ms` and for which no statement came."""
    query = select(lease).where(
        lease.c.side == "granted", lease.c.purged_ms.is_(None), lease.c.cache_until_ms <= before_ms
    )
    return [_row(row) for row in connection.execute(query.order_by(lease.c.cache_until_ms))]


def watching(connection: Connection, lease_ids: Iterable[str]) -> list[LookRow]:
    """Who watches under these leases now, by the open rows of the register."""
    wanted = list(lease_ids)
    query = select(register).where(register.c.closed_ms.is_(None), register.c.lease_id.in_(wanted))
    return [
        LookRow(row.id, row.lease_id, row.camera_id, row.stream, row.function, row.person, row.unit, row.opened_ms)
        for row in connection.execute(query.order_by(register.c.opened_ms))
    ]
