"""The supervisor: the children's life and death. It touches no video and holds no secret longer than its children's
start.

Order: lock of the node, migration, listening sockets, children; then it watches until it is told to end. Ports are
bound here and handed on by descriptor, so that a web worker that dies leaves no refused connection behind. After a
supervisor that was killed its children may still be ending and hold the ports: recorders start at once then, the others
wait for them.

A child is started again after it ended, with growing pauses; one that gives no sign of life for `HUNG_S` is killed
first. Recorders are as many as the register's cameras need.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.errors import Kind, TiergateError
from config.load import load
from config.settings import Listener, Settings, split_listen
from gateway.ops import logging as logs
from gateway.ops.locks import NODE_LOCK
from gateway.ops.systemd import notify, watchdog_interval_s
from gateway.ops.tasks import Tasks
from gateway.processes.child import LISTEN_FD
from storage.catalog.engine import Catalog
from storage.catalog.migrate import migrate
from storage.catalog.status import shard_count

_log = logging.getLogger(__name__)

#: In the order in which they are started.
CHILDREN: tuple[str, ...] = ("recorder", "keeper", "relay", "web", "worker")

KILL_AFTER_S = 10.0
HUNG_S = 30.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 10.0
#: A child that ran this long starts again with the shortest pause.
_STEADY_S = 30.0
_SHARD_POLL_S = 0.5
#: As long as a child may take to end, and a little.
_PORT_WAIT_S = 15.0
_BACKLOG = 512


@dataclass(frozen=True, slots=True)
class Spec:
    """One child to be kept alive."""

    process: str
    number: int | None = None  #: shard of a recorder, index of a web worker
    listener: socket.socket | None = None

    @property
    def name(self) -> str:
        return self.process if self.number is None else f"{self.process}-{self.number}"


class Supervisor:
    def __init__(self, settings: Settings, config_path: Path, children: Sequence[str] = CHILDREN) -> None:
        """Raises process.child_unknown."""
        for name in children:
            if name not in CHILDREN:
                raise TiergateError(Kind.INVALID, "process.child_unknown", name=name)
        self._settings = settings
        self._config_path = config_path
        self._children = tuple(children)
        self._run_dir = settings.paths.run_dir
        self._stopping = asyncio.Event()
        self._kept = Tasks()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._specs: dict[str, Spec] = {}

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`. Raises process.lock_held, process.address_in_use, and whatever migration raises."""
        self._run_dir.mkdir(parents=True, exist_ok=True)
        with _node_lock(self._run_dir / NODE_LOCK):
            for stale in [*self._run_dir.glob("*.ready"), *self._run_dir.glob("*.alive")]:
                stale.unlink(missing_ok=True)
            pid_file = self._run_dir / "supervisor.pid"
            killed = pid_file.exists()  # one that ends by itself takes it away
            await asyncio.to_thread(migrate, self._settings.catalog_url)
            web = self._bind_first("web", self._settings.web, killed)
            relay = self._bind_first("relay", self._settings.relay, killed)
            pid_file.write_text(f"{os.getpid()}\n")
            catalog = Catalog(self._settings.catalog_url)
            try:
                for process in self._children:
                    if process == "recorder":
                        await self._add_recorders(catalog)
                    elif process == "web":
                        web = web or await self._bind_freed(self._settings.web)
                        for index in range(self._settings.web.workers):
                            self._add(Spec("web", index if self._settings.web.workers > 1 else None, web))
                    elif process == "relay":
                        relay = relay or await self._bind_freed(self._settings.relay)
                        self._add(Spec("relay", None, relay))
                    else:
                        self._add(Spec(process))
                await self._watch(catalog)
            finally:
                notify("STOPPING=1")
                await self._end_children()
                catalog.close()
                for listener in (web, relay):
                    if listener is not None:
                        listener.close()
                pid_file.unlink(missing_ok=True)

    # -- children ----------------------------------------------------------------------------------------------------

    def _add(self, spec: Spec) -> None:
        self._specs[spec.name] = spec
        self._kept.start(self._keep(spec), f"keep-{spec.name}")

    async def _add_recorders(self, catalog: Catalog) -> None:
        for shard in range(await catalog.aread(shard_count)):
            if f"recorder-{shard}" not in self._specs:
                self._add(Spec("recorder", shard))

    async def _keep(self, spec: Spec) -> None:
        pause_s = _SHORTEST_PAUSE_S
        while not self._stopping.is_set():
            began_s = time.monotonic()
            process = await self._spawn(spec)
            self._processes[spec.name] = process
            code = await process.wait()
            self._processes.pop(spec.name, None)
            (self._run_dir / f"{spec.name}.ready").unlink(missing_ok=True)
            (self._run_dir / f"{spec.name}.alive").unlink(missing_ok=True)
            if self._stopping.is_set():
                return
            if time.monotonic() - began_s >= _STEADY_S:
                pause_s = _SHORTEST_PAUSE_S
            _log.error("child ended", extra={"child": spec.name, "exit_code": code, "again_in_s": round(pause_s, 2)})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s * (0.75 + random.random() / 4)):  # noqa: S311 (spreads restarts)
                    await self._stopping.wait()
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    async def _spawn(self, spec: Spec) -> asyncio.subprocess.Process:
        argv = [sys.executable, "-m", f"gateway.processes.{spec.process}", "--config", str(self._config_path)]
        if spec.process != "recorder":
            # Five interpreters that start at once must not take the processor from the cameras' sockets (I8).
            argv = ["nice", "-n", "5", *argv]
        if spec.number is not None:
            argv += ["--shard", str(spec.number)]
        environment = dict(os.environ)
        descriptors: tuple[int, ...] = ()
        # Only the supervisor speaks with systemd; a child that inherits the socket would answer in its name.
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", LISTEN_FD):
            environment.pop(name, None)
        if spec.listener is not None:
            descriptors = (spec.listener.fileno(),)
            environment[LISTEN_FD] = str(spec.listener.fileno())
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.PIPE, env=environment, pass_fds=descriptors
        )
        _log.info("child started", extra={"child": spec.name, "pid": process.pid})
        return process

    async def _end_children(self) -> None:
        """SIGTERM to all, SIGKILL to what is left after 10 s."""
        self._stopping.set()
        for process in list(self._processes.values()):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await self._kept.finished(KILL_AFTER_S)
        for name, process in list(self._processes.items()):
            _log.error("child does not end and is killed", extra={"child": name})
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await self._kept.finished(5.0)
        await self._kept.cancel()

    # -- watching ----------------------------------------------------------------------------------------------------

    async def _watch(self, catalog: Catalog) -> None:
        seen = await catalog.aversion()
        interval_s = watchdog_interval_s()
        fed_s = 0.0
        announced = False
        while not self._stopping.is_set():
            if not announced and all((self._run_dir / f"{name}.ready").exists() for name in self._specs):
                announced = True
                notify(f"READY=1\nMAINPID={os.getpid()}")
                _log.info("all children are ready")
            if interval_s is not None and time.monotonic() - fed_s >= interval_s / 2:
                fed_s = time.monotonic()
                notify("WATCHDOG=1")
            self._kill_hung()
            if "recorder" in self._children:
                try:
                    version = await catalog.aversion()
                    if version != seen:
                        await self._add_recorders(catalog)
                        seen = version
                except Exception:
                    _log.exception("the catalog does not answer the supervisor")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SHARD_POLL_S):
                    await self._stopping.wait()

    def _kill_hung(self) -> None:
        """A child whose loop has not turned for `HUNG_S` does nothing any more, whatever its threads do."""
        for name, process in self._processes.items():
            try:
                alive_ns = int((self._run_dir / f"{name}.alive").read_text())
            except (OSError, ValueError):
                continue  # has not said anything yet
            if time.monotonic_ns() - alive_ns > HUNG_S * 1e9:
                _log.error("child gives no sign of life and is killed", extra={"child": name})
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    def _bind_first(self, process: str, listener: Listener, killed: bool) -> socket.socket | None:
        """Before anything starts, so that a port of somebody else's is told at once. None: not ours to bind, or held by
        a child of the supervisor that was killed."""
        if process not in self._children:
            return None
        try:
            return self._bind(listener)
        except TiergateError:
            if not killed:
                raise
            return None

    async def _bind_freed(self, listener: Listener) -> socket.socket:
        """Waits for the child that holds the port. Raises process.address_in_use."""
        deadline_s = time.monotonic() + _PORT_WAIT_S
        while True:
            try:
                return self._bind(listener)
            except TiergateError:
                if time.monotonic() > deadline_s or self._stopping.is_set():
                    raise
            await asyncio.sleep(0.1)

    def _bind(self, listener: Listener) -> socket.socket:
        host, port = split_listen(listener.listen)
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            bound = socket.socket(family, kind, protocol)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(_BACKLOG)
        except OSError as exc:
            problem = exc.strerror or type(exc).__name__
            raise TiergateError(
                Kind.ENVIRONMENT, "process.address_in_use", listen=listener.listen, problem=problem
            ) from exc
        bound.setblocking(False)
        return bound


@contextlib.contextmanager
def _node_lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise TiergateError(Kind.ENVIRONMENT, "process.lock_held", lock=path.name) from exc
        yield
    finally:
        os.close(descriptor)


def run(config_path: Path, children: Sequence[str] = CHILDREN) -> int:
    """Runs the node in the foreground; the exit code. What `tiergate serve` calls."""
    settings = load(config_path)
    logs.configure("supervisor", settings.log.level)

    async def main() -> None:
        supervisor = Supervisor(settings, config_path, children)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, supervisor.stop)
        await supervisor.run()

    asyncio.run(main())
    return 0
