"""Fragmented MP4: what is written is read back, garbage is refused, a torn file keeps each whole fragment."""

from __future__ import annotations

import contextlib
from functools import lru_cache
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.media import boxes, fmp4
from storage.media.access_unit import AccessUnit, StreamConfig, Track
from storage.media.boxes import Identity, Read, Salvage
from storage.media.fmp4 import Sample
from storage.media.fragment_index import FragmentEntry
from tests import media

IDENTITY = Identity("node-1", "21021100001311000001", "main", "R1", "S1", "key", "own", media.WALL_NS, "synchronised")


LAWS: tuple[Literal["pcma", "pcmu"], ...] = ("pcma", "pcmu")


def reader(data: bytes) -> Read:
    return lambda offset, count: data[offset : offset + count]


@lru_cache
def sample_file() -> tuple[bytes, tuple[int, ...], int]:
    """(a sealed file with sound, ends of init and fragments, where the closing index begins)."""
    packets = media.encode_h264(0.48, gop=4, size=(32, 32))
    sound, frames = media.encode_g711(0.48)
    data = fmp4.init_segment(StreamConfig(media.stream_config("h264", packets).video, sound), identity=IDENTITY)
    ends, entries = [len(data)], []
    units = media.access_units("h264", packets)
    for sequence, start in enumerate(range(0, len(units), 4)):
        part = units[start : start + 4]
        samples = [Sample(u.data, u.duration, u.key) for u in part]
        video = fmp4.fragment(Track.VIDEO, 2 * sequence + 1, 900_000 + part[0].dts, samples)
        entries.append(FragmentEntry(len(data), len(video), Track.VIDEO, part[0].dts, 14_400, True, 4))
        data += video
        ends.append(len(data))
        audio = [Sample(frame[:40], 40) for frame in frames[start : start + 4]]
        data += fmp4.fragment(Track.AUDIO, 2 * sequence + 2, 80_000 + start * 40, audio)
        ends.append(len(data))
    return data + fmp4.random_access_index(entries, 900_000), tuple(ends), len(data)


def test_init_round_trip() -> None:
    sound = media.encode_aac()[0]
    for config in (
        media.stream_config("h264", media.encode_h264(), sound),
        media.stream_config("h265", media.encode_h265(), sound),
    ):
        data = fmp4.init_segment(config, identity=IDENTITY)
        assert boxes.parse_init(data + b"\0\0\0\x10moof....") == boxes.Init(config, IDENTITY, len(data))
        video = boxes.parse_init(fmp4.init_segment(config, tracks=(Track.VIDEO,)))
        assert video.config == StreamConfig(config.video) and video.identity is None


def test_g711_init_round_trip() -> None:
    for law in LAWS:
        config = media.stream_config("h264", media.encode_h264(), media.encode_g711(law=law)[0])
        assert boxes.parse_init(fmp4.init_segment(config)).config == config


def test_video_only_init_plays_video_ranges_of_a_file_with_sound() -> None:
    data, _, _ = sample_file()
    found = boxes.salvage(reader(data), len(data))
    assert found.init is not None
    video = fmp4.init_segment(found.init.config, tracks=(Track.VIDEO,)) + b"".join(
        data[e.offset : e.offset + e.size] for e in found.fragments if e.track is Track.VIDEO
    )
    decoded = media.decode_mp4(video)
    assert (decoded.pictures, decoded.audio_samples) == (12, 0)


samples_of = st.lists(
    st.builds(
        Sample,
        st.binary(min_size=1, max_size=30),
        st.integers(1, 10**6),
        st.booleans(),
        st.integers(-(10**6), 10**6),
    ),
    min_size=1,
    max_size=12,
)


@given(samples_of, st.integers(0, 2**63), st.sampled_from(list(Track)), st.none() | st.integers(0, 2**62))
def test_fragment_round_trip(samples: list[Sample], time: int, track: Track, wall_ns: int | None) -> None:
    data = fmp4.fragment(track, 7, time, samples, wall_ns)
    moof = boxes.parse_moof(data)
    start = data.index(b"moof") - 4
    assert (moof.track, moof.sequence, moof.decode_time) == (track, 7, time)
    assert [(s.duration, s.key, s.cto) for s in moof.samples] == [(s.duration, s.key, s.cto) for s in samples]
    assert [data[start + s.offset :][: s.size] for s in moof.samples] == [s.data for s in samples]
    assert (wall_ns is not None) == (start == 32)


def test_key_frame_fragment_is_the_first_picture_alone() -> None:
    data, ends, _ = sample_file()
    whole = data[ends[0] : ends[1]]
    alone = boxes.parse_moof(fmp4.key_frame_fragment(whole, 90_000))
    assert [s.duration for s in alone.samples] == [90_000] and alone.decode_time == 900_000
    init = fmp4.init_segment(boxes.parse_init(data).config, tracks=(Track.VIDEO,))
    assert media.decode_mp4(init + fmp4.key_frame_fragment(whole, 90_000)).pictures == 1
    with pytest.raises(ValueError, match="ends early"):
        fmp4.key_frame_fragment(whole[:300], 90_000)


