"""Rows: links to other nodes, invitations, mechanisms, exchange rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from storage.catalog.tables import exchange_rule, link, link_invite, link_use, mechanism

#: What a new link may carry upward in 24 hours: one main and four sub streams around the clock.
BYTES_PER_DAY = 72_000_000_000


@dataclass(frozen=True, slots=True)
class LinkRow:
    id: str
    peer_node: str
    peer_name: str
    peer_region: str
    peer_tier: str
    peer_role: str  #: what the peer is to us: upper or lower
    url: str
    public_key: bytes
    tls_sha256: bytes | None
    kind: str
    capacity_bps: int
    created_ms: int
    suspended_ms: int | None = None
    removed_ms: int | None = None
    last_seen_ms: int | None = None
    bytes_per_day: int = BYTES_PER_DAY
    tls_other_sha256: bytes | None = None  #: another certificate of the peer that is taken too
    tls_other_until_ms: int | None = None  #: until then; None: until its next statement
    tls_issued_ms: int | None = None  #: of the peer's statement that these are from; None: they are from pairing
    tls_told_ms: int | None = None  #: issue of our own statement that the peer holds

    @property
    def usable(self) -> bool:
        return self.suspended_ms is None and self.removed_ms is None


@dataclass(frozen=True, slots=True)
class InviteRow:
    code_hash: bytes
    peer_role: str
    created_ms: int
    created_by: str
    expires_ms: int
    used_ms: int | None = None


def _link(row: Row[Any]) -> LinkRow:
    return LinkRow(**row._mapping)


def add(connection: Connection, row: LinkRow) -> str:
    """The row's id. A node that was linked before takes its old row over: leases of the past keep their link, and the
    line that was measured or bought stays what it is. So does a suspension of a link that stands: pairing again, for a
    certificate or an address, resumes nothing. A removed link begins anew."""
    values = {name: getattr(row, name) for name in LinkRow.__slots__}
    found = connection.execute(select(link).where(link.c.peer_node == row.peer_node)).one_or_none()
    if found is None:
        connection.execute(insert(link).values(**values))
        return row.id
    existing = _link(found)
    for kept in ("id", "kind", "capacity_bps", "bytes_per_day"):
        del values[kept]
    if existing.removed_ms is None and existing.suspended_ms is not None:
        values["suspended_ms"] = existing.suspended_ms
    connection.execute(update(link).where(link.c.id == existing.id).values(**values))
    return existing.id


def of_peer(connection: Connection, peer_node: str) -> LinkRow | None:
    """The link with that node, suspended ones included, removed ones not."""
    query = select(link).where(link.c.peer_node == peer_node, link.c.removed_ms.is_(None))
    found = connection.execute(query).one_or_none()
    return _link(found) if found is not None else None


def get(connection: Connection, link_id: str) -> LinkRow | None:
    found = connection.execute(select(link).where(link.c.id == link_id)).one_or_none()
    return _link(found) if found is not None else None


def all_of(connection: Connection, role: str | None = None, removed: bool = False) -> list[LinkRow]:
    query = select(link).order_by(link.c.created_ms, link.c.id)
    if role is not None:
        query = query.where(link.c.peer_role == role)
    if not removed:
        query = query.where(link.c.removed_ms.is_(None))
    return [_link(row) for row in connection.execute(query)]


def change(connection: Connection, link_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(update(link).where(link.c.id == link_id).values(**values))


def seen(connection: Connection, link_id: str, now_ms: int) -> None:
    connection.execute(update(link).where(link.c.id == link_id).values(last_seen_ms=now_ms))


def carried(connection: Connection, link_id: str, after_ms: int, before_ms: int) -> dict[int, int]:
    """Bytes of our pictures by the hour, of hours that begin between the two (exclusive)."""
    query = select(link_use.c.hour_ms, link_use.c.bytes).where(
        link_use.c.link_id == link_id, link_use.c.hour_ms > after_ms, link_use.c.hour_ms < before_ms
    )
    return {row.hour_ms: row.bytes for row in connection.execute(query)}


def carry(connection: Connection, link_id: str, hour_ms: int, count: int) -> None:
    """Adds `count` bytes to an hour; a negative count takes back what was not sent after all."""
    key = (link_use.c.link_id == link_id) & (link_use.c.hour_ms == hour_ms)
    if not connection.execute(update(link_use).where(key).values(bytes=link_use.c.bytes + count)).rowcount:
        connection.execute(insert(link_use).values(link_id=link_id, hour_ms=hour_ms, bytes=count))


def forget_carried(connection: Connection, link_id: str, before_ms: int) -> None:
    connection.execute(delete(link_use).where(link_use.c.link_id == link_id, link_use.c.hour_ms < before_ms))


def add_invite(connection: Connection, row: InviteRow) -> None:
    connection.execute(insert(link_invite).values(**{name: getattr(row, name) for name in InviteRow.__slots__}))


def get_invite(connection: Connection, code_hash: bytes) -> InviteRow | None:
    found = connection.execute(select(link_invite).where(link_invite.c.code_hash == code_hash)).one_or_none()
    return InviteRow(**found._mapping) if found is not None else None


def use_invite(connection: Connection, code_hash: bytes, now_ms: int) -> bool:
    """False when it was used before: one code, one link, whoever comes first."""
    query = update(link_invite).where(link_invite.c.code_hash == code_hash, link_invite.c.used_ms.is_(None))
    return connection.execute(query.values(used_ms=now_ms)).rowcount == 1


def put_mechanism(
    connection: Connection, name: str, version: int, kind: str, rules: dict[str, Any], now_ms: int
) -> None:
    """Adds the version if it is not there; a version once written is never changed."""
    key = (mechanism.c.name == name) & (mechanism.c.version == version)
    if connection.execute(select(mechanism.c.version).where(key)).scalar() is None:
        connection.execute(
            insert(mechanism).values(name=name, version=version, kind=kind, rules=rules, created_ms=now_ms)
        )


def mechanism_names(connection: Connection) -> list[str]:
    return list(connection.execute(select(mechanism.c.name).distinct().order_by(mechanism.c.name)).scalars())


def mechanism_rules(connection: Connection, name: str, version: int | None = None) -> dict[str, Any] | None:
    """The rules of a version, or of the newest."""
    query = select(mechanism.c.rules).where(mechanism.c.name == name)
    if version is not None:
        query = query.where(mechanism.c.version == version)
    found = connection.execute(query.order_by(mechanism.c.version.desc()).limit(1)).scalar()
    return dict(found) if found is not None else None


def set_exchange(connection: Connection, peer: str, rules: Iterable[tuple[str, str, str]]) -> None:
    """The rules of one peer, whole: (grade, nature, mode). A pair that is not named is `none`."""
    connection.execute(delete(exchange_rule).where(exchange_rule.c.peer == peer))
    rows = [{"peer": peer, "grade": grade, "nature": nature, "mode": mode} for grade, nature, mode in rules]
    if rows:
        connection.execute(insert(exchange_rule), rows)


def exchange_of(connection: Connection, peer: str) -> dict[tuple[str, str], str]:
    rows = connection.execute(select(exchange_rule).where(exchange_rule.c.peer == peer))
    return {(row.grade, row.nature): row.mode for row in rows}
