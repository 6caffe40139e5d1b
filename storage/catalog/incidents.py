"""Rows: incidents. Number, place, time, cameras near it; no case management."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from storage.catalog.tables import incident


@dataclass(frozen=True, slots=True)
class IncidentRow:
    id: str
    number: str
    place: str
    at_ms: int
    cameras: list[str]
    closed_ms: int | None = None


def _row(row: Row[Any]) -> IncidentRow:
    return IncidentRow(**row._mapping)


def add(connection: Connection, row: IncidentRow) -> None:
    connection.execute(insert(incident).values(**{name: getattr(row, name) for name in IncidentRow.__slots__}))


def get(connection: Connection, incident_id: str) -> IncidentRow | None:
    found = connection.execute(select(incident).where(incident.c.id == incident_id)).one_or_none()
    return _row(found) if found is not None else None


def by_number(connection: Connection, number: str) -> IncidentRow | None:
    found = connection.execute(select(incident).where(incident.c.number == number)).one_or_none()
    return _row(found) if found is not None else None


def listed(connection: Connection, closed: bool = False, limit: int = 500) -> list[IncidentRow]:
    query = select(incident).order_by(incident.c.at_ms.desc()).limit(limit)
    if not closed:
        query = query.where(incident.c.closed_ms.is_(None))
    return [_row(row) for row in connection.execute(query)]


def change(connection: Connection, incident_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(update(incident).where(incident.c.id == incident_id).values(**values))
