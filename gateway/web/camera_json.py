"""A camera as the API shows it to this caller: what they may do, its streams, its health; never a credential."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, select

from gateway.access import resources
from storage.catalog import cameras as rows
from storage.catalog import places
from storage.catalog.cameras import Camera, StreamRow
from storage.catalog.tables import link, peer_camera
from tiering.access import CameraResource, Decision, Facts, Function, Principal, decide, watermarked

_STATUS = (
    "state",
    "cause",
    "reason",
    "since_ms",
    "last_media_ms",
    "codec",
    "audio_codec",
    "width",
    "height",
    "fps",
    "bit_rate_bps",
    "b_frames",
)
_UNKNOWN = dict.fromkeys(_STATUS) | {"state": "unknown"}


def of(
    connection: Connection, principal: Principal, ids: Iterable[str], now_ms: int, client: str | None
) -> dict[str, dict[str, Any]]:
    """The cameras among `ids` that are in the caller's catalogue."""
    found = resources.load(connection, ids, now_ms)
    shown: dict[str, tuple[CameraResource, dict[Function, Decision]]] = {}
    for id_, resource in found.items():
        decisions = {f: decide(principal, f, resource, now_ms, Facts(client=client)) for f in Function}
        if any(d.visible for d in decisions.values()):
            shown[id_] = (resource, {f: d for f, d in decisions.items() if d.allow})
    own = rows.cameras(connection, [i for i, (r, _) in shown.items() if r.origin == "own"])
    lower = [i for i, (r, _) in shown.items() if r.origin == "lower"]
    answer = _own(connection, own, shown, now_ms)
    answer.update(_lower(connection, lower, principal, shown))
    for id_, value in answer.items():
        resource, allowed = shown[id_]
        value["functions"] = [f.value for f in Function if f in allowed]
        value["watermark"] = watermarked(principal, value["origin"])
        value["original"] = decide(
            principal, Function.EXPORT, resource, now_ms, Facts(purpose="evidence", client=client, original=True)
        ).allow
        pictures = [allowed[f] for f in (Function.LIVE, Function.PLAYBACK) if f in allowed]
        value["max_stream"] = "main" if any(d.max_stream == "main" for d in pictures) else "sub" if pictures else None
        if value["lease_id"] is None:
            value["lease_id"] = next((d.lease_id for d in pictures if d.lease_id is not None), None)
    return answer


def _own(
    connection: Connection,
    own: dict[str, Camera],
    shown: dict[str, tuple[CameraResource, dict[Function, Decision]]],
    now_ms: int,
) -> dict[str, dict[str, Any]]:
    streams, status = rows.streams(connection, own), rows.status_rows(connection, own)
    health, areas = rows.health_rows(connection, own), places.areas_of(connection, now_ms, own)
    departments = places.departments(connection)
    names = places.region_names(connection, {c.region for c in own.values()})
    answer: dict[str, dict[str, Any]] = {}
    for id_, camera in own.items():
        allowed = shown[id_][1]
        standing = areas.get(id_, [])
        unit = departments.get(camera.department_id or "")
        checked = health.get(id_)
        answer[id_] = {
            "id": id_,
            "name": camera.name,
            "tier": camera.tier,
            "region": camera.region,
            "region_name": names.get(camera.region, camera.region),
            "department": unit and unit.name,
            "department_id": camera.department_id,
            "area_class": standing[0][2] if standing else "default",
            "areas": [{"id": area_id, "name": name, "class": class_} for area_id, name, class_ in standing],
            "recorded_by": camera.recorded_by,
            "sharing": camera.sharing,
            "enabled": camera.enabled,
            "schedule": camera.schedule,
            "audio": camera.audio,
            "secrecy": camera.secrecy,
            "site_type": camera.site_type,
            "place": camera.place,
            "longitude": camera.longitude,
            "latitude": camera.latitude,
            "ptz": camera.ptz,
            "model": camera.model,
            "origin": "own",
            "link_id": None,
            "lease_id": None,
            "streams": {
                name: _stream(row, status.get(id_, {}).get(name), camera.enabled, Function.MANAGE in allowed)
                for name, row in sorted(streams.get(id_, {}).items())
            },
            "health": checked
            and {"verdict": checked.verdict, "since_ms": checked.since_ms, "checked_ms": checked.checked_ms},
        }
    return answer


def _stream(row: StreamRow, status: Any, enabled: bool, manager: bool) -> dict[str, Any]:
    value: dict[str, Any] = {"url": row.url} if manager else {}
    if not enabled:
        return value | _UNKNOWN | {"state": "disabled", "cause": "disabled"}
    return value | (_UNKNOWN if status is None else {name: getattr(status, name) for name in _STATUS})


def _lower(
    connection: Connection,
    ids: list[str],
    principal: Principal,
    shown: dict[str, tuple[CameraResource, dict[Function, Decision]]],
) -> dict[str, dict[str, Any]]:
    query = (
        select(peer_camera)
        .join(link, link.c.id == peer_camera.c.link_id)
        .where(peer_camera.c.camera_id.in_(ids), peer_camera.c.removed_ms.is_(None), link.c.removed_ms.is_(None))
        .order_by(link.c.created_ms.desc(), link.c.id.desc())  # of two links that name one, the older has it: the last
    )
    answer: dict[str, dict[str, Any]] = {}
    for row in connection.execute(query):
        details = row.details if isinstance(row.details, dict) else {}
        streams = details.get("streams")
        held = [lease for lease in shown[row.camera_id][0].leases if lease.side == "held"]
        mine = [lease for lease in held if lease.names(principal)] or held
        answer[row.camera_id] = {
            "id": row.camera_id,
            "name": row.name,
            "tier": row.tier,
            "region": row.region,
            "region_name": row.region_name,
            "department": details.get("department"),
            "department_id": None,
            "area_class": details.get("area_class"),
            "areas": [],
            "recorded_by": "owner",
            "sharing": "none",
            "enabled": details.get("enabled", True),
            "schedule": None,
            "audio": bool(details.get("audio", False)),
            "secrecy": 0,
            "site_type": details.get("site_type"),
            "place": details.get("place"),
            "longitude": details.get("longitude"),
            "latitude": details.get("latitude"),
            "ptz": bool(details.get("ptz", False)),
            "model": None,
            "origin": "lower",
            "link_id": row.link_id,
            "lease_id": mine[0].id if mine else None,
            "streams": {
                name: _UNKNOWN | {k: v for k, v in value.items() if k in _STATUS}
                for name, value in (streams if isinstance(streams, dict) else {"main": {"state": row.state}}).items()
                if name in ("main", "sub") and isinstance(value, dict)
            },
            "health": details.get("health"),
        }
    return answer
