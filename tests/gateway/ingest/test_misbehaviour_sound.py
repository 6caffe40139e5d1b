"""Cameras whose sound misbehaves: it never comes, ends, comes first, late, out of step, or runs wrong."""

from __future__ import annotations

import itertools
import random

import pytest

from tests import media
from tests.gateway.ingest.stage import CAMERA, SMALL, File, Play, Sample, Stage, steady, whole
from tests.parts.scripted_camera import Script, Shot, film, mixed, sets_of, tone

pytestmark = pytest.mark.real


def speaking(seconds: float, sound: list[Shot]) -> Script:
    packets = media.encode_h264(4.0, size=SMALL)
    audio, _ = media.encode_g711(4.0)
    return Script(mixed(film(packets, round(seconds * 25)), sound), sdp_sets=sets_of(packets), audio=audio)


def skews_ms(file: File, script: Script) -> list[float]:
    """By how much each sound stands later in the file than the pictures that were taken with it."""
    pictures = {shot.number: shot.true_s for shot in script.of("video")}
    sounds = {shot.number: shot.true_s for shot in script.of("audio")}

    def at(sample: Sample, true: dict[int, float]) -> float:
        assert sample.number is not None
        return float(sample.pts * sample.time_base) - true[sample.number]

    zero = sum(at(sample, pictures) for sample in file.pictures) / len(file.pictures)
    return [(at(sample, sounds) - zero) * 1000 for sample in file.sounds]


@pytest.mark.fault("A29")
@pytest.mark.parametrize("codec", ["pcma", "aac"])
def test_sound_that_is_declared_and_never_comes(play: Play, stages: list[Stage], codec: str) -> None:
    script = steady()
    script.audio = (media.encode_aac() if codec == "aac" else media.encode_g711())[0]
    begun_s: list[float] = []

    def look(at_s: float) -> None:
        if not begun_s and stages[-1].spool.open_parts(CAMERA):
            begun_s.append(at_s)

    footage = play(script, lies=False, watch=look)
    footage.check_files()
    assert begun_s[0] <= 4.0, "the picture does not wait for it"
    assert footage.numbers == whole((0, 500))
    assert {file.tracks for file in footage.files} == {("video",)}
    assert len(footage.runs) == 1 and not footage.gaps


@pytest.mark.fault("A29")
def test_sound_that_ends_and_comes_back(play: Play) -> None:
    sound = tone(media.encode_g711(4.0), 60.0)
    script = speaking(60.0, [shot.touched() for shot in sound if not 20 <= shot.at_s < 40])
    footage = play(script, segment_ms=4_000)
    assert footage.numbers == whole((0, 1500))
    assert len(footage.runs) == 3 and not footage.gaps
    sounding = [file.tracks == ("video", "audio") for file in footage.files]
    begun_s = [(file.pictures[0].number or 0) / 25 for file in footage.files]
    assert sounding == [not 30 <= at_s < 40 for at_s in begun_s], "ten seconds of silence are still speech"
    heard = [sample.number for file in footage.files for sample in file.sounds]
    assert set(whole((10, 500), (1001, 1490))) <= set(heard)


@pytest.mark.fault("A30")
def test_sound_first_and_the_picture_later(play: Play) -> None:
    sound = tone(media.encode_g711(4.0), 20.0)
    script = speaking(15.0, [])
    pictures = [shot.touched(at_s=shot.at_s + 5, true_s=shot.true_s + 5) for shot in script.shots]
    script.shots = mixed(pictures, sound)
    footage = play(script)
    footage.check_files()
    assert footage.numbers == whole((0, 375))
    assert {file.tracks for file in footage.files} == {("video", "audio")}
    assert max(abs(skew) for file in footage.files for skew in skews_ms(file, script)) <= 80


@pytest.mark.fault("A9")
def test_sound_and_picture_two_tenths_of_a_second_out_of_step(play: Play) -> None:
    dice = random.Random(9)
    sound = tone(media.encode_g711(4.0), 20.0)
    late = [shot.touched(at_s=max(0.0, shot.at_s + dice.choice((-0.2, 0.2)))) for shot in sound]
    for before, after in itertools.pairwise(late):  # one TCP connection keeps a track's own order
        after.at_s = max(after.at_s, before.at_s)
    footage = play(speaking(20.0, late))
    footage.check_files()
    assert footage.numbers == whole((0, 500))
    heard = [sample.number or 0 for file in footage.files for sample in file.sounds]
    assert heard == sorted(set(heard)) and len(heard) >= 470
    assert len(footage.runs) == 1 and not footage.gaps


@pytest.mark.fault("A31")
@pytest.mark.parametrize("reports_s", [None, 5.0], ids=["without_reports", "with_sender_reports"])
@pytest.mark.parametrize(("pace", "start_s"), [(1.0, 0.0), (1.0, 0.4), (1.01, 0.0), (0.99, 0.3)])
def test_sound_that_begins_later_and_runs_wrong(
    play: Play, pace: float, start_s: float, reports_s: float | None
) -> None:
    sound = tone(media.encode_g711(4.0), 30.0 - start_s, start_s=start_s, pace=pace)
    script = speaking(30.0, [shot.touched() for shot in sound])
    script.sender_reports_s = reports_s
    footage = play(script)
    footage.check_files()
    assert footage.numbers == whole((0, 750))
    assert len(footage.runs) == 1 and not footage.gaps
    worst = [round(max(map(abs, skews_ms(file, script)))) for file in footage.files]
    assert max(worst) <= 80, worst
