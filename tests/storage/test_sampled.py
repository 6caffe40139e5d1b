"""The draw of instants stays inside what is promised, and only a second answer makes a finding."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.reasons import Reason
from config.units import DAY_MS, HOUR_MS
from config.weekly import parse_week, week_end_ms
from storage.attested import Attestation, Standing
from storage.sampled import (
    CONFIRM_AFTER_MS,
    MARGIN_MS,
    UNANSWERED_MS,
    Check,
    Promised,
    Verdict,
    assess,
    draw,
    is_due,
    promised,
    promised_since_ms,
    to_confirm,
    turn_ms,
)

NOW_MS = 1_790_000_000_000
SEED = b"seed"
WHAT = Promised(NOW_MS - 30 * DAY_MS, NOW_MS - HOUR_MS)
SEEDS = st.binary(min_size=1, max_size=8)


def standing(days: int | None, state: str = "attested") -> Standing:
    paper = None if days is None else Attestation("A", "c", days, "甲", "乙", NOW_MS + DAY_MS, NOW_MS, "u")
    reason = Reason("retention.attested_none", {"floor_days": 30})
    return Standing("c", "default", 30, state, paper, reason)  # type: ignore[arg-type]  # a state


@pytest.mark.parametrize(
    ("paper", "registered_days", "expected_days"),
    [
        (standing(30), 400, 30),
        (standing(90), 400, 90),  # what the owner answers for, however little the class asks
        (standing(7, "short"), 400, 7),
        (standing(90, "lapsed"), 400, 30),  # nobody answers for it any more: the class's floor is the law's
        (standing(None, "none"), 400, 30),
        (standing(30), 4, 4),  # of before it was registered nothing is known
        (standing(0, "short"), 400, 0),
    ],
)
def test_what_is_promised_reaches_as_far_back_as_somebody_answers_for(
    paper: Standing, registered_days: int, expected_days: int
) -> None:
    registered_ms = NOW_MS - registered_days * DAY_MS
    assert promised_since_ms(paper, registered_ms, NOW_MS) == NOW_MS - expected_days * DAY_MS
    what = promised(paper, registered_ms, NOW_MS)
    if expected_days:
        assert what == Promised(NOW_MS - expected_days * DAY_MS + MARGIN_MS, NOW_MS - MARGIN_MS)
    else:
        assert what is None


@given(seed=SEEDS, count=st.integers(1, 24), turn=st.integers(0, 10**13))
def test_instants_lie_inside_what_is_promised_and_one_within_its_oldest_day(seed: bytes, count: int, turn: int) -> None:
    instants = draw(seed, "c", turn, WHAT, None, count)
    assert 1 <= len(instants) <= count
    assert all(WHAT.from_ms <= at_ms < WHAT.to_ms for at_ms in instants)
    assert min(instants) < WHAT.from_ms + DAY_MS
    assert instants == draw(seed, "c", turn, WHAT, None, count), "the same draw for the same words"


@given(seed=SEEDS, turn=st.integers(0, 10**13))
def test_instants_lie_inside_the_windows_of_the_week(seed: bytes, turn: int) -> None:
    windows = parse_week("mon-fri 07:30-19:00, sat 22:00-02:00")
    instants = draw(seed, "c", turn, WHAT, windows, 5)
    assert instants
    for at_ms in instants:
        assert week_end_ms(windows, at_ms) is not None and WHAT.from_ms <= at_ms < WHAT.to_ms


def test_a_camera_that_is_never_recorded_in_what_is_promised_is_not_asked_for() -> None:
    monday_only = parse_week("mon 07:30-07:31")
    tuesday_ms = NOW_MS - (NOW_MS - 5 * DAY_MS) % (7 * DAY_MS)  # 1970-01-06, a Tuesday, and its like
    short = Promised(tuesday_ms, tuesday_ms + 2 * DAY_MS)
    assert draw(SEED, "c", 0, short, monday_only, 3) == ()
    assert draw(SEED, "c", 0, WHAT, None, 0) == ()


def test_a_draw_cannot_be_foretold_without_the_seed_and_covers_what_is_promised() -> None:
    assert draw(SEED, "c", 1, WHAT, None, 3) != draw(b"other", "c", 1, WHAT, None, 3)
    assert draw(SEED, "c", 1, WHAT, None, 3) != draw(SEED, "c", 2, WHAT, None, 3)
    days = {(at_ms - WHAT.from_ms) // DAY_MS for turn in range(300) for at_ms in draw(SEED, "c", turn, WHAT, None, 3)}
    assert days == set(range(30)), "within a year every day of the month is asked for"


def test_turns_come_once_a_day_and_spread_over_it() -> None:
    hours = set()
    for n in range(500):
        turn = turn_ms(SEED, f"camera-{n}", NOW_MS)
        assert NOW_MS - DAY_MS < turn <= NOW_MS
        assert turn_ms(SEED, f"camera-{n}", turn + DAY_MS - 1) == turn
        assert turn_ms(SEED, f"camera-{n}", turn + DAY_MS) == turn + DAY_MS
        hours.add(turn % DAY_MS // HOUR_MS)
    assert hours == set(range(24))


def test_a_turn_that_was_missed_is_made_up_for_once() -> None:
    turn = turn_ms(SEED, "c", NOW_MS)
    assert is_due(turn, None) and is_due(turn, turn - 5 * DAY_MS)
    assert not is_due(turn, turn) and not is_due(turn, NOW_MS)


# --- answers ----------------------------------------------------------------------------------------------------------

AT_MS = NOW_MS - 20 * DAY_MS
SINCE_MS = NOW_MS - 30 * DAY_MS


def asked(verdict: Verdict, ago_ms: int, at_ms: int = AT_MS) -> Check:
    reason = Reason("camera.owner_no_replay").as_json()
    return Check(f"{ago_ms:020d}"[::-1], "c", at_ms, NOW_MS - ago_ms, verdict, reason, None, "keeper")


def judged(*checks: Check) -> tuple[str, float | None]:
    found = assess("c", checks, SINCE_MS, NOW_MS)
    assert found.reason.code == f"retention.checked_{found.state}" and "{" not in found.reason.as_json()["en"]
    return found.state, found.completeness


SECOND = CONFIRM_AFTER_MS


def test_only_a_second_answer_makes_a_finding() -> None:
    assert judged() == ("unasked", None)
    assert judged(asked("absent", 0)) == ("suspected", None)
    assert judged(asked("absent", SECOND), asked("absent", 0)) == ("missing", 0.0)
    assert judged(asked("absent", SECOND - 1), asked("absent", 0)) == ("suspected", None), "too soon after the first"
    assert judged(asked("absent", 2 * SECOND), asked("unknown", SECOND), asked("absent", 0)) == ("missing", 0.0)
    assert judged(asked("absent", SECOND), asked("present", 0)) == ("present", 1.0), "it was restarting"
    assert judged(asked("absent", 2 * SECOND), asked("present", SECOND), asked("absent", 0)) == ("suspected", None)


def test_instants_are_counted_each_once() -> None:
    other = replace(asked("present", 0, AT_MS + DAY_MS), id="Z")
    found = assess("c", [asked("absent", SECOND), asked("absent", 0), other], SINCE_MS, NOW_MS)
    assert (found.state, found.present, found.missing, found.completeness) == ("missing", 1, (AT_MS,), 0.5)


def test_what_could_not_be_asked_is_never_green() -> None:
    assert judged(asked("unknown", 0)) == ("unanswered", None)
    old = asked("present", UNANSWERED_MS + 1, AT_MS)
    assert judged(old, asked("unknown", 0))[0] == "unanswered", "it has been silent for days"
    not_since = assess("c", [old], SINCE_MS, NOW_MS).reason.as_json()
    assert "last asked" in not_since["en"] and "comes" not in not_since["en"], "and so when nobody has asked for days"
    assert judged(asked("present", UNANSWERED_MS), asked("unknown", 0))[0] == "present"


def test_what_was_answered_of_a_stretch_stands_however_long_ago_it_was_asked() -> None:
    """A recorder that was since asked for other days has not fallen silent."""
    long_ago = 10 * UNANSWERED_MS
    rows = [asked("present", long_ago, AT_MS), replace(asked("absent", 0, AT_MS + HOUR_MS), id="Z")]
    of_it = assess("c", rows, SINCE_MS, NOW_MS, AT_MS + 1)
    assert (of_it.state, of_it.present, of_it.completeness, of_it.missing) == ("present", 1, 1.0, ())
    unanswered = assess("c", [asked("unknown", long_ago)], SINCE_MS, NOW_MS, AT_MS + 1)
    assert unanswered.state == "unanswered"


def test_what_is_no_longer_promised_is_no_longer_missing() -> None:
    gone = [asked("absent", SECOND, SINCE_MS - 1), asked("absent", 0, SINCE_MS - 1)]
    assert judged(*gone) == ("unasked", None)
    assert to_confirm(gone[:1], SINCE_MS, NOW_MS) == ()


def test_a_question_from_the_future_of_a_wrong_clock_does_not_count() -> None:
    assert judged(asked("present", -HOUR_MS)) == ("unasked", None)


def test_a_first_absence_is_asked_again_after_a_while_and_only_then() -> None:
    assert to_confirm([asked("absent", SECOND)], SINCE_MS, NOW_MS) == (AT_MS,)
    assert to_confirm([asked("absent", SECOND - 1)], SINCE_MS, NOW_MS) == ()
    assert to_confirm([asked("absent", 2 * SECOND), asked("unknown", SECOND)], SINCE_MS, NOW_MS) == (AT_MS,)
    assert to_confirm([asked("absent", SECOND), asked("absent", 0)], SINCE_MS, NOW_MS) == (), "it is a finding"
    assert to_confirm([asked("absent", 2 * SECOND), asked("present", SECOND)], SINCE_MS, NOW_MS) == ()
    assert to_confirm([asked("absent", -HOUR_MS)], SINCE_MS, NOW_MS) == (AT_MS,), "asked by a clock that ran ahead"
