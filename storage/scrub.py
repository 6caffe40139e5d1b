"""The scrub: every stored byte read again, a little at a time, for ever. (FAULTS B30)

Segments are read in the order of their ids, as many bytes a second as the settings allow, each against the digest that
was taken while it was recorded. Where the round stands is a fact, so that a restart costs nothing; what does not agree
is `storage.damage`'s. An object that is not there is only counted: whether it is really gone, two checks an hour apart
must say (`storage.check`).

Belongs here: order, rate, memory. Does not belong here: what is done with a damaged segment.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any

from sqlalchemy import Connection

from config.clock import Clock, wall_ms
from config.errors import TiergateError
from storage.catalog import facts, segments
from storage.catalog.engine import Catalog
from storage.catalog.segments import SegmentRow
from storage.damage import Fate, Mender, digest_of, is_marked
from storage.objects.base import BAD_SECTOR, ObjectStore
from storage.patience import Patience, is_unreadable

logger = logging.getLogger(__name__)

STATE = "scrub.state"  #: fact: `ScrubState`
_PAGE_ROWS = 50
#: One segment that cannot be mended must not stop the round for ever; this often it is tried.
_TRIES = 3


@dataclass(slots=True)
class ScrubState:
    """Where the round stands, and what the last whole one found."""

    after_id: str = ""
    began_ms: int | None = None  #: of the round that goes on
    bytes: int = 0
    segments: int = 0
    mismatches: int = 0  #: not what their rows say
    missing: int = 0
    unreadable: int = 0  #: the store did not give them
    last_began_ms: int | None = None  #: of the last whole round
    last_ended_ms: int | None = None
    last_bytes: int = 0
    last_mismatches: int = 0
    last_missing: int = 0
    last_unreadable: int = 0


def state_of(connection: Connection) -> ScrubState:
    value: dict[str, Any] = facts.get(connection, STATE) or {}
    known = {f.name for f in fields(ScrubState)}
    return ScrubState(**{name: v for name, v in value.items() if name in known})


class Scrubber:
    """Runs in the keeper, alone."""

    def __init__(self, catalog: Catalog, store: ObjectStore, clock: Clock, mender: Mender) -> None:
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self._mender = mender
        self._patience = Patience(store)
        self._debt_bytes = 0  #: read beyond what was allowed: a segment is read whole or not at all
        self._tries: tuple[str, int] = ("", 0)

    def run(self, budget_bytes: int) -> int:
        """Reads about `budget_bytes`; how many it was. Raises media.store_unavailable; the round then goes on there.

        A round that ends, ends the call: a small store is not read over and over within one call.
        """
        allowed = budget_bytes - self._debt_bytes
        read = 0
        if allowed <= 0:
            self._debt_bytes -= budget_bytes
            return 0
        state = self._catalog.read(state_of)
        if state.began_ms is None:
            state.began_ms = wall_ms(self._clock)
        try:
            while read < allowed:
                page = self._catalog.read(partial(_page, after_id=state.after_id))
                if not page:
                    self._end_round(state)
                    break
                self._patience.expect(row.object_key for row in page)
                for row in page:
                    read += self._look_at(row, state)
                    state.after_id = row.id
                    if read >= allowed:
                        break
        finally:
            self._catalog.write(lambda c: facts.set(c, STATE, asdict(state)))
            self._debt_bytes = max(0, read - allowed)
        return read

    def _look_at(self, row: SegmentRow, state: ScrubState) -> int:
        """Counts one segment; the bytes that it cost."""
        may_pass = False
        try:
            found = self._patience.ask(row.object_key, partial(digest_of, self._store, row.object_key))
        except TiergateError as exc:
            if not is_unreadable(exc):
                raise  # the store is away: the next call begins here
            found = b""  # no digest is that of the row
            may_pass = exc.reason.params["problem"] != BAD_SECTOR
        try:
            fate = self._mended(row, found)
        except (TiergateError, OSError):
            # A server's error alone is no damage: without a whole copy nothing was done.
            if not may_pass and not self._tried_enough(row.id):
                raise  # what it is mended with may be away
            return self._unreadable(row, state)
        state.segments += 1
        state.bytes += row.bytes
        state.missing += fate is Fate.MISSING
        state.mismatches += fate in (Fate.MARKED, Fate.KNOWN, Fate.REPLACED)
        return row.bytes if fate is None else 2 * row.bytes

    def _mended(self, row: SegmentRow, found: bytes | None) -> Fate | None:
        """None: nothing is wrong with it."""
        if found == row.sha256 and not self._catalog.read(lambda c: is_marked(c, row.id)):
            return None
        fresh = self._catalog.read(lambda c: segments.segment_of(c, row.id))
        if fresh is None or fresh.state not in segments.READABLE:
            return None  # deleted meanwhile
        return self._mender.mend(fresh, wall_ms(self._clock))

    @staticmethod
    def _unreadable(row: SegmentRow, state: ScrubState) -> int:
        logger.error("a segment cannot be read, or not be mended", extra={"segment": row.id}, exc_info=True)
        state.unreadable += 1
        return row.bytes

    def _tried_enough(self, segment_id: str) -> bool:
        tries = self._tries[1] + 1 if self._tries[0] == segment_id else 1
        self._tries = (segment_id, tries)
        return tries >= _TRIES

    def _end_round(self, state: ScrubState) -> None:
        logger.info("scrub round", extra={"segments": state.segments, "mismatches": state.mismatches})
        ended = ScrubState(
            last_began_ms=state.began_ms,
            last_ended_ms=wall_ms(self._clock),
            last_bytes=state.bytes,
            last_mismatches=state.mismatches,
            last_missing=state.missing,
            last_unreadable=state.unreadable,
        )
        for name in (f.name for f in fields(ScrubState)):
            setattr(state, name, getattr(ended, name))


def _page(connection: Connection, after_id: str) -> list[SegmentRow]:
    return segments.all_segments(connection, ("stored", "condemned"), after_id, _PAGE_ROWS)
