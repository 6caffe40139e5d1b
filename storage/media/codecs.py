"""Codecs as tiergate sees them: NAL units, decoder configuration records, codec strings, AAC configuration. (pure)

Belongs here: splitting and joining NAL units, `annexb_to_access_unit` (run for every picture of every camera),
AVC/HEVCDecoderConfigurationRecord in both directions, RFC 6381 strings, `VideoConfig`/`AudioConfig` from the wire.
Does not belong here: the fields of an SPS (`storage.media.parameter_sets`), boxes (`storage.media.fmp4`).

Every parser is total on hostile input: it returns or raises ValueError, in time linear in the input.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from storage.media.access_unit import AudioConfig, VideoConfig
from storage.media.parameter_sets import (
    BitReader,
    h264_set_key,
    h265_set_key,
    parse_h264_sps,
    parse_h265_sps,
)

VideoCodec = Literal["h264", "h265"]

_START = b"\0\0\1"
_PACK32 = struct.Struct(">I").pack

# H.264 nal_unit_type (Table 7-1): 5 IDR, 7 SPS, 8 PPS, 9 access unit delimiter.
# H.265 nal_unit_type (Table 7-1): 16-23 IRAP, 32 VPS, 33 SPS, 34 PPS, 35 access unit delimiter.
_H264_SETS = (7, 8)
_H265_SETS = (32, 33, 34)

#: More sets than any encoder has; the record's count fields are 5 and 8 bits (ISO/IEC 14496-15 §5.3.3.1).
_SETS_MAX = 31

#: NAL units in one access unit: level 6.2 allows 600 slices. More is an attempt to keep us busy.
NALS_MAX = 2048


def nal_type(nal: bytes, codec: VideoCodec) -> int:
    """nal_unit_type; -1 of an empty unit."""
    if not nal:
        return -1
    return nal[0] & 0x1F if codec == "h264" else (nal[0] >> 1) & 0x3F


def is_parameter_set(nal: bytes, codec: VideoCodec) -> bool:
    return nal_type(nal, codec) in (_H264_SETS if codec == "h264" else _H265_SETS)


def split_annexb(data: bytes) -> Iterator[bytes]:
    """NAL units of a byte stream (Annex B): 3 or 4 byte start codes, zeros behind a unit dropped, leading junk too."""
    find = data.find
    # Most of an access unit lies behind its last start code, and searching backwards takes half the time.
    last = data.rfind(_START)
    start = find(_START, 0, last + 3) if last >= 0 else -1
    while start >= 0:
        start += 3
        following = find(_START, start, last + 3) if start <= last else -1
        end = following if following >= 0 else len(data)
        # A NAL unit never ends in 00 (§7.4.1): such bytes are trailing_zero_8bits or the long form of a start code.
        while end > start and data[end - 1] == 0:
            end -= 1
        if end > start:
            yield data[start:end]
        start = following


def split_length_prefixed(data: bytes, length_size: int = 4) -> Iterator[bytes]:
    """NAL units of an MP4 sample. A length that leaves the sample, or is 0, raises ValueError."""
    if length_size not in (1, 2, 4):
        raise ValueError("length size must be 1, 2 or 4")
    pos, end = 0, len(data)
    while pos < end:
        body = pos + length_size
        size = int.from_bytes(data[pos:body], "big")
        if body > end or size == 0 or body + size > end:
            raise ValueError("NAL unit leaves its sample")
        yield data[body : body + size]
        pos = body + size


def join_length_prefixed(nals: Iterable[bytes]) -> bytes:
    return b"".join(part for nal in nals for part in (_PACK32(len(nal)), nal))


def annexb_to_access_unit(data: bytes, codec: VideoCodec) -> tuple[bytes, bool, tuple[bytes, ...]]:
    """(length-prefixed bytes, is key, parameter sets found). Delimiters and parameter sets leave the data.

    The sets are handed back so that the source sees a change; the config carries them (`hvc1`, `avc1` forbid them in
    band). SEI stays, whatever it says: GB 35114 signatures travel in it. Data without a slice gives ``b""`` or only
    SEI; the caller decides whether that is a picture.
    """
    return nals_to_access_unit(split_annexb(data), codec)


def nals_to_access_unit(nals: Iterable[bytes], codec: VideoCodec) -> tuple[bytes, bool, tuple[bytes, ...]]:
    """The same from NAL units that are already apart (RTP, length-prefixed samples)."""
    parts: list[bytes] = []
    sets: list[bytes] = []
    key = False
    h264 = codec == "h264"
    for count, nal in enumerate(nals):
        if count >= NALS_MAX:
            raise ValueError("too many NAL units in one access unit")
        if h264:
            kind = nal[0] & 0x1F
            if kind == 5:
                key = True
            elif 7 <= kind <= 9:
                if kind != 9:
                    sets.append(nal)
                continue
        else:
            kind = (nal[0] >> 1) & 0x3F
            if 16 <= kind <= 23:
                key = True
            elif 32 <= kind <= 35:
                if kind != 35:
                    sets.append(nal)
                continue
        parts.append(_PACK32(len(nal)))
        parts.append(nal)
    return b"".join(parts), key, tuple(sets)


def has_picture(data: bytes, codec: VideoCodec) -> bool:
    """Whether a length-prefixed access unit holds a slice at all, and not only SEI (A13)."""
    limit = (1, 5) if codec == "h264" else (0, 31)
    return any(limit[0] <= nal_type(nal, codec) <= limit[1] for nal in split_length_prefixed(data))


# -- parameter sets --------------------------------------------------------------------------------------------------


def merge_parameter_sets(codec: VideoCodec, current: tuple[bytes, ...], found: Iterable[bytes]) -> tuple[bytes, ...]:
    """`current` with each of `found` replacing the one of the same type and identifier. Unparsable ones are ignored.

    The result is equal to `current` when nothing changed, so ``merged != current`` is the test for a new config.
    """
    key_of = h264_set_key if codec == "h264" else h265_set_key
    known = {key_of(nal): nal for nal in current}
    for nal in found:
        try:
            key = key_of(nal)
        except ValueError:
            continue
        if key in known or len(known) < _SETS_MAX:
            known[key] = nal
    return tuple(known[key] for key in sorted(known))


def is_complete(codec: VideoCodec, sets: Iterable[bytes]) -> bool:
    """Whether `sets` hold one of each kind: all that a decoder needs."""
    return {nal_type(nal, codec) for nal in sets} >= set(_H264_SETS if codec == "h264" else _H265_SETS)


def parameter_sets_of_extradata(codec: VideoCodec, extradata: bytes) -> tuple[bytes, ...]:
    """Parameter sets of libav extradata: a configuration record (first byte 1) or Annex B."""
    if extradata[:1] == b"\1":
        found: tuple[bytes, ...] = parse_record(codec, extradata).parameter_sets
    else:
        found = tuple(nal for nal in split_annexb(extradata) if is_parameter_set(nal, codec))
    return merge_parameter_sets(codec, (), found)


def _by_type(codec: VideoCodec, sets: Iterable[bytes]) -> dict[int, list[bytes]]:
    kinds = _H264_SETS if codec == "h264" else _H265_SETS
    grouped: dict[int, list[bytes]] = {kind: [] for kind in kinds}
    for nal in sets:
        kind = nal_type(nal, codec)
        if kind not in grouped:
            raise ValueError("not a parameter set")
        if len(nal) > 0xFFFF:
            raise ValueError("parameter set is too long")
        if nal not in grouped[kind]:
            grouped[kind].append(nal)
    for kind, group in grouped.items():
        if not group or len(group) > _SETS_MAX:
            raise ValueError(f"{len(group)} parameter sets of type {kind}")
    return grouped


def _with_length(nal: bytes) -> bytes:
    return struct.pack(">H", len(nal)) + nal


def build_record(codec: VideoCodec, sets: Iterable[bytes]) -> bytes:
    """AVCDecoderConfigurationRecord or HEVCDecoderConfigurationRecord, 4-byte lengths (ISO/IEC 14496-15)."""
    grouped = _by_type(codec, sets)
    if codec == "h264":
        sps = parse_h264_sps(grouped[7][0])
        record = bytes((1, sps.profile_idc, sps.constraint_flags, sps.level_idc, 0xFF, 0xE0 | len(grouped[7])))
        record += b"".join(map(_with_length, grouped[7]))
        record += bytes((len(grouped[8]),)) + b"".join(map(_with_length, grouped[8]))
        if sps.profile_idc in (100, 110, 122, 144, 244):
            record += bytes(
                (0xFC | sps.chroma_format_idc, 0xF8 | sps.bit_depth_luma - 8, 0xF8 | sps.bit_depth_chroma - 8, 0)
            )
        return record
    hevc = parse_h265_sps(grouped[33][0])
    record = (
        b"\1"
        + hevc.profile_tier_level
        + struct.pack(
            ">HBBBBHBB",
            0xF000,
            0xFC,
            0xFC | hevc.chroma_format_idc,
            0xF8 | min(hevc.bit_depth_luma - 8, 7),
            0xF8 | min(hevc.bit_depth_chroma - 8, 7),
            0,
            hevc.max_sub_layers << 3 | hevc.temporal_id_nesting << 2 | 3,
            3,
        )
    )
    for kind in _H265_SETS:
        # 0x80 array_completeness: none of this type in band, which is what makes it hvc1 and not hev1
        record += struct.pack(">BH", 0x80 | kind, len(grouped[kind])) + b"".join(map(_with_length, grouped[kind]))
    return record


@dataclass(frozen=True, slots=True)
class Record:
    """What a decoder configuration record carries."""

    length_size: int
    parameter_sets: tuple[bytes, ...]


class _Cursor:
    __slots__ = ("data", "pos")

    def __init__(self, data: bytes, pos: int) -> None:
        self.data, self.pos = data, pos

    def take(self, count: int) -> bytes:
        chunk = self.data[self.pos : self.pos + count]
        if len(chunk) != count:
            raise ValueError("configuration record ends early")
        self.pos += count
        return chunk

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")


def parse_record(codec: VideoCodec, record: bytes) -> Record:
    """The parameter sets of a record, SEI and other arrays left out."""
    if record[:1] != b"\1":
        raise ValueError("unknown version of a configuration record")
    sets: list[bytes] = []
    if codec == "h264":
        cursor = _Cursor(record, 4)
        length_size = (cursor.number(1) & 3) + 1
        for mask in (0x1F, 0xFF):
            sets += [cursor.take(cursor.number(2)) for _ in range(cursor.number(1) & mask)]
    else:
        cursor = _Cursor(record, 21)
        length_size = (cursor.number(1) & 3) + 1
        for _ in range(cursor.number(1)):
            kind = cursor.number(1) & 0x3F
            for _ in range(cursor.number(2)):
                nal = cursor.take(cursor.number(2))
                if kind in _H265_SETS:
                    sets.append(nal)
    if length_size == 3 or len(sets) > 3 * _SETS_MAX:
        raise ValueError("impossible configuration record")
    return Record(length_size, tuple(sets))


# -- configs and codec strings ---------------------------------------------------------------------------------------


def avc1_string(sps: bytes) -> str:
    """RFC 6381 §3.3: avc1.PPCCLL from profile_idc, constraint flags and level_idc."""
    if len(sps) < 4:
        raise ValueError("SPS is too short")
    return f"avc1.{sps[1:4].hex()}"


def hvc1_string(profile_tier_level: bytes) -> str:
    """ISO/IEC 14496-15 Annex E.3, from the 12 general bytes of profile_tier_level."""
    if len(profile_tier_level) < 12:
        raise ValueError("profile_tier_level is too short")
    first, level = profile_tier_level[0], profile_tier_level[11]
    space = ("", "A", "B", "C")[first >> 6]
    compatibility = int(f"{int.from_bytes(profile_tier_level[1:5], 'big'):032b}"[::-1], 2)
    constraints = profile_tier_level[5:11].rstrip(b"\0")
    tier = "H" if first & 0x20 else "L"
    tail = "".join(f".{byte:X}" for byte in constraints)
    return f"hvc1.{space}{first & 0x1F}.{compatibility:X}.{tier}{level}{tail}"


def video_config(codec: VideoCodec, sets: Iterable[bytes]) -> VideoConfig:
    """The config of a stream from its parameter sets, in any order. Missing or broken ones raise ValueError."""
    record = build_record(codec, sets)
    return video_config_of_record(codec, record)


def video_config_of_record(codec: VideoCodec, record: bytes) -> VideoConfig:
    sets = parse_record(codec, record).parameter_sets
    for nal in sets:
        kind = nal_type(nal, codec)
        if codec == "h264" and kind == 7:
            sps = parse_h264_sps(nal)
            return VideoConfig("h264", record, sps.width, sps.height, avc1_string(nal))
        if codec == "h265" and kind == 33:
            hevc = parse_h265_sps(nal)
            return VideoConfig("h265", record, hevc.width, hevc.height, hvc1_string(hevc.profile_tier_level))
    raise ValueError("no SPS in the configuration record")


#: samplingFrequencyIndex (ISO/IEC 14496-3 Table 1.18).
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
#: channelConfiguration (Table 1.19); 0 would need a program config element, which no camera sends.
_AAC_CHANNELS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8, 11: 7, 12: 8, 14: 8}


@dataclass(frozen=True, slots=True)
class AacConfig:
    """AudioSpecificConfig, as far as a file needs it."""

    object_type: int
    sample_rate_hz: int
    channels: int


def parse_aac(config: bytes) -> AacConfig:
    """AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1)."""
    if len(config) > 64:
        raise ValueError("AudioSpecificConfig is too long")
    r = BitReader(config)
    object_type = _aac_object_type(r)
    rate = _aac_rate(r)
    channels = _AAC_CHANNELS.get(r.bits(4))
    if channels is None:
        raise ValueError("AAC channel configuration is not supported")
    return AacConfig(object_type, rate, channels)


def _aac_object_type(r: BitReader) -> int:
    kind = r.bits(5)
    kind = 32 + r.bits(6) if kind == 31 else kind
    if kind == 0:
        raise ValueError("AAC object type 0")
    return kind


def _aac_rate(r: BitReader) -> int:
    index = r.bits(4)
    rate = r.bits(24) if index == 15 else _AAC_RATES[index] if index < len(_AAC_RATES) else 0
    if not 7350 <= rate <= 96000:
        raise ValueError("AAC sampling rate is impossible")
    return rate


def aac_config(config: bytes) -> AudioConfig:
    """The config of an AAC track. Its clock is the rate of the core codec, also when SBR doubles the output."""
    aac = parse_aac(config)
    return AudioConfig("aac", config, aac.sample_rate_hz, aac.channels, f"mp4a.40.{aac.object_type}")


def g711_config(codec: Literal["pcma", "pcmu"], sample_rate_hz: int = 8000, channels: int = 1) -> AudioConfig:
    """The config of a G.711 track; one tick is one sample (RFC 3551 §4.5.14)."""
    if not (1 <= sample_rate_hz <= 192_000 and 1 <= channels <= 8):
        raise ValueError("G.711 parameters out of range")
    return AudioConfig(codec, b"", sample_rate_hz, channels, "alaw" if codec == "pcma" else "ulaw")
