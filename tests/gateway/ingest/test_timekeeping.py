"""Recorded time under every kind of step: it never goes back over footage, and finds the truth when it can."""

from __future__ import annotations

import itertools
import random

import pytest

from gateway.ingest.timekeeping import SLEW, Correction, Timekeeper, floor_ns

S = 1_000_000_000
HOUR = 3_600 * S
NOW = 1_790_000_000 * S
FIFTY_YEARS = 50 * 365 * 24 * HOUR


class World:
    """True time passes; the machine's wall clock is off by `error`."""

    def __init__(self, error: int = 0, *, synchronised: bool = True, floor: int | None = None) -> None:
        self.true, self.steady = NOW, 5 * S
        self.error, self.synchronised = error, synchronised
        self.keeper = Timekeeper(self.true + error, self.steady, synchronised)
        self.keeper.limit(self.true + error, self.steady, floor)
        self.corrections: list[Correction] = []
        self.jumps: list[int] = []
        self.dated: list[tuple[int, int]] = []  #: (recorded time, true time) of what was recorded

    def run(self, seconds: float, rounds: int = 10) -> None:
        for _ in range(rounds):
            self.true += round(seconds * S / rounds)
            self.steady += round(seconds * S / rounds)
            change = self.keeper.look(self.true + self.error, self.steady, self.synchronised)
            if change is not None and change.jumped_ns:
                self.jumps.append(change.jumped_ns)
            if change is not None and change.correction is not None:
                self.corrections.append(change.correction)
                self.dated = [(change.correction.moved_ns(recorded), true) for recorded, true in self.dated]
            self.dated.append((self.recorded, self.true))

    @property
    def recorded(self) -> int:
        return self.steady + self.keeper.era.offset_ns

    def in_order(self) -> bool:
        times = [recorded for recorded, _ in self.dated]
        return all(later > earlier for earlier, later in itertools.pairwise(times))


def test_a_dead_battery_is_put_right_when_the_time_is_known() -> None:
    world = World(-FIFTY_YEARS, synchronised=False)
    world.run(30)
    assert world.keeper.trust == "unknown"
    world.error = 0  # somebody sets the clock; nobody vouches for it yet
    world.run(10)
    assert world.jumps == [FIFTY_YEARS]
    assert not world.corrections
    world.synchronised = True
    world.run(10)
    assert world.keeper.trust == "synchronised"
    assert len(world.corrections) == 1
    assert all(recorded == true for recorded, true in world.dated)
    assert world.in_order()


def test_times_that_a_jump_left_out_fall_together() -> None:
    wrong = Correction(100, ((100, 1_000), (500, 700)))  # recorded 100 to 200, jumped to 500
    assert [wrong.moved_ns(time) for time in (99, 100, 200, 350, 499, 500, 600)] == [
        99, 1_100, 1_200, 1_200, 1_200, 1_200, 1_300,
    ]  # fmt: skip


def test_a_clock_in_local_time_is_put_right_backwards() -> None:
    world = World(8 * HOUR, synchronised=False)
    world.run(30)
    world.error, world.synchronised = 0, True
    world.run(10)
    assert [c.pieces[0][1] for c in world.corrections] == [-8 * HOUR]
    assert all(recorded == true for recorded, true in world.dated)


def test_footage_is_not_laid_over_what_was_there_before() -> None:
    world = World(2 * HOUR, synchronised=False, floor=NOW + HOUR)  # recorded until an hour from now, by whatever clock
    world.run(30)
    world.error, world.synchronised = 0, True
    world.run(10)
    assert not world.corrections
    assert world.keeper.trust == "held"
    assert min(recorded for recorded, _ in world.dated) > NOW + HOUR
    assert world.in_order()


@pytest.mark.parametrize("step", [-HOUR, -24 * HOUR, -NOW])
@pytest.mark.parametrize("synchronised", [True, False])
def test_a_step_back_is_not_followed(step: int, synchronised: bool) -> None:
    world = World(synchronised=True)
    world.run(10)
    world.error, world.synchronised = step, synchronised
    world.run(100)
    assert world.keeper.trust == "held"
    assert world.in_order()
    behind = world.true - world.recorded
    assert 0 <= behind <= 100 * S * SLEW  # nearing the machine's clock, no faster than the streams can follow
    world.error, world.synchronised = 0, True
    world.run(10)
    assert world.keeper.trust == "synchronised"
    assert world.in_order()


def test_a_small_step_is_closed_slowly() -> None:
    world = World()
    world.run(10)
    world.error = -S // 2
    world.run(3_000, rounds=300)
    assert world.in_order()
    assert abs(world.recorded - world.true - world.error) < S // 100


def test_a_recorder_that_starts_behind_its_footage_goes_on_from_there() -> None:
    world = World(-HOUR, synchronised=False, floor=NOW)
    assert world.keeper.trust == "held"
    world.run(10)
    assert world.dated[0][0] > NOW
    world.error, world.synchronised = 30 * S, True
    world.run(10)
    assert world.keeper.trust == "synchronised"
    assert all(abs(recorded - true - 30 * S) <= S // 10 for recorded, true in world.dated)


def test_a_long_hold_is_put_right_to_a_tenth_of_a_second() -> None:
    world = World(floor=None, synchronised=False)
    world.error = -HOUR
    world.run(12 * 3_600, rounds=20_000)
    assert world.keeper.trust == "held"
    world.synchronised = True
    world.run(1)
    assert len(world.corrections) == 1
    assert world.in_order()
    assert all(abs(recorded - true + HOUR) <= S // 4 for recorded, true in world.dated)


def test_no_walk_of_a_clock_makes_time_go_back_or_stand() -> None:
    dice = random.Random(7)
    steps = trusted = corrected = 0
    for _ in range(300):
        world = World(dice.choice((0, -FIFTY_YEARS, 8 * HOUR)), synchronised=dice.random() < 0.5)
        for _ in range(20):
            world.run(dice.uniform(0.2, 90))
            if dice.random() < 0.6:
                world.error += dice.choice((1, -1)) * dice.choice((S // 2, 3 * S, HOUR, 24 * HOUR))
                steps += 1
            world.synchronised = dice.random() < 0.5
        assert world.in_order()
        trusted += world.keeper.trust == "synchronised"
        corrected += len(world.corrections)
    assert steps > 2_000
    assert trusted > 20
    assert corrected > 100


def test_one_cameras_lying_clock_holds_no_other_cameras_time() -> None:
    assert floor_ns({}, NOW) is None
    assert floor_ns({"a": NOW + 7 * S}, NOW) == NOW + 7 * S
    assert floor_ns({"a": NOW - S, "b": NOW + 7 * S, "c": NOW - 2 * S}, NOW) == NOW - S
    # Two do not tell the same lie, and no lie is an hour long.
    assert floor_ns({"a": NOW + 6 * S, "b": NOW + 7 * S, "c": NOW - S}, NOW) == NOW + 6 * S
    assert floor_ns({"a": NOW - S, "b": NOW + HOUR}, NOW) == NOW + HOUR
