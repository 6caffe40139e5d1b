"""Facts that change, kept beside the footage: what a rebuild needs besides the segments themselves. (I9)

Small JSON objects ``<node>/_catalog/journal/<yyyy>/<mm>/<dd>/<at_ms>-<seq>.json``, written when something changed:

- ``policy``: regions, cameras, classes, areas, holds (released ones too): a whole picture, the newest wins;
- ``gaps``: rows opened or closed since the object before; the newest row of an id wins;
- ``restamps``: runs that were moved to their true time since then; their files hold the time believed first;
- ``tombstones``: manifests of segments whose deletion began since then; they make "expired" out of "missing".

Signed heads of the audit log lie under ``<node>/_catalog/audit/…``. No secret, address or account is in these.

Belongs here: writing, reading, putting back into a catalog. Does not belong here: finding the segments
(`storage.rebuild`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Table, insert, or_, select, update

from config.units import MS_PER_S
from storage import restamp
from storage.audit import log as audit
from storage.catalog import facts
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.tables import area, area_camera, camera, gap, hold, hold_camera, region, retention_class, segment
from storage.keys import CATALOG_FOLDER
from storage.objects.base import ObjectStore

FORMAT = "tiergate-journal-1"
MARK = "journal.mark"  #: {"audit_seq", "gaps_ms", "policy"}: how far the journal has come
CHECKPOINT_MARK = "audit.checkpoint"  #: {"seq", "at_ms"} of the last signed head in the store
#: A head that does not move is signed again this often: it proves that nothing happened.
QUIET_CHECKPOINT_MS = 3_600_000
#: Rows are looked at again this far back: a transaction may commit later than the time it wrote.
_OVERLAP_MS = 300 * MS_PER_S
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Of a camera only what makes its footage understandable; addresses and accounts stay in the catalog's backup.
_CAMERA = ("id", "name", "tier", "region", "site_type", "recorded_by", "sharing", "secrecy", "created_ms", "removed_ms")
_POLICY: dict[str, tuple[Table, tuple[str, ...] | None]] = {
    "regions": (region, None),
    "cameras": (camera, _CAMERA),
    "classes": (retention_class, None),
    "areas": (area, None),
    "area_cameras": (area_camera, None),
    "holds": (hold, None),
    "hold_cameras": (hold_camera, None),
}
_TOMBSTONE = (
    "id", "camera_id", "stream", "run_id", "kind", "state", "start_ms", "end_ms", "start_wall_ns", "time_trust",
    "bytes", "object_key", "class_", "salvaged", "created_ms", "stored_ms", "condemned_ms", "deleted_ms",
    "delete_reason",
)  # fmt: skip


def journal_prefix(node: str) -> str:
    return f"{node}/{CATALOG_FOLDER}/journal/"


def checkpoint_prefix(node: str) -> str:
    return f"{node}/{CATALOG_FOLDER}/audit/"


def _key(prefix: str, at_ms: int, seq: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    return f"{prefix}{moment:%Y/%m/%d}/{at_ms:013d}-{seq:012d}.json"


def _rows(connection: Connection, table: Table, names: Iterable[str] | None) -> list[dict[str, Any]]:
    columns = [table.c[name] for name in names] if names is not None else list(table.c)
    found = connection.execute(select(*columns).order_by(*table.primary_key.columns))
    return [{column.key: value for column, value in zip(columns, row, strict=True)} for row in found]


# --- writing ---


@dataclass(slots=True)
class _Pending:
    mark: dict[str, Any]
    body: dict[str, Any] = field(default_factory=dict)


def _pending(connection: Connection, now_ms: int) -> _Pending:
    mark = facts.get(connection, MARK) or {"audit_seq": 0, "gaps_ms": 0, "policy": ""}
    found = _Pending(dict(mark))
    policy = {name: _rows(connection, table, names) for name, (table, names) in _POLICY.items()}
    digest = hashlib.sha256(audit.canonical_json(policy)).hexdigest()
    if digest != mark["policy"]:
        found.body["policy"] = policy
        found.mark["policy"] = digest
    since_ms = mark["gaps_ms"] - _OVERLAP_MS
    query = select(gap).where(or_(gap.c.detected_ms > since_ms, gap.c.to_ms > since_ms)).order_by(gap.c.id)
    gaps = [dict(row._mapping) for row in connection.execute(query)]
    digest = hashlib.sha256(audit.canonical_json(gaps)).hexdigest()
    if gaps and digest != mark.get("gaps"):
        found.body["gaps"] = gaps
        found.mark["gaps"] = digest
    found.mark["gaps_ms"] = now_ms
    entries = list(audit.entries(connection, int(mark["audit_seq"]), _ENTRIES))
    if entries:
        found.mark["audit_seq"] = entries[-1].seq
    moved = restamp.moves(entries)
    if moved:
        found.body["restamps"] = moved
    # Segments whose deletion began.
    ids = [gone for entry in entries if entry.action == "segment.delete" for gone in entry.details["ids"]]
    if ids:
        found.body["tombstones"] = _tombstones(connection, ids)
    return found


#: Audit entries looked at per object: keeps one object small and one read short.
_ENTRIES = 2_000


def _tombstones(connection: Connection, ids: list[str]) -> list[dict[str, Any]]:
    columns = [segment.c[name] for name in _TOMBSTONE]
    found: list[dict[str, Any]] = []
    for start in range(0, len(ids), CHUNK_ROWS):
        query = select(*columns).where(segment.c.id.in_(ids[start : start + CHUNK_ROWS])).order_by(segment.c.id)
        found += [dict(zip(_TOMBSTONE, row, strict=True)) for row in connection.execute(query)]
    return found


def write(catalog: Catalog, store: ObjectStore, node: str, now_ms: int) -> str | None:
    """Writes what changed since the last call; the key, or None when nothing did.

    A crash between object and mark writes the same facts again under another key: harmless, they are read in order.
    """
    found = catalog.read(lambda c: _pending(c, now_ms))
    key = None
    if found.body:
        key = _key(journal_prefix(node), now_ms, int(found.mark["audit_seq"]))
        body = {"format": FORMAT, "node": node, "at_ms": now_ms, **found.body}
        store.put_bytes(key, audit.canonical_json(body))
    if found.body or catalog.read(lambda c: (facts.get(c, MARK) or {}).get("audit_seq")) != found.mark["audit_seq"]:
        catalog.write(lambda c: facts.set(c, MARK, found.mark))
    return key


def write_checkpoint(catalog: Catalog, store: ObjectStore, node: str, private_key: bytes, now_ms: int) -> str | None:
    """Puts a signed head of the audit log into the store; None when the head has not moved since the last hour's."""

    def read(connection: Connection) -> audit.Checkpoint | None:
        last = facts.get(connection, CHECKPOINT_MARK)
        seq, _ = audit.head(connection)
        if last is not None and last["seq"] == seq and 0 <= now_ms - last["at_ms"] < QUIET_CHECKPOINT_MS:
            return None
        return audit.checkpoint(connection, private_key, now_ms)

    made = catalog.read(read)
    if made is None:
        return None
    key = _key(checkpoint_prefix(node), now_ms, made.seq)
    store.put_bytes(key, audit.canonical_json(made.as_json()))
    catalog.write(lambda c: facts.set(c, CHECKPOINT_MARK, {"seq": made.seq, "at_ms": now_ms}))
    return key


