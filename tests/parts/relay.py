"""A TCP relay on loopback that can be as bad as a network: slow, stalled, cut, half closed, lying. Counts what passes.

Runs its own asyncio loop in one thread; every method may be called from any thread. Put it between camera and gateway,
gateway and S3, or two nodes: connect to `relay.port` instead of the real port.

`hits` counts what each toxic did, by its name: `delay throttle stall black_hole` in chunks, `corrupt` in bytes,
`refuse reset half_close truncate` in connections. A test of a bad network that hit nothing has shown nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

_CHUNK_BYTES = 64 * 1024
_THROTTLED_BYTES = 4096

#: Where bytes are going.
Towards = Literal["client", "server"]

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class _Link:
    """One relayed connection: `near` is who connected to us, `far` the real server."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    pumps: list[asyncio.Task[None]] = field(default_factory=list)
    said_goodbye: bool = False  #: FIN was sent to `near` although the server goes on
    swallowed: bool = False  #: bytes of it are missing: it never works again
    left: dict[Towards, int] = field(default_factory=dict)  #: bytes that may still pass


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
        #: One bit of every so many bytes is flipped; None is none.
        self.corrupt_every_bytes: dict[Towards, int | None] = {"client": None, "server": None}
        self.hits: Counter[str] = Counter()
        self.connections = 0
        self.bytes_to_server = 0
        self.bytes_to_client = 0
        self._links: set[_Link] = set()
        self._swallowing = False
        self._truncate_after: dict[Towards, int] = {}
        self._since_corrupt: Counter[Towards] = Counter()
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
        """Ends `stall`: what was held back passes now. Ends `black_hole` and `truncate` for new connections."""

        def end() -> None:
            self._swallowing = False
            self._truncate_after.clear()
            self._flowing.set()

        self._call(end)

    def black_hole(self) -> None:
        """Bytes vanish, in both directions, and nobody is told; connections are taken and lead nowhere."""

        def begin() -> None:
            self._swallowing = True

        self._call(begin)

    def truncate(self, after_bytes: int, towards: Towards = "client") -> None:
        """Every connection, open or new, ends orderly (FIN) when so many more bytes have passed in this direction."""

        def begin() -> None:
            self._truncate_after[towards] = after_bytes
            for link in self._links:
                link.left[towards] = after_bytes

        self._call(begin)

    def reset(self) -> int:
        """Every open connection ends with RST on both sides; answers how many."""
        return self._call(self._reset_all)

    def half_close(self) -> None:
        """The server's side says it is done (FIN) to every client, and goes on listening to them."""

        def close() -> None:
            for link in self._links:
                if link.near.can_write_eof() and not link.said_goodbye:
                    link.said_goodbye = True
                    link.near.write_eof()
                    self.hits["half_close"] += 1

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
            self.hits["refuse"] += 1
            _abort(near)
            return
        if self._swallowing:
            await self._swallow(near_reader, near)
            return
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            _abort(near)
            return
        link = _Link(near, far, left=dict(self._truncate_after))
        self._links.add(link)
        link.pumps = [
            asyncio.create_task(self._pump(link, near_reader, "server")),
            asyncio.create_task(self._pump(link, far_reader, "client")),
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

    async def _swallow(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        """A connection that leads nowhere."""
        link = _Link(near, near, swallowed=True)
        self._links.add(link)
        try:
            while await reader.read(_CHUNK_BYTES):
                self.hits["black_hole"] += 1
        except OSError:
            pass
        finally:
            self._links.discard(link)
            near.close()

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, towards: Towards) -> None:
        writer = link.far if towards == "server" else link.near
        while chunk := await reader.read(_CHUNK_BYTES if self.rate_bps is None else _THROTTLED_BYTES):
            if self.delay_s:
                self.hits["delay"] += 1
                await asyncio.sleep(self.delay_s)
            if self.rate_bps is not None:
                self.hits["throttle"] += 1
                await asyncio.sleep(len(chunk) * 8 / self.rate_bps)
            if not self._flowing.is_set():
                self.hits["stall"] += 1
                await self._flowing.wait()
            if self._swallowing or link.swallowed:
                link.swallowed = True
                self.hits["black_hole"] += 1
                continue
            if towards == "client" and link.said_goodbye:
                continue
            chunk, ends = self._cut(link, self._corrupted(chunk, towards), towards)
            if towards == "server":
                self.bytes_to_server += len(chunk)
            else:
                self.bytes_to_client += len(chunk)
            writer.write(chunk)
            await writer.drain()
            if ends:
                self.hits["truncate"] += 1
                link.near.close()
                link.far.close()
                return
        if link.swallowed:
            return  # not even its end gets through
        if writer.can_write_eof() and not (towards == "client" and link.said_goodbye):
            writer.write_eof()

    def _corrupted(self, chunk: bytes, towards: Towards) -> bytes:
        every = self.corrupt_every_bytes[towards]
        if every is None:
            return chunk
        damaged = bytearray(chunk)
        for at in range(every - 1 - self._since_corrupt[towards] % every, len(chunk), every):
            damaged[at] ^= 0x10
            self.hits["corrupt"] += 1
        self._since_corrupt[towards] += len(chunk)
        return bytes(damaged)

    @staticmethod
    def _cut(link: _Link, chunk: bytes, towards: Towards) -> tuple[bytes, bool]:
        """What of it may pass, and whether it is the last."""
        left = link.left.get(towards)
        if left is None:
            return chunk, False
        link.left[towards] = left - len(chunk)
        return chunk[:left], len(chunk) >= left

    def _reset_all(self) -> int:
        links = list(self._links)
        for link in links:
            _abort(link.near)
            _abort(link.far)
            for pump in link.pumps:
                pump.cancel()
        self.hits["reset"] += len(links)
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
