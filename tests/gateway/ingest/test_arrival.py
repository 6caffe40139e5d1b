"""The smoothed arrival clock: steady under jitter, following drift, honest about steps."""

from __future__ import annotations

import itertools
import random

import pytest

from gateway.ingest.arrival import SLEW, ArrivalClock

MS = 1_000_000
S = 1_000 * MS
START = 1_790_000_000 * S
FRAME = 40 * MS


def run(clock: ArrivalClock, delays_ms: list[float], drift: float = 0.0, first: int = 0) -> list[int]:
    """Wall times of pictures that left 40 ms apart and were late by `delays_ms`; `drift` of the camera's crystal."""
    walls = []
    for index, delay in enumerate(delays_ms, first):
        sent = index * FRAME
        walls.append(clock.observe(sent, START + round(sent * (1 + drift)) + round(delay * MS)))
    return walls


def test_jitter_does_not_reach_the_timeline() -> None:
    draw = random.Random(1)
    walls = run(ArrivalClock(), [draw.uniform(0, 80) for _ in range(1500)])
    steps = [b - a for a, b in itertools.pairwise(walls[50:])]
    assert max(abs(step - FRAME) for step in steps) <= FRAME * SLEW + 1
    assert abs(walls[-1] - (START + 1499 * FRAME)) < 20 * MS


@pytest.mark.fault("A24")
def test_the_burst_at_the_beginning_is_dated_by_its_last_picture() -> None:
    walls = run(ArrivalClock(), [max(0.0, 800.0 - 40 * index) for index in range(100)])
    assert walls == sorted(walls)
    assert abs(walls[60] - (START + 60 * FRAME)) < 5 * MS


@pytest.mark.fault("A23")
def test_a_crystal_that_drifts_is_followed() -> None:
    walls = run(ArrivalClock(), [0.0] * 25 * 600, drift=150e-6)
    true_end = START + round((25 * 600 - 1) * FRAME * (1 + 150e-6))
    assert abs(walls[-1] - true_end) < 10 * MS


def test_congestion_of_seconds_does_not_move_it_much() -> None:
    walls = run(ArrivalClock(), [0.0] * 250 + [1500.0] * 50 + [0.0] * 250)
    assert max(abs(wall - (START + i * FRAME)) for i, wall in enumerate(walls)) < 2 * MS


def test_a_clock_that_was_set_is_believed() -> None:
    clock = ArrivalClock()
    run(clock, [0.0] * 100)
    set_back = clock.observe(100 * FRAME, START + 100 * FRAME - 3600 * S)
    assert set_back == START + 100 * FRAME - 3600 * S
    later = [clock.observe(i * FRAME, START + i * FRAME + 60 * S) for i in range(101, 101 + 25 * 15)]
    assert abs(later[-1] - (START + (100 + 25 * 15) * FRAME + 60 * S)) < 5 * MS


def test_time_never_goes_back_within_a_stream() -> None:
    draw = random.Random(2)
    walls = run(ArrivalClock(), [draw.choice([0.0, 5.0, 900.0]) for _ in range(2000)])
    assert all(b > a for a, b in itertools.pairwise(walls))
