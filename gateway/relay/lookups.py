"""Addresses of other nodes' names, from the resolver of the system. It blocks, with a dead server for half a minute.

The threads are of their own: whatever they wait for, keys of leases go and footage is read in others. A name is looked
up once at a time, so names that nobody answers take a thread each and no more.

Does not belong here: which addresses a node may have (`gateway.relay.http`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import Future, ThreadPoolExecutor

AT_ONCE = 32  #: threads are made when they are needed; fewer than there are links would let dead names keep good ones


class Lookups:
    """For all links of a process."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="lookup")
        self._open: dict[str, Future[list[str]]] = {}

    async def addresses(self, host: str, seconds: float) -> list[str]:
        """Empty: the name has none. Raises TimeoutError when nobody says so in time."""
        if _is_address(host):
            return [host]
        self._open = {name: asked for name, asked in self._open.items() if not asked.done()}
        if host not in self._open:
            self._open[host] = self._threads.submit(_addresses, host)
        async with asyncio.timeout(seconds):
            return await asyncio.shield(asyncio.wrap_future(self._open[host]))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return sorted({str(info[4][0]) for info in found})
