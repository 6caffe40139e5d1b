"""Open looks at recorded footage: the many range requests of one player are one row of the register.

Belongs here: when such a row is opened and closed. Does not belong here: what may be read (`tiering.lease`), the row
itself (the port `Register`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from config.errors import TiergateError
from storage.catalog.links import LinkRow
from tiering.lease import LeaseTerms
from tiering.ports import OpenLook, Register

IDLE_S = 30.0  #: a row is closed this long after its last bytes

Key = tuple[str, str, str]  #: lease, camera, stream


@dataclass(slots=True)
class _Reading:
    look: OpenLook
    stack: AsyncExitStack
    used_s: float
    users: int = 0  #: requests for which bytes are read now


class Readings:
    def __init__(self, register: Register) -> None:
        self._register = register
        self._open: dict[Key, _Reading] = {}
        self._opening = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def look(self, link: LinkRow, terms: LeaseTerms, camera: str, stream: str) -> AsyncIterator[OpenLook]:
        """The open look of a player, a new one where there is none. Its row stays open as long as bytes are read under
        it, and `IDLE_S` longer. Raises as `Register.open`."""
        reading = await self._reading(link, terms, camera, stream)
        try:
            yield reading.look
        finally:
            reading.users -= 1
            reading.used_s = asyncio.get_running_loop().time()

    async def _reading(self, link: LinkRow, terms: LeaseTerms, camera: str, stream: str) -> _Reading:
        key = (terms.id, camera, stream)
        async with self._opening:
            reading = self._open.get(key)
            if reading is not None and reading.look.ended.is_set():
                await self._close(key)
                reading = None
            if reading is None:
                stack = AsyncExitStack()
                look = await stack.enter_async_context(self._register.open(link, terms, camera, "playback", stream))
                reading = self._open[key] = _Reading(look, stack, asyncio.get_running_loop().time())
            reading.users += 1
            return reading

    async def close_idle(self, idle_s: float = IDLE_S) -> None:
        """Closes the rows of readers that have gone; the relay calls it each second."""
        now_s = asyncio.get_running_loop().time()
        await self._close_all(
            lambda reading: reading.look.ended.is_set() or (not reading.users and now_s - reading.used_s >= idle_s)
        )

    async def close(self) -> None:
        """All of them, at the relay's end: what is read now goes no more, for its look has ended."""
        await self._close_all(lambda reading: True)

    async def _close_all(self, over: Callable[[_Reading], bool]) -> None:
        async with self._opening:
            for key, reading in list(self._open.items()):
                if over(reading):
                    with contextlib.suppress(TiergateError):
                        await self._close(key)

    async def _close(self, key: Key) -> None:
        reading = self._open.pop(key, None)
        if reading is not None:
            await reading.stack.aclose()
