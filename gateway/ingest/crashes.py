"""Which camera made a recorder crash: a library that dies takes its process with it, and 31 other cameras.

Python's fault handler names the thread in which a process died of SIGSEGV and its like; this book knows whose thread
that was. At the next start that camera gets a recorder of its own (`storage.catalog.status.set_alone`), so that it can
take nobody down with it a second time.

Belongs here: the two files in run/. Does not belong here: starting a process again (`gateway.processes.supervisor`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import re
import threading
from pathlib import Path

_log = logging.getLogger(__name__)

_CURRENT = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)


class CrashBook:
    def __init__(self, run_dir: Path, shard: int) -> None:
        self._crash = run_dir / f"recorder-{shard}.crash"
        self._threads = run_dir / f"recorder-{shard}.threads"
        self._lock = threading.Lock()
        self._cameras: dict[int, str] = {}  #: thread → camera

    def culprit(self) -> str | None:
        """The camera in whose thread the process before this one died; None: it did not, or in another thread."""
        try:
            found = _CURRENT.search(self._crash.read_text(errors="replace"))
            known: dict[str, str] = json.loads(self._threads.read_text())
        except (OSError, ValueError):
            return None
        return known.get(str(int(found[1], 16))) if found is not None else None

    def watch(self) -> None:
        """From now on a crash of this process is written down. For good: the handler keeps the file."""
        try:
            with self._lock:  # threads that were there before: of cameras taken over from another process
                self._write()
            faulthandler.enable(self._crash.open("wb"))
        except OSError as error:
            _log.warning("crashes of this recorder are not written down", extra={"problem": type(error).__name__})

    def enter(self, camera_id: str) -> None:
        """The thread that calls is this camera's."""
        with self._lock:
            alive = {thread.ident for thread in threading.enumerate()}
            self._cameras = {ident: camera for ident, camera in self._cameras.items() if ident in alive}
            self._cameras[threading.get_ident()] = camera_id
            with contextlib.suppress(OSError):  # a full disk must not keep a camera from being received
                self._write()

    def _write(self) -> None:
        new = self._threads.with_suffix(".new")
        new.write_text(json.dumps(self._cameras))
        os.replace(new, self._threads)
