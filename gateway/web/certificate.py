"""The server's certificate, read again when its files change: connections that stand go on with the one they began
with, those that come get the new one.

Whoever renews a certificate writes two files, one after the other, perhaps not in one step. So a pair is tried in a
context of its own, and only one that fits is given to handshakes; until then the last one that did is.

Belongs here: web's own certificate. Does not belong here: the relay's, which other nodes pin: it changes with a start
and a new pairing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import uvicorn

from gateway.ops.tasks import alongside

INTERVAL_S = 5.0
_log = logging.getLogger(__name__)


class LiveCertificate:
    def __init__(self, file: Path, key: Path) -> None:
        """`file`: the certificate with its chain, PEM; `key`: its private key, PEM."""
        self.file, self.key = file, key
        self._seen: list[tuple[int, int, int]] | None = None
        self._make: Callable[[], ssl.SSLContext] | None = None
        self._current: ssl.SSLContext | None = None

    def context(self, _config: uvicorn.Config | None, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """For uvicorn's `ssl_context_factory`. Raises what loading a pair raises: at a start it must fit."""
        self._seen, self._make = self._stamps(), make
        self._current = first = make()
        first.sni_callback = self._choose  # OpenSSL asks at every handshake, also where the client names no server
        return first

    def _choose(self, handshake: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        if self._current is not None and self._current is not _first:
            handshake.context = self._current

    def look(self) -> bool:
        """Whether a new pair is in use from here on."""
        if self._make is None:
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
        self._seen, self._current = stamps, fresh
        _log.info("the changed certificate is in use")
        return True

    def _stamps(self) -> list[tuple[int, int, int]] | None:
        try:
            found = [os.stat(path) for path in (self.file, self.key)]
        except OSError:
            return None
        return [(one.st_ino, one.st_size, one.st_mtime_ns) for one in found]

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        async with alongside(self._run(), "certificate"):
            yield

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            self.look()
