"""Fragmented MP4, read: walking boxes, init segments, fragments, and what of a torn file is whole. (pure)

Belongs here: parsers of what `storage.media.fmp4` writes, tolerant of what others write in the same boxes, and the
identity of a segment. Does not belong here: files; a reader is ``read(offset, count) -> bytes``, which may return less.

Every parser is total: on garbage it raises ValueError, in time and memory bounded by the size of the input.
"""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from storage.media.access_unit import AudioConfig, StreamConfig, Track, VideoConfig
from storage.media.codecs import aac_config, g711_config, video_config_of_record
from storage.media.fragment_index import ENTRIES_MAX, FragmentEntry

Read = Callable[[int, int], bytes]

#: Marks the identity box of a tiergate segment (uuid5 of "tiergate.identity" in the DNS namespace). Never changes.
IDENTITY_UUID = uuid.UUID("6b1251b1-96c8-5f8c-813c-476431cd09e2")
IDENTITY_VERSION = 1

#: An init segment is about 1 kB, a moof of 1 s some hundred bytes; a claim above this is garbage, not a reason to read.
HEAD_MAX_BYTES = 1 << 20
#: Samples of one fragment: 1 s of the fastest camera is 1 000; G.711 in one-byte samples would be 48 000.
SAMPLES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Identity:
    """What a segment says about itself, so that a catalog can be rebuilt from the store alone (I9)."""

    node: str
    camera: str
    stream: str
    run: str
    segment: str
    retention_class: str
    kind: str  #: `own`, `cache`, `necessity`, `evidence`
    wall_start_ns: int  #: UTC of the first picture
    time_trust: str  #: how far our clock was trusted when the segment began


@dataclass(frozen=True, slots=True)
class Box:
    kind: bytes
    offset: int  #: of its header
    body: int  #: offset of its payload
    end: int

    @property
    def size(self) -> int:
        return self.end - self.offset


def _header(head: bytes, offset: int, limit: int) -> Box:
    """The box whose first bytes are `head`; it must end at or before `limit`."""
    if len(head) < 8:
        raise ValueError("box header ends early")
    size, kind = int.from_bytes(head[:4], "big"), head[4:8]
    body = offset + 8
    if size == 1:
        if len(head) < 16:
            raise ValueError("box header ends early")
        size, body = int.from_bytes(head[8:16], "big"), offset + 16
    elif size == 0:
        size = limit - offset  # to the end of the file (14496-12 §4.2)
    if size < body - offset or offset + size > limit:
        raise ValueError(f"box {kind!r} leaves its container")
    return Box(kind, offset, body, offset + size)


