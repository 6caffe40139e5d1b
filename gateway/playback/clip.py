"""A clip: the original pictures and sound of a window as one fragmented MP4 that starts at a key frame.

Belongs here: choosing fragments, moving their times to one timeline from 0, saying what is missing.
Does not belong here: permission and register (`gateway.web.routers.playback`), a clip with a watermark, whose pictures
are encoded anew (`gateway.playback.burnt`).

Gaps are left out and named: the pictures before and after follow each other, and the answer says where and how long.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from config.errors import Kind, TiergateError
from config.units import SHANGHAI, format_time_ms
from gateway.playback.footage import Footage, Piece
from storage.media.access_unit import StreamConfig, Track
from storage.media.boxes import parse_moof, rescale
from storage.media.fmp4 import init_segment
from storage.media.fragment_index import FragmentEntry
from storage.media.playback_index import SEAM_MS, segment_entries

LIMIT_MINUTES = 120
_READ_BYTES = 4 << 20
#: So much is compared with what was recorded before the answer begins; the rest while it is sent.
_EXAMINE_FIRST_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Gap:
    """Time that the clip does not show."""

    from_ms: int
    to_ms: int
    at_s: float  #: where in the clip


@dataclass(frozen=True, slots=True)
class _Take:
    """Fragments of one piece and where they go: `zero` is the clip's time of the piece's first picture, in ticks."""

    piece: Piece
    zero: int
    fragments: tuple[FragmentEntry, ...]


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip ready to be sent."""

    config: StreamConfig
    takes: tuple[_Take, ...]
    gaps: tuple[Gap, ...]
    start_ms: int  #: of the first picture, at or before what was asked
    end_ms: int
    damaged: tuple[tuple[int, int], ...] = ()  #: stretches that are known not to be what was recorded

    @property
    def init(self) -> bytes:
        return init_segment(self.config)

    @property
    def size(self) -> int:
        return len(self.init) + sum(fragment.size for take in self.takes for fragment in take.fragments)


