"""Whoever hands on a right hands on less, never more (FAULTS S13): random chains, and twins that do widen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.tiering import narrowings
from tests.tiering.narrowings import Dice, Tally, widenings
from tiering.access import Grant, narrow

SEED = 5


@pytest.mark.fault("S13")
@pytest.mark.parametrize(
    "chains", [pytest.param(10_000, id="few"), pytest.param(100_000, marks=pytest.mark.torture, id="many")]
)
def test_no_chain_of_narrowings_widens(chains: int, counted: Callable[[object], None]) -> None:
    tally = Tally()
    found = widenings(chains, SEED, tally)
    counted(f"{tally}, widenings {len(found)}")
    assert found == []
    assert tally.chains == chains and tally.allowed >= chains // 50 and tally.cut >= chains // 50


@pytest.mark.fault("S13")
@pytest.mark.parametrize("lost", ["functions", "resources", "conditions"])
def test_a_narrowing_that_forgets_one_side_is_found(monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    def forgetful(held: Grant, meant: Grant) -> Grant:
        made = narrow(held, meant)
        if lost == "functions":
            return replace(made, functions=held.functions | meant.functions)
        if lost == "resources":
            return replace(made, within=())
        return replace(made, conditions=held.conditions)

    monkeypatch.setattr(narrowings, "hand_on", forgetful)
    assert widenings(2_000, SEED, Tally())


def test_the_dice_fall_the_same_way_twice() -> None:
    assert [Dice(9).grant().as_json() for _ in range(3)] == [Dice(9).grant().as_json() for _ in range(3)]
