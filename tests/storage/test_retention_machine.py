"""The retention machine, small here and whole in scripts/torture; mutants show that each belt is needed. (I3, I4)"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Connection, update

from config.clock import wall_ms
from config.reasons import Reason
from storage import approvals, class_changes, evidence, journal, rebuild, restore, retention, sweeper
from storage.catalog import evidence_rows, retention_rows
from storage.catalog.engine import Catalog
from storage.catalog.segments import RunRow, SegmentRow
from storage.catalog.tables import segment
from storage.clock_trust import Trust
from storage.evidence_listing import Listing
from storage.objects.base import ObjectStore
from storage.retention import Candidate, Verdict
from tests.storage import retention_machine
from tests.storage.evidence_machine import SEEN, EvidenceMachine
from tests.storage.retention_law import CAMERAS
from tests.storage.retention_machine import TEN_YEARS_S, InMemory, OnDisk, RetentionMachine

STEPS_AN_EXAMPLE = 100
#: Hypothesis remembers all choices of a run: after some hundred thousand steps a gigabyte, and ever slower.
EXAMPLES_AT_ONCE = 200
DAY_S = 86_400


def run(machine: type[RetentionMachine], steps: int, **more: Any) -> dict[str, int]:
    """At least so many steps; what happened in them."""
    seen = retention_machine.STEPS
    seen.update(dict.fromkeys(seen, 0))
    while seen["steps"] < steps:  # some examples end early
        chosen = settings(
            max_examples=min(EXAMPLES_AT_ONCE, max(1, (steps - seen["steps"]) // STEPS_AN_EXAMPLE)),
            stateful_step_count=STEPS_AN_EXAMPLE,
            deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=False, **more,
        )  # fmt: skip
        run_state_machine_as_test(machine, settings=chosen)
    return dict(seen)


def _share(machine: str, steps: int) -> dict[str, int]:
    return run({"InMemory": InMemory, "OnDisk": OnDisk}[machine], steps)


def _end_with_parent() -> None:
    """Whoever kills the suite with -9 leaves no process behind that lives its steps out, an hour of both cores."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def run_on_all_cores(machine: type[RetentionMachine], steps: int) -> dict[str, int]:
    """As `run`; each process has its own seed, because each draws from its own randomness."""
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, get_context("spawn"), initializer=_end_with_parent) as pool:
        seen = Counter[str]()
        for found in pool.map(_share, [machine.__name__] * cores, [-(-steps // cores)] * cores):
            seen.update(found)
    return dict(seen)


@pytest.mark.fault("B20", "B23", "B24", "B31")
@pytest.mark.parametrize(
    "steps", [pytest.param(100_000, id="few"), pytest.param(1_000_000, marks=pytest.mark.torture, id="many")]
)
def test_nothing_held_or_unexpired_goes_and_nothing_due_stays(steps: int, counted: Callable[[object], None]) -> None:
    seen = run_on_all_cores(InMemory, steps)
    counted(seen)
    assert seen["steps"] >= steps
    assert all(seen[what] > 0 for what in retention_machine.STEPS)


@pytest.mark.parametrize(
    "steps", [pytest.param(5_000, id="few"), pytest.param(50_000, marks=pytest.mark.torture, id="many")]
)
def test_the_same_on_a_real_disk(steps: int, counted: Callable[[object], None]) -> None:
    seen = run_on_all_cores(OnDisk, steps)
    counted(seen)
    assert seen["steps"] >= steps and seen["deleted"] > 0


@pytest.mark.fault("B20", "B21")
@pytest.mark.parametrize(
    "steps", [pytest.param(5_000, id="few"), pytest.param(100_000, marks=pytest.mark.torture, id="many")]
)
def test_no_second_copy_of_held_footage_goes_and_none_stays_for_nothing(
    steps: int, counted: Callable[[object], None]
) -> None:
    SEEN.update(dict.fromkeys(SEEN, 0))
    seen = run(EvidenceMachine, steps)
    counted(seen | SEEN)
    assert seen["steps"] >= steps and seen["crashes"] > 0
    assert all(SEEN[what] > 0 for what in ("copies", "released", "passes"))


# --- mutants ---


class AllDated(InMemory):
    undated_quarters = 0


class NoneDated(InMemory):
    undated_quarters = 4


class NeverRebuilt(AllDated):
    lose_the_catalog = None  # type: ignore[assignment]  # no rule any more: what is caught is caught by a restore


class OneLife(NeverRebuilt):
    """Nothing is taken up from the journal: the fewer ways lead past what is wrong, the sooner it is come upon."""

    restore_and_replay = None  # type: ignore[assignment]  # as above
    decide_after_the_backup = None  # type: ignore[assignment]  # as above
    change_a_class_after_the_backup = None  # type: ignore[assignment]  # as above


def caught(match: str, machine: type[RetentionMachine] = OneLife) -> None:
    """The machine finds it, within ten times what the suite spends on the whole."""
    with pytest.raises(AssertionError, match=match):
        run(machine, 100_000, phases=[Phase.generate], report_multiple_bugs=False)


def test_mutant_without_the_hold_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "holds_on", lambda *_: [])
    caught("held footage deleted")


def test_mutant_without_the_clock_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    trusted = Trust(True, Reason("retention.clock_steady"))
    monkeypatch.setattr(sweeper, "judge_clock", lambda *_: trusted)
    caught("early|although the clock was off")


def test_mutant_without_asking_again_before_the_deed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = sweeper.Policies.plan

    def once(self: sweeper.Policies, segments: Iterable[Candidate], now_ms: int) -> Iterator[Verdict]:
        for verdict in plan(self, list(segments), now_ms):
            yield verdict._replace(keep=False) if verdict.segment.state == "condemned" else verdict

    monkeypatch.setattr(sweeper.Policies, "plan", once)
    caught("held footage deleted|early")


def test_mutant_that_believes_every_date(monkeypatch: pytest.MonkeyPatch) -> None:
    def believe(connection: Connection, now_ms: int, limit: int) -> int:
        fresh = (segment.c.time_trust == "unknown") & segment.c.aged_from_ms.is_(None)
        connection.execute(update(segment).where(fresh).values(aged_from_ms=segment.c.end_ms))
        return 0

    monkeypatch.setattr(retention_rows, "age_from", believe)
    caught("early|kept .* after a sweep saw it due", NoneDated)  # as the wrong date lies before or after the true one


def test_mutant_that_lets_copies_go_whatever_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence._Orders, "needs", lambda *_: [])
    caught("copy of held footage deleted|not copied in three days", EvidenceMachine)


def test_mutant_that_copies_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_rows, "uncopied", lambda *_, **__: [])
    caught("not copied in three days", EvidenceMachine)


