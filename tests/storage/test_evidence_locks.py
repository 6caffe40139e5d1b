"""Locks of copies: renewed while a hold stands, by a time that somebody vouches for, and over before the copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from config.clock import wall_ms
from config.units import DAY_MS
from storage import patience
from storage.audit import log as audit
from storage.catalog.tables import segment
from storage.objects.evidence import FolderEvidence, Lock
from tests.parts.s3 import S3Server
from tests.storage.evidence_place import (
    EvidencePlace,
    LockingFolder,
    evidence_on,
    held_whole,
    in_bucket,
    locking_place,
)
from tests.storage.sick import SickVersions


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[EvidencePlace]:
    made = EvidencePlace(tmp_path)
    yield made
    made.catalog.close()


@pytest.fixture
def locking(tmp_path: Path) -> Iterator[tuple[EvidencePlace, LockingFolder]]:
    made, evidence = locking_place(tmp_path)
    yield made, evidence
    made.catalog.close()


def test_the_copy_goes_after_the_last_release_and_after_its_lock(
    locking: tuple[EvidencePlace, LockingFolder],
) -> None:
    place, evidence = locking
    recorded = place.stored(1.0)
    key = recorded[0].segment.object_key
    first, second = place.hold(), place.hold(class_name="1_year")
    place.run()
    assert (evidence.locks[key].until_ms or 0) >= second.created_ms + 365 * DAY_MS
    place.release(first)
    place.run(days=200)
    assert held_whole(place, recorded)
    place.release(second)
    place.run(days=100)
    assert held_whole(place, recorded)  # the lock runs on
    place.run(days=70)
    assert evidence.head(key) is None
    assert evidence.refusals == 0  # it was not tried before
    assert place.copy(recorded[0]).state == "gone"
    assert "evidence.delete" in [entry.action for entry in place.catalog.read(lambda c: audit.entries(c))]
    # A hold placed anew begins anew.
    again = place.hold()
    place.run()
    assert place.state(again).colour == "green"


def test_a_standing_hold_renews_its_lock_and_permanent_is_a_legal_hold(
    locking: tuple[EvidencePlace, LockingFolder],
) -> None:
    place, evidence = locking
    (one,) = place.stored(1.0)
    hold = place.hold()
    place.run()
    for _ in range(60):
        place.run(days=5)
        assert (evidence.locks[one.segment.object_key].until_ms or 0) > wall_ms(place.clock)
    for_ever = place.hold(class_name="permanent")
    place.run(days=1.1)
    assert evidence.locks[one.segment.object_key].legal_hold
    place.release(hold)
    place.run(days=4_000)
    assert held_whole(place, [one])
    place.release(for_ever)
    place.run(days=1.1)
    assert evidence.head(one.segment.object_key) is None


def test_a_legal_hold_that_a_killed_pass_has_set_ends_with_its_hold(
    locking: tuple[EvidencePlace, LockingFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, evidence = locking
    (one,) = place.stored(1.0)
    hold = place.hold(class_name="permanent")
    lock = evidence.lock

    def dies(key: str, version_id: str | None, wanted: Lock) -> Lock:
        lock(key, version_id, wanted)
        raise SystemError("killed")

    monkeypatch.setattr(evidence, "lock", dies)
    place.run()
    assert (place.copy(one).state, place.copy(one).read_ms) == ("wanted", None)
    assert evidence.locks[one.segment.object_key].legal_hold
    monkeypatch.undo()
    place.release(hold)
    place.run(days=0.1)
    assert evidence.head(one.segment.object_key) is None


@pytest.mark.fault("B26", "B30")
def test_a_version_under_a_legal_hold_that_another_has_covered_ends_with_its_hold(
    minio_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    name = minio_server.new_bucket()
    evidence = evidence_on(minio_server, f"{name}-evidence", SickVersions)
    assert isinstance(evidence, SickVersions)
    place = EvidencePlace(tmp_path, in_bucket(minio_server, name), evidence)
    one, *others = place.stored()
    hold = place.hold(class_name="permanent")
    place.run()
    first = place.copy(one).version_id
    evidence.sick = frozenset({first})
    assert place.run(days=31).missing == 1
    assert place.run().copied == 1
    assert place.copy(one).version_id != first and place.copy(one).legal_hold
    assert len(evidence.versions(one.segment.object_key)) == 2
    place.release(hold)
    place.run(days=1.1)
    assert [place.copy(each).state for each in (one, *others)] == ["gone"] * (1 + len(others))
    assert list(evidence.list()) == []
    place.catalog.close()


TEN_YEARS_S = 3_652 * 86_400


@pytest.mark.fault("B23")
def test_no_lock_follows_a_clock_that_nobody_trusts(locking: tuple[EvidencePlace, LockingFolder]) -> None:
    place, evidence = locking
    (one, *others) = place.stored(2.0)
    hold = place.hold(to_ms=one.segment.end_ms - 1)
    place.run()
    true_ms, key = wall_ms(place.clock), one.segment.object_key
    until_ms = evidence.locks[key].until_ms
    assert until_ms is not None and until_ms < true_ms + 100 * DAY_MS
    wider = place.hold()
    place.clock_trusted = False
    for _ in range(3):
        place.clock.step_wall(TEN_YEARS_S)
        place.run()
        place.clock.step_wall(-TEN_YEARS_S)
    assert evidence.locks[key].until_ms == until_ms
    assert place.state(wider).colour == "green"  # what is new is copied, and locked for as long as its hold says
    for other in others:
        found_ms = evidence.locks[other.segment.object_key].until_ms
        assert found_ms is not None and true_ms + 80 * DAY_MS < found_ms < true_ms + 100 * DAY_MS
    place.clock_trusted = True
    for _ in range(40):  # and with a time that is proven it is renewed before it runs out
        place.run(days=5)
        assert (evidence.locks[key].until_ms or 0) > wall_ms(place.clock)
    assert place.state(hold).colour == "green"


@pytest.mark.fault("B23")
def test_a_lock_follows_the_clock_of_its_store(locking: tuple[EvidencePlace, LockingFolder]) -> None:
    place, evidence = locking
    (one,) = place.stored(1.0)
    place.hold()
    place.run()
    true_ms, key = wall_ms(place.clock), one.segment.object_key
    until_ms = evidence.locks[key].until_ms or 0
    for trusted in (False, True):
        place.clock_trusted = trusted
        place.clock.step_wall(TEN_YEARS_S)
        evidence.store_ms = true_ms + 2 * DAY_MS
        place.run()
        assert evidence.locks[key].until_ms == until_ms
        place.clock.step_wall(-TEN_YEARS_S)
    place.clock_trusted = False
    for days in range(5, 300, 5):
        evidence.store_ms = true_ms + days * DAY_MS
        place.run(days=5)
        assert evidence.store_ms < (evidence.locks[key].until_ms or 0) < evidence.store_ms + 100 * DAY_MS


@pytest.mark.fault("B23")
def test_footage_of_unknown_date_is_not_locked_from_a_time_that_nobody_trusts(
    locking: tuple[EvidencePlace, LockingFolder],
) -> None:
    place, evidence = locking
    (one,) = place.stored(1.0)
    values = {"time_trust": "unknown", "aged_from_ms": None}
    place.catalog.write(lambda c: c.execute(update(segment).values(**values)))
    place.hold()
    true_ms, place.clock_trusted = wall_ms(place.clock), False
    place.clock.step_wall(TEN_YEARS_S)
    assert place.run().copied == 1
    assert true_ms < (evidence.locks[one.segment.object_key].until_ms or 0) < true_ms + 100 * DAY_MS


@pytest.mark.fault("B23")
def test_a_copy_that_was_read_by_a_clock_that_ran_ahead_is_read_again(folders: EvidencePlace) -> None:
    (one,) = folders.stored(1.0)
    folders.hold()
    folders.clock.step_wall(TEN_YEARS_S)
    folders.run()
    folders.clock.step_wall(-TEN_YEARS_S)
    assert isinstance(folders.evidence, FolderEvidence)
    path = folders.evidence.root / one.segment.object_key
    path.chmod(0o640)
    path.write_bytes(bytes(one.segment.bytes))
    assert folders.run(days=1.1).missing == 1


def test_no_copy_goes_on_a_clock_that_nobody_trusts(folders: EvidencePlace) -> None:
    (one,) = folders.stored(1.0)
    hold = folders.hold()
    folders.run()
    folders.release(hold)
    folders.clock_trusted = False
    folders.run(days=4_000)
    assert held_whole(folders, [one])
    folders.clock_trusted = True
    folders.run(days=1.1)
    assert folders.evidence.head(one.segment.object_key) is None
