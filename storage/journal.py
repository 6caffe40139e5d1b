"""Facts that change, kept beside the footage: what a rebuild needs besides the segments themselves. (I9)

Small JSON objects ``<node>/_catalog/journal/<yyyy>/<mm>/<dd>/<at_ms>-<number>.json``, written when something changed.
Which of two is newer their number says and never their time: a clock that ran ten years ahead for an hour would else
have the last word for ten years. Numbers go on rising after the catalog was put back or lost; objects without
``number`` in them are of earlier versions, which put there the audit log's seq, and that began anew with the log.

- ``policy``: regions, cameras, classes and changes of them that wait, areas, attestations, holds (released ones too):
  a whole picture, the newest wins;
- ``decided``: what became of requests for a second person, decided since the object before;
- ``gaps``: rows opened or closed since the object before; the newest row of an id wins;
- ``tombstones``: manifests of segments whose deletion began since then, or that were given up as lost; they make
  "expired" out of "missing";
- ``runs``, ``ended``: runs that began, and those that ended, since then;
- ``kept``: of segments that the store has, what they cannot know of themselves: where they ended by the wall clock,
  whether they were salvaged, when their row was made and when they were stored. Each once, a quarter of an hour late;
- ``restamps``: runs that were moved to their true time since then; their files, and ``kept``, hold the time believed
  first.

Signed heads of the audit log lie beside it (`storage.audit.signed`). No secret, address or account is in these.

Belongs here: writing, reading, putting back into a catalog. Does not belong here: finding the segments
(`storage.rebuild`).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, Table, bindparam, func, insert, or_, select, update

from config.errors import TiergateError
from config.ids import ulid
from config.units import DAY_MS, MS_PER_S, NS_PER_MS
from storage import approvals, class_changes, restamp
from storage.approval_rules import State
from storage.audit import log as audit
from storage.catalog import facts, node, segments
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
from storage.keys import CATALOG_FOLDER, dated_key
from storage.objects.base import ObjectStore
from storage.patience import Patience, is_unreadable

FORMAT = "tiergate-journal-1"
#: {"number", "audit_seq", "gaps_ms", "policy", "gaps", "run", "open", "kept", "kept_ms"}: how far the journal has come
MARK = "journal.mark"
NUMBER = "journal.number"  #: fact, the highest that was given out; absent while only the store knows it
#: Rows are looked at again this far back: a transaction may commit later than the time it wrote.
_OVERLAP_MS = 300 * MS_PER_S

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
#: What people change of rows that stay: until when something is kept. Nothing there means without end.
_ENDS = {"classes": "months", "areas": "valid_to_ms", "area_cameras": "to_ms", "holds": "released_ms"}
Row = dict[str, Any]
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


def _order(key: str) -> tuple[int, int]:
    """(number, at_ms); of one number there are two when a write died before it was marked."""
    at_ms, _, number = key.rsplit("/", 1)[-1].removesuffix(".json").rpartition("-")
    try:
        return int(number), int(at_ms)
    except ValueError:  # nothing that this node wrote
        return 0, 0


def _rows(connection: Connection, table: Table, names: tuple[str, ...] | None) -> list[dict[str, Any]]:
    query, keys = _all_of(table, names)
    return [dict(zip(keys, row, strict=True)) for row in connection.execute(query)]


@cache
def _all_of(table: Table, names: tuple[str, ...] | None) -> tuple[Select[Any], list[str]]:
    """The question for these columns of the whole table, and their names."""
    columns = [table.c[name] for name in names] if names is not None else list(table.c)
    return select(*columns).order_by(*table.primary_key.columns), [column.key for column in columns]


# --- writing ---


@dataclass(slots=True)
class _Pending:
    mark: dict[str, Any]
    body: dict[str, Any] = field(default_factory=dict)


_GAPS_SINCE = (
    select(gap)
    .where(or_(gap.c.detected_ms > bindparam("since_ms"), gap.c.to_ms > bindparam("since_ms")))
    .order_by(gap.c.id)
)


def _pending(connection: Connection, now_ms: int) -> _Pending:
    mark = facts.get(connection, MARK) or {"audit_seq": 0, "gaps_ms": 0, "policy": ""}
    found = _Pending(dict(mark))
    policy = {name: _rows(connection, table, names) for name, (table, names) in _POLICY.items()}
    policy["waiting"] = [asdict(change) for _, change in sorted(class_changes.pending(connection).items())]
    digest = hashlib.sha256(audit.canonical_json(policy)).hexdigest()
    # A catalog that was put back has the last word, also where it says what it said at its backup. Of one that is
    # nobody's (`storage.catalog.node`) it is no picture of anything.
    new = digest != mark["policy"] or facts.get(connection, NUMBER) is None
    if new and node.owner(connection) is not None:
        found.body["policy"] = policy
        found.mark["policy"] = digest
    since_ms = mark["gaps_ms"] - _OVERLAP_MS
    gaps = [dict(row._mapping) for row in connection.execute(_GAPS_SINCE, {"since_ms": since_ms})]
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
    decided = approvals.ends(entries)
    if decided:
        found.body["decided"] = decided
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
        number = found.mark["number"] = _take_number(catalog, store, node)
        key = dated_key(journal_prefix(node), now_ms, number)
        body = {"format": FORMAT, "node": node, "at_ms": now_ms, "number": number, **found.body}
        store.put_bytes(key, audit.canonical_json(body))
    if found.body or catalog.read(lambda c: (facts.get(c, MARK) or {}).get("audit_seq")) != found.mark["audit_seq"]:
        catalog.write(lambda c: facts.set(c, MARK, found.mark))
    return key


def _take_number(catalog: Catalog, store: ObjectStore, node: str) -> int:
    """Higher than that of any object in the store, and than the catalog's own last: a restore whose store was lost goes
    on behind it, or the backup would be the newer of the two when it is restored again. Taken before the object is
    there: one that dies leaves it unused."""
    last = catalog.read(lambda c: facts.get(c, NUMBER))
    if last is None:
        mark = catalog.read(lambda c: facts.get(c, MARK)) or {}
        there = (_order(found.key)[0] for found in store.list(journal_prefix(node)))
        last = max(mark.get("number", 0), max(there, default=0))
    catalog.write(lambda c: facts.set(c, NUMBER, last + 1))
    return int(last) + 1


# --- reading ---


@dataclass(slots=True)
class Journal:
    """What the journal of one node says, merged."""

    policy: dict[str, list[Row]] = field(default_factory=dict)
    #: of `policy`; None: of an earlier version, or a later object is unreadable: nobody knows what is newer than it
    number: int | None = None
    #: (table, key) → row, of every picture: a node that was put back without its store had lost some
    holds: dict[tuple[str, Any], Row] = field(default_factory=dict)
    decided: dict[str, State] = field(default_factory=dict)  #: requests for a second person, by id
    gaps: dict[str, Row] = field(default_factory=dict)  #: by id
    tombstones: dict[str, Row] = field(default_factory=dict)  #: by segment id
    runs: dict[str, Row] = field(default_factory=dict)  #: by id, with their ends
    kept: list[str] = field(default_factory=list)  #: keys of objects that tell of segments in the store
    restamps: dict[str, int] = field(default_factory=dict)  #: run → milliseconds to add
    objects: int = 0
    #: keys; the others are used all the same, but what only these told, holds among it, nobody knows
    unreadable: list[str] = field(default_factory=list)

    def remember_holds(self) -> None:
        for name in ("holds", "hold_cameras"):
            self.holds |= {(name, _primary(name, row)): row for row in self.policy.get(name, ())}


def read(store: ObjectStore, node: str) -> Journal:
    """Raises what the store raises; an object that it does not give while it gives others is `unreadable`."""
    merged, patience = Journal(), Patience(store)
    last: tuple[int, dict[str, list[Row]]] = (-1, {})  # the policy that was written last by the clock
    keys = sorted((found.key for found in store.list(journal_prefix(node))), key=_order)
    patience.expect(keys)
    policy_key = None
    for key in keys:
        try:
            body = json.loads(patience.ask(key, partial(store.read, key)))
            if body["format"] != FORMAT:
                raise ValueError("unknown format")
        except (ValueError, KeyError, TypeError):
            merged.unreadable.append(key)
            continue
        except TiergateError as exc:
            if not is_unreadable(exc):
                raise
            merged.unreadable.append(key)
            continue
        merged.objects += 1
        if "policy" in body and (_says_something(body["policy"]) or not _says_something(merged.policy)):
            merged.policy, merged.number, policy_key = body["policy"], body.get("number"), key
            last = max(last, (body["at_ms"], merged.policy), key=lambda one: one[0])
            merged.remember_holds()
        merged.decided |= body.get("decided", {})
        merged.gaps |= {row["id"]: row for row in body.get("gaps", ())}
        merged.tombstones |= {row["id"]: row for row in body.get("tombstones", ())}
        for row in body.get("runs", ()):
            merged.runs[row["id"]] = {**row, "init": base64.b64decode(row["init"])}
        for id_, ended_ms, reason in body.get("ended", ()):
            if id_ in merged.runs:
                merged.runs[id_] |= {"ended_ms": ended_ms, "end_reason": reason}
        if body.get("kept"):
            merged.kept.append(key)
        merged.restamps |= body.get("restamps", {})
    if policy_key is not None and any(_order(key) > _order(policy_key) for key in merged.unreadable):
        merged.number = None  # a newer picture may be among them
    if merged.number is None and last[1] is not merged.policy:
        merged.policy = merged.policy | {name: _longest(name, merged.policy, last[1]) for name in _ENDS}
        merged.remember_holds()
    return merged


def _says_something(policy: Mapping[str, list[Row]]) -> bool:
    """No node loses all its cameras, areas and holds, for their rows stay when they end: such a picture was taken of an
    empty catalog in the lost one's place."""
    return any(policy.get(name) for name in ("cameras", "areas", "holds"))


