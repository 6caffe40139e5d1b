"""The server's certificate, read again when its files change: connections that stand go on with the one they began
with, those that come get the new one.

Whoever renews a certificate writes two files, one after the other, perhaps not in one step. So a pair is tried in a
context of its own, and only one that fits is given to handshakes; until then the last one that did is.

Belongs here: the certificate of the pages, which nobody pins. Does not belong here: the relay's, which is shown only
when the nodes that pin it know it (`gateway.relay.certificate`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import uvicorn

from gateway.ops.changing_tls import ChangingContext, Stamps, stamps_of
from gateway.ops.tasks import alongside

INTERVAL_S = 5.0
_log = logging.getLogger(__name__)


class LiveCertificate:
    def __init__(self, file: Path, key: Path) -> None:
        """`file`: the certificate with its chain, PEM; `key`: its private key, PEM."""
        self.file, self.key = file, key
        self._seen: Stamps | None = None
        self._make: Callable[[], ssl.SSLContext] | None = None
        self._given: ChangingContext | None = None

    def context(self, _config: uvicorn.Config | None, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """For uvicorn's `ssl_context_factory`. Raises what loading a pair raises: at a start it must fit."""
        self._seen, self._make = self._stamps(), make
        self._given = ChangingContext(make())
        return self._given.first

    def look(self) -> bool:
        """Whether a new pair is in use from here on."""
        if self._make is None or self._given is None:
            return False
        stamps = self._stamps()
        if stamps is None or stamps == self._seen:
            return False
        try:
            fresh = self._make()
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError: half renewed, or never a pair
            if stamps == self._stamps():
                self._seen = stamps
                _log.warning("the changed certificate is not in use", extra={"problem": type(error).__name__})
            return False
        if stamps != self._stamps():
            return False  # it may be half of each: the next look tells
        self._seen = stamps
        self._given.use(fresh)
        _log.info("the changed certificate is in use")
        return True

    def _stamps(self) -> Stamps | None:
        return stamps_of(self.file, self.key)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        async with alongside(self._run(), "certificate"):
            yield

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            self.look()
