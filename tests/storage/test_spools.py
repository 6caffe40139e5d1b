"""Several spool volumes: recognised by place, read as one, and nothing is judged of one that is not there."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from config.clock import ManualClock, SystemClock
from config.errors import TiergateError
from config.settings import build
from storage import questions
from storage.catalog import segments
from storage.catalog.engine import Catalog
from storage.check import check
from storage.lanes import Lanes
from storage.objects.folder import FolderStore
from storage.spool import Spool
from storage.spools import Spools, make_spools, require_volume
from storage.uploader import LEFTOVERS_EVERY_S, Uploader
from storage.volume import IDENTITY_FILE
from tests.media import WALL_NS
from tests.storage.footage import CAMERA, NODE, Recorded, insert, make_catalog, record


class Shelf:
    """Two volumes with footage on each, in a node with a catalog and a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.catalog: Catalog = make_catalog(folder)
        self.spools = self.opened()
        for spool in self.spools.volumes:
            spool.claim(self.catalog)
        self.store = FolderStore(folder / "objects")
        self.store.ensure()
        self.recorded: list[list[Recorded]] = []
        for number, spool in enumerate(self.spools.volumes):
            made = record(spool, 2.0, wall_ns=WALL_NS + number * 60_000_000_000)
            insert(self.catalog, made)
            self.recorded.append(made)

    def opened(self) -> Spools:
        """As another process sees them."""
        names = {"spool": "a", "spool-2": "b"}
        return Spools([Spool(self.folder / place, SystemClock(), NODE, name) for name, place in names.items()])

    def unplug(self, place: str) -> None:
        (self.folder / place).rename(self.folder / f"unplugged-{place}")
        (self.folder / place).mkdir()

    def plug(self, place: str) -> None:
        (self.folder / place).rmdir()
        (self.folder / f"unplugged-{place}").rename(self.folder / place)

    def hang(self, place: str) -> None:
        """Whoever reads the identity waits, as on a disk that does not answer: nobody writes into the FIFO."""
        identity = self.folder / place / IDENTITY_FILE
        identity.rename(self.folder / f"identity-{place}")
        os.mkfifo(identity)

    def recover(self, place: str) -> None:
        identity = self.folder / place / IDENTITY_FILE
        with contextlib.suppress(OSError):  # ENXIO: nobody waits
            os.close(os.open(identity, os.O_WRONLY | os.O_NONBLOCK))
        (self.folder / f"identity-{place}").rename(identity)

    def states(self, number: int) -> set[tuple[str, bool]]:
        """(state, whether a spool copy is named) of what was recorded on a volume."""
        ids = [one.segment.id for one in self.recorded[number]]
        rows = [self.catalog.read(partial(segments.segment_of, segment_id=id_)) for id_ in ids]
        return {(row.state, row.volume is not None) for row in rows if row is not None}


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.catalog.close()


def test_the_settings_name_the_volumes_and_none_twice(tmp_path: Path) -> None:
    paths = {"data": str(tmp_path / "data"), "extra_spools": [str(tmp_path / "b")]}
    made = make_spools(build({"paths": paths}), SystemClock(), NODE)
    assert [(s.name, s.root) for s in made.volumes] == [
        ("spool", tmp_path / "data" / "spool"), ("spool-2", tmp_path / "b"),
    ]  # fmt: skip
    with pytest.raises(TiergateError, match="once"):
        build({"paths": {**paths, "spool": str(tmp_path / "b")}})


@pytest.mark.fault("B6")
def test_a_place_where_a_volume_is_known_gives_no_identity_to_an_empty_folder(shelf: Shelf) -> None:
    shelf.unplug("b")
    again = shelf.opened().volumes[1]
    with pytest.raises(TiergateError) as caught:
        again.claim(shelf.catalog)
    assert caught.value.reason.code == "media.volume_missing"
    assert list(again.root.iterdir()) == []
    with pytest.raises(TiergateError):
        again.create(CAMERA, shelf.recorded[0][0].segment.id)
    shelf.plug("b")
    assert again.claim(shelf.catalog) == again.volume_id


