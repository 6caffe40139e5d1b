"""The worker: jobs, hostile frames, crashing children, one transcoder per stream."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.errors import TiergateError
from config.reasons import Reason
from gateway.live.fmp4_stream import init
from gateway.live.hub import Entry, Granted, Hub, Notice, Picture, Started, StreamKey, Viewer
from gateway.processes.decoding import DecoderPool
from gateway.processes.worker import Worker
from gateway.processes.worker_client import WorkerClient
from tests.gateway.live.serving import LiveSocket, shifted, watch_socket
from tests.media import access_units, decode_mp4, encode_h264, encode_h265, stream_config

KEY = StreamKey("21000000001326000001", "main")
PACKETS = encode_h264(1.0)
VIDEO = stream_config("h264", PACKETS).video
UNIT = access_units("h264", PACKETS)[0]
HEVC_PACKETS = encode_h265(2.0)
HEVC = stream_config("h265", HEVC_PACKETS)
HEVC_UNITS = access_units("h265", HEVC_PACKETS)


@pytest.fixture
async def camera(tmp_path: Path) -> AsyncIterator[LiveSocket]:
    async with LiveSocket(tmp_path / "live.sock") as socket:
        socket.config(HEVC)
        yield socket


@pytest.fixture
async def worker(tmp_path: Path, camera: LiveSocket) -> AsyncIterator[Worker]:
    made = Worker(tmp_path / "worker.sock", partial(watch_socket, camera.path), children=1, transcodes=1)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def client(tmp_path: Path, worker: Worker) -> WorkerClient:
    return WorkerClient(tmp_path / "worker.sock")


async def test_a_key_frame_becomes_a_jpeg(client: WorkerClient) -> None:
    for width, size in ((None, (320, 240)), (100, (100, 74))):
        jpeg = await client.snapshot(VIDEO, UNIT.data, width)
        with av.open(io.BytesIO(jpeg), "r", format="mjpeg") as picture:
            assert (picture.streams.video[0].width, picture.streams.video[0].height) == size
    assert (await client.snapshot(HEVC.video, HEVC_UNITS[0].data))[:2] == b"\xff\xd8"


async def test_the_socket_is_for_our_own_processes_alone(tmp_path: Path, worker: Worker) -> None:
    assert (tmp_path / "worker.sock").stat().st_mode & 0o077 == 0


@pytest.mark.fault("S11")
async def test_a_hostile_frame_fails_alone(client: WorkerClient, worker: Worker) -> None:
    for data in (b"", b"\0\0\0\x02\x65\x88", b"\xff" * 5000):
        with pytest.raises(TiergateError) as failure:
            await client.snapshot(VIDEO, data)
        assert failure.value.reason.code == "media.play_undecodable"
    assert (await client.snapshot(VIDEO, UNIT.data))[:2] == b"\xff\xd8"
    assert worker.pool.crashes == 0


async def test_a_child_that_dies_or_hangs_is_replaced(client: WorkerClient, worker: Worker) -> None:
    await client.snapshot(VIDEO, UNIT.data)
    (child,) = worker.pool._running
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    assert (await client.snapshot(VIDEO, UNIT.data))[:2] == b"\xff\xd8"
    (child,) = worker.pool._running
    worker.pool._deadline_s = 0.2
    os.kill(child.pid, signal.SIGSTOP)
    with pytest.raises(TiergateError):
        await client.snapshot(VIDEO, UNIT.data)
    worker.pool._deadline_s = 10
    assert worker.pool.crashes == 1
    assert (await client.snapshot(VIDEO, UNIT.data))[:2] == b"\xff\xd8"


@pytest.mark.fault("S4")
async def test_children_know_nothing_of_us(
    client: WorkerClient, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIERGATE_STORE__SECRET_KEY", "do not tell")
    await client.snapshot(VIDEO, UNIT.data)
    (child,) = worker.pool._running
    environment = Path(f"/proc/{child.pid}/environ").read_bytes()
    assert b"do not tell" not in environment
    limits = Path(f"/proc/{child.pid}/limits").read_text()
    assert "Max address space         2147483648" in limits


@pytest.mark.parametrize("line", [b"{}\n", b"nonsense\n", b'{"op":"x","bytes":-1}\n', b'{"op":"x","bytes":99999999}\n'])
async def test_a_malformed_request_ends_its_connection_only(worker: Worker, tmp_path: Path, line: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "worker.sock"))
    writer.write(line)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    writer.close()


async def test_an_unknown_job_is_said(worker: Worker, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "worker.sock"))
    writer.write(b'{"op":"dream","bytes":0}\n')
    assert json.loads(await reader.readline())["reason"]["code"] == "media.play_worker_request"
    writer.close()


async def test_without_a_worker_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(TiergateError) as failure:
        await WorkerClient(tmp_path / "none.sock").snapshot(VIDEO, UNIT.data)
    assert failure.value.reason.code == "media.play_worker_away"


async def test_health_numbers(worker: Worker, tmp_path: Path) -> None:
    luma = await worker.examine(VIDEO, UNIT.data)
    assert len(luma) == 320 * 180
    assert 60 < sum(luma) / len(luma) < 200


async def test_one_transcoder_serves_all_who_watch_a_stream_and_more_streams_are_refused(
    client: WorkerClient, worker: Worker, camera: LiveSocket
) -> None:
    hub = Hub(client.transcoded, linger_s=0)
    other = Hub(client.transcoded, linger_s=0)
    async with camera.playing(HEVC_UNITS, lambda turn: shifted(HEVC_UNITS, turn * 180_000), 0.02):
        one, two = hub.join(KEY), other.join(KEY)
        for viewer in (one, two):
            entries: list[Entry] = []
            async with asyncio.timeout(20):
                while sum(isinstance(e, Picture) for e in entries) < 20:
                    entries += await viewer.take()
            started = next(e for e in entries if isinstance(e, Started))
            assert started.config.video.codec == "h264"
            pictures = [e for e in entries if isinstance(e, Picture)]
            decoded = decode_mp4(init(started.config) + b"".join(p.fragment for p in pictures))
            assert decoded.pictures >= 20
            assert all(p.unit.wall_ns > 0 for p in pictures)
        assert worker._running_transcodes == 1
        refused = other.join(StreamKey(KEY.camera, "sub"))
        async with asyncio.timeout(5):
            (notice,) = await refused.take()
        assert isinstance(notice, Notice)
        assert notice.reason is not None
        assert notice.reason["code"] == "media.live_transcode_busy"
    await hub.close()
    await other.close()


async def test_who_watches_a_transcode_later_is_told_what_the_lower_tier_gives(
    client: WorkerClient, camera: LiveSocket
) -> None:
    reduced = Granted("sub", Reason("tier.reduced_for_line").as_json())
    hubs = [Hub(client.transcoded, linger_s=0) for _ in range(2)]
    key = StreamKey(KEY.camera, "main", "lease")

    async def until(viewer: Viewer, found: Callable[[Entry], bool]) -> list[Entry]:
        seen: list[Entry] = []
        async with asyncio.timeout(30):
            while not any(map(found, seen)):
                seen += await viewer.take()
        return seen

    async with camera.playing(HEVC_UNITS, lambda turn: shifted(HEVC_UNITS, turn * 180_000), 0.02):
        viewer = hubs[0].join(key)
        await until(viewer, lambda entry: isinstance(entry, Started))
        camera.event("stream", {**(reduced.note or {}), "stream": "sub"})
        await until(viewer, lambda entry: isinstance(entry, Notice) and entry.state == "stream")
        told = await until(hubs[1].join(key), lambda entry: isinstance(entry, Started))
        assert [entry.granted for entry in told if isinstance(entry, Started)] == [reduced]
        camera.event("stream", {"stream": "main"})
        told = await until(viewer, lambda entry: isinstance(entry, Notice))
        assert [entry for entry in told if isinstance(entry, Notice)] == [Notice("stream", {"stream": "main"})]
    for hub in hubs:
        await hub.close()


@pytest.mark.fault("S11")
class TestDecoderChild:
    """Bytes that nobody chose: the child may refuse or die, the pool answers in time either way."""

    @settings(max_examples=8, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=400), st.integers(0, 3))
    def test_any_bytes(self, tail: bytes, cut: int) -> None:
        async def go() -> None:
            pool = DecoderPool(1, deadline_s=5)
            try:
                data = UNIT.data[: len(UNIT.data) * cut // 4] + tail
                answer, jpeg = await pool.run("jpeg", VIDEO, data)
                assert answer["ok"]
                assert jpeg[:2] == b"\xff\xd8"
            except TiergateError as error:
                assert error.reason.code == "media.play_undecodable"
            finally:
                await pool.close()

        asyncio.run(go())
