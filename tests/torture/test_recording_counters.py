"""A camera that is recorded for a day and more without a break: libav's counters, the run's and the file's pass 32 and
33 bits on the wire's own way. What the suite shows of it in pure code is in tests/storage/test_segmenter.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import media
from tests.gateway.ingest.stage import Stage
from tests.parts.scripted_camera import VIDEO_RATE, Script, Shot, film, sets_of

pytestmark = [pytest.mark.real, pytest.mark.torture]

#: The longest step that is one picture and no pause.
STEP_S = 4.9


@pytest.mark.fault("A7", "A8")
def test_twenty_seven_hours_are_one_run(tmp_path: Path, counted: Callable[[object], None]) -> None:
    packets = media.encode_h264(4.0, size=(160, 128), gop=1)
    pictures = round(2**33 / VIDEO_RATE / STEP_S) + 100

    def slow(shot: Shot) -> Shot:
        at_s = shot.number * STEP_S
        return shot.touched(at_s=at_s, true_s=at_s, ticks=round(at_s * VIDEO_RATE) + 2**32 - 5 * VIDEO_RATE)

    script = Script(film(packets, pictures), sdp_sets=sets_of(packets)).touch(lambda shot: True, slow)
    stage = Stage(tmp_path, script, segment_ms=600_000)
    try:
        footage = stage.play()
    finally:
        stage.close()
    samples = [sample for file in footage.files for sample in file.pictures]
    counted(f"{len(samples)} pictures in {len(footage.files)} files, last decode time 2^33 + {samples[-1].dts - 2**33}")
    assert stage.camera.sent.hits == pictures
    footage.check_files()
    assert footage.numbers == list(range(pictures))
    assert len(footage.runs) == 1 and not footage.gaps
    assert samples[-1].dts > 2**33
    assert [sample.dts for sample in samples] == [round(STEP_S * VIDEO_RATE) * number for number in range(pictures)]
