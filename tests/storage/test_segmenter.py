"""The segmenter: on real media its files decode from the first frame; on misbehaving clocks it never stops."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.media.access_unit import AccessUnit, StreamConfig, Track
from storage.media.boxes import parse_init, salvage
from storage.media.codecs import VideoCodec
from storage.media.fragment_index import FragmentEntry
from storage.segmenter import (
    CloseSegment,
    Command,
    EndRun,
    OpenSegment,
    Segmenter,
    SegmenterPolicy,
    SegmentLabels,
    Write,
)
from tests import media
from tests.media import WALL_NS

LABELS = SegmentLabels("node-1", "21021100001311000001", time_trust="synchronised")
H264 = media.stream_config("h264", media.encode_h264())


def segmenter(**policy: float) -> Segmenter:
    numbers = itertools.count(1)
    return Segmenter(SegmenterPolicy(**policy), lambda: f"id{next(numbers):03d}")  # type: ignore[arg-type]  # ints and a float


def run(subject: Segmenter, config: StreamConfig, units: Iterable[AccessUnit], reason: str = "stop") -> list[Command]:
    commands = subject.begin(config, LABELS)
    for unit in units:
        commands += subject.push(unit)
    return commands + subject.end(reason)


def files(commands: list[Command]) -> list[bytes]:
    """Carry out the commands; checks that they can be."""
    done: list[bytes] = []
    current: bytearray | None = None
    for command in commands:
        if isinstance(command, OpenSegment):
            assert current is None
            current = bytearray(command.init)
        elif isinstance(command, Write):
            assert current is not None and command.entry.offset == len(current)
            assert command.entry.size == len(command.data)
            current += command.data
        elif isinstance(command, CloseSegment):
            assert current is not None
            current += command.index
            done.append(bytes(current))
            current = None
        else:
            assert current is None
    assert current is None
    return done


def of(commands: list[Command], kind: type) -> list:  # type: ignore[type-arg]  # of whichever kind was asked for
    return [command for command in commands if isinstance(command, kind)]


def picture(index: int, *, key: bool = False, fps: int = 25, **changes: int) -> AccessUnit:
    """A picture of a script: its data is one NAL unit, its times are those of `fps`."""
    step = 90_000 // fps
    data = b"\0\0\0\2" + (b"\x65" if key else b"\x41") + bytes((index & 0xFF,))
    dts = changes.get("dts", index * step)
    wall = changes.get("wall_ns", WALL_NS + index * 1_000_000_000 // fps)
    return AccessUnit(
        Track.VIDEO, dts, changes.get("pts", dts), step, wall, key, data, changes.get("epoch", 0)
    )  # fmt: skip


def script(count: int, gop: int = 25, fps: int = 25) -> list[AccessUnit]:
    return [picture(index, key=index % gop == 0, fps=fps) for index in range(count)]


def ffprobe(path: Path) -> dict:  # type: ignore[type-arg]  # JSON
    answer = subprocess.run(
        ["ffprobe", "-v", "error", "-show_packets", "-show_streams", "-of", "json", str(path)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert answer.stderr == ""
    return json.loads(answer.stdout)  # type: ignore[no-any-return]  # JSON


@pytest.mark.parametrize("codec", ["h264", "h265"])
@pytest.mark.parametrize("bframes", [0, 2])
@pytest.mark.parametrize("sound", ["aac", "pcma", "pcmu", None])
def test_every_segment_decodes_from_its_first_frame(
    codec: VideoCodec, bframes: int, sound: str | None, tmp_path: Path
) -> None:
    packets = (media.encode_h264 if codec == "h264" else media.encode_h265)(4.0, bframes=bframes)
    audio = media.encode_aac(4.0) if sound == "aac" else media.encode_g711(4.0, law=sound) if sound else None
    config = media.stream_config(codec, packets, audio[0] if audio else None)
    commands = run(segmenter(segment_ms=2_000), config, media.access_units(codec, packets, audio=audio))
    segments = files(commands)
    assert len(segments) >= 2
    decoded = [media.decode_mp4(data) for data in segments]
    assert sum(one.pictures for one in decoded) == len(packets)
    assert sorted(time for one in decoded for time in one.video_times) == sorted(p.pts for p in packets)
    assert [time for one in decoded for time in one.packet_times] == [p.dts for p in packets]
    for number, data in enumerate(segments):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(data)
        probe = ffprobe(path)
        first = next(p for p in probe["packets"] if p["codec_type"] == "video")
        assert "K" in first["flags"]
        assert parse_init(data).config == config
        check = subprocess.run(
            ["ffmpeg", "-v", "error", "-xerror", "-i", str(path), "-f", "null", "-"],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert check.stderr == ""
    if audio:
        sent = sum(1024 if sound == "aac" else len(frame) for frame in audio[1])
        got = sum(one.audio_samples for one in decoded)
        assert sent - 2048 <= got <= sent + 2048


def test_segments_of_a_run_are_one_timeline() -> None:
    commands = run(segmenter(segment_ms=2_000), H264, script(25 * 20))
    closed = of(commands, CloseSegment)
    assert len(closed) > 5 and len({c.run_id for c in closed}) == 1
    for before, after in itertools.pairwise(closed):
        assert before.end_wall_ns == after.wall_start_ns
        assert before.media_start + before.duration == after.media_start
    assert commands[-2:] == [closed[-1], *of(commands, EndRun)] and closed[-1].end_wall_ns == WALL_NS + 20 * 10**9
    assert [c.starts_run for c in of(commands, OpenSegment)] == [True] + [False] * (len(closed) - 1)
    for data, close in zip(files(commands), closed, strict=True):
        found = salvage(lambda o, n, d=data: d[o : o + n], len(data))  # type: ignore[misc]  # bound default
        assert found.sealed and found.fragments == close.fragments and found.media_start == close.media_start
        assert found.init and found.init.identity and found.init.identity.wall_start_ns == close.wall_start_ns


@pytest.mark.fault("A16")
def test_fragments_end_within_a_second_although_no_key_frame_comes() -> None:
    subject = segmenter()
    commands = run(subject, H264, script(25 * 250, gop=10**6))
    writes = of(commands, Write)
    assert max(w.entry.duration for w in writes) <= 90_000
    assert [w.entry.key for w in writes] == [True] + [False] * (len(writes) - 1)
    assert len(of(commands, CloseSegment)) == 1


def test_a_segment_without_key_frames_ends_at_its_cap_and_waits() -> None:
    subject = segmenter(segment_ms=2_000, segment_max_ms=10_000)
    commands = run(subject, H264, script(25 * 30, gop=25 * 20))
    assert [e.reason for e in of(commands, EndRun)] == ["no_key_frame", "stop"]
    assert [c.duration for c in of(commands, CloseSegment)] == [900_000, 900_000]
    assert subject.counters.leading_dropped == 25 * 10


def test_flush_writes_what_waited_and_the_next_fragment_corrects_it() -> None:
    subject = segmenter(fragment_ms=800)
    subject.begin(H264, LABELS)
    subject.push(picture(0, key=True))
    assert subject.flush(WALL_NS + 799_000_000) == []
    (first,) = subject.flush(WALL_NS + 800_000_000)
    assert isinstance(first, Write) and first.entry.duration == 3600
    assert subject.flush(WALL_NS + 900_000_000) == []
    assert subject.push(picture(25)) == []
    second = subject.end("stop")[0]
    assert isinstance(second, Write) and second.entry.start == 90_000


@pytest.mark.fault("A17")
def test_leading_units_are_dropped_until_a_key_frame() -> None:
    subject = segmenter()
    commands = run(subject, H264, script(100)[10:])
    assert subject.counters.leading_dropped == 15
    (only,) = of(commands, OpenSegment)
    assert only.wall_start_ns == WALL_NS + 10**9


def test_phase_moves_the_boundaries() -> None:
    def starts(phase: float) -> list[int]:
        subject = segmenter(segment_ms=4_000, phase=phase)
        return [c.wall_start_ns % (4 * 10**9) for c in of(run(subject, H264, script(25 * 30, gop=5)), OpenSegment)][1:]

    for phase in (0.0, 0.25, 0.99):
        assert all((start - phase * 4e9) % 4e9 < 0.2e9 for start in starts(phase))


@pytest.mark.fault("A4")
@pytest.mark.parametrize("shift", [-1, -3600, 0])
def test_equal_and_backward_times_are_repaired(shift: int) -> None:
    subject = segmenter(segment_ms=2_000)
    units = script(200)
    units[30].dts = units[30].pts = units[29].dts + shift
    commands = run(subject, H264, units)
    assert subject.counters.repaired == 1 and len(of(commands, EndRun)) == 1
    assert sum(w.entry.samples for w in of(commands, Write)) == 200
    for data in files(commands):
        assert salvage(lambda o, n, d=data: d[o : o + n], len(data)).sealed  # type: ignore[misc]  # bound default


@pytest.mark.fault("A7", "A8")
def test_a_run_of_more_than_a_day_passes_the_ends_of_32_and_33_bits() -> None:
    subject = segmenter()
    step = 4_900 * 90  # the longest that is one picture and no pause
    pictures = 2**33 // step + 200
    commands = subject.begin(H264, LABELS)
    for index in range(pictures):
        wall = WALL_NS + index * 4_900_000_000
        commands += subject.push(picture(index, key=True, dts=index * step, wall_ns=wall))
        if index == pictures // 2:
            assert subject._run is not None
            subject._run.sequence = 2**32 - 1_000  # of fragments: it would take a century
    commands += subject.end("stop")
    assert [e.reason for e in of(commands, EndRun)] == ["stop"]
    closed = of(commands, CloseSegment)
    assert closed[-1].media_start > 2**33
    for data, close in zip(files(commands), closed, strict=True):
        found = salvage(lambda o, n, d=data: d[o : o + n], len(data))  # type: ignore[misc]  # bound default
        assert found.sealed and found.fragments == close.fragments and found.media_start == close.media_start


@pytest.mark.fault("A5")
@pytest.mark.parametrize(
    ("jump_s", "reason"), [(-10, "backward"), (3600, "jump"), (2**31 // 90_000, "jump"), (2**32 // 90_000, "jump")]
)
def test_a_jump_ends_the_run_and_the_next_key_frame_begins_another(jump_s: int, reason: str) -> None:
    subject = segmenter(segment_ms=2_000)
    units = script(200)
    for unit in units[60:]:
        unit.dts += jump_s * 90_000
        unit.pts += jump_s * 90_000
    commands = run(subject, H264, units)
    assert [e.reason for e in of(commands, EndRun)] == [reason, "stop"]
    closed = of(commands, CloseSegment)
    assert all(c.duration <= 2 * 2 * 90_000 for c in closed)
    assert sum(w.entry.samples for w in of(commands, Write)) == 200 - 15
    assert of(commands, EndRun)[0].end_wall_ns == WALL_NS + 60 * 40_000_000
    assert [c.wall_start_ns for c in of(commands, OpenSegment) if c.starts_run] == [WALL_NS, WALL_NS + 3 * 10**9]


def test_a_pause_is_not_one_long_picture() -> None:
    units = script(50) + [picture(index + 500, key=index % 25 == 0) for index in range(50)]
    commands = run(segmenter(), H264, units)
    assert [e.reason for e in of(commands, EndRun)] == ["pause", "stop"]
    assert of(commands, EndRun)[0].end_wall_ns == WALL_NS + 2 * 10**9


def test_a_wall_clock_that_steps_ends_the_run() -> None:
    units = script(100)
    for unit in units[50:]:
        unit.wall_ns += 3600 * 10**9
    commands = run(segmenter(), H264, units)
    assert [e.reason for e in of(commands, EndRun)] == ["clock", "stop"]
    assert of(commands, EndRun)[0].end_wall_ns == WALL_NS + 2 * 10**9


@pytest.mark.fault("A22")
def test_declared_rate_that_is_not_delivered_gives_no_phantom_gap() -> None:
    units = script(21 * 30, gop=21, fps=25)
    for index, unit in enumerate(units):
        unit.dts = unit.pts = index * 90_000 // 21
        unit.wall_ns = WALL_NS + index * 10**9 // 21
    closed = of(run(segmenter(segment_ms=3_000), H264, units), CloseSegment)
    assert len(closed) > 5
    assert all(a.end_wall_ns == b.wall_start_ns for a, b in itertools.pairwise(closed))


@pytest.mark.fault("A24")
def test_a_burst_at_the_start_ends_no_run_and_the_end_follows_the_wall() -> None:
    units = script(25 * 20)
    for index, unit in enumerate(units):
        unit.wall_ns = WALL_NS + max(0, index - 125) * 40_000_000
    commands = run(segmenter(segment_ms=4_000), H264, units)
    assert len(of(commands, EndRun)) == 1
    closed = of(commands, CloseSegment)
    assert all(c.end_wall_ns > c.wall_start_ns for c in closed)
    assert abs(closed[-1].end_wall_ns - units[-1].wall_ns) <= 1.1e9


@pytest.mark.fault("A14")
def test_epoch_and_config_begin_new_runs_and_the_same_config_does_not() -> None:
    other = media.stream_config("h264", media.encode_h264(1.0, size=(160, 128)))
    subject = segmenter()
    commands = subject.begin(H264, LABELS)
    for unit in script(50):
        commands += subject.push(unit)
    assert subject.begin(H264, LABELS) == []
    commands += subject.begin(other, LABELS)
    for index in range(50, 100):
        commands += subject.push(picture(index, key=index % 25 == 0, epoch=index // 75))
    commands += subject.end("stop")
    assert [e.reason for e in of(commands, EndRun)] == ["config", "epoch", "stop"]
    opened = of(commands, OpenSegment)
    assert [o.config for o in opened] == [H264, other, other]
    assert len({o.run_id for o in opened}) == len({o.segment_id for o in opened}) == 3
    assert len(files(commands)) == 3


@pytest.mark.parametrize(
    ("back_ms", "start_ms"), [(3_000, 2_000), (0, 2_000), (-500, 2_500), (3_600_000, 2_000 - 3_600_000)]
)
def test_no_second_is_footage_twice_unless_a_clock_was_set(back_ms: int, start_ms: int) -> None:
    units = script(100)
    for unit in units[50:]:
        unit.epoch, unit.wall_ns = 1, unit.wall_ns - back_ms * 1_000_000
    commands = run(segmenter(), H264, units)
    assert of(commands, EndRun)[0].end_wall_ns == WALL_NS + 2 * 10**9
    assert of(commands, OpenSegment)[1].wall_start_ns == WALL_NS + start_ms * 1_000_000
    assert all(one.end_wall_ns > one.wall_start_ns for one in of(commands, CloseSegment))


def test_a_run_whose_first_picture_was_dated_late_ends_when_its_last_one_came() -> None:
    units = script(100)
    for unit in units[:10]:
        unit.wall_ns += 400_000_000
    commands = run(segmenter(), H264, units)
    assert of(commands, EndRun)[0].end_wall_ns == WALL_NS + 4 * 10**9


def test_audio_is_aligned_by_its_clock_or_by_arrival() -> None:
    sound, _ = media.encode_g711()
    config = StreamConfig(H264.video, sound)
    for audio_dts in (90_000_000 * 8000 // 90_000, 5):
        subject = segmenter()
        subject.begin(config, LABELS)
        subject.push(picture(0, key=True, dts=90_000_000))
        arrival = WALL_NS + 100_000_000
        subject.push(AccessUnit(Track.AUDIO, audio_dts + 800, audio_dts + 800, 320, arrival, True, bytes(320)))
        audio: list[FragmentEntry] = [w.entry for w in of(subject.end("stop"), Write) if w.entry.track is Track.AUDIO]
        assert [entry.start for entry in audio] == [800]


def test_audio_of_the_next_segment_waits_for_it() -> None:
    sound = media.encode_g711(4.0)
    packets = media.encode_h264(4.0)
    config = media.stream_config("h264", packets, sound[0])
    units = media.access_units("h264", packets, audio=sound)
    units.sort(key=lambda unit: unit.wall_ns - (200_000_000 if unit.track is Track.AUDIO else 0))  # it comes ahead (A9)
    commands = run(segmenter(segment_ms=2_000), config, units)
    assert len(of(commands, CloseSegment)) > 1
    for close in of(commands, CloseSegment)[:-1]:
        ends = [e.end for e in close.fragments if e.track is Track.AUDIO]
        assert close.duration * 8000 // 90_000 - 320 <= max(ends) <= close.duration * 8000 // 90_000 + 320


@pytest.mark.fault("A4")
@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["video", "key", "audio", "flush"]),
            st.integers(-20_000_000, 20_000_000) | st.just(3600),
            st.integers(-(10**10), 2 * 10**10) | st.just(40_000_000),
        ),
        max_size=60,
    )
)
def test_any_clock_gives_whole_files(events: list[tuple[str, int, int]]) -> None:
    sound, _ = media.encode_g711()
    subject = segmenter(segment_ms=2_000, segment_max_ms=20_000)
    commands = subject.begin(StreamConfig(H264.video, sound), LABELS)
    dts, wall = 10**9, WALL_NS
    for kind, ticks, wall_step in events:
        dts, wall = dts + ticks, wall + wall_step
        if kind == "flush":
            commands += subject.flush(wall)
        elif kind == "audio":
            commands += subject.push(AccessUnit(Track.AUDIO, dts, dts, 320, wall, True, bytes(320)))
        else:
            commands += subject.push(picture(0, key=kind == "key", dts=dts, wall_ns=wall))
    commands += subject.end("stop")
    closed = of(commands, CloseSegment)
    for data, close in zip(files(commands), closed, strict=True):
        found = salvage(lambda o, n, d=data: d[o : o + n], len(data))  # type: ignore[misc]  # bound default
        assert found.sealed and found.fragments == close.fragments
        assert close.end_wall_ns > close.wall_start_ns
