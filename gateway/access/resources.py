"""Catalog rows as the facts that `decide` works on: own cameras, lower tiers' cameras, and leases that name them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select

from storage.catalog import cameras as camera_rows
from storage.catalog import places
from storage.catalog.tables import lease, link, peer_camera
from tiering.grants import CameraResource, Function, LeaseFact


def load(connection: Connection, ids: Iterable[str] | None, now_ms: int) -> dict[str, CameraResource]:
    """The cameras of these ids (None: all) that exist, own ones first; what is not here looks like what never was."""
    wanted = None if ids is None else sorted(set(ids))
    own = camera_rows.cameras(connection, wanted)
    lower = _lower(connection, wanted)
    areas = places.areas_of(connection, now_ms, own)
    above = places.ancestors(connection, {c.region for c in own.values()} | set(lower.values()))
    leases = _leases(connection, now_ms)
    found: dict[str, CameraResource] = {}
    for id_, region in lower.items():
        found[id_] = CameraResource(id_, above[region], origin="lower", leases=leases.get(id_, ()))
    for camera in own.values():
        found[camera.id] = CameraResource(
            id=camera.id,
            regions=above[camera.region],
            department_id=camera.department_id,
            areas=frozenset(area_id for area_id, _, _ in areas.get(camera.id, ())),
            secrecy=camera.secrecy,
            sharing=camera.sharing,
            origin="own",
            leases=leases.get(camera.id, ()),
        )
    return found


def _lower(connection: Connection, ids: list[str] | None) -> dict[str, str]:
    query = (
        select(peer_camera.c.camera_id, peer_camera.c.region)
        .join(link, link.c.id == peer_camera.c.link_id)
        .where(peer_camera.c.removed_ms.is_(None), link.c.removed_ms.is_(None))
    )
    if ids is not None:
        query = query.where(peer_camera.c.camera_id.in_(ids))
    oldest_last = query.order_by(link.c.created_ms.desc(), link.c.id.desc())  # of two that name one, it has it
    return {row.camera_id: row.region for row in connection.execute(oldest_last)}


def _leases(connection: Connection, now_ms: int) -> dict[str, tuple[LeaseFact, ...]]:
    """Running leases by camera. A suspended or removed link gives nothing."""
    query = (
        select(lease, link.c.peer_node)
        .join(link, link.c.id == lease.c.link_id)
        .where(
            lease.c.ended_ms.is_(None),
            lease.c.expires_ms > now_ms,
            link.c.suspended_ms.is_(None),
            link.c.removed_ms.is_(None),
        )
        .order_by(lease.c.expires_ms.desc())
    )
    found: dict[str, tuple[LeaseFact, ...]] = {}
    for row in connection.execute(query):
        fact = LeaseFact(
            id=row.id,
            side=row.side,
            node=row.peer_node,
            cameras=frozenset(row.cameras),
            functions=frozenset(Function(f) for f in row.functions if f in Function.__members__.values()),
            max_stream="main" if row.max_stream == "main" else "sub",
            persons=frozenset(_person(p) for p in row.persons),
            expires_ms=row.expires_ms,
            kind=row.kind,
            case_no=row.case_no,
            reason=row.reason,
            from_ms=row.from_ms,
            to_ms=row.to_ms,
            confirm_by_ms=row.confirm_by_ms,
            confirmed_ms=row.confirmed_ms,
            ended_ms=row.ended_ms,
        )
        for camera_id in fact.cameras:
            found[camera_id] = (*found.get(camera_id, ()), fact)
    return found


def _person(value: Any) -> tuple[str, str]:
    if isinstance(value, dict):
        return str(value.get("name") or ""), str(value.get("unit") or "")
    return str(value), ""