def test_a_live_fragment_with_its_true_time_decodes() -> None:
    packets = media.encode_h264(0.4, gop=5)
    config = media.stream_config("h264", packets)
    units = media.access_units("h264", packets)
    data = fmp4.init_segment(config)
    for number, unit in enumerate(units):
        data += fmp4.fragment(
            Track.VIDEO, number, unit.dts, (Sample(unit.data, unit.duration, unit.key),), unit.wall_ns
        )
    assert media.decode_mp4(data).pictures == len(units)


def _salvaged(data: bytes) -> Salvage:
    return boxes.salvage(reader(data), len(data))


def test_truncated_at_every_byte_each_whole_fragment_stays() -> None:
    data, ends, index = sample_file()
    for length in range(len(data)):
        found = _salvaged(data[:length])
        if length < ends[0]:
            assert found.fragments == () and found.good_length <= length
            continue
        expected = max(end for end in ends if end <= length)
        assert found.good_length == expected
        assert len(found.fragments) == ends.index(expected)
        assert not found.sealed or length == len(data)
    whole = _salvaged(data)
    assert whole.sealed and whole.good_length == index and whole.duration == 12 * 3600
    assert [e.start for e in whole.fragments] == [0, 0, 14_400, 160, 28_800, 320]
    assert whole.init is not None and whole.init.identity == IDENTITY


def test_pages_of_zeros_after_a_power_loss_are_no_footage() -> None:
    data, ends, _ = sample_file()
    torn = data[: ends[4] + 150] + bytes(len(data) - ends[4] - 150)
    assert _salvaged(torn).good_length == ends[4]
    inside = bytearray(data)
    inside[ends[2] + 150 : ends[3]] = bytes(ends[3] - ends[2] - 150)
    assert _salvaged(bytes(inside)).good_length == ends[2]
    assert boxes.salvage(reader(bytes(inside)), len(data), check_samples=False).good_length > ends[2]
    assert _salvaged(data + bytes(4096)).good_length == ends[-1]


def test_a_fragment_whose_samples_do_not_fill_its_mdat_is_damaged() -> None:
    data, ends, _ = sample_file()
    mdat = data.index(b"mdat", ends[2]) - 4
    longer = (int.from_bytes(data[mdat : mdat + 4], "big") + 4).to_bytes(4, "big")
    torn = data[:mdat] + longer + data[mdat + 4 : ends[3]] + bytes(4) + data[ends[3] :]
    assert _salvaged(torn).good_length == ends[2]


def test_a_reader_that_shortens_its_answers_is_no_danger() -> None:
    data, _, _ = sample_file()
    assert boxes.salvage(lambda o, n: data[o : o + min(n, 20)], len(data)).good_length == 0
    assert boxes.salvage(reader(data), len(data) * 2).good_length == _salvaged(data).good_length


PARSERS = (
    boxes.parse_init,
    boxes.parse_moof,
    boxes.parse_identity,
    lambda data: list(boxes.walk(data)),
    lambda data: list(boxes.walk_source(reader(data), len(data))),
    lambda data: fmp4.key_frame_fragment(data, 1),
)


@pytest.mark.fault("S11")
@settings(max_examples=200)
@given(st.data())
def test_readers_are_total(data: st.DataObject) -> None:
    whole, ends, _ = sample_file()
    start = data.draw(st.sampled_from((0, ends[0], ends[1])))
    victim = bytearray(whole[start : start + 1500])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, min(len(victim), 1000) - 1))
        victim[at : at + 4] = data.draw(st.binary(min_size=1, max_size=4) | st.just(b"\xff\xff\xff\xff"))
    garbage = bytes(victim[: data.draw(st.integers(0, len(victim)))])
    for parse in PARSERS:
        with contextlib.suppress(ValueError):
            parse(garbage)
    assert 0 <= _salvaged(garbage).good_length <= len(garbage)


@pytest.mark.fault("S11")
@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_readers_are_total_on_garbage(garbage: bytes) -> None:
    for parse in PARSERS:
        with contextlib.suppress(ValueError):
            parse(garbage)
    assert _salvaged(garbage).good_length == 0


def test_identity_of_a_later_version_is_read() -> None:
    payload = (
        b'{"v":2,"new":[1],"node":"n","camera":"c","stream":"main","run":"r","segment":"s","class":"key",'
        b'"kind":"own","wall_start_ns":5,"time_trust":"unknown"}'
    )
    assert boxes.parse_identity(payload) == Identity("n", "c", "main", "r", "s", "key", "own", 5, "unknown")
    for broken in (b"[]", b"{}", b'{"v":1}', payload.replace(b":5,", b":true,"), b"[" * 100_000, b"\xff"):
        with pytest.raises(ValueError, match="identity"):
            boxes.parse_identity(broken)


def test_an_access_unit_is_written_as_it_is() -> None:
    unit = AccessUnit(Track.VIDEO, 0, 0, 3600, 0, True, b"\0\0\0\2\x65a")
    assert fmp4.fragment(Track.VIDEO, 1, 0, (Sample(unit.data, 3600),)).endswith(b"mdat" + unit.data)
    with pytest.raises(ValueError, match="empty"):
        fmp4.fragment(Track.VIDEO, 1, 0, ())
