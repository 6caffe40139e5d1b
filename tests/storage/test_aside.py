"""What was put aside (damaged bytes, parts of a failing disk) ends with its source, in the sweep that deletes it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, update

from config.errors import Kind, TiergateError
from config.ids import ulid
from config.reasons import Reason
from config.units import DAY_MS, HOUR_MS
from storage import aside, damage, questions
from storage.aside import Aside
from storage.audit import log as audit
from storage.catalog import places, retention_rows, segments
from storage.catalog.cameras import NewCamera, create_camera
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import segment
from storage.classes import DELETE_WITHIN_MS, RetentionClass, keep_until_ms
from storage.keys import parse_quarantine_key, quarantine_key, segment_key
from storage.retention import Planner
from storage.spool import Spool
from storage.sweeper import Policies, Sweeper
from storage.uploader import Uploader
from tests.parts.wait import until
from tests.storage.sweep_place import CAMERA, OTHER, Place, sqlite_alone

DAY_S = 86_400
PIXELS = b"pictures of a street"
MONTH = RetentionClass("default", 0, 1, 30, 1, False)


class WithAside(Place):
    def __init__(self, folder: Path, catalog_url: str) -> None:
        super().__init__(folder, catalog_url)
        self.spool = Spool(folder / "spool", self.clock, "node")
        self.spool.prepare()

    def sweeper(self) -> Sweeper:
        found = Aside(self.store, self.spool, DAY_MS, chunk=3)
        return Sweeper(self.catalog, self.store, self.clock, self.evidence, DAY_MS, chunk_rows=7, aside=found)

    def replaced(self, row: SegmentRow) -> str:
        """Damaged bytes of a segment, as `storage.damage` puts them aside."""
        key = quarantine_key(row.object_key, self.now_ms)
        self.store.put_bytes(key, PIXELS)
        return key

    def failed_part(self, camera: str, segment_id: str) -> Path:
        """What salvage leaves of a part whose disk failed."""
        path = self.spool.path_of(camera, segment_id, ".failed")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(PIXELS)
        return self.spool.quarantine(path)

    def damaged_copy(self, end_ms: int) -> tuple[SegmentRow, Path]:
        """What was recorded and rotted in the spool before the store had it."""
        row = replace(self._segment(end_ms, CAMERA, "spooled"), volume=self.spool.volume_id)
        (self.store.root / row.object_key).unlink()
        self.catalog.write(lambda c: segments.insert_segments(c, [row]))
        path = self.spool.path_of(CAMERA, row.id)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(PIXELS)
        self.upload()
        return row, path

    def upload(self) -> None:
        uploader = Uploader(self.catalog, self.store, self.spool, self.clock)
        uploader.run_once()
        uploader.close()

    def camera(self) -> str:
        region = "210211001003"
        self.catalog.write(lambda c: places.seed_regions(c, region, "community", "社区", self.now_ms))
        new = NewCamera("门", region, (("main", "rtsp://10.0.0.1/a", None),))
        return self.catalog.write(lambda c: create_camera(c, new, "community", 32, self.now_ms)).id

    def fresh_id(self) -> str:
        self._made += 1
        return ulid(self.now_ms, self._made.to_bytes(10, "big"))

    def pass_days(self, days: float) -> None:
        """With a sweep each half day, as real ones come often."""
        for _ in range(round(days * 2)):
            self.clock.advance(DAY_S / 2)
            assert self.sweep().refused is None

    def entries(self, action: str) -> list[Any]:
        return [entry for entry in self.catalog.read(audit.entries) if entry.action == action]


def planner(connection: Connection) -> Planner:
    return Policies.read(connection).planner


@pytest.fixture
def place(tmp_path: Path, catalog_url: str) -> Iterator[WithAside]:
    made = WithAside(tmp_path, catalog_url)
    yield made
    made.catalog.close()


def test_the_name_of_damaged_bytes_says_whose_they_are() -> None:
    id_ = ulid(1, bytes(10))
    key = quarantine_key(segment_key("node", CAMERA, 1_780_000_000_000, id_), 5)
    assert parse_quarantine_key(key) == (CAMERA, id_)
    for strange in (f"node/_quarantine/5-1-{id_}.mp4", f"node/_quarantine/{CAMERA}/5-1-{id_}.mp4.tmp", "node/x", ""):
        assert parse_quarantine_key(strange) is None


def test_it_goes_in_the_sweep_that_deletes_its_source_and_not_before(place: WithAside) -> None:
    old, young = place.footage(place.now_ms - 40 * DAY_MS), place.footage(place.now_ms - 5 * DAY_MS)
    keys = {row.id: place.replaced(row) for row in (old, young)}
    parts = {row.id: place.failed_part(CAMERA, row.id) for row in (old, young)}
    assert len(place.sweep().condemned) == 1
    place.clock.advance(DAY_S - 60)
    assert place.sweep().deleted == []
    assert place.store.read(keys[old.id]) == PIXELS and parts[old.id].read_bytes() == PIXELS

    place.clock.advance(120)
    report = place.sweep()
    assert report.deleted == [old.id] and report.aside.deleted == 2
    assert place.store.head(keys[old.id]) is None and not parts[old.id].exists()
    assert place.store.read(keys[young.id]) == PIXELS and parts[young.id].read_bytes() == PIXELS
    (first, second) = place.entries("aside.delete")
    assert {*first.details["names"], *second.details["names"]} == {keys[old.id], parts[old.id].name}


def test_a_damaged_copy_in_the_spool_goes_at_its_end_and_not_before(place: WithAside) -> None:
    (old, gone), (young, kept) = place.damaged_copy(place.now_ms - 40 * DAY_MS), place.damaged_copy(place.now_ms)
    whole, _ = place.damaged_copy(place.now_ms - 39 * DAY_MS)
    place.spool.path_of(CAMERA, whole.id).write_bytes(b"")  # as its disk reads it now
    held, stays = place.damaged_copy(place.now_ms - 50 * DAY_MS)
    hold = place.hold(held.start_ms, held.end_ms)
    assert place.sweep(dry_run=True).aside.deleted == 2 and gone.exists()
    report = place.sweep()
    assert (report.aside.deleted, report.aside.failed) == (2, 0)
    assert (place.state(old), place.state(young), place.state(held)) == ("lost", "spooled", "spooled")
    assert not gone.exists() and list(place.spool.quarantined()) == []
    assert kept.read_bytes() == stays.read_bytes() == PIXELS
    assert [place.catalog.read(partial(damage.is_marked, segment_id=row.id)) for row in (old, young)] == [True, True]
    (given_up,) = place.entries("store.repair")
    assert given_up.details == {"from": "spooled", "to": "lost", "ids": sorted([old.id, whole.id])}
    names = {name for entry in place.entries("aside.delete") for name in entry.details["names"]}
    assert names == {f"{CAMERA}-{row.id}.mp4" for row in (old, whole)}
    place.catalog.write(lambda c: retention_rows.release_hold(c, hold, "somebody", place.now_ms))
    assert place.sweep().aside.deleted == 1 and not stays.exists()


@sqlite_alone
def test_a_damaged_copy_waits_for_its_grace_a_trusted_clock_and_its_volume(
    place: WithAside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, path = place.damaged_copy(place.now_ms - 40 * DAY_MS)
    until_ms = keep_until_ms(row.end_ms, MONTH)
    assert until_ms is not None
    place.clock.advance((until_ms + DAY_MS - place.now_ms) / 1000 - 60)
    assert place.sweep().refused is None and path.exists(), "in its grace"
    place.clock.advance(120)
    place.synchronised, place.boot = False, "boot-2"
    assert place.sweep().refused is not None and path.exists()
    place.synchronised = True
    place.spool.root.rename(tmp_path / "unplugged")
    assert place.sweep().refused is None and place.state(row) == "spooled"
    (tmp_path / "unplugged").rename(place.spool.root)
    with monkeypatch.context() as patched:  # killed between the two steps
        patched.setattr(Spool, "quarantine", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        assert place.sweep().aside.failed == 1
    assert place.state(row) == "lost" and path.exists()
    place.upload()
    assert path.exists()
    assert place.sweep().aside.deleted == 1
    assert not path.exists() and place.now_ms < until_ms + DELETE_WITHIN_MS


@sqlite_alone
def test_a_copy_that_is_whole_after_all_is_stored_and_no_longer_marked(place: WithAside) -> None:
    row, path = place.damaged_copy(place.now_ms - 5 * DAY_MS)
    assert place.catalog.read(lambda c: damage.is_marked(c, row.id))
    whole = b"as it was recorded"
    path.write_bytes(whole)
    values = {"bytes": len(whole), "sha256": hashlib.sha256(whole).digest()}
    place.catalog.write(lambda c: c.execute(update(segment).where(segment.c.id == row.id).values(**values)))
    place.upload()
    assert place.state(row) == "stored" and not place.catalog.read(lambda c: damage.is_marked(c, row.id))


@sqlite_alone
def test_a_hold_keeps_it_as_long_as_its_source(place: WithAside) -> None:
    row = place.footage(place.now_ms)
    key, part = place.replaced(row), place.failed_part(CAMERA, row.id)
    hold = place.hold(row.start_ms, row.end_ms)
    place.pass_days(90)
    assert place.state(row) == "stored"
    assert place.store.read(key) == PIXELS and part.read_bytes() == PIXELS
    place.catalog.write(lambda c: retention_rows.release_hold(c, hold, "somebody", place.now_ms))
    place.pass_days(2)
    assert place.state(row) == "deleted"
    assert place.store.head(key) is None and not part.exists()


def test_a_hold_placed_after_the_row_was_deleted_still_keeps_what_is_left(place: WithAside) -> None:
    """The store did not delete it for days; meanwhile somebody ordered that footage of that time stays."""
    row = place.footage(place.now_ms - 40 * DAY_MS, state="deleted")
    key = place.replaced(row)
    hold = place.hold(row.start_ms, row.end_ms)
    place.pass_days(3)
    assert place.store.read(key) == PIXELS
    place.catalog.write(lambda c: retention_rows.release_hold(c, hold, "somebody", place.now_ms))
    place.pass_days(1)
    assert place.store.head(key) is None


def test_every_state_in_which_the_source_is_there_or_on_its_way_keeps_it(place: WithAside) -> None:
    states = ("spooled", "stored", "condemned", "deleting", "lost", "deleted")
    rows = {state: place.footage(place.now_ms - 60 * DAY_MS, state=state) for state in states}
    for row in rows.values():
        place.replaced(row)
    found = Aside(place.store, place.spool, DAY_MS)
    report = found.sweep(place.catalog, planner, lambda: None, "test", place.now_ms)
    left = {parse_quarantine_key(info.key) for info in place.store.list("node/_quarantine/")}
    assert report.deleted == 2
    assert left == {(CAMERA, row.id) for state, row in rows.items() if state not in ("lost", "deleted")}


@pytest.mark.fault("B34")
def test_a_spool_disk_that_hangs_ends_no_sweep(place: WithAside, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in the store is judged; the disk's own files another time."""
    monkeypatch.setattr(questions, "ANSWER_S", 0.5)
    row = place.footage(place.now_ms - 60 * DAY_MS, state="deleted")
    key, part = place.replaced(row), place.failed_part(CAMERA, row.id)
    answers = threading.Event()
    quarantined = place.spool.quarantined

    def hang() -> Iterator[Path]:
        answers.wait(60)
        return quarantined()

    with monkeypatch.context() as disk:
        disk.setattr(place.spool, "quarantined", hang)
        report = place.sweep().aside
    assert (report.deleted, report.failed) == (1, 1)
    assert place.store.head(key) is None and part.exists()
    answers.set()
    until(lambda: place.sweep().aside.deleted == 1, 20, "the disk answers")
    assert not part.exists()


