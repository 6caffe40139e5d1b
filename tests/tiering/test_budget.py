"""The line budget: never over the cap, and never idle while somebody is refused for nothing (I8, FAULTS C1)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tiering.budget import COST_BPS, Line, admit, fits, range_rate_bps

TEN_MBIT = Line(10_000_000)


def test_one_main_and_four_sub_on_ten_megabits() -> None:
    running: list[str] = []
    granted = []
    for wanted in ("main", "main", "main", "sub", "main", "sub", "main"):
        admission = admit(TEN_MBIT, running, wanted)
        granted.append((admission.stream, admission.reason.code if admission.reason else None))
        if admission.stream is not None:
            running.append(admission.stream)
    less, full = "tier.reduced_for_line", "tier.line_full"
    assert granted == [
        ("main", None), ("sub", less), ("sub", less), ("sub", None), ("sub", less), (None, full), (None, full)
    ]  # fmt: skip


def test_caps_scale_with_the_line() -> None:
    assert Line(100_000_000).caps == (10, 40)
    assert Line(2_000_000).caps == (0, 1)
    assert Line(500_000).caps == (0, 0)
    assert Line(10_000_000, "diode").caps == (0, 0)


lines = st.builds(
    Line,
    capacity_bps=st.integers(0, 10**9),
    kind=st.sampled_from(["shared", "dedicated", "diode", "unknown"]),
    max_main=st.integers(0, 3),
    max_sub=st.integers(0, 8),
)
moves = st.lists(st.tuples(st.sampled_from(["main", "sub", "leave"]), st.integers(0, 50)), max_size=80)


@given(lines, moves)
def test_the_sum_is_never_over_the_cap(line: Line, steps: list[tuple[str, int]]) -> None:
    running: list[str] = []
    for what, which in steps:
        if what == "leave":
            if running:
                running.pop(which % len(running))
            continue
        admission = admit(line, running, what)
        if admission.stream is None:
            assert not fits(line, [*running, "sub"]), "a place was free"
        else:
            running.append(admission.stream)
            assert admission.stream in (what, "sub")
        main, sub = running.count("main"), running.count("sub")
        cap_main, cap_sub = line.caps
        assert main <= cap_main and main + sub <= cap_main + cap_sub


@given(moves)
def test_the_shipped_cap_fits_the_usable_line(steps: list[tuple[str, int]]) -> None:
    running: list[str] = []
    for what, _ in steps:
        admission = admit(TEN_MBIT, running, "main" if what == "leave" else what)
        if admission.stream is not None:
            running.append(admission.stream)
    assert sum(COST_BPS[s] for s in running) <= TEN_MBIT.usable_bps


def test_recorded_bytes_get_what_live_leaves() -> None:
    assert range_rate_bps(TEN_MBIT, []) == 7_500_000
    assert range_rate_bps(TEN_MBIT, ["main"]) == 3_100_000
    assert range_rate_bps(TEN_MBIT, ["main"] * 9) == 375_000
