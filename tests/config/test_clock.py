"""The Clock port: a test clock reaches every process that holds one, and is refused unless it is allowed by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.clock import Deadline, ShiftedClock, SystemClock, make_clock, write_shift
from config.errors import TiergateError
from config.settings import build

HOUR_NS = 3_600 * 10**9


def test_a_step_is_seen_by_every_clock_that_is_mapped_already(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    write_shift(file, 0, synchronised=False)
    settings = build({"clock": {"test_file": file, "allow_test_clock": True}})
    clocks = [make_clock(settings), make_clock(settings)]
    machine = SystemClock()
    for shift_ns, synchronised in ((0, False), (HOUR_NS, True), (-24 * HOUR_NS, False), (-(machine.wall_ns()), True)):
        write_shift(file, shift_ns, synchronised)
        for clock in clocks:
            steady_ns = machine.monotonic_ns()
            assert abs(clock.wall_ns() - machine.wall_ns() - shift_ns) < 10**9
            assert 0 <= clock.monotonic_ns() - steady_ns < 10**9
            assert clock.synchronised() is synchronised


def test_a_test_clock_is_refused_with_a_sentence_unless_it_is_allowed(tmp_path: Path) -> None:
    assert isinstance(make_clock(build({})), SystemClock)
    with pytest.raises(TiergateError) as refused:
        build({"clock": {"test_file": tmp_path / "clock"}})
    assert refused.value.reason.code == "clock.test_not_allowed"
    assert "allow_test_clock" in str(refused.value)
    with pytest.raises(TiergateError) as missing:
        ShiftedClock(tmp_path / "clock")
    assert missing.value.reason.code == "clock.test_file_missing"
    (tmp_path / "short").write_bytes(b"8 bytes.")
    with pytest.raises(TiergateError):
        ShiftedClock(tmp_path / "short")


def test_a_deadline_passes_and_never_has_less_than_nothing_left() -> None:
    assert Deadline(-1).passed
    assert Deadline(-1).left_s == 0.0
    long = Deadline(3600)
    assert not long.passed
    assert 3590 < long.left_s <= 3600
