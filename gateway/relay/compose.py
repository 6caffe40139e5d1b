"""The relay's parts from the settings; nothing else."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from config.clock import make_clock
from config.settings import Settings
from gateway.access.keys import load_keys
from gateway.access.looks import Looks
from gateway.access.principals import Principals
from gateway.access.register import Registers
from gateway.access.tokens import Tokens
from gateway.access.watch import CatalogWatch
from gateway.live import client
from gateway.playback.footage import Footage
from gateway.relay.adapters import KeySigner, LooksRegister, OwnFootage, RecorderFrames
from gateway.relay.service import RelayService
from storage.catalog.engine import Catalog
from storage.evidence import EvidenceSource
from storage.objects import make_evidence_store, make_store
from storage.spools import make_spools


@dataclass(frozen=True, slots=True)
class RelayParts:
    catalog: Catalog
    watch: CatalogWatch
    registers: Registers
    looks: Looks
    service: RelayService

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.watch.running(), self.registers.tending(), self.looks.watching(), self.service.running():
            yield


def build_relay(settings: Settings, listener: socket.socket | None = None) -> RelayParts:
    """Raises access.keys_missing. Opens no connection."""
    clock = make_clock(settings)
    keys = load_keys(settings)
    catalog = Catalog(settings.catalog_url)
    watch = CatalogWatch(catalog)
    principals = Principals(catalog, clock, Tokens(keys, clock), watch, settings.node.name)
    registers = Registers(catalog, clock, settings.paths.run_dir, "relay")
    looks = Looks(catalog, clock, principals, registers, watch)
    spools = make_spools(settings, clock, keys.node_id)
    evidence = EvidenceSource(catalog, make_evidence_store(settings))
    store = make_store(settings)
    footage = Footage(catalog, spools, store, evidence=evidence)
    service = RelayService(
        settings,
        catalog,
        clock,
        KeySigner(keys),
        LooksRegister(looks),
        RecorderFrames(catalog, settings.paths.run_dir, client.watch),
        OwnFootage(footage),
        store,
        make_store(settings, "cache"),
        listener,
    )
    return RelayParts(catalog, watch, registers, looks, service)
