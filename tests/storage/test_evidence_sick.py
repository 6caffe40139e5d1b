"""Copies and main copies that a store does not give: told apart from a store that is away, made again, mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import damage, patience
from storage.objects import base
from storage.objects.evidence import FolderEvidence
from tests.storage.evidence_place import EvidencePlace, held_whole
from tests.storage.sick import SickEvidence, SickStore


@pytest.fixture
def sick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[EvidencePlace, SickStore, SickEvidence]]:
    """Two stores of which each may refuse to give some of what it has."""
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    store = SickStore(tmp_path / "objects", "InternalError")
    second = SickEvidence(tmp_path / "objects-evidence", "InternalError")
    made = EvidencePlace(tmp_path, store, second)
    yield made, store, second
    made.catalog.close()


Sick = tuple[EvidencePlace, SickStore, SickEvidence]


@pytest.mark.fault("B30", "B31")
@pytest.mark.parametrize("blind", [False, True])
def test_copies_that_the_store_does_not_give_are_no_copies_and_are_made_again(sick: Sick, blind: bool) -> None:
    place, _, second = sick
    recorded = place.stored(6.0)
    hold = place.hold()
    place.run()
    (second.blind if blind else second.sick).update(one.segment.object_key for one in recorded[:2])
    report = place.run(days=31)
    assert (report.missing, report.looked_at, report.away) == (2, len(recorded), False)
    assert place.state(hold).colour == "yellow"
    assert place.run().copied == 2
    assert place.state(hold).colour == "green" and held_whole(place, recorded)


@pytest.mark.fault("B31")
def test_an_evidence_store_that_gives_nothing_changes_no_row(sick: Sick) -> None:
    place, _, second = sick
    recorded = place.stored(6.0)
    hold = place.hold()
    place.run()
    second.away = True
    for _ in range(5):
        report = place.run(days=31)
        assert (report.away, report.missing) == (True, 0)
    assert {place.copy(one).state for one in recorded} == {"verified"}
    second.away = False
    assert place.run(days=1).looked_at == len(recorded)
    assert place.state(hold).colour == "green"


@pytest.mark.fault("B30", "B31")
def test_a_hold_is_red_when_the_main_copy_is_gone_and_the_second_cannot_be_read(sick: Sick) -> None:
    place, store, second = sick
    one, *others = place.stored(6.0)
    hold = place.hold()
    place.run()
    whole = store.read(one.segment.object_key)
    store.delete(one.segment.object_key)
    second.sick.add(one.segment.object_key)
    assert place.run(days=1.1).looked_at == 1 + len(others)
    state = place.state(hold)
    assert (state.colour, state.standing.bad, state.standing.verified) == ("red", 1, len(others))
    # The server has mended it: it takes the main copy's place again.
    second.sick.clear()
    place.run(days=1)
    place.run(days=1.1)
    assert place.state(hold).colour == "green" and store.read(one.segment.object_key) == whole


@pytest.mark.fault("B17", "B30")
def test_a_main_copy_that_the_store_does_not_give_turns_its_hold_red_and_stops_no_other(sick: Sick) -> None:
    place, store, _ = sick
    recorded = place.stored(6.0)
    store.sick.update(one.segment.object_key for one in recorded[:3])
    hold = place.hold()
    report = place.run()
    assert (report.copied, report.failed, report.away) == (len(recorded) - 3, 3, False)
    for _ in range(3):
        place.run(days=0.1)
    assert (place.state(hold).colour, place.state(hold).standing.bad) == ("red", 3)


@pytest.mark.fault("B30")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_a_look_mends_a_main_copy_that_not_even_shows_itself(sick: Sick, problem: str) -> None:
    place, store, _ = sick
    recorded = place.stored(6.0)
    hold = place.hold()
    place.run()
    place.spoil_main(recorded[0])
    store.problem = problem
    store.blind.add(recorded[0].segment.object_key)
    place.run(days=1.1)
    store.blind.clear()
    assert damage.digest_of(store, recorded[0].segment.object_key) == recorded[0].segment.sha256
    assert place.state(hold).colour == "green"


class StaleFile(FolderEvidence):
    """A mount that has lost track of one file: any other under its name is well."""

    stale = 0  #: inode

    def is_whole(self, key: str, version_id: str | None, sha256: bytes) -> bool:
        if (self.root / key).stat().st_ino == self.stale:
            raise base.unavailable("ESTALE")
        return super().is_whole(key, version_id, sha256)


@pytest.mark.fault("B30", "B34")
def test_a_file_that_the_mount_does_not_give_is_replaced_by_a_whole_one_and_by_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    evidence = StaleFile(tmp_path / "objects-evidence")
    place = EvidencePlace(tmp_path, evidence=evidence)
    one, *_ = place.stored()
    hold = place.hold()
    place.run()
    path = evidence.root / one.segment.object_key
    evidence.stale = path.stat().st_ino
    whole = place.store.read(one.segment.object_key)
    place.spoil_main(one)
    assert place.run(days=31).missing == 1
    place.run()
    assert path.read_bytes() == whole and path.stat().st_ino == evidence.stale
    place.store.delete(one.segment.object_key)
    place.store.put_bytes(one.segment.object_key, whole)
    place.run(days=0.1)
    assert path.read_bytes() == whole and path.stat().st_ino != evidence.stale
    assert place.copy(one).state == "verified" and place.state(hold).standing.waiting == 0
    place.catalog.close()
