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
from storage.catalog import evidence_rows, segments
from storage.catalog.engine import Catalog
from storage.catalog.tables import segment
from storage.objects import base
from storage.objects.base import ObjectInfo
from storage.objects.evidence import FolderEvidence
from storage.objects.s3_evidence import S3Evidence
from tests.storage.evidence_place import (
    FROM_MS,
    SERVERS,
    EvidencePlace,
    LockingFolder,
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


def lose_catalog_and_journal(place: EvidencePlace) -> None:
    """All that is known now, the objects say."""
    place.catalog.close()
    place.catalog = make_catalog(place.spool.root.parent / f"rebuilt-{wall_ms(place.clock)}")
    rebuilt(place.catalog, place.store, NODE, wall_ms(place.clock), "test")


def unexplained(place: EvidencePlace) -> int:
    return place.catalog.read(evidence_rows.unexplained).count


@pytest.mark.fault("B20", "B21", "B31")
@pytest.mark.parametrize("class_name", ["permanent", "3_months"])
def test_copies_whose_hold_was_lost_are_kept_until_a_person_decides(tmp_path: Path, class_name: str) -> None:
    place, evidence = locking_place(tmp_path)
    recorded = place.stored()
    place.hold(class_name=class_name)
    place.run()
    locks = dict(evidence.locks)
    lose_catalog_and_journal(place)
    for days in (0, 0.1, 1.1, 40, 60, 100, 400):  # beyond each lock that has an end
        place.run(days=days)
        assert len(list(evidence.list())) == unexplained(place) == len(recorded)
    assert evidence.locks == locks and evidence.refusals == 0
    found = place.catalog.read(evidence_rows.unexplained)
    assert (found.camera_id, found.start_ms) == (CAMERA, recorded[0].segment.start_ms)
    again = place.hold(class_name=class_name)
    place.run()
    assert (place.state(again).colour, unexplained(place)) == ("green", 0)
    assert held_whole(place, recorded)
    place.release(again)
    place.run(days=100)
    place.run(days=1.1)
    assert (list(evidence.list()), unexplained(place)) == ([], 0)
    place.catalog.close()


@pytest.mark.fault("B20", "B31")
def test_a_store_that_is_away_does_not_let_a_kept_copy_be_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _ = locking_place(tmp_path)
    (one,) = place.stored(1.0)
    place.hold()
    place.run()
    lose_catalog_and_journal(place)
    place.run()
    monkeypatch.setattr(LockingFolder, "lock_of", lambda *_: (_ for _ in ()).throw(base.unavailable("HTTP 503")))
    place.run(days=1.1)
    monkeypatch.undo()
    for _ in range(3):
        place.run(days=200)
    assert held_whole(place, [one]) and unexplained(place) == 1
    place.catalog.close()


@pytest.mark.fault("B20", "B26", "B31")
def test_a_legal_hold_that_nobody_explains_is_kept_and_ends_with_a_hold_that_takes_it_over(
    place: EvidencePlace,
) -> None:
    (one,) = place.stored(1.0)
    key = one.segment.object_key
    place.hold(class_name="permanent")
    place.run()
    locks = place.evidence.can_lock()
    lose_catalog_and_journal(place)
    place.run()
    if isinstance(place.evidence, S3Evidence):  # a hand has deleted it: a marker lies on top
        place.evidence._client.remove_object(place.evidence.bucket, key)
    place.run(days=0.1)
    assert unexplained(place) == (1 if locks else 0)
    if not locks:
        assert list(place.evidence.list()) == []
        return
    assert any(place.evidence.lock_of(key, version).legal_hold for version in place.evidence.versions(key))
    for class_name in ("1_year", "permanent"):  # the first does not say that the legal hold may go
        hold = place.hold(class_name=class_name, from_ms=FROM_MS + (class_name == "1_year"))
        place.run(days=1.1)
        assert any(place.evidence.lock_of(key, version).legal_hold for version in place.evidence.versions(key))
        place.release(hold)
    place.run(days=1.1)
    assert not any(place.evidence.lock_of(key, version).legal_hold for version in place.evidence.versions(key))
    assert unexplained(place) == 0


@pytest.mark.fault("B20", "B31")
def test_copies_of_a_permanent_hold_that_the_journal_knows_as_released_end(tmp_path: Path) -> None:
    place, evidence = locking_place(tmp_path)
    place.stored()
    hold = place.hold(class_name="permanent")
    place.run()
    place.release(hold)
    place.clock.advance(1)
    lose_catalog(place)
    place.run()
    assert (list(evidence.list()), unexplained(place)) == ([], 0)
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
