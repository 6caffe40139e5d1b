"""Two whole nodes' relays in one process: real catalogs, real HTTP on loopback, real looks, generated pictures."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from config.clock import ManualClock
from config.ids import ulid
from config.settings import Settings, build
from gateway.access.keys import NodeKeys, ensure_keys
from gateway.access.looks import Looks
from gateway.access.principals import Principals
from gateway.access.register import Registers
from gateway.access.tokens import Tokens
from gateway.access.watch import CatalogWatch
from gateway.relay import pairing
from gateway.relay.adapters import KeySigner, LooksRegister
from gateway.relay.control import RelayControl
from gateway.relay.service import RelayService
from storage.catalog import cameras, places, segments
from storage.catalog.engine import Catalog
from storage.catalog.segments import RunRow, SegmentRow
from storage.keys import segment_key
from storage.media.access_unit import AccessUnit, StreamConfig
from storage.media.fmp4 import Sample, fragment, init_segment
from storage.media.fragment_index import FragmentEntry, encode
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore
from tests.media import access_units, encode_h264, stream_config
from tests.parts.catalog import new_catalog
from tiering.cmaf import Notice

CAMERA = "21010200011326000001"
OTHER = "21010200011326000002"
SECRET = "21010200011326000003"


def fresh_id(clock: ManualClock) -> str:
    return ulid(clock.wall_ns() // 1_000_000, secrets.token_bytes(10))


class Pictures:
    """A recorder's live side: a stream that goes round for ever; counts how often it is opened."""

    def __init__(self) -> None:
        self.packets = encode_h264(1.0)
        self.config = stream_config("h264", self.packets)
        self.small = stream_config("h264", encode_h264(1.0, size=(160, 120)))
        self.opened: list[tuple[str, str]] = []
        self.running = 0
        self.away = False

    async def watch(self, camera: str, stream: str) -> AsyncGenerator[StreamConfig | AccessUnit | Notice, None]:
        self.opened.append((camera, stream))
        self.running += 1
        try:
            packets = self.packets if stream == "main" else encode_h264(1.0, size=(160, 120))
            yield self.config if stream == "main" else self.small
            turn = 0
            while True:
                for unit in access_units("h264", packets, dts_offset=turn * 90_000):
                    yield replace_wall(unit, turn)
                    await asyncio.sleep(0.005)
                turn += 1
        finally:
            self.running -= 1


def replace_wall(unit: AccessUnit, turn: int) -> AccessUnit:
    return replace(unit, wall_ns=unit.wall_ns + turn * 1_000_000_000)


class StoreFootage:
    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.reads = 0

    async def read(self, segment: SegmentRow, offset: int, length: int) -> bytes:
        self.reads += 1
        return await asyncio.to_thread(self._store.read, segment.object_key, offset, length)


@dataclass
class Node:
    settings: Settings
    clock: ManualClock
    keys: NodeKeys
    catalog: Catalog
    store: FolderStore
    cache_store: FolderStore
    pictures: Pictures
    footage: StoreFootage
    service: RelayService
    looks: Looks
    control: RelayControl
    segments: list[SegmentRow] = field(default_factory=list)

    @property
    def now_ms(self) -> int:
        return self.clock.wall_ns() // 1_000_000

    def footage_bytes(self, row: SegmentRow) -> bytes:
        return self.store.read(row.object_key)

    def record(self, camera: str, start_ms: int, seconds: float = 2.0) -> SegmentRow:
        """A sealed segment in the store with its rows, as the recorder and keeper leave it."""
        packets = encode_h264(seconds)
        config = stream_config("h264", packets)
        init = init_segment(config)
        data, entries = bytearray(init), []
        for number, unit in enumerate(access_units("h264", packets)):
            piece = fragment(unit.track, number + 1, unit.dts, (Sample(unit.data, unit.duration, unit.key),))
            entries.append(FragmentEntry(len(data), len(piece), unit.track, unit.dts, unit.duration, unit.key, 1))
            data += piece
        data += secrets.token_bytes(700_000)  # more than one block of the cache
        body, id_, run = bytes(data), ulid(start_ms, secrets.token_bytes(10)), ulid(start_ms, secrets.token_bytes(10))
        key = segment_key(self.keys.node_id, camera, start_ms, id_)
        info = self.store.put_bytes(key, body)
        import hashlib

        row = SegmentRow(
            id_, camera, "main", run, "own", "stored", start_ms, start_ms + int(seconds * 1000), start_ms * 1_000_000,
            "synchronised", info.bytes, hashlib.sha256(body).digest(), len(init), encode(entries), key, None, "default",
            start_ms, stored_ms=start_ms,
        )  # fmt: skip
        video = config.video
        run_row = RunRow(run, camera, "main", start_ms, video.rfc6381, video.width, video.height, None, init)

        def change(connection: Any) -> None:
            segments.insert_run(connection, run_row)
            segments.insert_segments(connection, [row])

        self.catalog.write(change)
        self.segments.append(row)
        return row


