"""A restored catalog and the store that went on without it: what happened after the backup is taken from the store.

In this order, so that nothing is known for a moment without what protects it: holds, classes and areas from the
journal; requests and changes of classes that waited at the backup, which end unless the journal says that they still
wait; rows for objects that the backup did not know yet, and their true times; deletions that the journal remembers;
spooled rows whose object arrived. What then has neither object nor spool copy is reported, and marked by the same two
looks an hour apart as always (`storage.check.Repairer`, FAULTS B13): unknown means keep.

Belongs here: agreeing after a restore. Does not belong here: the backup file (`storage.backup`), rows of objects
(`storage.rebuild`), the journal's format (`storage.journal`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, update

from config.errors import TiergateError
from storage import approvals, check, class_changes, evidence_listing, journal, rebuild, volume
from storage.audit import log as audit
from storage.audit import signed
from storage.catalog import facts, segments
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import segment
from storage.check import CheckReport, Level
from storage.class_changes import Change
from storage.objects.base import ObjectStore
from storage.patience import Patience, is_unreadable
from storage.rebuild import RebuildReport
from storage.spools import Volumes


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What the store knew better than the backup."""

    journal: journal.Restored
    ended: int  #: requests for a second person that were decided after the backup
    dropped: tuple[Change, ...]  #: waited at the backup, and may have been taken back since: asked for again
    rebuilt: RebuildReport
    deleted: int  #: rows whose deletion came after the backup
    arrived: int  #: spooled rows whose object is in the store
    check: CheckReport
    unread: tuple[str, ...]  #: keys of the journal that nobody can read: of holds that only they told nothing is known

    def as_json(self) -> dict[str, Any]:
        return {
            "objects": self.check.objects,
            "adopted": self.rebuilt.added,
            "unreadable": len(self.rebuilt.unreadable),
            "deleted_since": self.deleted,
            "arrived_since": self.arrived,
            "missing": len(self.check.of("missing")) + len(self.check.of("unspooled")),
            "journal": asdict(self.journal),
            "journal_unreadable": self.unread,
            "approvals_ended": self.ended,
        }


def take_over(connection: Connection, now_ms: int, actor: str, node_id: str, details: dict[str, Any]) -> None:
    """In the transaction that fills the catalog: the log goes on with an entry that names the restore. The new
    machine's spool is another volume."""
    volume.forget_folders(connection)
    facts.forget(connection, evidence_listing.LISTED)
    facts.forget(connection, journal.NUMBER)  # the lost catalog had given out higher ones
    audit.append(connection, now_ms, actor, signed.RESTORED, node_id, details)


def reconcile(
    catalog: Catalog, store: ObjectStore, spool: Volumes | None, node_id: str, now_ms: int, actor: str
) -> Reconciled:
    """May be repeated. Raises what the store raises; nothing is half done then that a second run does not do."""
    remembered = journal.read(store, node_id)
    policy = journal.restore_policy(catalog, remembered, now_ms)
    dropped, ended = settle(catalog, remembered, now_ms, actor)
    rebuilt = rebuild.rebuild(catalog, store, node_id, now_ms, actor)
    policy.kept = journal.restore_kept(catalog, store, remembered)
    policy.restamped = journal.restore_restamps(catalog, remembered)
    deleted = _delete_again(catalog, store, remembered.tombstones.values())
    policy.tombstones = journal.restore_tombstones(catalog, remembered)
    arrived = _arrived(catalog, store, now_ms)
    found = check.check(catalog, store, spool, now_ms, Level.SIZE)
    return Reconciled(policy, ended, tuple(dropped), rebuilt, deleted, arrived, found, tuple(remembered.unreadable))


def settle(catalog: Catalog, remembered: journal.Journal, now_ms: int, actor: str) -> tuple[list[Change], int]:
    """What waited at the backup waits no more, unless the journal says so: (dropped changes of classes, requests that
    were decided)."""
    carried = [Change(**row) for row in remembered.policy.get("waiting", ())]

    def write(connection: Connection) -> tuple[list[Change], int]:
        dropped = class_changes.drop(connection, carried, now_ms, actor)
        return dropped, approvals.end_decided(connection, remembered.decided, now_ms, actor)

    return catalog.write(write)


def _delete_again(catalog: Catalog, store: ObjectStore, tombstones: Iterable[dict[str, Any]]) -> int:
    """Rows that the backup has as footage and the journal as deleted, where the object is really gone."""
    done, patience = 0, Patience(store)
    stones = list(tombstones)
    for start in range(0, len(stones), CHUNK_ROWS):
        chunk = {row["id"]: row for row in stones[start : start + CHUNK_ROWS]}
        known = catalog.read(partial(segments.existing, ids=list(chunk)))
        gone = [
            chunk[id_]
            for id_, state in known.items()
            if state not in ("deleted", "lost") and _is_gone(store, patience, chunk[id_]["object_key"])
        ]
        catalog.write(partial(_bury, rows=gone))
        done += len(gone)
    return done


def _is_gone(store: ObjectStore, patience: Patience, key: str) -> bool:
    """An object that alone cannot be looked at is not gone."""
    try:
        return patience.ask(key, partial(store.head, key)) is None
    except TiergateError as exc:
        if is_unreadable(exc):
            return False
        raise


def _bury(connection: Connection, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        values = {name: row[name] for name in ("condemned_ms", "deleted_ms", "delete_reason")}
        state = "lost" if row["state"] == "lost" else "deleted"  # footage that was given up never expired
        connection.execute(update(segment).where(segment.c.id == row["id"]).values(state=state, volume=None, **values))


def _arrived(catalog: Catalog, store: ObjectStore, now_ms: int) -> int:
    """Spooled in the backup, stored since: the old machine's spool copy is not needed any more."""
    done, after, patience = 0, "", Patience(store)
    while page := catalog.read(partial(_spooled_after, after_id=after)):
        after = page[-1].id
        there = [row.id for row in page if _is_whole(store, patience, row)]
        done += len(catalog.write(partial(_store, ids=there, now_ms=now_ms)))
    return done


def _is_whole(store: ObjectStore, patience: Patience, row: SegmentRow) -> bool:
    try:
        found = patience.ask(row.object_key, partial(store.head, row.object_key))
    except TiergateError as exc:
        if is_unreadable(exc):
            return False
        raise
    return found is not None and found.bytes == row.bytes and found.sha256 in (None, row.sha256)


def _spooled_after(connection: Connection, after_id: str) -> list[SegmentRow]:
    return segments.all_segments(connection, ("spooled",), after_id, CHUNK_ROWS)


def _store(connection: Connection, ids: list[str], now_ms: int) -> list[str]:
    moved = segments.mark_stored(connection, ids, now_ms)
    segments.mark_freed(connection, moved)
    return moved
