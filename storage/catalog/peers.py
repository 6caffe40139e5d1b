"""Rows: what lower nodes told about their cameras (facts, never pictures), and what we tell upward about ours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from storage.catalog.links import LinkRow
from storage.catalog.tables import camera, camera_status, link, peer_camera, region, segment


@dataclass(frozen=True, slots=True)
class PeerCameraRow:
    link_id: str
    camera_id: str
    name: str
    tier: str
    region: str
    region_name: str
    state: str
    details: dict[str, Any]
    updated_ms: int
    removed_ms: int | None = None


@dataclass(frozen=True, slots=True)
class OwnCamera:
    """One of our cameras as leases and the directory need it."""

    id: str
    name: str
    tier: str
    region: str
    region_name: str
    secrecy: int
    sharing: str
    enabled: bool
    ptz: bool
    site_type: str
    place: str | None
    longitude: str | None
    latitude: str | None
    audio: bool


def _row(row: Row[Any]) -> PeerCameraRow:
    return PeerCameraRow(**row._mapping)


def replace_all(connection: Connection, link_id: str, rows: Iterable[PeerCameraRow], now_ms: int) -> None:
    """What the link's node has now; cameras that are no more are marked, not deleted."""
    known = {
        row.camera_id: _row(row)
        for row in connection.execute(select(peer_camera).where(peer_camera.c.link_id == link_id))
    }
    here = set()
    for row in rows:
        here.add(row.camera_id)
        values = {name: getattr(row, name) for name in PeerCameraRow.__slots__}
        old = known.get(row.camera_id)
        key = (peer_camera.c.link_id == link_id) & (peer_camera.c.camera_id == row.camera_id)
        if old is None:
            connection.execute(insert(peer_camera).values(**values))
        elif _facts(old) != _facts(row):
            connection.execute(update(peer_camera).where(key).values(**values))
    gone = [c for c, row in known.items() if c not in here and row.removed_ms is None]
    for camera_id in gone:
        key = (peer_camera.c.link_id == link_id) & (peer_camera.c.camera_id == camera_id)
        connection.execute(update(peer_camera).where(key).values(removed_ms=now_ms))


def _facts(row: PeerCameraRow) -> tuple[object, ...]:
    return (row.name, row.tier, row.region, row.region_name, row.state, row.details, row.removed_ms)


def listed(connection: Connection, camera_ids: Iterable[str] | None = None) -> list[PeerCameraRow]:
    """Cameras of lower nodes whose link stands, by id."""
    query = (
        select(peer_camera)
        .join(link, link.c.id == peer_camera.c.link_id)
        .where(peer_camera.c.removed_ms.is_(None), link.c.removed_ms.is_(None), link.c.peer_role == "lower")
    )
    if camera_ids is not None:
        query = query.where(peer_camera.c.camera_id.in_(list(camera_ids)))
    return [_row(row) for row in connection.execute(query.order_by(peer_camera.c.camera_id))]


def elsewhere(connection: Connection, here: LinkRow) -> set[str]:
    """Cameras that the node of this link may not name as its own: ours, and those that stand under another link. Of two
    links under which one stands, the older has it."""
    mine = select(peer_camera.c.camera_id).where(peer_camera.c.link_id == here.id, peer_camera.c.removed_ms.is_(None))
    older = (link.c.created_ms < here.created_ms) | ((link.c.created_ms == here.created_ms) & (link.c.id < here.id))
    others = (
        select(peer_camera.c.camera_id)
        .join(link, link.c.id == peer_camera.c.link_id)
        .where(peer_camera.c.link_id != here.id, peer_camera.c.removed_ms.is_(None))
        .where(link.c.removed_ms.is_(None), link.c.peer_role == "lower")
        .where(older | peer_camera.c.camera_id.not_in(mine))
    )
    own = select(camera.c.id).where(camera.c.removed_ms.is_(None))
    return {*connection.execute(own).scalars(), *connection.execute(others).scalars()}


def own_cameras(connection: Connection, camera_ids: Iterable[str] | None = None) -> list[OwnCamera]:
    query = (
        select(camera, region.c.name.label("region_name"))
        .join(region, region.c.code == camera.c.region, isouter=True)
        .where(camera.c.removed_ms.is_(None))
    )
    if camera_ids is not None:
        query = query.where(camera.c.id.in_(list(camera_ids)))
    return [
        OwnCamera(
            r.id,
            r.name,
            r.tier,
            r.region,
            r.region_name or "",
            r.secrecy,
            r.sharing,
            r.enabled,
            r.ptz,
            r.site_type,
            r.place,
            r.longitude,
            r.latitude,
            r.audio,
        )
        for r in connection.execute(query.order_by(camera.c.id))
    ]


def own_status(connection: Connection) -> dict[str, dict[str, dict[str, Any]]]:
    """camera -> stream -> what its recorder last knew, of what may go upward."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    names = ("state", "cause", "since_ms", "codec", "audio_codec", "width", "height", "fps", "b_frames")
    for row in connection.execute(select(camera_status)):
        found.setdefault(row.camera_id, {})[row.stream] = {name: getattr(row, name) for name in names}
    return found


def footage_s(connection: Connection, camera_id: str, from_ms: int, to_ms: int) -> int:
    """Seconds of own main footage inside a range."""
    low = (
        func.max(segment.c.start_ms, from_ms)
        if connection.dialect.name == "sqlite"
        else func.greatest(segment.c.start_ms, from_ms)
    )
    high = (
        func.min(segment.c.end_ms, to_ms)
        if connection.dialect.name == "sqlite"
        else func.least(segment.c.end_ms, to_ms)
    )
    query = select(func.coalesce(func.sum(high - low), 0)).where(
        segment.c.camera_id == camera_id,
        segment.c.stream == "main",
        segment.c.kind == "own",
        segment.c.state.in_(("spooled", "stored", "condemned")),
        segment.c.start_ms < to_ms,
        segment.c.start_ms > from_ms - 3_600_000,
        segment.c.end_ms > from_ms,
    )
    return int(connection.execute(query).scalar_one()) // 1000
