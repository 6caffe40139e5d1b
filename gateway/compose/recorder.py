"""Builds a recorder: camera sockets to spool and live socket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from config.clock import Clock, make_clock
from config.settings import Settings
from gateway.access.ids import fresh_id
from gateway.access.keys import load_keys
from gateway.access.secrets import Secrets
from gateway.ingest.admission import Admission
from gateway.ingest.fleet import Fleet, FleetTools
from gateway.ingest.ledger import Ledger
from gateway.ingest.libav_source import libav_factory
from gateway.ingest.recorded_time import RecordedTime
from gateway.ingest.spooling import SpoolWriter
from gateway.ingest.supervision import TaskTools
from gateway.ingest.writer import WriterPool
from gateway.live.server import LiveServer
from storage.catalog.engine import Catalog
from storage.spool import Spool, SyncGroup


@dataclass(frozen=True, slots=True)
class RecorderParts:
    clock: Clock
    time: RecordedTime
    catalog: Catalog
    spool: Spool
    group: SyncGroup
    ledger: Ledger
    writers: WriterPool
    admission: Admission
    fleet: Fleet
    live: LiveServer


def build_recorder(settings: Settings, shard: int, loop: asyncio.AbstractEventLoop) -> RecorderParts:
    """Raises access.keys_missing, media.volume_missing. Starts ledger and writer threads, opens no camera."""
    clock = make_clock(settings)
    keys = load_keys(settings)
    catalog = Catalog(settings.catalog_url)
    time = RecordedTime(clock, assume_synchronised=settings.retention.clock_source == "trusted")
    spool = Spool(settings.paths.spool_dir, clock, keys.node_id)
    group = SyncGroup(clock, settings.recorder.sync_ms)
    ledger, writers = Ledger(catalog), WriterPool()
    admission = Admission(settings.spool, lambda: spool.free().percent)
    cameras, recorder = settings.cameras, settings.recorder
    tasks = TaskTools(
        sources=libav_factory(
            cameras.allowed_networks, time.steady, cameras.connect_timeout_s, recorder.media_timeout_s
        ),
        open_credential=Secrets(keys).open,
        ledger=ledger,
        clock=time,
        media_timeout_s=recorder.media_timeout_s,
    )  # fmt: skip

    tools = FleetTools(
        tasks=tasks,
        spool=SpoolWriter(spool, group, clock),
        writers=writers,
        admission=admission,
        ids=lambda: fresh_id(time),
        node_id=keys.node_id,
        segment_ms=recorder.segment_seconds * 1000,
        fragment_ms=recorder.fragment_ms,
        linger_s=settings.live.linger_s,
    )
    fleet = Fleet(tools, loop)
    live = LiveServer(settings.paths.run_dir / "live" / f"{shard}.sock", fleet)
    return RecorderParts(clock, time, catalog, spool, group, ledger, writers, admission, fleet, live)
