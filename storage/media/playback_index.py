"""From the fragment indices of a window's segments to an HLS playlist over byte ranges. (pure)

Belongs here: which bytes of which segments make up a window, and the text of a VOD playlist (RFC 8216).
Does not belong here: reading bytes, sessions and URIs (`gateway.playback`).

An entry runs from one key frame to the next. Its video fragments may have audio between them, and a browser's video
SourceBuffer must not see audio, so an entry has several byte `ranges`; the server concatenates them. A URI therefore
names a segment and the entry's `ordinal` in it, never bytes. `tfdt` counts from the start of the run
(`storage.media.fmp4`), so a discontinuity is needed where the run changes or a segment is missing, and nowhere else.

Above double speed a playlist of key frames alone (`key_frames_only`): the entry's first fragment is rewritten by
`storage.media.fmp4.key_frame_fragment` to one picture that lasts as long as the entry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from storage.media.access_unit import VIDEO_TIMESCALE, Track
from storage.media.fragment_index import FragmentEntry

#: Two segments of a run whose wall times differ by more have lost one between them.
SEAM_MS = 500


@dataclass(frozen=True, slots=True)
class PlaybackSegment:
    """A segment, or an open part, that a window may show."""

    segment_id: str
    run_id: str
    start_ms: int
    end_ms: int
    fragments: Sequence[FragmentEntry]
    timescale: int = VIDEO_TIMESCALE


@dataclass(frozen=True, slots=True)
class PlaybackEntry:
    """One line of a playlist: from a key frame until the next."""

    segment_id: str
    run_id: str
    ordinal: int  #: among the segment's entries
    start_ms: int  #: wall time of its first picture, UTC
    start: int  #: ticks since the segment's start
    duration: int  #: ticks
    timescale: int
    ranges: tuple[tuple[int, int], ...]  #: (offset, size), video alone, neighbours joined
    key_range: tuple[int, int]  #: the fragment that begins with the key frame
    discontinuity: bool = False  #: its timeline does not follow that of the entry before

    @property
    def duration_s(self) -> float:
        return self.duration / self.timescale

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.duration * 1000 // self.timescale

    @property
    def size(self) -> int:
        return sum(size for _, size in self.ranges)


@dataclass(frozen=True, slots=True)
class Playlist:
    entries: tuple[PlaybackEntry, ...]
    key_frames_only: bool
    start_offset_s: float  #: from the first entry to the asked instant: an entry begins at its key frame


def segment_entries(segment: PlaybackSegment) -> list[PlaybackEntry]:
    """All entries of a segment. Pictures before its first key frame belong to none."""
    groups: list[list[FragmentEntry]] = []
    for fragment in segment.fragments:
        if fragment.track is not Track.VIDEO:
            continue
        if fragment.key:
            groups.append([fragment])
        elif groups:
            groups[-1].append(fragment)
    entries: list[PlaybackEntry] = []
    for ordinal, group in enumerate(groups):
        first = group[0]
        end = groups[ordinal + 1][0].start if ordinal + 1 < len(groups) else group[-1].end
        entries.append(
            PlaybackEntry(
                segment.segment_id,
                segment.run_id,
                ordinal,
                segment.start_ms + first.start * 1000 // segment.timescale,
                first.start,
                max(end - first.start, 1),
                segment.timescale,
                _join_ranges(group),
                (first.offset, first.size),
            )
        )
    return entries


def _join_ranges(group: Iterable[FragmentEntry]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for fragment in group:
        if ranges and sum(ranges[-1]) == fragment.offset:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + fragment.size)
        else:
            ranges.append((fragment.offset, fragment.size))
    return tuple(ranges)


def build_playlist(
    segments: Iterable[PlaybackSegment], from_ms: int, to_ms: int, *, key_frames_only: bool = False
) -> Playlist:
    """Entries that overlap ``[from_ms, to_ms)``, in order of wall time. The first begins at or before `from_ms`."""
    entries: list[PlaybackEntry] = []
    before: PlaybackSegment | None = None
    broken = False
    for segment in sorted(segments, key=lambda segment: (segment.start_ms, segment.segment_id)):
        follows = before is not None and before.run_id == segment.run_id
        if not follows or before is None or abs(segment.start_ms - before.end_ms) > SEAM_MS:
            broken = True
        before = segment
        if segment.end_ms <= from_ms or segment.start_ms >= to_ms:
            continue
        chosen = [e for e in segment_entries(segment) if e.start_ms < to_ms and e.end_ms > from_ms]
        if not chosen:
            broken = True
            continue
        if broken and entries:
            chosen[0] = replace(chosen[0], discontinuity=True)
        entries += chosen
        broken = False
    offset = max(0.0, (from_ms - entries[0].start_ms) / 1000) if entries else 0.0
    return Playlist(tuple(entries), key_frames_only, offset)


def render_m3u8(playlist: Playlist, uri_for: Callable[[PlaybackEntry], str], map_uri_for: Callable[[str], str]) -> str:
    """The playlist's text. `map_uri_for(run_id)` is the address of the run's video-only init segment."""
    longest = max((entry.duration_s for entry in playlist.entries), default=1.0)
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        # RFC 8216 §4.3.3.1: no EXTINF, rounded, may be above it
        f"#EXT-X-TARGETDURATION:{max(1, math.ceil(longest))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]
    if playlist.start_offset_s > 0:
        lines.append(f"#EXT-X-START:TIME-OFFSET={playlist.start_offset_s:.3f},PRECISE=YES")
    run_id: str | None = None
    for entry in playlist.entries:
        if entry.discontinuity:
            lines.append("#EXT-X-DISCONTINUITY")
        if entry.run_id != run_id:
            run_id = entry.run_id
            lines.append(f'#EXT-X-MAP:URI="{_checked(map_uri_for(run_id))}"')
        instant = datetime.fromtimestamp(entry.start_ms // 1000, UTC)
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{instant.strftime('%Y-%m-%dT%H:%M:%S')}.{entry.start_ms % 1000:03d}Z")
        lines.append(f"#EXTINF:{entry.duration_s:.6f},")
        lines.append(_checked(uri_for(entry)))
    lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def _checked(uri: str) -> str:
    if not uri or any(character in uri for character in '\r\n"#') or uri != uri.strip():
        raise ValueError("a URI that would break the playlist")
    return uri
