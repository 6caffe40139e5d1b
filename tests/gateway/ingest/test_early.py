"""What is kept of a stream while its predecessor still writes."""

from __future__ import annotations

from gateway.ingest.early import EARLY_BYTES, EARLY_NS, SAME_PICTURE_MS, EarlyUnits
from storage.media.access_unit import AccessUnit, Track

_SECOND_NS = 1_000_000_000


def _unit(wall_ns: int, key: bool = False, size: int = 10, track: Track = Track.VIDEO) -> AccessUnit:
    return AccessUnit(track, wall_ns, wall_ns, 1, wall_ns, key, bytes(size))


def _walls(early: EarlyUnits, accounted_ms: int = 0) -> list[int]:
    return [unit.wall_ns for unit in early.since(accounted_ms)]


def test_nothing_is_kept_before_the_first_key_frame() -> None:
    early = EarlyUnits()
    assert not early.keep(_unit(1))
    assert not early.keep(_unit(2, key=True, track=Track.AUDIO)), "a decoder may start at any sound, a file may not"
    assert not early
    assert early.keep(_unit(3, key=True))
    assert early.keep(_unit(4))
    assert _walls(early) == [3, 4]


def test_the_oldest_group_goes_when_it_is_too_old_and_never_the_only_one() -> None:
    early = EarlyUnits()
    early.keep(_unit(0, key=True))
    early.keep(_unit(EARLY_NS + 1))
    assert _walls(early) == [0, EARLY_NS + 1], "one long group: without its key frame the rest is worth nothing"
    early.keep(_unit(EARLY_NS + 2, key=True))
    assert _walls(early) == [EARLY_NS + 2]


def test_too_many_bytes_are_all_given_up() -> None:
    early = EarlyUnits()
    early.keep(_unit(0, key=True, size=EARLY_BYTES))
    early.keep(_unit(1, size=1))
    assert not early
    early.keep(_unit(2, key=True, size=EARLY_BYTES))
    assert _walls(early) == [2], "what was given up counts no more"


def test_it_goes_on_at_the_first_key_frame_that_is_not_recorded() -> None:
    early = EarlyUnits()
    for second in range(6):
        early.keep(_unit(second * _SECOND_NS, key=second % 2 == 0))
    assert _walls(early, 2000 + SAME_PICTURE_MS + 1) == [4 * _SECOND_NS, 5 * _SECOND_NS]
    assert _walls(early, 2000 + SAME_PICTURE_MS) == [n * _SECOND_NS for n in (2, 3, 4, 5)], "the same picture, later"
    assert _walls(early, 9000) == []