@pytest.mark.fault("B6")
def test_a_volume_at_anothers_place_is_neither_written_nor_freed(shelf: Shelf) -> None:
    (shelf.folder / "a").rename(shelf.folder / "x")
    (shelf.folder / "b").rename(shelf.folder / "a")
    (shelf.folder / "x").rename(shelf.folder / "b")
    for spools in (shelf.spools, shelf.opened()):  # one that was there before, and one that comes now
        for spool in spools.volumes:
            if spools is not shelf.spools:
                with pytest.raises(TiergateError):
                    spool.claim(shelf.catalog)
            for act in (
                lambda spool=spool: spool.create(CAMERA, "01M3250V002TJFQ7RYQ07T4ET1"),
                lambda spool=spool: spool.free_copy(CAMERA, shelf.recorded[0][0].segment.id),
                spool.probe,
            ):
                with pytest.raises(TiergateError) as caught:
                    act()
                assert caught.value.reason.code == "media.volume_swapped"
        assert spools.present() == {}
        uploader = Uploader(shelf.catalog, shelf.store, spools, SystemClock())
        with pytest.raises(TiergateError):
            uploader.run_once()
        uploader.close()
    assert shelf.states(0) == shelf.states(1) == {("spooled", True)}


@pytest.mark.fault("B6")
def test_what_lies_on_a_missing_volume_waits_and_holds_up_nothing(shelf: Shelf) -> None:
    clock = ManualClock(WALL_NS)
    uploader = Uploader(shelf.catalog, shelf.store, shelf.spools, clock)
    shelf.unplug("a")  # the older footage: it would be first
    for _ in range(3):
        uploader.run_once(limit=1)
        clock.advance(LEFTOVERS_EVERY_S + 1)
    while uploader.run_once(limit=1).stored:
        pass
    assert shelf.states(1) == {("stored", False)}
    assert shelf.states(0) == {("spooled", True)}
    assert uploader.counters.corrupt == 0
    assert uploader.counters.away_since_ms is None
    assert uploader.counters.backlog.count == len(shelf.recorded[0]), "the alarm goes on counting them"
    assert check(shelf.catalog, shelf.store, shelf.spools, 0).whole, "nothing of it is called lost"
    shelf.plug("a")
    uploader.run_once()
    assert shelf.states(0) == {("stored", False)}
    uploader.close()


def test_a_volume_that_hangs_holds_up_no_other_and_no_thread_after_the_first(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "ANSWER_S", 0.5)
    shelf.hang("a")
    uploader = Uploader(shelf.catalog, shelf.store, shelf.spools, SystemClock(), workers=1)
    done = threading.Thread(target=lambda: [uploader.run_once() for _ in range(5)], daemon=True)
    done.start()
    done.join(60)
    assert not done.is_alive(), "the round ends without the volume's answer"
    assert shelf.states(1) == {("stored", False)}
    assert shelf.states(0) == {("spooled", True)}
    assert uploader.counters.corrupt == 0
    asking = [thread for thread in threading.enumerate() if thread.name == "volume"]
    assert len(asking) == 1, "the disk is asked once"
    assert list(shelf.spools.present().values()) == [shelf.spools.volumes[1]]
    shelf.recover("a")
    asking[0].join(20)
    assert len(shelf.spools.present()) == 2
    uploader.run_once()
    uploader.close()
    assert shelf.states(0) == {("stored", False)}


@pytest.mark.fault("B34")
def test_a_file_that_hangs_holds_up_its_readers_for_a_while_and_no_other_disk(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "ANSWER_S", 0.5)
    hung, *others = shelf.recorded[0]
    hung.path.rename(hung.path.with_suffix(".away"))
    os.mkfifo(hung.path)

    def read(one: Recorded) -> bytes | None:
        return shelf.spools.read(CAMERA, one.segment.id, 0, 4)

    def asking() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "volume"]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, [hung] * 4)) == [None] * 4
    stuck = asking()
    assert 1 <= len(stuck) <= 4, "who asks before it is known to hang waits for it"
    assert [read(one) for one in (hung, *others)] == [None] * (1 + len(others)), "its disk is asked no more"
    assert asking() == stuck
    for one in shelf.recorded[1]:
        assert read(one) == one.path.read_bytes()[:4]
    os.close(os.open(hung.path, os.O_WRONLY | os.O_NONBLOCK))  # all of them come back
    for thread in stuck:
        thread.join(20)
    hung.path.with_suffix(".away").rename(hung.path)
    assert [read(one) for one in shelf.recorded[0]] == [one.path.read_bytes()[:4] for one in shelf.recorded[0]]


