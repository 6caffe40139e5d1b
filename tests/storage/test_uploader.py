"""The uploader: nothing is freed before it is stored, whatever dies or lies in between."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from config.clock import ManualClock, SystemClock, wall_ms
from config.redact import Secret
from storage import lanes
from storage import uploader as uploader_module
from storage.catalog import segments
from storage.catalog.engine import Catalog
from storage.catalog.segments import SegmentRow
from storage.lanes import Lanes
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store
from storage.spool import Spool
from storage.uploader import Uploader
from tests.media import WALL_NS
from tests.parts.s3 import S3Server
from tests.parts.wait import until, until_async
from tests.storage.footage import CAMERA, NODE, Recorded, insert, make_spool, record


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    catalog = Catalog(catalog_url)
    yield catalog
    catalog.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return make_spool(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(tmp_path / "objects")
    store.ensure()
    return store


@pytest.fixture
def recorded(catalog: Catalog, spool: Spool) -> list[Recorded]:
    recorded = record(spool)
    insert(catalog, recorded)
    return recorded


def row_of(catalog: Catalog, id_: str) -> SegmentRow:
    row = catalog.read(lambda c: segments.segment_of(c, id_))
    assert row is not None
    return row


def assert_stored(catalog: Catalog, store: ObjectStore, spool: Spool, recorded: list[Recorded]) -> None:
    for one in recorded:
        row = row_of(catalog, one.segment.id)
        assert (row.state, row.volume) == ("stored", None)
        assert hashlib.sha256(store.read(row.object_key)).digest() == row.sha256
        assert spool.find(CAMERA, row.id) is None


def test_spooled_becomes_stored_and_the_spool_is_freed(
    catalog: Catalog, store: FolderStore, spool: Spool, recorded: list[Recorded]
) -> None:
    uploader = Uploader(catalog, store, spool, SystemClock())
    done = uploader.run_once()
    uploader.close()
    assert (done.tried, done.stored, done.failed) == (len(recorded), len(recorded), 0)
    assert_stored(catalog, store, spool, recorded)
    assert uploader.counters.backlog.count == 0
    assert uploader.counters.backlog.oldest_end_ms is None


class _Killed(BaseException):
    """kill -9 as one process can play it: nothing behind it runs."""


STEPS = ("put_file", "mark_stored", "free_copy", "mark_freed")


@pytest.mark.fault("B12")
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_a_crash_between_any_two_steps_loses_nothing(
    catalog: Catalog, store: FolderStore, spool: Spool, recorded: list[Recorded],
    monkeypatch: pytest.MonkeyPatch, step: str, after: bool,
) -> None:  # fmt: skip
    place = {"put_file": store, "mark_stored": segments, "free_copy": spool, "mark_freed": segments}[step]
    real: Callable[..., object] = getattr(place, step)

    def die(*args: object, **kwargs: object) -> object:
        if after:
            real(*args, **kwargs)
        raise _Killed

    monkeypatch.setattr(place, step, die)
    uploader = Uploader(catalog, store, spool, SystemClock())
    with pytest.raises(_Killed):
        uploader.run_once()
    uploader.close()
    monkeypatch.undo()
    for one in recorded:  # I1 at this very instant: the bytes are somewhere
        copy = spool.find(CAMERA, one.segment.id)
        assert copy is not None or store.head(one.segment.object_key) is not None
    again = Uploader(catalog, store, spool, SystemClock())
    again.run_once()
    again.close()
    assert_stored(catalog, store, spool, recorded)


@pytest.mark.real
@pytest.mark.fault("B31")
def test_a_copy_that_was_left_stays_while_the_store_has_other_bytes(
    catalog: Catalog, spool: Spool, recorded: list[Recorded], seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many bytes, and not those: the copy is the only whole one."""
    keys = (Secret(seaweedfs.access_key), Secret(seaweedfs.secret_key))
    store = S3Store(seaweedfs.url, seaweedfs.region, seaweedfs.new_bucket(), *keys)
    clock = ManualClock(WALL_NS)
    with monkeypatch.context() as patch:
        patch.setattr(spool, "free_copy", lambda *_: None)
        patch.setattr(segments, "mark_freed", lambda *_, **__: None)
        uploader = Uploader(catalog, store, spool, clock)
        assert uploader.run_once().stored == len(recorded)
    swapped, others = recorded[0].segment, recorded[1:]
    store.delete(swapped.object_key)
    store.put_bytes(swapped.object_key, bytes(swapped.bytes))
    clock.advance(uploader_module.LEFTOVERS_EVERY_S + 1)
    uploader.run_once()
    uploader.close()
    assert_stored(catalog, store, spool, others)
    copy = spool.find(CAMERA, swapped.id)
    assert copy is not None and hashlib.sha256(copy.read_bytes()).digest() == swapped.sha256


