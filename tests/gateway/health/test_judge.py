"""Black and frozen, from numbers alone."""

from __future__ import annotations

from gateway.health.judge import Sample, Verdict, is_suspicious, judge


def samples(*values: tuple[float, float, float | None], every_ms: int = 5000) -> list[Sample]:
    return [Sample(1000 + index * every_ms, *value) for index, value in enumerate(values)]


GOOD = (120.0, 40.0, 6.0)
DARK = (14.0, 1.0, 0.1)
STILL = (120.0, 40.0, 0.05)


def verdict(*values: tuple[float, float, float | None], every_ms: int = 5000) -> Verdict:
    found = judge(samples(*values, every_ms=every_ms))
    assert found is not None
    return found.verdict


def test_a_living_picture_is_ok_and_nothing_is_said_of_nothing() -> None:
    assert judge([]) is None
    assert verdict((120.0, 40.0, None)) is Verdict.OK
    assert verdict(GOOD, GOOD, GOOD, GOOD) is Verdict.OK


def test_two_dark_samples_are_black_and_one_is_not() -> None:
    assert verdict(GOOD, DARK) is Verdict.OK
    assert verdict(GOOD, DARK, DARK) is Verdict.BLACK
    assert verdict(GOOD, DARK, GOOD, DARK) is Verdict.OK
    found = judge(samples(GOOD, DARK, DARK, DARK))
    assert found is not None
    assert found.since_ms == 6000
    assert found.reason is not None
    assert found.reason.code == "media.health_black"


def test_a_night_scene_with_a_lamp_is_not_black() -> None:
    assert verdict((10.0, 12.0, 1.0), (10.0, 12.0, 1.0)) is Verdict.OK


def test_standstill_must_last_ten_seconds_and_three_samples() -> None:
    assert verdict(GOOD, STILL) is Verdict.OK
    assert verdict(GOOD, STILL, STILL) is Verdict.FROZEN
    assert verdict(GOOD, STILL, STILL, every_ms=2000) is Verdict.OK
    assert verdict(GOOD, STILL, every_ms=60_000) is Verdict.OK
    assert verdict(GOOD, STILL, STILL, STILL, GOOD) is Verdict.OK
    found = judge(samples(GOOD, GOOD, STILL, STILL, STILL))
    assert found is not None
    assert found.since_ms == 6000
    assert found.reason is not None
    assert found.reason.params["seconds"] == 15


def test_equal_bytes_are_standstill_whatever_the_noise() -> None:
    same = [Sample(t, 120.0, 40.0, 5.0, identical=True) for t in (0, 6000, 12_000)]
    found = judge([Sample(-6000, 120.0, 40.0, 5.0), *same])
    assert found is not None
    assert found.verdict is Verdict.FROZEN


def test_the_next_look_comes_soon_when_something_seems_wrong() -> None:
    assert not is_suspicious(samples(GOOD))
    assert is_suspicious(samples(GOOD, DARK))
    assert is_suspicious(samples(GOOD, STILL))
