"""The forecast against a ledger that is kept byte by byte and day by day."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from config.units import DAY_MS
from storage.classes import RetentionClass
from storage.forecast import HORIZON_DAYS, Inflow, forecast, stay_days

NOW_MS = 1_790_000_000_000
DEFAULT = RetentionClass("default", 1, 1, 30, 6, False)
flows = st.lists(
    st.builds(
        Inflow, st.just(None), st.just("default"), st.integers(1, 9), st.integers(0, 10**12),
        st.one_of(st.none(), st.integers(1, 100)), st.just("planned"),
    ),
    max_size=4,
)  # fmt: skip
stocks = st.dictionaries(st.one_of(st.none(), st.integers(1, 120)), st.integers(0, 10**13), max_size=6)


@given(flows, stocks, st.one_of(st.none(), st.integers(0, 10**14)))
def test_it_is_what_a_ledger_says(
    inflows: list[Inflow], standing: dict[int | None, int], capacity_bytes: int | None
) -> None:
    found = forecast(inflows, standing, capacity_bytes, NOW_MS)
    ledger = dict(standing)  # day on which it is gone → bytes
    for day, size in enumerate(found.days):
        if day:
            for flow in inflows:
                gone = None if flow.stay_days is None else day + flow.stay_days
                ledger[gone] = ledger.get(gone, 0) + flow.bytes_per_day
            ledger.pop(day, None)
        assert size == sum(ledger.values()), day
    assert len(found.days) - 1 <= HORIZON_DAYS
    assert found.needed_bytes == max(found.days) and found.standing_bytes == sum(standing.values())
    if capacity_bytes is None or found.needed_bytes <= capacity_bytes:
        assert found.full_ms is None
    else:
        first = next(day for day, size in enumerate(found.days) if size > capacity_bytes)
        assert found.full_ms is not None
        assert NOW_MS + max(0, first - 1) * DAY_MS <= found.full_ms <= NOW_MS + first * DAY_MS


def test_a_camera_at_four_megabits_needs_34_days_of_its_stream() -> None:
    days = stay_days(DEFAULT, NOW_MS)
    assert days is not None and 33 <= days <= 34  # 30 or 31 days and the 72 h until the latest deletion
    rate = 4_000_000 // 8 * 86_400
    found = forecast([Inflow("A", "default", 1, rate, days, "measured")], {}, rate * 20, NOW_MS)
    assert found.needed_bytes == rate * days
    assert found.full_ms == NOW_MS + 20 * DAY_MS


def test_what_goes_makes_room_for_what_comes() -> None:
    steady: dict[int | None, int] = {day: 100 for day in range(1, 31)}
    found = forecast([Inflow("A", "default", 1, 100, 30, "measured")], steady, 3_000, NOW_MS)
    assert set(found.days) == {3_000} and found.full_ms is None
    held = forecast([Inflow("A", "default", 1, 100, 30, "measured")], {**steady, None: 1}, 3_000, NOW_MS)
    assert held.full_ms == NOW_MS, "held footage leaves less for the others"
