"""Rows of cameras, their streams and sealed credentials.

A camera's tier is stored; its id is generated unless given; a new one is shared with nobody. Removed cameras keep their
row: their footage, gaps and register still name them.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from config.errors import Kind, TiergateError
from config.ids import CameraId, centre_code, next_camera_id, ulid
from config.reasons import Reason
from config.weekly import parse_week
from storage.catalog.engine import overwriting
from storage.catalog.gaps import GapRow, close_gap, open_gap, open_gaps
from storage.catalog.places import require_department, require_region, settle_camera
from storage.catalog.tables import camera, camera_health, camera_status, camera_stream, credential
from storage.sites import check_site_type


@dataclass(frozen=True, slots=True)
class Camera:
    id: str
    name: str
    tier: str
    region: str
    department_id: str | None
    site_type: str
    recorded_by: str
    sharing: str
    enabled: bool
    audio: bool
    audio_basis: str | None
    secrecy: int
    longitude: str | None
    latitude: str | None
    place: str | None
    onvif_url: str | None
    ptz: bool
    serial: str | None
    model: str | None
    credential_id: str | None
    host: str
    shard: int
    created_ms: int
    changed_ms: int
    removed_ms: int | None
    schedule: str | None = None  #: windows of the week (config.weekly); None: recorded always


@dataclass(frozen=True, slots=True)
class StreamRow:
    camera_id: str
    stream: str
    url: str  #: without credentials
    transport: str = "tcp"
    warm: bool = False
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class CredentialRow:
    id: str
    username: str
    sealed: bytes
    key_id: str
    version: int
    changed_ms: int


@dataclass(frozen=True, slots=True)
class NewCamera:
    """What registration gives; everything else has a default."""

    name: str
    region: str
    streams: tuple[tuple[str, str, str | None], ...]  #: (stream, URL without credentials, ONVIF profile)
    id: str | None = None
    department_id: str | None = None
    site_type: str = "street"
    recorded_by: str = "self"
    sharing: str = "none"
    enabled: bool = True
    audio: bool = False
    audio_basis: str | None = None
    secrecy: int = 0
    longitude: str | None = None
    latitude: str | None = None
    place: str | None = None
    onvif_url: str | None = None
    ptz: bool = False
    serial: str | None = None
    model: str | None = None
    credential_id: str | None = None
    warm_sub: bool = False
    tier: str | None = None  #: default: the region's, else the node's


_COLUMNS = tuple(Camera.__dataclass_fields__)


def _camera(row: Row[Any]) -> Camera:
    return Camera(**{name: getattr(row, name) for name in _COLUMNS})


def cameras(
    connection: Connection, ids: Iterable[str] | None = None, include_removed: bool = False
) -> dict[str, Camera]:
    query = select(camera).order_by(camera.c.id)
    if ids is not None:
        query = query.where(camera.c.id.in_(list(ids)))
    if not include_removed:
        query = query.where(camera.c.removed_ms.is_(None))
    return {row.id: _camera(row) for row in connection.execute(query)}


def search(
    connection: Connection, region_codes: Iterable[str] | None, text: str | None, after: str | None, limit: int
) -> list[Camera]:
    """A page in the order of ids."""
    query = select(camera).where(camera.c.removed_ms.is_(None)).order_by(camera.c.id).limit(limit)
    if region_codes is not None:
        query = query.where(camera.c.region.in_(list(region_codes)))
    if text:
        pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        query = query.where(
            or_(
                camera.c.name.ilike(pattern, escape="\\"),
                camera.c.id.like(pattern, escape="\\"),
                camera.c.place.ilike(pattern, escape="\\"),
            )
        )
    if after is not None:
        query = query.where(camera.c.id > after)
    return [_camera(row) for row in connection.execute(query)]


def create_camera(connection: Connection, new: NewCamera, node_tier: str, shard_size: int, now_ms: int) -> Camera:
    """Raises access.region_unknown, access.department_unknown, access.place_forbidden, access.site_type_unknown,
    access.camera_exists, access.camera_duplicate, access.audio_basis, id.camera_malformed, id.camera_type_unknown."""
    place = require_region(connection, new.region)
    if new.department_id is not None:
        require_department(connection, new.department_id)
    site_type = check_site_type(new.site_type)
    if new.audio and not (new.audio_basis or "").strip():
        raise TiergateError(Kind.INVALID, "access.audio_basis")
    taken = {r.id for r in connection.execute(select(camera.c.id))}
    if new.id is None:
        id_ = next_camera_id(centre_code(place.code), taken)
    else:
        id_ = str(CameraId.parse(new.id))
        if id_ in taken:
            raise TiergateError(Kind.CONFLICT, "access.camera_exists", camera=id_)
    _refuse_duplicate(connection, id_, [url for _, url, _ in new.streams])
    connection.execute(
        insert(camera).values(
            id=id_, name=new.name, tier=new.tier or place.tier or node_tier, region=place.code,
            department_id=new.department_id,
            site_type=site_type, recorded_by=new.recorded_by, sharing=new.sharing, enabled=new.enabled,
            audio=new.audio, audio_basis=new.audio_basis, secrecy=new.secrecy, longitude=new.longitude,
            latitude=new.latitude, place=new.place, onvif_url=new.onvif_url, ptz=new.ptz, serial=new.serial,
            model=new.model, credential_id=new.credential_id, shard=_shard(connection, shard_size),
            created_ms=now_ms, changed_ms=now_ms,
        )
    )  # fmt: skip
    connection.execute(
        insert(camera_stream),
        [
            {"camera_id": id_, "stream": s, "url": url, "profile": profile, "warm": new.warm_sub and s == "sub"}
            for s, url, profile in new.streams
        ],
    )
    settle_camera(connection, id_, place.code, now_ms)
    _account_for(connection, id_, new.recorded_by, now_ms)
    return cameras(connection, [id_])[id_]


def _account_for(connection: Connection, id_: str, recorded_by: str | None, now_ms: int) -> None:
    """From now on (I5): what its owner records is not due here, and a recorder of ours begins its own account. None:
    the camera is removed. What was missing before stays as it was told, whoever records today."""
    if recorded_by == "owner":
        reason = Reason("camera.owner_records").as_json()
        id_of_gap = ulid(now_ms, secrets.token_bytes(10))
        open_gap(connection, GapRow(id_of_gap, id_, "main", "disabled", now_ms, None, now_ms, reason))
        return
    for standing in open_gaps(connection, id_, "main"):
        close_gap(connection, standing.id, now_ms)


def _shard(connection: Connection, shard_size: int) -> int:
    """The first recorder with room."""
    rows = connection.execute(select(camera.c.shard).where(camera.c.removed_ms.is_(None)))
    load = Counter(r.shard for r in rows)
    shard = 0
    while load[shard] >= shard_size:
        shard += 1
    return shard


def _refuse_duplicate(connection: Connection, id_: str, urls: Iterable[str]) -> None:
    found = connection.execute(
        select(camera_stream.c.camera_id)
        .join(camera, camera.c.id == camera_stream.c.camera_id)
        .where(camera_stream.c.url.in_(list(urls)), camera.c.removed_ms.is_(None), camera.c.id != id_)
    ).first()
    if found is not None:
        raise TiergateError(Kind.CONFLICT, "access.camera_duplicate", camera=found.camera_id)


def change_camera(connection: Connection, id_: str, values: Mapping[str, Any], now_ms: int) -> Camera:
    """Raises as `create_camera`, and week.malformed. `values` are columns of `camera`."""
    values = dict(values)
    if "region" in values:
        place = require_region(connection, values["region"])
        values["region"] = place.code
        if place.tier is not None:
            values["tier"] = place.tier
    if values.get("department_id") is not None:
        require_department(connection, values["department_id"])
    if "site_type" in values:
        values["site_type"] = check_site_type(values["site_type"])
    if values.get("schedule") is not None:
        parse_week(values["schedule"])
    before = cameras(connection, [id_]).get(id_)
    if before is None:
        raise TiergateError(Kind.NOT_FOUND, "access.not_found")
    basis = values.get("audio_basis", before.audio_basis)
    if values.get("audio", before.audio) and not (basis or "").strip():
        raise TiergateError(Kind.INVALID, "access.audio_basis")
    connection.execute(update(camera).where(camera.c.id == id_).values(**values, changed_ms=now_ms))
    if values.get("region", before.region) != before.region:
        settle_camera(connection, id_, values["region"], now_ms)
    if values.get("recorded_by", before.recorded_by) != before.recorded_by:
        _account_for(connection, id_, values["recorded_by"], now_ms)
    return cameras(connection, [id_])[id_]


def put_stream(connection: Connection, row: StreamRow) -> None:
    """Raises access.camera_duplicate."""
    _refuse_duplicate(connection, row.camera_id, [row.url])
    drop_stream(connection, row.camera_id, row.stream)
    connection.execute(
        insert(camera_stream).values(
            camera_id=row.camera_id, stream=row.stream, url=row.url, transport=row.transport, warm=row.warm,
            profile=row.profile,
        )
    )  # fmt: skip


def drop_stream(connection: Connection, camera_id: str, stream: str) -> None:
    connection.execute(
        delete(camera_stream).where(camera_stream.c.camera_id == camera_id, camera_stream.c.stream == stream)
    )


def remove_camera(connection: Connection, id_: str, now_ms: int) -> None:
    connection.execute(
        update(camera)
        .where(camera.c.id == id_, camera.c.removed_ms.is_(None))
        .values(removed_ms=now_ms, changed_ms=now_ms, enabled=False)
    )
    _account_for(connection, id_, None, now_ms)


def streams(connection: Connection, ids: Iterable[str] | None = None) -> dict[str, dict[str, StreamRow]]:
    query = select(camera_stream)
    if ids is not None:
        query = query.where(camera_stream.c.camera_id.in_(list(ids)))
    found: dict[str, dict[str, StreamRow]] = {}
    for r in connection.execute(query):
        row = StreamRow(r.camera_id, r.stream, r.url, r.transport, r.warm, r.profile)
        found.setdefault(r.camera_id, {})[r.stream] = row
    return found


def status_rows(connection: Connection, ids: Iterable[str] | None = None) -> dict[str, dict[str, Row[Any]]]:
    """What recorders last knew, by camera and stream; read only (rows are written by the recorder)."""
    query = select(camera_status)
    if ids is not None:
        query = query.where(camera_status.c.camera_id.in_(list(ids)))
    found: dict[str, dict[str, Row[Any]]] = {}
    for r in connection.execute(query):
        found.setdefault(r.camera_id, {})[r.stream] = r
    return found


def health_rows(connection: Connection, ids: Iterable[str] | None = None) -> dict[str, Row[Any]]:
    query = select(camera_health)
    if ids is not None:
        query = query.where(camera_health.c.camera_id.in_(list(ids)))
    return {r.camera_id: r for r in connection.execute(query)}


# --- credentials -----------------------------------------------------------------------------------------------------


def put_credential(connection: Connection, row: CredentialRow) -> None:
    known = connection.execute(select(credential.c.version).where(credential.c.id == row.id)).first()
    values: dict[str, Any] = {
        "username": row.username,
        "sealed": row.sealed,
        "key_id": row.key_id,
        "changed_ms": row.changed_ms,
    }
    if known is None:
        connection.execute(insert(credential).values(id=row.id, **values))
    else:
        values["version"] = known.version + 1
        with overwriting(connection):
            connection.execute(update(credential).where(credential.c.id == row.id).values(**values))


def sealed_with_others(
    connection: Connection, key_id: str, after: str = "", limit: int | None = None
) -> list[CredentialRow]:
    """Rows that another key than `key_id` opens, in the order of ids."""
    query = select(credential).where(credential.c.key_id != key_id, credential.c.id > after)
    return [_credential(row) for row in connection.execute(query.order_by(credential.c.id).limit(limit))]


def seal_anew(connection: Connection, id_: str, sealed: bytes, key_id: str) -> None:
    """The same account under another key: to whoever uses it nothing has changed."""
    with overwriting(connection):
        connection.execute(update(credential).where(credential.c.id == id_).values(sealed=sealed, key_id=key_id))


def users_of(connection: Connection, credential_ids: Iterable[str]) -> list[str]:
    """Ids of the cameras, removed ones aside, that have one of these accounts."""
    query = select(camera.c.id).where(camera.c.credential_id.in_(list(credential_ids)), camera.c.removed_ms.is_(None))
    return list(connection.execute(query.order_by(camera.c.id)).scalars())


def credentials(connection: Connection, ids: Iterable[str]) -> dict[str, CredentialRow]:
    found = connection.execute(select(credential).where(credential.c.id.in_(list(ids))))
    return {row.id: _credential(row) for row in found}


def _credential(row: Row[Any]) -> CredentialRow:
    return CredentialRow(row.id, row.username, row.sealed, row.key_id, row.version, row.changed_ms)
