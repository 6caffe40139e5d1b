"""Cameras that misbehave, one test for each way in which they do: from RTP packets on the wire to files and gap rows.

The scripted camera sends really encoded media with one lie in it, the product's own libav source, supervision and
recording take it (`stage.Stage`), and the sealed files are read with libav. Pictures are known by their numbers.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.media.boxes import salvage
from storage.media.codecs import VideoCodec
from tests import media
from tests.gateway.ingest.stage import CAMERA, File, Footage, Stage
from tests.parts import scripted_camera as scripted
from tests.parts.scripted_camera import Script, Shot, film, mixed, sets_of, tone
from tests.parts.wait import until

pytestmark = pytest.mark.real

RATE = 90_000
GOP = 25
SMALL = (160, 128)

Play = Callable[..., Footage]


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[list[Stage]]:
    made: list[Stage] = []
    yield made
    for stage in made:
        stage.close()


@pytest.fixture
def play(tmp_path: Path, stages: list[Stage]) -> Play:
    """play(script) -> what was recorded of it; the camera was seen by one session, and its lies were sent."""

    def make(script: Script, *, lies: bool = True, segment_ms: int = 2_000) -> Footage:
        folder = tmp_path / str(len(stages))
        folder.mkdir()
        stage = Stage(folder, script, segment_ms=segment_ms)
        stages.append(stage)
        footage = stage.play()
        sent = stage.camera.sent
        assert sent.sessions == 1, "the camera was left and opened again"
        assert sum(sent.shots.values()) == len(script.shots)
        assert sent.hits == sum(shot.hit for shot in script.shots)
        assert (sent.hits > 0) is lies
        return footage

    return make


def steady(pictures: int = 500, **clip: object) -> Script:
    packets = media.encode_h264(4.0, size=SMALL, **clip)  # type: ignore[arg-type]  # of encode_h264
    return Script(film(packets, pictures), sdp_sets=sets_of(packets))


def is_picture(first: int, last: int = 10**9) -> Callable[[Shot], bool]:
    return lambda shot: shot.track == "video" and first <= shot.number <= last


def whole(*ranges: tuple[int, int]) -> list[int]:
    return [number for first, last in ranges for number in range(first, last)]


def late_ms(file: File, stage: Stage, script: Script) -> float:
    """How far the file's row is behind the moment at which its first picture was taken."""
    true = {shot.number: shot.true_s for shot in script.of("video")}
    number = file.pictures[0].number
    assert number is not None
    return file.row.start_ms - stage.began_ms - true[number] * 1000


def steps(footage: Footage) -> list[int]:
    """Decode time from each picture to the next, within runs."""
    return [
        after.dts - before.dts
        for _, files in itertools.groupby(footage.files, key=lambda file: file.row.run_id)
        for before, after in itertools.pairwise([sample for file in files for sample in file.pictures])
    ]


# -- a camera that does what it should: the ground under everything else -----------------------------------------------