def test_what_is_left_of_lost_footage_keeps_its_time(place: WithAside) -> None:
    row = place.footage(place.now_ms)
    part = place.failed_part(CAMERA, row.id)
    place.catalog.write(lambda c: segments.set_state(c, [row.id], ["stored"], "lost"))
    until_ms = keep_until_ms(row.end_ms, MONTH)
    assert until_ms is not None
    place.clock.advance((until_ms + DAY_MS - place.now_ms) / 1000 - 60)
    place.sweep()
    assert part.exists()
    place.clock.advance(120)
    assert place.sweep().aside.deleted == 1
    assert not part.exists()


@sqlite_alone
@pytest.mark.parametrize("keeps", ["default", "key", "hold"])
def test_without_a_row_it_ages_from_when_a_proven_clock_first_saw_it(place: WithAside, keeps: str) -> None:
    """Its name may be of 1970: what a camera's areas and holds were at any time before counts for it."""
    camera = place.camera()
    part = place.failed_part(camera, place.fresh_id())
    other = place.failed_part(OTHER, place.fresh_id())
    key = quarantine_key(segment_key("node", camera, 0, place.fresh_id()), 0)
    place.store.put_bytes(key, PIXELS)
    if keeps == "hold":
        hold = place.hold(place.now_ms - 900 * DAY_MS, place.now_ms - 890 * DAY_MS, camera)
    if keeps == "key":
        area = places.Area("A", "key place", "key", "", place.now_ms - DAY_MS, None, (camera,))
        place.catalog.write(lambda c: places.add_area(c, area))
    place.synchronised = False
    assert place.sweep().refused is not None
    assert place.fact(aside.SEEN) is None
    place.synchronised = True
    place.pass_days(0.5)
    first_ms = place.now_ms
    month_ms = keep_until_ms(first_ms, MONTH)
    assert month_ms is not None
    place.pass_days((month_ms + DAY_MS - first_ms) / DAY_MS - 0.5)
    assert part.exists() and other.exists() and place.store.head(key) is not None
    place.pass_days(1)
    assert not other.exists(), "the other camera's has no reason to stay"
    assert place.now_ms < month_ms + DELETE_WITHIN_MS
    if keeps == "default":
        assert not part.exists() and place.store.head(key) is None
        assert place.fact(aside.SEEN) == {}
        return
    place.pass_days(30)
    assert part.exists() and place.store.head(key) is not None
    if keeps == "hold":
        place.catalog.write(lambda c: retention_rows.release_hold(c, hold, "somebody", place.now_ms))
    place.pass_days(35)
    assert not part.exists() and place.store.head(key) is None


