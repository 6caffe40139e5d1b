"""When to knock again, and when not to try a password."""

from __future__ import annotations

import itertools
import random

import pytest

from gateway.ingest.backoff import (
    LOGIN_PROBE_S,
    LOGIN_TRIES,
    LOGIN_WINDOW_S,
    TRIES_PER_MINUTE,
    Backoff,
    Openings,
    login_wait_s,
)


def _pauses(backoff: Backoff, draw: float, count: int, *, answered: bool, fruitful: bool = True) -> list[float]:
    return [round(backoff.wait_s(draw, 0.0, answered=answered, fruitful=fruitful), 2) for _ in range(count)]


def test_pauses_grow_with_jitter_and_start_anew() -> None:
    backoff = Backoff()
    assert _pauses(backoff, 0.999, 7, answered=True) == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert _pauses(backoff, 0.0, 1, answered=True) == [2.5]
    backoff.reset()
    assert _pauses(backoff, 0.0, 1, answered=True) == [0.12]


@pytest.mark.fault("A1")
def test_a_port_that_is_closed_is_asked_each_second_and_its_first_answer_begins_anew() -> None:
    backoff = Backoff()
    assert _pauses(backoff, 0.999, 6, answered=False) == [0.25, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert _pauses(backoff, 0.999, 2, answered=True) == [0.25, 0.5], "a camera that boots says 404 for a moment"


@pytest.mark.fault("C10")
@pytest.mark.parametrize("lasts_s", [0.01, 2.0, 8.0])
def test_a_camera_that_gives_no_picture_is_tried_twelve_times_a_minute_at_most(lasts_s: float) -> None:
    backoff, dice = Backoff(), random.Random(1)
    now_s, tries = 1000.0, []
    while now_s < 1000.0 + 3600:
        tries.append(now_s)
        now_s += lasts_s
        now_s += backoff.wait_s(dice.random(), now_s, answered=True)
    most = max(sum(at <= other < at + 60 for other in tries[index:]) for index, at in enumerate(tries))
    assert most <= TRIES_PER_MINUTE
    assert len(tries) > 200, "and it is not given up"


@pytest.mark.fault("A33")
def test_two_hundred_at_once_begin_one_after_another() -> None:
    openings = Openings(per_s=32, burst=8)
    waits = [openings.wait_s(50.0) for _ in range(200)]
    assert waits[:8] == [0.0] * 8
    assert max(waits) == pytest.approx(192 / 32)
    for start in range(60):
        at = start / 10
        assert sum(at <= wait < at + 1 for wait in waits) <= 8 + 32
    assert openings.wait_s(100.0) == 0.0, "the bucket fills again"


@pytest.mark.fault("A28")
def test_a_wrong_password_is_never_tried_more_than_three_times_in_ten_minutes() -> None:
    now_s = 1000.0
    tries: list[float] = []
    while now_s < 1000.0 + 4 * 3600:
        wait_s = login_wait_s(tries, now_s)
        if wait_s > 0:
            now_s += wait_s
            continue
        tries.append(now_s)
        now_s += 0.2
    for index, at in enumerate(tries):
        assert sum(at <= other < at + LOGIN_WINDOW_S for other in tries[index:]) <= LOGIN_TRIES
    assert len(tries) > 12, "the slow probe goes on"
    assert all(b - a >= LOGIN_PROBE_S for a, b in itertools.pairwise(tries[2:]))
