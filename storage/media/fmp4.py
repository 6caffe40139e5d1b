"""Fragmented MP4, written: init segments, fragments, identity box, closing index. (pure)

Belongs here: bytes of boxes (ISO/IEC 14496-12, -14, -15, CMAF 23000-19) from configs and samples.
Does not belong here: reading them (`storage.media.boxes`), deciding where a fragment ends (`storage.segmenter`).

A segment is ``ftyp moov uuid (moof mdat)+ mfra``. The identity `uuid` stands behind `moov`, where browsers must skip it
(MSE byte stream format §3). `tfdt` counts from the start of the **run**, not of the segment: consecutive segments of a
run are one timeline, so that HLS needs a discontinuity only between runs. There is no edit list: the first `tfdt` of a
segment is its zero. Each fragment is of one track, so that a browser can be given byte ranges of video alone.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from config.units import NTP_EPOCH_S
from storage.media.access_unit import AudioConfig, StreamConfig, Track, VideoConfig
from storage.media.boxes import IDENTITY_UUID, IDENTITY_VERSION, Identity, parse_moof
from storage.media.fragment_index import FragmentEntry

#: Seconds between 1900 and 1970, for NTP times (RFC 5905 §6).

# sample_flags (14496-12 §8.8.3.1): depends_on = 2, a sync sample; depends_on = 1 and sample_is_non_sync_sample.
SYNC_SAMPLE = 0x0200_0000
NON_SYNC_SAMPLE = 0x0101_0000

_UNITY = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000)
_BOX = struct.Struct(">I4s").pack


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a fragment to be written."""

    data: bytes
    duration: int
    key: bool = True
    cto: int = 0  #: pts - dts


def box(kind: bytes, *parts: bytes) -> bytes:
    size = 8 + sum(map(len, parts))
    if size > 0xFFFF_FFFF:
        raise ValueError("box is too long")
    return b"".join((_BOX(size, kind), *parts))


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


# -- init segment ----------------------------------------------------------------------------------------------------


def init_segment(
    config: StreamConfig, tracks: Iterable[Track] = (Track.VIDEO, Track.AUDIO), identity: Identity | None = None
) -> bytes:
    """``ftyp moov [uuid]`` with the wanted tracks of `config`. Browsers get ``tracks=(Track.VIDEO,)``: a video
    SourceBuffer refuses a file that also declares G.711."""
    wanted = set(tracks)
    traks: list[bytes] = []
    trexs: list[bytes] = []
    if Track.VIDEO in wanted:
        traks.append(_video_trak(config.video))
        trexs.append(_trex(Track.VIDEO))
    if Track.AUDIO in wanted and config.audio is not None:
        traks.append(_audio_trak(config.audio))
        trexs.append(_trex(Track.AUDIO))
    if not traks:
        raise ValueError("an init segment needs a track")
    mvhd = full_box(
        b"mvhd", 0, 0, struct.pack(">IIIIIHHII", 0, 0, 1000, 0, 0x10000, 0x100, 0, 0, 0), _UNITY, bytes(24),
        struct.pack(">I", max(track.value for track in Track) + 1),
    )  # fmt: skip
    moov = box(b"moov", mvhd, *traks, box(b"mvex", *trexs))
    head = box(b"ftyp", b"iso6", bytes(4), b"iso6", b"iso5", b"cmfc", b"mp41") + moov
    return head if identity is None else head + identity_box(identity)


def identity_box(identity: Identity) -> bytes:
    """The project's `uuid` box: JSON, so that a person with a hex viewer can read it in twenty years."""
    fields = asdict(identity)
    fields["class"] = fields.pop("retention_class")
    payload = json.dumps({"v": IDENTITY_VERSION, **fields}, ensure_ascii=False, separators=(",", ":"))
    return box(b"uuid", IDENTITY_UUID.bytes, payload.encode())


def _trex(track: Track) -> bytes:
    return full_box(b"trex", 0, 0, struct.pack(">5I", track.value, 1, 0, 0, 0))


