"""Footage by the hour: what sweep and reports say of it is what judging every segment by itself says."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from config.units import DAY_MS, HOUR_MS
from storage.catalog import retention_rows
from storage.catalog.tables import segment
from storage.hours import hours, open_stretches
from storage.reach_view import overkept
from storage.retention import Candidate, Verdict
from storage.sweeper import Policies
from tests.storage.sweep_place import CAMERA, OTHER, Place, mixed_footage, place, sqlite_alone

__all__ = ["place"]  # fixture

AHEAD_MS = (0, 3 * DAY_MS + 12_345, 70 * DAY_MS)


def judged(place: Place, policies: Policies, now_ms: int, as_state: str | None = None) -> list[Verdict]:
    def rows(connection: Any) -> list[Candidate]:
        ids = list(connection.execute(select(segment.c.id)).scalars())
        return retention_rows.segments_by_id(connection, ids)

    found = place.catalog.read(rows)
    if as_state is not None:
        found = [Candidate(**{n: getattr(r, n) for n in r.__dataclass_fields__} | {"state": as_state}) for r in found]
    return list(policies.plan(found, now_ms))


@sqlite_alone
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ahead_ms", AHEAD_MS)
def test_a_sweep_finds_what_judging_each_finds(place: Place, seed: int, ahead_ms: int) -> None:
    mixed_footage(place, random.Random(seed))
    place.clock.advance(ahead_ms / 1000)
    report = place.sweep(dry_run=True)
    policies = place.catalog.read(Policies.read)
    before_ms = policies.may_be_due_before_ms(place.now_ms)
    each = [v for v in judged(place, policies, place.now_ms) if v.segment.state == "stored"]
    each = [v for v in each if not v.segment.date_unknown or v.segment.aged_from_ms is not None]  # a dry run ages none
    seen = [v for v in each if v.segment.ages_from_ms < before_ms]
    assert {v.segment.id for v in report.condemned} == {v.segment.id for v in each if not v.keep}
    assert report.kept_by_hold == sum(v.code == "retention.held" for v in seen)
    assert report.looked_at == len(seen)


@pytest.mark.parametrize("seed", range(3))
def test_what_stands_too_long_is_counted_as_judging_each_counts_it(place: Place, seed: int) -> None:
    mixed_footage(place, random.Random(seed))
    policies = place.catalog.read(Policies.read)
    for now_ms in (place.now_ms + ahead_ms for ahead_ms in AHEAD_MS):
        over = [
            v
            for v in judged(place, policies, now_ms, "stored")
            if not v.keep
            and v.delete_by_ms is not None
            and v.delete_by_ms <= now_ms
            and (v.segment.aged_from_ms is not None or not v.segment.date_unknown)
        ]
        wanted = Counter(v.segment.camera_id for v in over)
        for only in (None, {CAMERA}, {OTHER}):
            found = place.catalog.read(lambda c, t=now_ms, o=only: overkept(c, policies, t, o))  # type: ignore[misc]  # bound defaults
            assert {id_: what.segments for id_, what in found.items()} == {
                id_: count for id_, count in wanted.items() if only is None or id_ in only
            }
            for id_, what in found.items():
                mine = [v.delete_by_ms for v in over if v.segment.camera_id == id_]
                assert what.oldest_due_ms == min(due for due in mine if due is not None)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many segments each read of candidates gave."""
    read: Callable[..., list[Candidate]] = retention_rows.candidates
    sizes: list[int] = []

    def counting(*args: Any, **kwargs: Any) -> list[Candidate]:
        page = read(*args, **kwargs)
        sizes.append(len(page))
        return page

    monkeypatch.setattr(retention_rows, "candidates", counting)
    return sizes


@sqlite_alone
def test_two_months_of_a_key_area_are_counted_and_not_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(end_ms: int, camera: str) -> None:
        row = place.footage(end_ms, camera)
        place.catalog.write(lambda c: c.execute(segment.update().where(segment.c.id == row.id).values(class_="key")))

    for day in range(31, 88):
        key(place.now_ms - day * DAY_MS, OTHER)
    key(place.now_ms - 94 * DAY_MS, OTHER)
    place.footage(place.now_ms - 40 * DAY_MS)
    place.hold(place.now_ms - 50 * DAY_MS, place.now_ms - 45 * DAY_MS, OTHER)
    sizes = counted(monkeypatch)
    report = place.sweep(dry_run=True)
    assert (report.looked_at, report.kept_by_hold, len(report.condemned)) == (57 + 1 + 1, 6, 2)
    assert sum(sizes) <= 3, "what is due, and who stands in the same hour"


def test_stretches_that_touch_are_one(place: Place) -> None:
    policies = place.catalog.read(Policies.read)
    start_ms = (place.now_ms - 60 * DAY_MS) // HOUR_MS * HOUR_MS
    for hour in (0, 1, 2, 9):
        place.footage(start_ms + hour * HOUR_MS + 1)
    found = place.catalog.read(lambda c: hours(c, ("stored",)))
    stretches, kept = open_stretches(found, policies.planner, place.now_ms)
    assert stretches == [(start_ms, start_ms + 3 * HOUR_MS), (start_ms + 9 * HOUR_MS, start_ms + 10 * HOUR_MS)]
    assert kept == []
    _, kept = open_stretches(found, policies.planner, start_ms)
    assert [(verdict.code, count) for verdict, count in kept] == [("retention.within", 1)] * 4


def test_holds_on_both_ends_of_an_hour_hold_nothing_between(place: Place) -> None:
    start_ms = (place.now_ms - 60 * DAY_MS) // HOUR_MS * HOUR_MS + 120_000
    rows = [place.footage(start_ms + n * 600_000) for n in range(5)]
    for row in (rows[0], rows[-1]):
        place.hold(row.start_ms, row.end_ms)
    report = place.sweep()
    assert {verdict.segment.id for verdict in report.condemned} == {row.id for row in rows[1:-1]}
    assert (report.kept_by_hold, report.looked_at) == (2, 5)
