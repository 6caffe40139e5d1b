"""Facts that change, kept beside the footage: what a rebuild needs besides the segments themselves. (I9)

Small JSON objects ``<node>/_catalog/journal/<yyyy>/<mm>/<dd>/<at_ms>-<seq>.json``, written when something changed:

- ``policy``: regions, cameras, classes, areas, attestations, holds (released ones too): a whole picture, the newest
  wins;
- ``gaps``: rows opened or closed since the object before; the newest row of an id wins;
- ``tombstones``: manifests of segments whose deletion began since then, or that were given up as lost; they make
  "expired" out of "missing";
- ``runs``, ``ended``: runs that began, and those that ended, since then;
- ``kept``: of segments that the store has, what they cannot know of themselves: where they ended by the wall clock,
  whether they were salvaged, when their row was made and when they were stored. Each once, a quarter of an hour late;
- ``restamps``: runs that were moved to their true time since then; their files, and ``kept``, hold the time believed
  first.

Signed heads of the audit log lie under ``<node>/_catalog/audit/…``. No secret, address or account is in these.

Belongs here: writing, reading, putting back into a catalog. Does not belong here: finding the segments
(`storage.rebuild`).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import BigInteger, Connection, Table, bindparam, func, insert, or_, select, update

from config.ids import ulid
from config.units import DAY_MS, MS_PER_S, NS_PER_MS
from storage import restamp
from storage.audit import log as audit
from storage.catalog import facts, segments
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.tables import (
    area,
    area_camera,
    attestation,
    camera,
    gap,
    hold,
    hold_camera,
    region,
    retention_class,
    run,
    segment,
)
from storage.keys import CATALOG_FOLDER
from storage.objects.base import ObjectStore

FORMAT = "tiergate-journal-1"
#: {"audit_seq", "gaps_ms", "policy", "gaps", "run", "open", "kept", "kept_ms"}: how far the journal has come
MARK = "journal.mark"
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
    "attestations": (attestation, None),
    "holds": (hold, None),
    "hold_cameras": (hold_camera, None),
}
_TOMBSTONE = (
    "id", "camera_id", "stream", "run_id", "kind", "state", "start_ms", "end_ms", "start_wall_ns", "time_trust",
    "bytes", "object_key", "class_", "salvaged", "created_ms", "stored_ms", "condemned_ms", "deleted_ms",
    "delete_reason", "sha256", "init_bytes",
)  # fmt: skip


#: A segment has its row at the latest so long after its id was made, and a run within a moment.
_ROW_LATE_MS, _RUN_LATE_MS = segments.SEGMENT_MAX_MS, 60 * MS_PER_S
#: A segment that waits for the store longer than this is passed over: the others shall not wait for it.
_STORE_LATE_MS = DAY_MS
#: Segments per object; a node that is upgraded catches up by so many a minute.
_KEPT = 5_000
_KEPT_EVERY_MS = 600 * MS_PER_S


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
    _runs_since(connection, mark, found, now_ms)
    _kept_since(connection, mark, found, now_ms)
    entries = list(audit.entries(connection, int(mark["audit_seq"]), _ENTRIES))
    if entries:
        found.mark["audit_seq"] = entries[-1].seq
    moved = restamp.moves(entries)
    if moved:
        found.body["restamps"] = moved
    # Segments whose deletion began, or that were given up.
    ids = [id_ for entry in entries if _ends(entry) for id_ in entry.details["ids"]]
    if ids:
        found.body["tombstones"] = _tombstones(connection, ids)
    return found


#: Audit entries looked at per object: keeps one object small and one read short.
_ENTRIES = 2_000


def _ends(entry: audit.Entry) -> bool:
    return entry.action == "segment.delete" or (entry.action == "store.repair" and entry.details.get("to") == "lost")


def _first_id(at_ms: int) -> str:
    """No id made at or after `at_ms` is smaller."""
    return ulid(max(0, at_ms), bytes(10))


def _runs_since(connection: Connection, mark: dict[str, Any], found: _Pending, now_ms: int) -> None:
    before = _first_id(now_ms - _RUN_LATE_MS)
    query = select(run).where(run.c.id > mark.get("run", ""), run.c.id < before).order_by(run.c.id).limit(CHUNK_ROWS)
    fresh = [dict(row._mapping) for row in connection.execute(query)]
    if fresh:
        found.body["runs"] = [{**row, "init": base64.b64encode(row["init"]).decode()} for row in fresh]
        found.mark["run"] = fresh[-1]["id"]
    was_open = mark.get("open", [])
    ended: list[list[Any]] = []
    for start in range(0, len(was_open), CHUNK_ROWS):
        asked = select(run.c.id, run.c.ended_ms, run.c.end_reason).where(
            run.c.id.in_(was_open[start : start + CHUNK_ROWS]), run.c.ended_ms.is_not(None)
        )
        ended += [list(row) for row in connection.execute(asked)]
    if ended:
        found.body["ended"] = ended
    over = {row[0] for row in ended}
    still = [id_ for id_ in was_open if id_ not in over]
    now_open = still + [row["id"] for row in fresh if row["ended_ms"] is None]
    if now_open != was_open:
        found.mark["open"] = now_open


#: By the clock that dated the file, also after a segment was moved to its true time; `_tell` moves it again.
_END_BELIEVED = segment.c.end_ms - segment.c.start_ms + segment.c.start_wall_ns // NS_PER_MS


def _kept_since(connection: Connection, mark: dict[str, Any], found: _Pending, now_ms: int) -> None:
    if 0 <= now_ms - mark.get("kept_ms", 0) < _KEPT_EVERY_MS:
        return
    late = _first_id(now_ms - _STORE_LATE_MS)
    waiting = connection.execute(
        select(func.min(segment.c.id)).where(segment.c.state == "spooled", segment.c.id > late)
    ).scalar_one()
    before = min(_first_id(now_ms - _ROW_LATE_MS), waiting or "~")
    query = (
        select(segment.c.id, _END_BELIEVED, segment.c.salvaged, segment.c.created_ms, segment.c.stored_ms)
        .where(segment.c.id > mark.get("kept", ""), segment.c.id < before, segment.c.state.in_(("stored", "condemned")))
        .order_by(segment.c.id)
        .limit(_KEPT)
    )
    kept = [[row[0], row[1], int(row[2]), row[3], row[4]] for row in connection.execute(query)]
    if kept:
        found.body["kept"] = kept
        found.mark["kept"] = kept[-1][0]
        found.mark["kept_ms"] = now_ms if len(kept) < _KEPT else 0


def _tombstones(connection: Connection, ids: list[str]) -> list[dict[str, Any]]:
    columns = [segment.c[name] for name in _TOMBSTONE]
    found: list[dict[str, Any]] = []
    for start in range(0, len(ids), CHUNK_ROWS):
        query = select(*columns).where(segment.c.id.in_(ids[start : start + CHUNK_ROWS])).order_by(segment.c.id)
        found += [dict(zip(_TOMBSTONE, row, strict=True)) for row in connection.execute(query)]
    return [{**row, "sha256": row["sha256"].hex()} for row in found]


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
    return audit.Checkpoint.from_text(store.read(_key(checkpoint_prefix(node), at_ms, seq)))


def checkpoint_at(store: ObjectStore, key: str) -> audit.Checkpoint | None:
    """None for an object that is no signed head."""
    try:
        return audit.Checkpoint.from_text(store.read(key))
    except ValueError:
        return None


def read_checkpoints(store: ObjectStore, node: str) -> Iterator[audit.Checkpoint]:
    """All signed heads in the store, oldest first. Raises ValueError for an object that is none."""
    for found in store.list(checkpoint_prefix(node)):
        yield audit.Checkpoint.from_text(store.read(found.key))


@dataclass(slots=True)
class Journal:
    """What the journal of one node says, merged."""

    policy: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    gaps: dict[str, dict[str, Any]] = field(default_factory=dict)  #: by id
    tombstones: dict[str, dict[str, Any]] = field(default_factory=dict)  #: by segment id
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)  #: by id, with their ends
    kept: list[str] = field(default_factory=list)  #: keys of objects that tell of segments in the store
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
        for row in body.get("runs", ()):
            merged.runs[row["id"]] = {**row, "init": base64.b64decode(row["init"])}
        for id_, ended_ms, reason in body.get("ended", ()):
            if id_ in merged.runs:
                merged.runs[id_] |= {"ended_ms": ended_ms, "end_reason": reason}
        if body.get("kept"):
            merged.kept.append(found.key)
        merged.restamps |= body.get("restamps", {})
    return merged


@dataclass(slots=True)
class Restored:
    cameras: int = 0
    holds: int = 0
    areas: int = 0
    gaps: int = 0
    runs: int = 0
    restamped: int = 0
    tombstones: int = 0
    kept: int = 0  #: segments of which the journal told what they do not know of themselves


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
        _insert_missing(connection, attestation, found.policy.get("attestations", []))
        done.holds = _insert_missing(connection, hold, found.policy.get("holds", []))
        _insert_missing(connection, hold_camera, found.policy.get("hold_cameras", []))

    catalog.write(policy)
    done.runs = _insert_chunks(catalog, run, list(found.runs.values()))
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


def restore_kept(catalog: Catalog, store: ObjectStore, found: Journal) -> int:
    """What segments in the store do not know of themselves. Call it *after* they are put back; how many it was.

    One journal object at a time: of a million segments the whole would not fit into a small machine's memory.
    """
    told = 0
    for key in found.kept:
        rows = json.loads(store.read(key))["kept"]
        for start in range(0, len(rows), CHUNK_ROWS):
            told += catalog.write(partial(_tell, rows=rows[start : start + CHUNK_ROWS]))
    return told


def _tell(connection: Connection, rows: list[list[Any]]) -> int:
    """A row that has been moved to its true time already ends as far from its believed end as it begins from its
    believed start."""
    moved_ms = segment.c.start_ms - segment.c.start_wall_ns // NS_PER_MS
    done = connection.execute(
        update(segment)
        .where(segment.c.id == bindparam("of"), segment.c.state == "stored")
        .values(
            end_ms=bindparam("ended", type_=BigInteger) + moved_ms, salvaged=bindparam("torn"),
            created_ms=bindparam("made"), stored_ms=bindparam("kept"),
        ),
        [{"of": id_, "ended": end, "torn": bool(torn), "made": made, "kept": at} for id_, end, torn, made, at in rows],
    )  # fmt: skip
    return done.rowcount


def _insert_chunks(catalog: Catalog, table: Table, rows: list[dict[str, Any]]) -> int:
    added = 0
    for start in range(0, len(rows), CHUNK_ROWS):
        added += catalog.write(partial(_insert_missing, table=table, rows=rows[start : start + CHUNK_ROWS]))
    return added


def _dead(found: Journal) -> Iterator[dict[str, Any]]:
    """Tombstones as rows: of bytes that are gone only the manifest is known, and no index."""
    for row in found.tombstones.values():
        known = {"sha256": bytes.fromhex(row.get("sha256", "")) or bytes(32), "init_bytes": row.get("init_bytes", 0)}
        blank = {"fragments": b"", "volume": None, "lease_id": None}
        yield {**row, **known, **blank, "state": "lost" if row["state"] == "lost" else "deleted"}


def _insert_missing(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
    keys = [column.key for column in table.primary_key.columns]
    first = table.c[keys[0]]
    query = select(*(table.c[key] for key in keys)).where(first.in_([row[keys[0]] for row in rows]))
    known = {tuple(row) for row in connection.execute(query)}
    fresh = [row for row in rows if tuple(row[key] for key in keys) not in known]
    if fresh:
        connection.execute(insert(table), fresh)
    return len(fresh)
