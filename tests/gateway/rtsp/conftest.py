"""A rig whose camera sends H.264, and its RTSP side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.rtsp.talk import CONFIG, Served, served
from tests.gateway.watching import Rig, rig


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        made.camera.config(CONFIG)
        yield made


@pytest.fixture
async def rtsp(node: Rig) -> AsyncIterator[Served]:
    async with served(node) as made:
        yield made
