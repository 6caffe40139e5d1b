"""When the sweep may not trust: the clock, what nobody foresaw, orders of classes; mutants show that each is needed."""

from __future__ import annotations

import pytest

from config.errors import TiergateError
from config.reasons import Reason
from config.units import DAY_MS, HOUR_MS
from storage import class_changes, sweeper
from storage.approval_rules import Governance
from storage.audit import log as audit
from storage.catalog import retention_rows
from storage.catalog.segments import SegmentRow
from storage.clock_trust import Trust
from storage.retention import Verdict
from storage.sweeper import Sweeper
from tests.storage.sweep_place import (
    DAY_S,
    Place,
    due_footage,
    on_each_chunk,
    place,
    sqlite_alone,
)

__all__ = ["place"]  # fixture


# --- the clock ---


@pytest.mark.fault("B23")
def test_a_clock_31_days_ahead_is_refused_within_one_sweep(place: Place) -> None:
    young = [place.footage(place.now_ms - n * DAY_MS) for n in range(1, 20)]
    assert place.sweep().refused is None
    place.clock.advance(600)
    place.clock.step_wall(31 * DAY_S)
    report = place.sweep()
    assert report.refused is not None
    assert report.refused.code == "retention.clock_stepped"
    assert {place.state(row) for row in young} == {"stored"}
    assert place.fact(sweeper.REFUSED_SINCE) == report.now_ms

    place.clock.step_wall(-31 * DAY_S)
    assert place.sweep().refused is None
    assert place.fact(sweeper.REFUSED_SINCE) is None


def test_a_step_that_nobody_else_can_confirm_is_confirmed_by_the_time_of_another_clock(place: Place) -> None:
    """A folder has no `Date`, and chrony may set the clock by a minute and a half: without a word it would be years."""
    place.sweep()
    (old,) = due_footage(place)
    place.clock.advance(3600)
    place.clock.step_wall(90)
    for _ in range(3):
        refused = place.sweep().refused
        assert refused is not None and refused.code == "retention.clock_stepped"
        place.clock.advance(DAY_S)
    for told_ms, code in ((place.now_ms - 90_000, "retention.clock_told_other"), (place.now_ms - 20_000, None)):
        refused = place.sweeper().sweep(told_ms=told_ms).refused
        assert (refused and refused.code) == code
    assert place.state(old) == "condemned"
    place.clock.advance(DAY_S)
    assert place.sweep().deleted == [old.id]  # nobody is asked again


def test_a_clock_that_jumps_during_the_sweep_deletes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (old,) = due_footage(place)
    place.sweep()
    place.clock.advance(DAY_S + 60)
    condemn = Sweeper._condemn

    def jump(self: Sweeper, due: list[Verdict], now_ms: int) -> None:
        condemn(self, due, now_ms)
        place.clock.step_wall(31 * DAY_S)

    monkeypatch.setattr(Sweeper, "_condemn", jump)
    report = place.sweep()
    assert report.refused is not None
    assert place.has_bytes(old)


