"""Builds the keeper: uploads, evidence, sweep, scrub, journal, checkpoints, backups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from config.clock import Clock, make_clock
from config.settings import Settings
from gateway.access.keys import load_keys
from storage.catalog.engine import Catalog
from storage.damage import Mender
from storage.objects import make_evidence_store, make_store
from storage.objects.base import ObjectStore
from storage.objects.evidence import EvidenceStore
from storage.scrub import Scrubber
from storage.spools import Spools, make_spools
from storage.sweeper import ACTOR
from storage.uploader import Uploader


@dataclass(frozen=True, slots=True)
class KeeperParts:
    settings: Settings
    settings_file: Path
    clock: Clock
    catalog: Catalog
    sweep_catalog: Catalog  #: a long plan must not hold up the rows of uploads
    scrubber: Scrubber
    store: ObjectStore
    evidence: EvidenceStore
    mender: Mender
    spools: Spools
    uploader: Uploader
    node_id: str
    node_key: bytes


def build_keeper(settings: Settings, settings_file: Path) -> KeeperParts:
    """Raises access.keys_missing. Neither spool nor store is asked anything yet."""
    clock = make_clock(settings)
    keys = load_keys(settings)
    catalog, sweep_catalog = Catalog(settings.catalog_url), Catalog(settings.catalog_url)
    store = make_store(settings)
    spools = make_spools(settings, clock, keys.node_id)
    uploader = Uploader(catalog, store, spools, clock, settings.store.upload_workers)
    evidence = make_evidence_store(settings)
    mender = Mender(catalog, store, spools, ACTOR, [evidence])
    scrubber = Scrubber(catalog, store, clock, mender)
    return KeeperParts(
        settings,
        settings_file,
        clock,
        catalog,
        sweep_catalog,
        scrubber,
        store,
        evidence,
        mender,
        spools,
        uploader,
        keys.node_id,
        keys.node,
    )
