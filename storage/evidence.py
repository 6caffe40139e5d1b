"""Second copies of held footage: made, locked, looked at every day, and let go last of all. (FAULTS B20, B21, B26)

One pass: order copies of what standing holds cover and nobody has ordered, and those that lie in the store without a
row (`storage.evidence_listing`), make those that are due, look at those that were made. A row becomes ``verified`` only
after the copy was read back and locked; a pass that is killed anywhere is made up for by the next, which finds what the
last has left. One segment that cannot be copied is tried again later and stops no other (FAULTS B17); a copy that alone
cannot be read is none (`storage.patience`), while a store that is away changes nothing. A copy goes when
no hold covers its segment, its lock has run out and the clock is trusted: ``releasing`` is entered in the transaction
that reads the holds again, and the store has the last word. One that was found in the store, under a lock that no hold
of this catalog explains, stays until a person decides: the hold may have been lost with a catalog.

Belongs here: I/O around `storage.evidence_rules`. Does not belong here: rules, the canary (`storage.canary`),
the main copy's deletion (`storage.sweeper`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection

from config.clock import Clock, Deadline, steady_s, wall_ms
from config.errors import TiergateError
from config.units import DAY_MS, HOUR_MS
from storage import damage
from storage.audit import log as audit
from storage.catalog import evidence_rows, retention_rows
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.evidence_rows import CopyRow, Due
from storage.catalog.retention_rows import HoldRow
from storage.catalog.segments import SegmentRow
from storage.classes import RetentionClass
from storage.damage import Fate, Mender
from storage.evidence_listing import Listing
from storage.evidence_rules import LockTerms, Need, explains, lock_terms, may_go
from storage.objects.asked import AskedEvidence
from storage.objects.base import ObjectStore
from storage.objects.evidence import EvidenceStore, Lock
from storage.patience import Patience, is_unreadable

T = TypeVar("T")

logger = logging.getLogger(__name__)

ACTOR = "system:keeper"
LOOK_EVERY_MS = DAY_MS
READ_EVERY_MS = 30 * DAY_MS  #: so often a copy is read back whole
FAILED_AFTER = 3  #: tries in a row until a hold says that a copy cannot be made
_RETRY_MS, _RETRY_AWAY_MS, _RETRY_MOST_MS = 60_000, 120_000, 6 * HOUR_MS
_UNREADABLE = "EIO"  #: what a disk says of one file; the store it holds is there
_SLOW_S, _SILENT_S = 2.0, 30.0  #: who shows footage does not ask a store again that was so slow to fail, for so long
_AWAY_AFTER = 3  #: failures one after another that are the store's, not a segment's


@dataclass(slots=True)
class EvidenceReport:
    """What one pass did."""

    ordered: int = 0
    copied: int = 0
    failed: int = 0
    looked_at: int = 0
    missing: int = 0  #: copies that were verified once and are not there, or not whole, any more
    released: int = 0
    away: bool = False


@dataclass(frozen=True, slots=True)
class _Orders:
    holds: list[HoldRow]
    classes: dict[str, RetentionClass]

    def needs(self, one: Due) -> list[Need]:
        return [
            Need(hold.class_name, hold.created_ms)
            for hold in self.holds
            if hold.rule().covers(one.segment.camera_id, one.start_ms, one.end_ms)
        ]


def _orders(connection: Connection) -> _Orders:
    return _Orders(retention_rows.holds(connection), retention_rows.classes(connection))


def _orders_ever(connection: Connection) -> _Orders:
    """As if no hold had been released."""
    holds = [replace(hold, released_ms=None) for hold in retention_rows.holds(connection, standing_only=False)]
    return _Orders(holds, retention_rows.classes(connection))


def _end_ms(one: Due, lock_ms: int | None) -> int:
    """From when the footage's own part of a lock is counted."""
    return one.end_ms if one.has_end else lock_ms or 0


def _problem_of(exc: TiergateError) -> str:
    return _UNREADABLE if exc.reason.params.get("problem") == _UNREADABLE else exc.reason.code


