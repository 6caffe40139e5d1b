"""Is the promise of the classes kept, and will it be: what the store holds, how far each camera reaches back, its gaps.

Belongs here: gathering, and the sentence on each camera. Does not belong here: the arithmetic (`storage.forecast`,
`storage.reach`), who asks (route, keeper, doctor).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection

from config.reasons import Reason
from config.settings import Settings
from config.units import DAY_MS, format_time_ms
from config.weekly import WEEK_MINUTES, parse_week, week_minutes
from storage import class_changes
from storage.catalog import cameras, gaps, segments
from storage.classes import class_of
from storage.forecast import ASSUMED_BPS, Basis, Forecast, Inflow, forecast, stay_days
from storage.gaps import NOT_DUE, merged
from storage.plan_view import outflow
from storage.questions import ask
from storage.reach import MOST_MISSING, Reach, gaps_break_ms
from storage.reach_view import Overkept, overkept, reaches
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
        if camera.schedule is not None:
            per_day = per_day * week_minutes(parse_week(camera.schedule)) // WEEK_MINUTES
        class_ = class_of(now_ms, now_ms, "default", policies.memberships.get(id_, ()), policies.classes)
        found.append(Inflow(id_, class_.name, 1, per_day, stay_days(class_, now_ms), basis))
    return found


def capacity_bytes(settings: Settings, standing_bytes: int) -> int | None:
    """What may stand in the store before new footage is no longer admitted; None: unknown."""
    limits = [settings.store.capacity_bytes]
    if settings.store.kind == "folder":
        with contextlib.suppress(TimeoutError):  # a disk that hangs says nothing
            volume = ask(settings.store_folder, lambda: os.statvfs(_existing(settings.store_folder)))
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
    """The forecast of this node, with cameras that are only planned. A class that will keep longer, as somebody has
    ordered, counts as if it did already: what stands then is what must find room."""
    policies = Policies.read(connection)
    lengths = {name: class_.months for name, class_ in policies.classes.items()}
    ordered = class_changes.pending(connection).values()
    policies = policies.changed(c for c in ordered if c.months > (lengths.get(c.class_name) or c.months))
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


#: At which rate a camera has gaps is read from so much of the past.
_RECENT_MS = 7 * DAY_MS

Cause = Literal["deleted", "gaps", "disk"]


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised of one camera's footage, what is there, and when that will no longer be so."""

    reach: Reach
    breaks_ms: int | None  #: not later than now: it is broken; None: nothing speaks for it
    cause: Cause | None  #: of that
    reason: Reason
    overkept: Overkept | None

    def as_json(self, now_ms: int) -> dict[str, Any]:
        reach, over = self.reach, self.overkept
        return {
            "camera_id": reach.camera_id,
            "class": reach.class_name,
            "state": reach.state,
            "promised_days": _days(now_ms - reach.promised_since_ms),
            "attained_days": _days(reach.attained_ms(now_ms)),
            "registered_ms": reach.registered_ms,
            "due_since_ms": reach.due_since_ms,
            "attained_since_ms": reach.attained_since_ms,
            "lost_segments": reach.lost_segments,
            "breaks_ms": self.breaks_ms,
            "cause": self.cause,
            "overkept_segments": over.segments if over else 0,
            "overkept_bytes": over.bytes if over else 0,
            "overkept_since_ms": over.oldest_due_ms if over else None,
            "reason": self.reason.as_json(),
        }


def told(found: Iterable[Promise], over: dict[str, Overkept], now_ms: int) -> dict[str, Any]:
    """What metrics need of it, as a fact of the catalog (`gateway.ops.job_state.PROMISES`)."""
    return {
        "cameras": {
            one.reach.camera_id: {
                "class": one.reach.class_name,
                "promised_ms": now_ms - one.reach.promised_since_ms,
                "attained_since_ms": one.reach.attained_since_ms,
                "breaks_ms": one.breaks_ms,
                "cause": one.cause,
            }
            for one in found
        },
        "overkept": {
            "segments": sum(what.segments for what in over.values()),
            "bytes": sum(what.bytes for what in over.values()),
            "since_ms": min((what.oldest_due_ms for what in over.values()), default=None),
        },
    }


def _days(length_ms: int | None) -> float | None:
    return None if length_ms is None else round(length_ms / DAY_MS, 1)


def promises(
    connection: Connection, full_ms: int | None, now_ms: int, only: Collection[str] | None = None
) -> tuple[list[Promise], dict[str, Overkept]]:
    """Of each camera of which there is, or should be, footage here; and over-kept footage of all cameras, also of
    removed ones.

    `full_ms`: when the store is full, by the forecast (`gather`); None: it never is, or that is told elsewhere.
    """
    policies = Policies.read(connection)
    over = overkept(connection, policies, now_ms, only)
    found = []
    known = cameras.cameras(connection, only)
    recorded = {id_ for id_, row in known.items() if row.enabled and row.recorded_by == "self"}
    for reach in reaches(connection, policies, now_ms, only):
        will_be_full_ms = full_ms if reach.camera_id in recorded else None
        breaks_ms, cause, reason = _outlook(connection, reach, will_be_full_ms, now_ms)
        found.append(Promise(reach, breaks_ms, cause, reason, over.get(reach.camera_id)))
    return found, over


def _outlook(
    connection: Connection, reach: Reach, full_ms: int | None, now_ms: int
) -> tuple[int | None, Cause | None, Reason]:
    """(when the promise is broken, by what, the sentence on it): the earliest of all that speaks against it."""
    promised_ms = now_ms - reach.promised_since_ms
    days = {"days": promised_ms // DAY_MS}
    if reach.state == "broken":
        return now_ms, "deleted", Reason("retention.promise_deleted", days | {"count": reach.lost_segments})
    gaps_ms = _broken_by_gaps(connection, reach, promised_ms, now_ms)
    percent = {"most": round(MOST_MISSING * 100)}
    if gaps_ms is not None and gaps_ms <= now_ms:
        return now_ms, "gaps", Reason("retention.promise_gaps", days | percent)
    if gaps_ms is not None and (full_ms is None or gaps_ms <= full_ms):
        at = format_time_ms(gaps_ms, local=True)[:10]
        return gaps_ms, "gaps", Reason("retention.promise_gaps_soon", days | percent | {"at": at})
    if full_ms is not None:
        return (
            full_ms,
            "disk",
            Reason("retention.promise_disk", days | {"at": format_time_ms(full_ms, local=True)[:10]}),
        )
    have = {} if reach.state in ("none", "kept") else {"have": _days(reach.attained_ms(now_ms))}
    return None, None, Reason(f"retention.promise_{reach.state}", days | have)


def _broken_by_gaps(connection: Connection, reach: Reach, promised_ms: int, now_ms: int) -> int | None:
    """By the gap rows alone: every second without footage has one (I5)."""
    since_ms = max(reach.registered_ms, now_ms - promised_ms)
    rows = gaps.gaps_between(connection, reach.camera_id, "main", since_ms, now_ms, limit=100_000)
    spans = [(row.from_ms, now_ms if row.to_ms is None else row.to_ms) for row in rows if row.cause != NOT_DUE]
    recent_ms = max(since_ms, now_ms - _RECENT_MS)

    def missing(from_ms: int) -> int:
        return sum(end - start for start, end in merged(spans, from_ms, now_ms))

    return gaps_break_ms(missing(since_ms), missing(recent_ms), now_ms - recent_ms, promised_ms, now_ms)


def _gb(size: int) -> float:
    return round(size / 1e9, 1)
