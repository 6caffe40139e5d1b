"""Runs a program and ends its whole process group when the starter is gone. usage: _guard.py PROGRAM ARGUMENT…

The starter keeps this process' standard input open; its end of file means that the starter died. Standard library
only, started with -SE: a dozen milliseconds.
"""

from __future__ import annotations

import os
import signal
import sys
import threading


def main() -> None:
    child = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])  # noqa: S606  an argv list, on purpose without a shell

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    # A signal to the group reaches the child by itself; the guard only outlives it to report its end.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    while True:
        try:
            _, status = os.waitpid(child, 0)
            break
        except InterruptedError:
            continue
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


main()
