"""A child process in a group of its own that never outlives us, with its output in a file.

Whatever happens to the process that started it, kill -9 included, the child ends: it runs under `_guard.py`, which
ends the group when its standard input closes (`guarded=False` for programs that do so themselves).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from tests.parts.wait import until

_GUARD = Path(__file__).with_name("_guard.py")


#: Below what the kernel gives to whoever asks for any port (32768 and up): nobody takes one by chance before its server
#: listens, or while that server is down. Without 10080, where no browser goes.
_PORTS = range(11_000, 32_000)


def free_port(*, also_plus: int = 0) -> int:
    """A loopback TCP port that is free now (and free again `also_plus` higher)."""
    for _ in range(200):
        port = secrets.choice(_PORTS[: len(_PORTS) - also_plus])  # not `random`: Hypothesis gives that one seed to all
        with contextlib.suppress(OSError):
            for each in {port, port + also_plus}:
                with socket.socket() as one:
                    one.bind(("127.0.0.1", each))
            return port
    raise RuntimeError("no free port")


class Child:
    """One program, startable again after it ended. Signals go to its whole group."""

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        guarded: bool = True,
        stdout_is_pipe: bool = False,
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self._env = dict(env or {})
        self._guarded = guarded
        self._stdout_is_pipe = stdout_is_pipe
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        assert self.popen is None or self.popen.poll() is not None, f"{self.argv[0]} runs already"
        argv = [sys.executable, "-SE", str(_GUARD), *self.argv] if self._guarded else self.argv
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if self._stdout_is_pipe else log,
                stderr=log,
                env={**os.environ, **self._env},
                start_new_session=True,
            )
        return self

    @property
    def running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def tail(self, lines: int = 20) -> str:
        """The end of what the program printed, for a failure's message."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def signal(self, number: signal.Signals) -> None:
        if self.popen is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, number)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers any more."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9, at once."""
        self.signal(signal.SIGKILL)
        self.wait(10)

    def stop(self, timeout_s: float = 10) -> None:
        """SIGTERM, then SIGKILL when it does not end."""
        if self.popen is None:
            return
        self.resume()
        self.signal(signal.SIGTERM)
        try:
            self.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pass
        self.signal(signal.SIGKILL)  # what is left of the group
        self.wait(10)

    def wait(self, timeout_s: float) -> None:
        """Until the program has ended. Raises subprocess.TimeoutExpired."""
        if self.popen is None:
            return
        self.popen.wait(timeout_s)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def wait_for_port(port: int, timeout_s: float, what: str) -> None:
    def open_() -> bool:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True

    until(open_, timeout_s, what)


def readable(file: IO[Any], timeout_s: float) -> bool:
    """Whether something can be read within that time. poll(2): select(2) ends at descriptor 1023."""
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))
