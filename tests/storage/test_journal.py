"""The journal in the store: what it says after a catalog was lost, and that it never says a secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from config.units import DAY_MS
from storage import journal
from storage.attested import Attestation
from storage.catalog import attestations, gaps, places, retention_rows
from storage.catalog.engine import Catalog
from storage.catalog.gaps import GapRow
from storage.catalog.tables import area, camera, camera_stream, segment
from tests.parts.catalog import new_catalog
from tests.storage.test_sweeper import CAMERA, DAY_S, Place, due_footage

NODE = "node"


@pytest.fixture
def place(tmp_path: Path, catalog_url: str) -> Iterator[Place]:
    made = Place(tmp_path, catalog_url)
    made.catalog.write(lambda c: register_camera(c, made.now_ms))
    yield made
    made.catalog.close()


def register_camera(connection: Connection, now_ms: int) -> None:
    places.seed_regions(connection, "210211001003", "community", "社区", now_ms)
    connection.execute(
        insert(camera).values(
            id=CAMERA, name="东门", tier="community", region="210211001003", recorded_by="self", enabled=True,
            created_ms=0, changed_ms=0, onvif_url="http://10.0.0.7/onvif",
        )
    )  # fmt: skip
    connection.execute(insert(camera_stream).values(camera_id=CAMERA, stream="main", url="rtsp://10.0.0.7/main"))


def write(place: Place) -> str | None:
    return journal.write(place.catalog, place.store, NODE, place.now_ms)


def gap(place: Place, number: int, to_ms: int | None) -> GapRow:
    return GapRow(f"G{number}", CAMERA, "main", "network", place.now_ms - 60_000, to_ms, place.now_ms)


def test_nothing_new_writes_nothing(place: Place) -> None:
    assert write(place) is not None
    assert write(place) is None
    place.clock.advance(DAY_S)
    assert write(place) is None
    place.hold(place.now_ms, place.now_ms + DAY_MS)
    assert write(place) is not None


def test_a_lost_catalog_gets_its_facts_back(place: Place, tmp_path: Path) -> None:
    (old,) = due_footage(place)
    held = place.hold(place.now_ms - DAY_MS, place.now_ms)
    place.catalog.write(
        lambda c: places.add_area(c, places.Area("A", "学校", "key", "文 1", place.now_ms, None, (CAMERA,)))
    )
    place.catalog.write(lambda c: gaps.insert_gap(c, gap(place, 1, None)))
    paper = Attestation("P", CAMERA, 30, "教育局", "12 号", place.now_ms + DAY_MS, place.now_ms, "user:li")
    place.catalog.write(lambda c: attestations.add(c, paper))
    write(place)
    place.clock.advance(60)
    place.catalog.write(lambda c: gaps.close_gap(c, "G1", place.now_ms))
    place.sweep()
    place.clock.advance(DAY_S + 1)
    place.sweep()
    write(place)

    found = journal.read(place.store, NODE)
    assert found.objects == 2
    fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
    new_catalog(fresh)
    catalog = Catalog(fresh)
    try:
        done = journal.restore_policy(catalog, found, place.now_ms)
        assert (done.cameras, done.holds, done.areas, done.gaps) == (1, 1, 1, 1)
        assert journal.restore_tombstones(catalog, found) == 1
        (row,) = catalog.read(retention_rows.holds)
        assert (row.id, row.cameras) == (held, (CAMERA,))
        assert catalog.read(retention_rows.memberships)[CAMERA][0].class_name == "key"
        assert catalog.read(lambda c: c.execute(select(area.c.document_no)).scalar_one()) == "文 1"
        assert catalog.read(attestations.newest) == {CAMERA: paper}
        assert catalog.read(gaps.open_gaps) == []
        dead = catalog.read(lambda c: c.execute(select(segment).where(segment.c.id == old.id)).one())
        assert (dead.state, dead.start_ms, dead.bytes) == ("deleted", old.start_ms, old.bytes)
        assert journal.restore_policy(catalog, found, place.now_ms) == journal.Restored()
        assert journal.restore_tombstones(catalog, found) == 0
        assert not catalog.read(lambda c: c.execute(select(camera.c.enabled)).scalar_one())
    finally:
        catalog.close()


def test_one_unreadable_object_does_not_hide_the_others(place: Place) -> None:
    place.hold(place.now_ms, place.now_ms + DAY_MS)
    write(place)
    place.store.put_bytes(f"{journal.journal_prefix(NODE)}2020/01/01/x.json", b"not json")
    found = journal.read(place.store, NODE)
    assert found.unreadable == [f"{journal.journal_prefix(NODE)}2020/01/01/x.json"]
    assert len(found.policy["holds"]) == 1


def test_no_address_and_no_account_is_written(place: Place) -> None:
    key = write(place)
    assert key is not None
    text = place.store.read(key).decode()
    assert "东门" in text
    assert "10.0.0.7" not in text
