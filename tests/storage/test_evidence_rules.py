"""What holds demand of second copies: for any holds, at any time, no copy goes too early and no lock runs out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.units import DAY_MS
from storage.classes import RetentionClass, keep_until_ms
from storage.evidence_rules import (
    RENEW_AHEAD_MS,
    LockProof,
    LockTerms,
    Need,
    Standing,
    colour,
    lock_terms,
    may_go,
)

CLASSES = {
    "3_months": RetentionClass("3_months", 10, 3, 90, None, True),
    "1_year": RetentionClass("1_year", 11, 12, 365, None, True),
    "permanent": RetentionClass("permanent", 12, None, None, None, True),
}
END_MS = 1_790_000_000_000
moments = st.integers(END_MS - 400 * DAY_MS, END_MS + 4_000 * DAY_MS)
needs = st.builds(Need, st.sampled_from([*CLASSES, "of nobody"]), moments)
terms = st.builds(LockTerms, st.none() | moments, st.booleans())


@given(st.lists(needs, min_size=1, max_size=5), terms, moments)
def test_while_a_hold_stands_the_copy_stays_and_its_lock_is_as_long_as_each_asks(
    asked: list[Need], has: LockTerms, now_ms: int
) -> None:
    wanted = lock_terms(END_MS, asked, CLASSES, has, now_ms)
    assert not may_go(asked, wanted, now_ms)
    assert (wanted.until_ms or 0) >= (has.until_ms or 0)  # never shorter
    assert wanted.legal_hold or (wanted.until_ms or 0) >= now_ms + RENEW_AHEAD_MS
    for need in asked:
        until = (
            keep_until_ms(max(END_MS, need.created_ms), CLASSES[need.class_name])
            if need.class_name in CLASSES
            else None
        )
        assert wanted.legal_hold if until is None else (wanted.until_ms or 0) >= until
    assert lock_terms(END_MS, asked, CLASSES, wanted, now_ms) == wanted  # nothing to do twice


@given(st.lists(needs, max_size=5), terms, moments)
def test_without_a_proven_time_a_lock_is_as_long_as_footage_and_holds_say_and_no_longer(
    asked: list[Need], has: LockTerms, now_ms: int
) -> None:
    wanted = lock_terms(END_MS, asked, CLASSES, has, None)
    known = [CLASSES[need.class_name] for need in asked if need.class_name in CLASSES]
    longest = [keep_until_ms(max(END_MS, need.created_ms), class_) for need in asked for class_ in known]
    assert (wanted.until_ms or 0) <= max([has.until_ms or 0, *(until for until in longest if until is not None)])
    assert (wanted.until_ms or 0) <= (lock_terms(END_MS, asked, CLASSES, has, now_ms).until_ms or 0)
    assert wanted.legal_hold == lock_terms(END_MS, asked, CLASSES, has, now_ms).legal_hold


@given(st.lists(needs, max_size=5), terms, moments)
def test_a_copy_goes_only_when_nobody_needs_it_and_nothing_locks_it(
    asked: list[Need], has: LockTerms, now_ms: int
) -> None:
    locked = has.legal_hold or (has.until_ms is not None and has.until_ms > now_ms)
    assert may_go(asked, has, now_ms) == (not asked and not locked)


@given(st.lists(needs, min_size=2, max_size=5), moments)
def test_the_release_of_one_of_several_holds_frees_nothing(asked: list[Need], now_ms: int) -> None:
    before = lock_terms(END_MS, asked, CLASSES, LockTerms(), now_ms)
    after = lock_terms(END_MS, asked[1:], CLASSES, before, now_ms)
    assert not may_go(asked[1:], after, now_ms)
    assert (after.until_ms or 0) >= (before.until_ms or 0)


@pytest.mark.parametrize(
    ("standing", "lock", "expected"),
    [
        (Standing(), "proven", "none"),
        (Standing(3, 30, 3), "proven", "green"),
        (Standing(3, 30, 3), "absent", "green"),
        (Standing(3, 30, 3), "unknown", "green"),
        (Standing(3, 30, 3), "lies", "yellow"),
        (Standing(3, 30, 2, 1), "proven", "yellow"),
        (Standing(3, 30, 2, 0, 1), "proven", "red"),
        (Standing(3, 30, 1, 1, 1), "lies", "red"),
    ],
)
def test_green_means_every_segment_in_both_places(standing: Standing, lock: LockProof, expected: str) -> None:
    assert colour(standing, lock) == expected
