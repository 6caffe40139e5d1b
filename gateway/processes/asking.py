"""Starts rounds of asking owners' recorders (`gateway.processes.owners`) and sees that they end.

For the keeper, which opens no camera's socket and must outlive whatever a device sends. It asks rarely, so the process
lives for one round; a pipe on its standard input tells it that its parent is gone.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from config.errors import Kind, TiergateError

_END_S = 5.0


class Asking:
    """`run` in a thread of the caller's; `end` from any thread."""

    def __init__(self, settings_file: Path) -> None:
        self._settings_file = settings_file
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def run(self, most_s: float) -> None:
        """One round. Raises retention.check_round_failed when it did not come to its end."""
        argv = [sys.executable, "-m", "gateway.processes.owners", "--config", str(self._settings_file)]
        with self._lock:
            if self._ended:
                return
            process = self._process = subprocess.Popen(argv, stdin=subprocess.PIPE)
        try:
            code = process.wait(most_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with self._lock:
                self._process = None
            _stop(process)
        if code != 0 and not self._ended:
            raise TiergateError(Kind.UNAVAILABLE, "retention.check_round_failed")

    def end(self) -> None:
        """No more rounds; one that is under way ends."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.terminate()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdin is not None:
        process.stdin.close()
