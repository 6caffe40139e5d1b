"""Coverage: every millisecond of a stretch is footage, a gap with a cause, or unexplained; never two of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from config.units import DAY_MS, HOUR_MS, parse_time_ms
from storage.gaps import JOIN_MS, coverage, days

_SPAN = st.tuples(st.integers(0, 9_000), st.integers(0, 9_000)).map(lambda s: (min(s), max(s)))


def test_footage_wins_over_a_gap_row_and_the_rest_is_unexplained() -> None:
    found = coverage(
        [(0, 1_000), (1_000 + JOIN_MS, 4_000)], [(3_000, 6_000, "network"), (5_000, None, "disk_full")], 0, 10_000
    )
    assert found.footage_ms == 4_000  # the seam between two segments is no hole
    assert found.gaps_ms == {"network": 2_000, "disk_full": 4_000}
    assert found.unexplained_ms == 0
    assert (found.longest_ms, found.longest_from_ms, found.longest_cause) == (4_000, 6_000, "disk_full")


def test_nothing_known_is_unexplained_and_an_empty_stretch_has_no_share() -> None:
    found = coverage([], [], 0, 1_000)
    assert (found.unexplained_ms, found.longest_cause, found.share) == (1_000, None, 0.0)
    assert coverage([], [], 5, 5).share is None


@given(st.lists(_SPAN, max_size=8), st.lists(st.tuples(_SPAN, st.sampled_from(["network", "clock"])), max_size=8))
def test_the_parts_add_up(footage: list[tuple[int, int]], gaps: list[tuple[tuple[int, int], str]]) -> None:
    found = coverage(footage, [(a, b, cause) for (a, b), cause in gaps], 1_000, 8_000)
    assert found.footage_ms + sum(found.gaps_ms.values()) + found.unexplained_ms == 7_000
    assert 0 <= found.longest_ms <= 7_000 - found.footage_ms


def test_days_are_those_of_the_local_calendar() -> None:
    from_ms = parse_time_ms("2026-11-24T23:00:00+08:00")
    found = days(from_ms, from_ms + DAY_MS)
    assert [(name, (end - start) // HOUR_MS) for name, start, end in found] == [("2026-11-24", 1), ("2026-11-25", 23)]
