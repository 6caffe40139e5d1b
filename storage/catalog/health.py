"""Rows of `camera_health`: the latest picture check of each camera, written by the worker.

Belongs here: reading and writing those rows. Does not belong here: the verdict (`gateway.health.judge`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, insert, select

from storage.catalog.tables import camera, camera_health, camera_stream


@dataclass(frozen=True, slots=True)
class HealthRow:
    camera_id: str
    verdict: str  #: ok, black, frozen
    since_ms: int
    checked_ms: int
    mean_luma: str | None
    difference: str | None


@dataclass(frozen=True, slots=True)
class Watched:
    """A camera whose picture is to be checked."""

    camera_id: str
    shard: int
    stream: str


_COLUMNS = tuple(camera_health.c[name] for name in HealthRow.__dataclass_fields__)


def write(connection: Connection, rows: Sequence[HealthRow]) -> None:
    """Replaces the rows of these cameras. At most `engine.CHUNK_ROWS` at once."""
    if rows:
        connection.execute(delete(camera_health).where(camera_health.c.camera_id.in_([row.camera_id for row in rows])))
        connection.execute(insert(camera_health), [asdict(row) for row in rows])


def read(connection: Connection, ids: Iterable[str] | None = None) -> dict[str, HealthRow]:
    query = select(*_COLUMNS)
    if ids is not None:
        query = query.where(camera_health.c.camera_id.in_(list(ids)))
    return {row.camera_id: HealthRow(*row) for row in connection.execute(query)}


def watched(connection: Connection) -> list[Watched]:
    """Enabled cameras of this node. The `sub` stream where it is kept open anyway, else `main`, which is recorded: a
    check must not open a connection to a camera that nobody else needs."""
    rows = connection.execute(
        select(camera.c.id, camera.c.shard, camera_stream.c.stream, camera_stream.c.warm)
        .join(camera_stream, camera_stream.c.camera_id == camera.c.id)
        .where(camera.c.enabled, camera.c.removed_ms.is_(None))
        .order_by(camera.c.id)
    ).all()
    chosen: dict[str, Watched] = {}
    for row in rows:
        if row.stream == "main":
            chosen.setdefault(row.id, Watched(row.id, row.shard, "main"))
        elif row.warm:
            chosen[row.id] = Watched(row.id, row.shard, "sub")
    return list(chosen.values())
