"""Windows of the week: their text, and what they say of an instant in Shanghai."""

from __future__ import annotations

from datetime import datetime

import pytest

from config.errors import TiergateError
from config.units import SHANGHAI
from config.weekly import parse_week, week_change_ms, week_end_ms


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).timestamp() * 1000)


def test_an_instant_is_inside_or_outside_and_the_next_change_is_known() -> None:
    week = parse_week("mon-fri 07:30-19:00, sat 08:00-12:00")
    friday, saturday, monday = "2026-11-27", "2026-11-28", "2026-11-30"
    for at, end, change in (
        (f"{friday}T07:29:59", None, f"{friday}T07:30"),
        (f"{friday}T07:30", f"{friday}T19:00", f"{friday}T19:00"),
        (f"{friday}T19:00", None, f"{saturday}T08:00"),
        (f"{saturday}T11:00", f"{saturday}T12:00", f"{saturday}T12:00"),
        (f"{saturday}T12:00", None, f"{monday}T07:30"),
    ):
        assert week_end_ms(week, _ms(at)) == (_ms(end) if end else None), at
        assert week_change_ms(week, _ms(at)) == _ms(change), at


def test_a_window_over_midnight_and_over_the_end_of_the_week() -> None:
    week = parse_week("sun 22:00-06:00")
    assert week_end_ms(week, _ms("2026-11-29T23:00")) == _ms("2026-11-30T00:00")
    assert week_end_ms(week, _ms("2026-11-30T05:59")) == _ms("2026-11-30T06:00")
    assert week_end_ms(week, _ms("2026-11-30T06:00")) is None
    assert week_end_ms(parse_week("fri-mon 00:00-24:00"), _ms("2026-11-29T12:00")) is not None
    assert week_end_ms(parse_week("fri-mon 00:00-24:00"), _ms("2026-11-25T12:00")) is None
    assert week_end_ms(parse_week("08:00-09:00"), _ms("2026-11-25T08:30")) is not None


@pytest.mark.parametrize(
    "text", ["", "mon", "mon-fri", "xyz 08:00-09:00", "mon 8-9", "mon 08:60-09:00", "mon 08:00-24:01",
             "mon 08:00-08:00", "mon 24:00-01:00", "mon 08:00-09:00;tue 08:00-09:00", ","]
)  # fmt: skip
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(TiergateError) as caught:
        parse_week(text)
    assert caught.value.reason.code == "week.malformed"