def _trak(
    track: Track, timescale: int, handler: bytes, media_header: bytes, entry: bytes, width: int, height: int
) -> bytes:
    volume = 0x100 if track is Track.AUDIO else 0
    tkhd = full_box(
        b"tkhd", 0, 3, struct.pack(">IIIII8xHHHH", 0, 0, track.value, 0, 0, 0, 0, volume, 0), _UNITY,
        struct.pack(">II", width << 16, height << 16),
    )  # fmt: skip
    mdhd = full_box(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, timescale, 0, 0x55C4, 0))  # 0x55C4 is "und"
    hdlr = full_box(b"hdlr", 0, 0, bytes(4), handler, bytes(12), b"tiergate\0")
    dinf = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))
    stbl = box(
        b"stbl",
        full_box(b"stsd", 0, 0, struct.pack(">I", 1), entry),
        full_box(b"stts", 0, 0, bytes(4)),
        full_box(b"stsc", 0, 0, bytes(4)),
        full_box(b"stsz", 0, 0, bytes(8)),
        full_box(b"stco", 0, 0, bytes(4)),
    )
    return box(b"trak", tkhd, box(b"mdia", mdhd, hdlr, box(b"minf", media_header, dinf, stbl)))


def _video_trak(video: VideoConfig) -> bytes:
    kind, record = (b"avc1", b"avcC") if video.codec == "h264" else (b"hvc1", b"hvcC")
    entry = box(
        kind, struct.pack(">6xH16xHHIIIH", 1, video.width, video.height, 0x480000, 0x480000, 0, 1), bytes(32),
        struct.pack(">Hh", 0x18, -1), box(record, video.record),
    )  # fmt: skip
    header = full_box(b"vmhd", 0, 1, bytes(8))
    return _trak(Track.VIDEO, video.timescale, b"vide", header, entry, video.width, video.height)


def _audio_trak(audio: AudioConfig) -> bytes:
    # 14496-12 §12.2.3: the 16.16 rate of the sample entry cannot hold more than 65 535 Hz
    rate = audio.sample_rate_hz if audio.sample_rate_hz <= 0xFFFF else 0
    fields = struct.pack(">6xH8xHHHHI", 1, audio.channels, 16, 0, 0, rate << 16)
    if audio.codec == "aac":
        entry = box(b"mp4a", fields, _esds(audio.record))
    else:
        entry = box(b"alaw" if audio.codec == "pcma" else b"ulaw", fields)
    return _trak(Track.AUDIO, audio.timescale, b"soun", full_box(b"smhd", 0, 0, bytes(4)), entry, 0, 0)


def _descriptor(tag: int, body: bytes) -> bytes:
    if len(body) > 0x7F:
        raise ValueError("descriptor is too long")
    return bytes((tag, len(body))) + body


def _esds(config: bytes) -> bytes:
    # 14496-1 §7.2.6: ES_Descriptor > DecoderConfigDescriptor (0x40 = MPEG-4 audio, 0x15 = audio stream) > specific info
    decoder = _descriptor(4, struct.pack(">BB3xII", 0x40, 0x15, 0, 0) + _descriptor(5, config))
    return full_box(b"esds", 0, 0, _descriptor(3, struct.pack(">HB", Track.AUDIO.value, 0) + decoder + b"\6\1\2"))


# -- fragments -------------------------------------------------------------------------------------------------------


