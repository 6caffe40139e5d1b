"""Rows: objects of the temporary cache. A row is there before its bytes are, and outlives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from storage.catalog.tables import cache_object


@dataclass(frozen=True, slots=True)
class CacheRow:
    object_key: str
    lease_id: str
    camera_id: str
    segment_id: str
    bytes: int
    cache_until_ms: int
    created_ms: int
    purged_ms: int | None = None


def _row(row: Row[Any]) -> CacheRow:
    return CacheRow(**row._mapping)


def add(connection: Connection, row: CacheRow) -> None:
    """Announces an object; again after a crash between row and bytes changes nothing. One that was purged, and comes
    again for a lease that has its cache back, stands anew."""
    values = {name: getattr(row, name) for name in CacheRow.__slots__}
    known = get(connection, row.object_key)
    if known is None:
        connection.execute(insert(cache_object).values(**values))
    elif known.purged_ms is not None:
        connection.execute(update(cache_object).where(cache_object.c.object_key == row.object_key).values(**values))


def get(connection: Connection, object_key: str) -> CacheRow | None:
    found = connection.execute(select(cache_object).where(cache_object.c.object_key == object_key)).one_or_none()
    return _row(found) if found is not None else None


def of_lease(connection: Connection, lease_id: str) -> list[CacheRow]:
    query = select(cache_object).where(cache_object.c.lease_id == lease_id).order_by(cache_object.c.object_key)
    return [_row(row) for row in connection.execute(query)]


def keeps(connection: Connection, lease_id: str) -> bool:
    """Whether any object of the lease should still have bytes."""
    mine = select(cache_object.c.object_key).where(
        cache_object.c.lease_id == lease_id, cache_object.c.purged_ms.is_(None)
    )
    return connection.execute(mine.limit(1)).first() is not None


def kept_bytes(connection: Connection) -> int:
    query = select(func.coalesce(func.sum(cache_object.c.bytes), 0)).where(cache_object.c.purged_ms.is_(None))
    return int(connection.execute(query).scalar_one())


def purge(connection: Connection, lease_id: str, now_ms: int) -> None:
    query = update(cache_object).where(cache_object.c.lease_id == lease_id, cache_object.c.purged_ms.is_(None))
    connection.execute(query.values(purged_ms=now_ms))