def test_mutant_that_never_lets_a_copy_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "may_go", lambda *_: False)
    caught("a copy that nothing needs stands", EvidenceMachine)


def test_mutant_that_forgets_what_it_condemned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "may_delete", lambda *_: False)
    caught("kept .* after a sweep saw it due")


def test_mutant_that_restores_without_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    def objects_alone(
        catalog: Catalog, store: ObjectStore, spool: None, node_id: str, now_ms: int, actor: str
    ) -> rebuild.RebuildReport:
        return rebuild.rebuild(catalog, store, node_id, now_ms, actor)

    monkeypatch.setattr(restore, "reconcile", objects_alone)
    caught("held footage deleted|early|kept .* after a sweep saw it due", NeverRebuilt)


# --- mutants that one order of things shows; by chance it takes the machine long to come upon it ---


def an_approval_after_the_backup(machine: InMemory) -> None:
    machine.clock.advance(20 * DAY_S)
    machine.quiet_days(1)
    machine.decide_after_the_backup(0, True)
    machine.clock.advance(25 * DAY_S)
    machine.quiet_days(3)


def a_shortening_taken_back_after_the_backup(machine: InMemory) -> None:
    machine.set_months("default", 3, True)
    machine.quiet_days(8)
    machine.clock.advance(20 * DAY_S)
    machine.quiet_days(1)
    machine.change_a_class_after_the_backup("default", 1, 3)
    machine.quiet_days(3)


def a_rebuild_ten_years_behind(machine: InMemory) -> None:
    machine.quiet_days(1)
    machine.record(CAMERAS[0], 5, True, 0, 0)
    machine.lose_the_catalog(-TEN_YEARS_S)
    machine.quiet_days(3)


def a_request_that_a_rebuild_forgot_and_a_backup_knows(machine: InMemory) -> None:
    machine.ask_for_a_hold(CAMERAS[0], 1, 24 * 200)
    machine.back_up()
    machine.lose_the_catalog(0)
    machine.restore_and_replay()
    machine.clock.advance(62 * DAY_S)
    machine.quiet_days(5)


def a_longer_class_that_a_sweep_made_before_it_died(machine: InMemory) -> None:
    machine.set_months("default", 2, True)
    machine.clock.advance(8 * DAY_S)
    machine.die_in_a_sweep(4, False, None)
    machine.back_up()
    machine.restore()
    machine.clock.advance(31 * DAY_S)
    machine.quiet_days(5)


def lived(story: Callable[[Any], None], machine: type[InMemory] = AllDated) -> list[str]:
    """What was wrong after it."""
    made = machine()
    made.some_footage()
    story(made)
    made.teardown()
    return made.violations


