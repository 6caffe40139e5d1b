"""``/reports``: what was recorded, what is missing, and why; how far it reaches back, and what stands too long; who
looked how much and what for; what an assessment of the whole needs to know."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.reasons import Reason
from config.units import DAY_MS, month_of_ms
from gateway.access import footage
from gateway.ops import impact as impact_view
from gateway.ops import promise
from gateway.web.policy import client_of, policy
from gateway.web.services import Services, services_of
from gateway.web.wire import Cursor, Limit, TimeMs, page
from storage import use_view
from storage.audit import log as audit
from storage.catalog import cameras as camera_rows
from storage.catalog import owner_checks
from storage.gap_view import Account, account
from storage.gaps import Coverage, Hole, Ledger, coverage, days
from storage.reach_view import kept_elsewhere
from storage.sampled import STATES, assess
from storage.sampled_view import assessments
from storage.sweeper import Policies
from tiering.access import Principal

router = APIRouter(prefix="/api/v1/reports", tags=["reports"])

MOST_CAMERA_DAYS = 3_000
#: A camera-day with less of what was due is counted apart (REQUIREMENTS, table of completeness).
DAY_IN_ORDER = 0.95

From = Annotated[TimeMs | None, Query(alias="from")]
Cameras = Annotated[list[str] | None, Query(max_length=500)]


def _stretch(services: Services, from_ms: int | None, to_ms: int | None) -> tuple[int, int, int]:
    """(from, to, now); default: the last 24 hours. Raises time.range_empty."""
    now_ms = services.now_ms()
    end_ms = min(now_ms if to_ms is None else to_ms, now_ms)
    start_ms = end_ms - DAY_MS if from_ms is None else from_ms
    if end_ms <= start_ms:
        raise TiergateError(Kind.INVALID, "time.range_empty")
    return start_ms, end_ms, now_ms


def _wanted(
    connection: Connection,
    principal: Principal,
    client: str | None,
    camera: list[str] | None,
    stretch: tuple[int, int, int],
) -> list[str]:
    """Visible cameras, in order. Raises access.not_found for one that is not, as a report without it would look like a
    perfect record; time.range_too_long for too many camera-days."""
    from_ms, to_ms, now_ms = stretch
    seen = footage.visible_cameras(connection, principal, now_ms, client)
    if camera is not None and not seen.issuperset(camera):
        raise TiergateError(Kind.NOT_FOUND, "access.not_found")
    wanted = sorted(seen if camera is None else camera)
    if len(wanted) * -(-(to_ms - from_ms) // DAY_MS) > MOST_CAMERA_DAYS:
        limit_hours = MOST_CAMERA_DAYS // max(1, len(wanted)) * 24
        raise TiergateError(Kind.TOO_LARGE, "time.range_too_long", limit_hours=limit_hours)
    return wanted


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
    from_: From = None,
    to: TimeMs | None = None,
    camera: Cameras = None,
) -> dict[str, Any]:
    """Per camera and day of Asia/Shanghai: seconds of footage, seconds missing by cause, the longest gap.

    Footage that was deleted in its time counts: it was recorded. Default: the last 24 hours.
    """
    services, client = services_of(request), client_of(request)
    stretch = _stretch(services, from_, to)

    def read(connection: Connection) -> list[dict[str, Any]]:
        wanted = _wanted(connection, principal, client, camera, stretch)
        known = camera_rows.cameras(connection, wanted, include_removed=True)
        items = []
        for camera_id in wanted:
            for day, low_ms, end_ms in days(*stretch[:2]):
                told = account(connection, camera_id, known.get(camera_id), low_ms, end_ms, stretch[2])
                if told is not None:
                    rows = [(row.from_ms, row.to_ms, row.cause) for row in told.gaps]
                    items.append(_json(camera_id, day, coverage(told.footage, rows, told.from_ms, told.to_ms)))
        return items

    return page(await services.read_apart(read))


@router.get("/gaps")
async def gaps(
    request: Request,
    principal: Annotated[Principal, policy(users_only=True)],
    from_: From = None,
    to: TimeMs | None = None,
    camera: Cameras = None,
    limit: Limit = 1_000,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """Every gap longer than 2 s with its cause; the first page says as well how complete each camera-day is.

    Time in which a camera was switched off, or outside its windows of the week, was not due and is not missing. A gap
    that changes its cause midway is one item per cause. Default: the last 24 hours.

    While its owner records a camera nothing is due here; of those that are so now, `recorded_by_owner` says instead how
    complete the samples are that their recorders were asked for of the stretch, and names the instants that are
    missing.
    """
    services, client = services_of(request), client_of(request)
    stretch = _stretch(services, from_, to)
    after = _after(cursor)

    def read(connection: Connection) -> dict[str, Any]:
        policies = Policies.read(connection)
        key_rank = policies.classes["key"].rank
        wanted = _wanted(connection, principal, client, camera, stretch)
        known = camera_rows.cameras(connection, wanted, include_removed=True)
        items: list[dict[str, Any]] = []
        ledgers: dict[str, Ledger] = {}
        for camera_id in wanted:
            if after is not None and (camera_id < after[0] or len(items) > limit):
                continue  # the sums were told with the first page
            row = known.get(camera_id)
            told = account(connection, camera_id, row, *stretch)
            if told is None:
                continue
            made = told.ledger()
            theirs = row is not None and row.recorded_by == "owner"
            if theirs and made.completeness(made.from_ms, made.to_ms)[0] <= 0:
                continue  # what is known of it stands in `recorded_by_owner`
            ledgers[camera_id] = made
            for hole in made.gaps if len(items) <= limit else ():
                if after is None or (camera_id, hole.from_ms) > after:
                    class_ = policies.planner.class_of(camera_id, hole.from_ms, hole.to_ms)
                    held = policies.planner.is_held(camera_id, hole.from_ms, hole.to_ms)
                    items.append(
                        _gap_json(camera_id, hole, told)
                        | {"class": class_.name, "key": class_.rank >= key_rank, "held": held}
                    )
        more = len(items) > limit
        last = items[limit - 1] if more else None
        following = None if last is None else f"{last['camera_id']}:{last['from_ms']}"
        if after is not None:
            return page(items[:limit], following)
        sampled = _sampled(connection, policies, wanted, stretch)
        return page(items[:limit], following) | _sums(ledgers) | {"recorded_by_owner": sampled}

    return await services.read_apart(read)


def _sampled(
    connection: Connection, policies: Policies, wanted: list[str], stretch: tuple[int, int, int]
) -> list[dict[str, Any]]:
    """Camera by camera, what owners' recorders have of the instants of a stretch that they were asked for."""
    from_ms, to_ms, now_ms = stretch
    theirs = [one.camera_id for one in kept_elsewhere(connection, policies, now_ms, wanted)]
    rows = owner_checks.since(connection, theirs, from_ms)
    found = (assess(id_, rows.get(id_, ()), from_ms, now_ms, to_ms) for id_ in theirs)
    return [{"camera_id": one.camera_id} | one.as_json() for one in found]


