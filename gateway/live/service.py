"""Live viewing as the routers use it: which stream a camera has, the hub, the WHEP sessions of this process.

Belongs here: putting the parts together. Does not belong here: HTTP (`gateway.web.routers.live`), the rule of choice
(`gateway.live.choice`), decoding (the worker).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy import Connection

from config.settings import Settings, is_loopback, split_listen
from gateway.live.choice import Offered, codec_of
from gateway.live.hub import Hub
from gateway.live.sockets import socket_watch
from gateway.live.whep import WhepSession, configure_ports
from gateway.processes.worker_client import WorkerClient
from storage.catalog import cameras
from storage.catalog.engine import Catalog

BOTH = {"main": Offered(), "sub": Offered()}  #: of a lower tier's camera: its own node knows what it has


def offered_streams(connection: Connection, camera_id: str) -> dict[str, Offered]:
    """What a camera of this node has, as far as its recorder has seen it."""
    known = cameras.status_rows(connection, [camera_id]).get(camera_id, {})
    offered: dict[str, Offered] = {}
    for stream in cameras.streams(connection, [camera_id]).get(camera_id, {}):
        status = known.get(stream)
        offered[stream] = Offered(codec_of(status.codec), status.b_frames) if status is not None else Offered()
    return offered


@dataclass(slots=True)
class HeldSession:
    """A WHEP session that somebody may end by its address."""

    session: WhepSession
    camera_id: str
    subject: str
    task: asyncio.Task[None] | None = None


class LiveService:
    """One per web process."""

    def __init__(
        self, hub: Hub, catalog: Catalog, worker: WorkerClient | None, viewer_networks: tuple[str, ...] = ()
    ) -> None:
        self.hub = hub
        self.worker = worker
        self.viewer_networks = viewer_networks  #: setting `live.allowed_networks`
        self._catalog = catalog
        self._sessions: dict[str, HeldSession] = {}

    async def offered(self, camera_id: str, lease_id: str | None) -> dict[str, Offered]:
        if lease_id is not None:
            return dict(BOTH)
        return await self._catalog.aread(lambda c: offered_streams(c, camera_id))

    def hold(self, held: HeldSession) -> str:
        """The session's name in its address."""
        name = secrets.token_urlsafe(16)
        self._sessions[name] = held
        return name

    def held(self, name: str) -> HeldSession | None:
        return self._sessions.get(name)

    def forget(self, name: str) -> None:
        self._sessions.pop(name, None)

    @property
    def whep_sessions(self) -> int:
        return len(self._sessions)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Wraps the life of the process; a `Services.background` entry."""
        try:
            yield
        finally:
            tasks = [held.task for held in self._sessions.values() if held.task is not None]
            for held in list(self._sessions.values()):
                await held.session.close()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.hub.close()


def make_live(settings: Settings, catalog: Catalog) -> LiveService:
    """The live part of a web process (``Services.parts["live"]``); call it in the process that serves."""
    run_dir = settings.paths.run_dir
    worker = WorkerClient(run_dir / "worker.sock")
    host, _ = split_listen(settings.web.listen)
    configure_ports(settings.live.whep_port_min, settings.live.whep_port_max, loopback=is_loopback(host))
    hub = Hub(socket_watch(run_dir, catalog, worker), settings.live.linger_s)
    return LiveService(hub, catalog, worker, settings.live.allowed_networks)
