"""Fixtures that play scripted cameras to the recorder's own parts (`stage`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.gateway.ingest.stage import Footage, Play, Stage
from tests.parts.scripted_camera import Script


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[list[Stage]]:
    made: list[Stage] = []
    yield made
    for stage in made:
        stage.close()


@pytest.fixture
def play(tmp_path: Path, stages: list[Stage]) -> Play:
    """play(script) -> what was recorded of it; the camera was seen by one session, and its lies were sent."""

    def make(
        script: Script, *, lies: bool = True, segment_ms: int = 2_000, watch: Callable[[float], None] | None = None
    ) -> Footage:
        folder = tmp_path / str(len(stages))
        folder.mkdir()
        stage = Stage(folder, script, segment_ms=segment_ms)
        stages.append(stage)
        footage = stage.play(watch or (lambda at_s: None))
        sent = stage.camera.sent
        assert sent.sessions == 1, "the camera was left and opened again"
        assert sum(sent.shots.values()) == len(script.shots)
        assert sent.hits == sum(shot.hit for shot in script.shots)
        assert (sent.hits > 0) is lies
        return footage

    return make
