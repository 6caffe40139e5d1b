"""Does the store hold what the classes promise: rates of the cameras, size of the store, and the forecast of both.

Belongs here: gathering. Does not belong here: the arithmetic (`storage.forecast`), who asks (route, keeper, doctor).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Connection

from config.reasons import Reason
from config.settings import Settings
from config.units import DAY_MS, format_time_ms
from storage.catalog import cameras, segments
from storage.classes import class_of
from storage.forecast import ASSUMED_BPS, Basis, Forecast, Inflow, forecast, stay_days
from storage.plan_view import outflow
from storage.sweeper import Policies

#: Less footage than this says nothing about a camera's rate.
_MEASURE_MS = 600_000


def planned(policies: Policies, class_name: str, count: int, bit_rate_bps: int, now_ms: int) -> Inflow:
    """Cameras that are not there yet. The class is one of `policies`."""
    days = stay_days(policies.classes[class_name], now_ms)
    return Inflow(None, class_name, count, count * bit_rate_bps // 8 * 86_400, days, "planned")


def inflows(connection: Connection, policies: Policies, now_ms: int) -> list[Inflow]:
    """What each camera that is recorded here adds: as measured in the last day, as it reports, or as assumed."""
    recorded = segments.recorded_since(connection, now_ms - DAY_MS)
    status = cameras.status_rows(connection)
    found = []
    for id_, camera in sorted(cameras.cameras(connection).items()):
        if not camera.enabled or camera.recorded_by != "self":
            continue
        size, length_ms = recorded.get(id_, (0, 0))
        main = status.get(id_, {}).get("main")
        basis: Basis = "assumed"
        per_day = ASSUMED_BPS // 8 * 86_400
        if length_ms >= _MEASURE_MS:
            per_day, basis = size * DAY_MS // length_ms, "measured"
        elif main is not None and main.bit_rate_bps:
            per_day, basis = main.bit_rate_bps // 8 * 86_400, "reported"
        class_ = class_of(now_ms, now_ms, "default", policies.memberships.get(id_, ()), policies.classes)
        found.append(Inflow(id_, class_.name, 1, per_day, stay_days(class_, now_ms), basis))
    return found


def capacity_bytes(settings: Settings, standing_bytes: int) -> int | None:
    """What may stand in the store before new footage is no longer admitted; None: unknown."""
    limits = [settings.store.capacity_bytes]
    if settings.store.kind == "folder":
        volume = os.statvfs(_existing(settings.store_folder))
        # A folder store ends where admission does: below `spool.min_free_percent` ordinary cameras are refused.
        reserve = int(volume.f_blocks * volume.f_frsize * settings.spool.min_free_percent / 100)
        limits.append(max(0, standing_bytes + volume.f_bavail * volume.f_frsize - reserve))
    return min((limit for limit in limits if limit is not None), default=None)


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def gather(
    connection: Connection, settings: Settings, now_ms: int, more: Iterable[Inflow] = ()
) -> tuple[Forecast, list[Inflow]]:
    """The forecast of this node, with cameras that are only planned."""
    policies = Policies.read(connection)
    flows = [*inflows(connection, policies, now_ms), *more]
    standing = outflow(connection, policies, now_ms)
    return forecast(flows, standing, capacity_bytes(settings, sum(standing.values())), now_ms), flows


def verdict(found: Forecast) -> Reason:
    """The forecast in a sentence."""
    needed = {"needed_gb": _gb(found.needed_bytes), "day": format_time_ms(found.needed_at_ms, local=True)[:10]}
    if found.capacity_bytes is None:
        return Reason("retention.forecast_unknown", needed)
    capacity = {"capacity_gb": _gb(found.capacity_bytes)}
    if found.full_ms is None:
        return Reason("retention.forecast_fits", needed | capacity)
    full = format_time_ms(found.full_ms, local=True)[:10]
    return Reason("retention.forecast_full", needed | capacity | {"full": full})


def _gb(size: int) -> float:
    return round(size / 1e9, 1)
