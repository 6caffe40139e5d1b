"""The timeline: spans partition the window, and each instant is said of by the right row."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from storage.media.timeline import (
    MERGE_TOLERANCE_MS,
    OPEN_LAG_MS,
    Footage,
    Gap,
    Removed,
    Span,
    SpanKind,
    build_timeline,
    open_end_ms,
)

FOOTAGE, OPEN, EXPIRED, GAP, NONE = SpanKind.FOOTAGE, SpanKind.OPEN, SpanKind.EXPIRED, SpanKind.GAP, SpanKind.NONE


def kinds(spans: list[Span]) -> list[tuple[SpanKind, int, int, str | None]]:
    return [(span.kind, span.from_ms, span.to_ms, span.cause) for span in spans]


def test_a_day_of_one_camera() -> None:
    spans = build_timeline(
        [Footage(0, 60_000), Footage(60_500, 120_000), Footage(150_000, 200_000), Footage(200_000, 208_000, open=True)],
        [Gap(120_000, 150_000, "camera_offline")],
        -30_000, 300_000, 210_000,
        removed=[Removed(-100_000, -10_000)],
    )  # fmt: skip
    assert kinds(spans) == [
        (EXPIRED, -30_000, -10_000, None),
        (GAP, -10_000, 0, "unknown"),
        (FOOTAGE, 0, 120_000, None),
        (GAP, 120_000, 150_000, "camera_offline"),
        (FOOTAGE, 150_000, 200_000, None),
        (OPEN, 200_000, 210_000, None),
        (NONE, 210_000, 300_000, None),
    ]


def test_a_short_hole_is_a_seam_but_a_gap_row_is_always_shown() -> None:
    hole = [Footage(0, 10_000), Footage(10_000 + MERGE_TOLERANCE_MS, 20_000)]
    assert kinds(build_timeline(hole, [], 0, 20_000, 99_000)) == [(FOOTAGE, 0, 20_000, None)]
    wider = [Footage(0, 10_000), Footage(10_001 + MERGE_TOLERANCE_MS, 20_000)]
    assert [s.kind for s in build_timeline(wider, [], 0, 20_000, 99_000)] == [FOOTAGE, GAP, FOOTAGE]
    told = build_timeline(hole, [Gap(10_000, 10_100, "shed")], 0, 20_000, 99_000)
    assert kinds(told)[1][3] == "shed"


def test_a_seam_across_the_edge_of_the_window_is_no_gap() -> None:
    pieces = [Footage(0, 10_000), Footage(11_000, 20_000)]
    assert kinds(build_timeline(pieces, [], 10_500, 15_000, 99_000)) == [(FOOTAGE, 10_500, 15_000, None)]
    assert kinds(build_timeline(pieces, [], 5_000, 10_500, 99_000)) == [(FOOTAGE, 5_000, 10_500, None)]


def test_footage_beats_manifests_and_gaps_and_open_gaps_end_now() -> None:
    spans = build_timeline(
        [Footage(10, 20)], [Gap(0, None, "network"), Gap(5, 8, "credentials")], 0, 60, 50, removed=[Removed(15, 30)]
    )
    assert kinds(spans) == [
        (GAP, 0, 5, "network"),
        (GAP, 5, 8, "credentials"),
        (GAP, 8, 10, "network"),
        (FOOTAGE, 10, 20, None),
        (EXPIRED, 20, 30, None),
        (GAP, 30, 50, "network"),
        (NONE, 50, 60, None),
    ]


def test_a_stopped_open_segment_is_a_gap_after_its_lag() -> None:
    spans = build_timeline([Footage(0, 10_000, open=True)], [], 0, 30_000, 30_000)
    assert kinds(spans) == [(OPEN, 0, 10_000, None), (GAP, 10_000, 30_000, "unknown")]


def test_an_open_segment_reaches_until_now_while_its_recorder_has_spoken_lately() -> None:
    """A recorder speaks every 5 s, and of a segment that was just begun it has not spoken yet."""
    for last_media_ms, now_ms, end_ms in (
        (64_000, 64_500, 64_500),
        (64_000, 69_900, 69_900),
        (64_000, 64_000 + OPEN_LAG_MS, 64_000 + OPEN_LAG_MS),
        (64_000, 64_001 + OPEN_LAG_MS, 64_000),
        (58_000, 61_500, 61_500),
        (58_000, 60_001 + OPEN_LAG_MS, 60_000),
        (99_000, 65_000, 65_000),
    ):
        assert open_end_ms(60_000, last_media_ms, now_ms) == end_ms


def test_classes_stay_apart() -> None:
    spans = build_timeline([Footage(0, 10, "default"), Footage(10, 20, "key")], [], 0, 20, 99)
    assert [(s.to_ms, s.retention_class) for s in spans] == [(10, "default"), (20, "key")]


def test_an_empty_window_and_no_rows() -> None:
    assert build_timeline([], [], 5, 5, 0) == []
    assert kinds(build_timeline([], [], 0, 10, 4, uncovered_cause="disabled")) == [
        (GAP, 0, 4, "disabled"),
        (NONE, 4, 10, None),
    ]


instant = st.integers(-20_000, 20_000)
pair = st.tuples(instant, st.integers(0, 9_000)).map(lambda p: (p[0], p[0] + p[1]))


@given(
    st.lists(st.builds(lambda p, o: Footage(p[0], p[1], open=o), pair, st.booleans())),
    st.lists(st.builds(lambda p, o: Gap(p[0], None if o else p[1], "network"), pair, st.booleans())),
    st.lists(st.builds(lambda p: Removed(*p), pair)),
    instant,
    instant,
    instant,
)
def test_spans_partition_the_window(
    segments: list[Footage], gaps: list[Gap], removed: list[Removed], start: int, end: int, now: int
) -> None:
    spans = build_timeline(segments, gaps, start, end, now, removed=removed)
    if end <= start:
        assert spans == []
        return
    assert spans[0].from_ms == start and spans[-1].to_ms == end
    assert all(a.to_ms == b.from_ms for a, b in itertools.pairwise(spans))
    for span in spans:
        assert span.from_ms < span.to_ms
        middle = (span.from_ms + span.to_ms) // 2
        shown = span.kind in (FOOTAGE, OPEN)
        recorded = any(f.start_ms <= middle < f.end_ms for f in segments)
        assert not (recorded and not shown)
        assert (span.kind is GAP) == (span.cause is not None)
        if span.kind is GAP:
            assert span.to_ms <= now
        if span.kind is NONE:
            assert span.from_ms >= now
        if shown:
            near = MERGE_TOLERANCE_MS + 5_000
            assert any(f.start_ms - near <= middle < f.end_ms + near for f in segments)


short = st.tuples(st.integers(-30, 30), st.integers(0, 25)).map(lambda p: (p[0], p[0] + p[1]))


def _footage(during: tuple[int, int], is_open: bool, retention_class: str) -> Footage:
    start_ms, end_ms = during
    return Footage(start_ms, end_ms, retention_class, is_open)


@given(st.lists(st.builds(_footage, short, st.booleans(), st.sampled_from("ab")), max_size=12))
def test_where_footage_overlaps_the_newest_speaks(segments: list[Footage]) -> None:
    """Each instant by itself: pieces that say the same are joined before they are looked at, and nothing shows it."""
    spans = build_timeline(segments, [], -40, 60, 100, merge_tolerance_ms=0)
    in_order = sorted(segments, key=lambda one: one.start_ms)
    for instant_ms in range(-40, 60):
        [span] = [one for one in spans if one.from_ms <= instant_ms < one.to_ms]
        covering = [one for one in in_order if one.start_ms <= instant_ms < one.end_ms]
        if covering:
            kind = OPEN if covering[-1].open else FOOTAGE
            assert (span.kind, span.retention_class) == (kind, covering[-1].retention_class)
        else:
            assert span.kind is GAP