def _after(cursor: str | None) -> tuple[str, int] | None:
    """Raises web.cursor."""
    if cursor is None:
        return None
    camera_id, _, from_ms = cursor.rpartition(":")
    if not (from_ms.isascii() and from_ms.isdigit()) or len(from_ms) > 18:
        raise TiergateError(Kind.INVALID, "web.cursor")
    return camera_id, int(from_ms)


def _gap_json(camera_id: str, hole: Hole, told: Account) -> dict[str, Any]:
    reason = Reason(f"web.gap.{hole.cause or 'unknown'}").as_json()
    is_open = False
    for row in told.gaps:
        touches = row.from_ms < hole.to_ms and (row.to_ms is None or row.to_ms > hole.from_ms)
        if touches and row.cause == hole.cause:
            reason = row.reason or reason  # what the recorder wrote beside it
            is_open = row.to_ms is None
            break
    return {
        "camera_id": camera_id,
        "from_ms": hole.from_ms,
        "to_ms": hole.to_ms,
        "seconds": round(hole.length_ms / 1000, 3),
        "cause": hole.cause,
        "open": is_open,
        "reason": reason,
    }


def _sums(ledgers: dict[str, Ledger]) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    seconds: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    longest: tuple[str, Hole] | None = None
    due_ms = missing_ms = below = 0
    for camera_id, made in ledgers.items():
        for day, low_ms, end_ms in days(made.from_ms, made.to_ms):
            due, missing = made.completeness(low_ms, end_ms)
            share = None if due <= 0 else round(1 - missing / due, 6)
            due_ms, missing_ms = due_ms + due, missing_ms + missing
            below += share is not None and share < DAY_IN_ORDER
            items.append(
                {
                    "camera_id": camera_id,
                    "day": day,
                    "due_s": round(due / 1000, 3),
                    "missing_s": round(missing / 1000, 3),
                    "completeness": share,
                }
            )
        for hole in made.gaps:
            counts[hole.cause or "unexplained"] += 1
            seconds[hole.cause or "unexplained"] += hole.length_ms
            if longest is None or hole.length_ms > longest[1].length_ms:
                longest = (camera_id, hole)
    return {
        "days": items,
        "sum": {
            "cameras": len(ledgers),
            "camera_days": len(items),
            "camera_days_below": below,
            "due_s": round(due_ms / 1000, 3),
            "missing_s": round(missing_ms / 1000, 3),
            "completeness": None if due_ms <= 0 else round(1 - missing_ms / due_ms, 6),
            "gaps": sum(counts.values()),
            "causes": {
                cause: {"gaps": counts[cause], "seconds": round(ms / 1000, 3)} for cause, ms in sorted(seconds.items())
            },
            "longest": longest
            and {
                "camera_id": longest[0],
                "from_ms": longest[1].from_ms,
                "to_ms": longest[1].to_ms,
                "seconds": round(longest[1].length_ms / 1000, 3),
                "cause": longest[1].cause,
            },
        },
    }


