"""Check, repair and rebuild: both stores, both directions, and nothing is ever deleted by them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from config.clock import SystemClock
from config.redact import Secret
from config.units import HOUR_MS
from storage.catalog import segments
from storage.catalog.engine import Catalog
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store
from storage.rebuild import Level, check, rebuild, repair
from storage.spool import Spool
from storage.uploader import Uploader
from tests.media import WALL_NS
from tests.storage.footage import Recorded, insert, make_catalog, make_spool, record

NOW_MS = WALL_NS // 1_000_000 + HOUR_MS * 5
ACTOR = "os:test"


@pytest.fixture(params=["folder", pytest.param("seaweedfs", marks=pytest.mark.real)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        store: ObjectStore = FolderStore(tmp_path / "objects")
        store.ensure()
        return store
    server = request.getfixturevalue("seaweedfs")
    return S3Store(server.url, server.region, server.new_bucket(), Secret(server.access_key), Secret(server.secret_key))


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    catalog = Catalog(catalog_url)
    yield catalog
    catalog.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path)


@pytest.fixture
def stored(catalog: Catalog, store: ObjectStore, spool: Spool) -> list[Recorded]:
    recorded = record(spool)
    insert(catalog, recorded)
    uploader = Uploader(catalog, store, spool, SystemClock())
    uploader.run_once()
    uploader.close()
    return recorded


def test_a_whole_node_has_no_findings(
    catalog: Catalog, store: ObjectStore, spool: Spool, stored: list[Recorded]
) -> None:
    insert(catalog, record(spool, 2.0, wall_ns=WALL_NS + 10**12))
    store.put_bytes("0123456789abcdef/_catalog/note", b"x")
    report = check(catalog, store, spool, NOW_MS, Level.HASH)
    assert report.whole
    assert report.objects == len(stored)
    assert report.rows > len(stored)
    assert report.strangers == 1


def test_each_disagreement_has_its_name(
    catalog: Catalog, store: ObjectStore, spool: Spool, stored: list[Recorded], tmp_path: Path
) -> None:
    missing, swapped, forgotten = stored
    store.delete(missing.segment.object_key)
    store.delete(swapped.segment.object_key)
    store.put_bytes(swapped.segment.object_key, bytes(swapped.segment.bytes))
    catalog.write(lambda c: segments.set_state(c, [forgotten.segment.id], ["stored"], "deleted"))
    (unspooled,) = record(spool, 1.0, wall_ns=WALL_NS + 10**12)
    insert(catalog, [unspooled])
    unspooled.path.unlink()
    (orphan,) = record(spool, 1.0, wall_ns=WALL_NS + 2 * 10**12)
    store.put_file(orphan.segment.object_key, orphan.path, orphan.segment.sha256, orphan.segment.bytes)
    report = check(catalog, store, spool, NOW_MS, Level.HASH)
    assert {f.kind: f.segment_id for f in report.findings} == {
        "missing": missing.segment.id,
        "hash": swapped.segment.id,
        "leftover": forgotten.segment.id,
        "unspooled": unspooled.segment.id,
        "orphan": orphan.segment.id,
    }
    assert [f.kind for f in check(catalog, store, spool, NOW_MS, Level.SIZE).findings if f.kind == "hash"] == []


@pytest.mark.fault("B13")
def test_repair_needs_two_observations_and_prefers_the_spool_copy(
    catalog: Catalog, store: ObjectStore, spool: Spool, stored: list[Recorded], tmp_path: Path
) -> None:
    saved, gone, _ = stored
    for one in (saved, gone):
        if one is saved:
            saved.path.write_bytes(store.read(one.segment.object_key))
        store.delete(one.segment.object_key)
    first = check(catalog, store, spool, NOW_MS)
    with pytest.raises(ValueError, match="hour"):
        repair(catalog, store, spool, first, check(catalog, store, spool, NOW_MS + 1), ACTOR)
    report = repair(catalog, store, spool, first, check(catalog, store, spool, NOW_MS + HOUR_MS), ACTOR)
    assert (report.respooled, report.lost) == ([saved.segment.id], [gone.segment.id])
    uploader = Uploader(catalog, store, spool, SystemClock())
    uploader.run_once()
    uploader.close()
    assert check(catalog, store, spool, NOW_MS).whole


def test_a_lost_catalog_is_made_anew_from_the_objects(
    catalog: Catalog, store: ObjectStore, stored: list[Recorded], tmp_path: Path
) -> None:
    (tmp_path / "anew").mkdir()
    anew = make_catalog(tmp_path / "anew")
    store.put_bytes(stored[0].segment.object_key.replace("-01", "-00"), b"not a segment")
    report = rebuild(anew, store, NOW_MS, ACTOR)
    assert (report.added, report.known, len(report.unreadable)) == (len(stored), 0, 1)
    before = catalog.read(lambda c: segments.all_segments(c, ["stored"]))
    after = anew.read(lambda c: segments.all_segments(c, ["stored"]))
    assert [replace(row, created_ms=0, stored_ms=0) for row in after] == [
        replace(row, created_ms=0, stored_ms=0) for row in before
    ]
    run = anew.read(lambda c: segments.run_of(c, stored[0].run.id))
    assert run is not None
    assert (run.init, run.codec, run.started_ms) == (stored[0].run.init, stored[0].run.codec, stored[0].run.started_ms)
    assert (run.ended_ms, run.end_reason) == (stored[-1].segment.end_ms, "rebuilt")
    again = rebuild(anew, store, NOW_MS, ACTOR)
    assert (again.added, again.known) == (0, len(stored))
    anew.close()
