"""A segment whose bytes are not what its row says: kept, marked, replaced where a whole copy is left. (I3; FAULTS B30)

The mark is a gap row with the segment's own id and the cause ``damaged`` over its span: the timeline shows it, the
journal carries it, and the bytes stay, for most of a damaged minute still plays. A whole copy (the spool's, or another
store's) takes the object's place only after the damaged bytes are durable under ``<node>/_quarantine/``. Of bytes that
the store does not give, while it gives others, nothing can be kept: the copy takes their place without.

Belongs here: marking, finding whole copies, replacing. Does not belong here: who reads and when (`storage.scrub`,
`storage.check`).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Collection, Iterator
from enum import Enum
from functools import partial
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, and_, func, or_, select

from config.errors import TiergateError
from config.reasons import Reason
from storage.audit import log as audit
from storage.catalog import gaps, segments
from storage.catalog.engine import Catalog
from storage.catalog.gaps import GapRow
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import gap, segment
from storage.keys import parse_quarantine_key, quarantine_key
from storage.objects.asked import AskedStore
from storage.objects.base import BAD_SECTOR, ObjectStore
from storage.objects.evidence import EvidenceStore
from storage.patience import Patience, is_unreadable
from storage.scratch import nameless
from storage.spools import Volumes, copy_of

logger = logging.getLogger(__name__)

CAUSE = "damaged"


class Fate(Enum):
    WHOLE = "whole"
    MISSING = "missing"  #: no object, and no copy that could take its place
    REPLACED = "replaced"  #: a whole copy stands in its place
    MARKED = "marked"  #: no whole copy; kept as it is, and said to be damaged from now on
    KNOWN = "known"  #: as before


def digest_of(store: ObjectStore | AskedStore, key: str) -> bytes | None:
    """SHA-256 of what the store gives; None when it has no such object (any more)."""
    return digest_of_pieces(partial(store.iter_range, key))


def digest_of_pieces(begin: Callable[[], Iterator[bytes]]) -> bytes | None:
    """As `digest_of`, of what `begin` gives."""
    digest = hashlib.sha256()
    try:
        for piece in begin():
            digest.update(piece)
    except TiergateError as exc:
        if exc.reason.code == "media.object_missing":
            return None
        raise
    return digest.digest()


def fetch_whole(copy: EvidenceStore, row: SegmentRow, file: IO[bytes]) -> bool:
    """Whether `file` is the segment now; False as well while that store is away, or was never made."""
    try:
        versions = copy.versions(row.object_key)
    except TiergateError:
        return False
    return any(_fetch_version(partial(copy.iter_version, row.object_key, v), row, file) for v in versions)


def _fetch_version(begin: Callable[[], Iterator[bytes]], row: SegmentRow, file: IO[bytes]) -> bool:
    file.seek(0)
    file.truncate()
    digest = hashlib.sha256()
    try:
        for piece in begin():
            digest.update(piece)
            file.write(piece)
    except TiergateError:  # also of what is a marker of a deletion
        return False
    file.flush()
    return digest.digest() == row.sha256


def digest_of_file(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except FileNotFoundError:
        return None


def mark(connection: Connection, row: SegmentRow, reason: Reason, now_ms: int) -> bool:
    """Whether it is news; of what was known to be damaged, that it is lost is."""
    known = gaps.gap_of(connection, row.id) if is_marked(connection, row.id) else None
    if known is not None and (known.reason or {}).get("code") == reason.code:
        return False
    found = GapRow(row.id, row.camera_id, row.stream, CAUSE, row.start_ms, row.end_ms, now_ms, reason.as_json())
    gaps.put_gap(connection, found)
    return True


def mark_found(
    connection: Connection, segment_id: str, actor: str, now_ms: int, code: str = "media.segment_damaged"
) -> bool:
    """Marks a segment that was just read and is not what its row says; whether that is news."""
    row = segments.segment_of(connection, segment_id)
    if row is None or row.state not in segments.READABLE:
        return False  # deleted while it was read
    if not mark(connection, row, Reason(code), now_ms):
        return False
    logger.error("a stored segment is damaged", extra={"segment": row.id, "camera": row.camera_id})
    audit.append(connection, now_ms, actor, "segment.damaged", row.object_key, {"ids": [row.id]})
    return True


def mark_copy(connection: Connection, row: SegmentRow, actor: str, now_ms: int) -> bool:
    """Marks a segment that never came into the store, for its copy in the spool is not what its row says; whether that
    is news."""
    now = segments.segment_of(connection, row.id)
    if now is None or now.state != "spooled" or is_marked(connection, row.id):
        return False
    mark(connection, row, Reason("media.spool_corrupt", {"segment": row.id}), now_ms)
    audit.append(connection, now_ms, actor, "segment.damaged", row.object_key, {"ids": [row.id]})
    return True


def marked_copies(connection: Connection) -> list[str]:
    """Segments that are spooled and marked, and those that were given up and whose copy is still named; oldest first.

    Few, whatever waits for the store. The order is not asked of the catalog: it would walk through all footage by it.
    """
    spoiled = and_(segment.c.state == "spooled", gap.c.cause == CAUSE, gap.c.to_ms > gap.c.from_ms)
    left = and_(segment.c.state == "lost", segment.c.volume.is_not(None))
    query = (
        select(segment.c.id)
        .outerjoin(gap, gap.c.id == segment.c.id)
        .where(segment.c.state.in_(("spooled", "lost")), or_(spoiled, left))
    )
    return sorted(connection.execute(query).scalars())


def unmark(connection: Connection, segment_id: str, now_ms: int) -> bool:
    """The gap row stays and ends where it begins: that it was damaged once is no secret."""
    if not is_marked(connection, segment_id):
        return False
    gaps.withdraw(connection, segment_id, now_ms)
    return True


def is_marked(connection: Connection, segment_id: str) -> bool:
    found = gaps.gap_of(connection, segment_id)
    return found is not None and found.cause == CAUSE and found.to_ms != found.from_ms


def count(connection: Connection) -> int:
    """Marked segments that are still there: what has expired needs no mending."""
    query = (
        select(func.count())
        .select_from(gap.join(segment, segment.c.id == gap.c.id))
        .where(gap.c.cause == CAUSE, gap.c.to_ms > gap.c.from_ms, segment.c.state.in_(segments.READABLE))
    )
    return int(connection.execute(query).scalar_one())


class Mender:
    """`copies` are evidence stores of this node, any version of which may be the object, whole."""

    def __init__(
        self, catalog: Catalog, store: ObjectStore, spool: Volumes, actor: str, copies: Collection[EvidenceStore] = ()
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._spool = spool
        self._actor = actor
        self._copies = copies

    def mend(self, row: SegmentRow, now_ms: int) -> Fate:
        """Reads the object again, for a line may lie once, and does what can be done. Raises media.store_unavailable.

        Nothing at all is done to an object that cannot be read just now.
        """
        key = row.object_key
        try:
            digest = digest_of(self._store, key)
        except TiergateError as exc:
            if exc.reason.code != "media.store_unavailable":
                raise
            return self._mend_unread(row, exc, now_ms)
        if digest is None and self._store.head(key) is None:
            return Fate.REPLACED if self.bring(row, now_ms) else Fate.MISSING
        if digest == row.sha256:
            self._catalog.write(lambda c: unmark(c, row.id, now_ms))
            return Fate.WHOLE
        with self._whole_copy(row) as path:
            if path is not None and self._put_aside(row, now_ms) and self._remove(row):
                self._put(row, path, now_ms)
                return Fate.REPLACED
        return self._marked(row, now_ms)

    def bring(self, row: SegmentRow, now_ms: int) -> bool:
        """Puts a whole copy where no object is; whether there was one."""
        with self._whole_copy(row) as path:
            if path is None:
                return False
            self._put(row, path, now_ms)
            return True

    def _mend_unread(self, row: SegmentRow, exc: TiergateError, now_ms: int) -> Fate:
        """Of an object that the store does not give. That the disk under it has lost some of it is damage."""
        with self._whole_copy(row) as path:
            if path is not None and self._is_unreadable(row.object_key) and self._remove(row):
                self._put(row, path, now_ms)
                return Fate.REPLACED
        if exc.reason.params.get("problem") != BAD_SECTOR:
            raise exc
        return self._marked(row, now_ms)

    def _is_unreadable(self, key: str) -> bool:
        """Whether it alone is: from a store that is away nothing is removed."""
        try:
            Patience(self._store).ask(key, partial(digest_of, self._store, key))
        except TiergateError as exc:
            return is_unreadable(exc)
        return False

    def _marked(self, row: SegmentRow, now_ms: int) -> Fate:
        news = self._catalog.write(lambda c: mark_found(c, row.id, self._actor, now_ms))
        return Fate.MARKED if news else Fate.KNOWN

    @contextlib.contextmanager
    def _whole_copy(self, row: SegmentRow) -> Iterator[Path | None]:
        """At hand until the block ends, whatever becomes of the store it is from."""
        path = self._copy(row)
        if path is not None:
            yield path
            return
        with nameless() as (file, path):
            yield path if any(fetch_whole(copy, row, file) for copy in self._copies) else None

    def _copy(self, row: SegmentRow) -> Path | None:
        """The spool's, when it is whole."""
        found = copy_of(self._spool, row.camera_id, row.id)
        try:
            return found[1] if found is not None and digest_of_file(found[1]) == row.sha256 else None
        except OSError:  # a copy that its own disk cannot give mends nothing
            return None

    def _put(self, row: SegmentRow, path: Path, now_ms: int) -> None:
        self._store.put_file(row.object_key, path, row.sha256, row.bytes)
        self._catalog.write(partial(self._replaced, row=row, now_ms=now_ms))

    def _put_aside(self, row: SegmentRow, now_ms: int) -> bool:
        """The damaged bytes, durable under another key as well. False: they cannot be read."""
        with nameless() as (file, path):
            digest, size = hashlib.sha256(), 0
            try:
                for piece in self._store.iter_range(row.object_key):
                    digest.update(piece)
                    file.write(piece)
                    size += len(piece)
            except TiergateError:
                return False
            file.flush()
            if digest.digest() == row.sha256:
                return False  # it reads whole after all
            if not self._is_aside(row, size):
                self._store.put_file(quarantine_key(row.object_key, now_ms), path, digest.digest(), size)
        return True

    def _remove(self, row: SegmentRow) -> bool:
        """False: the store lets nobody delete it, so it stays where it is."""
        try:
            self._store.delete(row.object_key)
        except TiergateError as exc:
            if exc.reason.code != "media.store_refused":
                raise
            logger.error("a damaged object cannot be replaced: the store refuses", extra={"segment": row.id})
            return False
        return True

    def _is_aside(self, row: SegmentRow, size: int) -> bool:
        """Whether an earlier attempt has put these bytes aside."""
        folder = quarantine_key(row.object_key, 0).rsplit("/", 1)[0]
        return any(
            info.bytes == size and parse_quarantine_key(info.key) == (row.camera_id, row.id)
            for info in self._store.list(f"{folder}/")
        )

    def _replaced(self, connection: Connection, row: SegmentRow, now_ms: int) -> None:
        unmark(connection, row.id, now_ms)
        audit.append(connection, now_ms, self._actor, "store.replace", row.object_key, {"ids": [row.id]})
