"""Rows of what owners' recorders answered when they were asked for footage. None is changed; the old are dropped.

A rebuild from the store does not bring them back: they are asked anew.

Belongs here: statements. Does not belong here: what an answer is worth (`storage.sampled`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from storage.catalog.engine import CHUNK_ROWS
from storage.catalog.tables import owner_check
from storage.sampled import Check

_COLUMNS = tuple(Check.__dataclass_fields__)


def add(connection: Connection, rows: Sequence[Check]) -> None:
    if rows:
        connection.execute(insert(owner_check), [{name: getattr(row, name) for name in _COLUMNS} for row in rows])


def since(connection: Connection, camera_ids: Iterable[str], at_ms: int) -> dict[str, list[Check]]:
    """By camera, all that were asked for instants from `at_ms` on, the oldest question first."""
    query = (
        select(owner_check)
        .where(owner_check.c.camera_id.in_(list(camera_ids)), owner_check.c.at_ms >= at_ms)
        .order_by(owner_check.c.asked_ms, owner_check.c.id)
    )
    found: dict[str, list[Check]] = {}
    for row in connection.execute(query):
        found.setdefault(row.camera_id, []).append(_check(row))
    return found


def newest(connection: Connection, camera_id: str, limit: int, before: tuple[int, str] | None = None) -> list[Check]:
    """The newest questions first; `before`: (asked_ms, id) of the last one seen."""
    query = select(owner_check).where(owner_check.c.camera_id == camera_id)
    if before is not None:
        asked, id_ = owner_check.c.asked_ms, owner_check.c.id
        query = query.where((asked < before[0]) | ((asked == before[0]) & (id_ < before[1])))
    query = query.order_by(owner_check.c.asked_ms.desc(), owner_check.c.id.desc()).limit(limit)
    return [_check(row) for row in connection.execute(query)]


def last_asked(connection: Connection, by: str, now_ms: int) -> dict[str, int]:
    """By camera, when `by` last asked. What is dated after now was asked by a wrong clock and does not count."""
    query = (
        select(owner_check.c.camera_id, func.max(owner_check.c.asked_ms))
        .where(owner_check.c.asked_by == by, owner_check.c.asked_ms <= now_ms)
        .group_by(owner_check.c.camera_id)
    )
    return {camera_id: asked_ms for camera_id, asked_ms in connection.execute(query)}


def with_absent(connection: Connection, at_ms: int) -> set[str]:
    """Cameras of whose instants from `at_ms` on one was ever found missing."""
    query = select(owner_check.c.camera_id).where(owner_check.c.verdict == "absent", owner_check.c.at_ms >= at_ms)
    return set(connection.execute(query.distinct()).scalars())


def drop_before(connection: Connection, asked_ms: int) -> int:
    """At most `CHUNK_ROWS`; how many."""
    old = select(owner_check.c.id).where(owner_check.c.asked_ms < asked_ms).limit(CHUNK_ROWS)
    ids = list(connection.execute(old).scalars())
    if ids:
        connection.execute(delete(owner_check).where(owner_check.c.id.in_(ids)))
    return len(ids)


def _check(row: Row[Any]) -> Check:
    return Check(**{name: getattr(row, name) for name in _COLUMNS})
