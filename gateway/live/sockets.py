"""Which socket carries a stream: the recorder's by shard, the relay's under a lease, the worker's when transcoded.

Belongs here: that choice, as the hub's `Watch`. Does not belong here: the protocol (`gateway.live.client`), permission.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

from sqlalchemy import select

from gateway.live import client
from gateway.live.hub import StreamKey, Watch
from gateway.live.wire import Config, Event, Op, Unit
from gateway.processes.worker_client import WorkerClient
from storage.catalog.engine import Catalog
from storage.catalog.tables import camera


def socket_watch(run_dir: Path, catalog: Catalog, worker: WorkerClient, op: Op = "watch") -> Watch:
    """The hub's subscriptions: recorder by shard, relay under a lease, worker for what is transcoded.

    `op` is what recorders are asked for; the others know only ``watch``.
    """

    async def path_of(key: StreamKey) -> Path:
        if key.lease is not None:
            return run_dir / "live" / "relay.sock"
        shard = await catalog.aread(
            lambda c: c.execute(select(camera.c.shard).where(camera.c.id == key.camera)).scalar_one_or_none()
        )
        return run_dir / "live" / f"{shard or 0}.sock"

    async def watch(key: StreamKey) -> AsyncGenerator[Config | Unit | Event, None]:
        messages: AsyncIterator[Config | Unit | Event]
        if key.transcoded:
            messages = worker.transcoded(key)
        else:
            asked: Op = op if key.lease is None else "watch"
            messages = client.watch(await path_of(key), key.camera, key.stream, key.lease, asked)
        try:
            async for message in messages:
                yield message
        finally:
            if isinstance(messages, AsyncGenerator):
                await messages.aclose()

    return watch
