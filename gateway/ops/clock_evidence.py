"""Asks clock, store, linked nodes and boot id for what `storage.clock_trust` judges.

A signed exchange between two nodes succeeds only when their clocks are within half a minute (`tiering.signing`). The
relay writes down when that was last so, by both hands of the clock; the steady hand says what a linked node would say
now.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from sqlalchemy import Connection

from config.clock import Clock, wall_ms
from config.units import HOUR_MS
from storage.catalog import facts
from storage.catalog.engine import Catalog
from storage.clock_trust import ClockEvidence, Sighting
from storage.objects.base import ObjectStore

_PEER = "clock.peer"  #: fact: the `Sighting` with which a linked node last agreed
PEER_COUNTS_MS = HOUR_MS  #: for so long afterwards


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def sighting(clock: Clock) -> Sighting:
    """Both hands of the clock now."""
    return Sighting(wall_ms(clock), clock.monotonic_ns() // 1_000_000, boot_id())


def agreed(connection: Connection, with_: Sighting) -> None:
    """A linked node takes the time of `with_` for right."""
    facts.set(connection, _PEER, asdict(with_))


def last_agreed(connection: Connection) -> Sighting | None:
    known = facts.get(connection, _PEER)
    return None if known is None else Sighting(**known)


def gather(clock: Clock, store: ObjectStore, catalog: Catalog, assume_synchronised: bool = False) -> ClockEvidence:
    """The evidence of this moment. A store that does not answer, and nodes that have not lately, give none."""
    try:
        store_ms = store.server_time()
    except Exception:  # any failure of the store only means: no second opinion
        store_ms = None
    last = catalog.read(last_agreed)
    now = sighting(clock)
    return ClockEvidence(
        wall_ms=now.wall_ms,
        monotonic_ms=now.monotonic_ms,
        boot_id=now.boot_id,
        kernel_synchronised=True if assume_synchronised else clock.synchronised(),
        store_ms=store_ms,
        peer_ms=None if last is None else _peer_ms(last, now),
    )


def _peer_ms(last: Sighting, now: Sighting) -> int | None:
    since_ms = now.monotonic_ms - last.monotonic_ms
    if last.boot_id != now.boot_id or not 0 <= since_ms <= PEER_COUNTS_MS:
        return None
    return last.wall_ms + since_ms