def _primary(name: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column.key] for column in _POLICY[name][0].primary_key.columns)


def _longest(name: str, *pictures: Mapping[str, list[Row]]) -> list[Row]:
    """Each row of several pictures, where they differ the one that keeps longer."""
    found: dict[Any, Row] = {}
    for row in (row for picture in pictures for row in picture.get(name, ())):
        key = _primary(name, row)
        found[key] = _longer(_ENDS[name], found.get(key, row), row)
    return list(found.values())


def _longer(end: str, one: Row, other: Row) -> Row:
    """Of two rows of which nobody knows which is the newer. A hold that has an approver does not lapse."""
    return max(one, other, key=lambda row: (row[end] is None, row[end] or 0, row.get("approver") is not None))


@dataclass(slots=True)
class Restored:
    cameras: int = 0
    holds: int = 0
    areas: int = 0
    changed: int = 0  #: classes, areas, memberships and holds that the catalog had, but not as they were in the end
    gaps: int = 0
    runs: int = 0
    restamped: int = 0
    tombstones: int = 0
    kept: int = 0  #: segments of which the journal told what they do not know of themselves


def restore_policy(catalog: Catalog, found: Journal, now_ms: int) -> Restored:
    """Puts the journal's facts into a catalog that lacks them. What people change of classes, areas and holds is then
    as the journal has it when its last picture is newer than the catalog; else, where they differ, what keeps longer.

    Call it *before* the segments are put back: a sweep that knew them without their holds and classes would delete what
    must stay. Cameras come back disabled and without streams: enough to see their footage, not to record.
    """
    done = Restored()

    def policy(connection: Connection) -> None:
        mark = facts.get(connection, MARK) or {}
        facts.forget(connection, NUMBER)  # the store knows a higher one
        newer = found.number is not None and found.number > mark.get("number", 0)
        for name in _ENDS:
            # Within the minute of two looks something may be changed, backed up, and changed back: the journal then has
            # no newer picture. Only the release of a hold nobody takes back.
            if newer or found.number is None or name != "holds":
                done.changed += _update(connection, name, found.policy.get(name, []), newer)
        if newer:
            class_changes.set_pending(connection, [class_changes.Change(**row) for row in found.policy["waiting"]])
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
        done.holds = _insert_missing(connection, hold, _of(found.holds, "holds"))
        _insert_missing(connection, hold_camera, _of(found.holds, "hold_cameras"))

    catalog.write(policy)
    done.runs = _insert_chunks(catalog, run, list(found.runs.values()))
    done.gaps = _insert_chunks(catalog, gap, list(found.gaps.values()))
    return done


def _of(rows: Mapping[tuple[str, Any], Row], name: str) -> list[Row]:
    return [row for (table, _), row in rows.items() if table == name]


def _update(connection: Connection, name: str, rows: list[Row], newer: bool) -> int:
    """Rows that are there become those of the journal; how many were otherwise."""
    table = _POLICY[name][0]
    there = {_primary(name, row): row for row in _rows(connection, table, None)}
    changed = 0
    for row in rows:
        old = there.get(_primary(name, row))
        if old is None or old == row or (not newer and _longer(_ENDS[name], old, row) is old):
            continue
        key = [column == row[column.key] for column in table.primary_key.columns]
        connection.execute(update(table).where(*key).values(**row))
        changed += 1
    return changed


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
    patience = Patience(store)
    patience.expect(found.kept)
    for key in found.kept:
        try:
            rows = json.loads(patience.ask(key, partial(store.read, key)))["kept"]
        except TiergateError as exc:
            if not is_unreadable(exc):
                raise
            found.unreadable.append(key)
            continue
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
