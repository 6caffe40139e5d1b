"""A lost catalog made anew from the objects themselves, folder and S3 alike. (I9; FAULTS B12, B31)

Every segment says in its own boxes which it is, of which camera and run, and since when; what objects cannot know of
themselves (holds, classes, gaps, tombstones, the end of a run) comes from the journal beside them (`storage.journal`).
May be killed and begun again at any moment: rows that are there are passed over without reading their objects.

Belongs here: rows from objects. Does not belong here: whether rows and objects agree (`storage.check`), torn files in
the spool (`storage.salvage`).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import IO

from sqlalchemy import Connection

from config.errors import TiergateError
from config.units import HOUR_MS
from storage import rows
from storage.audit import log as audit
from storage.catalog import segments
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.segments import RunRow, SegmentRow
from storage.keys import parse_segment_key
from storage.media.boxes import Read, salvage
from storage.objects.base import ObjectStore
from storage.patience import Patience, is_unreadable
from storage.scratch import nameless

_MEMORY_BYTES = 32 << 20  #: an object larger than this goes through a temporary file
WORKERS = 4  #: reading and hashing run beside each other; parsing is one thread's work


@dataclass(slots=True)
class RebuildReport:
    objects: int = 0
    added: int = 0
    known: int = 0
    bytes: int = 0  #: read
    foreign: int = 0  #: segments of another node, which are not ours to have rows of
    #: keys of segments that do not say what they are, and of those that the store alone does not give
    unreadable: list[str] = field(default_factory=list)


def rebuild(
    catalog: Catalog,
    store: ObjectStore,
    node_id: str,
    now_ms: int,
    actor: str,
    progress: Callable[[RebuildReport], None] | None = None,
) -> RebuildReport:
    """Rows for every segment object of this node that has none. A neighbour's in the same bucket are not ours to sweep:
    they are counted. Raises what the store raises; one that it does not give while it gives others is named."""
    report, patience = RebuildReport(), Patience(store)
    keys = (info.key for info in store.list())
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="rebuild") as pool:
        while chunk := list(islice(keys, CHUNK_ROWS)):
            _rebuild_chunk(catalog, store, patience, pool, chunk, node_id, now_ms, report)
            if progress is not None:
                progress(report)
    catalog.write(partial(_finish_rebuild, report=report, now_ms=now_ms, actor=actor))
    return report


def adopt_objects(
    catalog: Catalog, store: ObjectStore, keys: Collection[str], node_id: str, now_ms: int
) -> tuple[list[str], list[str]]:
    """Rows for some objects without one (FAULTS B12): (ids that have a row now, keys of those that do not say what they
    are, or cannot be read)."""
    report, patience = RebuildReport(), Patience(store)
    added: list[str] = []
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="adopt") as pool:
        todo = iter(keys)
        while chunk := list(islice(todo, CHUNK_ROWS)):
            added += _rebuild_chunk(catalog, store, patience, pool, chunk, node_id, now_ms, report)
    return added, report.unreadable


def _rebuild_chunk(
    catalog: Catalog,
    store: ObjectStore,
    patience: Patience,
    pool: ThreadPoolExecutor,
    keys: Collection[str],
    node_id: str,
    now_ms: int,
    report: RebuildReport,
) -> list[str]:
    named = {parsed.segment_id: (key, parsed) for key in keys if (parsed := parse_segment_key(key)) is not None}
    report.objects += len(named)
    patience.expect(keys)
    known = catalog.read(partial(segments.existing, ids=list(named)))
    report.known += len(known)
    todo: list[str] = []
    for segment_id, (key, parsed) in named.items():
        if segment_id in known:
            continue
        if parsed.node != node_id:
            report.foreign += 1
        else:
            todo.append(key)
    made: list[tuple[RunRow, SegmentRow]] = []
    rows_of = partial(_rows_if_readable, store, patience, now_ms=now_ms)
    for key, found in zip(todo, pool.map(rows_of, todo), strict=True):
        if found is None:
            report.unreadable.append(key)
        else:
            made.append(found)
            report.bytes += found[1].bytes
    if made:
        catalog.write(partial(_insert, made=made))
    report.added += len(made)
    return [segment.id for _, segment in made]


def _insert(connection: Connection, made: list[tuple[RunRow, SegmentRow]]) -> None:
    runs: dict[str, RunRow] = {}
    # Each segment reckons the start of its run from its own beginning; the first of them was there.
    for run, _ in sorted(made, key=lambda pair: pair[1].start_wall_ns):
        runs.setdefault(run.id, run)
    segments.insert_runs(connection, runs.values())
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


def _rows_if_readable(
    store: ObjectStore, patience: Patience, key: str, now_ms: int
) -> tuple[RunRow, SegmentRow] | None:
    try:
        return patience.ask(key, partial(rows_of_object, store, key, now_ms))
    except TiergateError as exc:
        if is_unreadable(exc):
            return None
        raise


def rows_of_object(store: ObjectStore, key: str, now_ms: int) -> tuple[RunRow, SegmentRow] | None:
    """None of an object that is no whole segment, or not the one its key says, or went away meanwhile."""
    try:
        with _fetched(store, key) as (read, size, digest):
            # Headers alone: whether each picture is whole is the digest's question, and the scrub asks it.
            found = salvage(read, size, check_samples=False)
        if not found.sealed and found.good_length != size:
            return None
        run, row = rows.rows_of_file(found, size, digest, now_ms, "stored", None, salvaged=False)
    except ValueError:
        return None
    except TiergateError as exc:
        if exc.reason.code == "media.object_missing":
            return None
        raise
    if row.object_key != key:
        return None
    return run, row


@contextlib.contextmanager
def _fetched(store: ObjectStore, key: str) -> Iterator[tuple[Read, int, bytes]]:
    """(reader, size, digest) of a whole object. The digest is the one the store took when it was given, where it keeps
    one: then bytes that rotted since are found by the first scrub."""
    pieces: list[bytes] = []
    size = 0
    spill: IO[bytes] | None = None
    told, arriving = store.fetch(key)
    taken, digest = told.sha256, hashlib.sha256()
    with contextlib.ExitStack() as stack:
        for piece in arriving:
            if taken is None:
                digest.update(piece)
            size += len(piece)
            if spill is None and size > _MEMORY_BYTES:
                spill, _ = stack.enter_context(nameless())
                spill.writelines(pieces)
                pieces = []
            if spill is None:
                pieces.append(piece)
            else:
                spill.write(piece)
        read = partial(_read, b"".join(pieces)) if spill is None else partial(_read_file, spill)
        yield read, size, digest.digest() if taken is None else taken


def _read(data: bytes, offset: int, count: int) -> bytes:
    return data[offset : offset + count]


def _read_file(file: IO[bytes], offset: int, count: int) -> bytes:
    file.seek(offset)
    return file.read(count)
