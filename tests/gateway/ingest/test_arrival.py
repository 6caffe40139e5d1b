"""The smoothed arrival clock: steady under jitter, following drift, honest about steps."""

from __future__ import annotations

import itertools
import random

import pytest

from gateway.ingest.arrival import SLEW, ArrivalClock
from storage.media.access_unit import AccessUnit, Track
from storage.segmenter import CloseSegment, Segmenter, SegmenterPolicy, SegmentLabels
from tests.media import encode_h264, stream_config

MS = 1_000_000
S = 1_000 * MS
START = 1_790_000_000 * S
FRAME = 40 * MS
H264 = stream_config("h264", encode_h264())
LABELS = SegmentLabels("node-1", "21021100001311000001")


def run(clock: ArrivalClock, delays_ms: list[float], drift: float = 0.0, first: int = 0) -> list[int]:
    """Wall times of pictures that left 40 ms apart and were late by `delays_ms`; `drift` of the camera's crystal."""
    walls = []
    for index, delay in enumerate(delays_ms, first):
        sent = index * FRAME
        walls.append(clock.observe(sent, START + round(sent * (1 + drift)) + round(delay * MS)))
    return walls


def test_jitter_does_not_reach_the_timeline() -> None:
    draw = random.Random(1)
    walls = run(ArrivalClock(), [draw.uniform(0, 80) for _ in range(1500)])
    steps = [b - a for a, b in itertools.pairwise(walls[50:])]
    assert max(abs(step - FRAME) for step in steps) <= FRAME * SLEW + 1
    assert abs(walls[-1] - (START + 1499 * FRAME)) < 20 * MS


@pytest.mark.fault("A24")
def test_the_burst_at_the_beginning_is_dated_by_its_last_picture() -> None:
    walls = run(ArrivalClock(), [max(0.0, 800.0 - 40 * index) for index in range(100)])
    assert walls == sorted(walls)
    assert abs(walls[60] - (START + 60 * FRAME)) < 5 * MS


@pytest.mark.fault("A24")
@pytest.mark.parametrize("drained_in_s", [0.0, 0.5, 3.0])
def test_five_seconds_of_pre_roll_make_nothing_late(drained_in_s: float) -> None:
    clock = ArrivalClock()
    behind = round((5 + drained_in_s) * 25)  # those that wait, and those that come while they are sent
    walls = run(clock, [max(0.0, 5000.0 * (1 - index / behind)) for index in range(behind + 100)])
    assert walls == sorted(walls)
    assert abs(walls[-1] - (START + (behind + 99) * FRAME)) < 5 * MS
    assert abs(clock.at(0) - START) < 5 * MS, "the first picture is dated right by what is known now"
    clock.redate()
    following = (behind + 100) * FRAME
    assert clock.observe(following, START + following) == START + following


@pytest.mark.fault("A23")
@pytest.mark.parametrize("drift", [500e-6, -500e-6])
def test_six_hours_of_drift_are_one_run_of_true_times(drift: float) -> None:
    """5 pictures a second, a key frame each 2 s, up to 80 ms of jitter; the segmenter's own boundaries are judged."""
    draw = random.Random(3)
    clock, names = ArrivalClock(), itertools.count()
    segmenter = Segmenter(SegmenterPolicy(), lambda: f"{next(names)}")
    closed: list[CloseSegment] = []
    true: dict[int, int] = {}  # media start of a segment → when its first picture was really sent
    segmenter.begin(H264, LABELS)
    for index in range(6 * 3600 * 5):
        media, sent = index * S // 5, round(index * S / 5 * (1 + drift))
        wall = clock.observe(media, START + sent + round(draw.uniform(0, 80) * MS))
        dts = media * 90_000 // S
        true[dts] = START + sent
        unit = AccessUnit(Track.VIDEO, dts, dts, 18_000, wall, index % 10 == 0, b"\0\0\0\2\x65\0")
        closed += [command for command in segmenter.push(unit) if isinstance(command, CloseSegment)]
    assert len(closed) >= 358 and len({one.run_id for one in closed}) == 1
    assert all(before.end_wall_ns == after.wall_start_ns for before, after in itertools.pairwise(closed))
    assert all(one.end_wall_ns > one.wall_start_ns for one in closed)
    assert max(abs(one.wall_start_ns - true[one.media_start]) for one in closed) <= 0.5 * S


@pytest.mark.fault("A23")
def test_a_crystal_that_drifts_is_followed() -> None:
    walls = run(ArrivalClock(), [0.0] * 25 * 600, drift=150e-6)
    true_end = START + round((25 * 600 - 1) * FRAME * (1 + 150e-6))
    assert abs(walls[-1] - true_end) < 10 * MS


def test_congestion_of_seconds_does_not_move_it_much() -> None:
    walls = run(ArrivalClock(), [0.0] * 250 + [1500.0] * 50 + [0.0] * 250)
    assert max(abs(wall - (START + i * FRAME)) for i, wall in enumerate(walls)) < 2 * MS


def test_a_clock_that_was_set_is_believed() -> None:
    clock = ArrivalClock()
    run(clock, [0.0] * 100)
    set_back = clock.observe(100 * FRAME, START + 100 * FRAME - 3600 * S)
    assert set_back == START + 100 * FRAME - 3600 * S
    later = [clock.observe(i * FRAME, START + i * FRAME + 60 * S) for i in range(101, 101 + 25 * 15)]
    assert abs(later[-1] - (START + (100 + 25 * 15) * FRAME + 60 * S)) < 5 * MS


def test_time_never_goes_back_within_a_stream() -> None:
    draw = random.Random(2)
    walls = run(ArrivalClock(), [draw.choice([0.0, 5.0, 900.0]) for _ in range(2000)])
    assert all(b > a for a, b in itertools.pairwise(walls))
