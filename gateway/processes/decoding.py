"""A pool of decoder children, and the one transcoder child per stream or clip (`gateway.processes.decoder`).

Belongs here: starting them with an empty environment, deadlines, replacing what crashed. Does not belong here: who may
ask (`gateway.processes.worker` listens on a socket that only our own processes reach), decoding itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, Literal

import config as _config
from config.errors import Kind, TiergateError
from gateway.live.wire import (
    HEAD_BYTES,
    Config,
    Event,
    Unit,
    encode,
    parse_body,
    parse_head,
    stream_config_from_json,
    stream_config_to_json,
)
from gateway.processes.decoder import HEADER, HEADER_MAX_BYTES, PAYLOAD_MAX_BYTES
from storage.media.access_unit import StreamConfig, VideoConfig

_log = logging.getLogger(__name__)

JOB_S = 10.0
_ROOT = str(Path(str(_config.__file__)).resolve().parents[1])


def video_to_json(video: VideoConfig) -> dict[str, Any]:
    value: dict[str, Any] = stream_config_to_json(StreamConfig(video))["video"]
    return value


def video_from_json(value: dict[str, Any]) -> VideoConfig:
    return stream_config_from_json({"video": value, "audio": None}).video


async def _start(mode: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.processes.decoder",
        mode,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # Nothing of ours goes along: no settings, no secrets. One thread: each BLAS thread reserves address space.
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": _ROOT, "OPENBLAS_NUM_THREADS": "1", "LANG": "C.UTF-8"},
        start_new_session=True,
        limit=1 << 20,
    )


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    # The transport is closed by reading to the end; a killed child leaves nothing that matters.
    with contextlib.suppress(OSError, ConnectionError):
        await process.communicate()


class DecoderPool:
    """`size` children that do one job at a time each. A job that crashes or outlasts its deadline fails alone."""

    def __init__(self, size: int = 2, deadline_s: float = JOB_S) -> None:
        self._deadline_s = deadline_s
        self._free: asyncio.Queue[asyncio.subprocess.Process | None] = asyncio.Queue()
        for _ in range(size):
            self._free.put_nowait(None)  # started when first needed
        self._running: set[asyncio.subprocess.Process] = set()
        self.jobs = 0
        self.crashes = 0

    async def run(self, op: str, video: VideoConfig, data: bytes, **more: Any) -> tuple[dict[str, Any], bytes]:
        """(answer, bytes). Raises media.play_undecodable."""
        if len(data) > PAYLOAD_MAX_BYTES:
            raise TiergateError(Kind.TOO_LARGE, "media.play_undecodable")
        child = await self._free.get()
        back: asyncio.subprocess.Process | None = None
        self.jobs += 1
        try:
            if child is not None and child.returncode is not None:  # it died between two jobs
                self._running.discard(child)
                await _stop(child)
                child = None
            if child is None:
                child = await _start("jobs")
                self._running.add(child)
            async with asyncio.timeout(self._deadline_s):
                answer, result = await self._ask(child, {"op": op, "video": video_to_json(video), **more}, data)
            back = child
        except (OSError, EOFError, TimeoutError, ValueError) as exc:
            self.crashes += 1
            _log.warning("a decoder child failed: %s", type(exc).__name__)
            raise TiergateError(Kind.UNAVAILABLE, "media.play_undecodable") from exc
        finally:
            if back is None and child is not None:
                self._running.discard(child)
                await asyncio.shield(_stop(child))
            self._free.put_nowait(back)
        if not answer.get("ok"):
            raise TiergateError(Kind.UNAVAILABLE, "media.play_undecodable")
        return answer, result

    @staticmethod
    async def _ask(
        child: asyncio.subprocess.Process, request: dict[str, Any], data: bytes
    ) -> tuple[dict[str, Any], bytes]:
        if child.stdin is None or child.stdout is None:
            raise ValueError("a child without pipes")
        body = json.dumps({**request, "bytes": len(data)}).encode()
        child.stdin.write(HEADER.pack(len(body)) + body + data)
        await child.stdin.drain()
        (length,) = HEADER.unpack(await child.stdout.readexactly(HEADER.size))
        if length > HEADER_MAX_BYTES:
            raise ValueError("a child answers nonsense")
        answer = json.loads(await child.stdout.readexactly(length))
        size = int(answer["bytes"])
        if not 0 <= size <= PAYLOAD_MAX_BYTES:
            raise ValueError("a child answers nonsense")
        return answer, await child.stdout.readexactly(size)

    async def close(self) -> None:
        running, self._running = self._running, set()
        for child in running:
            await _stop(child)


async def read_message(reader: asyncio.StreamReader) -> Config | Unit | Event:
    """Raises OSError, EOFError; ValueError on nonsense."""
    length, kind = parse_head(await reader.readexactly(HEAD_BYTES))
    return parse_body(kind, await reader.readexactly(length))


def transcode(source: AsyncIterator[Config | Unit | Event]) -> AsyncGenerator[Config | Unit | Event, None]:
    """H.264 of an H.265 `source`; its events pass by. Raises ConnectionError when the child dies; ends with the
    source.
    """
    return _through("transcode", source)


def burn(source: AsyncIterator[Config | Unit | Event]) -> AsyncGenerator[Config | Unit | Event, None]:
    """H.264 of `source` with words in every picture. `source` begins with an event ``mark`` and ends with ``ended``,
    and so does the answer when it is whole. Raises ConnectionError when the child dies.
    """
    return _through("burn", source)


async def _through(
    mode: Literal["transcode", "burn"], source: AsyncIterator[Config | Unit | Event]
) -> AsyncGenerator[Config | Unit | Event, None]:
    child = await _start(mode)
    if child.stdin is None or child.stdout is None:
        raise ConnectionError("a child without pipes")
    writer, reader = child.stdin, child.stdout
    made: asyncio.Queue[Config | Unit | Event | None] = asyncio.Queue(maxsize=32)

    async def feed() -> None:
        try:
            async for message in source:
                if isinstance(message, Event) and mode == "transcode":
                    await made.put(message)
                    continue
                writer.write(encode(message))
                await writer.drain()
        except (OSError, EOFError):
            with contextlib.suppress(ProcessLookupError):
                child.kill()  # nobody waits for what it still has
            raise
        finally:
            writer.close()

    async def fetch() -> None:
        try:
            while True:
                await made.put(await read_message(reader))
        except (OSError, EOFError, ValueError):
            await made.put(None)

    feeding = asyncio.create_task(feed(), name="transcode feed")
    fetching = asyncio.create_task(fetch(), name="transcode fetch")
    try:
        while (message := await made.get()) is not None:
            yield message
        if not feeding.done() or feeding.cancelled() or feeding.exception() is not None:
            raise ConnectionError("the transcoder ended")
    finally:
        for task in (feeding, fetching):
            task.cancel()
        await asyncio.gather(feeding, fetching, return_exceptions=True)
        await asyncio.shield(_stop(child))
