"""An answer that is a file which is made while it is sent."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class Download(StreamingResponse):
    """What makes the file, and the looks it is made under (`held`), end with the answer however that ends."""

    def __init__(
        self, body: AsyncIterator[bytes], headers: dict[str, str], media_type: str, held: contextlib.AsyncExitStack
    ) -> None:
        super().__init__(body, headers=headers, media_type=media_type)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)