@pytest.mark.fault("B34")
def test_a_disk_that_hangs_while_a_copy_is_freed_holds_up_no_other(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "ANSWER_S", 0.5)
    hung, answers = shelf.spools.volumes[0], threading.Event()
    free_copy = hung.free_copy

    def hang(camera_id: str, segment_id: str) -> None:
        answers.wait(60)
        free_copy(camera_id, segment_id)

    monkeypatch.setattr(hung, "free_copy", hang)
    uploader = Uploader(shelf.catalog, shelf.store, shelf.spools, SystemClock(), workers=1)
    done = threading.Thread(target=lambda: [uploader.run_once() for _ in range(5)], daemon=True)
    done.start()
    done.join(30)
    assert not done.is_alive(), "the round ends without the disk's answer"
    assert shelf.states(1) == {("stored", False)}
    assert shelf.states(0) == {("stored", True)}, "freed another time"
    asking = [thread for thread in threading.enumerate() if thread.name == "volume"]
    assert len(asking) == 1, "the disk is asked once"
    answers.set()
    asking[0].join(20)
    uploader.close()
    again = Uploader(shelf.catalog, shelf.store, shelf.spools, SystemClock())
    again.run_once()
    again.close()
    assert shelf.states(0) == {("stored", False)}


def test_a_disk_is_asked_again_after_a_moment_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container at its pids.max: `pthread_create` fails with EAGAIN, and a moment later it does not."""

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    question = questions.Question(lambda: 1)
    two: Lanes[int, int] = Lanes(2, lambda number: number)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError):
            question.answer()
        with pytest.raises(RuntimeError):
            two.run([7])
    assert question.answer() == 1
    assert two.begun == []
    assert two.run([7]) == [7]


def test_a_volume_that_hangs_is_claimed_when_it_answers(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "ANSWER_S", 0.5)
    for place in ("a", "b"):
        shelf.hang(place)
    spools = shelf.opened()
    assert {name: error.reason.code for name, error in spools.claim(shelf.catalog).items()} == dict.fromkeys(
        ("spool", "spool-2"), "media.volume_missing"
    )
    with pytest.raises(TiergateError) as caught:
        require_volume(spools)
    assert caught.value.reason.code == "media.volume_missing"
    for place in ("a", "b"):
        shelf.recover(place)
    for thread in threading.enumerate():
        if thread.name == "volume":
            thread.join(20)
    assert spools.claim(shelf.catalog) == {}
    assert len(require_volume(spools)) == 2


def test_a_restored_catalog_finds_in_the_store_what_its_volumes_had(shelf: Shelf, tmp_path: Path) -> None:
    """Rows of a backup say `spooled` on a volume of the old machine; the store has had them since."""
    for one in shelf.recorded[0]:
        shelf.store.put_file(one.segment.object_key, one.path, one.segment.sha256, one.segment.bytes)
    shelf.unplug("a")
    uploader = Uploader(shelf.catalog, shelf.store, shelf.spools, ManualClock(WALL_NS))
    uploader.run_once()
    assert shelf.states(0) == {("stored", True)}
    uploader.close()


def test_a_copy_that_its_disk_cannot_give_is_that_segments_fault(shelf: Shelf) -> None:
    bad = shelf.recorded[0][0]
    bad.path.unlink()
    bad.path.mkdir()  # what read(2) answers with an error
    uploader = Uploader(shelf.catalog, shelf.store, shelf.spools, SystemClock())
    for _ in range(3):
        uploader.run_once()
    assert uploader.counters.corrupt == 1
    assert uploader.counters.away_since_ms is None
    assert shelf.states(1) == {("stored", False)}
    uploader.close()


def test_readers_find_a_segment_wherever_it_lies(shelf: Shelf) -> None:
    for made in shelf.recorded:
        for one in made:
            assert shelf.spools.find(CAMERA, one.segment.id) == one.path
            assert shelf.spools.read(CAMERA, one.segment.id, 0, 4) == one.path.read_bytes()[:4]
    assert shelf.spools.cameras() == [CAMERA]
    assert len(shelf.spools.sealed(CAMERA)) == sum(map(len, shelf.recorded))
    shelf.unplug("a")
    assert shelf.spools.find(CAMERA, shelf.recorded[0][0].segment.id) is None
    assert shelf.spools.find(CAMERA, shelf.recorded[1][0].segment.id) is not None