# --- reading ---


def read_checkpoint(store: ObjectStore, node: str, at_ms: int, seq: int) -> audit.Checkpoint:
    """The signed head that was written then. Raises media.object_missing, and ValueError for an object that is none."""
    return audit.Checkpoint.from_json(json.loads(store.read(_key(checkpoint_prefix(node), at_ms, seq))))


def read_checkpoints(store: ObjectStore, node: str) -> Iterator[audit.Checkpoint]:
    """All signed heads in the store, oldest first. Raises ValueError for an object that is none."""
    for found in store.list(checkpoint_prefix(node)):
        yield audit.Checkpoint.from_json(json.loads(store.read(found.key)))


@dataclass(slots=True)
class Journal:
    """What the journal of one node says, merged."""

    policy: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    gaps: dict[str, dict[str, Any]] = field(default_factory=dict)  #: by id
    tombstones: dict[str, dict[str, Any]] = field(default_factory=dict)  #: by segment id
    restamps: dict[str, int] = field(default_factory=dict)  #: run → milliseconds to add
    objects: int = 0
    unreadable: list[str] = field(default_factory=list)  #: keys; the others are used all the same


def read(store: ObjectStore, node: str) -> Journal:
    merged = Journal()
    for found in store.list(journal_prefix(node)):
        try:
            body = json.loads(store.read(found.key))
            if body["format"] != FORMAT:
                raise ValueError("unknown format")
        except (ValueError, KeyError, TypeError):
            merged.unreadable.append(found.key)
            continue
        merged.objects += 1
        merged.policy = body.get("policy", merged.policy)
        merged.gaps |= {row["id"]: row for row in body.get("gaps", ())}
        merged.tombstones |= {row["id"]: row for row in body.get("tombstones", ())}
        merged.restamps |= body.get("restamps", {})
    return merged


