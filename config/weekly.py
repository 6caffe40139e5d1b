"""Windows of the week in Asia/Shanghai: when a grant holds, when a camera is recorded. (pure)

Belongs here: their text, what they say of an instant. Does not belong here: whose windows they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from config.errors import Kind, TiergateError
from config.units import SHANGHAI

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * _DAY_MINUTES
_WINDOW = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))? )?(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class WeeklyWindow:
    """Minutes of some days of the week; a window over midnight is two of these."""

    days: frozenset[int]  #: 1 Monday … 7 Sunday
    from_minute: int
    to_minute: int  #: not included; 1440 is midnight


def week_end_ms(windows: Iterable[WeeklyWindow], now_ms: int) -> int | None:
    """When the window that is open at `now_ms` closes; None when none is open."""
    midnight_ms, weekday, minute = _local(now_ms)
    ends = [w.to_minute for w in windows if weekday in w.days and w.from_minute <= minute < w.to_minute]
    return midnight_ms + max(ends) * 60_000 if ends else None


def week_change_ms(windows: Iterable[WeeklyWindow], now_ms: int) -> int | None:
    """The next instant at which a window opens or closes; None: there is none."""
    windows = tuple(windows)
    midnight_ms, weekday, _ = _local(now_ms)
    edges = [
        midnight_ms + (day * _DAY_MINUTES + edge) * 60_000
        for day in range(8)
        for window in windows
        if (weekday + day - 1) % 7 + 1 in window.days
        for edge in (window.from_minute, window.to_minute)
    ]
    return min((edge for edge in edges if edge > now_ms), default=None)


def week_minutes(windows: Iterable[WeeklyWindow]) -> int:
    """Minutes of a week, of WEEK_MINUTES, in which a window is open."""
    return len({(day, m) for w in windows for day in w.days for m in range(w.from_minute, w.to_minute)})


def _local(now_ms: int) -> tuple[int, int, int]:
    """(last midnight in ms, day of the week, minute of the day)."""
    local = (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(SHANGHAI)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - _EPOCH) // timedelta(milliseconds=1), local.isoweekday(), local.hour * 60 + local.minute


def parse_week(text: str) -> tuple[WeeklyWindow, ...]:
    """``mon-fri 07:30-19:00, sat 08:00-12:00, 22:00-06:00`` (every day, over midnight). Raises week.malformed."""
    windows: list[WeeklyWindow] = []
    for part in text.lower().split(","):
        found = _WINDOW.fullmatch(" ".join(part.split()))
        if found is None:
            raise _malformed(part)
        first, last, *times = found.groups()
        if any(day not in (None, *_DAYS) for day in (first, last)):
            raise _malformed(part)
        from_hour, from_minute, to_hour, to_minute = (int(value) for value in times)
        start, end = from_hour * 60 + from_minute, to_hour * 60 + to_minute
        if max(from_minute, to_minute) > 59 or start >= _DAY_MINUTES or end > _DAY_MINUTES or start == end:
            raise _malformed(part)
        days = _days(first, last)
        if start < end:
            windows.append(WeeklyWindow(days, start, end))
        else:
            windows.append(WeeklyWindow(days, start, _DAY_MINUTES))
            if end > 0:
                windows.append(WeeklyWindow(frozenset(day % 7 + 1 for day in days), 0, end))
    return tuple(windows)


_DAYS_ZH = "一二三四五六日"


def week_words(windows: Iterable[WeeklyWindow]) -> tuple[str, str]:
    """In English and Chinese, window by window: `mon, tue 07:30-19:00`."""
    en, zh = [], []
    for window in sorted(windows, key=lambda w: (sorted(w.days), w.from_minute, w.to_minute)):
        days, times = sorted(window.days), f"{_clock(window.from_minute)}-{_clock(window.to_minute)}"
        en.append(f"{'every day' if len(days) == 7 else ', '.join(_DAYS[day - 1] for day in days)} {times}")
        zh.append(f"{'每天' if len(days) == 7 else '周' + '、'.join(_DAYS_ZH[day - 1] for day in days)} {times}")
    return "; ".join(en) or "never", "；".join(zh) or "从不"


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _days(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(1, 8))
    start = _DAYS.index(first)
    length = (_DAYS.index(last or first) - start) % 7
    return frozenset((start + day) % 7 + 1 for day in range(length + 1))


def _malformed(part: str) -> TiergateError:
    return TiergateError(Kind.INVALID, "week.malformed", text=part.strip()[:60])