class EvidenceKeeper:
    """Runs in the keeper, alone. `clock_trusted` is asked before a copy goes, or a lock is renewed by our clock."""

    def __init__(
        self,
        catalog: Catalog,
        store: ObjectStore,
        evidence: EvidenceStore,
        clock: Clock,
        mender: Mender,
        clock_trusted: Callable[[], bool],
        node_id: str,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._evidence = evidence
        self._clock = clock
        self._mender = mender
        self._clock_trusted = clock_trusted
        self._asked = Patience(store)
        self._asked_copies = Patience(evidence)
        self._others: list[str] = []  #: what both stores should give
        self._listing = Listing(catalog, store, evidence, clock, mender, node_id)
        self._stopping = threading.Event()

    def stop(self) -> None:
        """A pass that goes on ends with the segment in hand."""
        self._stopping.set()

    def run(self, copies: int = 500, looks: int = 500, listed: int = 5_000) -> EvidenceReport:
        """One pass over so many at most. Raises only when the catalog, or the evidence store itself, cannot be used."""
        report = EvidenceReport()
        orders = self._catalog.read(_orders)
        self._others = self._catalog.read(lambda c: evidence_rows.verified_keys(c, looks))
        self._order(orders, report)
        self._list(listed, copies, report)
        lock_ms = self._lock_ms()
        self._copy(copies, report, lock_ms)
        if not report.away:
            self._look(looks, report, lock_ms)
        return report

    def _list(self, limit: int, copies: int, report: EvidenceReport) -> None:
        """No more than this pass can judge, so that what a new hold orders does not wait behind."""
        try:
            report.ordered += self._listing.run(limit, copies)
        except Exception:  # a store that does not list still takes and shows copies
            report.failed += 1
            logger.exception("the evidence store could not be listed")

    def _lock_ms(self) -> int | None:
        """The time by which this pass renews locks; None: by none. A lock runs by its store's clock and is never
        shortened: our own, which a hand or a dead battery sets to any year, must have somebody who vouches for it."""
        try:
            store_ms = self._evidence.server_time()
        except TiergateError:
            store_ms = None
        if store_ms is not None:
            return store_ms
        return wall_ms(self._clock) if self._clock_trusted() else None

    # --- copies ---

    def _order(self, orders: _Orders, report: EvidenceReport) -> None:
        for hold in orders.holds:
            while True:
                now_ms = wall_ms(self._clock)

                def write(connection: Connection, hold: HoldRow = hold, now_ms: int = now_ms) -> int:
                    ids = evidence_rows.uncopied(connection, hold, now_ms, CHUNK_ROWS)
                    evidence_rows.want(connection, ids, now_ms)
                    return len(ids)

                if not self._catalog.read(partial(evidence_rows.uncopied, hold=hold, now_ms=now_ms, limit=1)):
                    break
                report.ordered += self._catalog.write(write)

    def _copy(self, limit: int, report: EvidenceReport, lock_ms: int | None) -> None:
        now_ms = wall_ms(self._clock)
        due = self._catalog.read(lambda c: evidence_rows.due(c, ("wanted",), now_ms, limit))
        in_a_row = 0
        for one in due:
            copy, row = one.copy, one.segment
            if self._stopping.is_set():
                return
            orders = self._catalog.read(_orders)  # a hold released meanwhile orders nothing
            needs = orders.needs(one)
            if needs and row.state not in ("stored", "condemned"):
                self._put_off(copy, "media.object_missing")
                continue
            states = ("wanted", "releasing")  # the latter: it was not needed any more, and its end was begun
            try:
                if needs:
                    self._make(one, needs, orders, lock_ms)
                    report.copied += 1
                else:
                    self._withdraw(one, report)
            except TiergateError as exc:
                report.failed += 1
                problem = self._blame(exc, row.object_key) if needs else _problem_of(exc)
                in_a_row = in_a_row + 1 if problem == evidence_rows.AWAY else 0
                kept = not needs and copy.problem == evidence_rows.UNEXPLAINED
                self._put_off(copy, evidence_rows.UNEXPLAINED if kept else problem, states)
                if needs:
                    self._mend(row, problem)
            except Exception as exc:  # one bad segment must not stop the others; it is tried again
                report.failed += 1
                logger.exception("evidence copy failed", extra={"segment": row.id})
                self._put_off(copy, type(exc).__name__, states)
            else:
                in_a_row = 0
            if in_a_row >= _AWAY_AFTER:
                report.away = True
                return

    def _ask(self, asked: Patience, key: str, question: Callable[[], T]) -> T:
        """As `Patience.ask`. Nearly all others are only looked at in most passes, so none of them is left out for
        having been asked: the last few of a pass may all be sick."""
        asked.expect(self._others)
        return asked.ask(key, question)

    def _blame(self, exc: TiergateError, key: str) -> str:
        """Of a copy that could not be made: a main store that gives others, and not this one, is not away."""
        problem = _problem_of(exc)
        if problem == evidence_rows.AWAY:
            try:
                self._ask(self._asked, key, partial(damage.digest_of, self._store, key))
            except TiergateError as asked:
                return _problem_of(asked)
        return problem

    def _make(self, one: Due, needs: Sequence[Need], orders: _Orders, lock_ms: int | None) -> None:
        """Copy, read back, lock, and only then the row."""
        copy, row = one.copy, one.segment
        made = self._evidence.copy_from(self._store, row.object_key, row.sha256, row.bytes)
        now_ms = wall_ms(self._clock)
        known = copy.version_id == made.version_id
        has = LockTerms(copy.locked_until_ms if known else None, known and copy.legal_hold)
        wanted = lock_terms(_end_ms(one, lock_ms), needs, orders.classes, has, lock_ms)
        lock = self._lock(one, made.version_id, wanted)
        values = {
            "state": "verified", "version_id": made.version_id, "tries": 0, "problem": None, "read_ms": now_ms,
            "next_ms": now_ms + LOOK_EVERY_MS, "locked_until_ms": lock.until_ms, "legal_hold": lock.legal_hold,
        }  # fmt: skip
        self._catalog.write(lambda c: evidence_rows.change(c, row.id, ("wanted",), **values))

    def _lock(self, one: Due, version_id: str | None, wanted: LockTerms) -> LockTerms:
        """What the row says of it from now on: a legal hold only if it is ours, on this version or an older one."""
        copy, key = one.copy, one.segment.object_key
        if wanted.legal_hold and not copy.legal_hold:  # else nobody knew whose it is after a pass that was killed
            self._catalog.write(lambda c: evidence_rows.change(c, copy.segment_id, (copy.state,), legal_hold=True))
        lock = self._evidence.lock(key, version_id, Lock(wanted.until_ms, wanted.legal_hold))
        if copy.legal_hold and not wanted.legal_hold:
            self._lift_legal_holds(key)
        return LockTerms(lock.until_ms, wanted.legal_hold and lock.legal_hold)

    def _put_off(self, copy: CopyRow, problem: str, states: Sequence[str] = ("wanted",)) -> None:
        # A store that comes back is used at once.
        most_ms = _RETRY_AWAY_MS if problem == evidence_rows.AWAY else _RETRY_MOST_MS
        wait_ms = min(_RETRY_MS << min(copy.tries, 10), most_ms)
        values = {"tries": copy.tries + 1, "problem": problem[:60], "next_ms": wall_ms(self._clock) + wait_ms}
        self._catalog.write(lambda c: evidence_rows.change(c, copy.segment_id, states, **values))

    def _mend(self, row: SegmentRow, problem: str) -> None:
        """A main copy that is not what its row says is brought back from the spool, or said to be damaged."""
        if problem in ("media.object_corrupt", "media.object_missing", "media.object_unreadable", _UNREADABLE):
            try:
                self._mender.mend(row, wall_ms(self._clock))
            except TiergateError as exc:
                logger.warning("a held segment cannot be mended now", extra={"segment": row.id, "reason": str(exc)})

    # --- looks ---

    def _look(self, limit: int, report: EvidenceReport, lock_ms: int | None) -> None:
        now_ms = wall_ms(self._clock)
        states = ("verified", "releasing")
        for one in self._catalog.read(lambda c: evidence_rows.due(c, states, now_ms, limit)):
            if self._stopping.is_set():
                return
            report.looked_at += 1
            orders = self._catalog.read(_orders)
            needs = orders.needs(one)
            try:
                if needs:
                    self._look_at(one, needs, orders, report, lock_ms)
                else:
                    self._withdraw(one, report)
            except TiergateError as exc:
                report.failed += 1
                problem = _problem_of(exc)
                self._put_off(one.copy, problem, states)
                if problem == evidence_rows.AWAY:
                    report.away = True
                    return
            except Exception as exc:  # else each pass would end at the row that has waited longest
                report.failed += 1
                logger.exception("a look at an evidence copy failed", extra={"segment": one.segment.id})
                self._put_off(one.copy, type(exc).__name__, states)

    def _look_at(
        self, one: Due, needs: Sequence[Need], orders: _Orders, report: EvidenceReport, lock_ms: int | None
    ) -> None:
        """Whether both copies are there, and the lock long enough, which only a proven time can say."""
        copy, row, now_ms = one.copy, one.segment, wall_ms(self._clock)
        if copy.state == "releasing":  # ordered anew between two passes
            self._catalog.write(lambda c: evidence_rows.want(c, [row.id], now_ms))
            return
        # A time ahead was written by a clock that was wrong.
        reads = copy.read_ms is None or not 0 <= now_ms - copy.read_ms < READ_EVERY_MS
        whole = self._has_copy(one, reads)
        if whole and self._lacks_main(row, now_ms):
            # What was there could not take its place: only reading tells what it is worth.
            whole = self._has_copy(one, True)
        if not whole:
            report.missing += 1
            self._found_missing(copy, row, now_ms)
            return
        has = LockTerms(copy.locked_until_ms, copy.legal_hold)
        wanted = has
        if lock_ms is not None:
            wanted = lock_terms(_end_ms(one, lock_ms), needs, orders.classes, has, lock_ms)
        lock = has if wanted == has else self._lock(one, copy.version_id, wanted)
        values = {
            "next_ms": now_ms + LOOK_EVERY_MS, "read_ms": now_ms if reads else copy.read_ms, "tries": 0,
            "problem": None, "locked_until_ms": lock.until_ms, "legal_hold": lock.legal_hold,
        }  # fmt: skip
        self._catalog.write(lambda c: evidence_rows.change(c, row.id, ("verified",), **values))

    def _has_copy(self, one: Due, reads: bool) -> bool:
        """Raises media.store_unavailable, of a store that gives no others either."""
        key, version_id = one.segment.object_key, one.copy.version_id
        if reads:
            look = partial(self._evidence.is_whole, key, version_id, one.segment.sha256)
        else:
            look = partial(self._evidence.has_version, key, version_id, one.segment.bytes)
        try:
            return self._ask(self._asked_copies, key, look)
        except TiergateError as exc:
            if not is_unreadable(exc):
                raise
            logger.error("a second copy cannot be read", extra={"key": key, "reason": str(exc)})
            return False

    def _lacks_main(self, row: SegmentRow, now_ms: int) -> bool:
        """Whether the main copy is gone, or not given, and the second could not take its place."""
        if row.state not in ("stored", "condemned"):
            return False
        try:
            if self._ask(self._asked, row.object_key, partial(self._store.head, row.object_key)) is not None:
                return False
            fate = self._mender.mend(row, now_ms)
        except TiergateError as exc:
            if not is_unreadable(exc):
                raise
            return not self._replaced(row, now_ms)
        if fate is Fate.MISSING:
            lost = partial(damage.mark_found, segment_id=row.id, actor=ACTOR, now_ms=now_ms, code="media.segment_lost")
            self._catalog.write(lost)
        return fate not in (Fate.WHOLE, Fate.REPLACED)

    def _replaced(self, row: SegmentRow, now_ms: int) -> bool:
        try:
            return self._mender.mend(row, now_ms) in (Fate.WHOLE, Fate.REPLACED)
        except TiergateError as exc:  # of an object that alone is not given
            logger.warning("a held segment cannot be mended now", extra={"segment": row.id, "reason": str(exc)})
            return False

    def _found_missing(self, copy: CopyRow, row: SegmentRow, now_ms: int) -> None:
        """Said loudly, and copied again while the main copy is there."""
        logger.error("a copy of held footage is gone or damaged", extra={"segment": row.id, "key": row.object_key})

        def write(connection: Connection) -> None:
            values = {"next_ms": now_ms, "version_id": None, "locked_until_ms": None}
            if evidence_rows.change(connection, row.id, ("verified",), state="wanted", **values):
                details = {"ids": [row.id], "version": copy.version_id}
                audit.append(connection, now_ms, ACTOR, "evidence.missing", row.object_key, details)

        self._catalog.write(write)

    # --- the end ---

    def _withdraw(self, one: Due, report: EvidenceReport) -> None:
        """No hold covers the segment any more: the copy goes as soon as it may."""
        copy, row, now_ms = one.copy, one.segment, wall_ms(self._clock)
        ours = copy.legal_hold
        if copy.read_ms is None:  # no pass of this catalog has verified it: was it made for a hold that we know?
            locks = self._locks(row.object_key)
            known = self._catalog.read(_orders_ever)
            needs = known.needs(one)
            was_kept = copy.problem == evidence_rows.UNEXPLAINED and not needs  # its lock may have run out since
            if was_kept or not all(explains(needs, known.classes, lock, now_ms) for lock in locks):
                self._keep(copy, row)
                return
            ours = ours or any(lock.legal_hold for lock in locks)
        if ours:
            self._lift_legal_holds(row.object_key)
            self._catalog.write(lambda c: evidence_rows.change(c, row.id, (copy.state,), legal_hold=False))
        has = LockTerms(copy.locked_until_ms)
        if not may_go((), has, now_ms) or not self._clock_trusted():
            # A look each day finds the lock's end soon enough, and a clock that is trusted again.
            later_ms = now_ms + LOOK_EVERY_MS
            self._catalog.write(lambda c: evidence_rows.change(c, row.id, (copy.state,), next_ms=later_ms))
            return
        if not self._catalog.write(partial(self._enter_releasing, one=one, now_ms=now_ms)):
            return
        versions = self._evidence.versions(row.object_key)
        try:
            for version_id in versions:
                self._evidence.delete_version(row.object_key, version_id)
        except TiergateError as exc:
            if exc.reason.code != "media.store_refused":
                raise
            if any(lock.legal_hold for lock in self._locks(row.object_key)):
                self._keep(copy, row)
            else:
                self._put_off(copy, exc.reason.code, ("releasing",))
            return

        def write(connection: Connection) -> None:
            gone = {"state": "gone", "version_id": None, "locked_until_ms": None, "problem": None, "tries": 0}
            if evidence_rows.change(connection, row.id, ("releasing",), **gone) and versions:
                audit.append(connection, now_ms, ACTOR, "evidence.delete", row.object_key, {"ids": [row.id]})

        self._catalog.write(write)
        report.released += 1

    def _keep(self, copy: CopyRow, row: SegmentRow) -> None:
        """Until a person decides, by a hold over it, that it is needed, or, by its release, that it is not."""
        if copy.problem != evidence_rows.UNEXPLAINED:
            logger.warning("no hold explains the lock of a copy: it is kept", extra={"segment": row.id})
        self._put_off(copy, evidence_rows.UNEXPLAINED, ("wanted", "releasing"))

    def _locks(self, key: str) -> list[LockTerms]:
        """Of all its versions."""
        locks = [self._evidence.lock_of(key, version_id) for version_id in self._evidence.versions(key)]
        return [LockTerms(lock.until_ms, lock.legal_hold) for lock in locks]

    def _lift_legal_holds(self, key: str) -> None:
        """Of a version that was made anew the older ones have theirs still."""
        for version_id in self._evidence.versions(key):
            self._evidence.lift_legal_hold(key, version_id)

    @staticmethod
    def _enter_releasing(connection: Connection, one: Due, now_ms: int) -> bool:
        """In the transaction that reads the holds again; a hold placed since keeps the copy."""
        if _orders(connection).needs(one):
            return False
        states = (one.copy.state,)
        return evidence_rows.change(connection, one.segment.id, states, state="releasing", next_ms=now_ms)


@dataclass(frozen=True, slots=True)
class SecondCopy:
    """A version of an object in the evidence store."""

    key: str
    version_id: str | None


class EvidenceSource:
    """Footage whose main copy is gone, damaged or not given, for those who show it: the copy, compared whole before any
    of it."""

    def __init__(self, catalog: Catalog, evidence: EvidenceStore) -> None:
        self._catalog = catalog
        self._evidence = AskedEvidence(evidence)
        self._silent = Deadline(0)

    def whole(self, segment_id: str, key: str, sha256: bytes) -> SecondCopy | None:
        """None as well when the evidence store does not answer. One that took its time over that is not asked again
        at once: it may be away together with the main store, and each picture would wait for both."""
        if not self._silent.passed:
            return None
        began_s = steady_s()
        copy = self._catalog.read(lambda c: evidence_rows.copy_of(c, segment_id))
        if copy is None or copy.state not in ("verified", "releasing"):
            return None
        try:
            digest = damage.digest_of_pieces(partial(self._evidence.iter_version, key, copy.version_id))
        except TiergateError:
            if steady_s() - began_s > _SLOW_S:
                self._silent = Deadline(_SILENT_S)
            return None
        return SecondCopy(key, copy.version_id) if digest == sha256 else None

    def read(self, copy: SecondCopy, offset: int, length: int) -> bytes:
        return self._evidence.read_version(copy.key, copy.version_id, offset, length)
