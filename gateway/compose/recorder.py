"""Builds a recorder: camera sockets to spool and live socket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from config.clock import Clock, SystemClock
from config.settings import Settings
from gateway.access.ids import fresh_id
from gateway.access.keys import load_keys
from gateway.access.secrets import Secrets
from gateway.ingest.admission import Admission
from gateway.ingest.backoff import Openings
from gateway.ingest.crashes import CrashBook
from gateway.ingest.fleet import Fleet, FleetTools
from gateway.ingest.ledger import Ledger
from gateway.ingest.libav_source import libav_factory
from gateway.ingest.logins import Logins
from gateway.ingest.spooling import SpoolWriter
from gateway.ingest.supervision import TaskTools
from gateway.ingest.writer import WriterPool
from gateway.live.server import LiveServer
from gateway.ops.clock_evidence import kernel_synchronised
from storage.catalog.engine import Catalog
from storage.spool import Spool, SyncGroup


@dataclass(frozen=True, slots=True)
class RecorderParts:
    clock: Clock
    catalog: Catalog
    spool: Spool
    group: SyncGroup
    ledger: Ledger
    writers: WriterPool
    admission: Admission
    fleet: Fleet
    live: LiveServer
    crashes: CrashBook


def build_recorder(settings: Settings, shard: int, loop: asyncio.AbstractEventLoop) -> RecorderParts:
    """Raises access.keys_missing, media.volume_missing. Starts ledger and writer threads, opens no camera."""
    clock = SystemClock()
    keys = load_keys(settings)
    catalog = Catalog(settings.catalog_url)
    spool = Spool(settings.paths.spool_dir, clock, keys.node_id)
    group = SyncGroup(clock, settings.recorder.sync_ms)
    ledger, writers = Ledger(catalog), WriterPool()
    crashes = CrashBook(settings.paths.run_dir, shard)
    admission = Admission(settings.spool, lambda: spool.free().percent)
    cameras, recorder = settings.cameras, settings.recorder
    tasks = TaskTools(
        sources=libav_factory(
            cameras.allowed_networks, clock, cameras.connect_timeout_s, recorder.media_timeout_s
        ),
        open_credential=Secrets(keys).open,
        ledger=ledger,
        clock=clock,
        media_timeout_s=recorder.media_timeout_s,
        logins=Logins(clock, settings.paths.run_dir / "logins"),
        openings=Openings(),
        enter_thread=crashes.enter,
    )  # fmt: skip

    def time_trust() -> str:
        trusted = settings.retention.clock_source == "trusted" or kernel_synchronised() is True
        return "synchronised" if trusted else "unknown"

    tools = FleetTools(
        tasks=tasks,
        spool=SpoolWriter(spool, group, clock),
        writers=writers,
        admission=admission,
        ids=lambda: fresh_id(clock),
        node_id=keys.node_id,
        segment_ms=recorder.segment_seconds * 1000,
        fragment_ms=recorder.fragment_ms,
        linger_s=settings.live.linger_s,
        time_trust=time_trust,
    )
    fleet = Fleet(tools, loop)
    live = LiveServer(settings.paths.run_dir / "live" / f"{shard}.sock", fleet)
    return RecorderParts(clock, catalog, spool, group, ledger, writers, admission, fleet, live, crashes)
