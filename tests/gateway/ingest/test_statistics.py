"""What a running stream says of itself: the distance of its key frames, while none comes."""

from __future__ import annotations

import pytest

from gateway.ingest.statistics import GOP_LONG_MS, StreamStatistics
from storage.media.access_unit import AccessUnit, Track


def picture(at_s: float, key: bool) -> AccessUnit:
    dts = round(at_s * 90_000)
    return AccessUnit(Track.VIDEO, dts, dts, 3600, round(at_s * 1e9), key, bytes(8))


def said(numbers: StreamStatistics) -> tuple[int | None, bool]:
    return numbers.gop_ms, numbers.gop_is_long


@pytest.mark.fault("A16")
def test_a_key_frame_that_does_not_come_is_noticed_before_it_has_come() -> None:
    numbers = StreamStatistics()
    numbers.picture(picture(0, True))
    assert said(numbers) == (None, False)
    for at_s in range(1, 10):
        numbers.picture(picture(at_s, False))
        assert said(numbers) == (None, False)
    numbers.picture(picture(GOP_LONG_MS / 1000 + 1, False))
    assert said(numbers) == (GOP_LONG_MS + 1000, True)
    numbers.picture(picture(200, False))
    assert numbers.gop_ms == 200_000
    numbers.picture(picture(250, True))
    assert said(numbers) == (250_000, True)


def test_key_frames_each_two_seconds_are_not_long() -> None:
    numbers = StreamStatistics()
    for at_s in range(60):
        numbers.picture(picture(at_s, at_s % 2 == 0))
        assert not numbers.gop_is_long
    assert numbers.gop_ms == 2000
    numbers.restart(0)
    numbers.picture(picture(0, True))
    assert numbers.gop_ms == 2000
