"""Whose thread it was in which a process died; the crash itself is in tests/gateway/processes/test_supervisor.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway.ingest.crashes import CrashBook
from tests.gateway.ingest.station import REPOSITORY

_DIES = """
import ctypes, sys, threading
from pathlib import Path
from gateway.ingest.crashes import CrashBook
book = CrashBook(Path(sys.argv[1]), 0)
book.watch()
def work(camera):
    book.enter(camera)
    ready.wait()
    if camera == sys.argv[2]:
        ctypes.string_at(0)
    threading.Event().wait(20)
ready = threading.Event()
for name in ("a", "b", "c"):
    threading.Thread(target=work, args=(name,), daemon=True).start()
ready.set()
if sys.argv[2] == "main":
    ctypes.string_at(0)
threading.Event().wait(20)
"""


def _die(folder: Path, whose: str) -> str | None:
    done = subprocess.run(
        [sys.executable, "-c", _DIES, str(folder), whose], cwd=REPOSITORY, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == -11, done.stderr
    return CrashBook(folder, 0).culprit()


def test_the_camera_in_whose_thread_it_died_is_named_and_nobody_else(tmp_path: Path) -> None:
    assert CrashBook(tmp_path, 0).culprit() is None
    assert _die(tmp_path, "b") == "b"
    assert _die(tmp_path, "main") is None
    assert CrashBook(tmp_path, 1).culprit() is None


def test_a_disk_that_takes_nothing_keeps_no_camera_from_being_received(tmp_path: Path) -> None:
    book = CrashBook(tmp_path / "gone", 0)
    book.watch()
    book.enter("a")
    assert book.culprit() is None
