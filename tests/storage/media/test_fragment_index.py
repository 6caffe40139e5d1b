"""The fragment index: round trip, compactness, refusal of damage."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from storage.media import fragment_index
from storage.media.access_unit import Track
from storage.media.fragment_index import FragmentEntry

number = st.integers(0, 2**48)
entries = st.lists(
    st.builds(FragmentEntry, number, number, st.sampled_from(list(Track)), st.integers(-(2**40), 2**48), number,
              st.booleans(), st.integers(0, 10**5))
)  # fmt: skip


@given(entries)
def test_round_trip(given_entries: list[FragmentEntry]) -> None:
    assert fragment_index.decode(fragment_index.encode(given_entries)) == tuple(given_entries)


@pytest.mark.fault("S11")
@given(st.binary(max_size=200))
@example(b"\1\7\x80\x01\5\5\7\1")  # one entry: sound, its offset said, its start before zero
def test_garbage_is_refused_or_is_an_index(data: bytes) -> None:
    for candidate in (data, b"\1" + data):
        try:
            found = fragment_index.decode(candidate)
        except ValueError:
            continue
        assert fragment_index.decode(fragment_index.encode(found)) == found


@pytest.mark.fault("S11")
@given(st.data())
def test_a_damaged_index_is_refused_or_is_an_index(data: st.DataObject) -> None:
    bent = bytearray(fragment_index.encode(_minute()[:8]))
    for _ in range(data.draw(st.integers(1, 4))):
        bent[data.draw(st.integers(1, len(bent) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = fragment_index.decode(bytes(bent))
    except ValueError:
        return
    assert fragment_index.decode(fragment_index.encode(found)) == found


def test_every_truncation_is_refused() -> None:
    whole = fragment_index.encode(_minute())
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="fragment index"):
            fragment_index.decode(whole[:length])
    with pytest.raises(ValueError, match="damaged"):
        fragment_index.decode(whole + b"\0")


def _minute() -> list[FragmentEntry]:
    """One minute at 4 Mbit/s with sound: fragments of 0.8, 0.8 and 0.4 s."""
    found, offset, start = list[FragmentEntry](), 1200, 0
    for index in range(75):
        duration = 36_000 if index % 3 == 2 else 72_000
        size = duration * 500_000 // 90_000 + index
        found.append(FragmentEntry(offset, size, Track.VIDEO, start, duration, index % 3 == 0, duration // 3600))
        offset += size
        audio = FragmentEntry(offset, duration * 8000 // 90_000 + 400, Track.AUDIO, start * 8000 // 90_000,
                              duration * 8000 // 90_000, True, duration // 3600)  # fmt: skip
        found.append(audio)
        offset += audio.size
        start += duration
    return found


def test_a_minute_with_sound_takes_little_more_than_a_kilobyte() -> None:
    assert len(fragment_index.encode(_minute())) < 1600
