"""Faulty times of cameras: mended when small, a new epoch when not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ingest.timestamps import Timestamps

RATE = 90_000


@pytest.mark.fault("A6")
@pytest.mark.parametrize("first", [0, -3 * RATE, 2**32 - 5, 123])
def test_every_stream_begins_at_zero(first: int) -> None:
    times = Timestamps(RATE)
    assert times.place(first, first) == (0, 0, False)
    assert times.place(first + 3600, first + 7200) == (3600, 7200, False)


@pytest.mark.fault("A7")
@pytest.mark.parametrize("turn", [2**32, 2**33])
def test_a_wrapped_counter_goes_on(turn: int) -> None:
    times = Timestamps(RATE)
    start = turn - 7200
    assert [times.place((start + i * 3600) % turn, (start + i * 3600) % turn)[0] for i in range(5)] == [
        0, 3600, 7200, 10800, 14400,
    ]  # fmt: skip
    assert times.counters.wraps == 1
    back = (start + 3600) % turn  # a picture from before the turn, late: mended, and no second turn
    assert times.place(back, back)[:1] == (14401,)


@pytest.mark.fault("A4")
@pytest.mark.parametrize("step", [0, -1, -900])
def test_equal_and_slightly_backward_times_are_repaired_and_never_stop_it(step: int) -> None:
    times = Timestamps(RATE)
    times.place(0, 0)
    times.place(3600, 3600)
    dts, pts, broke = times.place(3600 + step, 3600 + step)
    assert (dts, broke) == (3601, False)
    assert pts == 3600 + step  # the picture keeps its moment
    assert times.place(7200, 7200) == (7200, 7200, False)
    assert times.counters.repaired == 1


@pytest.mark.fault("A5")
@pytest.mark.parametrize("jump_s", [3600, -3600, -10, 2**31 // RATE + 1])
def test_a_jump_is_a_new_epoch_from_zero(jump_s: int) -> None:
    times = Timestamps(RATE)
    times.place(0, 0)
    times.place(3600, 3600)
    far = 3600 + jump_s * RATE
    assert times.place(far, far + 3600) == (0, 3600, True)
    assert times.place(far + 3600, far + 3600) == (3600, 3600, False)


@given(st.lists(st.integers(-(2**33), 2**33), min_size=1, max_size=60))
def test_whatever_comes_times_increase_within_an_epoch(raw: list[int]) -> None:
    times = Timestamps(RATE)
    last = -1
    for value in raw:
        dts, _, broke = times.place(value, value)
        assert dts >= 0
        assert broke or dts > last
        last = dts
