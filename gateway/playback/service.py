"""Recorded footage as the routers use it: one object per web process (``Services.parts["footage"]``)."""

from __future__ import annotations

from dataclasses import dataclass

from config.clock import Clock
from config.settings import Settings
from gateway.live.hub import Hub
from gateway.playback.footage import Footage, LowerFootage
from gateway.playback.snapshot import Snapshots
from gateway.processes.worker_client import WorkerClient
from storage.catalog.engine import Catalog
from storage.evidence import EvidenceSource
from storage.objects import make_evidence_store, make_store
from storage.spools import make_spools


@dataclass(frozen=True, slots=True)
class PlaybackService:
    footage: Footage
    snapshots: Snapshots
    worker: WorkerClient


def make_playback(
    settings: Settings, clock: Clock, catalog: Catalog, node_id: str, hub: Hub, lower: LowerFootage | None = None
) -> PlaybackService:
    """`hub` is the live service's: a snapshot of now is one more viewer."""
    evidence = EvidenceSource(catalog, make_evidence_store(settings))
    footage = Footage(catalog, make_spools(settings, clock, node_id), make_store(settings), lower, evidence)
    worker = WorkerClient(settings.paths.run_dir / "worker.sock")
    return PlaybackService(footage, Snapshots(hub, footage, worker), worker)