def test_what_does_not_say_whose_it_is_stays_and_is_counted(place: WithAside) -> None:
    (place.spool.root / "quarantine").mkdir()
    strange = [place.spool.root / "quarantine" / name for name in ("notes.txt", f"{CAMERA}-nothing.part")]
    for path in strange:
        path.write_bytes(PIXELS)
    place.store.put_bytes("node/_quarantine/strange.mp4", PIXELS)
    place.pass_days(2)
    place.clock.advance(400 * DAY_S)
    assert place.sweep().aside.unknown == 3
    assert all(path.exists() for path in strange)
    assert place.store.read("node/_quarantine/strange.mp4") == PIXELS


def test_what_has_no_known_source_is_remembered_until_a_sweep_sees_that_it_is_gone(
    place: WithAside, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place.spool.root / "quarantine"
    folder.mkdir()
    (folder / "notes.txt").write_bytes(PIXELS)
    for name in ("strange", "b", "c", "d"):  # more than one chunk
        place.store.put_bytes(f"node/_quarantine/{name}.mp4", PIXELS)
    place.sweeper().sweep(dry_run=True)
    assert place.fact(aside.UNKNOWN) is None, "a dry run remembers nothing"
    place.sweep()
    told: Any = place.fact(aside.UNKNOWN)
    assert told["store"] == {"count": 4, "first": "node/_quarantine/b.mp4"}
    (spool,) = (what for where, what in told.items() if where != "store")
    assert spool == {"count": 1, "first": "notes.txt"}

    def away(prefix: str = "", start_after: str = "") -> Any:
        raise TiergateError(Kind.UNAVAILABLE, "media.store_unavailable", problem="timeout")

    monkeypatch.setattr(place.store, "list", away)
    (folder / "notes.txt").unlink()
    place.sweep()
    assert place.fact(aside.UNKNOWN) == {"store": told["store"]}, "a store that is away has not been emptied"
    monkeypatch.undo()
    for name in ("strange", "b", "c", "d"):
        place.store.delete(f"node/_quarantine/{name}.mp4")
    place.sweep()
    assert place.fact(aside.UNKNOWN) == {}


@pytest.mark.fault("B17")
def test_one_that_cannot_be_deleted_holds_up_no_other_and_is_tried_again(
    place: WithAside, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [place.footage(place.now_ms - 40 * DAY_MS + n, state="deleted") for n in range(8)]
    keys = [place.replaced(row) for row in rows]
    part = place.failed_part(CAMERA, rows[0].id)
    delete = place.store.delete

    def refuse(key: str, version_id: str | None = None) -> None:
        if key == keys[1]:
            raise TiergateError(Kind.UNAVAILABLE, "media.store_unavailable", problem="403")
        delete(key, version_id)

    monkeypatch.setattr(place.store, "delete", refuse)
    report = place.sweep()
    assert (report.aside.deleted, report.aside.failed, report.as_json()["failed"]) == (8, 1, 1)
    assert not part.exists() and [k for k in keys if place.store.head(k) is not None] == [keys[1]]
    monkeypatch.undo()
    assert place.sweep().aside.deleted == 1


@pytest.mark.fault("B17")
def test_a_store_that_does_not_answer_keeps_no_spool_file_longer(
    place: WithAside, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = place.footage(place.now_ms - 40 * DAY_MS, state="deleted")
    rowless = quarantine_key(segment_key("node", CAMERA, 0, place.fresh_id()), 0)
    place.store.put_bytes(rowless, PIXELS)
    place.sweep()
    seen = place.fact(aside.SEEN)
    part = place.failed_part(CAMERA, row.id)

    def away(prefix: str = "", start_after: str = "") -> Any:
        raise TiergateError(Kind.UNAVAILABLE, "media.store_unavailable", problem="timeout")

    monkeypatch.setattr(place.store, "list", away)
    place.clock.advance(HOUR_MS / 1000)
    report = place.sweep()
    assert (report.aside.deleted, report.aside.failed) == (1, 1)
    assert not part.exists()
    assert place.fact(aside.SEEN) == seen != {}, "what could not be listed has not been seen for the first time"


def test_a_dry_run_says_it_and_does_nothing(place: WithAside) -> None:
    row = place.footage(place.now_ms - 40 * DAY_MS, state="deleted")
    key, part = place.replaced(row), place.failed_part(CAMERA, place.fresh_id())
    report = place.sweep(dry_run=True)
    assert (report.aside.deleted, report.as_json()["aside_deleted"]) == (1, 1)
    assert place.store.head(key) is not None and part.exists()
    assert place.fact(aside.SEEN) is None and place.entries("aside.delete") == []


def test_a_clock_that_steps_while_the_sweep_runs_deletes_nothing(place: WithAside) -> None:
    row = place.footage(place.now_ms - 40 * DAY_MS, state="deleted")
    key = place.replaced(row)
    found = Aside(place.store, place.spool, DAY_MS)
    stepped = Reason("retention.clock_stepped", {"step_s": 90})
    found.sweep(place.catalog, planner, lambda: stepped, "test", place.now_ms)
    assert place.store.head(key) is not None
