"""A volume is recognised, also when another one is mounted in its place."""

from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from config.errors import TiergateError
from storage import volume
from storage.catalog.engine import Catalog
from tests.storage.footage import make_catalog


def test_a_volume_keeps_its_identity(tmp_path: Path) -> None:
    first = volume.prepare(tmp_path / "a", "spool")
    assert volume.prepare(tmp_path / "a", "spool") == first
    assert volume.prepare(tmp_path / "b", "spool") != first


def test_of_several_first_users_one_names_the_volume(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: volume.prepare(tmp_path / "a", "spool"), range(8)))) == 1


@pytest.mark.fault("B6")
def test_another_volume_in_the_same_place_is_refused(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path)
    known = volume.prepare(tmp_path / "a", "spool")
    other = volume.prepare(tmp_path / "b", "spool")
    for _ in range(2):
        catalog.write(partial(volume.recognise, name="spool", volume_id=known))
    with pytest.raises(TiergateError) as caught:
        catalog.write(partial(volume.recognise, name="spool", volume_id=other))
    assert caught.value.reason.code == "media.volume_swapped"
    catalog.close()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"id": 5}', '{"id": "x"}', "\0"])
def test_a_damaged_identity_is_none(tmp_path: Path, content: str) -> None:
    volume.prepare(tmp_path, "spool")
    (tmp_path / volume.IDENTITY_FILE).write_text(content)
    with pytest.raises(TiergateError):
        volume.prepare(tmp_path, "spool")


@pytest.mark.fault("B3")
def test_a_folder_whose_name_did_not_reach_the_disk_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []

    def fail(path: Path) -> None:
        raise OSError(errno.EIO, "sync")

    monkeypatch.setattr(volume, "fsync_folder", fail)
    with pytest.raises(OSError, match="sync"):
        volume.make_folders(tmp_path / "a" / "b", tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(volume, "fsync_folder", synced.append)
    volume.make_folders(tmp_path / "a" / "b", tmp_path)
    volume.make_folders(tmp_path / "a" / "b", tmp_path)
    assert synced == [tmp_path, tmp_path / "a"]


def test_a_folder_of_somebody_who_may_have_died_before_the_sync_is_synced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(volume, "fsync_folder", synced.append)
    (tmp_path / "left").mkdir()
    for _ in range(3):
        volume.make_folders(tmp_path / "left", tmp_path)
    assert synced == [tmp_path]
    (tmp_path / "left").rmdir()
    volume.make_folders(tmp_path / "left", tmp_path)
    assert synced == [tmp_path, tmp_path]


def test_a_folder_may_have_a_long_name(catalog_url: str) -> None:
    """PostgreSQL holds a key to its length: a recorder whose spool lay deep found no volume to write to."""
    catalog = Catalog(catalog_url)
    place = "/srv/" + "a-very-deep-folder/" * 20
    catalog.write(lambda c: volume.recognise(c, "spool", "id-1", place))
    assert catalog.read(lambda c: volume.known_id(c, place)) == "id-1"
    catalog.write(volume.forget_folders)
    assert catalog.read(lambda c: volume.known_id(c, place)) is None
    catalog.close()


def test_a_small_file_is_replaced_whole_for_its_user_alone_and_synced_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, done = tmp_path / "node.key", list[str]()
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def replaced(source: Path, target: Path) -> None:
        done.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    for content in (b"one and more", b"two"):
        volume.replace_synced(path, content)
        assert path.read_bytes() == content and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert done == ["file", "name", "folder"] * 2
    assert list(tmp_path.iterdir()) == [path]

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        volume.replace_synced(path, b"three")
    assert path.read_bytes() == b"two"