async def examined(footage: Footage, pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces, those that are known to be damaged and the first of the others compared with what was recorded."""
    done: list[Piece] = []
    left = _EXAMINE_FIRST_BYTES
    for piece in pieces:
        size = sum(fragment.size for fragment in piece.fragments)
        if piece.damaged or size <= left:
            left -= size
            piece = await footage.examine(piece)
        done.append(piece)
    return done


async def plan(footage: Footage, pieces: Sequence[Piece], from_ms: int, to_ms: int) -> Clip:
    """Raises media.play_nothing, media.play_clip_mixed."""
    takes: list[_Take] = []
    gaps: list[Gap] = []
    config: StreamConfig | None = None
    clock = 0  #: end of the clip so far, in video ticks
    start_ms = end_ms = 0
    for piece in pieces:
        chosen = [e for e in segment_entries(piece.as_playback()) if e.start_ms < to_ms and e.end_ms > from_ms]
        if not chosen:
            continue
        own = await footage.config(piece)
        if config is None:
            config, start_ms = own, chosen[0].start_ms
            if start_ms - from_ms > SEAM_MS:
                gaps.append(Gap(from_ms, start_ms, 0.0))
        elif own != config:
            raise TiergateError(
                Kind.CONFLICT, "media.play_clip_mixed", at=format_time_ms(chosen[0].start_ms, local=True)
            )
        elif chosen[0].start_ms - end_ms > SEAM_MS:
            gaps.append(Gap(end_ms, chosen[0].start_ms, clock / config.video.timescale))
        first, scale = chosen[0].start, own.video.timescale
        last = next(e.start + e.duration for e in reversed(chosen))
        limit = min(last, (to_ms - piece.start_ms) * scale // 1000)
        taken = tuple(fragment for fragment in piece.fragments if _within(fragment, first, limit, own))
        zero = clock - first
        takes.append(_Take(piece, zero, taken))
        clock = zero + max(f.end for f in taken if f.track is Track.VIDEO)
        end_ms = piece.start_ms + (clock - zero) * 1000 // scale
    if config is None:
        raise TiergateError(Kind.NOT_FOUND, "media.play_nothing")
    if to_ms - end_ms > SEAM_MS:
        gaps.append(Gap(end_ms, to_ms, clock / config.video.timescale))
    damaged = tuple((take.piece.start_ms, take.piece.end_ms) for take in takes if take.piece.damaged)
    return Clip(config, tuple(takes), tuple(gaps), start_ms, end_ms, damaged)


def _within(fragment: FragmentEntry, first: int, limit: int, config: StreamConfig) -> bool:
    """Pictures from the key frame on until the end; sound that begins inside."""
    if fragment.track is Track.VIDEO:
        return first <= fragment.start < limit
    if config.audio is None:
        return False
    low, high = (rescale(ticks, config.video.timescale, config.audio.timescale) for ticks in (first, limit))
    return low <= fragment.start < high


@dataclass(frozen=True, slots=True)
class Placed:
    """A fragment as it was recorded, and where it goes."""

    track: Track
    time: int  #: in the clip, of its first sample; ticks of its track
    wall_ms: int  #: when that was
    data: bytes


async def send(footage: Footage, clip: Clip) -> AsyncGenerator[bytes, None]:
    """The clip's bytes, `Clip.size` of them. Raises as `read`."""
    yield clip.init
    sequence = 0
    async for group in read(footage, clip):
        out: list[bytes] = []
        for one in group:
            sequence += 1
            out.append(placed(one.data, one.time, sequence))
        yield b"".join(out)


async def read(footage: Footage, clip: Clip) -> AsyncIterator[list[Placed]]:
    """The clip's fragments, a few megabytes at a time. Raises media.segment_damaged rather than hand out what nobody
    has said to be damaged; it is known then, and asked for again the clip says so from the start."""
    for take in clip.takes:
        if not take.piece.verified and (await footage.examine(take.piece)).damaged:
            raise TiergateError(Kind.UNAVAILABLE, "media.segment_damaged")
        for group in _groups(take.fragments):
            base = group[0].offset
            length = group[-1].offset + group[-1].size - base
            data = await footage.read(take.piece, base, length)
            if len(data) != length:
                raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away")
            yield [_place(take, fragment, data[fragment.offset - base :], clip.config) for fragment in group]


def _groups(fragments: Sequence[FragmentEntry]) -> list[list[FragmentEntry]]:
    """Neighbours in the file, a few megabytes at a time."""
    groups: list[list[FragmentEntry]] = []
    for fragment in fragments:
        last = groups[-1] if groups else None
        touches = last is not None and last[-1].offset + last[-1].size == fragment.offset
        if last is not None and touches and fragment.offset + fragment.size - last[0].offset <= _READ_BYTES:
            last.append(fragment)
        else:
            groups.append([fragment])
    return groups


def _place(take: _Take, fragment: FragmentEntry, data: bytes, config: StreamConfig) -> Placed:
    if fragment.track is Track.VIDEO:
        rate, time = config.video.timescale, take.zero + fragment.start
    else:
        rate = config.audio.timescale if config.audio else 1
        # `zero` is negative where the clip begins inside a segment; the sound chosen begins behind that point.
        shift = rescale(abs(take.zero), config.video.timescale, rate)
        time = max(0, fragment.start + (shift if take.zero >= 0 else -shift))
    wall_ms = take.piece.start_ms + fragment.start * 1000 // rate
    return Placed(fragment.track, time, wall_ms, data[: fragment.size])


def placed(data: bytes, time: int, sequence: int) -> bytes:
    """The fragment at another time, with another number. Raises media.play_bytes_away when it is not one."""
    try:
        moof = parse_moof(data)
    except ValueError as exc:
        raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away") from exc
    at = moof.decode_time_offset
    placed = data[:at] + struct.pack(">Q", time) + data[at + 8 :]
    number = placed.index(b"mfhd") + 8  # behind version and flags
    return placed[:number] + struct.pack(">I", sequence) + placed[number + 4 :]


def file_name(camera_id: str, clip: Clip, watermark: bool = False) -> str:
    """Of digits and letters that no shell, disk or header minds; times as the wall clock in the room shows them."""
    first, last = (
        datetime.fromtimestamp(value // 1000, SHANGHAI).strftime("%Y%m%dT%H%M%S")
        for value in (clip.start_ms, clip.end_ms)
    )
    return f"{camera_id}_{first}_{last}{'_watermark' if watermark else ''}.mp4"