@dataclass(slots=True)
class Restored:
    cameras: int = 0
    holds: int = 0
    areas: int = 0
    gaps: int = 0
    restamped: int = 0
    tombstones: int = 0


def restore_policy(catalog: Catalog, found: Journal, now_ms: int) -> Restored:
    """Puts the journal's facts into a catalog that lacks them; rows that are there stay as they are.

    Call it *before* the segments are put back: a sweep that knew them without their holds and classes would delete what
    must stay. Cameras come back disabled and without streams: enough to see their footage, not to record.
    """
    done = Restored()

    def policy(connection: Connection) -> None:
        for row in found.policy.get("classes", ()):
            values = {k: v for k, v in row.items() if k != "name"}
            connection.execute(update(retention_class).where(retention_class.c.name == row["name"]).values(**values))
        regions = found.policy.get("regions", [])
        if _insert_missing(connection, region, [row | {"parent": None} for row in regions]):
            for row in regions:  # parents may stand behind their children
                connection.execute(
                    update(region)
                    .where(region.c.code == row["code"], region.c.parent.is_(None))
                    .values(parent=row["parent"])
                )
        made = {"enabled": False, "changed_ms": now_ms}
        done.cameras = _insert_missing(connection, camera, [row | made for row in found.policy.get("cameras", ())])
        done.areas = _insert_missing(connection, area, found.policy.get("areas", []))
        _insert_missing(connection, area_camera, found.policy.get("area_cameras", []))
        done.holds = _insert_missing(connection, hold, found.policy.get("holds", []))
        _insert_missing(connection, hold_camera, found.policy.get("hold_cameras", []))

    catalog.write(policy)
    done.gaps = _insert_chunks(catalog, gap, list(found.gaps.values()))
    return done


def restore_restamps(catalog: Catalog, found: Journal) -> int:
    """Footage recorded under a wrong clock goes to its true time again. Call it *after* the segments are put back."""
    runs, moved = list(found.restamps.items()), 0
    for start in range(0, len(runs), CHUNK_ROWS):
        moved += catalog.write(partial(restamp.move_again, found=dict(runs[start : start + CHUNK_ROWS])))
    return moved


def restore_tombstones(catalog: Catalog, found: Journal) -> int:
    """Manifests of footage that is gone. Call it *after* the segments are put back: one whose object is still there
    stays footage, and the sweep deletes it again."""
    return _insert_chunks(catalog, segment, list(_dead(found)))


def _insert_chunks(catalog: Catalog, table: Table, rows: list[dict[str, Any]]) -> int:
    added = 0
    for start in range(0, len(rows), CHUNK_ROWS):
        added += catalog.write(partial(_insert_missing, table=table, rows=rows[start : start + CHUNK_ROWS]))
    return added


def _dead(found: Journal) -> Iterator[dict[str, Any]]:
    """Tombstones as rows: of bytes that are gone only the manifest is known."""
    for row in found.tombstones.values():
        blank = {"sha256": bytes(32), "fragments": b"", "init_bytes": 0, "volume": None, "lease_id": None}
        yield {**row, **blank, "state": "deleted"}


def _insert_missing(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
    keys = [column.key for column in table.primary_key.columns]
    first = table.c[keys[0]]
    query = select(*(table.c[key] for key in keys)).where(first.in_([row[keys[0]] for row in rows]))
    known = {tuple(row) for row in connection.execute(query)}
    fresh = [row for row in rows if tuple(row[key] for key in keys) not in known]
    if fresh:
        connection.execute(insert(table), fresh)
    return len(fresh)
