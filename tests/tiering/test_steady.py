"""The clock that leases end by: forward at once, back only when told, and never so that a lease lasts longer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.clock import ManualClock
from tiering.steady import STEP_MS, SteadyClock, is_due

HOUR_S = 3600
STEP_S = STEP_MS // 1000


def ms(clock: ManualClock) -> int:
    return clock.wall_ns() // 1_000_000


def test_it_stays_ahead_until_it_is_told_and_follows_then() -> None:
    clock = ManualClock()
    steady = SteadyClock(clock)
    clock.step_wall(HOUR_S)
    assert steady.now_ms() == ms(clock) and steady.set_back() is None
    ahead_since_ms = ms(clock)
    clock.advance(600)
    clock.step_wall(-HOUR_S)
    assert steady.now_ms() == ms(clock) + HOUR_S * 1000
    back = steady.set_back()
    assert back is not None
    assert (back.from_ms, back.to_ms, back.ahead_since_ms) == (steady.now_ms(), ms(clock), ahead_since_ms)
    assert [back.outlives(t) for t in (ahead_since_ms - 1, ahead_since_ms)] == [False, True]
    clock.advance(5)
    steady.follow(back)
    assert steady.now_ms() == ms(clock) and steady.set_back() is None
    clock.advance(10)
    assert steady.now_ms() == ms(clock)


def test_a_step_that_hurts_nobody_is_waited_out() -> None:
    clock = ManualClock()
    steady = SteadyClock(clock)
    clock.step_wall(-(STEP_S - 1))
    assert steady.now_ms() == ms(clock) + (STEP_S - 1) * 1000 and steady.set_back() is None


@pytest.mark.parametrize("seen_forward_s", [0, HOUR_S])
def test_further_back_than_it_was_seen_to_go_ahead_nothing_that_it_dated_stands(seen_forward_s: int) -> None:
    clock = ManualClock()
    steady = SteadyClock(clock)
    steady.now_ms()
    clock.step_wall(seen_forward_s)
    steady.now_ms()
    clock.step_wall(-seen_forward_s - 2 * STEP_S)
    back = steady.set_back()
    assert back is not None and back.to_ms == ms(clock) and back.outlives(0)


def test_a_little_further_back_it_goes_where_it_would_have_been() -> None:
    clock = ManualClock()
    steady = SteadyClock(clock)
    began_ms = steady.now_ms()
    clock.step_wall(HOUR_S)
    steady.now_ms()
    clock.advance(60)
    clock.step_wall(-HOUR_S - 5)
    back = steady.set_back()
    assert back is not None and back.to_ms == began_ms + 60_000
    steady.follow(back)
    assert steady.now_ms() == began_ms + 60_000


moves = st.lists(
    st.tuples(st.sampled_from(["pass", "step", "grant", "back"]), st.integers(-4 * HOUR_S, 4 * HOUR_S)), max_size=30
)


@given(moves)
def test_no_lease_lasts_longer_than_it_was_granted_for(script: list[tuple[str, int]]) -> None:
    """Whatever the wall clock does, and whoever believes it: by the monotonic clock none is late."""
    clock = ManualClock()
    steady = SteadyClock(clock)
    leases: list[tuple[int, int, int]] = []  # issued, expires, monotonic end
    for what, seconds in script:
        if what == "pass":
            clock.advance(abs(seconds))
        elif what == "step":
            clock.step_wall(seconds)
        elif what == "grant":
            now_ms, lasts_ms = steady.now_ms(), abs(seconds) * 1000 + 1
            leases.append((now_ms, now_ms + lasts_ms, clock.monotonic_ns() // 1_000_000 + lasts_ms))
        elif (back := steady.set_back()) is not None:
            leases = [lease for lease in leases if not back.outlives(lease[0])]
            steady.follow(back)
        now_ms, monotonic_ms = steady.now_ms(), clock.monotonic_ns() // 1_000_000
        assert all(monotonic_ms < ends_ms for _, expires_ms, ends_ms in leases if now_ms < expires_ms)


def test_what_was_done_ahead_of_now_is_due() -> None:
    assert [is_due(last_ms, 1000, 100) for last_ms in (None, 900, 901, 1000, 1001)] == [True, True, False, False, True]
