"""Second copies whose rows were lost with a catalog are found in the evidence store, and end or stand as others do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from config.clock import wall_ms
from storage import journal, restore
from storage.audit import log as audit
from storage.catalog import segments
from storage.catalog.engine import Catalog
from storage.catalog.tables import segment
from storage.objects.base import ObjectInfo
from storage.objects.evidence import FolderEvidence
from storage.objects.s3_evidence import S3Evidence
from tests.storage.evidence_place import (
    SERVERS,
    EvidencePlace,
    held_whole,
    locking_place,
    place_on,
)
from tests.storage.footage import CAMERA, NODE, make_catalog
from tests.storage.rebuilding import rebuilt


@pytest.fixture(params=["folder", *SERVERS])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EvidencePlace]:
    made = place_on(request, tmp_path)
    yield made
    made.catalog.close()


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[EvidencePlace]:
    made = EvidencePlace(tmp_path)
    yield made
    made.catalog.close()


def lose_catalog(place: EvidencePlace) -> None:
    """Made anew from objects and journal, as on another machine."""
    now_ms = wall_ms(place.clock)
    journal.write(place.catalog, place.store, NODE, now_ms)
    place.catalog.close()
    place.catalog = make_catalog(place.spool.root.parent / f"rebuilt-{now_ms}")
    rebuilt(place.catalog, place.store, NODE, now_ms, "test")


@pytest.mark.fault("B20", "B31")
def test_after_a_rebuild_copies_of_released_holds_end_and_those_of_standing_ones_are_known_again(
    tmp_path: Path,
) -> None:
    place, evidence = locking_place(tmp_path)
    recorded = place.stored()
    ends = place.hold(to_ms=recorded[1].segment.end_ms - 1)
    place.run()
    stands = place.hold(from_ms=recorded[2].segment.start_ms + 1)
    place.run()
    assert len(list(evidence.list())) == len(recorded)
    foreign = {f"{NODE}/_canary/1-0a", f"{NODE}/notes/by-hand.txt", "other/21/2026/09/21/14/1-0a.mp4"}
    for key in foreign:
        evidence.put_bytes(key, b"x")
    place.release(ends)
    place.clock.advance(1)
    lose_catalog(place)
    place.run()
    assert place.state(stands).colour == "green"
    assert held_whole(place, recorded[2:])
    assert evidence.refusals == 2  # their locks still stand, and have the last word
    place.clock.advance(100 * 86_400)
    place.run()
    place.run(days=1.1)
    left = {info.key for info in evidence.list()}
    assert left == foreign | {one.segment.object_key for one in recorded[2:]}
    assert [place.copy(one).state for one in recorded[:2]] == ["gone", "gone"]
    place.catalog.close()


@pytest.mark.fault("B20", "B31")
def test_copies_of_deleted_footage_end_after_a_rebuild(place: EvidencePlace) -> None:
    if isinstance(place.evidence, S3Evidence):
        place.evidence._locks = False  # a real lock runs for three months
    recorded = place.stored()
    hold = place.hold()
    place.run()
    place.release(hold)
    now_ms = wall_ms(place.clock)
    values = {"state": "deleted", "condemned_ms": now_ms, "deleted_ms": now_ms, "delete_reason": "expired"}
    gone = [one.segment.id for one in recorded[1:]]

    def delete(connection: Connection) -> None:
        connection.execute(update(segment).where(segment.c.id.in_(gone)).values(**values))
        audit.append(connection, now_ms, "test", "segment.delete", "segments", {"ids": gone})

    place.catalog.write(delete)
    for one in recorded[1:]:
        place.store.delete(one.segment.object_key)
    lose_catalog(place)
    assert place.catalog.read(lambda c: segments.existing(c, gone)) == dict.fromkeys(gone, "deleted")
    place.clock_trusted = False
    place.run()
    assert held_whole(place, recorded[:1]) and len(list(place.evidence.list())) == len(recorded)
    place.clock_trusted = True
    place.run(days=1.1)
    assert list(place.evidence.list()) == []
    assert [info.key for info in place.store.list(f"{NODE}/{CAMERA}/")] == [recorded[0].segment.object_key]


@pytest.mark.fault("B20", "B31")
def test_a_copy_of_footage_that_nothing_else_knows_brings_it_back(place: EvidencePlace) -> None:
    recorded = place.stored()
    hold = place.hold()
    place.run()
    lost = recorded[0].segment
    place.store.delete(lost.object_key)
    lose_catalog(place)
    assert place.catalog.read(lambda c: segments.segment_of(c, lost.id)) is None
    place.run()
    assert place.store.read(lost.object_key) == place.evidence.read(lost.object_key)
    found = place.catalog.read(lambda c: segments.segment_of(c, lost.id))
    assert found is not None and (found.state, found.sha256) == ("stored", lost.sha256)
    assert place.state(hold).colour == "green"
    assert held_whole(place, recorded)


@pytest.mark.fault("B20", "B31")
def test_a_restored_catalog_finds_copies_that_were_made_and_released_after_the_backup(folders: EvidencePlace) -> None:
    (one,) = folders.stored(1.0)
    folders.run()
    backup = folders.spool.root.parent / "backup.db"
    with closing(sqlite3.connect(backup.with_name("catalog.db"))) as now, closing(sqlite3.connect(backup)) as then:
        now.backup(then)
    hold = folders.hold()
    folders.run()
    folders.release(hold)
    assert held_whole(folders, [one])
    folders.catalog.close()
    folders.catalog = Catalog(f"sqlite:///{backup}")
    folders.catalog.write(lambda c: restore.take_over(c, wall_ms(folders.clock), "test", NODE, {}))
    folders.run()
    assert list(folders.evidence.list()) == []


def test_the_listing_goes_a_stretch_in_each_pass_once_a_day(folders: EvidencePlace) -> None:
    recorded = folders.stored(6.0)
    hold = folders.hold()
    folders.run()
    folders.release(hold)
    lose_catalog(folders)
    keeper = folders.keeper()
    seen = []
    for _ in range(len(recorded) + 1):
        keeper.run(listed=1)
        seen.append(len(list(folders.evidence.list())))
    assert seen == [*range(len(recorded) - 1, -1, -1), 0]
    folders.clock.advance(3_600)
    asked: list[str] = []

    class Asked(FolderEvidence):
        def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
            asked.append(prefix)
            return super().list(prefix, start_after)

    assert isinstance(folders.evidence, FolderEvidence)
    for hours, times in ((1, 0), (24, 1), (1, 1)):
        folders.run(days=hours / 24, evidence=Asked(folders.evidence.root))
        assert asked == [f"{NODE}/"] * times


class Unlisted(FolderEvidence):
    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        raise ValueError("no XML")


@pytest.mark.fault("B17")
def test_a_store_that_does_not_list_takes_copies_all_the_same(folders: EvidencePlace) -> None:
    recorded = folders.stored()
    hold = folders.hold()
    assert isinstance(folders.evidence, FolderEvidence)
    report = folders.run(evidence=Unlisted(folders.evidence.root))
    assert (report.copied, report.failed) == (len(recorded), 1)
    assert folders.state(hold).colour == "green"
