"""Cameras that misbehave, one test for each way in which they do: from RTP packets on the wire to files and gap rows.

The scripted camera sends really encoded media with one lie in it, the product's own libav source, supervision and
recording take it (`stage.Stage`), and the sealed files are read with libav. Pictures are known by their numbers. Sound
is in `test_misbehaviour_sound`.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from functools import partial
from pathlib import Path

import pytest

from gateway.ingest import libav_source
from storage import segmenter
from storage.media.access_unit import AccessUnit, StreamConfig
from storage.media.boxes import salvage
from storage.media.codecs import VideoCodec, nal_type
from tests import media
from tests.gateway.ingest.stage import (
    CAMERA,
    GOP,
    RATE,
    SMALL,
    File,
    Footage,
    Play,
    Stage,
    is_picture,
    look_into,
    steady,
    whole,
)
from tests.gateway.ingest.station import Station
from tests.parts import scripted_camera as scripted
from tests.parts.scripted_camera import Script, ScriptedCamera, Shot, film, mixed, sets_of
from tests.parts.wait import until

pytestmark = pytest.mark.real


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
    assert all(abs(late_ms(file, stages[0], script)) <= 50 for file in footage.files)


# -- times that lie ----------------------------------------------------------------------------------------------------


@pytest.mark.fault("A4")
@pytest.mark.parametrize("step", [0, -1, -3600], ids=["equal", "a_tick_back", "a_picture_back"])
def test_decode_times_that_stand_still_or_go_back_a_little(play: Play, step: int) -> None:
    script = steady().touch(
        lambda shot: shot.number in (60, 110, 333), lambda shot: shot.touched(ticks=shot.ticks - 3600 + step)
    )
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
    assert all(abs(late_ms(file, stages[0], script)) <= 100 for file in footage.files)
    (gap,) = footage.gaps
    assert gap.to_ms is not None
    assert abs(gap.to_ms - gap.from_ms - 15 * 40) <= 100
    assert gap.from_ms in {file.row.end_ms for file in footage.files if file.row.run_id == footage.runs[0]}


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
    assert all(abs(late_ms(file, stages[0], script)) <= 100 for file in footage.files)


@pytest.mark.fault("A21")
def test_five_seconds_of_packets_that_are_lost_on_the_way(play: Play, stages: list[Stage]) -> None:
    script = steady(500)
    script.shots = [
        shot if shot.number < 375 else shot.touched() for shot in script.shots if not 250 <= shot.number < 375
    ]
    footage = play(script)
    footage.check_files()
    assert footage.numbers == whole((0, 250), (375, 500))
    (gap,) = footage.gaps
    assert gap.to_ms is not None
    assert abs(gap.from_ms - stages[0].began_ms - 10_000) <= 100
    assert abs(gap.to_ms - stages[0].began_ms - 15_000) <= 100


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
def test_a_crystal_that_drifts_for_an_hour(play: Play, stages: list[Stage], drift: float) -> None:
    packets = media.encode_h264(4.0, size=SMALL, gop=1)
    script = Script(film(packets, 1_800), sdp_sets=sets_of(packets))

    def slow(shot: Shot) -> Shot:
        true_s = shot.number * 2.0
        return shot.touched(at_s=true_s, true_s=true_s, ticks=round(true_s * (1 + drift) * RATE))

    footage = play(script.touch(is_picture(0), slow), segment_ms=60_000)
    footage.check_files()
    assert footage.numbers == whole((0, 1_800))
    assert len(footage.runs) == 1 and not footage.gaps
    # A picture each 2 s is known when the next one comes: the ground is late by less than that, and stays where it is.
    late = [late_ms(file, stages[0], script) for file in footage.files[1:]]
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
    assert all(abs(late_ms(file, stages[0], script)) <= 100 for file in footage.files)
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
        script.sdp_sets = tuple(nal for nal in sets if nal_type(nal, codec) != pps)
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


STRAY_PPS = bytes((0x68, 0b0001_0101, 0x80))  # of another picture parameter set, and nonsense


@pytest.mark.fault("A20")
def test_a_damaged_parameter_set_is_not_kept(play: Play) -> None:
    script = steady().touch(
        is_picture(50, 50), lambda shot: shot.touched(units=(*shot.units[:2], STRAY_PPS, *shot.units[2:]))
    )
    footage = play(script)
    footage.check_files()
    assert footage.numbers == whole((0, 500))
    first, damaged, last = (
        next(file.record for file in footage.files if file.row.run_id == run) for run in footage.runs
    )  # fmt: skip
    assert STRAY_PPS in damaged
    assert first == last


@pytest.mark.fault("A14")
def test_parameter_sets_between_key_frames_wait_for_the_next(play: Play) -> None:
    script = steady()
    script.touch(is_picture(60, 60), lambda shot: shot.touched(units=(STRAY_PPS, *shot.units)))
    script.touch(is_picture(75, 75), scripted.without_sets)
    footage = play(script)
    footage.check_files()
    assert footage.numbers == whole((0, 500))
    begun = [next(file.numbers[0] for file in footage.files if file.row.run_id == run) for run in footage.runs]
    assert begun == [0, 75, 100]


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
def test_flipped_bits(play: Play, rate: float) -> None:
    dice = random.Random(rate)
    script = steady(1500).touch(
        lambda shot: shot.number // GOP % 3 == 1, lambda shot: scripted.flipped(shot, rate, dice)
    )  # fmt: skip
    footage = play(script)
    damaged = {shot.number // GOP for shot in script.shots if shot.hit}
    # Where the beginning of a picture cannot be read, it belongs to the one before: damage touches its neighbour.
    good = [gop for gop in range(60) if not {gop - 1, gop} & damaged]
    decoded = {key: count for file in footage.files for key, count in file.gops.items()}
    assert len(damaged) > 5 and len(good) >= 20
    assert {gop: decoded.get(gop * GOP) for gop in good} == dict.fromkeys(good, GOP)
    assert not footage.gaps or rate > 1e-4


@pytest.mark.fault("A10")
def test_packets_of_a_session_long_gone(play: Play) -> None:
    packets = media.encode_h264(4.0, size=SMALL)
    stale = [
        shot.touched(ssrc=0x6666_6666, ticks=shot.ticks + 2_000_000_000, number=shot.number)
        for shot in film(packets, 40, first=9000, start_s=4.0)
    ]
    footage = play(Script(mixed(film(packets, 500), stale), sdp_sets=sets_of(packets)))
    footage.check_files()
    # libavformat does not look at the sender: while strangers' packets come there are breaks; before and after, none.
    own = [number for number in footage.numbers if number is not None and number < 9000]
    assert own[:100] == whole((0, 100)) and own[-350:] == whole((150, 500))


# -- a great many key frames, and none --------------------------------------------------------------------------------


def _range(data: memoryview, offset: int, length: int) -> bytes:
    return bytes(data[offset : offset + length])


@pytest.mark.fault("A16")
def test_no_key_frame_for_minutes(play: Play, stages: list[Stage]) -> None:
    packets = media.encode_h264(250.0, fps=4, gop=1000, size=SMALL)
    script = Script([shot.touched() for shot in film(packets, 1100)], sdp_sets=sets_of(packets))
    behind_s: list[float] = []

    def look(at_s: float) -> None:
        stage = stages[-1]
        if at_s < 5 or at_s % 5:  # libav knows a stream of 4 pictures a second after 2 s
            return
        until(lambda: stage.recording.lane.idle, 10, "what was cut is written", every_s=0.0005)
        for part in stage.spool.open_parts(CAMERA):
            data = memoryview(part.path.read_bytes())
            found = salvage(partial(_range, data), len(data))
            if found.fragments:
                behind_s.append(at_s - (found.media_start + found.fragments[-1].end) / RATE)

    footage = play(script, watch=look)
    footage.check_files()
    assert footage.numbers == whole((0, 1100))
    assert len(footage.files) == 2 and len(footage.runs) == 1 and not footage.gaps
    assert len(behind_s) > 50
    assert max(behind_s) <= 2.0, "a crash would cost so much of the open segment"
    said = [(row.gop_ms, (row.reason or {}).get("code")) for row in stages[0].reports]
    assert said[0] == (None, None)
    assert said[-1][0] == 250_000, "the distance of the only two key frames"
    alerts = [gop_ms or 0 for gop_ms, code in said if code == "camera.gop_long"]
    assert min(alerts) < 16_000 and len(alerts) >= len(said) - 4, "while no key frame comes, not when it has come"


@pytest.mark.fault("A18")
@pytest.mark.parametrize("codec", ["h264", "h265"])
@pytest.mark.parametrize("packets_each", ["many", "few", "one"])
def test_reordered_pictures_keep_their_order(play: Play, codec: VideoCodec, packets_each: str) -> None:
    encode = media.encode_h264 if codec == "h264" else media.encode_h265
    packets = encode(4.0, bframes=3, size=(640, 480) if packets_each == "many" else SMALL)
    script = Script(film(packets, 250, codec=codec), codec, sdp_sets=sets_of(packets, codec))
    if packets_each == "one":  # the number goes, and with it the second packet of a small picture
        kept = (1, 5, 7, 8) if codec == "h264" else (*range(32), 32, 33, 34)
        for shot in script.shots:
            shot.units = tuple(unit for unit in shot.units if nal_type(unit, codec) in kept)
    footage = play(script, lies=False, segment_ms=4_000)
    footage.check_files()
    if packets_each != "one":
        assert footage.numbers == whole((0, 250)), "the order of decoding"
    samples = [sample for file in footage.files for sample in file.pictures]
    first = script.shots[0].ticks - samples[0].pts
    assert [sample.pts for sample in samples] == [shot.ticks - first for shot in script.shots], (
        "the order on the screen"
    )
    assert set(steps(footage)) == {RATE // 25}


@pytest.mark.fault("A36")
@pytest.mark.parametrize("sound", [False, True])
@pytest.mark.parametrize("pictures", [1, 2, 3, 5, 9, 14, 20, 30])
def test_a_stream_of_a_fraction_of_a_second(play: Play, pictures: int, sound: bool) -> None:
    script = steady(pictures)
    if sound:
        script.audio, _ = media.encode_g711()
    footage = play(script, lies=False)
    footage.check_files()
    assert footage.numbers == whole((0, pictures))
    assert len(footage.runs) == 1 and not footage.gaps


@pytest.mark.fault("A35")
def test_a_hundred_rotations_lose_no_picture(play: Play) -> None:
    packets = media.encode_h264(4.0, fps=10, gop=10, size=SMALL)
    footage = play(Script(film(packets, 2_020), sdp_sets=sets_of(packets)), lies=False)
    footage.check_files()
    assert len(footage.files) >= 101
    assert footage.numbers == whole((0, 2_020))
    assert len(footage.runs) == 1 and not footage.gaps
    assert set(steps(footage)) == {RATE // 10}


# -- all of them at once -----------------------------------------------------------------------------------------------


@pytest.mark.fault("A20")
def test_one_recorder_stands_all_of_them_at_once(tmp_path: Path) -> None:
    """The real process, in real time: it never ends, and the good camera loses nothing to its neighbours."""
    dice, packets, other = random.Random(20), media.encode_h264(4.0, size=SMALL), media.encode_h264(2.0, size=(128, 96))
    scripts = {
        "good": steady(200),
        "flipped bits": steady(200).touch(is_picture(25), lambda shot: scripted.flipped(shot, 1e-3, dice)),
        "flipping sets": Script([*film(packets, 50), *film(other, 50, first=50, start_s=2.0)]),
        "leaping clock": steady(200).touch(is_picture(60), lambda shot: shot.touched(ticks=shot.ticks * 2)),
        "strangers": Script(mixed(film(packets, 200), film(other, 50, first=9000, start_s=2.0))),
    }
    scripts["strangers"].touch(is_picture(9000), lambda shot: shot.touched(ssrc=1, ticks=shot.ticks + 2**31))
    station = Station(tmp_path / "node")
    with contextlib.ExitStack() as stack:
        stack.callback(station.close)
        cameras = {name: stack.enter_context(ScriptedCamera(script)) for name, script in scripts.items()}
        ids = {name: station.add_camera(camera.url) for name, camera in cameras.items()}
        station.process.start()
        first = station.process.popen
        until(lambda: all(camera.finished for camera in cameras.values()), 60, "every camera has said its piece")
        until(lambda: all(station.gaps(id_)[-1].to_ms is None for id_ in ids.values()), 30, "that they went is noticed")
        assert station.process.running and station.process.popen is first
        assert "Traceback" not in station.log.read_text()
        assert all(cameras[name].sent.hits > 0 for name in ("flipped bits", "leaping clock", "strangers"))
        for id_ in ids.values():
            assert station.segments(id_)
        files = [look_into(row, station.bytes_of(row)) for row in station.segments(ids["good"])]
        Footage(tuple(files), ()).check_files()
        assert [number for file in files for number in file.numbers] == whole((0, 200))
        assert cameras["good"].sent.sessions == 1


# -- does the judge see anything? --------------------------------------------------------------------------------------


@pytest.mark.parametrize("twin", ["deaf_to_new_sets", "believes_in_sound", "starts_anywhere"])
def test_known_bad_twins_are_caught(play: Play, twin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = steady(150)
    if twin == "deaf_to_new_sets":
        other = media.encode_h264(2.0, size=(128, 96))
        script.shots += film(other, 50, first=150, start_s=6.0)
        monkeypatch.setattr(libav_source, "merge_parameter_sets", lambda codec, current, found: current)
    elif twin == "believes_in_sound":
        script.audio, _ = media.encode_g711()
        monkeypatch.setattr(libav_source._Reader, "_release", _release_with_sound)
    else:
        script.shots = script.shots[10:]
        place = segmenter.Segmenter.push

        def push(self: segmenter.Segmenter, unit: AccessUnit) -> list[segmenter.Command]:
            unit.key = unit.key or self.run_id is None
            return place(self, unit)

        monkeypatch.setattr(segmenter.Segmenter, "push", push)
    footage = play(script, lies=False)
    with pytest.raises(AssertionError):
        footage.check_files()


def _release_with_sound(reader: libav_source._Reader) -> None:
    held, reader._held = reader._held or [], None
    assert reader._config is not None
    reader._config = StreamConfig(reader._config.video, reader._audio)
    reader.out += [reader._config, *held]
