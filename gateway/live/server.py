"""The live socket of a recorder: watchers in other processes, served from the feeds (framing: `gateway.live.wire`).

Belongs here: connections, windows, late joiners. Does not belong here: who may watch (web and relay decide before they
connect; the socket's folder is 0700), which streams run (`gateway.ingest.fleet`).

A watcher that reads too slowly loses pictures up to a key frame; it never delays the stream, the footage or the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import struct
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Protocol, get_args

from config.errors import TiergateError
from gateway.ingest.recording import Recent
from gateway.ingest.supervision import CameraTask
from gateway.live import wire
from gateway.live.replay import replay_units
from gateway.ops.tasks import Tasks
from storage.media.access_unit import AccessUnit, Track

_log = logging.getLogger(__name__)

_REQUEST_MAX_BYTES = 4096
_REQUEST_TIMEOUT_S = 5.0
#: A late joiner whose key frame lies further back than this waits for the next instead.
_REPLAY_MAX_BYTES = wire.WINDOW_BYTES // 2


class Streams(Protocol):
    """What the server needs of a fleet."""

    def watch(self, camera_id: str, stream: str) -> CameraTask: ...

    def unwatch(self, camera_id: str, stream: str) -> None: ...


class Subscriber:
    """One connection that watches one stream; a `gateway.live.feed.Watcher`, all in the loop."""

    def __init__(self, writer: asyncio.StreamWriter, after: int) -> None:
        self._writer = writer
        self._after = after  #: sequence of the feed when we joined; earlier units are not ours
        self._on_their_way = 0
        self._needs_key = True
        self._held: deque[tuple[int, bytes, bool, bool]] | None = deque()  #: until the replay is out
        self._held_bytes = 0
        self.dropped = 0

    def deliver(self, sequence: int, message: bytes, key: bool, video: bool) -> None:
        if sequence <= self._after:
            return
        if self._held is not None:
            self._held_bytes += len(message)
            if self._held_bytes <= wire.WINDOW_BYTES:
                self._held.append((sequence, message, key, video))
            return
        self._offer(message, key, video)

    def announce(self, sequence: int, message: bytes) -> None:
        if sequence <= self._after:
            return
        if self._held is not None:
            self._held.append((sequence, message, True, False))
            return
        self._needs_key = True
        self._send(message)

    def acknowledged(self, count: int) -> None:
        self._on_their_way = max(0, self._on_their_way - count)

    def start(self, replay: list[bytes]) -> None:
        """The replay goes out, then what has come meanwhile, then the present."""
        for message in replay:
            self._send(message)
        if replay:
            self._needs_key = False
        held, self._held = self._held or deque(), None
        if self._held_bytes > wire.WINDOW_BYTES:
            self._needs_key = True
        for _, message, key, video in held:
            if key and not video and wire.parse_head(message[: wire.HEAD_BYTES])[1] is not wire.Message.UNIT:
                self._needs_key = True
                self._send(message)
            else:
                self._offer(message, key, video)

    def _offer(self, message: bytes, key: bool, video: bool) -> None:
        if self._needs_key:
            if not (key and video):
                return
            self._needs_key = False
        if self._on_their_way + len(message) > wire.WINDOW_BYTES:
            self._needs_key = True
            self.dropped += 1
            return
        self._send(message)

    def _send(self, message: bytes) -> None:
        if self._writer.is_closing():
            return  # the peer has gone; its reader is about to end this
        self._on_their_way += len(message) - wire.HEAD_BYTES
        self._writer.write(message)


class LiveServer:
    def __init__(self, path: Path, streams: Streams) -> None:
        self._path = path
        self._streams = streams
        self._server: asyncio.Server | None = None
        self._connections = Tasks()

    async def start(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(self._path.parent, 0o700)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._server = await asyncio.start_unix_server(self._accept, str(self._path), limit=_REQUEST_MAX_BYTES)
        os.chmod(self._path, 0o600)

    async def stop(self) -> None:
        if self._server is None:
            return  # never started: the path is a predecessor's
        self._server.close()
        await self._connections.cancel()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.start(self._serve(reader, writer), "live-watcher")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read_request(reader)
            if request is None:
                return
            op, camera_id, stream = request
            try:
                task = self._streams.watch(camera_id, stream)
            except TiergateError as error:
                writer.write(wire.encode_event("ended", error.reason.as_json()))
                await writer.drain()
                return
            try:
                if op == "key_frame" and await _send_key_frame(task, writer):
                    while await reader.read(_REQUEST_MAX_BYTES):
                        pass  # its acknowledgements, until it hangs up
                    return
                await self._watch(task, reader, writer)
            finally:
                self._streams.unwatch(camera_id, stream)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _watch(
        self, task: CameraTask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:  # fmt: skip
        feed = task.feed
        with task.lock:
            config, event, gop = feed.config_message, feed.last_event, feed.gop
            recent = task.recording.recent() if task.recording is not None else None
            subscriber = Subscriber(writer, feed.sequence)
            feed.join(subscriber)
        try:
            replay: list[bytes] = []
            if config is not None:
                writer.write(config)  # before the window begins: everybody gets it
                units = await _recent_units(task, recent) if recent is not None else gop
                replay = [wire.encode_unit(unit, replay=True) for unit in units]
                if sum(map(len, replay)) > _REPLAY_MAX_BYTES:
                    replay = []
            elif event is not None:
                writer.write(event)
            subscriber.start(replay)
            while True:
                (count,) = struct.unpack(">I", await reader.readexactly(wire.ACK_BYTES))
                subscriber.acknowledged(count)
        finally:
            with task.lock:
                feed.leave(subscriber)


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, str] | None:
    """(op, camera, stream)"""
    try:
        async with asyncio.timeout(_REQUEST_TIMEOUT_S):
            request = json.loads(await reader.readline())
        if request["op"] not in get_args(wire.Op) or request["stream"] not in ("main", "sub"):
            raise ValueError
        return str(request["op"]), str(request["camera"]), str(request["stream"])
    except (ValueError, KeyError, TypeError, TimeoutError):
        _log.warning("malformed request on the live socket")
        return None


async def _send_key_frame(task: CameraTask, writer: asyncio.StreamWriter) -> bool:
    """Whether one was at hand. A picture check each minute must not cost the recorder a whole group of pictures."""
    with task.lock:
        config, units = task.feed.config_message, task.feed.gop
        recent = task.recording.recent() if task.recording is not None else None
    if config is None:
        return False
    if recent is not None:
        video = [entry for entry in recent.entries if entry.track is Track.VIDEO][:1]
        pending = () if video else recent.pending
        units = await _recent_units(task, replace(recent, entries=tuple(video), pending=pending))
    if not units or not units[0].key:
        return False
    writer.write(config + wire.encode_unit(units[0], replay=True))
    return True


async def _recent_units(task: CameraTask, recent: Recent) -> list[AccessUnit]:
    """Pictures since the last key frame: from the open file what is written, from memory what is not yet."""
    recording = task.recording
    if recording is None:
        return []
    if not recent.entries:
        return list(recent.pending)
    base = recent.entries[0].offset
    length = recent.entries[-1].offset + recent.entries[-1].size - base
    if length > _REPLAY_MAX_BYTES:
        return []
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    def answer(data: bytes) -> None:
        if not done.done():
            done.set_result(data)

    def read() -> None:
        try:
            data = recent.writing.read(base, length)
        except OSError:
            data = b""
        loop.call_soon_threadsafe(answer, data)

    with task.lock:
        recording.in_lane(read)
    try:
        async with asyncio.timeout(2.0):
            data = await done
    except TimeoutError:
        return []
    units = list(replay_units(data, base, recent.entries, recent.clock))
    if sum(entry.samples for entry in recent.entries if entry.track is Track.VIDEO) != len(units):
        return []  # a hole before the present would be worse than waiting for the next key frame
    return units + list(recent.pending)
