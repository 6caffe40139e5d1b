"""How far back footage must reach, and when a promise breaks: against plain looking, moment by moment."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.units import DAY_MS, HOUR_MS, parse_time_ms
from storage.classes import Membership, RetentionClass, class_of, keep_until_ms
from storage.reach import MOST_MISSING, due_since_ms, gaps_break_ms, judge_reach, promised_since_ms, went_early

DEFAULT = RetentionClass("default", 0, 1, 30, 1, False)
KEY = RetentionClass("key", 10, 3, 90, 3, False)
CLASSES = {"default": DEFAULT, "key": KEY, "permanent": RetentionClass("permanent", 100, None, None, None, True)}
NOW_MS = parse_time_ms("2027-03-15T12:00:00+08:00")
_nows = st.integers(NOW_MS - 400 * DAY_MS, NOW_MS + 400 * DAY_MS)


@given(_nows, st.sampled_from([DEFAULT, KEY]))
def test_the_promise_begins_where_the_calendar_lets_go(now_ms: int, class_: RetentionClass) -> None:
    since_ms = promised_since_ms(class_, now_ms)
    first, before = keep_until_ms(since_ms, class_), keep_until_ms(since_ms - 1, class_)
    assert first is not None and before is not None
    assert before <= now_ms < first
    least, most = (30, 31) if class_ is DEFAULT else (90, 92)
    assert least * DAY_MS <= now_ms - since_ms + 1 <= most * DAY_MS


@settings(max_examples=60)
@given(
    st.lists(
        st.builds(
            lambda name, start, length: Membership(name, start, None if length is None else start + length),
            st.sampled_from(["default", "key"]),
            st.integers(NOW_MS - 200 * DAY_MS, NOW_MS),
            st.none() | st.integers(2 * DAY_MS, 150 * DAY_MS),
        ),
        max_size=3,
    )
)
def test_from_where_it_is_due_all_of_it_is_and_just_before_it_is_not(members: list[Membership]) -> None:
    def is_due(end_ms: int) -> bool:
        until_ms = keep_until_ms(end_ms, class_of(end_ms, end_ms, "default", members, CLASSES))
        return until_ms is None or until_ms > NOW_MS

    since_ms = due_since_ms(members, CLASSES, NOW_MS)
    today = class_of(NOW_MS, NOW_MS, "default", members, CLASSES)
    assert all(is_due(at) for at in range(since_ms, NOW_MS, DAY_MS))
    assert since_ms == promised_since_ms(today, NOW_MS) or not is_due(since_ms - 1)


def test_a_class_that_was_raised_asks_nothing_back_that_had_expired() -> None:
    raised_ms = NOW_MS - 10 * DAY_MS
    since_ms = due_since_ms([Membership("key", raised_ms, None)], CLASSES, NOW_MS)
    assert NOW_MS - 42 * DAY_MS < since_ms < NOW_MS - 37 * DAY_MS  # what was still there when it was raised
    assert due_since_ms([Membership("key", 0, None)], CLASSES, NOW_MS) == promised_since_ms(KEY, NOW_MS)
    assert due_since_ms([Membership("permanent", 0, None)], CLASSES, NOW_MS) == NOW_MS - 400 * DAY_MS


@pytest.mark.parametrize(
    ("oldest", "before", "lost_to", "after_lost", "said"),
    [
        (None, None, None, None, ("none", None)),
        (110, None, None, None, ("growing", 110)),  # registered since
        (99, None, None, None, ("kept", 100)),
        (110, 95, None, None, ("kept", 100)),  # a gap lies over the edge
        (110, 105, None, None, ("growing", 110)),  # what was before is gone, lawfully
        (110, 95, 150, 160, ("broken", 160)),
        (110, 95, 150, None, ("broken", None)),
        (110, 95, 90, 160, ("kept", 100)),  # lost, but it would be gone by now
    ],
)
def test_states(
    oldest: int | None, before: int | None, lost_to: int | None, after_lost: int | None, said: tuple[str, int | None]
) -> None:
    assert judge_reach(100, oldest, before, lost_to, after_lost) == said


def test_only_what_no_policy_can_have_allowed_went_early() -> None:
    end_ms = NOW_MS - 60 * DAY_MS
    assert went_early(end_ms, DEFAULT, end_ms + 29 * DAY_MS)
    assert not went_early(end_ms, DEFAULT, end_ms + 32 * DAY_MS)
    assert went_early(end_ms, KEY, end_ms + 32 * DAY_MS)
    longer = RetentionClass("default", 0, 2, 60, 1, False)  # made longer after it was gone
    assert not went_early(end_ms, longer, end_ms + 32 * DAY_MS)


@given(
    st.integers(0, 40 * HOUR_MS),
    st.integers(0, 7 * 24 * HOUR_MS),
    st.sampled_from([30, 90]),
)
def test_a_rate_of_gaps_is_followed_to_the_day_on_which_it_breaks_the_promise(
    missing_ms: int, recent_ms: int, days: int
) -> None:
    promised_ms, week_ms = days * DAY_MS, 7 * DAY_MS
    found = gaps_break_ms(missing_ms, recent_ms, week_ms, promised_ms, 0)
    if missing_ms > promised_ms * MOST_MISSING:
        assert found == 0
    elif recent_ms <= week_ms * MOST_MISSING:
        assert found is None
    else:
        assert found is not None
        then_ms = missing_ms + found * recent_ms / week_ms
        assert then_ms == pytest.approx(promised_ms * MOST_MISSING, abs=2)
