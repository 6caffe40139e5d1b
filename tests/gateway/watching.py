"""A web process for tests of live and playback: real catalog, spool, folder store, worker, live socket and uvicorn.

The camera is a `LiveSocket` that speaks the recorder's protocol; footage is written by the real segmenter and spool.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from sqlalchemy import select

from config.clock import SystemClock
from config.ids import ulid
from config.settings import build as build_settings
from gateway.access.keys import ensure_keys
from gateway.live.service import LiveService, make_live
from gateway.live.sockets import socket_watch
from gateway.playback.service import PlaybackService, make_playback
from gateway.processes.worker import Worker
from gateway.processes.worker_client import WorkerClient
from gateway.web.app import build
from gateway.web.compose import make_services
from gateway.web.services import Services
from storage.catalog import cameras, people, segments
from storage.catalog.engine import Catalog
from storage.catalog.tables import region, register
from storage.media.access_unit import AccessUnit, StreamConfig
from storage.objects import make_store
from storage.rows import run_row, segment_row
from storage.segmenter import CloseSegment, OpenSegment, Segmenter, SegmenterPolicy, SegmentLabels, Write
from storage.spool import PartFile, Spool
from tests.gateway.live.serving import LiveSocket
from tests.media import WALL_NS
from tests.parts.catalog import new_catalog
from tests.parts.wait import until_async

WALL_MS = WALL_NS // 1_000_000


@dataclass(slots=True)
class Rig:
    """Everything a test may want to touch."""

    base: str
    services: Services
    live: LiveService
    playback: PlaybackService
    spool: Spool
    camera_id: str
    camera: LiveSocket
    worker: Worker
    http: httpx.AsyncClient

    @property
    def path(self) -> str:
        return f"/api/v1/cameras/{self.camera_id}"

    def ws(self, query: str = "") -> str:
        return self.base.replace("http", "ws") + self.path + "/live.ws" + query

    async def sign_in(self, *roles: str) -> dict[str, str]:
        """Headers of a person with `roles`."""
        now_ms = self.services.now_ms()
        login = f"person{os.urandom(4).hex()}"
        id_ = ulid(now_ms, os.urandom(10))
        user = people.User(id_, login, login, None, "", roles, "-", False, now_ms, None)

        def make(connection: Any) -> str:
            people.add_user(connection, user)
            return self.services.sessions.start(connection, user_id=id_)[0]

        return {"Authorization": f"Bearer {await self.services.write(make)}"}

    async def revoke(self, headers: dict[str, str]) -> None:
        """The person is disabled."""
        principal = await self.services.principals.of(headers["Authorization"], None)
        assert principal is not None
        now_ms = self.services.now_ms()
        await self.services.write(lambda c: people.change_user(c, principal.id, {"disabled_ms": now_ms}))

    async def register(self) -> list[Any]:
        return await self.services.read(lambda c: list(c.execute(select(register).order_by(register.c.id))))

    async def record(
        self, config: StreamConfig, units: Sequence[AccessUnit], stream: str = "main", leave_open: bool = False,
        segment_ms: int = 60_000, to_store: bool = False,
    ) -> list[str]:  # fmt: skip
        """Footage as the recorder writes it; the names of the segments."""
        counter = itertools.count()
        start_ms = units[0].wall_ns // 1_000_000
        segmenter = Segmenter(
            SegmenterPolicy(segment_ms=segment_ms), lambda: ulid(start_ms + next(counter), os.urandom(10))
        )
        commands = segmenter.begin(config, SegmentLabels("node", self.camera_id, stream))
        for unit in units:
            commands += segmenter.push(unit)
        commands += segmenter.flush(units[-1].wall_ns + 10_000_000_000)
        if not leave_open:
            commands += segmenter.end("test")
        part: PartFile | None = None
        opened: OpenSegment | None = None
        names: list[str] = []
        for command in commands:
            if isinstance(command, OpenSegment):
                opened = command
                part = self.spool.create(self.camera_id, command.segment_id)
                part.append(command.init)
                names.append(command.segment_id)
                await self.services.write(partial(segments.insert_run, row=run_row(command)))
            elif isinstance(command, Write):
                assert part is not None
                assert part.append(command.data) == command.entry.offset
            elif isinstance(command, CloseSegment):
                assert part is not None
                assert opened is not None
                sealed = part.seal(command.index)
                row = segment_row(opened, command, sealed.bytes, sealed.sha256, self.spool.volume_id, start_ms)
                await self.services.write(partial(segments.insert_segments, rows=[row]))
                if to_store:
                    store = make_store(self.services.settings)
                    store.put_file(row.object_key, sealed.path, sealed.sha256, sealed.bytes)
                    await self.services.write(partial(segments.mark_stored, ids=[row.id], now_ms=start_ms))
                    self.spool.free_copy(self.camera_id, row.id)
        if part is not None and leave_open:
            part.sync()
            part.close()
        return names


def _started(server: uvicorn.Server) -> Callable[[], Awaitable[bool]]:
    async def started() -> bool:
        return server.started

    return started


@contextlib.asynccontextmanager
async def rig(folder: Path) -> AsyncIterator[Rig]:
    clock = SystemClock()
    settings = build_settings({"paths": {"data": str(folder)}, "node": {"region": "210102"}, "live": {"linger_s": 0.1}})
    for path in (settings.paths.run_dir / "live", settings.paths.catalog_dir, settings.paths.keys_dir):
        path.mkdir(parents=True, exist_ok=True)
    new_catalog(settings.catalog_url)
    catalog = Catalog(settings.catalog_url)
    keys = ensure_keys(settings)
    services = make_services(settings, clock, catalog, keys)
    make_store(settings).ensure()
    spool = Spool(settings.paths.spool_dir, clock, keys.node_id)
    spool.prepare()

    def make_camera(connection: Any) -> str:
        if connection.execute(region.select().where(region.c.code == "210102")).first() is None:
            connection.execute(
                region.insert(), {"code": "210102", "name": "Heping", "tier": "district", "valid_from_ms": 0}
            )  # fmt: skip
        new = cameras.NewCamera(
            "gate", "210102", (("main", "rtsp://10.0.0.1/main", None), ("sub", "rtsp://10.0.0.1/sub", None))
        )
        return cameras.create_camera(connection, new, "district", 32, services.now_ms()).id

    camera_id = await services.write(make_camera)
    live = make_live(settings, catalog)
    playback = make_playback(settings, clock, catalog, keys.node_id, live.hub)
    services.parts |= {"live": live, "footage": playback}
    services.background.append(live.running)
    worker = Worker(
        settings.paths.run_dir / "worker.sock",
        socket_watch(settings.paths.run_dir, catalog, WorkerClient(Path("/nowhere"))),
        children=1,
    )
    await worker.start()
    listening = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = uvicorn.Server(
        uvicorn.Config(
            build(services), log_level="warning", lifespan="on", http="gateway.web.http:BoundedProtocol",
            ws="gateway.web.frames:FrameProtocol",
            ws_per_message_deflate=False, timeout_graceful_shutdown=2,
        )
    )  # fmt: skip
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        async with (
            LiveSocket(settings.paths.run_dir / "live" / "0.sock") as camera,
            httpx.AsyncClient(base_url=base, timeout=20) as http,
        ):
            await until_async(_started(server), 10, "the web process listens", every_s=0.01)
            yield Rig(base, services, live, playback, spool, camera_id, camera, worker, http)
    finally:
        server.should_exit = True
        await serving
        await worker.close()
        catalog.close()
