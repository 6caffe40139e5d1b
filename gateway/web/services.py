"""What the routers work with: one object per web process, built by `gateway.web.compose`.

Belongs here: names of the parts. Does not belong here: their making, or any logic.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi.requests import HTTPConnection
from sqlalchemy import Connection

from config.clock import Clock, wall_ms
from config.settings import Settings
from storage.catalog.engine import Catalog

if TYPE_CHECKING:
    from gateway.access.keys import NodeKeys
    from gateway.access.looks import Looks
    from gateway.access.media_sessions import MediaSessions
    from gateway.access.passwords import LoginLimit, Passwords
    from gateway.access.principals import Principals
    from gateway.access.register import Registers
    from gateway.access.secrets import Secrets
    from gateway.access.sessions import Sessions
    from gateway.access.tokens import Tokens
    from gateway.access.watch import CatalogWatch
    from gateway.web.limits import RateLimits

T = TypeVar("T")


@dataclass(slots=True)
class Services:
    settings: Settings
    clock: Clock
    catalog: Catalog
    watch: CatalogWatch
    keys: NodeKeys
    secrets: Secrets
    passwords: Passwords
    login_limit: LoginLimit
    limits: RateLimits
    sessions: Sessions
    tokens: Tokens
    principals: Principals
    registers: Registers
    looks: Looks
    media_sessions: MediaSessions
    #: Context managers entered for the life of the process, in this order (tasks of other rooms).
    background: list[Callable[[], AbstractAsyncContextManager[Any]]] = field(default_factory=list)
    #: Parts of other rooms by name (``live``, ``footage``, ``relay``, ``worker``), for their own routers.
    parts: dict[str, Any] = field(default_factory=dict)

    def now_ms(self) -> int:
        return wall_ms(self.clock)

    async def read(self, query: Callable[[Connection], T]) -> T:
        return await self.catalog.aread(query)

    async def read_apart(self, query: Callable[[Connection], T]) -> T:
        """A long read on a connection of its own: the process's one catalog thread stays free."""
        return await asyncio.to_thread(self._apart, query)

    def _apart(self, query: Callable[[Connection], T]) -> T:
        catalog = Catalog(self.settings.catalog_url)
        try:
            return catalog.read(query)
        finally:
            catalog.close()

    async def write(self, change: Callable[[Connection], T]) -> T:
        """A transaction of this process; running looks, caches and the event stream hear of it at once."""
        value = await self.catalog.awrite(change)
        self.watch.bump()
        return value


def services_of(connection: HTTPConnection) -> Services:
    services = connection.app.state.services
    assert isinstance(services, Services)  # noqa: S101 - the app factory put it there
    return services