@contextlib.asynccontextmanager
async def node(folder: Path, clock: ManualClock, tier: str, region: str, **relay: Any) -> AsyncIterator[Node]:
    settings = build(
        {
            "node": {"name": f"{tier} node", "tier": tier, "region": region},
            "paths": {"data": str(folder)},
            "relay": {"listen": "127.0.0.1:0", "allowed_networks": ["127.0.0.0/8"], **relay},
            "live": {"linger_s": 0.2},
        }
    )
    for path in (settings.paths.catalog_dir, settings.paths.run_dir):
        path.mkdir(parents=True, exist_ok=True)
    keys = ensure_keys(settings)
    new_catalog(settings.catalog_url)
    catalog = Catalog(settings.catalog_url)
    now_ms = clock.wall_ns() // 1_000_000
    catalog.write(lambda c: places.seed_regions(c, region, tier, f"{tier} region", now_ms))
    watch = CatalogWatch(catalog, 0.1)
    principals = Principals(catalog, clock, Tokens(keys, clock), watch, settings.node.name)
    registers = Registers(catalog, clock, settings.paths.run_dir, "relay")
    looks = Looks(catalog, clock, principals, registers, watch)
    store, cache_store = FolderStore(folder / "objects", name="video"), FolderStore(folder / "cache", name="cache")
    store.ensure()
    cache_store.ensure()
    pictures, footage = Pictures(), StoreFootage(store)
    service = RelayService(
        settings, catalog, clock, KeySigner(keys), LooksRegister(looks), pictures, footage, store, cache_store
    )
    async with watch.running(), looks.watching(), service.running():
        control = RelayControl(service.control_socket)
        try:
            yield Node(settings, clock, keys, catalog, store, cache_store, pictures, footage, service, looks, control)
        finally:
            await control.close()
    catalog.close()


def add_cameras(lower: Node) -> None:
    for id_, name, secrecy in ((CAMERA, "gate", 0), (OTHER, "yard", 0), (SECRET, "secret", 1)):
        made = cameras.NewCamera(
            name=name, region=lower.settings.node.region, streams=(("main", f"rtsp://10.0.0.9/{name}", None),), id=id_,
            secrecy=secrecy,
        )  # fmt: skip
        lower.catalog.write(lambda c, m=made: add_camera(c, m, lower))  # type: ignore[misc]  # bound now


def add_camera(connection: Any, made: cameras.NewCamera, lower: Node) -> None:
    from storage.catalog.tables import camera

    connection.execute(
        camera.insert().values(
            id=made.id, name=made.name, tier=lower.settings.node.tier, region=made.region, recorded_by="self",
            sharing=made.sharing, enabled=True, secrecy=made.secrecy, created_ms=lower.now_ms, changed_ms=lower.now_ms,
        )
    )  # fmt: skip


@contextlib.asynccontextmanager
async def two_nodes(folder: Path, clock: ManualClock, **relay: Any) -> AsyncIterator[tuple[Node, Node]]:
    """(upper, lower), of next tiers, on one clock; linked only if they were so the last time."""
    async with (
        node(folder / "upper", clock, "street", "210102001") as upper,
        node(folder / "lower", clock, "community", "210102001001", **relay) as lower,
    ):
        yield upper, lower


async def link_up(upper: Node, lower: Node) -> None:
    """For the first time: with cameras below, and their directory above afterwards."""
    add_cameras(lower)
    await link_again(upper, lower)


async def link_again(upper: Node, lower: Node) -> None:
    code, _ = await pairing.invite(lower.catalog, lower.service.card, "upper", "user:test", lower.now_ms)
    await upper.control.accept_link(code, "user:duty")


@contextlib.asynccontextmanager
async def pair(folder: Path, **relay: Any) -> AsyncIterator[tuple[Node, Node]]:
    """(upper, lower), linked, with the lower one's directory already above."""
    async with two_nodes(folder, ManualClock(), **relay) as (upper, lower):
        await link_up(upper, lower)
        yield upper, lower
