"""What a server that changes its certificate while it runs needs: to see that files were written, and to give another
context to handshakes.

Belongs here: what web and relay share. Does not belong here: when another certificate is shown
(`gateway.web.certificate`, `gateway.relay.certificate`).
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

Stamps = list[tuple[int, int, int]]


def stamps_of(*files: Path) -> Stamps | None:
    """By which it is seen that one of them was written; None: one is not there."""
    try:
        found = [os.stat(path) for path in files]
    except OSError:
        return None
    return [(one.st_ino, one.st_size, one.st_mtime_ns) for one in found]


class ChangingContext:
    """What a server gives to handshakes, and may be another one from one handshake to the next."""

    def __init__(self, first: ssl.SSLContext) -> None:
        self.first, self._current = first, first
        first.sni_callback = self._choose  # OpenSSL asks at every handshake, also where the client names no server

    def use(self, context: ssl.SSLContext) -> None:
        self._current = context

    def _choose(self, handshake: ssl.SSLObject, _name: str | None, _first: ssl.SSLContext) -> None:
        if self._current is not self.first:
            handshake.context = self._current
