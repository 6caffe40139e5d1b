"""What every child of the supervisor does alike: arguments, settings, logs, signs of life, ending.

A child ends when it is told (SIGTERM) or when its standard input closes: that pipe is held by the supervisor and by
nobody else, so not even kill −9 of the supervisor leaves a child behind.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import logging
import os
import signal
import socket
import stat
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from config.clock import Clock, make_clock
from config.errors import TiergateError
from config.load import load, settings_path
from config.settings import Settings
from gateway.ops import logging as logs
from gateway.ops.dumps import no_core_dump
from gateway.ops.signs import Progress, give_signs
from gateway.ops.tasks import Tasks

_log = logging.getLogger(__name__)

LISTEN_FD = "TIERGATE_LISTEN_FD"
LISTEN_MORE = "TIERGATE_LISTEN_MORE"  #: JSON: what else the process listens for → descriptor
#: When asked to end, a process ends: whatever hangs after this is not waited for.
_LAST_S = 15.0


@dataclass
class Child:
    """Handed to a process' coroutine."""

    name: str  #: `recorder-0`, `keeper`, `web-1`: names files in run/ and log lines
    shard: int
    settings: Settings
    config_path: Path
    clock: Clock
    heir: bool = False  #: a process of this name still works, and will be told to end once this one is `waiting`
    #: What must turn besides the event loop: steady times at which it was last seen to.
    progress: list[Progress] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: Tasks = field(default_factory=Tasks)
    ready_told: bool = False

    def ready(self) -> None:
        """The process does its work from now on."""
        self.ready_told = True
        path = self.settings.paths.run_dir / f"{self.name}.ready"
        path.write_text(f"{os.getpid()}\n")

    def waiting(self) -> None:
        """All is prepared that can be while the predecessor works."""
        if self.heir:
            (self.settings.paths.run_dir / f"{self.name}.waiting").write_text(f"{os.getpid()}\n")

    async def succeed(self) -> None:
        """Waits until no other process of this name is left, then holds the name; returns early when told to stop.

        After a supervisor that was killed its children are still ending when the next one's start: they would take away
        the sockets and files of their successors.
        """
        path = self.settings.paths.run_dir / f"{self.name}.running"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        while not self.stopping.is_set():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.02)
        else:
            return
        (self.settings.paths.run_dir / f"{self.name}.ready").unlink(missing_ok=True)
        signs = give_signs(self.settings.paths.run_dir / f"{self.name}.alive", self.clock, self.progress)
        self.tasks.start(signs, "signs")

    def listener(self) -> socket.socket | None:
        """The listening socket that the supervisor bound, or None when the process was started by hand."""
        value = os.environ.get(LISTEN_FD)
        return socket.socket(fileno=int(value)) if value else None

    def more_listeners(self) -> dict[str, socket.socket]:
        """Further ones by what they are for, as the supervisor bound them; none when started by hand."""
        found = json.loads(os.environ.get(LISTEN_MORE, "{}"))
        return {name: socket.socket(fileno=int(descriptor)) for name, descriptor in found.items()}


Run = Callable[[Child], Awaitable[None]]


def main(process: str, run: Run, argv: list[str] | None = None, *, succeeds_itself: bool = False) -> NoReturn:
    """Runs `run` until it returns; it should return soon after `Child.stopping` is set. Never returns itself.

    `succeeds_itself`: `run` begins while a predecessor works and calls `Child.succeed` when it must be alone.
    """
    no_core_dump()
    parser = argparse.ArgumentParser(prog=f"tiergate-{process}")
    parser.add_argument("--config")
    parser.add_argument("--shard", type=int)
    parser.add_argument("--succeed", action="store_true")
    arguments = parser.parse_args(argv)
    name = process if arguments.shard is None else f"{process}-{arguments.shard}"
    path = settings_path(arguments.config)
    code = 1
    try:
        settings = load(path)
        logs.configure(name, settings.log.level)
        settings.paths.run_dir.mkdir(parents=True, exist_ok=True)
        child = Child(name, arguments.shard or 0, settings, path, make_clock(settings), arguments.succeed)
        code = asyncio.run(_main(child, run, succeeds_itself))
    except TiergateError as error:
        _log.error("cannot run", extra={"code": error.reason.code, "reason": str(error)})
        code = error.exit_code
    except Exception:
        _log.exception("the process failed")
    logs.finish()
    # Threads may hang in a camera's library; everything that matters has been written by now.
    os._exit(code)


async def _main(child: Child, run: Run, succeeds_itself: bool) -> int:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, child.stopping.set)
    supervised = stat.S_ISFIFO(os.fstat(0).st_mode)
    if supervised:
        # Ctrl-C reaches the whole group; the supervisor ends its children in its own way.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_await_orphaned, args=(loop, child.stopping), daemon=True, name="parent").start()
    else:
        loop.add_signal_handler(signal.SIGINT, child.stopping.set)
    if not succeeds_itself:
        child.waiting()
        await child.succeed()
        if child.stopping.is_set():
            return 0
    work = asyncio.ensure_future(run(child))
    stop = asyncio.create_task(child.stopping.wait(), name="stopping")
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            await asyncio.wait({work}, timeout=_LAST_S)
        if not work.done():
            _log.error("the process does not end and is left")
            return 1
        work.result()
        return 0
    finally:
        if child.ready_told:
            (child.settings.paths.run_dir / f"{child.name}.ready").unlink(missing_ok=True)
        stop.cancel()
        await child.tasks.cancel()


def _await_orphaned(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    while True:
        try:
            if not os.read(0, 4096):
                break
        except OSError:
            break
    try:
        loop.call_soon_threadsafe(stopping.set)
    except RuntimeError:
        pass  # the loop has ended before