@pytest.mark.fault("A14")
def test_a_good_camera_is_one_run_however_often_it_repeats_its_parameter_sets(play: Play, stages: list[Stage]) -> None:
    script = steady()
    footage = play(script, lies=False)
    footage.check_files()
    assert footage.numbers == whole((0, 500))
    assert len(footage.runs) == 1 and not footage.gaps
    assert set(steps(footage)) == {RATE // 25}
    assert all(0 <= late_ms(file, stages[0], script) <= 400 for file in footage.files)


# -- times that lie ----------------------------------------------------------------------------------------------------


@pytest.mark.fault("A4")
@pytest.mark.parametrize("step", [0, -1, -3600], ids=["equal", "a_tick_back", "a_picture_back"])
def test_decode_times_that_stand_still_or_go_back_a_little(play: Play, step: int) -> None:
    script = steady()
    for at in (60, 110, 333):
        script.touch(is_picture(at, at), lambda shot, at=at: shot.touched(ticks=(at - 1) * 3600 + step))  # type: ignore[misc]
    footage = play(script)
    footage.check_files()
    assert footage.numbers == whole((0, 500))
    assert len(footage.runs) == 1 and not footage.gaps


@pytest.mark.fault("A4", "A5")
@pytest.mark.parametrize(
    "ticks", [-10 * RATE, 3600 * RATE, -3600 * RATE, 2**31, 2**31 + 3600 * RATE], ids=lambda t: f"{t // RATE}_s"
)
def test_a_clock_that_jumps_is_a_new_run_with_true_times(play: Play, stages: list[Stage], ticks: int) -> None:
    script = steady().touch(is_picture(210), lambda shot: shot.touched(ticks=shot.ticks + ticks))
    footage = play(script)
    footage.check_files()
    assert footage.numbers == whole((0, 210), (225, 500))
    assert len(footage.runs) == 2
    assert all(file.row.end_ms - file.row.start_ms <= 2 * 2000 + 1000 for file in footage.files)
    assert all(abs(late_ms(file, stages[0], script)) <= 400 for file in footage.files)
    (gap,) = footage.gaps
    assert gap.to_ms is not None
    assert abs(gap.to_ms - gap.from_ms - 15 * 40) <= 100
    assert gap.from_ms == next(a.row.end_ms for a, b in itertools.pairwise(footage.files) if a.row.run_id != b.row.run_id)


@pytest.mark.fault("A6")
@pytest.mark.parametrize("first", [2**32 - 5, -3 * RATE, 5], ids=["before_the_turn", "negative", "nearly_zero"])
def test_a_first_time_that_is_not_zero(play: Play, first: int) -> None:
    footage = play(steady(150).touch(is_picture(0), lambda shot: shot.touched(ticks=shot.ticks + first)))
    footage.check_files()
    assert footage.numbers == whole((0, 150))
    assert footage.files[0].pictures[0].dts == footage.files[0].pictures[0].pts == 0
    assert set(steps(footage)) == {RATE // 25}


@pytest.mark.fault("A7")
def test_a_counter_that_turns_over_in_mid_stream(play: Play) -> None:
    footage = play(steady().touch(is_picture(0), lambda shot: shot.touched(ticks=shot.ticks + 2**32 - 5 * RATE)))
    footage.check_files()
    assert footage.numbers == whole((0, 500))
    assert len(footage.runs) == 1 and not footage.gaps
    assert set(steps(footage)) == {RATE // 25}


@pytest.mark.fault("A7")
def test_a_pause_longer_than_half_the_range_goes_by_the_wall_clock(play: Play, stages: list[Stage]) -> None:
    pause_s = 8 * 3600

    def late(shot: Shot) -> Shot:
        return shot.touched(at_s=shot.at_s + pause_s, true_s=shot.true_s + pause_s, ticks=shot.ticks + pause_s * RATE)

    script = steady(250).touch(is_picture(125), late)
    footage = play(script)
    footage.check_files()
    assert footage.numbers == whole((0, 250))
    assert len(footage.runs) == 2
    (gap,) = footage.gaps
    assert gap.to_ms is not None
    assert abs(gap.to_ms - gap.from_ms - pause_s * 1000) <= 200
    assert all(abs(late_ms(file, stages[0], script)) <= 400 for file in footage.files)


@pytest.mark.fault("A22")
def test_fewer_pictures_than_declared(play: Play) -> None:
    script = steady(21 * 60, gop=21)
    script.declared_fps = 25

    def slower(shot: Shot) -> Shot:
        true_s = shot.number / 21
        return shot.touched(at_s=true_s, true_s=true_s, ticks=round(true_s * RATE))

    footage = play(script.touch(is_picture(0), slower), segment_ms=6_000)
    footage.check_files()
    assert footage.numbers == whole((0, 21 * 60))
    assert len(footage.runs) == 1 and not footage.gaps
    assert abs(footage.files[-1].row.end_ms - footage.files[0].row.start_ms - 60_000) <= 400


@pytest.mark.fault("A23")
@pytest.mark.parametrize("drift", [500e-6, -500e-6])
def test_a_crystal_that_drifts_for_six_hours(play: Play, stages: list[Stage], drift: float) -> None:
    packets = media.encode_h264(4.0, size=SMALL, gop=1)
    script = Script(film(packets, 6 * 3600 // 4), sdp_sets=sets_of(packets))

    def slow(shot: Shot) -> Shot:
        true_s = shot.number * 4.0
        return shot.touched(at_s=true_s, true_s=true_s, ticks=round(true_s * (1 + drift) * RATE))

    footage = play(script.touch(is_picture(0), slow), segment_ms=60_000)
    footage.check_files()
    assert footage.numbers == whole((0, 6 * 900))
    assert len(footage.runs) == 1 and not footage.gaps
    # One picture each 4 s, each known when the next one comes: the ground is 4 s late, and stays so.
    late = [late_ms(file, stages[0], script) for file in footage.files]
    assert max(late) - min(late) <= 500


@pytest.mark.fault("A24")
@pytest.mark.parametrize("at", [0, 250], ids=["when_it_connects", "after_a_stall"])
def test_five_seconds_at_once(play: Play, stages: list[Stage], at: int) -> None:
    def burst(shot: Shot) -> Shot:
        return shot.touched(at_s=max(shot.at_s, (at + 125) / 25))

    script = steady(625).touch(is_picture(at), burst)
    footage = play(script)
    footage.check_files()
    assert footage.numbers == whole((0, 625))
    assert len(footage.runs) == 1 and not footage.gaps
    print([late_ms(file, stages[0], script) for file in footage.files])
    assert set(steps(footage)) == {RATE // 25}


# -- parameter sets ----------------------------------------------------------------------------------------------------


@pytest.mark.fault("A14")
def test_parameter_sets_that_flip_every_two_seconds(play: Play) -> None:
    clips = [media.encode_h264(2.0, size=size) for size in (SMALL, (128, 96))]
    shots = [
        shot if turn == 0 else shot.touched()
        for turn in range(30)
        for shot in film(clips[turn % 2], 50, first=turn * 50, start_s=turn * 2.0)
    ]
    footage = play(Script(shots, sdp_sets=sets_of(clips[0])), segment_ms=60_000)
    footage.check_files()
    assert footage.numbers == whole((0, 1500))
    assert len(footage.files) == 30, "one file for each real change"
    assert [file.size for file in footage.files] == [SMALL, (128, 96)] * 15
    assert not footage.gaps


SPS, PPS = 7, 8


@pytest.mark.fault("A15")
@pytest.mark.parametrize("codec", ["h264", "h265"])
@pytest.mark.parametrize("where", ["sdp", "in_band", "both", "split", "late_pps", "sdp_of_another_size"])
def test_parameter_sets_in_one_place_only(play: Play, codec: VideoCodec, where: str) -> None:
    encode = media.encode_h264 if codec == "h264" else media.encode_h265
    packets = encode(4.0, size=SMALL)
    sets = sets_of(packets, codec)
    script = Script(film(packets, 150, codec=codec), codec, sdp_sets=sets)
    first, pps = 0, (PPS if codec == "h264" else 34)
    if where == "sdp":
        script.touch(is_picture(0), lambda shot: scripted.without_sets(shot, codec))
    elif where == "in_band":
        script.sdp_sets = ()
    elif where == "split":  # PPS in band, the others in the SDP
        script.sdp_sets = tuple(nal for nal in sets if scripted.nal_type(nal, codec) != pps)
        others = tuple({7, 8, 32, 33, 34} - {pps})
        script.touch(is_picture(0), lambda shot: scripted.without_sets(shot, codec, others))
    elif where == "late_pps":
        script.sdp_sets = ()
        script.touch(is_picture(0, 49), lambda shot: scripted.without_sets(shot, codec, (pps,)))
        first = 50
    elif where == "sdp_of_another_size":
        script.sdp_sets = sets_of(encode(1.0, size=(320, 240)), codec)
    footage = play(script, lies=where not in ("in_band", "both", "sdp_of_another_size"))
    footage.check_files()
    assert footage.numbers == whole((first, 150))
    assert {file.size for file in footage.files} == {SMALL}
    assert len(footage.runs) == 1


# -- key frames --------------------------------------------------------------------------------------------------------


@pytest.mark.fault("A17")
def test_a_stream_that_begins_between_key_frames(play: Play) -> None:
    script = steady()
    script.shots = [shot.touched() for shot in script.shots[10:]]
    footage = play(script)
    footage.check_files()
    assert footage.numbers == whole((25, 500))
    assert len(footage.runs) == 1 and not footage.gaps


# -- packets -----------------------------------------------------------------------------------------------------------


@pytest.mark.fault("A10")
def test_another_ssrc_in_mid_stream_is_a_new_run(play: Play) -> None:
    def other(shot: Shot) -> Shot:
        return shot.touched(ssrc=0x7777_7777, ticks=shot.ticks + 3_000_000_000)

    footage = play(steady().touch(is_picture(255), other))
    footage.check_files()
    assert footage.numbers == whole((0, 255), (275, 500))
    assert len(footage.runs) == 2


@pytest.mark.fault("A20")
@pytest.mark.parametrize("rate", [1e-5, 1e-4, 1e-3])
def test_flipped_bits(play: Play, rate: float, caplog: pytest.LogCaptureFixture) -> None:
    dice = random.Random(rate)  # noqa: S311 (dice of a test)
    script = steady(1500).touch(lambda shot: True, lambda shot: scripted.flipped(shot, rate, dice))
    footage = play(script)
    broken = {shot.number // GOP for shot in script.shots if shot.hit}
    good = [gop for gop in range(60) if gop not in broken]
    kept = set(footage.numbers)
    print(rate, len(broken), len(good), len(kept), len(footage.runs), [(f.decoded, len(f.pictures)) for f in footage.files])
    missing = [g for g in good if not set(range(g * GOP, g * GOP + GOP)) <= kept]
    print("missing good gops", missing)
    bad = [f.numbers[0] for f in footage.files if f.decoded != len(f.pictures) and not any(n is None or n // GOP in broken for n in f.numbers)]
    print("undecodable", bad)