def walk(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes of ``data[start:end]``, one level."""
    limit = len(data) if end is None else end
    while start < limit:
        found = _header(data[start : min(start + 16, limit)], start, limit)
        yield found
        start = found.end


def walk_source(read: Read, size: int, start: int = 0) -> Iterator[Box]:
    """Top-level boxes of a file of `size` bytes, read by header only."""
    while start < size:
        found = _header(read(start, min(16, size - start)), start, size)
        yield found
        start = found.end


def _unpack(layout: str, data: bytes, offset: int, end: int) -> tuple[int, ...]:
    if offset + struct.calcsize(layout) > end or end > len(data):
        raise ValueError("box ends early")
    return struct.unpack_from(layout, data, offset)


def _child(data: bytes, parent: Box, *path: bytes) -> Box:
    for kind in path:
        for found in walk(data, parent.body, parent.end):
            if found.kind == kind:
                parent = found
                break
        else:
            raise ValueError(f"box {kind!r} is missing")
    return parent


# -- init segment ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Init:
    """An init segment as read."""

    config: StreamConfig
    identity: Identity | None
    size: int  #: bytes of ftyp, moov and the identity: where fragments begin


def parse_init(data: bytes) -> Init:
    """``ftyp moov [uuid]`` at the start of `data`; what follows is not looked at."""
    moov: Box | None = None
    identity: Identity | None = None
    end = 0
    for found in walk(data):
        if found.kind == b"moov" and moov is None:
            moov = found
        elif found.kind == b"uuid" and data[found.body : found.body + 16] == IDENTITY_UUID.bytes:
            identity = parse_identity(data[found.body + 16 : found.end])
        elif found.kind not in (b"ftyp", b"free", b"uuid"):
            break
        end = found.end
        if moov is not None and identity is not None:
            break
    if moov is None:
        raise ValueError("no moov box")
    return Init(_parse_moov(data, moov), identity, end)


def parse_identity(payload: bytes) -> Identity:
    """The JSON of an identity box. Unknown fields of later versions are ignored."""
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise ValueError("identity box is not JSON") from exc
    if not isinstance(fields, dict) or not isinstance(fields.get("v"), int):
        raise ValueError("identity box has no version")
    texts: list[str] = []
    for name in ("node", "camera", "stream", "run", "segment", "class", "kind", "time_trust"):
        value = fields.get(name)
        if not isinstance(value, str):
            raise ValueError(f"identity box has no {name}")
        texts.append(value)
    wall = fields.get("wall_start_ns")
    if not isinstance(wall, int) or isinstance(wall, bool):
        raise ValueError("identity box has no wall_start_ns")
    node, camera, stream, run, segment, retention_class, kind, trust = texts
    return Identity(node, camera, stream, run, segment, retention_class, kind, wall, trust)


def _parse_moov(data: bytes, moov: Box) -> StreamConfig:
    video: VideoConfig | None = None
    audio: AudioConfig | None = None
    for trak in walk(data, moov.body, moov.end):
        if trak.kind != b"trak":
            continue
        mdia = _child(data, trak, b"mdia")
        handler = _child(data, mdia, b"hdlr")
        kind = data[handler.body + 8 : handler.body + 12]
        stsd = _child(data, mdia, b"minf", b"stbl", b"stsd")
        entry = next(walk(data, stsd.body + 8, stsd.end), None)
        if entry is None:
            raise ValueError("no sample entry")
        if kind == b"vide" and video is None:
            video = _parse_video(data, entry, _timescale(data, mdia))
        elif kind == b"soun" and audio is None:
            audio = _parse_audio(data, entry, _timescale(data, mdia))
    if video is None:
        raise ValueError("no video track")
    return StreamConfig(video, audio)


def _timescale(data: bytes, mdia: Box) -> int:
    mdhd = _child(data, mdia, b"mdhd")
    (version,) = _unpack(">B", data, mdhd.body, mdhd.end)
    (timescale,) = _unpack(">I", data, mdhd.body + (20 if version else 12), mdhd.end)
    if timescale == 0:
        raise ValueError("timescale is 0")
    return timescale


def _parse_video(data: bytes, entry: Box, timescale: int) -> VideoConfig:
    codecs: dict[bytes, tuple[Literal["h264", "h265"], bytes]] = {
        b"avc1": ("h264", b"avcC"), b"hvc1": ("h265", b"hvcC"), b"hev1": ("h265", b"hvcC"),
    }  # fmt: skip
    if entry.kind not in codecs:
        raise ValueError(f"video sample entry {entry.kind!r} is not supported")
    codec, record_kind = codecs[entry.kind]
    width, height = _unpack(">HH", data, entry.body + 24, entry.end)
    record = _child(data, Box(entry.kind, entry.offset, entry.body + 78, entry.end), record_kind)
    parsed = video_config_of_record(codec, data[record.body : record.end])
    return VideoConfig(codec, parsed.record, width, height, parsed.rfc6381, timescale)


def _parse_audio(data: bytes, entry: Box, timescale: int) -> AudioConfig:
    channels, _, _, _ = _unpack(">HHHH", data, entry.body + 16, entry.end)
    if entry.kind == b"mp4a":
        esds = _child(data, Box(entry.kind, entry.offset, entry.body + 28, entry.end), b"esds")
        return aac_config(_specific_config(data[esds.body + 4 : esds.end]))
    if entry.kind in (b"alaw", b"ulaw"):
        return g711_config("pcma" if entry.kind == b"alaw" else "pcmu", timescale, channels)
    raise ValueError(f"audio sample entry {entry.kind!r} is not supported")


def _specific_config(body: bytes) -> bytes:
    """AudioSpecificConfig out of an ES_Descriptor (14496-1 §7.2.6)."""
    skip = {3: 3, 4: 13}  # bytes of ES_Descriptor and DecoderConfigDescriptor before their nested descriptors
    pos = 0
    while pos + 2 <= len(body):
        tag, size = body[pos], 0
        pos += 1
        for _ in range(4):
            if pos >= len(body):
                raise ValueError("descriptor ends early")
            byte = body[pos]
            pos += 1
            size = size << 7 | byte & 0x7F
            if byte < 0x80:
                break
        if tag == 5:
            if pos + size > len(body):
                raise ValueError("descriptor ends early")
            return body[pos : pos + size]
        pos += skip.get(tag, size)
    raise ValueError("no AudioSpecificConfig")


# -- fragments -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SampleInfo:
    offset: int  #: bytes from the start of the moof
    size: int
    duration: int
    key: bool
    cto: int  #: pts - dts


@dataclass(frozen=True, slots=True)
class Moof:
    """A parsed `moof`; `size` is its own length, the `mdat` follows."""

    track: Track
    sequence: int
    decode_time: int  #: ticks since the start of the run
    decode_time_offset: int  #: where the 8 bytes of tfdt lie in the data that was parsed
    samples: tuple[SampleInfo, ...]
    size: int

    @property
    def duration(self) -> int:
        return sum(sample.duration for sample in self.samples)


def parse_moof(data: bytes) -> Moof:
    """The `moof` at the start of `data` (a leading `prft` or `styp` is skipped; offsets then count from the moof)."""
    for found in walk_source(lambda offset, count: data[offset : offset + count], 1 << 63):
        if found.end > len(data):
            break
        if found.kind == b"moof":
            return _parse_moof(data, found)
        if found.kind not in (b"prft", b"styp", b"free", b"uuid", b"sidx"):
            break
    raise ValueError("no moof box")


def _parse_moof(data: bytes, moof: Box) -> Moof:
    mfhd = _child(data, moof, b"mfhd")
    (sequence,) = _unpack(">I", data, mfhd.body + 4, mfhd.end)
    trafs = [found for found in walk(data, moof.body, moof.end) if found.kind == b"traf"]
    if len(trafs) != 1:
        raise ValueError("a fragment must have one track")
    traf = trafs[0]
    tfhd = _child(data, traf, b"tfhd")
    flags, track_id = _unpack(">II", data, tfhd.body, tfhd.end)
    if track_id not in (1, 2) or not flags & 0x020000 or flags & 0x1:
        raise ValueError("fragment is not one of ours")
    pos = tfhd.body + 8 + (4 if flags & 0x2 else 0)
    defaults = [0, 0, 0]  # duration, size, flags
    for index, bit in enumerate((0x8, 0x10, 0x20)):
        if flags & bit:
            (defaults[index],) = _unpack(">I", data, pos, tfhd.end)
            pos += 4
    tfdt = _child(data, traf, b"tfdt")
    (version,) = _unpack(">B", data, tfdt.body, tfdt.end)
    if version != 1:
        raise ValueError("tfdt is not 64-bit")
    (decode_time,) = _unpack(">Q", data, tfdt.body + 4, tfdt.end)
    runs = [found for found in walk(data, traf.body, traf.end) if found.kind == b"trun"]
    if len(runs) != 1:
        raise ValueError("a fragment must have one run of samples")
    samples = _parse_trun(data, runs[0], (defaults[0], defaults[1], defaults[2]))
    return Moof(Track(track_id), sequence, decode_time, tfdt.body + 4, samples, moof.size)


def _parse_trun(data: bytes, trun: Box, defaults: tuple[int, int, int]) -> tuple[SampleInfo, ...]:
    word, count = _unpack(">II", data, trun.body, trun.end)
    flags, signed = word & 0xFFFFFF, word >> 24 == 1
    if not 0 < count <= SAMPLES_MAX or not flags & 0x1:
        raise ValueError("impossible run of samples")
    (offset,) = _unpack(">i", data, trun.body + 8, trun.end)
    pos = trun.body + 12
    first_flags = defaults[2]
    if flags & 0x4:
        (first_flags,) = _unpack(">I", data, pos, trun.end)
        pos += 4
    columns = [bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800)]
    width = sum(columns)
    values = iter(_unpack(f">{count * width}I", data, pos, trun.end))
    samples: list[SampleInfo] = []
    for index in range(count):
        duration = next(values) if columns[0] else defaults[0]
        size = next(values) if columns[1] else defaults[1]
        sample_flags = next(values) if columns[2] else first_flags if index == 0 else defaults[2]
        cto = next(values) if columns[3] else 0
        if signed and cto >= 1 << 31:
            cto -= 1 << 32
        samples.append(SampleInfo(offset, size, duration, not sample_flags & 0x10000, cto))
        offset += size
    return tuple(samples)


# -- torn files ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Salvage:
    """What of a file is whole."""

    init: Init | None  #: None: not even the init segment is there
    good_length: int  #: bytes up to the end of the last whole fragment; 0 without an init segment
    fragments: tuple[FragmentEntry, ...]
    media_start: int  #: decode time of the first picture in the run; FragmentEntry.start counts from it
    sealed: bool  #: a closing index follows and ends the file: nothing is missing

    @property
    def duration(self) -> int:
        """Ticks of video."""
        return max((entry.end for entry in self.fragments if entry.track is Track.VIDEO), default=0)


def salvage(read: Read, size: int, check_samples: bool = True) -> Salvage:
    """The longest prefix of a file that is an init segment and whole fragments. Never raises on garbage.

    After a power loss a file may have its length but pages of zeros; `check_samples` therefore walks the NAL lengths of
    each picture. Without it only headers are read, which is what playing an open part needs.
    """
    try:
        init = parse_init(read(0, min(size, HEAD_MAX_BYTES)))
    except ValueError:
        return Salvage(None, 0, (), 0, False)
    position, entries, zero = init.size, list[FragmentEntry](), -1
    while position < size and len(entries) < ENTRIES_MAX:
        try:
            moof, end = _fragment_at(read, position, size, check_samples)
        except ValueError:
            break
        first = moof.samples[0]
        if zero < 0:
            if moof.track is not Track.VIDEO or not first.key:
                break
            zero = moof.decode_time
        start = moof.decode_time
        if moof.track is Track.AUDIO:
            rate = init.config.audio.timescale if init.config.audio else 1
            start -= rescale(zero, init.config.video.timescale, rate)
        else:
            start -= zero
        entries.append(
            FragmentEntry(position, end - position, moof.track, start, moof.duration, first.key, len(moof.samples))
        )
        position = end
    return Salvage(init, position, tuple(entries), max(zero, 0), _is_sealed(read, position, size))


def rescale(ticks: int, from_timescale: int, to_timescale: int) -> int:
    """`ticks` in another timescale, rounded to nearest; the one rounding rule for the start of audio."""
    return (2 * ticks * to_timescale + from_timescale) // (2 * from_timescale)


def _fragment_at(read: Read, position: int, size: int, check_samples: bool) -> tuple[Moof, int]:
    boxes = walk_source(read, size, position)
    head = next(boxes)
    if head.kind != b"moof" or head.size > HEAD_MAX_BYTES:
        raise ValueError("not a fragment")
    moof = parse_moof(read(head.offset, head.size))
    mdat = next(boxes, None)
    if mdat is None or mdat.kind != b"mdat":
        raise ValueError("no mdat behind moof")
    low, high = mdat.body - position, mdat.end - position
    last = moof.samples[-1]
    if moof.samples[0].offset != low or last.offset + last.size != high:
        raise ValueError("samples and mdat differ")
    if check_samples and moof.track is Track.VIDEO:
        for sample in moof.samples:
            _check_sample(read(position + sample.offset, sample.size), sample.size)
    return moof, mdat.end


def _check_sample(data: bytes, size: int) -> None:
    position = 0
    while position < size:
        body = position + 4
        length = int.from_bytes(data[position:body], "big")
        if body > len(data) or length == 0:
            raise ValueError("sample is damaged")
        position = body + length
    if position != size or len(data) != size:
        raise ValueError("sample is damaged")


def _is_sealed(read: Read, position: int, size: int) -> bool:
    """Whether exactly one whole `mfra` lies between `position` and the end."""
    try:
        index = next(walk_source(read, size, position))
        tail = read(size - 16, 16)
        return index.kind == b"mfra" and index.end == size and tail[4:8] == b"mfro" and index.size == _u32(tail[12:])
    except (ValueError, StopIteration):
        return False


def _u32(data: bytes) -> int:
    return int.from_bytes(data, "big")