def fragment(
    track: Track, sequence: int, decode_time: int, samples: Sequence[Sample], wall_ns: int | None = None
) -> bytes:
    """``[prft] moof mdat`` of one track. `decode_time` is the first sample's dts in ticks since the run's start.

    With `wall_ns` a `prft` in front tells when the first picture reached us: the live path's true frame time.
    """
    count = len(samples)
    if not count:
        raise ValueError("an empty fragment")
    # A fragment mostly begins with a key frame or has none, which the defaults can say; else every sample has flags.
    mixed = any(sample.key != samples[-1].key for sample in samples[1:-1])
    first_differs = not mixed and count > 1 and samples[0].key != samples[-1].key
    default_flags = SYNC_SAMPLE if samples[-1].key else NON_SYNC_SAMPLE
    reordered = any(sample.cto for sample in samples)
    flags = 0x301 | (0x400 if mixed else 0x4 if first_differs else 0) | (0x800 if reordered else 0)
    numbers: list[int] = []
    for sample in samples:
        numbers += (sample.duration, len(sample.data))
        if mixed:
            numbers.append(SYNC_SAMPLE if sample.key else NON_SYNC_SAMPLE)
        if reordered:
            numbers.append(sample.cto & 0xFFFF_FFFF)
    first = struct.pack(">I", SYNC_SAMPLE if samples[0].key else NON_SYNC_SAMPLE) if first_differs else b""
    table = struct.pack(f">{len(numbers)}I", *numbers)
    moof_size = 8 + 16 + 8 + 20 + 20 + 20 + len(first) + len(table)
    body_size = sum(len(sample.data) for sample in samples)
    if body_size > 0xFFFF_FFF0:
        raise ValueError("a fragment is too long")
    head = struct.pack(
        ">I4s I4sIIII",  # moof, mfhd
        moof_size, b"moof", 16, b"mfhd", 0, sequence & 0xFFFF_FFFF, moof_size - 24, 0x74726166,
    ) + struct.pack(
        ">I4sIII I4sIQ I4sIII",  # tfhd (default-base-is-moof, default flags), tfdt v1, trun v1
        20, b"tfhd", 0x020020, track.value, default_flags,
        20, b"tfdt", 1 << 24, decode_time,
        20 + len(first) + len(table), b"trun", 1 << 24 | flags, count, moof_size + 8,
    )  # fmt: skip
    prefix = b"" if wall_ns is None else producer_reference_time(track, wall_ns, decode_time)
    return b"".join(
        (prefix, head, first, table, _BOX(8 + body_size, b"mdat"), *(sample.data for sample in samples))
    )  # fmt: skip


def producer_reference_time(track: Track, wall_ns: int, media_time: int) -> bytes:
    """`prft` (14496-12 §8.16.5): the NTP time at which the sample with `media_time` was captured or received."""
    seconds, rest_ns = divmod(wall_ns, 1_000_000_000)
    ntp = ((seconds + NTP_EPOCH_S) & 0xFFFF_FFFF) << 32 | (rest_ns << 32) // 1_000_000_000
    return full_box(b"prft", 1, 0, struct.pack(">IQQ", track.value, ntp, media_time))


def random_access_index(entries: Iterable[FragmentEntry], media_start: int) -> bytes:
    """Closing `mfra`: the video fragments that begin with a key frame (14496-12 §8.8.9). Marks a sealed file.

    `media_start` is the decode time of the segment's first picture in the run.
    """
    points = [entry for entry in entries if entry.track is Track.VIDEO and entry.key]
    rows = b"".join(
        struct.pack(">QQBBB", media_start + entry.start, entry.offset, 1, 1, 1) for entry in points
    )  # fmt: skip
    tfra = full_box(b"tfra", 1, 0, struct.pack(">III", Track.VIDEO.value, 0, len(points)), rows)
    return box(b"mfra", tfra, full_box(b"mfro", 0, 0, struct.pack(">I", 8 + len(tfra) + 16)))


# -- fragments made from fragments -----------------------------------------------------------------------------------


def key_frame_fragment(data: bytes, duration: int) -> bytes:
    """The first sample of a stored video fragment as a fragment of its own, `duration` ticks long.

    Fast playback shows only these: each key frame stays until the next, a fiftieth of the bytes.
    """
    moof = parse_moof(data)
    first = moof.samples[0]
    if first.offset + first.size > len(data):
        raise ValueError("fragment ends early")
    sample = Sample(data[first.offset : first.offset + first.size], duration, first.key, first.cto)
    return fragment(moof.track, moof.sequence, moof.decode_time, (sample,))
