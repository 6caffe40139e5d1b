"""What was put aside ends with its source: under the same clock, class and holds, in the same sweep. (I3, I4, I11)

Two kinds of bytes stand apart from what rows and listings of footage speak of: damaged objects that a whole copy has
replaced (``<node>/_quarantine/`` of the store, `storage.damage`), and files of the spool that salvage copied or did not
understand (``<spool>/quarantine/``, `storage.salvage`). Both show pictures. Each names its camera and segment: it goes
when the row of that segment is deleted or lost, its time and the grace are over, and the plan, asked again, removes it.

A copy in the spool that is not what its row says never becomes an object (`storage.uploader`). It plays in part and
stays where it is until its time and the grace are over; then its row is given up as lost, it is put aside, and goes.

One without a row is footage of unknown date: it ages from when a sweep on a proven clock first saw it, and every hold
and class of its camera from before then counts. What does not say whose it is stays, and is counted (unknown is kept).

Belongs here: finding, judging and removing such bytes. Does not belong here: when a sweep may run (`storage.sweeper`).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TypedDict

from sqlalchemy import Connection

from config.ids import is_ulid
from config.reasons import Reason
from storage import damage, questions
from storage.audit import log as audit
from storage.catalog import facts, retention_rows, segments
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.segments import SegmentRow
from storage.keys import QUARANTINE_FOLDER, parse_quarantine_key
from storage.objects.base import ObjectStore
from storage.retention import Candidate, Planner
from storage.spool import Spool
from storage.spools import Volumes

logger = logging.getLogger(__name__)

SEEN = "sweep.aside_seen"  #: fact: {name of a thing without a row: when a sweep on a proven clock first saw it}
#: fact: {place: {"count", "first": a name of them}} of what does not say whose it is, as of the last sweep
UNKNOWN = "sweep.aside_unknown"
_IN_STORE = "store"
_IN_SPOOL = re.compile(r"(?P<camera>[0-9A-Za-z]+)-(?P<ulid>[0-9A-Z]{26})\.[.0-9A-Za-z]+")
_GONE = ("deleted", "lost")


class Nameless(TypedDict):
    """What in one place does not say whose it is."""

    count: int
    first: str  #: the first of their names


@dataclass(frozen=True, slots=True)
class Thing:
    """One file or object."""

    place: str  #: `store`, or the id of a spool volume
    name: str
    source: tuple[str, str] | None  #: (camera, segment); None: it does not say
    remove: Callable[[], None]

    @property
    def mark(self) -> str:
        return f"{self.place}:{self.name}"


@dataclass(slots=True)
class AsideReport:
    deleted: int = 0  #: in a dry run: that would be
    unknown: int = 0  #: do not say whose they are; kept
    failed: int = 0


class Aside:
    """`store` is the node's own, `spool` its volumes; of one that is not there nothing is judged."""

    def __init__(self, store: ObjectStore, spool: Volumes, grace_ms: int, chunk: int = CHUNK_ROWS) -> None:
        self._store = store
        self._spool = spool
        self._grace_ms = grace_ms
        self._chunk = chunk

    def sweep(
        self,
        catalog: Catalog,
        planner_of: Callable[[Connection], Planner],
        stepped: Callable[[], Reason | None],
        actor: str,
        now_ms: int,
        dry_run: bool = False,
    ) -> AsideReport:
        """Removes what is over; `stepped` is asked in each deciding transaction, and ends it when the clock has moved.

        One thing or place that fails is counted and tried again at the next sweep (FAULTS B17).
        """
        report = AsideReport()
        self._give_up_copies(catalog, planner_of, stepped, actor, now_ms, dry_run, report)
        seen: dict[str, int] = catalog.read(lambda c: facts.get(c, SEEN)) or {}
        told: dict[str, Nameless] = catalog.read(lambda c: facts.get(c, UNKNOWN)) or {}
        kept, unknown = dict(seen), {}
        for place, listed in self._places():
            found: dict[str, int] = {}
            nameless: list[str] = []
            things = listed()
            try:
                while chunk := list(islice(things, self._chunk)):
                    nameless += [thing.name for thing in chunk if thing.source is None]
                    decide = partial(self._decide, chunk=chunk, planner_of=planner_of, now_ms=now_ms, seen=seen)
                    if dry_run:
                        report.deleted += len(catalog.read(decide)[0])
                        continue
                    write = partial(self._record, decide=decide, stepped=stepped, actor=actor, now_ms=now_ms)
                    over, fresh = catalog.write(write)
                    found |= fresh
                    self._remove(over, report)
            except Exception as exc:  # whatever a store or a disk answers: the other places are swept
                report.failed += 1
                logger.warning("cannot look at what was put aside", extra={"place": place, "problem": str(exc)})
                if place in told:
                    unknown[place] = told[place]  # as it was seen last
                continue
            finally:
                report.unknown += len(nameless)
            if nameless:
                unknown[place] = {"count": len(nameless), "first": min(nameless)}
            kept = {mark: at for mark, at in kept.items() if not mark.startswith(f"{place}:")} | found
        if not dry_run and kept != seen:
            catalog.write(lambda c: facts.set(c, SEEN, kept))
        if not dry_run and unknown != told:
            catalog.write(lambda c: facts.set(c, UNKNOWN, unknown))
        return report

    def _give_up_copies(
        self,
        catalog: Catalog,
        planner_of: Callable[[Connection], Planner],
        stepped: Callable[[], Reason | None],
        actor: str,
        now_ms: int,
        dry_run: bool,
        report: AsideReport,
    ) -> None:
        """Damaged copies whose time is over, out of the spool and among what was put aside. Of a volume that is not
        there nothing is judged, and nothing that the store has after all."""
        there = self._spool.present()
        ids = catalog.read(damage.marked_copies)
        for start in range(0, len(ids), self._chunk):
            chunk = ids[start : start + self._chunk]
            over = partial(self._copies_over, ids=chunk, volumes=there, planner_of=planner_of, now_ms=now_ms)
            if dry_run:
                report.deleted += len(catalog.read(over))
                continue
            try:
                absent = {row.id for row in catalog.read(over) if self._store.head(row.object_key) is None}
                give_up = partial(_give_up, over=over, absent=absent, stepped=stepped, actor=actor, now_ms=now_ms)
                for row in catalog.write(give_up):
                    spool = there[row.volume or ""]
                    questions.ask(spool.root, partial(_put_copy_aside, spool, row))
                    catalog.write(partial(segments.mark_freed, ids=[row.id]))
            except Exception as exc:  # whatever a store or a disk answers: tried again at the next sweep
                report.failed += 1
                logger.warning("cannot put a damaged copy aside", extra={"problem": str(exc)})

    def _copies_over(
        self,
        connection: Connection,
        ids: Sequence[str],
        volumes: Container[str],
        planner_of: Callable[[Connection], Planner],
        now_ms: int,
    ) -> list[SegmentRow]:
        planner = planner_of(connection)
        over = {row.id for row in retention_rows.segments_by_id(connection, ids) if self._is_over(row, planner, now_ms)}
        rows = (segments.segment_of(connection, id_) for id_ in ids if id_ in over)
        return [row for row in rows if row is not None and row.volume in volumes]

    def _places(self) -> Iterator[tuple[str, Callable[[], Iterator[Thing]]]]:
        yield _IN_STORE, self._in_store
        for volume_id, spool in self._spool.present().items():
            yield volume_id, partial(_on_volume, volume_id, spool)

    def _in_store(self) -> Iterator[Thing]:
        for info in self._store.list(f"{self._spool.node_id}/{QUARANTINE_FOLDER}/"):
            yield Thing(_IN_STORE, info.key, parse_quarantine_key(info.key), partial(self._store.delete, info.key))

    def _decide(
        self,
        connection: Connection,
        chunk: Iterable[Thing],
        planner_of: Callable[[Connection], Planner],
        now_ms: int,
        seen: dict[str, int],
    ) -> tuple[list[Thing], dict[str, int]]:
        """(what is over, since when each of the others that has no row is known)."""
        planner = planner_of(connection)
        ids = [thing.source[1] for thing in chunk if thing.source is not None]
        rows = {row.id: row for row in retention_rows.segments_by_id(connection, ids)}
        over: list[Thing] = []
        known: dict[str, int] = {}
        for thing in chunk:
            if thing.source is None:
                continue
            camera_id, segment_id = thing.source
            row = rows.get(segment_id)
            if row is None:
                since_ms = min(seen.get(thing.mark, now_ms), now_ms)
                row = _undated(camera_id, segment_id, since_ms)
                known[thing.mark] = since_ms
            if row.state in _GONE and self._is_over(row, planner, now_ms):
                over.append(thing)
                known.pop(thing.mark, None)
        return over, known

    def _is_over(self, source: Candidate, planner: Planner, now_ms: int) -> bool:
        (verdict,) = planner.plan([replace(source, state="condemned")], now_ms)
        until_ms = verdict.keep_until_ms
        return not verdict.keep and until_ms is not None and now_ms >= until_ms + self._grace_ms

    @staticmethod
    def _record(
        connection: Connection,
        decide: Callable[[Connection], tuple[list[Thing], dict[str, int]]],
        stepped: Callable[[], Reason | None],
        actor: str,
        now_ms: int,
    ) -> tuple[list[Thing], dict[str, int]]:
        over, known = decide(connection)
        if over and stepped() is not None:
            return [], known
        if over:
            names = [thing.name for thing in over]
            audit.append(connection, now_ms, actor, "aside.delete", f"{len(over)} files", {"names": names})
        return over, known

    @staticmethod
    def _remove(over: Iterable[Thing], report: AsideReport) -> None:
        for thing in over:
            try:
                thing.remove()
            except Exception as exc:
                report.failed += 1
                logger.warning("delete failed", extra={"aside": thing.name, "problem": type(exc).__name__})
            else:
                report.deleted += 1


