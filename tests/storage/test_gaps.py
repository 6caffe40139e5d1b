"""Coverage: every millisecond of a stretch is footage, a gap with a cause, or unexplained; never two of them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from config.units import DAY_MS, HOUR_MS, parse_time_ms
from storage.gaps import JOIN_MS, NOT_DUE, coverage, days, ledger, merged

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


CAUSES = ["network", "clock", NOT_DUE]
_gaps = st.lists(st.tuples(_SPAN, st.sampled_from(CAUSES)), max_size=8)


def _by_the_millisecond(
    footage: list[tuple[int, int]], gaps: list[tuple[int, int, str]], from_ms: int, to_ms: int
) -> dict[int, str | None]:
    """What each millisecond is, looked up one by one: ``footage``, a cause, or None for unexplained."""
    here = merged(footage, from_ms, to_ms, JOIN_MS)
    told: dict[int, str | None] = {}
    for at in range(from_ms, to_ms):
        causes = [cause for low, high, cause in sorted(gaps, key=lambda gap: gap[0]) if low <= at < high]
        told[at] = "footage" if any(a <= at < b for a, b in here) else causes[0] if causes else None
    return told


@settings(max_examples=60)
@given(st.lists(_SPAN, max_size=8), _gaps)
def test_the_ledger_says_of_each_millisecond_what_it_is(
    footage: list[tuple[int, int]], gaps: list[tuple[tuple[int, int], str]]
) -> None:
    rows = [(a, b, cause) for (a, b), cause in gaps]
    plain = _by_the_millisecond(footage, rows, 1_000, 8_000)
    found = ledger(footage, [*rows], 1_000, 8_000)
    missing_ms = sum(hole.length_ms for hole in found.gaps)
    not_due_ms = sum(hole.length_ms for hole in found.not_due)
    assert found.footage_ms + missing_ms + not_due_ms + found.brief_ms == 7_000
    assert found.footage_ms == sum(what == "footage" for what in plain.values())
    assert not_due_ms == sum(what == NOT_DUE for what in plain.values())
    for hole in found.gaps:
        assert {plain[at] for at in range(hole.from_ms, hole.to_ms)} == {hole.cause}
    counted = {at for hole in found.gaps for at in range(hole.from_ms, hole.to_ms)}
    run: list[int] = []
    for at in range(1_000, 8_001):
        if at < 8_000 and plain[at] not in ("footage", NOT_DUE):
            run.append(at)
        elif run:
            assert counted.issuperset(run) == (len(run) > 2_000), "a hole counts whole or not at all"
            assert len(run) > 2_000 or counted.isdisjoint(run)
            run = []
    halves = [found.completeness(1_000, 4_444), found.completeness(4_444, 8_000)]
    assert (sum(due for due, _ in halves), sum(m for _, m in halves)) == (7_000 - not_due_ms, missing_ms)


@given(st.lists(_SPAN, max_size=8), _gaps)
def test_coverage_counts_each_millisecond_once(
    footage: list[tuple[int, int]], gaps: list[tuple[tuple[int, int], str]]
) -> None:
    rows = [(a // 10, b // 10, cause) for (a, b), cause in gaps]
    spans = [(a // 10, b // 10) for a, b in footage]
    plain = list(_by_the_millisecond(spans, rows, 100, 800).values())
    found = coverage(spans, [*rows], 100, 800)
    assert found.unexplained_ms == plain.count(None)
    assert found.gaps_ms == {cause: n for cause in CAUSES if (n := plain.count(cause))}


def test_a_hole_that_changes_its_cause_counts_as_one_and_short_ones_do_not() -> None:
    found = ledger([(0, 10_000), (12_000, 20_000), (22_100, 30_000)], [(20_000, 21_000, "network")], 0, 30_000)
    assert [(g.from_ms, g.to_ms, g.cause) for g in found.gaps] == [
        (20_000, 21_000, "network"),
        (21_000, 22_100, None),
    ]
    assert found.brief_ms == 2_000
    assert found.completeness(0, 30_000) == (30_000, 2_100)


def test_time_in_which_the_camera_was_off_is_not_missing() -> None:
    found = ledger([(0, 10_000)], [(10_000, 40_000, NOT_DUE), (40_000, None, "network")], 0, 50_000)
    assert found.completeness(0, 50_000) == (20_000, 10_000)
    assert [g.cause for g in found.gaps] == ["network"]
