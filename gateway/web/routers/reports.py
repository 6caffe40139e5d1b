"""``/reports``: what was recorded, what is missing, and why."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.units import DAY_MS
from gateway.access import footage
from gateway.web.policy import client_of, policy
from gateway.web.routers.timeline import being_recorded
from gateway.web.services import services_of
from gateway.web.wire import TimeMs, page
from storage.catalog import cameras as camera_rows
from storage.catalog import gaps as gap_rows
from storage.catalog import segments
from storage.catalog.engine import Catalog
from storage.gaps import Coverage, coverage, days
from tiering.access import Principal

router = APIRouter(prefix="/api/v1/reports", tags=["reports"])

MOST_CAMERA_DAYS = 3_000
_GONE = "lost"


def _json(camera_id: str, day: str, found: Coverage) -> dict[str, Any]:
    return {
        "camera_id": camera_id,
        "day": day,
        "from_ms": found.from_ms,
        "to_ms": found.to_ms,
        "footage_s": found.footage_ms // 1000,
        "coverage": None if found.share is None else round(found.share, 6),
        "gaps_s": {cause: ms // 1000 for cause, ms in sorted(found.gaps_ms.items())},
        "unexplained_s": found.unexplained_ms // 1000,
        "longest_gap_s": found.longest_ms // 1000,
        "longest_gap_from_ms": found.longest_from_ms,
        "longest_gap_cause": found.longest_cause,
    }


@router.get("/coverage")
async def show(
    request: Request,
    principal: Annotated[Principal, policy(users_only=True)],
    from_: Annotated[TimeMs | None, Query(alias="from")] = None,
    to: TimeMs | None = None,
    camera: Annotated[list[str] | None, Query(max_length=500)] = None,
) -> dict[str, Any]:
    """Per camera and day of Asia/Shanghai: seconds of footage, seconds missing by cause, the longest gap.

    Footage that was deleted in its time counts: it was recorded. Default: the last 24 hours.
    """
    services, client = services_of(request), client_of(request)
    now_ms = services.now_ms()
    to_ms = min(now_ms if to is None else to, now_ms)
    from_ms = to_ms - DAY_MS if from_ is None else from_
    if to_ms <= from_ms:
        raise TiergateError(Kind.INVALID, "time.range_empty")
    stretches = days(from_ms, to_ms) if to_ms - from_ms <= MOST_CAMERA_DAYS * DAY_MS else []

    def read(connection: Connection) -> list[dict[str, Any]]:
        seen = footage.visible_cameras(connection, principal, now_ms, client)
        wanted = sorted(seen if camera is None else seen.intersection(camera))
        if not stretches or len(wanted) * len(stretches) > MOST_CAMERA_DAYS:
            limit_hours = MOST_CAMERA_DAYS // max(1, len(wanted)) * 24
            raise TiergateError(Kind.TOO_LARGE, "time.range_too_long", limit_hours=limit_hours)
        items = []
        known = camera_rows.cameras(connection, wanted)
        for camera_id in wanted:
            for day, low_ms, end_ms in stretches:
                spans = segments.spans_between(connection, camera_id, "main", low_ms, end_ms)
                gaps = gap_rows.gaps_between(connection, camera_id, "main", low_ms, end_ms)
                start_ms = low_ms
                if camera_id in known and known[camera_id].created_ms > low_ms:  # before that nothing was missing
                    seen_ms = [s.start_ms for s in spans] + [g.from_ms for g in gaps]
                    start_ms = max(low_ms, min([known[camera_id].created_ms, *seen_ms]))
                if start_ms >= end_ms:
                    continue
                kept = [(s.start_ms, s.end_ms) for s in spans if s.state != _GONE]
                # The open segment has no row yet; what was sent last is still on its way.
                kept += [(f.start_ms, now_ms) for f in being_recorded(connection, camera_id, "main", now_ms)]
                found = coverage(
                    kept,
                    [(g.from_ms, g.to_ms, g.cause) for g in gaps],
                    start_ms,
                    end_ms,
                )
                items.append(_json(camera_id, day, found))
        return items

    def apart() -> list[dict[str, Any]]:
        catalog = Catalog(services.settings.catalog_url)
        try:
            return catalog.read(read)
        finally:
            catalog.close()

    return page(await asyncio.to_thread(apart))
