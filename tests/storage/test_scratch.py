"""Footage that is carried between stores has no name outside them: kill -9 on the way leaves nothing. (I11)"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.clock import SystemClock
from storage.catalog.engine import Catalog
from storage.objects.evidence import FolderEvidence
from storage.objects.folder import FolderStore
from storage.uploader import Uploader
from tests.storage import scratch_child
from tests.storage.footage import Recorded, insert, make_catalog, make_spool, record

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    catalog = make_catalog(tmp_path)
    yield catalog
    catalog.close()


@pytest.fixture
def recorded(tmp_path: Path, catalog: Catalog) -> list[Recorded]:
    """One segment, stored; `evidence` has a copy, the spool none."""
    spool, store = make_spool(tmp_path), FolderStore(tmp_path / "objects")
    store.ensure()
    made = record(spool, 1.0)
    insert(catalog, made)
    uploader = Uploader(catalog, store, spool, SystemClock())
    while uploader.run_once().stored:
        pass
    uploader.close()
    evidence = FolderStore(tmp_path / "evidence")
    evidence.ensure()
    for one in made:
        evidence.put_bytes(one.segment.object_key, store.read(one.segment.object_key))
    (tmp_path / "fresh").mkdir()
    (tmp_path / "tmp").mkdir()
    return made


def footage_under(folder: Path) -> dict[Path, int]:
    """Every file that holds a stretch of the recorded footage, and how large it is."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and b"moof" in (data := path.read_bytes()):
            found[path.relative_to(folder)] = len(data)
    return found


def killed(work: str, folder: Path) -> None:
    command = [sys.executable, "-m", "tests.storage.scratch_child", work, str(folder)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, "TMPDIR": str(folder / "tmp")}, capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize("work", sorted(set(scratch_child.WORK) - {"evidence_folder"}))
def test_a_process_killed_while_it_carries_footage_leaves_none_behind(
    tmp_path: Path, recorded: list[Recorded], work: str
) -> None:
    key = recorded[0].segment.object_key
    path = tmp_path / "objects" / key
    if work == "put_aside":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x10
        path.chmod(0o640)
        path.write_bytes(data)
    elif work == "fetch":
        path.unlink()
    before = footage_under(tmp_path)
    assert len(before) >= 1
    killed(work, tmp_path)
    assert footage_under(tmp_path) == before
    assert list((tmp_path / "tmp").iterdir()) == []


def test_half_a_second_copy_goes_when_it_has_lain_for_a_day(tmp_path: Path, recorded: list[Recorded]) -> None:
    before = footage_under(tmp_path)
    killed("evidence_folder", tmp_path)
    (left,) = set(footage_under(tmp_path)) - set(before)
    assert left.parent == Path("second/.incoming")
    evidence = FolderEvidence(tmp_path / "second")
    written_ms = (tmp_path / left).stat().st_mtime_ns // 1_000_000
    assert evidence.drop_unfinished("", written_ms - 1, lambda keys: set()) == 0
    assert evidence.drop_unfinished("", written_ms + 2, lambda keys: set()) == 1
    assert footage_under(tmp_path) == before
