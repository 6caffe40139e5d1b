"""Times, durations and sizes as text and back. (pure)

Inside, time is UTC in integer `_ms` or `_ns`; at the border RFC 3339 with a zone or epoch milliseconds (DESIGN §8).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from config.errors import Kind, TiergateError

SHANGHAI = ZoneInfo("Asia/Shanghai")  #: the calendar of retention, weekly windows and reports
SHANGHAI_OFFSET_MS = 8 * 3_600_000  #: it has had no other since 1991
NTP_EPOCH_S = 2_208_988_800  #: 1970 in seconds of NTP (RFC 5905)
MS_PER_S = 1_000
NS_PER_MS = 1_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

#: 2000-01-01 .. 9998-12-31: anything outside is a slip of units (seconds, nanoseconds), not a time of footage.
_LOWEST_MS, _HIGHEST_MS = 946_684_800_000, 253_370_764_799_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time_ms(text: str) -> int:
    """RFC 3339 with a zone, or epoch milliseconds, as UTC epoch milliseconds. Raises time.malformed."""
    value: int | None = None
    if re.fullmatch(r"[0-9]{1,16}", text):
        value = int(text)
    elif re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})", text):
        try:
            value = (datetime.fromisoformat(text.upper().replace(" ", "T")) - _EPOCH) // timedelta(milliseconds=1)
        except (ValueError, OverflowError):
            value = None
    if value is None or not _LOWEST_MS <= value <= _HIGHEST_MS:
        raise TiergateError(Kind.INVALID, "time.malformed", value=text[:40])
    return value


def format_time_ms(value_ms: int, local: bool = False) -> str:
    """RFC 3339 with milliseconds, in UTC (``Z``) or Asia/Shanghai."""
    moment = _EPOCH + timedelta(milliseconds=value_ms)
    if local:
        return moment.astimezone(SHANGHAI).isoformat(timespec="milliseconds")
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


_DURATION_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": HOUR_MS, "d": DAY_MS}


def parse_duration_ms(text: str) -> int:
    """`30s`, `15m`, `2h`, `7d`, `250ms` as milliseconds. Raises duration.malformed."""
    match = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h|d)", text.strip())
    if not match:
        raise TiergateError(Kind.INVALID, "duration.malformed", value=text[:40])
    return int(match[1]) * _DURATION_MS[match[2]]


def expiry_ms(value: str | int, now_ms: int) -> int:
    """A duration from now (8h, 30d) or a moment, in whole seconds. Raises duration.malformed, time.malformed."""
    text = str(value).strip()
    absolute = text.isdigit() or "T" in text or ":" in text
    moment = parse_time_ms(text) if absolute else now_ms + parse_duration_ms(text)
    return moment // 1000 * 1000


def month_of_ms(moment_ms: int) -> str:
    """The calendar month of Asia/Shanghai, as `2026-11`."""
    return (_EPOCH + timedelta(milliseconds=moment_ms)).astimezone(SHANGHAI).strftime("%Y-%m")


def month_range_ms(month: str) -> tuple[int, int]:
    """[from, to) of a calendar month of Asia/Shanghai. Raises time.month_malformed."""
    match = re.fullmatch(r"(2[0-9]{3})-(0[1-9]|1[0-2])", month)
    if not match:
        raise TiergateError(Kind.INVALID, "time.month_malformed", value=month[:40])
    year, number = int(match[1]), int(match[2])
    first = datetime(year, number, 1, tzinfo=SHANGHAI)
    following = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=SHANGHAI)
    return (first - _EPOCH) // timedelta(milliseconds=1), (following - _EPOCH) // timedelta(milliseconds=1)


def month_before(month: str) -> str:
    return month_of_ms(month_range_ms(month)[0] - 1)
