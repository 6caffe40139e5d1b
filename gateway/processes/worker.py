"""The worker process: everything that decodes, behind ``run/worker.sock``.

Protocol: one JSON line, ``{"op": …, "bytes": n}`` and n bytes of payload; the answer is one JSON line
``{"ok": true, "bytes": m}`` and m bytes, or ``{"ok": false, "reason": {code, params}}``.

* ``snapshot``: ``video`` (a VideoConfig), payload a key access unit, optional ``width`` → JPEG.
* ``health``: the same → JSON alone: ``mean``, ``spread`` of the luma, and the 320 x 180 luma bytes.
* ``transcode``: ``camera``, ``stream``, ``lease`` → messages of `gateway.live.wire` in H.264 until the asker leaves;
  acknowledged as on the live socket. One transcoder per stream however many ask, at most `TRANSCODES` at once.
* ``burn``: ``mark`` (words, `gateway.processes.marking`) → event ``ready``, or ``ended`` with the reason why not. Then
  the asker sends a config and units and at last an event ``ended``; they come back in H.264 with the mark in every
  picture, and the event behind them. Counted with the transcodes; over when the asker leaves, or takes nothing for
  `STALL_S`.

The worker itself decodes nothing: its children do (`gateway.processes.decoding`). It holds no key and reads no secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np

from config.clock import make_clock
from config.errors import TiergateError
from config.reasons import Reason
from gateway.health.checker import Checker
from gateway.live.hub import Granted, Hub, Picture, Started, StreamKey, Viewer, Watch
from gateway.live.sockets import socket_watch
from gateway.live.wire import ACK_BYTES, HEAD_BYTES, WINDOW_BYTES, Config, Event, Unit, encode
from gateway.processes import child
from gateway.processes.decoder import PAYLOAD_MAX_BYTES
from gateway.processes.decoding import DecoderPool, burn, read_message, transcode, video_from_json
from gateway.processes.worker_client import WorkerClient
from storage.catalog.engine import Catalog
from storage.media.access_unit import VideoConfig

_log = logging.getLogger(__name__)

TRANSCODES = 2
REQUEST_S = 10.0
REQUEST_LINE_BYTES = 64 * 1024
STALL_S = 60.0  #: a clip that does not move on for so long gives its place to another


class Worker:
    """Listens and hands jobs to its children. `watch` reaches the live sockets."""

    def __init__(
        self,
        socket_path: Path,
        watch: Watch,
        children: int = 2,
        transcodes: int = TRANSCODES,
        font: Path | None = None,
        stall_s: float = STALL_S,
    ) -> None:
        self._socket_path = socket_path
        self._font = font
        self._stall_s = stall_s
        self._watch = watch
        self._transcodes = transcodes
        self._running_transcodes = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.pool = DecoderPool(children)
        #: Streams as H.264, each with one transcoder behind it.
        self._hub = Hub(self._transcoded, linger_s=3.0)
        #: Streams as the cameras send them.
        self._raw = Hub(watch, linger_s=0.0)

    async def start(self) -> None:
        self._socket_path.parent.mkdir(parents=True, exist_ok=True)
        self._socket_path.unlink(missing_ok=True)
        before = os.umask(0o077)
        try:
            self._server = await asyncio.start_unix_server(self._accept, str(self._socket_path), limit=1 << 20)
        finally:
            os.umask(before)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._hub.close()
        await self._raw.close()
        await self.pool.close()
        self._socket_path.unlink(missing_ok=True)

    # -- jobs --------------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            async with asyncio.timeout(REQUEST_S):
                request, payload = await self._request(reader)
            if request.get("op") == "transcode":
                await self._serve_transcode(request, reader, writer)
            elif request.get("op") == "burn":
                await self._serve_burn(request, reader, writer)
            else:
                await self._answer(request, payload, writer)
        except (OSError, EOFError, ValueError, KeyError, TypeError, TimeoutError) as exc:
            _log.info("a request to the worker failed: %s", type(exc).__name__)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @staticmethod
    async def _request(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes]:
        line = await reader.readline()
        if not line.endswith(b"\n") or len(line) > REQUEST_LINE_BYTES:
            raise ValueError("not a request")
        request = json.loads(line)
        size = int(request["bytes"])
        if not 0 <= size <= PAYLOAD_MAX_BYTES:
            raise ValueError("payload too long")
        return request, await reader.readexactly(size)

    async def _answer(self, request: dict[str, Any], payload: bytes, writer: asyncio.StreamWriter) -> None:
        result = b""
        answer: dict[str, Any] = {"ok": True}
        try:
            if request["op"] == "snapshot":
                width = {"width": int(request["width"])} if "width" in request else {}
                facts, result = await self.pool.run("jpeg", video_from_json(request["video"]), payload, **width)
                answer |= {"width": facts["width"], "height": facts["height"]}
            elif request["op"] == "health":
                result = await self.examine(video_from_json(request["video"]), payload)
                picture = np.frombuffer(result, np.uint8)
                answer |= {"mean": float(picture.mean()), "spread": float(picture.std())}
            else:
                answer = {"ok": False, "reason": Reason("media.play_worker_request").as_json()}
        except TiergateError as exc:
            answer = {"ok": False, "reason": exc.reason.as_json()}
        writer.write(json.dumps({**answer, "bytes": len(result)}).encode() + b"\n" + result)
        await writer.drain()

    async def examine(self, video: VideoConfig, data: bytes) -> bytes:
        """The 320 x 180 luma bytes of a key access unit. Raises media.play_undecodable."""
        _, luma = await self.pool.run("grey", video, data)
        return luma

    # -- transcoding -------------------------------------------------------------------------------------------------

    async def _transcoded(self, key: StreamKey) -> AsyncGenerator[Config | Unit | Event, None]:
        if self._running_transcodes >= self._transcodes:
            yield self._busy()
            return
        self._running_transcodes += 1
        viewer = self._raw.join(key)
        try:
            async with contextlib.aclosing(transcode(_messages(viewer))) as made:
                async for message in made:
                    yield message
        finally:
            viewer.close()
            self._running_transcodes -= 1

    def _busy(self) -> Event:
        return Event("ended", Reason("media.live_transcode_busy", {"limit": self._transcodes}).as_json())

    async def _serve_burn(
        self, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._running_transcodes >= self._transcodes:
            writer.write(encode(self._busy()))
            await writer.drain()
            return
        words = {**request["mark"], "font": None if self._font is None else str(self._font)}
        self._running_transcodes += 1
        try:
            async with contextlib.aclosing(burn(_asked(words, reader))) as made:
                over = False
                while not over:
                    async with asyncio.timeout(self._stall_s):
                        message = await anext(made, None)
                        if message is None:
                            raise ConnectionError("the child ended early")
                        writer.write(encode(message))
                        await writer.drain()
                    over = isinstance(message, Event) and message.state == "ended"
        except TimeoutError:
            writer.transport.abort()  # a close would wait for whoever does not read
            raise
        except ConnectionError:
            writer.write(encode(Event("ended", Reason("media.live_transcode_failed").as_json())))
            raise
        finally:
            self._running_transcodes -= 1

    async def _serve_transcode(
        self, request: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        key = StreamKey(str(request["camera"]), str(request["stream"]), request["lease"])
        async with self._hub.viewer(key) as viewer:
            window = _Window(reader)
            gone = asyncio.create_task(window.read(), name="transcode acknowledgements")
            gone.add_done_callback(lambda _: viewer.end())
            try:
                async with contextlib.aclosing(_messages(viewer)) as messages:
                    async for message in messages:
                        if not await window.open():
                            return
                        data = encode(message)
                        window.sent(len(data) - HEAD_BYTES)
                        writer.write(data)
                        await writer.drain()
            finally:
                gone.cancel()


class _Window:
    """Flow control of a live socket's subscriber, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._outstanding = 0
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False

    def sent(self, count: int) -> None:
        self._outstanding += count
        if self._outstanding > WINDOW_BYTES:
            self._room.clear()

    async def open(self) -> bool:
        await self._room.wait()
        return not self._closed

    async def read(self) -> None:
        try:
            while True:
                count = int.from_bytes(await self._reader.readexactly(ACK_BYTES), "big")
                self._outstanding = max(0, self._outstanding - count)
                if self._outstanding <= WINDOW_BYTES:
                    self._room.set()
        except (OSError, EOFError):
            pass
        finally:
            self._closed = True
            self._room.set()


