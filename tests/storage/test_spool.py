"""The spool: what was acknowledged is whole, what was torn is salvaged, what failed is never trusted again."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from config.errors import TiergateError
from storage import spool as spools
from storage.catalog.gaps import gaps_between
from storage.media import fragment_index
from storage.salvage import adopt, recover, salvage_part
from storage.segmenter import CloseSegment, OpenSegment, Write
from storage.spool import FAILED, PART, SEALED, PartFile, Spool, SyncGroup, write_all
from storage.volume import IDENTITY_FILE
from tests.media import WALL_NS, decode_mp4
from tests.parts.wait import until
from tests.storage.footage import CAMERA, commands, insert, make_catalog, make_spool, new_id, record


def open_part(spool: Spool, until_write: int) -> tuple[Path, list[Write]]:
    """A part with `until_write` fragments and no seal, as kill -9 leaves it."""
    written: list[Write] = []
    orders = commands(2.0, segment_ms=60_000)
    opened = next(orders)
    assert isinstance(opened, OpenSegment)
    part = spool.create(CAMERA, opened.segment_id)
    part.append(opened.init)
    for order in orders:
        if isinstance(order, Write) and len(written) < until_write:
            part.append(order.data)
            written.append(order)
    part.close()
    return part.path, written


def test_a_sealed_part_has_the_digest_of_its_bytes_and_plays(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    for one in record(spool):
        data = one.path.read_bytes()
        assert one.path.suffix == ".mp4"
        assert hashlib.sha256(data).digest() == one.segment.sha256
        assert len(data) == one.segment.bytes
        assert decode_mp4(data).pictures == 25
    assert spool.open_parts(CAMERA) == []


@pytest.mark.fault("A26")
def test_a_name_is_never_used_twice(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    name = new_id()
    spool.create(CAMERA, name).close()
    with pytest.raises(TiergateError) as caught:
        spool.create(CAMERA, name)
    assert caught.value.reason.code == "media.part_failed"


def test_short_writes_are_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[bytes] = []

    def short(fd: int, data: memoryview) -> int:
        taken.append(bytes(data[:3]))
        return min(3, len(data))

    monkeypatch.setattr(os, "write", short)
    write_all(7, b"0123456789")
    assert b"".join(taken) == b"0123456789"


@pytest.mark.parametrize("cut", [0, 1, 7, 100])
def test_a_torn_part_is_sealed_up_to_its_last_whole_fragment(tmp_path: Path, cut: int) -> None:
    spool = make_spool(tmp_path)
    path, written = open_part(spool, 4)
    if cut:
        os.truncate(path, path.stat().st_size - cut)
    recovered = salvage_part(spool, path)
    assert recovered is not None
    kept = fragment_index.decode(recovered.segment.fragments)
    assert kept == tuple(w.entry for w in written[: 4 if cut == 0 else 3])
    assert recovered.segment.salvaged
    assert not path.exists()
    data = recovered.path.read_bytes()
    assert hashlib.sha256(data).digest() == recovered.segment.sha256
    assert decode_mp4(data).pictures == sum(entry.samples for entry in kept)


def test_salvage_may_die_at_any_step_and_begin_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = make_spool(tmp_path)
    path, _ = open_part(spool, 4)
    os.truncate(path, path.stat().st_size - 5)
    real = os.rename

    def die(*_: object) -> None:
        raise InterruptedError("killed before the rename")

    monkeypatch.setattr(os, "rename", die)
    with pytest.raises(InterruptedError):
        salvage_part(spool, path)
    monkeypatch.setattr(os, "rename", real)
    once = salvage_part(spool, path)
    assert once is not None
    assert len(fragment_index.decode(once.segment.fragments)) == 3
    assert decode_mp4(once.path.read_bytes()).pictures == 25


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"not a video at all"])
def test_a_hopeless_part_is_put_aside_and_not_deleted(tmp_path: Path, content: bytes) -> None:
    spool = make_spool(tmp_path)
    part = spool.create(CAMERA, new_id())
    part.append(content or b"")
    part.close()
    assert salvage_part(spool, part.path) is None
    (aside,) = spool.quarantined()
    assert aside.read_bytes() == content
    assert not part.path.exists()


def test_a_part_that_never_had_a_picture_leaves_nothing_behind(tmp_path: Path) -> None:
    spool, catalog = make_spool(tmp_path), make_catalog(tmp_path)
    path, _ = open_part(spool, 1)
    beginning = salvage_part(spool, path)
    assert beginning is not None
    head = beginning.path.read_bytes()[: beginning.segment.init_bytes]
    beginning.path.unlink()
    path.write_bytes(head)
    stranger = path.with_stem(new_id())
    stranger.write_bytes(head)  # names another segment: not ours to judge
    torn = path.with_stem(new_id())
    torn.write_bytes(head[:-1])
    report = recover(catalog, spool, spool.cameras())
    assert (report.empty, report.salvaged, len(report.quarantined)) == (1, [], 2)
    assert not path.exists()
    assert len(list(spool.quarantined())) == 2
    catalog.close()


def test_recover_finds_torn_and_unregistered_files_once(tmp_path: Path) -> None:
    spool, catalog = make_spool(tmp_path), make_catalog(tmp_path)
    recorded = record(spool)
    insert(catalog, recorded[:1])
    open_part(spool, 3)
    report = recover(catalog, spool, spool.cameras())
    assert {r.segment.id for r in report.adopted} == {r.segment.id for r in recorded[1:]}
    assert len(report.salvaged) == 1
    for recovered in report.adopted:
        (original,) = [r.segment for r in recorded if r.segment.id == recovered.segment.id]
        for column in ("camera_id", "run_id", "start_wall_ns", "start_ms", "end_ms", "bytes", "sha256", "init_bytes",
                       "fragments", "object_key", "volume", "class_", "kind", "time_trust"):  # fmt: skip
            assert getattr(recovered.segment, column) == getattr(original, column), column
        assert recovered.run == recorded[0].run
    again = recover(catalog, spool, spool.cameras())
    assert (again.salvaged, again.adopted, again.quarantined, again.ended_runs) == ([], [], [], 0)
    catalog.close()


def test_a_finished_name_on_a_torn_file_is_salvaged(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    one = record(spool)[0]
    os.truncate(one.path, one.segment.bytes - 200)
    recovered = adopt(spool, one.path)
    assert recovered is not None
    assert recovered.segment.salvaged
    assert decode_mp4(one.path.read_bytes()).pictures > 0


@pytest.mark.fault("B3")
def test_a_failed_sync_marks_the_part_and_nobody_syncs_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = make_spool(tmp_path)
    orders = [o for o in commands(2.0, segment_ms=60_000) if not isinstance(o, CloseSegment)]
    opened = orders[0]
    assert isinstance(opened, OpenSegment)
    part = spool.create(CAMERA, opened.segment_id)
    part.append(opened.init)
    for order in orders[1:3]:
        assert isinstance(order, Write)
        part.append(order.data)
    calls: list[int] = []

    def fail(fd: int) -> None:
        calls.append(fd)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    monkeypatch.setattr(os, "fsync", fail)
    group = SyncGroup(800)
    group.add(part)
    group.sync_now()
    group.sync_now()
    assert group.failures == 1
    assert len(calls) == 1
    with pytest.raises(TiergateError) as caught:
        part.append(b"more")
    assert caught.value.reason.params["problem"] == "EIO"
    assert part.path.suffix == FAILED
    monkeypatch.undo()
    inode = part.path.stat().st_ino
    recovered = salvage_part(spool, part.path)
    assert recovered is not None
    assert recovered.path.stat().st_ino != inode  # a new file: the old pages are not trusted
    assert decode_mp4(recovered.path.read_bytes()).pictures == 20
    group.stop()


@pytest.mark.fault("B3")
def test_a_failed_sync_sends_no_byte_into_another_cameras_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer has lost the processor between taking the descriptor's number and write(2). Meanwhile the sync fails,
    and another camera's segment is opened: it must not get the same number."""
    spool = make_spool(tmp_path)
    first = spool.create(CAMERA, new_id())
    first.append(b"head of the first")
    others: list[PartFile] = []

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    def sync_fails() -> None:
        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(TiergateError):
            first.sync()
        monkeypatch.undo()
        others.append(spool.create(CAMERA[:-1] + "2", new_id()))
        others[0].append(b"head of the second")

    def interrupted(fd: int, data: bytes) -> None:
        syncing = threading.Thread(target=sync_fails)
        syncing.start()
        syncing.join()
        write_all(fd, data)

    monkeypatch.setattr(spools, "write_all", interrupted)
    first.append(b"footage of the first")
    sealed = others[0].seal(b"index")
    assert sealed.path.read_bytes() == b"head of the secondindex"
    assert (sealed.bytes, sealed.sha256) == (23, hashlib.sha256(b"head of the secondindex").digest())
    held = len(os.listdir("/proc/self/fd"))
    for more in (lambda: first.append(b"more"), lambda: first.seal(b"index")):
        with pytest.raises(TiergateError):
            more()
    first.close()
    assert first.path.suffix == FAILED
    assert len(os.listdir("/proc/self/fd")) == held - 1


