"""How far back each camera reaches and what stands too long, as the catalog tells it.

Belongs here: reading. Does not belong here: the arithmetic (`storage.reach`, `storage.retention`), who may see which
camera, forecasts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, select

from storage.attested import Standing, judge
from storage.catalog import attestations, cameras, retention_rows, segments
from storage.catalog.tables import segment
from storage.classes import DELETE_WITHIN_MS, class_of
from storage.hours import hours
from storage.reach import Reach, due_since_ms, judge_reach, promised_since_ms, went_early
from storage.retention import Candidate, Verdict
from storage.sweeper import Policies

_GONE = ("lost", "deleting", "deleted")
_STANDING = ("spooled", "stored", "condemned", "deleting")
_PAGE_ROWS = 5_000


def reaches(connection: Connection, policies: Policies, now_ms: int, only: Iterable[str] | None = None) -> list[Reach]:
    """Of the cameras that are recorded here, and of those that were while footage of that time is still due."""
    known = cameras.cameras(connection, only)
    due = {id_: due_since_ms(policies.memberships.get(id_, ()), policies.classes, now_ms) for id_ in known}
    lost = _gone_early(connection, policies, due, now_ms)
    found = []
    for id_, camera in sorted(known.items()):
        today = class_of(now_ms, now_ms, "default", policies.memberships.get(id_, ()), policies.classes)
        lost_to_ms = max(lost.get(id_, ()), default=None)
        oldest = _first_readable(connection, id_, due[id_])
        if camera.recorded_by != "self" and oldest is None and lost_to_ms is None:
            continue
        before_ms = None if oldest is None else segments.last_end_before(connection, id_, "main", oldest)
        after_ms = None if lost_to_ms is None else _first_readable(connection, id_, lost_to_ms)
        state, attained_ms = judge_reach(due[id_], oldest, before_ms, lost_to_ms, after_ms)
        found.append(
            Reach(
                id_,
                today.name,
                camera.created_ms,
                promised_since_ms(today, now_ms),
                max(due[id_], camera.created_ms),
                attained_ms,
                state,
                len(lost.get(id_, ())),
            )
        )
    return found


def kept_elsewhere(
    connection: Connection, policies: Policies, now_ms: int, only: Iterable[str] | None = None
) -> list[Standing]:
    """Of the cameras that their owners record, what is attested: of their footage there is nothing here to look at."""
    known = [id_ for id_, camera in cameras.cameras(connection, only).items() if camera.recorded_by == "owner"]
    newest = attestations.newest(connection, known)
    found = []
    for id_ in sorted(known):
        today = class_of(now_ms, now_ms, "default", policies.memberships.get(id_, ()), policies.classes)
        found.append(judge(id_, newest.get(id_), today, now_ms))
    return found


def _first_readable(connection: Connection, camera_id: str, after_ms: int) -> int | None:
    """Start of the first readable segment that ends after a moment."""
    start_ms: int | None = connection.execute(
        select(segment.c.start_ms)
        .where(
            segment.c.camera_id == camera_id,
            segment.c.stream == "main",
            segment.c.start_ms > after_ms - segments.SEGMENT_MAX_MS,
            segment.c.end_ms > after_ms,
            segment.c.state.in_(segments.READABLE),
        )
        .order_by(segment.c.start_ms)
        .limit(1)
    ).scalar_one_or_none()
    return start_ms


def _gone_early(connection: Connection, policies: Policies, due: dict[str, int], now_ms: int) -> dict[str, list[int]]:
    """Per camera the ends of main-stream footage that is gone before its time.

    What all classes keep is one range of the index of states, in which a healthy node has no row at all; only cameras
    that keep longer are asked one by one.
    """
    columns = (
        segment.c.camera_id, segment.c.start_ms, segment.c.end_ms, segment.c.class_, segment.c.state,
        segment.c.condemned_ms, segment.c.deleted_ms,
    )  # fmt: skip
    ours = (segment.c.stream == "main", segment.c.kind == "own", segment.c.state.in_(_GONE))
    common_ms = max(due.values(), default=now_ms)
    rows: list[Any] = list(connection.execute(select(*columns).where(*ours, segment.c.end_ms > common_ms)))
    for camera_id, since_ms in due.items():
        if since_ms < common_ms:
            rows += connection.execute(
                select(*columns).where(
                    *ours,
                    segment.c.camera_id == camera_id,
                    segment.c.start_ms > since_ms - segments.SEGMENT_MAX_MS,
                    segment.c.end_ms > since_ms,
                    segment.c.end_ms <= common_ms,
                )
            )
    found: dict[str, list[int]] = {}
    for row in rows:
        if row.camera_id not in due or row.end_ms <= due[row.camera_id]:
            continue
        memberships = policies.memberships.get(row.camera_id, ())
        class_ = class_of(row.start_ms, row.end_ms, row.class_, memberships, policies.classes)
        gone_ms = row.condemned_ms or row.deleted_ms
        if row.state == "lost" or gone_ms is None or went_early(row.end_ms, class_, gone_ms):
            found.setdefault(row.camera_id, []).append(row.end_ms)
    return found


@dataclass(frozen=True, slots=True)
class Overkept:
    """Unheld footage that still stands after its latest moment of deletion (I4): none, or a fault."""

    segments: int
    bytes: int
    oldest_due_ms: int  #: when the one that waits longest should have been gone


def overkept(
    connection: Connection, policies: Policies, now_ms: int, only: Collection[str] | None = None
) -> dict[str, Overkept]:
    """Per camera; cameras without any are not in it."""
    found: dict[str, Overkept] = {}
    before_ms = policies.may_be_due_before_ms(now_ms) - DELETE_WITHIN_MS
    for hour in hours(connection, _STANDING, before_ms, only):
        ends = hour.verdicts(policies.planner, now_ms, "stored")
        if not hour.date_unknown and (ends is None or _is_over(ends[0], now_ms)):
            _add(found, policies, hour.each(connection), now_ms)
    for state in _STANDING:
        after: tuple[int, str] | None = None
        while page := retention_rows.candidates(connection, state, before_ms, after, _PAGE_ROWS, date_unknown=True):
            after = page[-1].mark
            _add(found, policies, [row for row in page if only is None or row.camera_id in only], now_ms)
    return found


def _is_over(verdict: Verdict, now_ms: int) -> bool:
    return not verdict.keep and verdict.delete_by_ms is not None and verdict.delete_by_ms <= now_ms


def _add(found: dict[str, Overkept], policies: Policies, rows: Iterable[Candidate], now_ms: int) -> None:
    # Bytes stand in each of these states, whatever the plan may do to it.
    for verdict in policies.plan([replace(row, state="stored") for row in rows], now_ms):
        if not _is_over(verdict, now_ms) or verdict.delete_by_ms is None:
            continue
        row = verdict.segment
        last = found.get(row.camera_id, Overkept(0, 0, verdict.delete_by_ms))
        oldest_ms = min(last.oldest_due_ms, verdict.delete_by_ms)
        found[row.camera_id] = Overkept(last.segments + 1, last.bytes + row.bytes, oldest_ms)
