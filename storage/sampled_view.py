"""What owners' recorders answered when they were asked for footage, as the catalog tells it.

Belongs here: reading. Does not belong here: the draw and the verdicts (`storage.sampled`), asking.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from config.units import DAY_MS
from storage.attested import Standing
from storage.catalog import cameras, owner_checks
from storage.sampled import KEEP_MS, Assessment, Check, assess, promised_since_ms

#: An answer speaks for so much around its instant when one footage is explained: half of the day it stands for.
_NEAR_MS = DAY_MS // 2


def assessments(connection: Connection, standing: Sequence[Standing], now_ms: int) -> dict[str, Assessment]:
    """Of the cameras in `standing` (`storage.reach_view.kept_elsewhere`), by camera."""
    known = cameras.cameras(connection, [one.camera_id for one in standing])
    since_ms = {one.camera_id: promised_since_ms(one, known[one.camera_id].created_ms, now_ms) for one in standing}
    checks = owner_checks.since(connection, since_ms, min(since_ms.values(), default=now_ms))
    return {id_: assess(id_, checks.get(id_, ()), since, now_ms) for id_, since in since_ms.items()}


def nearest(connection: Connection, camera_id: str, at_ms: int, now_ms: int) -> Check | None:
    """The last answered question for the instant nearest to a time, at most half a day from it."""
    rows = owner_checks.since(connection, [camera_id], max(0, now_ms - KEEP_MS)).get(camera_id, [])
    near = [row for row in rows if abs(row.at_ms - at_ms) <= _NEAR_MS and row.verdict != "unknown"]
    return min(near, key=lambda row: (abs(row.at_ms - at_ms), -row.asked_ms), default=None)