async def _messages(viewer: Viewer) -> AsyncGenerator[Config | Unit | Event, None]:
    """A viewer's entries as they came over the live socket; who joins late is told first what a lower tier gives."""
    told = Granted()
    while entries := await viewer.take():
        for entry in entries:
            if isinstance(entry, Picture):
                yield Unit(entry.unit, entry.replay)
            elif isinstance(entry, Started):
                if entry.granted != told:
                    told = entry.granted
                    yield told.as_event()
                yield Config(entry.epoch, entry.config)
            else:
                if entry.state == "stream":
                    told = Granted.of(entry.reason)
                yield Event(entry.state, entry.reason)


async def _asked(words: dict[str, Any], reader: asyncio.StreamReader) -> AsyncGenerator[Config | Unit | Event, None]:
    """The words to burn in, then what the asker sends until it says that this was all."""
    message: Config | Unit | Event = Event("mark", words)
    yield message
    while not isinstance(message, Event) or message.state != "ended":
        message = await read_message(reader)
        yield message


# -- the process -----------------------------------------------------------------------------------------------------


async def run(process: child.Child) -> None:
    """Jobs, and the picture checks of this node's cameras."""
    settings = process.settings
    catalog = Catalog(settings.catalog_url)
    run_dir = settings.paths.run_dir
    socket_path = run_dir / "worker.sock"
    client = WorkerClient(socket_path)
    worker = Worker(socket_path, socket_watch(run_dir, catalog, client), font=settings.clips.font)
    glance = socket_watch(run_dir, catalog, client, "key_frame")
    checker = Checker(catalog, make_clock(settings), glance, worker.examine, settings.health.interval_s)
    await worker.start()
    checks = asyncio.create_task(checker.run(), name="picture checks")
    try:
        process.ready()
        stop = asyncio.create_task(process.stopping.wait(), name="stopping")
        await asyncio.wait({checks, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if checks.done():
            checks.result()  # the supervisor starts another worker
    finally:
        checks.cancel()
        await asyncio.gather(checks, return_exceptions=True)
        await worker.close()
        catalog.close()


if __name__ == "__main__":
    child.main("worker", run)
