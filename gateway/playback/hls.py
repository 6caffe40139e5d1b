"""HLS VOD over byte ranges: playlist, init segments, entries, key frames alone for fast playback.

Belongs here: the pieces of a session path. Does not belong here: which bytes make up an entry
(`storage.media.playback_index`), where bytes lie (`gateway.playback.footage`), the session itself
(`gateway.access.media_sessions`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from config.errors import Kind, TiergateError
from config.units import HOUR_MS
from gateway.playback.footage import Footage, Piece
from storage.media.access_unit import Track
from storage.media.fmp4 import init_segment, key_frame_fragment
from storage.media.playback_index import PlaybackEntry, build_playlist, render_m3u8, segment_entries

WINDOW_MS = 24 * HOUR_MS
KEY_FRAMES_ABOVE = 2.0  #: speed from which a player gets key frames alone
SPEED_MIN, SPEED_MAX = 0.25, 64.0


def check_window(from_ms: int, to_ms: int, limit_ms: int = WINDOW_MS) -> None:
    """Raises time.range_empty, time.range_too_long."""
    if to_ms <= from_ms:
        raise TiergateError(Kind.INVALID, "time.range_empty")
    if to_ms - from_ms > limit_ms:
        raise TiergateError(Kind.TOO_LARGE, "time.range_too_long", limit_hours=limit_ms // HOUR_MS)


def parse_speed(text: str) -> float:
    """Raises media.play_speed."""
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not SPEED_MIN <= speed <= SPEED_MAX:  # not a number is outside, too
        raise TiergateError(Kind.INVALID, "media.play_speed", value=text[:20])
    return speed


def playlist(pieces: Sequence[Piece], from_ms: int, to_ms: int, speed: float, base: str) -> str:
    """The playlist of a window; `base` is the session's path. Raises media.play_nothing."""
    fast = speed > KEY_FRAMES_ABOVE
    built = build_playlist(
        (piece.as_playback() for piece in pieces), from_ms, to_ms, key_frames_only=fast
    )  # fmt: skip
    if not built.entries:
        raise TiergateError(Kind.NOT_FOUND, "media.play_nothing")
    kind = "key" if fast else "seg"
    first_of_run = {entry.run_id: entry.segment_id for entry in reversed(built.entries)}
    return render_m3u8(
        built,
        lambda entry: f"{base}/{kind}/{entry.segment_id}/{entry.ordinal}.m4s",
        lambda run_id: f"{base}/init/{first_of_run[run_id]}.mp4",
    )


async def init(footage: Footage, piece: Piece) -> bytes:
    """The video-only init segment of the piece's run."""
    return init_segment(await footage.config(piece), (Track.VIDEO,))


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes to send: `size` of them."""

    size: int
    chunks: AsyncIterator[bytes]


def entry_of(piece: Piece, ordinal: int) -> PlaybackEntry:
    """Raises media.play_nothing."""
    entries = segment_entries(piece.as_playback())
    if not 0 <= ordinal < len(entries):
        raise TiergateError(Kind.NOT_FOUND, "media.play_nothing")
    return entries[ordinal]


def entry_body(footage: Footage, piece: Piece, entry: PlaybackEntry, wanted: tuple[int, int] | None = None) -> Body:
    """The entry's video fragments, or bytes ``[first, last]`` of them."""
    ranges = list(entry.ranges) if wanted is None else cut_ranges(entry.ranges, *wanted)
    return Body(sum(size for _, size in ranges), footage.stream(piece, ranges))


def cut_ranges(ranges: Sequence[tuple[int, int]], first: int, last: int) -> list[tuple[int, int]]:
    """Bytes `first` to `last`, both included, of the concatenation of `ranges`."""
    cut: list[tuple[int, int]] = []
    start = 0
    for offset, size in ranges:
        low, high = max(first - start, 0), min(last + 1 - start, size)
        if low < high:
            cut.append((offset + low, high - low))
        start += size
    return cut


async def key_frame(footage: Footage, piece: Piece, entry: PlaybackEntry) -> bytes:
    """The entry's key frame alone, shown for as long as the entry lasts."""
    data = await footage.read(piece, *entry.key_range)
    try:
        return key_frame_fragment(data, entry.duration)
    except ValueError as exc:
        raise TiergateError(Kind.UNAVAILABLE, "media.play_bytes_away") from exc


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(first, last) of a satisfiable single ``bytes=`` range (RFC 9110 §14.2); None: send all.

    Raises ValueError of a range behind the end, which answers 416. What we do not understand is ignored, as the RFC has
    it.
    """
    if header is None or not header.startswith("bytes=") or "," in header:
        return None
    low, dash, high = header[6:].strip().partition("-")
    if not dash or not (low + high).isascii() or not all(part == "" or part.isdigit() for part in (low, high)):
        return None
    if not low:
        count = int(high) if high else 0
        if count == 0:
            raise ValueError("empty suffix")
        return max(0, size - count), size - 1
    first, last = int(low), min(int(high), size - 1) if high else size - 1
    if high and int(high) < first:
        return None
    if first >= size:
        raise ValueError("range behind the end")
    return first, last