@pytest.mark.fault("B3")
def test_a_whole_copy_is_never_made_anew_from_the_part_that_failed(tmp_path: Path) -> None:
    """Whoever copied it died before the original was put aside; the original may have lost its pages since."""
    spool, catalog = make_spool(tmp_path), make_catalog(tmp_path)
    path, _ = open_part(spool, 3)
    failed = path.rename(path.with_suffix(FAILED))
    whole = failed.read_bytes()
    assert salvage_part(spool, failed) is not None
    (aside,) = spool.quarantined()
    copy = path.with_suffix(SEALED).read_bytes()
    aside.rename(failed)
    os.truncate(failed, len(whole) // 2)
    report = recover(catalog, spool, spool.cameras())
    assert [one.segment.id for one in report.salvaged] == [path.stem]
    assert path.with_suffix(SEALED).read_bytes() == copy
    assert report.salvaged[0].segment.sha256 == hashlib.sha256(copy).digest()
    assert len(list(spool.quarantined())) == 1
    catalog.close()


def test_the_time_before_salvaged_footage_is_accounted_for(tmp_path: Path) -> None:
    """A recorder that died in its first moments had not yet committed that it had been down before."""
    spool, catalog = make_spool(tmp_path), make_catalog(tmp_path)
    earlier = record(spool, 1.0, wall_ns=WALL_NS - 60 * 10**9)
    insert(catalog, earlier)
    open_part(spool, 3)
    (salvaged,) = recover(catalog, spool, spool.cameras()).salvaged
    recover(catalog, spool, spool.cameras())
    (found,) = catalog.read(lambda c: gaps_between(c, CAMERA, "main", 0, 10**15))
    assert (found.cause, found.from_ms, found.to_ms) == (
        "recorder_down", earlier[-1].segment.end_ms, salvaged.segment.start_ms
    )  # fmt: skip
    catalog.close()


def test_a_sync_group_makes_appends_durable_by_itself(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    group = SyncGroup(20)
    group.start()
    parts = [spool.create(CAMERA, new_id()) for _ in range(3)]
    for part in parts:
        group.add(part)
        part.append(b"x")
    until(lambda: not any(part.dirty for part in parts), 10, "three parts are synced")
    group.stop()
    for part in parts:
        part.close()
    assert group.failures == 0


def test_readers_follow_a_part_until_it_is_sealed(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    segment_id = new_id()
    part = spool.create(CAMERA, segment_id)
    part.append(b"0123456789")
    (listed,) = spool.open_parts(CAMERA)
    assert (listed.segment_id, listed.bytes, listed.path.suffix) == (segment_id, 10, PART)
    assert spool.read(CAMERA, segment_id, 4, 100) == b"456789"
    part.seal(b"end")
    assert spool.read(CAMERA, segment_id, 8, 100) == b"89end"
    assert spool.find(CAMERA, segment_id) == part.path
    assert spool.read(CAMERA, new_id(), 0, 1) is None


def test_reading_while_sealing_never_misses(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    ids = [new_id() for _ in range(30)]
    missed: list[str] = []
    created = threading.Event()
    done = threading.Event()
    current = [ids[0]]

    def read() -> None:
        created.wait(10)
        while not done.is_set():
            if spool.read(CAMERA, current[0], 0, 1) != b"x":
                missed.append(current[0])

    reader = threading.Thread(target=read)
    reader.start()
    for segment_id in ids:
        part = spool.create(CAMERA, segment_id)
        part.append(b"x")
        current[0] = segment_id
        created.set()
        part.seal(b"")
    done.set()
    reader.join(10)
    assert missed == []


@pytest.mark.fault("B6")
def test_a_volume_that_is_not_mounted_takes_nothing(tmp_path: Path) -> None:
    spool = make_spool(tmp_path)
    (spool.root / IDENTITY_FILE).unlink()
    with pytest.raises(TiergateError) as caught:
        spool.create(CAMERA, new_id())
    assert caught.value.reason.code == "media.volume_missing"
    assert not (spool.root / CAMERA).exists()


def test_a_folder_of_somebody_else_is_not_made_a_spool(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "thesis.txt").write_text("mine")
    with pytest.raises(TiergateError):
        make_spool(tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "quarantine/..", "x" * 60])
def test_hostile_camera_names_are_no_paths(tmp_path: Path, name: str) -> None:
    spool = make_spool(tmp_path)
    with pytest.raises(ValueError, match="not"):
        spool.create(name, new_id())
    with pytest.raises(ValueError, match="not"):
        spool.open_parts(name)


@pytest.mark.fault("B5")
def test_free_space_counts_what_an_ordinary_user_may_take(tmp_path: Path) -> None:
    free = make_spool(tmp_path).free()
    found = os.statvfs(tmp_path)
    assert free.bytes_total == found.f_blocks * found.f_frsize
    assert 0 < free.bytes_free <= found.f_bfree * found.f_frsize
    assert 0 < free.percent <= 100
