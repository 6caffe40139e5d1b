"""A lost catalog from the objects alone: row by row what it was, on every store, killed half-way or not. (I9)"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from config.errors import TiergateError
from config.redact import Secret
from config.units import DAY_MS, HOUR_MS
from storage import journal, patience, rebuild
from storage.audit import log as audit
from storage.catalog import gaps, places, retention_rows, segments
from storage.catalog.engine import Catalog
from storage.catalog.gaps import GapRow
from storage.catalog.retention_rows import HoldRow
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import camera, metadata, segment
from storage.objects.base import ObjectInfo, ObjectStore
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store
from tests.media import WALL_NS
from tests.parts.s3 import S3Server
from tests.parts.wait import until
from tests.storage.footage import NODE, make_catalog, stored_count
from tests.storage.forest import Forest, Put, camera_id, into_folder, plant
from tests.storage.rebuilding import rebuilt
from tests.storage.sick import SickStore

WALL_MS = WALL_NS // 10**6
LATER_MS = WALL_MS + 400 * DAY_MS
ACTOR = "os:test"
#: The register of cameras and whatever people are is not footage: the catalog's backup has it.
TABLES = ("region", "retention_class", "area", "area_camera", "hold", "hold_camera", "run", "segment", "gap")


@pytest.fixture(params=["folder", pytest.param("seaweedfs", marks=pytest.mark.real),
                        pytest.param("minio_server", marks=pytest.mark.real)])  # fmt: skip
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        store: ObjectStore = FolderStore(tmp_path / "objects")
        store.ensure()
        return store
    server: S3Server = request.getfixturevalue(request.param)
    return S3Store(server.url, server.region, server.new_bucket(), Secret(server.access_key), Secret(server.secret_key))


def put_into(store: ObjectStore, pool: ThreadPoolExecutor) -> Put:
    if isinstance(store, FolderStore):
        return into_folder(store.root)
    return lambda key, data: pool.submit(store.put_bytes, key, data)


class Node:
    """A catalog with some history, its store, and the journal that the keeper wrote meanwhile."""

    def __init__(self, folder: Path, store: ObjectStore, objects: int) -> None:
        self.folder, self.store = folder, store
        self.catalog: Catalog = make_catalog(folder)
        self._dice = random.Random(7)
        with ThreadPoolExecutor(4) as pool:
            put = put_into(store, pool)
            self.objects = plant(self.catalog, Forest(folder / "template").trees(objects), put)
        self._write(self._policy)
        self._write(self._gaps)
        self._delete_some()
        self.journal()

    def _write(self, change: Callable[[Any], None]) -> None:
        self.catalog.write(change)

    def _policy(self, connection: Any) -> None:
        places.seed_regions(connection, "210211001003", "community", "社区", 1)
        for number in range(20):
            connection.execute(
                insert(camera).values(
                    id=camera_id(number), name=f"门{number}", tier="community", region="210211001003",
                    recorded_by="self", enabled=True, created_ms=0, changed_ms=0,
                )
            )  # fmt: skip
        places.add_area(connection, places.Area("A", "学校", "key", "文 1", WALL_MS, None, (camera_id(3),)))
        row = HoldRow(
            "H", (camera_id(1), camera_id(2)), WALL_MS, WALL_MS + HOUR_MS, "o", "r", "case", None, "permanent",
            LATER_MS, WALL_MS, None, None,
        )  # fmt: skip
        retention_rows.add_hold(connection, row)

    def _gaps(self, connection: Any) -> None:
        for number in range(50):
            from_ms = WALL_MS + number * 61_000
            cause = self._dice.choice(sorted(gaps.CAUSES))
            row = GapRow(f"G{number:025d}", camera_id(number % 20), "main", cause, from_ms, from_ms + 500, from_ms + 9)
            gaps.insert_gap(connection, row)

    def _delete_some(self) -> None:
        """What the sweep does, without its waiting."""
        rows = self.catalog.read(lambda c: segments.all_segments(c, ["stored"]))
        gone = [row for row in rows if self._dice.random() < 0.03]

        def condemn(connection: Any) -> None:
            ids = [row.id for row in gone]
            reason = {"code": "retention.expired", "params": {}}
            retention_rows.condemn(connection, ids, dict.fromkeys(ids, reason), WALL_MS + DAY_MS)
            retention_rows.move(connection, ids, "condemned", "deleting")
            audit.append(connection, WALL_MS + DAY_MS, "system:keeper", "segment.delete", "some", {"ids": ids})

        self._write(condemn)
        self.journal()
        for row in gone:
            self.store.delete(row.object_key)
        ids = [row.id for row in gone]
        self.catalog.write(lambda c: retention_rows.move(c, ids, "deleting", "deleted"))
        assert gone

    def journal(self) -> None:
        now_ms = WALL_MS + 30 * DAY_MS
        while journal.write(self.catalog, self.store, NODE, now_ms) is not None:
            now_ms += HOUR_MS

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        return rows_of(self.catalog)


def rows_of(catalog: Catalog) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for name in TABLES:
        table = metadata.tables[name]
        query = select(table).order_by(*table.primary_key.columns)
        found[name] = [dict(row._mapping) for row in catalog.read(lambda c, q=query: c.execute(q).all())]  # type: ignore[misc]  # a bound default
    for row in found["segment"]:
        if row["state"] == "deleted":
            row["fragments"] = b""  # of bytes that are gone nobody needs the index
    return found


def assert_same(before: dict[str, list[dict[str, Any]]], after: dict[str, list[dict[str, Any]]]) -> int:
    for name in TABLES:
        assert len(before[name]) == len(after[name]), name
        for old, new in zip(before[name], after[name], strict=True):
            assert old == new, name
    return sum(map(len, before.values()))


@pytest.fixture
def anew(tmp_path: Path) -> Iterator[Catalog]:
    (tmp_path / "anew").mkdir()
    catalog = make_catalog(tmp_path / "anew")
    yield catalog
    catalog.close()


@dataclass(frozen=True, slots=True)
class Loss:
    """What was rebuilt after a catalog was lost, and how fast. Every row was compared."""

    objects: int
    rows: int
    seconds: float
    cpu_seconds: float  #: of this process; on a busy machine the wall clock says more about the others
    bytes: int

    def as_json(self) -> dict[str, Any]:
        return {
            "objects": self.objects,
            "rows_equal": self.rows,
            "s": round(self.seconds, 2),
            "objects_per_s": round(self.objects / self.seconds, 1),
            "cpu_ms_per_object": round(1_000 * self.cpu_seconds / self.objects, 3),
            "mb_per_s": round(self.bytes / self.seconds / 1e6, 1),
        }


def loss_of(folder: Path, store: ObjectStore, anew: Catalog, objects: int) -> Loss:
    node = Node(folder, store, objects)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    report = rebuilt(anew, store, NODE, LATER_MS, ACTOR)
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    count = assert_same(node.rows(), rows_of(anew))
    node.catalog.close()
    assert report.unreadable == []
    deleted = anew.read(lambda c: c.execute(select(segment.c.id).where(segment.c.state == "deleted")).all())
    assert report.added == objects - len(deleted) and deleted
    return Loss(report.added, count, took_s, cpu_s, report.bytes)


@pytest.mark.fault("B31")
def test_every_row_is_what_it_was(tmp_path: Path, store: ObjectStore, anew: Catalog) -> None:
    """`scripts/torture store` does it with 10^5 objects."""
    print(loss_of(tmp_path, store, anew, 2_000 if isinstance(store, FolderStore) else 300).as_json())


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    store = FolderStore(tmp_path / "objects")
    store.ensure()
    made = Node(tmp_path, store, 200)
    yield made
    made.catalog.close()


@pytest.mark.fault("B31")
def test_without_the_journal_the_pictures_are_all_there(node: Node, anew: Catalog) -> None:
    """What a segment says of itself is enough to play it; only the journal knows the rest."""
    rebuild.rebuild(anew, node.store, NODE, LATER_MS, ACTOR)
    old = {row.id: row for row in node.catalog.read(lambda c: segments.all_segments(c, ["stored"]))}
    new = {row.id: row for row in anew.read(lambda c: segments.all_segments(c, ["stored"]))}
    assert set(old) == set(new)
    late = {"end_ms", "salvaged", "created_ms", "stored_ms"}
    for id_, row in new.items():
        for name in set(SegmentRow.__dataclass_fields__) - late:
            assert getattr(row, name) == getattr(old[id_], name), name
        assert abs(row.end_ms - old[id_].end_ms) <= 40
    runs = anew.read(segments.open_runs)
    assert runs == []


@pytest.mark.fault("B31")
@pytest.mark.real
def test_killed_half_way_it_goes_on_and_reads_nothing_twice(node: Node, tmp_path: Path) -> None:
    (tmp_path / "anew").mkdir()
    url = f"sqlite:///{tmp_path / 'anew' / 'catalog.db'}"
    begun = make_catalog(tmp_path / "anew")
    journal.restore_policy(begun, journal.read(node.store, NODE), LATER_MS)
    begun.close()
    code = (
        "import sys\nfrom pathlib import Path\nfrom storage import rebuild\n"
        "from storage.catalog.engine import Catalog\n"
        "from storage.objects.folder import FolderStore\nrebuild.CHUNK_ROWS = 20\n"
        "rebuild.rebuild(Catalog(sys.argv[1]), FolderStore(Path(sys.argv[2])), sys.argv[4], int(sys.argv[3]),"
        " 'os:test', lambda report: (print(report.added, flush=True), sys.stdin.readline()))"
    )
    argv = [sys.executable, "-c", code, url, str(tmp_path / "objects"), str(LATER_MS), NODE]
    done = 0
    for _ in range(2):
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None and process.stdout is not None
            for _ in range(done // 20 + 3):  # chunks that are known, and a few new ones
                process.stdout.readline()
                print(file=process.stdin, flush=True)
            os.kill(process.pid, signal.SIGKILL)
            until(lambda p=process: p.poll() is not None, 10, "it is dead")  # type: ignore[misc]  # a bound default
        catalog = Catalog(url)
        known = catalog.read(stored_count)
        catalog.close()
        assert done < known < node.objects
        done = known
    catalog = Catalog(url)
    report = rebuilt(catalog, node.store, NODE, LATER_MS, ACTOR)
    assert report.known == done and report.added > 0
    assert_same(node.rows(), rows_of(catalog))
    assert rebuilt(catalog, node.store, NODE, LATER_MS, ACTOR).added == 0
    catalog.close()


def test_what_is_no_segment_is_named_and_left_alone(node: Node, anew: Catalog) -> None:
    keys = [info.key for info in node.store.list(f"{NODE}/2")]
    stranger = keys[0].replace(f"{NODE}/", "ffffffffffffffff/")
    node.store.put_bytes(stranger, node.store.read(keys[0]))
    torn = keys[1][:-6] + ("A1" if not keys[1].endswith("A1.mp4") else "A2") + ".mp4"
    node.store.put_bytes(torn, b"not a segment")
    report = rebuild.rebuild(anew, node.store, NODE, LATER_MS, ACTOR)
    assert (report.foreign, report.unreadable) == (1, [torn])
    assert node.store.read(torn) == b"not a segment"


@pytest.mark.fault("B30", "B31")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_one_object_that_cannot_be_read_is_named_and_stops_nothing(
    node: Node, anew: Catalog, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    keys = [info.key for info in node.store.list(f"{NODE}/2")]
    store = SickStore(node.folder / "objects", problem)
    store.sick = {keys[0], keys[11]}
    report = rebuilt(anew, store, NODE, LATER_MS, ACTOR)
    assert report.unreadable == sorted(store.sick)
    assert report.added == len(keys) - 2 and anew.read(segments.open_runs) == []
    store.sick.clear()  # the disk was copied as far as it went, or the server mended
    assert rebuilt(anew, store, NODE, LATER_MS, ACTOR).added == 2
    assert_same(node.rows(), rows_of(anew))


@pytest.mark.fault("B30", "B31")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_a_store_that_goes_away_half_way_makes_nothing_unreadable(node: Node, anew: Catalog, problem: str,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(rebuild, "CHUNK_ROWS", 50)
    store = SickStore(node.folder / "objects", problem)
    seen: list[rebuild.RebuildReport] = []

    def go(report: rebuild.RebuildReport) -> None:
        seen.append(report)
        store.away = report.added >= 100

    with pytest.raises(TiergateError) as caught:
        rebuild.rebuild(anew, store, NODE, LATER_MS, ACTOR, go)
    assert caught.value.reason.code == "media.store_unavailable"
    assert seen[-1].unreadable == [] and 100 <= seen[-1].added < node.objects


@pytest.mark.real
@pytest.mark.fault("B30", "B31")
def test_rot_before_the_rebuild_is_found_where_the_store_took_a_digest(
    tmp_path: Path, anew: Catalog, seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 keeps the digest of the upload: a rebuilt row is what was recorded and not what the disk says today."""
    bucket = seaweedfs.new_bucket()
    store = S3Store(seaweedfs.url, seaweedfs.region, bucket, Secret(seaweedfs.access_key), Secret(seaweedfs.secret_key))
    ((row, data),) = next(iter(Forest(tmp_path / "template").trees(1))).segments
    store.put_bytes(row.object_key, data)
    rotten = bytearray(data)
    rotten[-3000] ^= 1
    # No real server can be told to let a bit rot: the bytes of its answers are changed instead, its digest stays.
    hits: list[str] = []
    fetch = store.fetch

    def rot(key: str) -> tuple[ObjectInfo, Iterator[bytes]]:
        hits.append(key)
        told, pieces = fetch(key)
        assert b"".join(pieces) == data
        return told, iter([bytes(rotten)])

    monkeypatch.setattr(store, "fetch", rot)
    rebuild.rebuild(anew, store, NODE, LATER_MS, ACTOR)
    made = anew.read(lambda c: segments.segment_of(c, row.id))
    assert hits and made is not None and made.sha256 == row.sha256