@router.get("/retention")
async def retention(
    request: Request,
    principal: Annotated[Principal, policy(users_only=True)],
    camera: Cameras = None,
) -> dict[str, Any]:
    """Per camera how far back its footage reaches against what its class promises, and when that will be broken.

    Over-kept is unheld footage that still stands after its latest moment of deletion; it is counted for removed
    cameras too. Cameras that their owners record stand apart, in `recorded_by_owner`: with what is attested of their
    recorders, and in `checked` what these had when they were asked for it by sample.
    """
    services, client = services_of(request), client_of(request)
    now_ms = services.now_ms()

    def read(connection: Connection) -> dict[str, Any]:
        seen = footage.visible_cameras(connection, principal, now_ms, client)
        wanted = seen if camera is None else seen.intersection(camera)
        full_ms = promise.gather(connection, services.settings, now_ms)[0].full_ms
        found, over = promise.promises(connection, full_ms, now_ms, wanted)
        states = Counter(one.reach.state for one in found)
        elsewhere = kept_elsewhere(connection, Policies.read(connection), now_ms, wanted)
        said = Counter(one.state for one in elsewhere)
        checked = assessments(connection, elsewhere, now_ms)
        shown = Counter(one.state for one in checked.values())
        return page([one.as_json(now_ms) for one in found]) | {
            "now_ms": now_ms,
            "recorded_by_owner": [one.as_json() | {"checked": checked[one.camera_id].as_json()} for one in elsewhere],
            "recorded_by_owner_checked": {state: shown[state] for state in STATES},
            "recorded_by_owner_sum": {state: said[state] for state in ("attested", "lapsed", "short", "none")},
            "sum": {
                **{state: states[state] for state in ("kept", "growing", "broken", "none")},
                "breaking": sum(one.breaks_ms is not None for one in found),
                "overkept_segments": sum(what.segments for what in over.values()),
                "overkept_bytes": sum(what.bytes for what in over.values()),
                "overkept_since_ms": min((what.oldest_due_ms for what in over.values()), default=None),
            },
        }

    return await services.read_apart(read)


# --- use -------------------------------------------------------------------------------------------------------------


@router.get("/use")
async def use(
    request: Request,
    principal: Annotated[Principal, policy(role=("audit_admin", "duty"))],
    month: Annotated[str | None, Query(max_length=40)] = None,
) -> dict[str, Any]:
    """Who looked how often, how long, at how much and what for, in a month of Asia/Shanghai (`2026-11`; default: this
    one, until now). That it was read is audited.

    A month that is over is told as its kept report has it; `agrees` is false when that is not the report whose digest
    the audit log holds, or when the register does not add up to it any more. `below` is what lower nodes said of their
    cameras under our leases.
    """
    services = services_of(request)
    now_ms = services.now_ms()
    wanted = month_of_ms(now_ms) if month is None else month

    def read(connection: Connection) -> dict[str, Any]:
        fresh = use_view.report(connection, wanted, now_ms)
        kept = use_view.kept(connection, wanted)
        return (kept or fresh | {"made_ms": now_ms}) | {
            "kept": kept is not None,
            "agrees": None if kept is None else use_view.agrees(connection, kept, fresh),
            "kept_months": use_view.kept_months(connection),
            "below": use_view.below(connection, wanted),
            "next": None,
        }

    found = await services.read_apart(read)
    await services.write(lambda c: audit.append(c, now_ms, principal.actor, "report.read", f"use {wanted}", {}))
    return found


@router.get("/impact")
async def impact(
    request: Request, principal: Annotated[Principal, policy(role=("audit_admin", "security_admin"))]
) -> dict[str, Any]:
    """What an assessment of the impact on people (PIPL art. 55 and 56) has to know about this node, from its settings
    and catalog as they are; no secret, no address of a camera. That it was read is audited."""
    services = services_of(request)
    now_ms = services.now_ms()
    found = await services.read_apart(lambda c: impact_view.gather(c, services.settings, now_ms))
    await services.write(lambda c: audit.append(c, now_ms, principal.actor, "report.read", "impact", {}))
    return found
