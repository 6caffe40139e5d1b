"""A recorder's live socket for tests: speaks `gateway.live.wire` with real units, steered by the test."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

from gateway.live.hub import StreamKey
from gateway.live.wire import (
    HEAD_BYTES,
    Config,
    Event,
    Unit,
    acknowledge,
    encode_config,
    encode_event,
    encode_unit,
    parse_body,
    parse_head,
    watch_request,
)
from storage.media.access_unit import AccessUnit, StreamConfig, Track


class LiveSocket:
    """Serves one camera stream to any number of watchers: config, the pictures since the last key frame, then new
    ones.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests: list[dict[str, object]] = []
        self.watchers: set[asyncio.StreamWriter] = set()
        self.acknowledged = 0
        self._gop: list[AccessUnit] = []
        self._config: Config | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> LiveSocket:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def listen(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, str(self.path))

    async def stop(self) -> None:
        """As a recorder that dies: the socket goes, watchers are cut."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._gop = []

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            self.requests.append(json.loads(await reader.readline()))
            if self._config is not None:
                writer.write(encode_config(self._config))
            for unit in self._gop:
                writer.write(encode_unit(unit, replay=True))
            self.watchers.add(writer)
            while count := await reader.read(4):
                self.acknowledged += int.from_bytes(count, "big")
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self.watchers.discard(writer)
            writer.close()

    def _send(self, message: bytes) -> None:
        for writer in self.watchers:
            writer.write(message)

    def config(self, stream: StreamConfig, epoch: int = 0) -> None:
        self._config = Config(epoch, stream)
        self._gop = []
        self._send(encode_config(self._config))

    def push(self, *units: AccessUnit) -> None:
        for unit in units:
            if unit.key and unit.track is Track.VIDEO:
                self._gop = []
            self._gop.append(unit)
            self._send(encode_unit(unit))

    def event(self, state: str, reason: dict[str, object] | None = None) -> None:
        self._send(encode_event(state, reason))

    @contextlib.asynccontextmanager
    async def playing(
        self, pictures: Sequence[AccessUnit], again: Callable[[int], Sequence[AccessUnit]], pace_s: float = 0.04
    ) -> AsyncGenerator[None, None]:
        """`pictures` at the pace of a camera, then `again(n)` for the n-th loop, until the block ends."""

        async def play() -> None:
            loop = asyncio.get_running_loop()
            due, turn, units = loop.time(), 0, pictures
            while True:
                for unit in units:
                    self.push(unit)
                    due += pace_s
                    await asyncio.sleep(max(0.0, due - loop.time()))
                turn += 1
                units = again(turn)

        task = asyncio.create_task(play())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def watch_socket(path: Path, key: StreamKey) -> AsyncGenerator[Config | Unit | Event, None]:
    """The live socket's client in a dozen lines, so that these tests stand on the protocol alone."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
    try:
        writer.write(watch_request(key.camera, key.stream, key.lease))
        while True:
            length, kind = parse_head(await reader.readexactly(HEAD_BYTES))
            body = await reader.readexactly(length)
            writer.write(acknowledge(length))
            yield parse_body(kind, body)
    finally:
        writer.close()


def shifted(
    units: Sequence[AccessUnit], ticks: int, wall_ns: int | None = None, epoch: int | None = None
) -> list[AccessUnit]:
    """`units` later by `ticks` of 90 kHz."""
    later = ticks * 1_000_000_000 // 90_000
    return [
        AccessUnit(
            unit.track, unit.dts + ticks, unit.pts + ticks, unit.duration,
            unit.wall_ns + later if wall_ns is None else wall_ns, unit.key, unit.data,
            unit.epoch if epoch is None else epoch,
        )
        for unit in units
    ]  # fmt: skip
