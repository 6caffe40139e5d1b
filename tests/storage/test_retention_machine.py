"""The retention machine, small here and whole in scripts/torture; mutants show that each belt is needed. (I3, I4)"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Connection, update

from config.reasons import Reason
from storage import evidence, retention, sweeper
from storage.catalog import evidence_rows, retention_rows
from storage.catalog.tables import segment
from storage.clock_trust import Trust
from storage.retention import Candidate, Verdict
from tests.storage import retention_machine
from tests.storage.evidence_machine import SEEN, EvidenceMachine
from tests.storage.retention_machine import InMemory, OnDisk, RetentionMachine

STEPS_AN_EXAMPLE = 100


def run(machine: type[RetentionMachine], steps: int, **more: Any) -> dict[str, int]:
    """At least so many steps; what happened in them."""
    seen = retention_machine.STEPS
    seen.update(dict.fromkeys(seen, 0))
    while seen["steps"] < steps:  # some examples end early
        chosen = settings(
            max_examples=max(1, (steps - seen["steps"]) // STEPS_AN_EXAMPLE), stateful_step_count=STEPS_AN_EXAMPLE,
            deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=False, **more,
        )  # fmt: skip
        run_state_machine_as_test(machine, settings=chosen)
    return dict(seen)


def _share(machine: str, steps: int) -> dict[str, int]:
    return run({"InMemory": InMemory, "OnDisk": OnDisk}[machine], steps)


def run_on_all_cores(machine: type[RetentionMachine], steps: int) -> dict[str, int]:
    """As `run`; each process has its own seed, because each draws from its own randomness."""
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        seen = Counter[str]()
        for found in pool.map(_share, [machine.__name__] * cores, [-(-steps // cores)] * cores):
            seen.update(found)
    return dict(seen)


@pytest.mark.fault("B20", "B23", "B24")
@pytest.mark.parametrize(
    "steps", [pytest.param(100_000, id="few"), pytest.param(1_000_000, marks=pytest.mark.torture, id="many")]
)
def test_nothing_held_or_unexpired_goes_and_nothing_due_stays(steps: int, counted: Callable[[object], None]) -> None:
    seen = run_on_all_cores(InMemory, steps)
    counted(seen)
    assert seen["steps"] >= steps
    assert all(seen[what] > 0 for what in ("refused", "crashes", "deleted", "restores", "jumps"))


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


def caught(match: str, machine: type[RetentionMachine] = AllDated) -> None:
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
