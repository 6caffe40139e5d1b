"""Who may see and hold footage: as for cameras, but footage outlives the registration of its camera.

`gateway.access.resources` knows cameras that are registered now. A removed camera's footage stays for its time, can be
held, and is seen by whoever would see the camera if it were still there.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from gateway.access import resources
from gateway.access.looks import refuse
from storage.catalog import cameras as camera_rows
from storage.catalog import places
from tiering.access import CameraResource, Facts, Function, Principal, decide


def load(connection: Connection, ids: Iterable[str] | None, now_ms: int) -> dict[str, CameraResource]:
    """Own cameras of these ids (None: all), removed ones included."""
    wanted = None if ids is None else sorted(set(ids))
    found = {id_: r for id_, r in resources.load(connection, wanted, now_ms).items() if r.origin == "own"}
    removed = [
        row for row in camera_rows.cameras(connection, wanted, include_removed=True).values() if row.id not in found
    ]
    above = places.ancestors(connection, {row.region for row in removed})
    for row in removed:
        if row.removed_ms is not None:
            found[row.id] = CameraResource(
                row.id, above[row.region], row.department_id, secrecy=row.secrecy, sharing=row.sharing
            )
    return found


def visible_cameras(connection: Connection, principal: Principal, now_ms: int, client: str | None) -> frozenset[str]:
    """Ids of own cameras, removed ones included, that are in the caller's catalogue."""
    facts = Facts(client=client)
    return frozenset(
        id_
        for id_, resource in load(connection, None, now_ms).items()
        if decide(principal, Function.CATALOG, resource, now_ms, facts).visible
    )


def require_visible(
    connection: Connection, principal: Principal, camera_id: str, now_ms: int, client: str | None
) -> None:
    """Raises NOT_FOUND for a camera that is not in the caller's catalogue."""
    resource = load(connection, [camera_id], now_ms).get(camera_id)
    decision = decide(principal, Function.CATALOG, resource, now_ms, Facts(client=client))
    if not decision.visible:
        raise refuse(decision)


def require_hold(
    connection: Connection,
    principal: Principal,
    camera_ids: Iterable[str],
    from_ms: int,
    to_ms: int,
    now_ms: int,
    client: str | None,
) -> None:
    """Raises NOT_FOUND or FORBIDDEN unless the caller may hold this footage of every one of the cameras."""
    wanted = list(camera_ids)
    found = load(connection, wanted, now_ms)
    facts = Facts(from_ms=from_ms, to_ms=to_ms, purpose="evidence", client=client)
    decisions = [decide(principal, Function.HOLD, found.get(id_), now_ms, facts) for id_ in wanted]
    for decision in sorted(decisions, key=lambda d: d.visible):  # 404 before 403: no hint that others exist
        if not decision.allow:
            raise refuse(decision)
    if not decisions:
        raise TiergateError(Kind.INVALID, "retention.hold_needs_case")
