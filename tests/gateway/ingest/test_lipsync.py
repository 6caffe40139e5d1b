"""Sound on the picture's timeline: where its arrival says, sample for sample while that is near."""

from __future__ import annotations

import itertools

import pytest

from gateway.ingest.lipsync import SoundClock

S = 1_000_000_000
START = 1_790_000_000 * S
RATE = 8000
UNIT = 320  #: 40 ms


def run(
    clock: SoundClock, units: range, *, pace: float = 1.0, jump: int = 0, delay_s: float = 0.0
) -> list[tuple[int, int]]:
    """(unit, placed time) of sound sent beside 25 pictures a second; its clock runs at `pace` and stands at `jump`."""
    placed = []
    for index in units:
        sent_s = index * UNIT / RATE / pace
        picture = int(sent_s * 25)
        clock.picture(picture * 3600, START + picture * S // 25)
        time = clock.place(index * UNIT + jump, UNIT, START + round((sent_s + delay_s) * S))
        if time is not None:
            placed.append((index, time))
    return placed


def skew_s(index: int, time: int, pace: float = 1.0) -> float:
    return time / RATE - index * UNIT / RATE / pace


def test_an_honest_clock_is_left_alone() -> None:
    placed = run(SoundClock(RATE), range(2000))
    assert [after - before for (_, before), (_, after) in itertools.pairwise(placed)] == [UNIT] * 1999


@pytest.mark.fault("A31")
@pytest.mark.parametrize("pace", [1.01, 0.99, 1.0005])
def test_a_chip_that_runs_wrong_stays_beside_the_picture(pace: float) -> None:
    placed = run(SoundClock(RATE), range(25 * 600), pace=pace)
    assert len(placed) == 25 * 600
    assert max(abs(skew_s(index, time, pace)) for index, time in placed) <= 0.08
    lengths = {after - before for (_, before), (_, after) in itertools.pairwise(placed)}
    assert max(abs(length - UNIT) for length in lengths) <= UNIT // 30


@pytest.mark.fault("A31")
@pytest.mark.parametrize("jump", [4_000, -4_000, 8000 * 3600, -(2**32)])
def test_a_clock_that_jumps_moves_no_sound(jump: int) -> None:
    clock = SoundClock(RATE)
    placed = run(clock, range(100)) + run(clock, range(100, 300), jump=jump)
    assert [index for index, _ in placed] == list(range(300))
    assert max(abs(skew_s(index, time)) for index, time in placed) <= 0.02
    assert clock.anchored == 2


def test_sound_for_which_there_is_sound_already_is_dropped() -> None:
    clock = SoundClock(RATE)
    run(clock, range(100))
    assert run(clock, range(50, 60)) == []
    assert clock.dropped == 10


def test_sound_before_the_first_picture_of_an_epoch_has_no_place() -> None:
    clock = SoundClock(RATE)
    assert clock.place(0, UNIT, START) is None
    run(clock, range(10))
    clock.new_epoch()
    assert clock.place(10 * UNIT, UNIT, START) is None
    clock.picture(0, START + S)
    assert clock.place(11 * UNIT, UNIT, START + S) == 0


@pytest.mark.fault("A9")
def test_sound_that_comes_in_bursts_is_placed_by_its_earliest() -> None:
    clock = SoundClock(RATE)
    for index in range(1000):
        sent_s = index * UNIT / RATE
        clock.picture(int(sent_s * 25) * 3600, START + int(sent_s * 25) * S // 25)
        late_s = 0.2 * (index % 5) / 4  # five units of 40 ms at a time
        time = clock.place(index * UNIT, UNIT, START + round((sent_s + late_s) * S))
        assert time is not None
        assert abs(skew_s(index, time)) <= 0.04
