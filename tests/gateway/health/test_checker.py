"""The checker with real encoded pictures, real decoder children and a real catalog; only the clock is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from sqlalchemy.exc import OperationalError

from config.clock import ManualClock
from gateway.health import checker as checker_module
from gateway.health.checker import Checker
from gateway.live.hub import StreamKey
from gateway.processes.decoding import DecoderPool
from storage.catalog import health
from storage.catalog.engine import Catalog
from storage.catalog.health import HealthRow, Watched
from storage.catalog.tables import camera, camera_stream, metadata, region
from storage.media.access_unit import AccessUnit, StreamConfig
from tests.gateway.live.serving import LiveSocket, shifted, watch_socket
from tests.media import EncodedPacket, access_units, encode_h264, stream_config

CAMERA = "21010200001326000001"
PACKETS = encode_h264(2.0, gop=1, fps=5)
CONFIG = stream_config("h264", PACKETS)
UNITS = access_units("h264", PACKETS)


@lru_cache
def black_units() -> tuple[StreamConfig, list[AccessUnit]]:
    context = av.CodecContext.create("libx264", "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = 320, 240, "yuv420p"
    context.time_base = Fraction(1, 90_000)
    context.options = {"preset": "ultrafast", "x264-params": "keyint=1:repeat-headers=1:threads=1:log-level=none"}
    packets = []
    for index in range(4):
        frame = av.VideoFrame.from_ndarray(np.zeros((240, 320, 3), np.uint8), "rgb24").reformat(format="yuv420p")
        frame.pts = index * 18_000
        packets += context.encode(frame)
    packets += context.encode(None)
    made = tuple(EncodedPacket(bytes(p), int(p.pts or 0), int(p.pts or 0), 18_000, True) for p in packets)
    return stream_config("h264", made), access_units("h264", made)


class Bench:
    def __init__(self, catalog: Catalog, clock: ManualClock, camera: LiveSocket, checker: Checker) -> None:
        self.catalog, self.clock, self.camera, self.checker = catalog, clock, camera, checker
        self.turn = 0

    async def look(self, units: list[Any]) -> health.HealthRow | None:
        """One key frame later by 6 s, one round."""
        self.turn += 1
        self.camera.push(*shifted(units, self.turn * 540_000))
        self.clock.advance(61)
        await self.checker.round()
        return (await self.catalog.aread(health.read)).get(CAMERA)


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    catalog.write(lambda c: metadata.create_all(c))
    monkeypatch.setattr(health, "watched", lambda c: [Watched(CAMERA, 0, "main")])
    catalog.write(lambda c: c.exec_driver_sql("PRAGMA defer_foreign_keys=ON"))
    catalog.write(_camera_row)
    clock = ManualClock()
    pool = DecoderPool(1)
    async with LiveSocket(tmp_path / "live.sock") as live:
        live.config(CONFIG)

        def watch(key: StreamKey) -> Any:
            return watch_socket(live.path, key)

        async def examine(video: Any, data: bytes) -> bytes:
            return (await pool.run("grey", video, data))[1]

        yield Bench(catalog, clock, live, Checker(catalog, clock, watch, examine, 60))
    await pool.close()
    catalog.close()


def _camera_row(connection: Any) -> None:
    connection.execute(region.insert(), {"code": "210102", "name": "x", "tier": "district", "valid_from_ms": 0})
    connection.execute(
        camera.insert(),
        {
            "id": CAMERA, "name": "gate", "tier": "district", "region": "210102", "recorded_by": "self",
            "enabled": True, "created_ms": 0, "changed_ms": 0,
        },
    )  # fmt: skip


async def test_living_then_frozen_then_living_again(bench: Bench) -> None:
    row = await bench.look(UNITS[:1])
    assert row is not None
    assert row.verdict == "ok"
    checked = row.checked_ms
    row = await bench.look(UNITS[1:2])
    assert row is not None
    assert row.checked_ms == checked, "nothing changed, nothing is written"
    frozen = UNITS[2:3]
    for expected in ("ok", "ok", "frozen", "frozen"):
        row = await bench.look(frozen)
        assert row is not None
        assert row.verdict == expected
    row = await bench.look(UNITS[3:4])
    assert row is not None
    assert row.verdict == "ok"


async def test_black_after_two_samples(bench: Bench) -> None:
    await bench.look(UNITS[:1])
    config, units = black_units()
    bench.camera.config(config)
    first = await bench.look(units[:1])
    second = await bench.look(units[1:2])
    assert first is not None
    assert second is not None
    assert (first.verdict, second.verdict) == ("ok", "black")
    assert second.mean_luma is not None
    assert float(second.mean_luma) < 17


async def test_the_same_key_frame_seen_twice_is_one_sample(bench: Bench) -> None:
    await bench.look(UNITS[:1])
    for _ in range(5):
        bench.clock.advance(61)
        await bench.checker.round()
    assert bench.checker.checks == 1
    row = (await bench.catalog.aread(health.read))[CAMERA]
    assert row.verdict == "ok"


async def test_a_frame_that_no_decoder_takes_is_no_sample(bench: Bench) -> None:
    broken = replace(UNITS[0], data=b"\0\0\0\x04\x65\xff\xff\xff")
    assert await bench.look([broken]) is None
    row = await bench.look(UNITS[:1])
    assert row is not None
    assert row.verdict == "ok"


async def test_of_a_camera_that_is_removed_nothing_is_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that gives no more pictures does not leave its last one in memory either."""
    state = bench.checker._cameras
    await bench.look(UNITS[:1])
    assert len(state[CAMERA].luma) == 320 * 180
    await bench.look([replace(UNITS[1], data=b"\0\0\0\x02\x65\xff")])
    assert state[CAMERA].luma == b""
    await bench.look(UNITS[2:3])
    assert len(state[CAMERA].luma) == 320 * 180
    monkeypatch.setattr(checker_module, "KEY_FRAME_S", 0.2)
    bench.camera.config(CONFIG)  # and no picture after it
    bench.clock.advance(61)
    await bench.checker.round()
    assert state[CAMERA].luma == b""
    monkeypatch.setattr(health, "watched", lambda c: [])
    await bench.checker.round()
    assert state == {}


