"""The directory upward: what a lower node tells about itself and its cameras. Facts, never pictures.

All own cameras whose grade may cross go up, whatever their `sharing` (that decides about pictures); restricted ones
are not named. The upper node asks each 5 s with the digest it has; unless something changed the answer is a line.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from config.units import DAY_MS, SHANGHAI_OFFSET_MS
from storage.catalog import leases, links, peers, places
from storage.catalog.engine import Catalog
from storage.catalog.links import LinkRow
from tiering import exchange, pins
from tiering.cache_policy import HARD_TTL_MS
from tiering.lease import canonical_json
from tiering.steady import is_due
from tiering.topology import TIER_ORDER
from tiering.wire import OWED_MAX, Card, Directory, DirectoryCamera

COVERAGE_DAYS = 31
COVERAGE_REFRESH_MS = 60_000
HELD_AFTER_MS = 2 * 60_000  #: a lease of this age has its row above, or the answer that carried it was lost
ENDED_WINDOW_MS = HARD_TTL_MS  #: as long as anything of a lease may lie in a cache above


class DirectorySource:
    """Builds the document of this node."""

    def __init__(self, catalog: Catalog, card: Card) -> None:
        self._catalog = catalog
        self._card = card
        self._coverage: dict[tuple[str, int], int] = {}  #: (camera, day) -> seconds of footage
        self._counted_ms: dict[str, int] = {}

    async def document(self, link: LinkRow, known_digest: str | None, now_ms: int) -> Directory:
        rules = await self._catalog.aread(lambda c: links.exchange_of(c, link.id))
        own, status = await self._catalog.aread(lambda c: (peers.own_cameras(c), peers.own_status(c)))
        visible = [c for c in own if exchange.may_leave(rules, exchange.grade_of(c.secrecy), exchange.METADATA)]
        cameras = []
        for camera in visible:
            coverage = await self._coverage_of(camera.id, now_ms)
            streams = status.get(camera.id, {})
            main = streams.get("main") or streams.get("sub")
            state = "disabled" if not camera.enabled else main["state"] if main else "unknown"
            details: dict[str, Any] = {
                "streams": streams, "ptz": camera.ptz, "audio": camera.audio, "site_type": camera.site_type,
                "place": camera.place, "longitude": camera.longitude, "latitude": camera.latitude,
                "sharing": camera.sharing, "coverage": coverage,
            }  # fmt: skip
            cameras.append(
                DirectoryCamera(camera.id, camera.name, camera.tier, camera.region, camera.region_name, state, details)
            )
        counts: dict[str, int] = {}
        for entry in cameras:
            counts[entry.state] = counts.get(entry.state, 0) + 1
        node: dict[str, Any] = {
            "node": self._card.node, "name": self._card.name, "region": self._card.region, "tier": self._card.tier,
            "cameras": counts,
        }  # fmt: skip
        listed = tuple(cameras)
        text = canonical_json([node, [vars_of(c) for c in listed]])
        digest = hashlib.sha256(text.encode()).hexdigest()
        ended, owed, issued_ms = await self._catalog.aread(
            lambda c: (_ended(c, link, now_ms), _owed(c, link, now_ms), pins.issued_ms(c))
        )
        node["certificate_ms"] = issued_ms  # whoever holds an older statement asks for it
        return Directory(digest, node, None if digest == known_digest else listed, tuple(ended), tuple(owed))

    async def _coverage_of(self, camera: str, now_ms: int) -> dict[str, int]:
        """Day (start, epoch ms in Asia/Shanghai) -> seconds of footage. Past days are counted again each hour or so."""
        today = (now_ms + SHANGHAI_OFFSET_MS) // DAY_MS
        days = range(today - COVERAGE_DAYS + 1, today + 1)
        if is_due(self._counted_ms.get(camera), now_ms, COVERAGE_REFRESH_MS):
            fresh = camera in self._counted_ms and (now_ms // COVERAGE_REFRESH_MS) % 60
            wanted = [d for d in days if not fresh or d >= today - 1]
            self._counted_ms[camera] = now_ms

            def count(connection: Connection) -> dict[tuple[str, int], int]:
                return {
                    (camera, d): peers.footage_s(
                        connection, camera, d * DAY_MS - SHANGHAI_OFFSET_MS, (d + 1) * DAY_MS - SHANGHAI_OFFSET_MS
                    )
                    for d in wanted
                }

            self._coverage.update(await self._catalog.aread(count))
        found = {d: self._coverage.get((camera, d), 0) for d in days}
        return {str(d * DAY_MS - SHANGHAI_OFFSET_MS): seconds for d, seconds in found.items() if seconds}


def vars_of(camera: DirectoryCamera) -> dict[str, Any]:
    return {name: getattr(camera, name) for name in DirectoryCamera.__slots__}


def _ended(connection: Connection, link: LinkRow, now_ms: int) -> list[dict[str, Any]]:
    rows = leases.ended_unpurged(connection, link.id, now_ms - ENDED_WINDOW_MS)
    return [{"id": r.id, "ended_ms": r.ended_ms, "reason": r.end_reason or "ended"} for r in rows]


def _owed(connection: Connection, link: LinkRow, now_ms: int) -> list[str]:
    return leases.owed(connection, link.id, now_ms - HELD_AFTER_MS, now_ms, OWED_MAX)


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a directory."""

    over: list[str]  #: leases of ours that turned out to be over
    aside: tuple[str, ...] | None  #: cameras that the node may not name; None: it named none this time


def store(connection: Connection, link: LinkRow, directory: Directory, now_ms: int) -> Stored:
    """What a lower node told, into our rows.

    A lease that the lower node ended takes its cache with it at once: a revocation that we hear late is still one.
    """
    links.seen(connection, link.id, now_ms)
    aside: tuple[str, ...] | None = None
    if directory.cameras is not None:
        aside = _not_its_own(connection, link, directory.cameras)
        refused = set(aside)
        rows = [
            peers.PeerCameraRow(link.id, c.id, c.name, c.tier, c.region, c.region_name, c.state, c.details, now_ms)
            for c in directory.cameras
            if c.id not in refused
        ]
        peers.replace_all(connection, link.id, rows, now_ms)
    over = []
    for entry in directory.ended_leases:
        held = leases.get(connection, entry["id"], "held")
        if held is not None and held.link_id == link.id and held.ended_ms is None:
            leases.end(connection, held.id, "held", now_ms, entry["reason"], now_ms)
            over.append(held.id)
    return Stored(over, aside)


def _not_its_own(connection: Connection, link: LinkRow, cameras: Sequence[DirectoryCamera]) -> tuple[str, ...]:
    """Cameras that the node of the link does not speak for: ours, another node's, of a tier above it, or of a region
    that does not lie in its own. Whoever was linked first keeps a camera that two name.
    """
    taken = peers.elsewhere(connection, link)
    above = places.ancestors(connection, {c.region for c in cameras})
    highest = TIER_ORDER.index(link.peer_tier)
    return tuple(
        c.id
        for c in cameras
        if c.id in taken or TIER_ORDER.index(c.tier) < highest or link.peer_region not in above[c.region]
    )