def test_a_clock_that_jumps_between_two_chunks_releases_nothing_more(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was released by the good clock goes, and is written down as gone."""
    rows = due_footage(place, 14)
    place.sweep()
    place.clock.advance(DAY_S + 60)
    on_each_chunk(monkeypatch, lambda number: place.clock.step_wall(31 * DAY_S) if number == 1 else None)
    report = place.sweep()
    assert report.refused is not None and report.refused.code == "retention.clock_stepped"
    assert len(report.deleted) == 7
    assert [place.state(row) for row in rows] == ["deleted"] * 7 + ["condemned"] * 7
    assert [place.has_bytes(row) for row in rows] == [False] * 7 + [True] * 7


def test_a_fresh_boot_without_a_second_opinion_deletes_nothing(place: Place) -> None:
    (old,) = due_footage(place)
    place.sweep()
    place.clock.advance(2 * DAY_S)
    place.boot, place.synchronised = "boot-2", False
    report = place.sweep()
    assert report.refused is not None
    assert report.refused.code == "retention.clock_unproven"
    assert place.has_bytes(old)


def test_a_refusal_is_audited_once_and_keeps_its_beginning(place: Place) -> None:
    place.synchronised = False
    began_ms = place.sweep().now_ms
    place.clock.advance(3600)
    place.sweep()
    assert place.fact(sweeper.REFUSED_SINCE) == began_ms
    refusals = place.catalog.read(lambda c: audit.entries(c, action="sweep.refuse"))
    assert len(refusals) == 1


# --- the guard, and what was announced ---


def steady_footage(place: Place, days: int = 40, each_hours: int = 2) -> list[SegmentRow]:
    return place.much_footage(place.now_ms - n * each_hours * HOUR_MS for n in range(days * 24 // each_hours))


@sqlite_alone
def test_a_keeper_that_was_away_five_days_does_what_was_forecast(place: Place) -> None:
    rows = steady_footage(place)
    place.sweep()
    place.clock.advance(5 * DAY_S)
    report = place.sweep()
    assert report.refused is None
    assert 50 <= len(report.condemned) <= 70  # five days of twelve
    place.clock.advance(DAY_S + 1)
    place.sweep()
    gone = [row for row in rows if not place.has_bytes(row)]
    assert all(row.end_ms <= place.now_ms - 31 * DAY_MS for row in gone)
    assert len(gone) > 100


@sqlite_alone
def test_an_unexplained_mass_deletion_is_refused_until_a_person_confirms(place: Place) -> None:
    steady_footage(place)
    place.sweep()
    place.clock.advance(600)
    # a slip past every rule of change: the class itself was edited in the database
    place.catalog.write(lambda c: retention_rows.set_class_months(c, "default", 0, 5, place.now_ms))
    report = place.sweep()
    assert report.refused is not None
    assert report.refused.code == "retention.guard_unexplained"
    assert place.sweeper().sweep(confirmed_due=10).refused is not None
    due = int(str(report.refused.params["due"]))
    assert len(place.sweeper().sweep(confirmed_due=due).condemned) == due


@sqlite_alone
def test_footage_of_unknown_date_opens_no_door_past_the_guard(place: Place) -> None:
    """By its own date it would be expected gone in every hour, and as much of other footage might go unexplained."""
    for _ in range(40):
        place.footage(DAY_MS, time_trust="unknown")
    rows = place.much_footage(place.now_ms - n * HOUR_MS for n in range(100))
    place.sweep()
    place.clock.advance(600)
    place.catalog.write(lambda c: retention_rows.set_class_months(c, "default", 0, 3, place.now_ms))
    report = place.sweep()
    assert report.refused is not None and report.refused.code == "retention.guard_unexplained"
    assert report.refused.params == {"due": 28, "expected": 0}
    assert {place.state(row) for row in rows} == {"stored"}


@sqlite_alone
@pytest.mark.fault("B29")
def test_a_shorter_class_waits_seven_days_and_does_not_trip_the_guard(place: Place) -> None:
    place.catalog.write(lambda c: class_changes.ask(c, "default", 3, place.now_ms, "user:a", "order 5"))
    place.clock.advance(8 * DAY_S)
    place.sweep()
    rows = steady_footage(place, days=80)
    place.sweep()
    change = place.catalog.write(lambda c: class_changes.ask(c, "default", 1, place.now_ms, "user:a"))
    assert change.effective_ms == place.now_ms + 7 * DAY_MS
    place.clock.advance(7 * DAY_S - 60)
    assert place.sweep().condemned == []
    place.clock.advance(120)
    report = place.sweep()
    assert report.refused is None
    assert len(report.condemned) > 500
    assert place.catalog.read(class_changes.pending) == {}
    assert {place.state(row) for row in rows[:100]} == {"stored"}


def test_a_change_whose_week_is_over_holds_although_another_replaces_it_before_a_sweep(place: Place) -> None:
    """Found by the retention machine: the longer promise was dropped, and footage went a month early."""

    def ask(months: int) -> None:
        place.catalog.write(lambda c: class_changes.ask(c, "default", months, place.now_ms, "user:x", "a law"))

    ask(2)
    old = place.footage(place.now_ms - 24 * DAY_MS)
    for _ in range(8):
        place.clock.advance(DAY_S)
    ask(4)
    for _ in range(3):
        place.sweep()
        assert place.has_bytes(old)
        place.clock.advance(DAY_S)
    assert place.catalog.read(retention_rows.classes)["default"].months == 2
    entries = place.catalog.read(lambda c: audit.tail(c, action="retention."))
    assert [entry.action for entry in entries].count("retention.apply") == 1


@pytest.mark.fault("B29")
def test_an_order_given_on_a_clock_that_runs_ahead_ends_no_other_ones_week(place: Place) -> None:
    """Only the sweep judges the clock: an order of a class shortens nothing before its time."""

    def ask(months: int) -> None:
        place.catalog.write(lambda c: class_changes.ask(c, "default", months, place.now_ms, "user:x", "a law"))

    ask(3)
    place.clock.advance(8 * DAY_S)
    place.sweep()
    ask(1)
    place.clock.step_wall(8 * DAY_S)
    ask(2)
    place.clock.step_wall(-8 * DAY_S)
    assert place.catalog.read(retention_rows.classes)["default"].months == 3


@pytest.mark.fault("B29")
def test_an_order_given_on_a_clock_that_fell_behind_waits_its_week(place: Place) -> None:
    place.catalog.write(lambda c: class_changes.ask(c, "default", 3, place.now_ms, "user:x", "a law"))
    place.clock.advance(8 * DAY_S)
    place.sweep()
    place.clock.step_wall(-3650 * DAY_S)
    place.catalog.write(lambda c: class_changes.ask(c, "default", 1, place.now_ms, "user:x"))
    place.clock.step_wall(3650 * DAY_S)
    for months in (3, 3, 3, 3, 3, 3, 1):
        place.clock.advance(DAY_S)
        place.sweep()
        assert place.catalog.read(retention_rows.classes)["default"].months == months


def test_a_longer_class_holds_at_once_and_floors_have_no_exception(place: Place) -> None:
    def ask(
        months: int, name: str = "key", basis: str | None = None, governance: Governance = "small"
    ) -> class_changes.Change:
        return place.catalog.write(
            lambda c: class_changes.ask(c, name, months, place.now_ms, "user:a", basis, governance)
        )

    refused: tuple[tuple[int, str, str | None, Governance, str], ...] = (
        (2, "key", "order", "small", "retention.below_floor"),
        (4, "key", None, "small", "retention.above_ceiling"),
        (4, "key", None, "full", "retention.above_ceiling"),
        (4, "key", "order", "full", "approval.needed"),
        (9, "permanent", "order", "small", "retention.class_fixed"),
        (9, "none", "order", "small", "retention.class_unknown"),
    )
    for months, name, basis, governance, code in refused:
        with pytest.raises(TiergateError) as caught:
            ask(months, name, basis, governance)
        assert caught.value.reason.code == code
    assert ask(3).effective_ms == place.now_ms
    assert ask(4, basis="order").effective_ms == place.now_ms + 7 * DAY_MS


# --- mutants ---


def test_mutant_without_the_clock_rule(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    young = place.footage(place.now_ms - DAY_MS)
    place.sweep()
    trusted = Trust(True, Reason("retention.clock_steady"))
    monkeypatch.setattr(sweeper, "judge_clock", lambda *_: trusted)
    place.clock.step_wall(40 * DAY_S)
    place.sweep()
    place.clock.step_wall(2 * DAY_S)
    place.sweep()
    assert not place.has_bytes(young)


@sqlite_alone
def test_mutant_without_the_guard(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = steady_footage(place)
    place.sweep()
    monkeypatch.setattr(sweeper, "judge_guard", lambda *_: None)
    place.catalog.write(lambda c: retention_rows.set_class_months(c, "default", 0, 5, place.now_ms))
    place.sweep()
    place.clock.advance(DAY_S + 1)
    place.sweep()
    assert sum(place.has_bytes(row) for row in rows) < len(rows) / 2