async def test_a_catalog_that_is_away_for_a_moment_ends_no_checks(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker ends with its checks, and clips and transcodes with the worker."""
    monkeypatch.setattr(checker_module, "PAUSE_S", 0.01)
    bench.catalog.write(lambda c: health.write(c, [HealthRow(CAMERA, "frozen", 7, 8, None, None)]))
    aread, awrite = bench.catalog.aread, bench.catalog.awrite
    answers = iter((False, True, False))  # what is recalled, and a round, each once in vain
    written = asyncio.Event()

    async def now_and_then(query: Any) -> Any:
        if not next(answers, True):
            raise OperationalError("SELECT", None, ConnectionError("the server was started anew"))
        return await aread(query)

    async def told(change: Any) -> Any:
        await awrite(change)
        written.set()

    monkeypatch.setattr(bench.catalog, "aread", now_and_then)
    monkeypatch.setattr(bench.catalog, "awrite", told)
    bench.camera.push(*shifted(UNITS[:1], 540_000))
    checks = asyncio.create_task(bench.checker.run(), name="checks")
    seen = asyncio.create_task(written.wait(), name="seen")
    await asyncio.wait({checks, seen}, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    alive = not checks.done()
    for task in (checks, seen):
        task.cancel()
    await asyncio.gather(checks, seen, return_exceptions=True)
    assert alive and written.is_set()
    assert next(answers, None) is None
    assert bench.catalog.read(health.read)[CAMERA].verdict == "ok"


async def test_a_camera_whose_socket_the_catalog_does_not_tell_holds_up_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = bench.checker._watch

    async def told_of_one(key: StreamKey) -> Any:
        if key.camera != CAMERA:
            raise OperationalError("SELECT", None, ConnectionError("away"))
        async for message in watch(key):
            yield message

    monkeypatch.setattr(bench.checker, "_watch", told_of_one)
    other = "21010200001326000002"
    monkeypatch.setattr(health, "watched", lambda c: [Watched(other, 0, "main"), Watched(CAMERA, 0, "main")])
    row = await bench.look(UNITS[:1])
    assert row is not None and row.verdict == "ok"


def test_a_check_needs_no_connection_of_its_own(tmp_path: Path) -> None:
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    catalog.write(lambda c: metadata.create_all(c))
    catalog.write(_camera_row)

    def streams(connection: Any, warm: bool) -> None:
        connection.execute(camera_stream.delete())
        for name in ("main", "sub"):
            connection.execute(
                camera_stream.insert(),
                {"camera_id": CAMERA, "stream": name, "url": f"rtsp://x/{name}", "warm": warm and name == "sub"},
            )

    for warm, stream in ((False, "main"), (True, "sub")):
        catalog.write(lambda c, warm=warm: streams(c, warm))  # type: ignore[misc]  # bound now
        assert catalog.read(health.watched) == [Watched(CAMERA, 0, stream)]
    catalog.close()
