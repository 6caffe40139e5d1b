"""A TCP relay on loopback that can be as bad as a network: slow, stalled, cut, half closed. Counts what passes.

Runs its own asyncio loop in one thread; every method may be called from any thread. Put it between camera and gateway,
gateway and S3, or two nodes: connect to `relay.port` instead of the real port.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

_CHUNK_BYTES = 64 * 1024

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Link:
    """One relayed connection: `near` is who connected to us, `far` the real server."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    pumps: list[asyncio.Task[None]] = field(default_factory=list)


class TcpRelay:
    """Forwards to `port` on loopback. The knobs act on running connections at once."""

    def __init__(self, target_port: int, *, delay_s: float = 0.0, rate_bps: float | None = None) -> None:
        self.target_port = target_port
        self.port = 0
        #: Added to each chunk in each direction.
        self.delay_s = delay_s
        #: Per connection and direction; None is no limit.
        self.rate_bps = rate_bps
        #: New connections are reset at once while this is set.
        self.refusing = False
        self.connections = 0
        self.bytes_to_server = 0
        self.bytes_to_client = 0
        self._links: set[_Link] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-relay", daemon=True)
        self._server: asyncio.Server | None = None

    # --- the knobs -------------------------------------------------------------------------------

    @property
    def open_connections(self) -> int:
        return len(self._links)

    def stall(self) -> None:
        """Connections stay open and nothing passes any more, in either direction."""
        self._call(self._flowing.clear)

    def flow(self) -> None:
        """Ends `stall`: what was held back passes now."""
        self._call(self._flowing.set)

    def reset(self) -> int:
        """Every open connection ends with RST on both sides; answers how many."""
        return self._call(self._reset_all)

    def half_close(self) -> None:
        """The server's side says it is done (FIN) to every client, and goes on listening to them."""

        def close() -> None:
            for link in self._links:
                if link.near.can_write_eof():
                    link.near.write_eof()

        self._call(close)

    def close_port(self) -> int:
        """Nothing listens any more and every open connection is reset, as when a camera reboots; answers how many."""

        async def close() -> int:
            assert self._server is not None
            self._server.close()
            return self._reset_all()

        return asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)

    def open_port(self) -> None:
        """Ends `close_port`."""
        self._run(self._listen())

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> Self:
        self._thread.start()

        self._run(self._listen())
        return self

    def stop(self) -> None:
        async def end() -> None:
            assert self._server is not None
            self._server.close()
            self._reset_all()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._run(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    # --- inside the loop -----------------------------------------------------------------------------

    async def _serve(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refusing:
            _abort(near)
            return
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            _abort(near)
            return
        link = _Link(near, far)
        self._links.add(link)
        link.pumps = [
            asyncio.create_task(self._pump(near_reader, far, "bytes_to_server")),
            asyncio.create_task(self._pump(far_reader, near, "bytes_to_client")),
        ]
        try:
            await asyncio.gather(*link.pumps)
        except OSError:
            _abort(near)
            _abort(far)
        finally:
            self._links.discard(link)
            near.close()
            far.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counter: str) -> None:
        while chunk := await reader.read(_CHUNK_BYTES if self.rate_bps is None else 4096):
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            if self.rate_bps is not None:
                await asyncio.sleep(len(chunk) * 8 / self.rate_bps)
            await self._flowing.wait()
            setattr(self, counter, getattr(self, counter) + len(chunk))
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()

    def _reset_all(self) -> int:
        links = list(self._links)
        for link in links:
            _abort(link.near)
            _abort(link.far)
            for pump in link.pumps:
                pump.cancel()
        return len(links)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _call(self, function: Callable[[], T]) -> T:
        async def inside() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(inside(), self._loop).result(10)


def _abort(writer: asyncio.StreamWriter) -> None:
    """RST instead of FIN: what a router that forgot the connection, or a camera without power, looks like."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):  # closed before
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