class LockedCopies(EvidenceMachine):
    undated_quarters = 0

    def __init__(self) -> None:
        super().__init__()
        self.evidence_store.locks = True


def copies_while_the_clock_is_ten_years_ahead(machine: EvidenceMachine) -> None:
    machine.quiet_days(1)
    machine.hold_what_there_is(0)
    machine.copy()
    machine.the_clock_jumps(TEN_YEARS_S)
    machine.kernel = False
    machine.clock.advance(2 * DAY_S)
    machine.copy()
    machine.three_quiet_days_of_passes()


def a_rebuild_after_the_last_hold(machine: EvidenceMachine) -> None:
    machine.quiet_days(1)
    machine.hold_what_there_is(0)
    machine.copy()
    for id_ in list(machine.law.holds):
        machine.release_one(id_)
    machine.lose_the_catalog(0)
    machine.clock.advance(100 * DAY_S)
    machine.three_quiet_days_of_passes()


@pytest.mark.parametrize("story", [copies_while_the_clock_is_ten_years_ahead, a_rebuild_after_the_last_hold])
def test_nothing_is_wrong_in_the_stories_of_copies(story: Callable[[Any], None]) -> None:
    assert lived(story, LockedCopies) == []


def test_mutant_that_renews_locks_by_any_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence.EvidenceKeeper, "_lock_ms", lambda keeper: wall_ms(keeper._clock))
    assert "a copy is locked for" in lived(copies_while_the_clock_is_ten_years_ahead, LockedCopies)[0]


def test_mutant_that_knows_copies_by_their_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Listing, "run", lambda *_: 0)
    assert "a copy that nothing needs stands" in lived(a_rebuild_after_the_last_hold, LockedCopies)[0]


@pytest.mark.parametrize("machine", [AllDated, NoneDated])
@pytest.mark.parametrize(
    "story",
    [
        an_approval_after_the_backup,
        a_shortening_taken_back_after_the_backup,
        a_rebuild_ten_years_behind,
        a_request_that_a_rebuild_forgot_and_a_backup_knows,
        a_longer_class_that_a_sweep_made_before_it_died,
    ],
)
def test_nothing_is_wrong_in_the_stories(story: Callable[[InMemory], None], machine: type[InMemory]) -> None:
    assert lived(story, machine) == []


def test_mutant_whose_restore_forgets_approvals(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold lapses that was approved after the backup."""
    update_rows = journal._update

    def but_holds(connection: Connection, name: str, rows: list[dict[str, Any]], newer: bool) -> int:
        return 0 if name == "holds" else update_rows(connection, name, rows, newer)

    monkeypatch.setattr(journal, "_update", but_holds)
    monkeypatch.setattr(approvals, "end_decided", lambda *_: 0)
    assert "held footage deleted" in lived(an_approval_after_the_backup)[0]


def test_mutant_whose_restore_carries_out_a_shortening_that_was_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    reconcile = restore.reconcile

    def keep_waiting(catalog: Catalog, *more: Any) -> restore.Reconciled:
        waited = catalog.read(class_changes.pending)
        done = reconcile(catalog, *more)
        catalog.write(lambda c: class_changes.set_pending(c, waited.values()))
        return done

    monkeypatch.setattr(restore, "reconcile", keep_waiting)
    assert "early" in lived(a_shortening_taken_back_after_the_backup)[0]


def test_mutant_whose_rebuild_knows_no_footage_of_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that is behind everything is of the future."""
    rows_of_object = rebuild.rows_of_object

    def not_later(store: ObjectStore, key: str, now_ms: int) -> tuple[RunRow, SegmentRow] | None:
        found = rows_of_object(store, key, now_ms)
        if found is None:
            return None
        early_ms = min(0, now_ms - found[1].end_ms)
        row = replace(found[1], start_ms=found[1].start_ms + early_ms, end_ms=found[1].end_ms + early_ms)
        return found[0], row

    monkeypatch.setattr(rebuild, "rows_of_object", not_later)
    assert "early" in lived(a_rebuild_ten_years_behind)[0]


def test_mutant_whose_rebuild_lets_footage_of_unknown_date_age_by_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that is behind it has aged for years already."""
    finish = rebuild._finish_rebuild

    def age(connection: Connection, report: rebuild.RebuildReport, now_ms: int, actor: str) -> None:
        retention_rows.age_from(connection, now_ms, 10_000)
        finish(connection, report, now_ms, actor)

    monkeypatch.setattr(rebuild, "_finish_rebuild", age)
    assert "early" in lived(a_rebuild_ten_years_behind, NoneDated)[0]
