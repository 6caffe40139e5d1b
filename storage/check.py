"""Store, spool and catalog held against each other; and what may be mended of it. (I1, I3; FAULTS B12, B13, B15)

`check` only looks, and remembers since when something is seen missing. `repair` is asked for by a person and never
deletes a byte: a row whose bytes are nowhere becomes `lost` only when it was seen so twice at least an hour apart, an
object that should be gone goes the way of every deletion (condemned, grace, holds asked again), a damaged object that a
whole copy can replace is kept in quarantine. What is not understood is counted, named and left alone.

Belongs here: presence, size and digest both ways. Does not belong here: torn files in the spool (`storage.salvage`),
rows of a lost catalog (`storage.rebuild`), damage found by reading day and night (`storage.scrub`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial

from sqlalchemy import Connection

from config.errors import TiergateError
from config.reasons import Reason
from config.units import HOUR_MS
from storage import damage, volume
from storage.audit import log as audit
from storage.catalog import facts, segments
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.segments import SegmentRow
from storage.keys import CATALOG_FOLDER, QUARANTINE_FOLDER, parse_segment_key
from storage.objects.base import BAD_SECTOR, ObjectStore
from storage.objects.evidence import EvidenceStore
from storage.patience import Patience, is_unreadable
from storage.rebuild import adopt_objects
from storage.spools import Volumes, copy_of, require_volume

OBSERVATIONS_APART_MS = HOUR_MS
SEEN = "check.seen"  #: fact: {segment id: since when it is seen missing, or there although deleted}
SEEN_MAX = 20_000  #: remembered at once; the rest is seen for the first time when these are done
_FOREIGN_NAMED = 100
#: A store that lacks more than this share of its rows is the wrong store, or not mounted: a person must say how many.
LOST_SHARE, LOST_FEW = 0.05, 20
KINDS = ("missing", "size", "hash", "unspooled", "leftover", "orphan", "found")
_NEEDS_TWO = ("missing", "unspooled", "leftover")


class Level(IntEnum):
    """What a check costs: a listing; the same; every byte read."""

    PRESENCE = 0
    SIZE = 1
    HASH = 2


@dataclass(frozen=True, slots=True)
class Finding:
    kind: str  #: one of KINDS
    key: str
    segment_id: str
    bytes: int  #: of the row; of an orphan those of the object


@dataclass(slots=True)
class CheckReport:
    at_ms: int
    level: Level
    rows: int = 0
    objects: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)
    catalog_objects: int = 0  #: journal, signed heads
    unreadable: list[str] = field(default_factory=list)  #: keys of which the store does not say enough to judge them
    quarantined: int = 0  #: damaged objects that a whole copy has replaced
    strangers: int = 0  #: objects that are not ours to judge
    foreign: list[str] = field(default_factory=list)  #: the first keys of those

    def of(self, kind: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind == kind]

    @property
    def whole(self) -> bool:
        return not self.findings and not self.unreadable

    def as_json(self) -> dict[str, object]:
        return {
            "at_ms": self.at_ms,
            "cost": self.level.name.lower(),
            "rows": self.rows,
            "objects": self.objects,
            "bytes": self.bytes,
            "catalog_objects": self.catalog_objects,
            "quarantined": self.quarantined,
            "strangers": self.strangers,
            "foreign": self.foreign,
            "findings": {kind: [f.key for f in self.of(kind)] for kind in KINDS},
            "unreadable": self.unreadable,
        }


def check(
    catalog: Catalog, store: ObjectStore, spool: Volumes | None, now_ms: int, level: Level = Level.SIZE
) -> CheckReport:
    """Compares; changes no row of footage. Safe beside a running node: whatever looks wrong is asked again first.

    missing: a stored row without an object. unspooled: a spooled row with neither spool copy nor object. size, hash:
    other bytes than recorded, or such as the disk cannot read any more. leftover: an object of a deleted row. orphan:
    an object without a row. found: the object of a row that was given up as lost. What the store alone does not answer
    for is none of these (unknown means keep) and named. Raises media.store_unavailable while it answers for nothing.
    """
    report = CheckReport(now_ms, level)
    # Objects first: a row is written before its object, so an object of this listing without a row has none.
    present = _listed(store, report)
    absent, patience = absent_volumes(catalog, spool), Patience(store)
    for page in _pages(catalog):
        patience.expect(row.object_key for row in page if row.object_key in present)
        for row in page:
            report.rows += 1
            size = present.pop(row.object_key, None)
            try:
                finding = patience.ask(row.object_key, partial(_judge, store, spool, row, size, level, absent))
            except TiergateError as exc:
                finding = _unread(exc, row, size)
                if finding is None:
                    report.unreadable.append(row.object_key)
            if finding is not None and _still(catalog, row):
                report.findings.append(Finding(finding, row.object_key, row.id, row.bytes))
    for key, size in present.items():
        parsed = parse_segment_key(key)
        try:
            there = parsed is not None and patience.ask(key, partial(store.head, key)) is not None
        except TiergateError as exc:
            if not is_unreadable(exc):
                raise
            there = True  # it was listed
        if parsed is not None and there:
            report.findings.append(Finding("orphan", key, parsed.segment_id, size))
    catalog.write(partial(_remember, report=report))
    return report


def _listed(store: ObjectStore, report: CheckReport) -> dict[str, int]:
    """Segments by key. Everything else is counted: a stray key must never break the pass (FAULTS B13)."""
    present: dict[str, int] = {}
    for info in store.list():
        if parse_segment_key(info.key) is not None:
            present[info.key] = info.bytes
            continue
        folder = info.key.split("/")[1:2]
        if folder == [CATALOG_FOLDER]:
            report.catalog_objects += 1
        elif folder == [QUARANTINE_FOLDER]:
            report.quarantined += 1
        else:
            report.strangers += 1
            if len(report.foreign) < _FOREIGN_NAMED:
                report.foreign.append(info.key.encode(errors="backslashreplace").decode())
    report.objects, report.bytes = len(present), sum(present.values())
    return present


def _pages(catalog: Catalog) -> Iterator[list[SegmentRow]]:
    after = ""
    states = ("spooled", "stored", "condemned", "deleting", "deleted", "lost")
    while page := catalog.read(partial(segments.all_segments, states=states, after_id=after, limit=CHUNK_ROWS)):
        yield page
        after = page[-1].id


def absent_volumes(catalog: Catalog, spool: Volumes | None) -> set[str]:
    """Volumes of this node that are not there now: of what they hold nothing is known. One that the node does not know,
    as after a restore on another machine, will not come back."""
    return catalog.read(volume.known_ids) - set(spool.present() if spool is not None else ())


def _judge(
    store: ObjectStore, spool: Volumes | None, row: SegmentRow, listed: int | None, level: Level, absent: set[str]
) -> str | None:
    if row.state == "deleting":
        return None
    if row.state in ("deleted", "lost"):
        there = listed is not None and store.head(row.object_key) is not None
        return ("leftover" if row.state == "deleted" else "found") if there else None
    size = listed
    if size is None:
        found = store.head(row.object_key)  # it may have come since the listing
        size = found.bytes if found is not None else None
    if size is None:
        if row.state != "spooled":
            return "missing"
        if spool is not None and row.volume not in absent and spool.find(row.camera_id, row.id) is None:
            return "unspooled"
        return None
    if level >= Level.SIZE and size != row.bytes:
        return "size"
    if level >= Level.HASH and damage.digest_of(store, row.object_key) not in (None, row.sha256):
        return "hash"
    return None


def _unread(exc: TiergateError, row: SegmentRow, listed: int | None) -> str | None:
    """What the disk itself has lost is damage, as it is to the scrub. Raises `exc` when the store is to blame."""
    if not is_unreadable(exc):
        raise exc
    damaged = listed is not None and row.state in segments.READABLE and exc.reason.params["problem"] == BAD_SECTOR
    return "hash" if damaged else None


def _still(catalog: Catalog, row: SegmentRow) -> bool:
    """Whether the row is as it was: a sweep or an upload may have moved it while we looked."""
    now = catalog.read(partial(segments.segment_of, segment_id=row.id))
    return now is not None and now.state == row.state


def _remember(connection: Connection, report: CheckReport) -> None:
    """Since when each is seen so. One that was seen whole in between begins anew."""
    before = facts.get(connection, SEEN) or {}
    seen: dict[str, int] = {}
    for finding in [f for kind in _NEEDS_TWO for f in report.of(kind)][:SEEN_MAX]:
        # A clock that stepped back must not make an observation older than it is.
        seen[finding.segment_id] = min(before.get(finding.segment_id, report.at_ms), report.at_ms)
    if seen != before:
        facts.set(connection, SEEN, seen)


def ripe(connection: Connection, now_ms: int) -> set[str]:
    """Segments that were first seen missing, or left over, at least an hour ago."""
    seen = facts.get(connection, SEEN) or {}
    return {id_ for id_, since_ms in seen.items() if now_ms - since_ms >= OBSERVATIONS_APART_MS}


# --- repair ---


@dataclass(slots=True)
class RepairReport:
    respooled: list[str] = field(default_factory=list)  #: the spool copy goes up again
    lost: list[str] = field(default_factory=list)  #: neither store nor spool has it
    returned: list[str] = field(default_factory=list)  #: given up as lost, and there again
    adopted: list[str] = field(default_factory=list)  #: objects that have a row now
    condemned: list[str] = field(default_factory=list)  #: left-over objects on their way out, with grace
    replaced: list[str] = field(default_factory=list)  #: damaged objects that a whole copy replaces
    damaged: list[str] = field(default_factory=list)  #: no whole copy: kept as it is and marked
    waiting: int = 0  #: seen for less than an hour
    #: objects that do not say what they are, or that the store alone does not give; left alone
    unreadable: list[str] = field(default_factory=list)
    refused: Reason | None = None  #: why no row was given up as lost

    @property
    def changed(self) -> bool:
        lists = (self.respooled, self.lost, self.returned, self.adopted, self.condemned, self.replaced, self.damaged)
        return any(lists)

    def as_json(self) -> dict[str, object]:
        return {
            "respooled": self.respooled,
            "lost": self.lost,
            "returned": self.returned,
            "adopted": self.adopted,
            "condemned": self.condemned,
            "replaced": self.replaced,
            "damaged": self.damaged,
            "waiting": self.waiting,
            "unreadable": self.unreadable,
            "refused": self.refused and self.refused.as_json(),
        }


class Repairer:
    """Acts on one report. `copies` are the evidence stores that may hold whole copies."""

    def __init__(
        self, catalog: Catalog, store: ObjectStore, spool: Volumes, actor: str, copies: Collection[EvidenceStore] = ()
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._spool = spool
        self._actor = actor
        self._patience = Patience(store)
        self._mender = damage.Mender(catalog, store, spool, actor, copies)

    def repair(self, report: CheckReport, confirmed_lost: int = 0, now_ms: int | None = None) -> RepairReport:
        """Raises media.volume_missing while no spool is mounted: then no copy is really missing.

        `confirmed_lost`: a person confirms that up to so many rows may be given up; a few need no confirmation.
        `now_ms`: when they are; a hold may have been placed since a long check began.
        """
        lost_ms = report.at_ms if now_ms is None else max(now_ms, report.at_ms)
        require_volume(self._spool)
        done = RepairReport()
        twice = self._catalog.read(lambda c: ripe(c, report.at_ms))
        without = report.of("missing") + report.of("unspooled")
        done.waiting = sum(f.segment_id not in twice for f in without + report.of("leftover"))
        gone: list[SegmentRow] = []
        for finding in without:
            if finding.segment_id in twice and (row := self._without_bytes(finding, report.at_ms, done)) is not None:
                gone.append(row)
        most = max(LOST_FEW, int(report.rows * LOST_SHARE), confirmed_lost)
        if len(gone) > most:
            done.refused = Reason("ops.store_many_missing", {"count": len(gone), "rows": report.rows})
        else:
            for row in gone:
                if self._move(row, "lost", lost_ms, volume=None):
                    done.lost.append(row.id)
        for finding in report.of("leftover"):
            if finding.segment_id in twice and self._condemn(finding, report.at_ms):
                done.condemned.append(finding.segment_id)
                self._mend(finding, report.at_ms, done)  # a hold may bring it back: then it must be known to be damaged
        for finding in report.of("found"):
            if self._return(finding, report.at_ms, done):
                done.returned.append(finding.segment_id)
        for finding in report.of("size") + report.of("hash"):
            self._mend(finding, report.at_ms, done)
        keys = [finding.key for finding in report.of("orphan")]
        added, unreadable = adopt_objects(self._catalog, self._store, keys, self._spool.node_id, report.at_ms)
        done.unreadable += unreadable
        if added:
            subject, details = f"{len(added)} segments", {"ids": added}
            self._catalog.write(lambda c: audit.append(c, report.at_ms, self._actor, "store.adopt", subject, details))
        done.adopted = added
        return done

    def _row(self, finding: Finding, states: Collection[str]) -> SegmentRow | None:
        row = self._catalog.read(partial(segments.segment_of, segment_id=finding.segment_id))
        return row if row is not None and row.state in states else None

    def _move(self, row: SegmentRow, state: str, now_ms: int, **values: object) -> bool:
        def write(connection: Connection) -> bool:
            if not segments.set_state(connection, [row.id], [row.state], state, **values):
                return False
            if state == "lost":
                damage.mark(connection, row, Reason("media.segment_lost"), now_ms)
            elif row.state == "lost":
                damage.unmark(connection, row.id, now_ms)
            details = {"from": row.state, "to": state, "ids": [row.id]}
            audit.append(connection, now_ms, self._actor, "store.repair", row.object_key, details)
            return True

        return self._catalog.write(write)

    def _without_bytes(self, finding: Finding, now_ms: int, done: RepairReport) -> SegmentRow | None:
        """The row, when its bytes are nowhere. A whole copy in the spool goes up again; another store's is brought."""
        row = self._row(finding, segments.READABLE)
        if row is None or self._store.head(row.object_key) is not None:
            return None
        copy = copy_of(self._spool, row.camera_id, row.id)
        if copy is None and row.volume in absent_volumes(self._catalog, self._spool):
            return None  # it may lie on the volume that is not there
        if copy is not None:
            volume_id, path = copy
            # A file that is not whole may still be of use to somebody: the row is not given up while it lies there.
            whole = damage.digest_of_file(path) == row.sha256
            if whole and row.state != "spooled" and self._move(row, "spooled", now_ms, volume=volume_id):
                done.respooled.append(row.id)
            return None
        if self._mender.bring(row, now_ms):
            done.replaced.append(row.id)
            return None
        return row

    def _condemn(self, finding: Finding, now_ms: int) -> bool:
        row = self._row(finding, ("deleted",))
        return row is not None and self._move(row, "condemned", now_ms, condemned_ms=now_ms, deleted_ms=None)

    def _return(self, finding: Finding, now_ms: int, done: RepairReport) -> bool:
        row = self._row(finding, ("lost",))
        if row is None:
            return False
        try:
            digest = self._patience.ask(row.object_key, partial(damage.digest_of, self._store, row.object_key))
        except TiergateError as exc:
            if not is_unreadable(exc):
                raise
            done.unreadable.append(row.object_key)
            return False
        return digest == row.sha256 and self._move(row, "stored", now_ms)

    def _mend(self, finding: Finding, now_ms: int, done: RepairReport) -> None:
        row = self._row(finding, segments.READABLE)
        if row is None:
            return
        fate = self._mender.mend(row, now_ms)
        if fate is damage.Fate.REPLACED:
            done.replaced.append(row.id)
        elif fate is damage.Fate.MARKED:
            done.damaged.append(row.id)
