"""One shared task per process that notices that the catalog moved.

Other processes' commits show in ``PRAGMA data_version``; own commits do not, so whoever writes calls `bump`. Caches,
running looks and the event stream all hang on this one stamp: revocation within 5 s is carried by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from gateway.ops.tasks import alongside
from storage.catalog.engine import Catalog

INTERVAL_S = 0.5
_log = logging.getLogger(__name__)


class CatalogWatch:
    def __init__(self, catalog: Catalog, interval_s: float = INTERVAL_S) -> None:
        self._catalog = catalog
        self._interval_s = interval_s
        self._seen: int | None = None
        self._moved = asyncio.Event()
        self.stamp = 0  #: grows with every known change

    def bump(self) -> None:
        """A commit of our own."""
        self.stamp += 1
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def wait(self, after: int, timeout_s: float) -> int:
        """The stamp, as soon as it is another than `after`, or when the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.stamp == after:
                    await self._moved.wait()
        return self.stamp

    async def poll(self) -> None:
        version = await self._catalog.aversion()
        if self._seen is not None and version != self._seen:
            self.bump()
        self._seen = version

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with alongside(self._run(), "catalog-watch"):
            yield

    async def _run(self) -> None:
        while True:
            try:
                await self.poll()
            except Exception:
                _log.exception("the catalog's version cannot be read")
            await asyncio.sleep(self._interval_s)
