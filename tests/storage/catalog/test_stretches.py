"""Neighbours that say the same are joined before a timeline is built of them, and nothing shows it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from storage.catalog.segments import stretches
from storage.media.timeline import Footage, Removed, Span, build_timeline

STATES = ("spooled", "stored", "condemned", "deleting", "deleted", "lost")
MARKS = {"1": "damaged", "4": "damaged"}


Segment = tuple[str, str, str, int, int]  #: id, state, class, start and end


def _segment(number: int, start_ms: int, length_ms: int, state: str, class_: str) -> Segment:
    return str(number % 6), state, class_, start_ms, start_ms + length_ms


rows = st.lists(
    st.builds(
        _segment,
        st.integers(0, 5),
        st.integers(-30, 30),
        st.integers(0, 25),
        st.sampled_from(STATES),
        st.sampled_from(("default", "key")),
    ),
    max_size=14,
).map(lambda found: sorted(found, key=lambda one: one[3]))


def _timeline(footage: list[Footage], removed: list[Removed]) -> list[Span]:
    return build_timeline(footage, [], -40, 60, 100, removed, merge_tolerance_ms=0)


@given(rows)
def test_a_timeline_of_joined_neighbours_is_that_of_all_segments(found: list[Segment]) -> None:
    there = ("spooled", "stored", "condemned")
    footage = [
        Footage(start, end, class_, cause=MARKS.get(id_)) for id_, state, class_, start, end in found if state in there
    ]
    removed = [Removed(start, end) for _, state, _, start, end in found if state in ("deleting", "deleted")]
    joined = stretches(found, MARKS)
    assert _timeline(footage, removed) == _timeline(
        [Footage(s.start_ms, s.end_ms, s.class_, cause=s.mark) for s in joined if s.readable],
        [Removed(s.start_ms, s.end_ms) for s in joined if not s.readable],
    )


def test_a_day_is_one_stretch() -> None:
    day = [_segment(0, n * 60_000, 60_000, "stored", "default") for n in range(1_440)]
    assert stretches(day, {}) == [(True, "default", None, 0, 86_400_000)]
