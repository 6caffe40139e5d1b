"""The folder store: the common contract, links, copies, and a volume that is not there."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config.errors import TiergateError
from storage import volume
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore
from storage.volume import IDENTITY_FILE
from tests.storage.objects.conformance import DATA, KEY, FootageConformance, put


def make(folder: Path) -> FolderStore:
    store = FolderStore(folder / "objects")
    store.ensure()
    return store


class FolderConformance(FootageConformance):
    rounds = 20

    def test_threads_that_fill_and_empty_one_folder_do_not_meet(self, store: ObjectStore) -> None:
        """The last object of an hour goes while another comes, and two purges meet: nobody loses anything.

        Not asked of every store: MinIO on one disk may refuse such a put (AccessDenied); uploads try again.
        """

        def work(which: int) -> int:
            for turn in range(60):
                key = f"n/c/2026/09/21/14/{which}"
                store.put_bytes(key, b"%d" % turn)
                assert store.read(key) == b"%d" % turn
                store.delete(key)
                assert store.head(key) is None
            return which

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4))) == [0, 1, 2, 3]
        assert list(store.list()) == []


class TestLinked(FolderConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FolderStore:
        return make(tmp_path)


class TestCopied(FolderConformance):
    """As when spool and store are on two filesystems."""

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
        link = os.link

        def far(source: Path, target: Path) -> None:
            if ".incoming" not in str(source) and IDENTITY_FILE not in str(source):
                raise OSError(errno.EXDEV, "another filesystem")
            link(source, target)

        monkeypatch.setattr(os, "link", far)
        return make(tmp_path)


def test_on_one_filesystem_nothing_is_copied(tmp_path: Path) -> None:
    store = make(tmp_path)
    source = put(store, tmp_path)
    assert (store.root / KEY).stat().st_ino == source.stat().st_ino


@pytest.mark.fault("B6")
def test_an_unmounted_volume_is_neither_filled_nor_missing_anything(tmp_path: Path) -> None:
    store = make(tmp_path)
    source = put(store, tmp_path)
    store.root.rename(tmp_path / "elsewhere")
    store.root.mkdir()
    for attempt in (
        lambda: store.put_file("a/b", source, hashlib.sha256(DATA).digest(), len(DATA)),
        lambda: store.head(KEY),
        lambda: store.read(KEY),
        lambda: store.delete(KEY),
        lambda: list(store.list()),
    ):
        with pytest.raises(TiergateError) as caught:
            attempt()
        assert caught.value.reason.code == "media.volume_missing"
    assert list(store.root.iterdir()) == []


@pytest.mark.fault("B11")
def test_what_a_crash_left_half_copied_goes_when_it_is_old_and_no_copy_that_grows(tmp_path: Path) -> None:
    store = make(tmp_path)
    old, growing = (store.root / ".incoming" / name for name in ("old", "growing"))
    for left in (old, growing):
        left.write_bytes(b"half")
    os.utime(old, (1_000, 1_000))
    assert list(store.list()) == []
    make(tmp_path)  # another process opens the same store
    assert store.drop_unfinished("node1/", 2_000_000, lambda keys: set()) == 1
    assert [left.name for left in (store.root / ".incoming").iterdir()] == ["growing"]


@pytest.mark.fault("B3")
@pytest.mark.parametrize("how", ["linked", "copied", "bytes"])
def test_a_name_whose_sync_failed_is_made_anew_before_it_is_synced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The kernel calls a name clean that it could not write: a second sync of it makes nothing durable."""
    store, events = FolderStore(tmp_path / "objects"), list[str]()
    store.ensure()
    source = tmp_path / "segment"
    source.write_bytes(DATA)
    store._links = how == "linked"
    target = tmp_path / "objects" / KEY
    sync, link, replace = volume.fsync_folder, os.link, os.replace

    def syncs(folder: Path) -> None:
        if folder == target.parent and target.exists():
            events.append("sync" if "EIO" in events else "EIO")
            if events == ["named", "EIO"]:
                raise OSError(errno.EIO, "it cannot be written")
        sync(folder)

    def names(act: Callable[..., None]) -> Callable[..., None]:
        def watched(old: Path, new: Path) -> None:
            act(old, new)
            if Path(new) == target:
                events.append("named")

        return watched

    monkeypatch.setattr(volume, "fsync_folder", syncs)
    monkeypatch.setattr(os, "link", names(link))
    monkeypatch.setattr(os, "replace", names(replace))

    def stores() -> None:
        if how == "bytes":
            store.put_bytes(KEY, DATA)
        else:
            store.put_file(KEY, source, hashlib.sha256(DATA).digest(), len(DATA))

    with pytest.raises(TiergateError) as away:
        stores()
    assert away.value.reason.code == "media.store_unavailable"
    stores()
    assert events == ["named", "EIO", "named", "sync"]
    assert store.read(KEY) == DATA and source.read_bytes() == DATA
    assert list((tmp_path / "objects" / ".incoming").iterdir()) == []


@pytest.mark.fault("B13", "B30")
@pytest.mark.parametrize("error", [errno.EIO, errno.EUCLEAN, errno.EACCES])
def test_a_listing_leaves_out_nothing_because_it_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """What is left out is missing to whoever compares; of a folder that cannot be read nobody knows what it holds."""
    store = make(tmp_path)
    keys = [f"n/c/{name}" for name in ("a", "b", "c")]
    for key in keys:
        store.put_bytes(key, DATA)
    sick = f"{store.root}/n/c/b"
    lstat, scandir = os.lstat, os.scandir

    def looks(path: str) -> os.stat_result:
        if path == sick:
            raise OSError(error, "it cannot be read")
        return lstat(path)

    monkeypatch.setattr(os, "lstat", looks)
    if error == errno.EACCES:  # nobody said that the name is all that is left
        with pytest.raises(TiergateError) as caught:
            list(store.list())
        assert caught.value.reason.params["problem"] == "EACCES"
    else:
        assert [(info.key, info.bytes) for info in store.list()] == [
            (keys[0], len(DATA)), (keys[1], 0), (keys[2], len(DATA)),
        ]  # fmt: skip

    def opens(path: Path) -> object:
        if path.name == "c":
            raise OSError(error, "it cannot be read")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", opens)
    with pytest.raises(TiergateError) as caught:
        list(store.list())
    assert caught.value.reason.code == "media.store_unavailable"


def test_empty_folders_of_past_hours_go_with_their_last_object(tmp_path: Path) -> None:
    store = make(tmp_path)
    put(store, tmp_path)
    store.delete(KEY)
    assert not (store.root / "node1").exists()


def test_a_full_disk_is_a_store_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(TiergateError) as caught:
        put(store, tmp_path)
    assert caught.value.reason.code == "media.store_unavailable"
    assert caught.value.reason.params["problem"] == "ENOSPC"
