"""After a crash: torn parts become whole segments, finished files without a row get one. No footage goes. (I1, I2)

Every step may be interrupted and begun again: truncating to whole fragments, appending the index and renaming each
leave a file that this module understands. What it does not understand, or what the catalog refuses a row, goes to
``<spool>/quarantine``. A part that ends
with its head never had a picture; it goes, or each crash in the first second of a segment would leave one for ever.

A row may have lost sight of its file: the catalog was made anew from the store, or the disk was away for so long that
the segment was given up. The row names the file's volume again, so that the copy goes when the store has it or the
segment is deleted (`storage.uploader`); what was given up and is whole after all waits for the store again.

Belongs here: repairing files of a recorder that is gone, their rows, and gaps as far as such footage changes them. Does
not belong here: the time since then (the recorder knows how long it was away), footage in the store
(`storage.rebuild`).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from config.clock import wall_ms
from config.reasons import Reason
from storage import damage, rows, volume
from storage.audit import log as audit
from storage.catalog import gaps, segments
from storage.catalog.engine import CHUNK_ROWS, Catalog, never_fits
from storage.catalog.segments import RunRow, SegmentRow
from storage.gaps import JOIN_MS
from storage.media.boxes import Salvage, salvage
from storage.media.fmp4 import random_access_index
from storage.spool import FAILED, PART, SEALED, Spool, pread_all, write_all

logger = logging.getLogger(__name__)

ACTOR = "system:recorder"
#: States of segments whose copy in the spool is no longer the only one, or not needed any more.
_BEYOND = ("stored", "condemned", "deleting", "deleted", "lost")
_COPY_BYTES = 1 << 20
_WHOLE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Recovered:
    """A file that is a sealed segment now, and the rows that say so."""

    run: RunRow
    segment: SegmentRow
    path: Path


@dataclass(slots=True)
class RecoveryReport:
    salvaged: list[Recovered] = field(default_factory=list)
    adopted: list[Recovered] = field(default_factory=list)
    quarantined: list[Path] = field(default_factory=list)
    empty: int = 0  #: parts without a byte of media, removed
    ended_runs: int = 0
    returned: list[str] = field(default_factory=list)  #: segments that were given up as lost, and whose files are whole

    def __iadd__(self, other: RecoveryReport) -> RecoveryReport:
        self.salvaged += other.salvaged
        self.adopted += other.adopted
        self.quarantined += other.quarantined
        self.empty += other.empty
        self.ended_runs += other.ended_runs
        self.returned += other.returned
        return self


def salvage_part(spool: Spool, path: Path) -> Recovered | None:
    """A part of a dead writer, sealed up to its last whole fragment; None when it went into quarantine.

    A ``.failed`` part is copied: its own pages may not be what the disk has, or will have (FAULTS B3). When a copy is
    there already, its maker died before the original was put aside, and the original may be less by now.
    """
    target = path.with_suffix(SEALED)
    if path.suffix == FAILED and target.exists():
        found, _ = _examine(target)
        spool.quarantine(path)
        return _recovered(spool, target, found, salvaged=True)
    found, size = _examine(path)
    if not _is_segment(found, path):
        spool.quarantine(path)
        return None
    index = b"" if found.sealed else random_access_index(found.fragments, found.media_start)
    end = size if found.sealed else found.good_length
    if path.suffix == FAILED:
        _copy_whole(path, target, end, index)
        spool.quarantine(path)
    else:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, end)
            os.lseek(fd, end, os.SEEK_SET)
            write_all(fd, index)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(path, target)
        volume.fsync_folder(target.parent)
    return _recovered(spool, target, found, salvaged=True)


def drop_empty(path: Path) -> bool:
    """Removes a part that is empty, or a whole head of its own segment and nothing more; whether it was one."""
    found, size = _examine(path)
    if size == 0:
        path.unlink()
        return True
    if found.init is None or found.init.identity is None or size != found.init.size:
        return False
    if (found.init.identity.segment, found.init.identity.camera) != (path.stem, path.parent.name):
        return False
    path.unlink()
    return True


def adopt(spool: Spool, path: Path) -> Recovered | None:
    """A finished file that has no row: the crash came between sealing and insert. None when it went into quarantine."""
    found, _ = _examine(path)
    if not _is_segment(found, path):
        spool.quarantine(path)
        return None
    if not found.sealed:  # the name says more than the file holds: a disk that lied, or a stranger's hand
        part = path.with_suffix(PART)
        os.rename(path, part)
        return salvage_part(spool, part)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    volume.fsync_folder(path.parent)
    return _recovered(spool, path, found, salvaged=False)


def recover(catalog: Catalog, spool: Spool, cameras: Iterable[str], *, end_runs: bool = True) -> RecoveryReport:
    """Everything that a dead recorder left of these cameras, in files and rows. Call it before any of them is opened.

    Rows of a camera are written in one transaction, unless one of them is refused; running it again finds nothing to
    do. Without `end_runs` runs stay
    open: of several volumes all are looked at before a run has its end (`end_open_runs`).
    """
    report = RecoveryReport()
    for camera_id in cameras:
        found: list[Recovered] = []
        for path in spool.broken(camera_id):
            if path.suffix == PART and drop_empty(path):
                report.empty += 1
                continue
            _note(salvage_part(spool, path), path, found, report)
        report.salvaged += found
        adopted: list[Recovered] = []
        sealed = {path.stem: path for path in spool.sealed(camera_id)}
        fresh = [stem for stem in sealed if stem not in {r.segment.id for r in found}]
        known = catalog.read(partial(_existing, ids=fresh))
        for stem in fresh:
            if stem not in known:
                _note(adopt(spool, sealed[stem]), sealed[stem], adopted, report)
        report.adopted += adopted
        report.returned += _name_again(catalog, spool, [sealed[stem] for stem in fresh if known.get(stem) in _BEYOND])

        refused = _register(catalog, spool, sorted(found + adopted, key=lambda one: one.segment.start_ms))
        for one in refused:
            (report.salvaged if one in report.salvaged else report.adopted).remove(one)
            report.quarantined.append(one.path)
        if end_runs:
            report.ended_runs += end_open_runs(catalog, [camera_id])
    return report


def _name_again(catalog: Catalog, spool: Spool, paths: list[Path]) -> list[str]:
    """Files of segments beyond `spooled`, in rows that name no copy: they do now. The ids of those that were given up
    as lost, and are spooled again."""
    returned: list[str] = []
    volume_id = spool.volume_id if paths else ""
    for start in range(0, len(paths), CHUNK_ROWS):
        here = {path.stem: path for path in paths[start : start + CHUNK_ROWS]}
        rows_here = catalog.read(partial(segments.segments_of, ids=list(here)))
        ours = [row for row in rows_here if row.camera_id == here[row.id].parent.name]
        nameless = [row.id for row in ours if row.volume is None]
        if nameless:
            catalog.write(partial(segments.name_copies, ids=nameless, volume=volume_id))
        for row in ours:
            if row.state != "lost" or row.volume not in (None, volume_id):
                continue
            whole = _whole(spool, here[row.id], row)
            if whole is not None and catalog.write(partial(_return, given_up=row, whole=whole)):
                returned.append(row.id)
    return returned


def _whole(spool: Spool, path: Path, row: SegmentRow) -> Recovered | None:
    """None of a file that has other bytes than its row says, or cannot be read: it stays, and is asked again."""
    try:
        if path.stat().st_size != row.bytes:
            return None
        found, _ = _examine(path)
        if not _is_segment(found, path):
            return None
        whole = _recovered(spool, path, found, salvaged=row.salvaged)
    except OSError:
        logger.warning("the copy of a lost segment cannot be read", extra={"segment": row.id})
        return None
    return whole if whole.segment.sha256 == row.sha256 else None


def _return(connection: Connection, given_up: SegmentRow, whole: Recovered) -> bool:
    id_, now_ms = given_up.id, whole.segment.created_ms
    # A row that came back from its tombstone has neither index nor, perhaps, a run.
    index = {"fragments": whole.segment.fragments, "init_bytes": whole.segment.init_bytes}
    moved = segments.set_state(connection, [id_], ["lost"], "spooled", volume=whole.segment.volume, **index)
    if moved:
        segments.insert_run(connection, whole.run)
        damage.unmark(connection, id_, now_ms)
        details = {"from": "lost", "to": "spooled", "ids": moved}
        audit.append(connection, now_ms, ACTOR, "store.repair", given_up.object_key, details)
    return bool(moved)


def end_open_runs(catalog: Catalog, cameras: Iterable[str]) -> int:
    """Every open run of these cameras ends where its footage does; how many did."""
    return sum(catalog.write(partial(_end_runs, camera_id=camera_id)) for camera_id in cameras)


def _register(catalog: Catalog, spool: Spool, new: list[Recovered]) -> list[Recovered]:
    """Rows of what was recovered, oldest first. Those that the catalog will never take: their files are put aside, or
    each start would meet them again."""
    if not new:
        return []
    try:
        catalog.write(partial(_write, new=new))
    except Exception as error:
        if not never_fits(error):
            raise
        if len(new) > 1:
            return [refused for one in new for refused in _register(catalog, spool, [one])]
        logger.exception("the catalog refuses a recovered segment", extra={"segment": new[0].segment.id})
        spool.quarantine(new[0].path)
        return new
    return []


def _write(connection: Connection, new: list[Recovered]) -> None:
    for recovered in new:
        segments.insert_run(connection, recovered.run)
        row = recovered.segment
        gaps.give_back(connection, row.camera_id, row.stream, row.start_ms, row.end_ms)
        _account_before(connection, row)
        segments.insert_segments(connection, [row])


def _end_runs(connection: Connection, camera_id: str) -> int:
    left = segments.open_runs(connection, camera_id)
    for run in left:
        segments.end_run(connection, run.id, segments.last_end_of_run(connection, run) or run.started_ms, "crash")
    return len(left)


def _account_before(connection: Connection, row: SegmentRow) -> None:
    """What the dead recorder knew of the time before this footage and had not yet committed: that it had been down."""
    end_ms = segments.last_end_before(connection, row.camera_id, row.stream, row.start_ms)
    if end_ms is None:
        return
    for known in gaps.gaps_between(connection, row.camera_id, row.stream, end_ms, row.start_ms):
        end_ms = max(end_ms, row.start_ms if known.to_ms is None else known.to_ms)
    if row.start_ms - end_ms > JOIN_MS:
        reason = Reason("recorder.was_down").as_json()
        down = gaps.GapRow(
            row.id, row.camera_id, row.stream, "recorder_down", end_ms, row.start_ms, row.created_ms, reason
        )  # fmt: skip
        gaps.insert_gap(connection, down)


def _note(recovered: Recovered | None, path: Path, into: list[Recovered], report: RecoveryReport) -> None:
    if recovered is None:
        report.quarantined.append(path)
    else:
        into.append(recovered)


def _existing(connection: Connection, ids: list[str]) -> dict[str, str]:
    known: dict[str, str] = {}
    for start in range(0, len(ids), 500):
        known |= segments.existing(connection, ids[start : start + 500])
    return known


def _examine(path: Path) -> tuple[Salvage, int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if size <= _WHOLE_BYTES:  # one read instead of one per header and picture: a start waits for this
            data = pread_all(fd, 0, size)
            return salvage(lambda offset, count: data[offset : offset + count], len(data)), len(data)
        return salvage(lambda offset, count: pread_all(fd, offset, count), size), size
    finally:
        os.close(fd)


def _is_segment(found: Salvage, path: Path) -> bool:
    """Whether it names itself, is the one its name says, and has a picture."""
    if found.init is None or found.init.identity is None or found.duration <= 0:
        return False
    identity = found.init.identity
    return identity.segment == path.stem and identity.camera == path.parent.name and rows.is_sound(identity)


def _recovered(spool: Spool, path: Path, found: Salvage, *, salvaged: bool) -> Recovered:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        size = os.fstat(file.fileno()).st_size
    now_ms = wall_ms(spool.clock)
    run, segment = rows.rows_of_file(found, size, digest, now_ms, "spooled", spool.volume_id, salvaged)
    return Recovered(run, segment, path)


def _copy_whole(source: Path, target: Path, end: int, index: bytes) -> None:
    """The first `end` bytes and the index in a new file, durable before it has its name."""
    temporary = target.with_suffix(".copy")
    temporary.unlink(missing_ok=True)
    with source.open("rb", buffering=0) as reader:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            left = end
            while left > 0:
                piece = reader.read(min(left, _COPY_BYTES))
                if not piece:
                    raise OSError("file became shorter")
                write_all(fd, piece)
                left -= len(piece)
            write_all(fd, index)
            os.fsync(fd)
        finally:
            os.close(fd)
    os.rename(temporary, target)
    volume.fsync_folder(target.parent)
