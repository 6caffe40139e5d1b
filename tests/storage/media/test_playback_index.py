"""Playback: a playlist's bytes are the window's pictures, and a real player plays them."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from pathlib import Path

import pytest

from storage.media import fmp4
from storage.media.access_unit import Track
from storage.media.boxes import parse_init
from storage.media.fragment_index import FragmentEntry
from storage.media.playback_index import (
    PlaybackEntry,
    PlaybackSegment,
    build_playlist,
    render_m3u8,
    segment_entries,
)
from storage.segmenter import CloseSegment, OpenSegment, Segmenter, SegmenterPolicy, SegmentLabels, Write
from tests import media


def entry(offset: int, size: int, start: int, duration: int, *, key: bool, track: Track = Track.VIDEO) -> FragmentEntry:
    return FragmentEntry(offset, size, track, start, duration, key, 1)


def script(segment_id: str, run_id: str, start_ms: int, seconds: int = 4) -> PlaybackSegment:
    """Key frames each 2 s, fragments of 1 s with a fragment of audio behind each second one."""
    fragments, offset = [], 1000
    for second in range(seconds):
        fragments.append(entry(offset, 100, second * 90_000, 90_000, key=second % 2 == 0))
        offset += 100
        if second % 2:
            fragments.append(entry(offset, 10, second * 8000, 8000, key=True, track=Track.AUDIO))
            offset += 10
    return PlaybackSegment(segment_id, run_id, start_ms, start_ms + seconds * 1000, fragments)


def test_entries_begin_at_key_frames_and_carry_video_alone() -> None:
    first, second = segment_entries(script("s", "r", 5_000))
    assert (first.ordinal, first.start_ms, first.duration_s, first.ranges) == (0, 5_000, 2.0, ((1000, 200),))
    assert (second.ordinal, second.start_ms, second.ranges, second.key_range) == (1, 7_000, ((1210, 200),), (1210, 100))
    between = PlaybackSegment("s", "r", 0, 3000, [
        entry(0, 5, 0, 90_000, key=False), entry(5, 10, 90_000, 90_000, key=True),
        entry(15, 3, 8000, 8000, key=True, track=Track.AUDIO), entry(18, 7, 180_000, 90_000, key=False),
    ])  # fmt: skip
    (only,) = segment_entries(between)
    assert only.ranges == ((5, 10), (18, 7)) and only.size == 17 and only.duration == 180_000


def test_a_window_begins_at_the_key_frame_before_it() -> None:
    playlist = build_playlist([script("a", "r", 0), script("b", "r", 4000)], 3_000, 5_000)
    assert [(e.segment_id, e.ordinal) for e in playlist.entries] == [("a", 1), ("b", 0)]
    assert playlist.start_offset_s == 1.0
    assert build_playlist([script("a", "r", 0)], 4_000, 9_000).entries == ()


def test_discontinuities_stand_where_the_timeline_breaks_and_nowhere_else() -> None:
    segments = [
        script("a", "r1", 0), script("b", "r1", 4_000), script("d", "r1", 12_000), script("e", "r2", 16_000),
    ]  # fmt: skip
    playlist = build_playlist(reversed(segments), 0, 99_000)
    assert [(e.segment_id, e.discontinuity) for e in playlist.entries if e.ordinal == 0] == [
        ("a", False), ("b", False), ("d", True), ("e", True),
    ]  # fmt: skip
    assert not any(e.discontinuity for e in playlist.entries if e.ordinal)


def render(entries_from: list[PlaybackSegment]) -> str:
    playlist = build_playlist(entries_from, 1_500, 99_000)
    return render_m3u8(playlist, lambda e: f"{e.segment_id}-{e.ordinal}.m4s", lambda run: f"{run}.mp4")


def test_playlist_text() -> None:
    text = render([script("a", "r1", 0), script("b", "r2", 20_000)])
    assert text.splitlines()[:8] == [
        "#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:2", "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-INDEPENDENT-SEGMENTS", "#EXT-X-START:TIME-OFFSET=1.500,PRECISE=YES",
        '#EXT-X-MAP:URI="r1.mp4"',
    ]  # fmt: skip
    assert text.count("#EXT-X-DISCONTINUITY\n") == text.count("#EXT-X-MAP") - 1 == 1
    assert "#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:02.000Z\n#EXTINF:2.000000,\na-1.m4s\n" in text
    assert text.endswith("#EXT-X-ENDLIST\n")


def test_a_uri_that_breaks_the_playlist_is_refused() -> None:
    playlist = build_playlist([script("a", "r", 0)], 0, 9_000)
    for uri in ("a\nb", "", " a", '"'):
        with pytest.raises(ValueError, match="URI"):
            render_m3u8(playlist, lambda _, uri=uri: uri, lambda run: run)  # type: ignore[misc]  # bound default


def serve(tmp_path: Path, *, key_frames_only: bool) -> tuple[Path, int]:
    """Record two runs with sound, lay out what a server would send; (playlist, pictures)."""
    numbers = itertools.count()
    subject = Segmenter(SegmenterPolicy(segment_ms=2_000), lambda: f"id{next(numbers):03d}")
    files: dict[str, bytearray] = {}
    inits: dict[str, bytes] = {}
    segments: list[PlaybackSegment] = []
    for turn in range(2):
        packets = media.encode_h264(5.0, gop=25)
        sound = media.encode_g711(5.0)
        config = media.stream_config("h264", packets, sound[0])
        units = media.access_units("h264", packets, audio=sound, wall_ns=media.WALL_NS + turn * 60 * 10**9)
        commands = subject.begin(config, SegmentLabels("n", "c"))
        for unit in units:
            commands += subject.push(unit)
        commands += subject.end("stop")
        current = ""
        for command in commands:
            if isinstance(command, OpenSegment):
                current = command.segment_id
                files[current] = bytearray(command.init)
                only_video = parse_init(command.init).config
                inits[command.run_id] = fmp4.init_segment(only_video, tracks=(Track.VIDEO,))
            elif isinstance(command, Write):
                files[current] += command.data
            elif isinstance(command, CloseSegment):
                start_ms, end_ms = command.wall_start_ns // 10**6, command.end_wall_ns // 10**6
                segments.append(PlaybackSegment(current, command.run_id, start_ms, end_ms, command.fragments))
    playlist = build_playlist(segments, 0, 2**50, key_frames_only=key_frames_only)

    def body(item: PlaybackEntry) -> bytes:
        data = files[item.segment_id]
        if playlist.key_frames_only:
            offset, size = item.key_range
            return fmp4.key_frame_fragment(bytes(data[offset : offset + size]), item.duration)
        return b"".join(bytes(data[offset : offset + size]) for offset, size in item.ranges)

    for item in playlist.entries:
        (tmp_path / f"{item.segment_id}-{item.ordinal}.m4s").write_bytes(body(item))
    for run_id, init in inits.items():
        (tmp_path / f"{run_id}.mp4").write_bytes(init)
    text = render_m3u8(playlist, lambda e: f"{e.segment_id}-{e.ordinal}.m4s", lambda run: f"{run}.mp4")
    (tmp_path / "list.m3u8").write_text(text)
    assert len(re.findall("DISCONTINUITY\n", text)) == 1
    return tmp_path / "list.m3u8", len(playlist.entries)


@pytest.mark.parametrize("key_frames_only", [False, True])
def test_ffprobe_decodes_every_picture(tmp_path: Path, key_frames_only: bool) -> None:
    path, entries = serve(tmp_path, key_frames_only=key_frames_only)
    assert entries == 10
    # ffmpeg's HLS reader does not rebase at a discontinuity as players do, so each run is judged by itself.
    head, *runs = re.split(r"(?=#EXT-X-MAP)", path.read_text())
    assert len(runs) == 2
    for number, part in enumerate(runs):
        single = tmp_path / f"run{number}.m3u8"
        single.write_text(head + part.replace("#EXT-X-DISCONTINUITY\n", "#EXT-X-ENDLIST\n"))
        answer = subprocess.run(
            ["ffprobe", "-v", "error", "-allowed_extensions", "ALL", "-count_packets", "-count_frames",
             "-show_entries", "stream=nb_read_packets,nb_read_frames", "-of", "json", str(single)],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        count = "5" if key_frames_only else "125"
        assert json.loads(answer.stdout)["streams"] == [{"nb_read_frames": count, "nb_read_packets": count}]
        assert answer.stderr == ""