def test_one_damaged_segment_does_not_hold_up_the_others(
    catalog: Catalog, store: FolderStore, spool: Spool, recorded: list[Recorded]
) -> None:
    bad, good = recorded[0], recorded[1:]
    data = bytearray(bad.path.read_bytes())
    data[len(data) // 2] ^= 1
    bad.path.write_bytes(data)
    clock = ManualClock(WALL_NS)
    uploader = Uploader(catalog, store, spool, clock)
    for _ in range(3):
        uploader.run_once()
        clock.advance(uploader_module.LEFTOVERS_EVERY_S + 1)
    assert_stored(catalog, store, spool, good)
    assert row_of(catalog, bad.segment.id).state == "spooled"
    assert bad.path.exists()
    assert uploader.counters.corrupt == 1
    assert uploader.counters.away_since_ms is None
    catalog.write(lambda c: segments.set_state(c, [bad.segment.id], ["spooled"], "lost"))
    uploader.run_once()
    uploader.close()
    assert uploader.counters.corrupt == 0, "nobody waits for it any more"


@pytest.mark.fault("B34")
@pytest.mark.parametrize("hung_count", [1, 6])
def test_a_file_that_hangs_while_it_is_read_costs_its_own_thread_and_is_named(
    catalog: Catalog, store: FolderStore, spool: Spool, monkeypatch: pytest.MonkeyPatch, hung_count: int
) -> None:
    """The disk answers, and one file on it does not: nobody writes into the FIFO in its place."""
    monkeypatch.setattr(lanes, "HANGS_S", 0.5)
    monkeypatch.setattr(lanes, "STALL_S", 0.1)
    hung, good = record(spool, float(hung_count)), record(spool, 3.0, wall_ns=WALL_NS + 60_000_000_000)
    insert(catalog, [*hung, *good])
    for one in hung:
        one.path.unlink()
        os.mkfifo(one.path)
    uploader = Uploader(catalog, store, spool, SystemClock(), workers=2)

    def rounds() -> None:
        while uploader.run_once().stored or len(uploader.counters.hanging) < len(hung):
            pass

    working = threading.Thread(target=rounds, daemon=True)
    working.start()
    working.join(60)
    assert not working.is_alive()
    assert_stored(catalog, store, spool, good)
    assert {row.id for row in uploader.counters.hanging} == {one.segment.id for one in hung}
    for _ in range(3):
        assert uploader.run_once().tried == 0, "what hangs is not asked again"
    assert sum(thread.name == "lane" for thread in threading.enumerate()) == len(hung)
    uploader.close()
    for one in hung:
        os.close(os.open(one.path, os.O_WRONLY))  # the disk answers: there is nothing in it
    until(lambda: not uploader.run_once().tried and not uploader.counters.hanging, 20, "all have ended")
    assert uploader.counters.corrupt == len(hung)
    assert {row_of(catalog, one.segment.id).state for one in hung} == {"spooled"}


@pytest.mark.fault("B8")
def test_an_upload_over_a_slow_line_may_take_as_long_as_its_bytes_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps its lane: others beside it would only share the line with it."""
    monkeypatch.setattr(lanes, "HANGS_S", 0.0)
    monkeypatch.setattr(lanes, "STALL_S", 0.01)
    let_go = threading.Event()
    two: Lanes[float, bool] = Lanes(2, lambda _: let_go.wait(30), lambda seconds: seconds)
    assert two.run([0.0, 1_000.0]) == []
    assert (two.begun, two.hanging, two.moving) == ([0.0, 1_000.0], [0.0], 1)
    let_go.set()
    until(lambda: not two.hanging, 20, "the one that took too long has ended")  # `finish` waits for none that hangs
    assert two.finish(20) == [True, True]
    row = SimpleNamespace(bytes=30_000_000)  # a minute at 4 Mbit/s
    assert uploader_module._allowed_s(row) > 600  # type: ignore[arg-type]  # all it asks of the row


def test_while_the_store_is_away_one_knock_a_round_and_the_backlog_is_told(
    catalog: Catalog, store: FolderStore, spool: Spool, recorded: list[Recorded], tmp_path: Path
) -> None:
    store.root.rename(tmp_path / "unplugged")
    clock = ManualClock(WALL_NS)
    clock.advance(3600)
    uploader = Uploader(catalog, store, spool, clock, workers=1)
    first = uploader.run_once()
    assert first.stored == 0
    assert uploader.counters.away_since_ms is not None
    assert uploader.run_once().tried == 1
    assert uploader.counters.backlog.count == len(recorded)
    oldest_ms = uploader.counters.backlog.oldest_end_ms
    assert oldest_ms is not None
    assert 3_590_000 < wall_ms(clock) - oldest_ms < 3_600_000
    (tmp_path / "unplugged").rename(store.root)
    assert uploader.run_once().stored == len(recorded)
    uploader.close()
    assert uploader.counters.last_reason is None
    assert_stored(catalog, store, spool, recorded)


def test_an_unmounted_spool_makes_nothing_look_damaged(
    catalog: Catalog, store: FolderStore, spool: Spool, recorded: list[Recorded], tmp_path: Path
) -> None:
    spool.root.rename(tmp_path / "unplugged")
    uploader = Uploader(catalog, store, spool, SystemClock())
    with pytest.raises(Exception, match="not mounted"):
        uploader.run_once()
    (tmp_path / "unplugged").rename(spool.root)
    uploader.run_once()
    uploader.close()
    assert uploader.counters.corrupt == 0
    assert_stored(catalog, store, spool, recorded)


def test_the_newest_footage_has_a_lane_of_its_own(catalog: Catalog, store: FolderStore, spool: Spool) -> None:
    for number in range(6):
        insert(catalog, record(spool, 2.0, wall_ns=WALL_NS + number * 60_000_000_000))
    uploader = Uploader(catalog, store, spool, SystemClock(), workers=1)
    uploader.run_once(limit=4)
    uploader.close()
    left = catalog.read(lambda c: segments.oldest_spooled(c, 100))
    stored = catalog.read(lambda c: segments.all_segments(c, ["stored"]))
    assert max(row.end_ms for row in stored) > max(row.end_ms for row in left)
    assert min(row.start_ms for row in stored) < min(row.start_ms for row in left)


OTHER = "21010000011320000002"


def break_folder(store: FolderStore, camera: str) -> Path:
    """No user, not even root, makes a file where a file stands in the folder's place."""
    place = store.root / NODE / camera
    place.parent.mkdir(exist_ok=True)
    place.write_text("in the way")
    return place


@pytest.mark.parametrize("bad_count", [1, 12])
def test_what_the_store_refuses_for_its_own_sake_holds_up_nothing_else(
    catalog: Catalog, store: FolderStore, spool: Spool, bad_count: int
) -> None:
    """One camera's folder in the store takes nothing, and it has the oldest footage."""
    bad: list[Recorded] = []
    for number in range(bad_count):
        bad += record(spool, 1.0, camera=OTHER, wall_ns=WALL_NS + number * 60_000_000_000)
    insert(catalog, bad)
    place = break_folder(store, OTHER)
    clock = ManualClock(WALL_NS)
    uploader = Uploader(catalog, store, spool, clock, workers=2)
    good: list[Recorded] = []
    for minute in range(100, 110):
        made = record(spool, 1.0, wall_ns=WALL_NS + minute * 60_000_000_000)
        insert(catalog, made)
        good += made
        for _ in range(3):  # a knock, another, and what that opened
            uploader.run_once()
            clock.advance(20)
        assert uploader.counters.backlog.count == len(bad)
    assert uploader.counters.away_since_ms is None
    assert_stored(catalog, store, spool, good)
    failed = uploader.counters.failures
    for _ in range(300):
        uploader.run_once()
        clock.advance(1)
    assert uploader.counters.failures - failed <= 2 * len(bad), "what is refused again and again is asked less and less"
    place.unlink()
    clock.advance(uploader_module.WAIT_MAX_S)
    while uploader.run_once().stored:
        pass
    uploader.close()
    assert_stored(catalog, store, spool, [*bad, *good])
    assert uploader.counters.last_reason is None


def test_a_store_that_is_away_is_knocked_at_with_another_segment_each_time(
    catalog: Catalog, store: FolderStore, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras = [f"2101000001132000001{number}" for number in range(4)]
    for camera in cameras:
        insert(catalog, record(spool, 2.0, camera=camera))
    for camera in cameras:
        break_folder(store, camera)
    tried: list[tuple[str, str]] = []
    put = store.put_file

    def noted(key: str, *rest: Any) -> object:
        tried.append((key.split("/")[1], key))
        return put(key, *rest)

    monkeypatch.setattr(store, "put_file", noted)
    uploader = Uploader(catalog, store, spool, ManualClock(WALL_NS), workers=1)
    uploader.run_once()
    assert uploader.counters.away_since_ms is not None
    rows = catalog.read(lambda c: len(segments.oldest_spooled(c, 100)))
    while len(tried) < 2 * rows:
        assert uploader.run_once().tried == 1
    uploader.close()
    assert {camera for camera, _ in tried[:5]} == set(cameras), "each camera before one comes again"
    assert len({key for _, key in tried[:rows]}) == rows == len({key for _, key in tried[rows:]}), "and each segment"


async def test_run_ends_when_told_and_drains_meanwhile(
    catalog: Catalog, store: FolderStore, spool: Spool, recorded: list[Recorded]
) -> None:
    uploader = Uploader(catalog, store, spool, SystemClock())
    stop = asyncio.Event()
    task = asyncio.create_task(uploader.run(stop))

    async def drained() -> bool:
        return uploader.counters.stored == len(recorded)

    await until_async(drained, 20, "the backlog is drained")
    stop.set()
    await asyncio.wait_for(task, 20)
    uploader.close()
    assert_stored(catalog, store, spool, recorded)


@pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)
@pytest.mark.real
def test_a_real_store_that_dies_and_comes_back_gets_everything(
    catalog: Catalog, spool: Spool, recorded: list[Recorded], s3_factory: Callable[[], S3Server]
) -> None:
    server = s3_factory()
    bucket = server.new_bucket()
    store = S3Store(server.url, server.region, bucket, Secret(server.access_key), Secret(server.secret_key))
    uploader = Uploader(catalog, store, spool, SystemClock())
    server.kill()
    assert uploader.run_once().stored == 0
    assert uploader.counters.away_since_ms is not None
    server.start()
    while uploader.run_once().stored:
        pass
    uploader.close()
    assert_stored(catalog, store, spool, recorded)


async def test_an_idle_uploader_reads_nothing_until_the_catalog_moves(
    catalog: Catalog, catalog_url: str, store: FolderStore, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, reads = [0], [0]
    version, read = catalog.aversion, catalog.read

    async def counted_version() -> int:
        asked[0] += 1
        return await version()

    def counted_read(query: Any) -> Any:
        reads[0] += 1
        return read(query)

    monkeypatch.setattr(uploader_module, "IDLE_S", 0.01)
    monkeypatch.setattr(catalog, "aversion", counted_version)
    monkeypatch.setattr(catalog, "read", counted_read)
    uploader = Uploader(catalog, store, spool, SystemClock())
    stop = asyncio.Event()
    task = asyncio.create_task(uploader.run(stop))

    async def asked_often() -> bool:
        return asked[0] >= 50

    await until_async(asked_often, 20, "it has looked fifty times")
    idle_reads = reads[0]
    recorded = record(spool)
    recorder = Catalog(catalog_url)  # another process
    insert(recorder, recorded)
    recorder.close()

    async def drained() -> bool:
        return uploader.counters.stored == len(recorded)

    await until_async(drained, 20, "what came is stored")
    stop.set()
    await asyncio.wait_for(task, 20)
    uploader.close()
    assert idle_reads < 15
    assert_stored(catalog, store, spool, recorded)
