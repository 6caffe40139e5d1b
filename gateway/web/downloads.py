"""Answers that are made while they are sent, and end with the looks that they are sent under.

Belongs here: how much is handed on at once, and the end of a transfer whose right has ended. Does not belong here: what
is sent (`gateway.playback`, `gateway.evidence`), the live picture, which ends with a word (`gateway.web.routers.live`).

uvicorn waits until its buffer has drained *before* it writes, and then writes all that it was given. So what is given
at once is little: behind a client that pauses, it waits in memory and must not leave when the right has ended
meanwhile; behind a slow line, it still leaves after the end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from gateway.access.looks import Look

SENT_BYTES = 128 * 1024  #: given to the server at once; 1 s of a line of 1 Mbit/s


class Pictures(StreamingResponse):
    """Bytes under looks. A file cut short must not look whole: the connection breaks as soon as a look ends, also while
    the client takes nothing."""

    def __init__(
        self,
        body: AsyncIterator[bytes],
        looks: Sequence[Look],
        headers: Mapping[str, str],
        media_type: str,
        status_code: int = 200,
    ) -> None:
        super().__init__(body, status_code, headers, media_type)
        self._looks = looks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_under_looks(message: Message) -> None:
            if message["type"] == "http.response.body" and any(look.ended.is_set() for look in self._looks):
                raise ConnectionAbortedError("a look was ended")
            await send(message)

        sending = asyncio.create_task(super().__call__(scope, receive, send_under_looks), name="pictures send")
        ended = [asyncio.create_task(look.ended.wait(), name="pictures look") for look in self._looks]
        try:
            await asyncio.wait({sending, *ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, *ended):
                task.cancel()
            results = await asyncio.gather(sending, *ended, return_exceptions=True)
        if isinstance(results[0], asyncio.CancelledError):
            raise ConnectionAbortedError("a look was ended")
        if isinstance(results[0], BaseException):
            raise results[0]


class Download(Pictures):
    """What makes the file, and the looks it is made under (`held`), end with the answer however that ends."""

    def __init__(
        self,
        body: AsyncIterator[bytes],
        looks: Sequence[Look],
        headers: Mapping[str, str],
        media_type: str,
        held: contextlib.AsyncExitStack,
    ) -> None:
        super().__init__(body, looks, headers, media_type)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)


def pieces(data: bytes) -> Iterator[bytes]:
    """`data` in what is given to the server at once."""
    if len(data) <= SENT_BYTES:
        yield data
        return
    for at in range(0, len(data), SENT_BYTES):
        yield data[at : at + SENT_BYTES]


async def counted(look: Look, first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The body of an answer: each piece is counted when it goes to the server."""
    for piece in pieces(first):
        look.add_bytes(len(piece))
        yield piece
    async for chunk in rest:
        for piece in pieces(chunk):
            look.add_bytes(len(piece))
            yield piece