def _give_up(
    connection: Connection,
    over: Callable[[Connection], list[SegmentRow]],
    absent: Container[str],
    stepped: Callable[[], Reason | None],
    actor: str,
    now_ms: int,
) -> list[SegmentRow]:
    """Whose copy is to be put aside: in the transaction that asks clock, holds and policies again."""
    rows = [row for row in over(connection) if row.id in absent]
    if not rows or stepped() is not None:
        return []
    gone = segments.set_state(connection, [row.id for row in rows], ["spooled"], "lost")
    if gone:
        details = {"from": "spooled", "to": "lost", "ids": gone}
        audit.append(connection, now_ms, actor, "store.repair", f"{len(gone)} segments", details)
    return rows


def _put_copy_aside(spool: Spool, row: SegmentRow) -> None:
    path = spool.path_of(row.camera_id, row.id)
    if path.exists():
        spool.quarantine(path)


def _undated(camera_id: str, segment_id: str, since_ms: int) -> Candidate:
    """A source that no row tells of: nobody vouches for when it was."""
    return Candidate(
        segment_id, camera_id, 0, since_ms, 0, "own", "lost", "default", date_unknown=True, aged_from_ms=since_ms
    )


def _on_volume(volume_id: str, spool: Spool) -> Iterator[Thing]:
    for path in questions.ask(spool.root, lambda: list(spool.quarantined())):
        match = _IN_SPOOL.fullmatch(path.name)
        source = (match["camera"], match["ulid"]) if match is not None and is_ulid(match["ulid"]) else None
        yield Thing(
            volume_id, path.name, source, partial(questions.ask, spool.root, partial(spool.drop_quarantined, path))
        )
