"""Store, spool and catalog held against each other, and a catalog made anew from the objects themselves. (I9; FAULTS
B12, B13, B31)

`check` only looks; `repair` does what two checks an hour apart agree on; `rebuild` adds rows for objects that have
none. None of them deletes a byte or a row: unknown means keep.

Belongs here: presence, size and digest both ways; rows from identity boxes. Does not belong here: torn files in the
spool (`storage.salvage`), holds and classes of a lost catalog (restored from backup).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import IO

from sqlalchemy import Connection

from config.errors import TiergateError
from config.units import HOUR_MS
from storage import rows
from storage.audit import log as audit
from storage.catalog import segments
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.segments import RunRow, SegmentRow
from storage.keys import SegmentKey, parse_segment_key
from storage.media.boxes import salvage
from storage.objects.base import ObjectStore
from storage.spool import Spool
from storage.spools import Spools

_MEMORY_BYTES = 64 << 20  #: an object larger than this goes through a temporary file
OBSERVATIONS_APART_MS = HOUR_MS


class Level(IntEnum):
    """What a check costs: a listing; the same; every byte read."""

    PRESENCE = 0
    SIZE = 1
    HASH = 2


@dataclass(frozen=True, slots=True)
class Finding:
    kind: str  #: missing, size, hash, unspooled, leftover, orphan
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
    strangers: int = 0  #: objects that are not segments and not ours to judge

    def of(self, kind: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind == kind]

    @property
    def whole(self) -> bool:
        return not self.findings

    def as_json(self) -> dict[str, object]:
        kinds = ("missing", "size", "hash", "unspooled", "leftover", "orphan")
        return {
            "at_ms": self.at_ms,
            "level": self.level.name.lower(),
            "rows": self.rows,
            "objects": self.objects,
            "bytes": self.bytes,
            "strangers": self.strangers,
            "findings": {kind: [f.key for f in self.of(kind)] for kind in kinds},
        }


def check(
    catalog: Catalog, store: ObjectStore, spool: Spool | Spools | None, now_ms: int, level: Level = Level.SIZE
) -> CheckReport:
    """Compares; changes nothing. Safe beside a running node: whatever looks wrong is asked again before it is reported.

    missing: a stored row without an object. unspooled: a spooled row with neither spool copy nor object. size, hash:
    other bytes than recorded. leftover: an object of a deleted row. orphan: an object without a row.
    """
    report = CheckReport(now_ms, level)
    # Objects first: a row is written before its object, so an object of this listing without a row has none.
    present: dict[str, int] = {}
    for info in store.list():
        if parse_segment_key(info.key) is None:
            report.strangers += 1
        else:
            present[info.key] = info.bytes
    report.objects, report.bytes = len(present), sum(present.values())
    for row in _all_rows(catalog):
        report.rows += 1
        size = present.pop(row.object_key, None)
        finding = _judge(store, spool, row, size, level)
        if finding is not None and _still(catalog, row):
            report.findings.append(Finding(finding, row.object_key, row.id, row.bytes))
    for key, size in present.items():
        parsed = parse_segment_key(key)
        if parsed is not None and store.head(key) is not None:
            report.findings.append(Finding("orphan", key, parsed.segment_id, size))
    return report


def _all_rows(catalog: Catalog) -> Iterator[SegmentRow]:
    after = ""
    states = ("spooled", "stored", "condemned", "deleting", "deleted", "lost")
    while page := catalog.read(partial(segments.all_segments, states=states, after_id=after, limit=CHUNK_ROWS)):
        yield from page
        after = page[-1].id


def _judge(
    store: ObjectStore, spool: Spool | Spools | None, row: SegmentRow, listed: int | None, level: Level
) -> str | None:
    if row.state in ("deleting", "lost"):
        return None
    if row.state == "deleted":
        return "leftover" if listed is not None and store.head(row.object_key) is not None else None
    size = listed
    if size is None:
        found = store.head(row.object_key)  # it may have come since the listing
        size = found.bytes if found is not None else None
    if size is None:
        if row.state != "spooled":
            return "missing"
        # Of a volume that is not there nothing is known.
        if spool is not None and (row.volume is None or row.volume in spool.present()):
            return "unspooled" if spool.find(row.camera_id, row.id) is None else None
        return None
    if level >= Level.SIZE and size != row.bytes:
        return "size"
    if level >= Level.HASH and _digest(store, row.object_key) not in (None, row.sha256):
        return "hash"
    return None


def _digest(store: ObjectStore, key: str) -> bytes | None:
    """None when it went away meanwhile."""
    digest = hashlib.sha256()
    try:
        for piece in store.iter_range(key):
            digest.update(piece)
    except TiergateError as exc:
        if exc.reason.code == "media.object_missing":
            return None
        raise
    return digest.digest()


def _still(catalog: Catalog, row: SegmentRow) -> bool:
    """Whether the row is as it was: a sweep or an upload may have moved it while we looked."""
    now = catalog.read(partial(segments.segment_of, segment_id=row.id))
    return now is not None and now.state == row.state


# --- repair ---


@dataclass(slots=True)
class RepairReport:
    respooled: list[str] = field(default_factory=list)  #: the spool copy goes up again
    lost: list[str] = field(default_factory=list)  #: neither store nor spool has it


def repair(
    catalog: Catalog, store: ObjectStore, spool: Spool, first: CheckReport, second: CheckReport, actor: str
) -> RepairReport:
    """Acts on what both checks saw. Raises ValueError when they are less than an hour apart (FAULTS B13)."""
    if second.at_ms - first.at_ms < OBSERVATIONS_APART_MS:
        raise ValueError("two checks at least an hour apart are needed")
    report = RepairReport()
    kinds = ("missing", "unspooled")
    before = {finding.segment_id for kind in kinds for finding in first.of(kind)}
    for finding in [f for kind in kinds for f in second.of(kind) if f.segment_id in before]:
        row = catalog.read(partial(segments.segment_of, segment_id=finding.segment_id))
        if row is None or row.state not in segments.READABLE or store.head(row.object_key) is not None:
            continue
        has_copy = spool.find(row.camera_id, row.id) is not None
        volume = spool.volume_id  # raises while the spool is not mounted: then no copy is really missing
        change = partial(_repair_row, row=row, volume=volume if has_copy else None, actor=actor, now_ms=second.at_ms)
        if catalog.write(change):
            (report.respooled if has_copy else report.lost).append(row.id)
    return report


def _repair_row(connection: Connection, row: SegmentRow, volume: str | None, actor: str, now_ms: int) -> bool:
    state = "lost" if volume is None else "spooled"
    if state == row.state:
        return False
    moved = segments.set_state(connection, [row.id], [row.state], state, volume=volume)
    if moved:
        audit.append(connection, now_ms, actor, "store.repair", row.object_key, {"from": row.state, "to": state})
    return bool(moved)


# --- rebuild ---


@dataclass(slots=True)
class RebuildReport:
    objects: int = 0
    added: int = 0
    known: int = 0
    unreadable: list[str] = field(default_factory=list)  #: keys of segments that do not say what they are


def rebuild(
    catalog: Catalog,
    store: ObjectStore,
    now_ms: int,
    actor: str,
    progress: Callable[[RebuildReport], None] | None = None,
) -> RebuildReport:
    """Rows for every segment object that has none, from its own identity box and fragments. May be repeated."""
    report = RebuildReport()
    chunk: list[SegmentKey] = []
    keys: list[str] = []
    for info in store.list():
        parsed = parse_segment_key(info.key)
        if parsed is None:
            continue
        report.objects += 1
        chunk.append(parsed)
        keys.append(info.key)
        if len(chunk) == 100:
            _rebuild_chunk(catalog, store, chunk, keys, now_ms, report)
            chunk, keys = [], []
            if progress is not None:
                progress(report)
    _rebuild_chunk(catalog, store, chunk, keys, now_ms, report)
    catalog.write(partial(_finish_rebuild, report=report, now_ms=now_ms, actor=actor))
    return report


def _rebuild_chunk(
    catalog: Catalog, store: ObjectStore, parsed: list[SegmentKey], keys: list[str], now_ms: int, report: RebuildReport
) -> None:
    known = catalog.read(partial(segments.existing, ids=[key.segment_id for key in parsed]))
    report.known += len(known)
    made: list[tuple[RunRow, SegmentRow]] = []
    for name, key in zip(parsed, keys, strict=True):
        if name.segment_id in known:
            continue
        found = _rows_of_object(store, key, now_ms)
        if found is None:
            report.unreadable.append(key)
        else:
            made.append(found)
    catalog.write(partial(_insert, made=made))
    report.added += len(made)


def _insert(connection: Connection, made: list[tuple[RunRow, SegmentRow]]) -> None:
    for run, _ in made:
        segments.insert_run(connection, run)
    segments.insert_segments(connection, [segment for _, segment in made])


def _finish_rebuild(connection: Connection, report: RebuildReport, now_ms: int, actor: str) -> None:
    """Runs without an end end with their footage; those of a recorder that runs now go on in it under a new id."""
    if not report.added:
        return
    for run in segments.open_runs(connection):
        last_ms = segments.last_end_of_run(connection, run)
        if last_ms is not None and last_ms < now_ms - HOUR_MS:
            segments.end_run(connection, run.id, last_ms, "rebuilt")
    details = {"objects": report.objects, "added": report.added, "unreadable": len(report.unreadable)}
    audit.append(connection, now_ms, actor, "store.rebuild", f"{report.added} segments", details)


def _rows_of_object(store: ObjectStore, key: str, now_ms: int) -> tuple[RunRow, SegmentRow] | None:
    digest, size = hashlib.sha256(), 0
    with tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES) as file:
        for piece in store.iter_range(key):
            digest.update(piece)
            file.write(piece)
            size += len(piece)
        found = salvage(partial(_read, file), size)
    if found.good_length != size and not found.sealed:
        return None
    try:
        run, row = rows.rows_of_file(found, size, digest.digest(), now_ms, "stored", None, salvaged=False)
    except ValueError:
        return None
    return (run, row) if row.object_key == key else None


def _read(file: IO[bytes], offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)
