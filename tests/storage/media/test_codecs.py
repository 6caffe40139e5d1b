"""Codecs: vectors of the standards, real parameter sets, and whatever a hostile camera may send."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.media import codecs, parameter_sets
from storage.media.codecs import VideoCodec
from tests import media

# Real SPS: an IP camera (1080p, High, level 4.0, VUI timing), x264 (main, cropped to 1080), and an H.265 camera (main).
CAMERA_SPS = bytes.fromhex("6764001facd9405005bb016a02020280000003008000001e478c18cb")

BOTH: list[VideoCodec] = ["h264", "h265"]


def sets_of(codec: VideoCodec, size: tuple[int, int] = (320, 240)) -> tuple[bytes, ...]:
    encode = media.encode_h264 if codec == "h264" else media.encode_h265
    packet = encode(0.4, size=size)[0]
    return codecs.annexb_to_access_unit(packet.data, codec)[2]


def test_split_tolerates_short_and_long_start_codes_and_zeros() -> None:
    data = b"junk\0\0\0\1\x67ab\0\0\0\0\1\x68c\0\0\1\x65d\0\0\3\1e\0\0\0\0"
    assert list(codecs.split_annexb(data)) == [b"\x67ab", b"\x68c", b"\x65d\0\0\3\1e"]
    assert list(codecs.split_annexb(b"\0\0\1\0\0\1")) == []
    assert list(codecs.split_annexb(b"no start code")) == []


@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda b: b"\0\0" not in b and b[-1] and b[0])))
def test_framings_give_back_the_same_units(nals: list[bytes]) -> None:
    joined = codecs.join_length_prefixed(nals)
    assert list(codecs.split_length_prefixed(joined)) == nals
    assert list(codecs.split_annexb(b"".join(b"\0\0\0\1" + nal for nal in nals))) == nals


@pytest.mark.parametrize("data", [b"\0\0\0\5abc", b"\0\0\0\0", b"\0\0\0", b"\xff\xff\xff\xffa"])
def test_a_length_that_leaves_its_sample_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="leaves its sample"):
        list(codecs.split_length_prefixed(data))


def test_access_unit_keeps_sei_and_drops_delimiters_and_sets() -> None:
    data = b"\0\0\0\1\x09\xf0\0\0\0\1\x67s\0\0\0\1\x68p\0\0\1\x06sei\0\0\1\x65idr"
    assert codecs.annexb_to_access_unit(data, "h264") == (b"\0\0\0\4\x06sei\0\0\0\4\x65idr", True, (b"\x67s", b"\x68p"))
    data = b"\0\0\0\1\x46\1\x50\0\0\0\1\x40\1v\0\0\0\1\x42\1s\0\0\1\x44\1p\0\0\1\x4e\1sei\0\0\1\x2a\1cra\0\0\1\x02\1p"
    unit, key, found = codecs.annexb_to_access_unit(data, "h265")
    assert key and found == (b"\x40\1v", b"\x42\1s", b"\x44\1p")
    assert list(codecs.split_length_prefixed(unit)) == [b"\x4e\1sei", b"\x2a\1cra", b"\x02\1p"]
    assert codecs.annexb_to_access_unit(b"\0\0\1\x41p", "h264") == (b"\0\0\0\2\x41p", False, ())


def test_a_unit_of_sei_alone_is_no_picture() -> None:
    assert not codecs.has_picture(b"\0\0\0\2\x06s", "h264")
    assert codecs.has_picture(b"\0\0\0\2\x06s\0\0\0\2\x41p", "h264")
    assert not codecs.has_picture(b"\0\0\0\3\x4e\1s", "h265")
    assert codecs.has_picture(b"\0\0\0\3\x2a\1s", "h265")


def test_too_many_units_are_refused() -> None:
    with pytest.raises(ValueError, match="too many"):
        codecs.annexb_to_access_unit(b"\0\0\1\x41" * 3000, "h264")


def test_camera_sps() -> None:
    sps = parameter_sets.parse_h264_sps(CAMERA_SPS)
    assert (sps.profile_idc, sps.level_idc, sps.width, sps.height) == (100, 31, 1280, 720)


@pytest.mark.parametrize("codec", BOTH)
@pytest.mark.parametrize("size", [(320, 240), (178, 100), (640, 360)])
def test_size_with_cropping_as_libav_sees_it(codec: VideoCodec, size: tuple[int, int]) -> None:
    config = codecs.video_config(codec, sets_of(codec, size))
    assert (config.width, config.height) == size


@pytest.mark.parametrize("codec", BOTH)
def test_record_round_trip_and_libav_accepts_it(codec: VideoCodec) -> None:
    sets = sets_of(codec)
    record = codecs.build_record(codec, reversed(sets))
    assert set(codecs.parse_record(codec, record).parameter_sets) == set(sets)
    assert codecs.parse_record(codec, record).length_size == 4
    assert set(codecs.parameter_sets_of_extradata(codec, record)) == set(sets)
    annexb = b"".join(b"\0\0\0\1" + nal for nal in sets)
    assert codecs.parameter_sets_of_extradata(codec, annexb) == codecs.merge_parameter_sets(codec, (), sets)
    decoder = av.CodecContext.create("h264" if codec == "h264" else "hevc", "r")
    decoder.extradata = record
    packets = media.encode_h264(0.4) if codec == "h264" else media.encode_h265(0.4)
    frames = []
    for packet in packets:
        frames += decoder.decode(av.Packet(codecs.annexb_to_access_unit(packet.data, codec)[0]))
    frames += decoder.decode(None)
    assert len(frames) == len(packets)


@pytest.mark.parametrize("codec", BOTH)
def test_a_record_needs_every_kind_of_set(codec: VideoCodec) -> None:
    sets = sets_of(codec)
    for index in range(len(sets)):
        with pytest.raises(ValueError, match="parameter sets of type"):
            codecs.build_record(codec, sets[:index] + sets[index + 1 :])


@pytest.mark.parametrize("codec", BOTH)
def test_a_changed_set_replaces_the_one_of_its_identifier(codec: VideoCodec) -> None:
    small, large = sets_of(codec), sets_of(codec, (640, 360))
    first = codecs.merge_parameter_sets(codec, (), small)
    assert codecs.merge_parameter_sets(codec, first, small) == first
    assert codecs.merge_parameter_sets(codec, first, [b"", b"\x67", b"\x42\1\xff", b"\x68"]) == first
    assert codecs.video_config(codec, codecs.merge_parameter_sets(codec, first, large)).width == 640


@pytest.mark.parametrize(
    ("sps", "words"),
    [
        ("6764001f", "avc1.64001f"),
        ("674d0028", "avc1.4d0028"),
        ("67640028", "avc1.640028"),
        ("6742c01e", "avc1.42c01e"),
    ],
)
def test_avc1_strings(sps: str, words: str) -> None:
    assert codecs.avc1_string(bytes.fromhex(sps)) == words


@pytest.mark.parametrize(
    ("general", "words"),
    [
        ("016000000090000000000078", "hvc1.1.6.L120.90"),
        ("0160000000b000000000005d", "hvc1.1.6.L93.B0"),
        ("226000000000000000000099", "hvc1.2.6.H153"),
        ("426000000090ab0000000078", "hvc1.A2.6.L120.90.AB"),
    ],
)
def test_hvc1_strings(general: str, words: str) -> None:
    assert codecs.hvc1_string(bytes.fromhex(general)) == words


@pytest.mark.parametrize(
    ("config", "rate", "channels", "words"),
    [
        ("1210", 44100, 2, "mp4a.40.2"),
        ("1408", 16000, 1, "mp4a.40.2"),
        ("1588", 8000, 1, "mp4a.40.2"),
        ("2b920800", 22050, 2, "mp4a.40.5"),
    ],
)
def test_aac_configs(config: str, rate: int, channels: int, words: str) -> None:
    found = codecs.aac_config(bytes.fromhex(config))
    assert (found.sample_rate_hz, found.channels, found.rfc6381) == (rate, channels, words)


@pytest.mark.parametrize("config", ["", "12", "1200", "1780", "0010"])
def test_impossible_aac_is_refused(config: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        codecs.aac_config(bytes.fromhex(config))


PARSERS: list[Callable[[bytes], object]] = [
    parameter_sets.parse_h264_sps,
    parameter_sets.parse_h265_sps,
    parameter_sets.h264_set_key,
    parameter_sets.h265_set_key,
    codecs.parse_aac,
    codecs.avc1_string,
    codecs.hvc1_string,
    *(
        lambda data, codec=codec, parse=parse: parse(codec, data)
        for codec in BOTH
        for parse in (codecs.parse_record, codecs.video_config_of_record, codecs.parameter_sets_of_extradata)
    ),
    *(lambda data, codec=codec: codecs.annexb_to_access_unit(data, codec) for codec in BOTH),
]


def _total(data: bytes) -> None:
    for parse in PARSERS:
        with contextlib.suppress(ValueError):
            parse(data)


@pytest.mark.fault("S11")
@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_parsers_are_total_on_garbage(data: bytes) -> None:
    for prefix in (b"", b"\x67", b"\x68", b"\x42\x01", b"\x40\x01", b"\x44\x01", b"\0\0\1\x67", b"\1"):
        _total(prefix + data)


@pytest.mark.fault("S11")
@settings(max_examples=300)
@given(st.data())
def test_parsers_are_total_on_mutated_sets(data: st.DataObject) -> None:
    codec = data.draw(st.sampled_from(BOTH))
    sets = sets_of(codec)
    victim = bytearray(data.draw(st.sampled_from([*sets, CAMERA_SPS, codecs.build_record(codec, sets)])))
    for _ in range(data.draw(st.integers(0, 4))):
        victim[data.draw(st.integers(0, len(victim) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    _total(bytes(victim[: data.draw(st.integers(0, len(victim)))]))


@pytest.mark.parametrize("codec", BOTH)
def test_truncated_sps_is_refused_or_means_the_same(codec: VideoCodec) -> None:
    parse = parameter_sets.parse_h264_sps if codec == "h264" else parameter_sets.parse_h265_sps
    sps = next(nal for nal in sets_of(codec) if codecs.nal_type(nal, codec) in (7, 33))
    whole = parse(sps)
    for length in range(len(sps)):
        try:
            found = parse(sps[:length])
        except ValueError:
            continue
        assert (found.width, found.height) == (whole.width, whole.height)


@pytest.mark.parametrize("codec", BOTH)
def test_sets_are_complete_with_one_of_each_kind(codec: VideoCodec) -> None:
    sets = sets_of(codec)
    assert codecs.is_complete(codec, sets)
    assert not any(codecs.is_complete(codec, [one for one in sets if one is not left_out]) for left_out in sets)
