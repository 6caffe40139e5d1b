"""Builds the keeper: uploads, sweep, journal, checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from config.clock import Clock, make_clock
from config.settings import Settings
from gateway.access.keys import load_keys
from storage.catalog.engine import Catalog
from storage.objects import make_store
from storage.objects.base import ObjectStore
from storage.spool import Spool
from storage.uploader import Uploader


@dataclass(frozen=True, slots=True)
class KeeperParts:
    settings: Settings
    clock: Clock
    catalog: Catalog
    sweep_catalog: Catalog  #: a long plan must not hold up the rows of uploads
    store: ObjectStore
    spool: Spool
    uploader: Uploader
    node_id: str
    node_key: bytes


def build_keeper(settings: Settings) -> KeeperParts:
    """Raises access.keys_missing. Neither spool nor store is asked anything yet."""
    clock = make_clock(settings)
    keys = load_keys(settings)
    catalog, sweep_catalog = Catalog(settings.catalog_url), Catalog(settings.catalog_url)
    store = make_store(settings)
    spool = Spool(settings.paths.spool_dir, clock, keys.node_id)
    uploader = Uploader(catalog, store, spool, clock, settings.store.upload_workers)
    return KeeperParts(settings, clock, catalog, sweep_catalog, store, spool, uploader, keys.node_id, keys.node)
