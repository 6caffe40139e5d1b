"""Second copies that no row tells of are found in the evidence store, and given to those who judge copies. (B20, B31)

Their rows are neither in the objects nor in the journal. A catalog that was made anew, or put back from a backup, has
none for holds that ended meanwhile, and nobody would ever look at their copies again. So the node's part of the
evidence store is listed once a day, a stretch in each pass: each copy without a row is ordered like any other, which
finds it made already, locks it for as long as a standing hold says, or lets it go when none does.

A copy of a segment that has no row itself is the last of its footage: neither object nor deletion is known of it. The
object is brought back from it first, and the row made of that; then class, holds and sweep judge as always.

Belongs here: finding such copies. Does not belong here: what becomes of them (`storage.evidence`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice

from config.clock import Clock, wall_ms
from config.units import DAY_MS
from storage import rebuild
from storage.catalog import evidence_rows, facts, segments
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.damage import Mender
from storage.keys import parse_segment_key
from storage.objects.base import ObjectInfo, ObjectStore
from storage.objects.evidence import EvidenceStore

logger = logging.getLogger(__name__)

EVERY_MS = DAY_MS
LISTED = "evidence.listed_ms"  #: fact: when the last listing that came to its end had begun


class Listing:
    """Goes on in the next pass where this one ended: by the store's own iterator, for not every store finds its way
    back behind a key, least of all one that was deleted since. A process that starts anew begins anew."""

    def __init__(
        self, catalog: Catalog, store: ObjectStore, evidence: EvidenceStore, clock: Clock, mender: Mender, node_id: str
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._evidence = evidence
        self._clock = clock
        self._mender = mender
        self._node_id = node_id
        self._running: Iterator[ObjectInfo] | None = None
        self._began_ms = 0

    def run(self, keys: int, orders: int) -> int:
        """Looks at so many keys at most, and ends when it has ordered so many; how many it has. Raises what the store
        raises: the next call begins anew."""
        if self._running is None:
            now_ms = wall_ms(self._clock)
            listed_ms: int | None = self._catalog.read(lambda c: facts.get(c, LISTED))
            if listed_ms is not None and abs(now_ms - listed_ms) < EVERY_MS:
                return 0
            self._running, self._began_ms = self._evidence.list(f"{self._node_id}/"), now_ms
        running, self._running = self._running, None
        ordered = 0
        for _ in range(0, keys, CHUNK_ROWS):
            chunk = [info.key for info in islice(running, min(CHUNK_ROWS, keys))]
            if not chunk:
                self._catalog.write(lambda c: facts.set(c, LISTED, self._began_ms))
                return ordered
            ordered += self._order(chunk)
            if ordered >= orders:
                break
        self._running = running
        return ordered

    def _order(self, keys: Sequence[str]) -> int:
        named = {parsed.segment_id: key for key in keys if (parsed := parse_segment_key(key)) is not None}
        known = self._catalog.read(partial(segments.existing, ids=list(named)))
        for segment_id, key in named.items():
            if segment_id not in known:
                self._bring_back(key)
        ids = self._catalog.read(partial(evidence_rows.untold, ids=list(named)))
        if ids:
            now_ms = wall_ms(self._clock)
            self._catalog.write(lambda c: evidence_rows.want(c, evidence_rows.untold(c, ids), now_ms))
            logger.info("copies of held footage had no row", extra={"count": len(ids), "first": ids[0]})
        return len(ids)

    def _bring_back(self, key: str) -> None:
        """One that cannot be brought back now stays as it is until the next listing, and stops no other."""
        now_ms = wall_ms(self._clock)
        try:
            if self._store.head(key) is not None:
                return  # its row is made by whoever holds rows and objects against each other
            found = rebuild.rows_of_object(self._evidence, key, now_ms)
            if found is not None and self._mender.bring(found[1], now_ms):
                rebuild.adopt_objects(self._catalog, self._store, [key], self._node_id, now_ms)
                return
            logger.warning("a copy of unknown footage is no whole segment", extra={"key": key})
        except Exception:  # whatever a store or an object answers
            logger.exception("a copy of unknown footage cannot be brought back now", extra={"key": key})
