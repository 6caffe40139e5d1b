"""Every object of one store brought into another, whole and verified; nothing is taken from the old one. (I1, I3)

A copy is read once, hashed on the way, put under its own key (`put_file` verifies what the new store has) and never
again: an object that the new store has with as many bytes was verified when it came. So the work may be killed and
begun anew at any moment, and may run beside a node that records: segments do not change, new ones come with the next
round, and what the sweep deletes meanwhile is found by `left_over`. A disk that is going is a reason to move: what the
old store cannot give while it gives other objects is named and passed over, unless a second copy of held footage has it
whole: that takes its place, as it does of what the old store has lost, or has not as it was recorded.

Belongs here: copying and comparing. Does not belong here: which store the node uses (`gateway.ops.store_move`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

from sqlalchemy import Connection

from config.errors import TiergateError
from storage import damage
from storage.audit import log as audit
from storage.catalog import segments
from storage.catalog.engine import Catalog
from storage.catalog.segments import SegmentRow
from storage.keys import parse_segment_key
from storage.objects.base import ObjectInfo, ObjectStore, check_key
from storage.objects.evidence import EvidenceStore
from storage.patience import Patience, is_unreadable
from storage.scratch import nameless

_BATCH = 200
_NAMED = 100  #: keys of one kind that a report names


@dataclass(slots=True)
class MoveReport:
    objects: int = 0  #: of the old store
    copied: int = 0
    copied_bytes: int = 0
    there: int = 0  #: were in the new store already
    verified: int = 0  #: read again from the new store
    vanished: int = 0  #: deleted from the old store while they were copied
    damaged: list[str] = field(default_factory=list)  #: not what their rows say; copied as they are
    wrong: list[str] = field(default_factory=list)  #: the new store has, or gives, other bytes: it cannot be used so
    unreadable: list[str] = field(default_factory=list)  #: the old store does not give them; no whole copy was made
    foreign: int = 0  #: keys that no store of ours would take; not copied
    from_evidence: int = 0  #: taken from second copies, for the old store did not have them whole
    without_copy: list[str] = field(default_factory=list)  #: rows whose object no store has

    @property
    def whole(self) -> bool:
        return not self.wrong

    def as_json(self) -> dict[str, object]:
        return {
            "objects": self.objects,
            "copied": self.copied,
            "copied_bytes": self.copied_bytes,
            "there": self.there,
            "verified": self.verified,
            "vanished": self.vanished,
            "foreign": self.foreign,
            "from_evidence": self.from_evidence,
            "damaged": self.damaged[:_NAMED],
            "wrong": self.wrong[:_NAMED],
            "unreadable": self.unreadable[:_NAMED],
            "without_copy": self.without_copy[:_NAMED],
        }


@dataclass(frozen=True, slots=True)
class _Done:
    fate: str  #: copied, there, vanished, wrong, unreadable
    bytes: int = 0
    damaged: bool = False
    verified: bool = False
    from_evidence: bool = False


class Mover:
    def __init__(
        self,
        catalog: Catalog,
        old: ObjectStore,
        new: ObjectStore,
        scratch: Path,
        workers: int = 4,
        progress: Callable[[MoveReport], None] | None = None,
        evidence: EvidenceStore | None = None,
    ) -> None:
        """`scratch` is a folder for one object per worker, `evidence` has the second copies."""
        self._catalog = catalog
        self._old = old
        self._new = new
        self._scratch = scratch
        self._workers = workers
        self._progress = progress
        self._evidence = evidence
        self._patience = Patience(old)

    def copy(self, verify: bool = False) -> MoveReport:
        """One round over the old store; with `verify` each copy is read again. Raises media.store_unavailable, of the
        old one when it gives nothing at all."""
        report = MoveReport()
        objects = self._old.list()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="move") as pool:
            while batch := list(islice(self._ours(objects, report), _BATCH)):
                self._patience.expect(info.key for info in batch)
                one = partial(self._one, rows=self._rows(batch), verify=verify)
                for info, done in zip(batch, pool.map(one, batch), strict=True):
                    _count(report, info, done)
                if self._progress is not None:
                    self._progress(report)
        return report

    def compare(self, report: MoveReport) -> None:
        """Every row whose object the old store has, and gives, must have it in the new one; of others that have a
        second copy, it is brought."""
        present, unreadable = {info.key for info in self._new.list()}, set(report.unreadable)
        after = ""
        states = ("stored", "condemned")
        while page := self._catalog.read(partial(segments.all_segments, states=states, after_id=after, limit=_BATCH)):
            after = page[-1].id
            for row in page:
                key = row.object_key
                if key in present:
                    continue
                if self._bring_second(row):
                    report.from_evidence += 1
                    if key in unreadable:
                        report.unreadable.remove(key)
                elif key not in unreadable:
                    (report.wrong if self._old.head(key) is not None else report.without_copy).append(key)

    def left_over(self, now_ms: int, actor: str) -> int:
        """Copies of footage that the sweep deleted from the old store after they were made: they are condemned again,
        and the next sweep asks holds and plan once more."""
        present = {info.key for info in self._old.list()}
        ids = [
            parsed.segment_id
            for info in self._new.list()
            if info.key not in present and (parsed := parse_segment_key(info.key)) is not None
        ]
        moved = 0
        for start in range(0, len(ids), _BATCH):
            change = partial(_condemn, ids=ids[start : start + _BATCH], now_ms=now_ms, actor=actor)
            moved += self._catalog.write(change)
        return moved

    # --- one object ---

    def _ours(self, objects: Iterator[ObjectInfo], report: MoveReport) -> Iterator[ObjectInfo]:
        for info in objects:
            try:
                check_key(info.key)
            except TiergateError:
                report.foreign += 1
            else:
                yield info

    def _rows(self, batch: list[ObjectInfo]) -> dict[str, SegmentRow]:
        ids = [parsed.segment_id for info in batch if (parsed := parse_segment_key(info.key)) is not None]
        found = self._catalog.read(lambda c: segments.segments_of(c, ids))
        return {row.object_key: row for row in found}

    def _one(self, info: ObjectInfo, rows: dict[str, SegmentRow], verify: bool) -> _Done:
        try:
            return self._moved(info, rows.get(info.key), verify)
        except TiergateError as exc:
            if not is_unreadable(exc):
                raise
            return _Done("unreadable")

    def _moved(self, info: ObjectInfo, row: SegmentRow | None, verify: bool) -> _Done:
        there = self._new.head(info.key)
        if there is None:
            done = self._bring(info.key, row)
        elif there.bytes != info.bytes or (there.sha256 is not None and row is not None and there.sha256 != row.sha256):
            # Either the copy or the original is not what was recorded. The original's digest decides.
            done = _Done("there") if self._alike(info.key, row) else _Done("wrong")
        else:
            done = _Done("there")
        if verify and done.fate in ("copied", "there"):
            fate = done.fate if self._alike(info.key, row) else "wrong"
            done = replace(done, fate=fate, verified=True)
        return done

    def _bring(self, key: str, row: SegmentRow | None) -> _Done:
        with nameless(self._scratch) as (file, path):
            try:
                digest, size = self._patience.ask(key, partial(self._carry, key, file))
            except TiergateError as exc:
                if exc.reason.code == "media.object_missing":
                    return _Done("vanished")
                raise
            if row is not None and digest != row.sha256 and self._bring_second(row):
                return _Done("copied", row.bytes, from_evidence=True)
            try:
                self._new.put_file(key, path, digest, size)
            except TiergateError as exc:
                if exc.reason.code == "media.object_exists":
                    return _Done("wrong")
                raise
        return _Done("copied", size, damaged=row is not None and digest != row.sha256)

    def _bring_second(self, row: SegmentRow) -> bool:
        """Whether there was a whole one."""
        with nameless(self._scratch) as (file, path):
            if self._evidence is None or not damage.fetch_whole(self._evidence, row, file):
                return False
            self._new.put_file(row.object_key, path, row.sha256, row.bytes)
        return True

    def _carry(self, key: str, file: IO[bytes]) -> tuple[bytes, int]:
        """Digest and size of the object, which `file` then holds, and nothing else, however often it is begun."""
        file.seek(0)
        file.truncate()
        digest, size = hashlib.sha256(), 0
        for piece in self._old.iter_range(key):
            digest.update(piece)
            file.write(piece)
            size += len(piece)
        file.flush()
        return digest.digest(), size

    def _alike(self, key: str, row: SegmentRow | None) -> bool:
        """Whether the copy is what was recorded, or, of what is damaged or no segment, what the original is."""
        copy = damage.digest_of(self._new, key)
        if row is not None and copy == row.sha256:
            return True
        return copy == self._patience.ask(key, partial(damage.digest_of, self._old, key))


def _count(report: MoveReport, info: ObjectInfo, done: _Done) -> None:
    report.objects += 1
    report.copied += done.fate == "copied"
    report.there += done.fate == "there"
    report.vanished += done.fate == "vanished"
    report.copied_bytes += done.bytes
    report.verified += done.verified
    report.from_evidence += done.from_evidence
    if done.damaged:
        report.damaged.append(info.key)
    if done.fate == "wrong":
        report.wrong.append(info.key)
    if done.fate == "unreadable":
        report.unreadable.append(info.key)


def _condemn(connection: Connection, ids: list[str], now_ms: int, actor: str) -> int:
    gone = [id_ for id_, state in segments.existing(connection, ids).items() if state == "deleted"]
    moved = segments.set_state(connection, gone, ["deleted"], "condemned", deleted_ms=None)
    if moved:
        audit.append(connection, now_ms, actor, "segment.condemn", f"{len(moved)} segments", {"ids": moved})
    return len(moved)
