"""Rows of what owners attest of footage that their own recorders keep. None is changed: the newest of a camera counts.

Belongs here: statements. Does not belong here: what an attestation is worth (`storage.attested`).
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, insert, select

from storage.attested import Attestation
from storage.catalog.tables import attestation

_COLUMNS = tuple(Attestation.__dataclass_fields__)


def add(connection: Connection, row: Attestation) -> None:
    connection.execute(insert(attestation).values(**{name: getattr(row, name) for name in _COLUMNS}))


def of(connection: Connection, camera_id: str) -> list[Attestation]:
    """All of one camera, the newest first."""
    return _read(connection, [camera_id])[::-1]


def newest(connection: Connection, camera_ids: Iterable[str] | None = None) -> dict[str, Attestation]:
    """By camera; cameras without any are not in it."""
    return {row.camera_id: row for row in _read(connection, camera_ids)}


def _read(connection: Connection, camera_ids: Iterable[str] | None) -> list[Attestation]:
    """The oldest first. Of one moment the later id is the newer: ids of one process rise."""
    query = select(attestation).order_by(attestation.c.made_ms, attestation.c.id)
    if camera_ids is not None:
        query = query.where(attestation.c.camera_id.in_(list(camera_ids)))
    return [Attestation(**{name: getattr(row, name) for name in _COLUMNS}) for row in connection.execute(query)]
