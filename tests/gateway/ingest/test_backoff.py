"""When to knock again, and when not to try a password."""

from __future__ import annotations

import itertools

import pytest

from gateway.ingest.backoff import LOGIN_PROBE_S, LOGIN_TRIES, LOGIN_WINDOW_S, Backoff, LoginCare


def test_pauses_grow_with_jitter_and_start_anew() -> None:
    backoff = Backoff()
    assert [round(backoff.wait_s(0.999), 2) for _ in range(7)] == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert backoff.wait_s(0.0) == 2.5
    backoff.reset()
    assert backoff.wait_s(0.0) == 0.125


@pytest.mark.fault("A28")
def test_a_wrong_password_is_never_tried_more_than_three_times_in_ten_minutes() -> None:
    care = LoginCare()
    care.account(("a", 1))
    now_s, tries = 1000.0, []
    while now_s < 1000.0 + 4 * 3600:
        care.account(("a", 1))
        wait_s = care.wait_s(now_s)
        if wait_s > 0:
            now_s += wait_s
            continue
        tries.append(now_s)
        care.failed(now_s)
        now_s += 0.2
    for index, at in enumerate(tries):
        assert sum(at <= other < at + LOGIN_WINDOW_S for other in tries[index:]) <= LOGIN_TRIES
    assert len(tries) > 12, "the slow probe goes on"
    assert all(b - a >= LOGIN_PROBE_S for a, b in itertools.pairwise(tries[2:]))


def test_a_new_account_is_tried_at_once() -> None:
    care = LoginCare()
    care.account(("a", 1))
    for _ in range(3):
        care.failed(10.0)
    assert care.wait_s(11.0) > 0
    care.account(("a", 2))
    assert care.wait_s(11.0) == 0


def test_a_login_that_works_clears_the_record() -> None:
    care = LoginCare()
    care.failed(1.0)
    care.failed(2.0)
    care.succeeded()
    care.failed(3.0)
    assert care.wait_s(3.1) == 0
