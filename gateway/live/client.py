"""Watching a stream from another process: the other end of `gateway.live.server`.

Belongs here: one connection as an async iterator. Does not belong here: reconnecting (the caller knows whether anybody
still wants the stream), permissions (decided before this is called).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from gateway.live import wire

#: Acknowledged in steps of this: often enough for the window, seldom enough for the processor.
_ACK_BYTES = 64 * 1024


async def watch(
    path: Path, camera: str, stream: str, lease: str | None = None, op: wire.Op = "watch"
) -> AsyncGenerator[wire.Config | wire.Unit | wire.Event, None]:
    """Config, then units from a key frame on; events when the stream goes and comes. Ends when the server closes.

    Raises ConnectionError or FileNotFoundError when no recorder listens. Close it with ``aclosing``: an iterator that
    is left alone keeps the stream open. Bytes are acknowledged when the caller asks for the next item, so a caller
    that is slow is the one that loses pictures.
    """
    reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 20)
    try:
        writer.write(wire.watch_request(camera, stream, lease, op))
        consumed = 0
        while True:
            try:
                head = await reader.readexactly(wire.HEAD_BYTES)
                length, kind = wire.parse_head(head)
                body = await reader.readexactly(length)
            except asyncio.IncompleteReadError:
                return
            yield wire.parse_body(kind, body)
            consumed += length
            if consumed >= _ACK_BYTES:
                writer.write(wire.acknowledge(consumed))
                consumed = 0
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
