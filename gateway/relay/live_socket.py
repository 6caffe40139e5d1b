"""``run/live/relay.sock``: lower tiers' cameras for the processes of this node, in the recorders' own protocol.

Framing and credit are those of `gateway.live.wire`: whoever can watch a recorder can watch a lower tier by naming the
lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path

from config.errors import TiergateError
from config.ids import ULID_PATTERN
from gateway.live.wire import ACK_BYTES, HEAD_BYTES, WINDOW_BYTES, encode_event
from gateway.relay.upstream import Upstreams, Watcher

_log = logging.getLogger(__name__)
REQUEST_MAX_BYTES = 2000
REQUEST_S = 5.0


class RelayLiveSocket:
    def __init__(self, path: Path, upstreams: Upstreams) -> None:
        self._path = path
        self._upstreams = upstreams
        self._connections: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        server = await asyncio.start_unix_server(self._accept, self._path)
        os.chmod(self._path, 0o700)
        try:
            yield
        finally:
            server.close()
            for task in list(self._connections):
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
            pass  # the watcher has gone, or speaks something else
        except TiergateError as exc:
            with contextlib.suppress(OSError):
                writer.write(encode_event("ended", exc.reason.as_json()))
                await writer.drain()
        except asyncio.CancelledError:
            pass
        except Exception:
            _log.exception("a watcher's connection failed")
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(REQUEST_S):
            line = await reader.readuntil(b"\n")
        request = json.loads(line[:REQUEST_MAX_BYTES])
        lease, camera, stream = (str(request.get(name) or "") for name in ("lease", "camera", "stream"))
        if request.get("op") != "watch" or not ULID_PATTERN.fullmatch(lease) or stream not in ("main", "sub"):
            raise ValueError("not a watch request")
        upstream, watcher = await self._upstreams.join(lease, camera, stream)
        credit = _Credit()
        acknowledgements = asyncio.create_task(_acknowledged(reader, credit, watcher))
        try:
            while (message := await watcher.take()) is not None:
                await credit.spend(len(message) - HEAD_BYTES)
                writer.write(message)
                await writer.drain()
        finally:
            upstream.leave(watcher)
            acknowledgements.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await acknowledgements


class _Credit:
    """Bytes that may be on their way: never more than the window, except one message that is larger by itself."""

    def __init__(self) -> None:
        self._flying = 0
        self._moved = asyncio.Event()

    async def spend(self, count: int) -> None:
        while self._flying and self._flying + count > WINDOW_BYTES:
            self._moved.clear()
            await self._moved.wait()
        self._flying += count

    def back(self, count: int) -> None:
        self._flying = max(0, self._flying - count)
        self._moved.set()


async def _acknowledged(reader: asyncio.StreamReader, credit: _Credit, watcher: Watcher) -> None:
    """Takes acknowledgements until the watcher closes its side."""
    try:
        while True:
            (count,) = struct.unpack(">I", await reader.readexactly(ACK_BYTES))
            credit.back(count)
    except (OSError, asyncio.IncompleteReadError):
        watcher.close()
        credit.back(1 << 62)
