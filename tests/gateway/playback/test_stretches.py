"""Neighbours that say the same are joined before a timeline is built of them, and nothing shows it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.web.routers.timeline import _stretches
from storage.catalog.segments import SegmentSpan
from storage.media.timeline import Footage, Removed, Span, build_timeline

STATES = ("spooled", "stored", "condemned", "deleting", "deleted", "lost")
MARKS = {"1": "damaged", "4": "damaged"}


def _span(number: int, start_ms: int, length_ms: int, state: str, class_: str) -> SegmentSpan:
    return SegmentSpan(str(number % 6), "R", state, class_, start_ms, start_ms + length_ms)


rows = st.lists(
    st.builds(
        _span,
        st.integers(0, 5),
        st.integers(-30, 30),
        st.integers(0, 25),
        st.sampled_from(STATES),
        st.sampled_from(("default", "key")),
    ),
    max_size=14,
).map(lambda found: sorted(found, key=lambda one: one.start_ms))


def _timeline(footage: list[Footage], removed: list[Removed]) -> list[Span]:
    return build_timeline(footage, [], -40, 60, 100, removed, merge_tolerance_ms=0)


@given(rows)
def test_a_timeline_of_joined_neighbours_is_that_of_all_segments(found: list[SegmentSpan]) -> None:
    there = ("spooled", "stored", "condemned")
    footage = [Footage(s.start_ms, s.end_ms, s.class_, cause=MARKS.get(s.id)) for s in found if s.state in there]
    removed = [Removed(s.start_ms, s.end_ms) for s in found if s.state in ("deleting", "deleted")]
    joined = list(_stretches(found, MARKS))
    assert _timeline(footage, removed) == _timeline(
        [Footage(start, end, class_, cause=cause) for is_there, class_, cause, start, end in joined if is_there],
        [Removed(start, end) for is_there, _, _, start, end in joined if not is_there],
    )


def test_a_day_is_one_stretch() -> None:
    day = [_span(0, n * 60_000, 60_000, "stored", "default") for n in range(1_440)]
    assert list(_stretches(day, {})) == [(True, "default", None, 0, 86_400_000)]
