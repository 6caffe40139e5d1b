"""Builds a recorder: camera sockets to spool and live socket."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from config.clock import Clock, make_clock
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
from gateway.ingest.recorded_time import RecordedTime
from gateway.ingest.supervision import TaskTools
from gateway.ingest.volumes import Volume, Volumes
from gateway.ingest.writer import WriterPool
from gateway.live.server import LiveServer
from storage.catalog.engine import UNAVAILABLE, Catalog
from storage.catalog.status import shard_cameras
from storage.salvage import RecoveryReport, recover
from storage.spool import Spool, SyncGroup
from storage.spools import make_spools

_log = logging.getLogger(__name__)

SALVAGE_THREADS = 4


@dataclass(frozen=True, slots=True)
class RecorderParts:
    clock: Clock
    time: RecordedTime
    catalog: Catalog
    volumes: Volumes
    ledger: Ledger
    fleet: Fleet
    live: LiveServer
    crashes: CrashBook


def build_recorder(settings: Settings, shard: int, loop: asyncio.AbstractEventLoop) -> RecorderParts:
    """Raises access.keys_missing. Starts ledger and writer threads, opens no camera and no volume."""
    clock = make_clock(settings)
    keys = load_keys(settings)
    catalog = Catalog(settings.catalog_url)
    time = RecordedTime(clock, assume_synchronised=settings.retention.clock_source == "trusted")
    volumes = Volumes(
        [
            Volume(
                spool, SyncGroup(settings.recorder.sync_ms), WriterPool(),
                Admission(settings.spool, partial(_free_percent, spool)), partial(open_volume, catalog, shard),
            )
            for spool in make_spools(settings, clock, keys.node_id).volumes
        ]
    )  # fmt: skip
    ledger = Ledger(catalog)
    crashes = CrashBook(settings.paths.run_dir, shard)
    cameras, recorder = settings.cameras, settings.recorder
    tasks = TaskTools(
        sources=libav_factory(
            cameras.allowed_networks, time.steady, cameras.connect_timeout_s, recorder.media_timeout_s
        ),
        open_credential=Secrets(keys).open,
        ledger=ledger,
        clock=time,
        media_timeout_s=recorder.media_timeout_s,
        logins=Logins(clock, settings.paths.run_dir / "logins"),
        openings=Openings(),
        enter_thread=crashes.enter,
    )  # fmt: skip

    tools = FleetTools(
        tasks=tasks,
        volumes=volumes,
        ids=lambda: fresh_id(time),
        node_id=keys.node_id,
        segment_ms=recorder.segment_seconds * 1000,
        fragment_ms=recorder.fragment_ms,
        linger_s=settings.live.linger_s,
    )
    fleet = Fleet(tools, loop)
    live = LiveServer(settings.paths.run_dir / "live" / f"{shard}.sock", fleet)
    return RecorderParts(clock, time, catalog, volumes, ledger, fleet, live, crashes)


def _free_percent(spool: Spool) -> float:
    return spool.free().percent


def open_volume(catalog: Catalog, shard: int, spool: Spool) -> None:
    """Before a volume is first used: is it the right one, and what has a dead recorder left on it?

    Raises media.volume_missing, media.volume_swapped.
    """
    spool.claim(catalog)
    report = RecoveryReport()
    cameras = catalog.read(partial(shard_cameras, shard=shard))
    # In threads: most of it is waiting for the disk.
    with ThreadPoolExecutor(SALVAGE_THREADS, thread_name_prefix="salvage") as pool:
        running = {camera: pool.submit(recover, catalog, spool, [camera], end_runs=False) for camera in cameras}
    for camera, one in running.items():
        try:
            report += one.result()
        except Exception as error:
            if isinstance(error, UNAVAILABLE):
                raise  # not the camera's fault: all of them are looked at again when the catalog answers
            # Its files stay for another start; no camera must wait for a file that is sick.
            _log.exception("a camera's unfinished files cannot be salvaged", extra={"camera": camera})
    if report.salvaged or report.adopted or report.quarantined or report.returned:
        _log.info(
            "salvage", extra={
                "volume": spool.name, "salvaged": len(report.salvaged), "adopted": len(report.adopted),
                "quarantined": len(report.quarantined), "returned": len(report.returned),
            },
        )  # fmt: skip
