"""Second copies of held footage, on a folder and on real S3 servers: made, proven, and let go last of all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import update

from config.clock import wall_ms
from config.errors import TiergateError
from config.reasons import Reason
from storage import check, damage
from storage.audit import log as audit
from storage.catalog import segments
from storage.catalog.retention_rows import HoldRow
from storage.catalog.tables import segment
from storage.check import Repairer
from storage.evidence import EvidenceSource
from storage.objects import base
from storage.objects.evidence import FolderEvidence
from storage.objects.folder import FolderStore
from storage.objects.s3_evidence import S3Evidence
from tests.media import WALL_NS
from tests.parts.s3 import S3Server
from tests.storage.evidence_child import POINTS
from tests.storage.evidence_place import (
    SERVERS,
    TO_MS,
    EvidencePlace,
    evidence_on,
    held_whole,
    in_bucket,
    place_on,
)
from tests.storage.footage import Recorded
from tests.storage.test_check import upload


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


def actions(place: EvidencePlace) -> list[str]:
    return [entry.action for entry in place.catalog.read(lambda c: audit.entries(c))]


def remove_behind_our_back(place: EvidencePlace, one: Recorded) -> None:
    """As an administrator of the store can: with the right to bypass."""
    key, version = one.segment.object_key, place.copy(one).version_id
    if isinstance(place.evidence, S3Evidence):
        place.evidence._request(
            "DELETE", key, {"x-amz-bypass-governance-retention": "true"}, query={"versionId": str(version)}
        )
    else:
        place.evidence.delete(key)
    assert not place.evidence.has_version(key, version, one.segment.bytes)


def test_a_hold_is_green_when_all_that_it_covers_is_in_both_places_and_nothing_else_is(place: EvidencePlace) -> None:
    past = place.stored()
    hold = place.hold(to_ms=past[1].segment.end_ms - 1)  # touches two of four
    assert place.state(hold).colour == "yellow"
    assert place.run().copied == 2
    state = place.state(hold)
    assert (state.colour, state.standing.segments, state.standing.verified) == ("green", 2, 2)
    assert held_whole(place, past[:2])
    assert [info.key for info in place.evidence.list()] == [one.segment.object_key for one in past[:2]]
    assert place.run().copied == 0  # nothing is done twice


@pytest.mark.fault("B21")
def test_footage_that_comes_while_the_hold_stands_is_copied_as_it_is_stored(place: EvidencePlace) -> None:
    hold = place.hold(to_ms=TO_MS + 3_600_000)
    assert (place.run().copied, place.state(hold).colour) == (0, "none")
    first = place.stored()
    assert place.run().copied == len(first)
    on_its_way = place.recorded(wall_ns=WALL_NS + 30 * 10**9)
    place.run()
    state = place.state(hold)
    assert (state.colour, state.standing.waiting) == ("yellow", len(on_its_way))
    assert state.standing.oldest_waiting_ms == hold.created_ms  # it could not wait longer than the hold stands
    upload(place.catalog, place.store, place.spool)
    assert place.run().copied == len(on_its_way)
    assert place.state(hold).colour == "green"
    assert held_whole(place, first + on_its_way)


def test_footage_of_unknown_date_is_copied_by_when_it_was_first_seen(place: EvidencePlace) -> None:
    """A camera whose battery died says 1970: what it shows may be of any time before somebody saw it."""
    old = place.stored(wall_ns=4 * 10**9)

    def change(aged_from_ms: int | None) -> None:
        values = {"time_trust": "unknown", "aged_from_ms": aged_from_ms}
        place.catalog.write(lambda c: c.execute(update(segment).values(**values)))

    change(None)
    coming = place.hold(from_ms=wall_ms(place.clock) + 3_600_000, to_ms=wall_ms(place.clock) + 7_200_000)
    assert place.run().copied == 0  # what has ended is not of tomorrow
    assert place.state(coming).colour == "none"
    place.release(coming)
    change(TO_MS)
    later = place.hold(from_ms=TO_MS + 1, to_ms=TO_MS + 60_000)
    assert place.run().copied == 0
    assert place.state(later).colour == "none"
    place.release(later)
    hold = place.hold()
    assert place.state(hold).colour == "yellow"
    assert place.run().copied == len(old)
    assert place.state(hold).colour == "green" and held_whole(place, old)


def test_a_copy_has_bytes_of_its_own_and_cannot_be_written(folders: EvidencePlace) -> None:
    (one, *_) = folders.stored(1.0)
    folders.hold()
    folders.run()
    store, evidence = folders.store, folders.evidence
    assert isinstance(store, FolderStore) and isinstance(evidence, FolderEvidence)
    first, second = (root / one.segment.object_key for root in (store.root, evidence.root))
    assert first.stat().st_ino != second.stat().st_ino
    assert second.stat().st_nlink == 1
    assert second.stat().st_mode & 0o222 == 0
    first.chmod(0o640)
    first.write_bytes(b"rot")
    assert held_whole(folders, [one])


def test_one_segment_that_cannot_be_copied_stops_no_other_and_the_hold_is_red(place: EvidencePlace) -> None:
    recorded = place.stored()
    place.spoil_main(recorded[0])
    hold = place.hold()
    report = place.run()
    assert (report.copied, report.failed) == (len(recorded) - 1, 1)
    assert held_whole(place, recorded[1:])
    # Nothing that is not what was recorded is left in the evidence store as if it were.
    assert place.evidence.versions(recorded[0].segment.object_key) == []
    state = place.state(hold)
    assert (state.colour, state.standing.bad, state.standing.verified) == ("red", 1, len(recorded) - 1)
    assert place.catalog.read(lambda c: damage.is_marked(c, recorded[0].segment.id))
    assert place.copy(recorded[0]).problem == "media.object_corrupt"


class OneBadKey(FolderEvidence):
    """A folder on a disk of which one directory cannot be read any more."""

    bad = ""

    def versions(self, key: str) -> Sequence[str | None]:
        if key == self.bad:
            raise base.unavailable("EIO")
        return super().versions(key)


def test_one_copy_whose_end_fails_stops_no_other(tmp_path: Path) -> None:
    """Ordered, and released before it was made; what a later hold orders waits behind it. (B17)"""
    evidence = OneBadKey(tmp_path / "objects-evidence")
    place = EvidencePlace(tmp_path, evidence=evidence)
    recorded = place.stored()
    evidence.bad = recorded[0].segment.object_key
    hold = place.hold()
    place.keeper().run(copies=0)  # all are ordered, none is made
    place.release(hold)
    again = place.hold(from_ms=recorded[1].segment.start_ms + 1)
    report = place.run()
    assert (report.copied, report.failed, report.away) == (len(recorded) - 1, 1, False)
    assert place.state(again).colour == "green"
    assert (place.copy(recorded[0]).state, place.copy(recorded[0]).tries) == ("wanted", 1)
    evidence.bad = ""
    place.run(days=1.1)
    assert place.copy(recorded[0]).state == "gone"
    place.catalog.close()


def test_a_copy_under_a_legal_hold_that_was_removed_behind_our_back_ends_with_its_hold(
    minio_server: S3Server, tmp_path: Path
) -> None:
    name = minio_server.new_bucket()
    place = EvidencePlace(tmp_path, in_bucket(minio_server, name), evidence_on(minio_server, f"{name}-evidence"))
    (one,) = place.stored(1.0)
    hold = place.hold(class_name="permanent")
    place.run()
    key, version = one.segment.object_key, place.copy(one).version_id
    assert place.copy(one).legal_hold
    place.evidence.lift_legal_hold(key, version)
    remove_behind_our_back(place, one)
    place.release(hold)
    place.run(days=1.1)
    assert place.copy(one).state == "gone"
    place.catalog.close()


def test_a_copy_that_was_removed_behind_our_back_is_found_told_and_made_again(place: EvidencePlace) -> None:
    recorded = place.stored()
    hold = place.hold()
    place.run()
    remove_behind_our_back(place, recorded[0])
    assert place.run(days=1.1).missing == 1
    assert "evidence.missing" in actions(place)
    assert place.state(hold).colour == "yellow"
    assert place.run().copied == 1
    assert place.state(hold).colour == "green"
    assert held_whole(place, recorded)


def test_a_copy_that_rots_is_found_by_reading_it_and_made_again(folders: EvidencePlace) -> None:
    recorded = folders.stored()
    hold = folders.hold()
    folders.run()
    assert isinstance(folders.evidence, FolderEvidence)
    path = folders.evidence.root / recorded[0].segment.object_key
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o640)
    path.write_bytes(data)
    assert folders.run(days=1.1).missing == 0  # its size is right
    assert folders.run(days=30).missing == 1
    assert folders.run().copied == 1
    assert folders.state(hold).colour == "green"
    assert held_whole(folders, recorded)


@pytest.mark.fault("B17", "B30")
def test_copies_that_the_disk_cannot_read_are_made_again_and_hold_nothing_up(folders: EvidencePlace) -> None:
    recorded = folders.stored(6.0)
    hold = folders.hold()
    folders.run()
    assert isinstance(folders.evidence, FolderEvidence)
    for one in recorded[:3]:
        path = folders.evidence.root / one.segment.object_key
        path.unlink()
        path.symlink_to("/proc/self/mem")  # Linux answers EIO to whoever reads there from the beginning
        with pytest.raises(OSError, match="Input/output error"):
            path.read_bytes()
    assert folders.run(days=31).missing == 3
    report = folders.run()
    assert (report.copied, report.failed, report.away) == (3, 0, False)
    assert folders.state(hold).colour == "green"
    assert held_whole(folders, recorded)


@pytest.mark.fault("B17", "B30")
def test_a_copy_that_the_disk_cannot_read_stays_until_a_whole_one_takes_its_place(folders: EvidencePlace) -> None:
    (one,) = folders.stored(1.0)
    hold = folders.hold()
    folders.run()
    assert isinstance(folders.evidence, FolderEvidence)
    path = folders.evidence.root / one.segment.object_key
    path.unlink()
    path.symlink_to("/proc/self/mem")
    folders.run(days=31)
    folders.spoil_main(one)
    for _ in range(3):
        folders.run(days=1)
    assert path.is_symlink()
    assert folders.state(hold).colour == "red"


@pytest.mark.fault("B17", "B30")
def test_main_copies_that_the_disk_cannot_read_turn_their_hold_red_and_hold_nothing_up(folders: EvidencePlace) -> None:
    recorded = folders.stored(6.0)
    hold = folders.hold()
    assert isinstance(folders.store, FolderStore)
    for one in recorded[:3]:
        path = folders.store.root / one.segment.object_key
        path.unlink()
        path.symlink_to("/proc/self/mem")
    report = folders.run()
    assert (report.copied, report.failed, report.away) == (len(recorded) - 3, 3, False)
    assert (folders.state(hold).colour, folders.state(hold).standing.bad) == ("red", 3)


@pytest.mark.fault("B26", "B30")
def test_the_version_that_is_whole_is_shown_and_mends_whatever_lies_below_and_above_it(place: EvidencePlace) -> None:
    """Below: one that rotted under its lock. Above: what a hand put or deleted there since."""
    one, *others = place.stored()
    key, sha256 = one.segment.object_key, one.segment.sha256
    whole = place.store.read(key)
    place.evidence.put_bytes(key, bytes(one.segment.bytes))
    hold = place.hold()
    assert place.run().copied == 1 + len(others)
    if isinstance(place.evidence, S3Evidence):
        assert len(place.evidence.versions(key)) == 2
        place.evidence._client.remove_object(place.evidence.bucket, key)
    source = EvidenceSource(place.catalog, place.evidence)
    found = source.whole(one.segment.id, key, sha256)
    assert found is not None and source.read(found, 5, 100) == whole[5:105]
    assert source.read(found, len(whole), 100) == b""
    place.store.delete(key)
    for spooled in (one, *others):
        spooled.path.unlink(missing_ok=True)
    place.run(days=1.1)
    assert place.store.read(key) == whole
    assert place.state(hold).colour == "green"


class OneOddKey(FolderEvidence):
    """A store whose client fails at one key in a way that nobody foresaw."""

    odd = ""

    def has_version(self, key: str, version_id: str | None, bytes: int) -> bool:
        if key == self.odd:
            raise ValueError("no XML")
        return super().has_version(key, version_id, bytes)


@pytest.mark.fault("B17")
def test_a_look_that_fails_in_a_way_nobody_foresaw_stops_no_other(tmp_path: Path) -> None:
    evidence = OneOddKey(tmp_path / "objects-evidence")
    place = EvidencePlace(tmp_path, evidence=evidence)
    recorded = place.stored()
    hold = place.hold()
    place.run()
    first = min(recorded, key=lambda one: (place.copy(one).next_ms, one.segment.id))
    evidence.odd = first.segment.object_key
    report = place.run(days=1.1)
    assert (report.looked_at, report.failed, report.away) == (len(recorded), 1, False)
    assert (place.copy(first).state, place.copy(first).problem) == ("verified", "ValueError")
    evidence.odd = ""
    place.run(days=0.1)
    assert (place.copy(first).problem, place.state(hold).colour) == (None, "green")
    place.catalog.close()


def test_a_main_copy_that_is_gone_comes_back_from_the_evidence(place: EvidencePlace) -> None:
    recorded = place.stored()
    hold = place.hold()
    place.run()
    place.store.delete(recorded[0].segment.object_key)
    place.run(days=1.1)
    assert place.store.read(recorded[0].segment.object_key) == place.evidence.read(recorded[0].segment.object_key)
    assert "store.replace" in actions(place)
    assert place.state(hold).colour == "green"


def lose_spool(place: EvidencePlace, lost: Sequence[Recorded], hold_between: bool = False) -> HoldRow | None:
    """The disk under the spool dies; an hour later the repair gives up what it had."""
    for one in lost:
        one.path.unlink(missing_ok=True)
    hold: HoldRow | None = None
    for days in (0, 0.05):
        place.clock.advance(days * 86_400)
        report = check.check(place.catalog, place.store, place.spool, wall_ms(place.clock))
        if hold_between:
            place.clock.advance(60)
            hold = place.hold()
        Repairer(place.catalog, place.store, place.spool, "test").repair(report, 0, wall_ms(place.clock))
    for one in lost:
        assert place.catalog.read(lambda c, one=one: segments.existing(c, [one.segment.id])) == {one.segment.id: "lost"}  # type: ignore[misc]  # bound defaults
    return hold


@pytest.mark.fault("B21")
def test_held_footage_that_is_lost_before_it_was_copied_turns_its_hold_red(folders: EvidencePlace) -> None:
    folders.stored()
    hold = folders.hold(to_ms=TO_MS + 3_600_000)
    folders.run()
    assert folders.state(hold).colour == "green"
    waiting = folders.recorded(wall_ns=WALL_NS + 30 * 10**9)
    damage_first = waiting[0].segment
    folders.catalog.write(lambda c: damage.mark(c, damage_first, Reason("media.segment_damaged"), hold.created_ms - 1))
    before = folders.state(hold).standing
    lose_spool(folders, waiting)
    state = folders.state(hold)
    assert (state.colour, state.standing.bad) == ("red", len(waiting))
    assert state.standing.segments == before.segments  # none of it drops out of the sum
    folders.clock.advance(60)
    later = folders.hold(to_ms=TO_MS + 3_600_000)
    folders.run()
    assert (folders.state(later).colour, folders.state(hold).colour) == ("green", "red")


def test_a_hold_that_comes_while_the_repair_gives_up_its_footage_is_red(folders: EvidencePlace) -> None:
    hold = lose_spool(folders, folders.recorded(), hold_between=True)
    assert hold is not None and folders.state(hold).colour == "red"


# --- faults in the middle ---


class _Stopping(S3Evidence):
    """The server is killed between the making of the third copy and its reading back."""

    server_child: S3Server
    reads = 0
    hits = 0

    def is_whole(self, key: str, version_id: str | None, sha256: bytes) -> bool:
        type(self).reads += 1
        if type(self).reads == 3:
            type(self).hits += 1
            self.server_child.kill()
        return super().is_whole(key, version_id, sha256)


@pytest.mark.real
def test_a_server_stopped_in_mid_copy_costs_nothing(s3_factory: Callable[[], S3Server], tmp_path: Path) -> None:
    server = s3_factory()
    bucket = server.new_bucket()
    place = EvidencePlace(tmp_path, in_bucket(server, bucket), evidence_on(server, f"{bucket}-evidence"))
    recorded = place.stored(8.0)
    hold = place.hold()
    _Stopping.reads = _Stopping.hits = 0
    _Stopping.server_child = server
    report = place.run(evidence=evidence_on(server, f"{bucket}-evidence", _Stopping))
    assert _Stopping.hits == 1
    assert (report.copied, report.away) == (2, True)
    for _ in range(4):  # a store that is away makes no segment bad
        place.clock.advance(600)
        assert place.run().away
    assert place.state(hold).colour == "yellow"
    server.start()
    place.clock.advance(3_600)
    assert place.run().copied == len(recorded) - 2
    assert place.state(hold).colour == "green"
    assert held_whole(place, recorded)
    for one in recorded:  # what the stopped pass had left was found, not made twice
        assert len(place.evidence.versions(one.segment.object_key)) == 1
    place.catalog.close()


@pytest.mark.real
@pytest.mark.parametrize("where", ["folder", "minio_server"])
def test_a_pass_that_is_killed_anywhere_is_made_up_for(
    request: pytest.FixtureRequest, tmp_path: Path, where: str, counted: Callable[[object], None]
) -> None:
    kills = 0
    points = (POINTS[1], POINTS[4]) if where == "folder" else POINTS[:4]  # a real lock runs for three months
    for number, point in enumerate(points):
        folder = tmp_path / str(number)
        folder.mkdir()
        settings: dict[str, str] = {}
        if where == "folder":
            place = EvidencePlace(folder)
        else:
            server = request.getfixturevalue(where)
            bucket = server.new_bucket()
            settings = server.settings(bucket) | {"bucket": bucket}
            place = EvidencePlace(folder, in_bucket(server, bucket), evidence_on(server, settings["evidence_bucket"]))
        recorded = place.stored()
        hold = place.hold()
        if point.endswith("delete_version"):
            place.run()
            place.release(hold)
            place.clock.advance(2 * 86_400)
        argv = [sys.executable, "-m", "tests.storage.evidence_child", str(folder), point, str(place.clock.wall_ns())]
        done = subprocess.run(argv, input=json.dumps(settings), text=True, capture_output=True, cwd=os.getcwd())
        assert done.returncode == -signal.SIGKILL, done.stderr
        kills += 1
        place.clock.advance(60)
        place.run()
        if point.endswith("delete_version"):
            assert [place.copy(one).state for one in recorded] == ["gone"] * len(recorded)
            assert list(place.evidence.list()) == []
            assert len(list(place.store.list())) == len(recorded)
        else:
            assert place.state(hold).colour == "green", point
            assert held_whole(place, recorded)
            versions = [len(place.evidence.versions(one.segment.object_key)) for one in recorded]
            assert versions == [1] * len(recorded), point
            if isinstance(place.evidence, S3Evidence):  # no row is verified before its copy is locked
                for one in recorded:
                    with pytest.raises(TiergateError) as refused:
                        place.evidence.delete_version(one.segment.object_key, place.copy(one).version_id)
                    assert refused.value.reason.code == "media.store_refused"
        place.catalog.close()
    counted(f"{where}: kills {kills}, copies lost or made twice 0")
    assert kills == len(points)
