"""The supervisor: the children's life and death. It touches no video and holds no secret longer than its children's
start.

Order: lock of the node, its catalog, migration, listening sockets, children; then it watches until it is told to end.
Ports are bound here and handed on by descriptor, so that a web worker that dies leaves no refused connection behind.
After a supervisor that was killed its children may still be ending and hold the ports: recorders start at once then,
the others wait for them.

A child is started again after it ended, with growing pauses; one that gives no sign of life for `HUNG_S` is killed
first. Recorders are as many as the register's cameras need.

SIGHUP is the upgrade with recorders running: the supervisor replaces itself by the version on the disk (exec: same pid,
same children, same sockets), migrates, and renews one child after another. A recorder's successor is connected to its
cameras and buffers before its predecessor is told to end (`gateway.processes.recorder`).

systemd is told that all is well by `_feed` alone: while this loop turns, no child has been silent for long and none
has been missing for long. A machine that has no process, memory or descriptor left for a child is asked again with
growing pauses.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import random
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.clock import Clock, Deadline, make_clock
from config.errors import Kind, TiergateError
from config.load import load
from config.settings import Settings, split_listen
from gateway.ops import logging as logs
from gateway.ops import own_catalog
from gateway.ops.locks import NODE_LOCK
from gateway.ops.signs import read_sign
from gateway.ops.systemd import notify, watchdog_interval_s
from gateway.ops.tasks import Tasks
from gateway.processes.child import LISTEN_FD, LISTEN_MORE
from gateway.processes.running import Running
from storage.catalog.engine import Catalog
from storage.catalog.migrate import migrate
from storage.catalog.status import shards

_log = logging.getLogger(__name__)

#: In the order in which they are started.
CHILDREN: tuple[str, ...] = ("recorder", "keeper", "relay", "web", "worker")

KILL_AFTER_S = 10.0
HUNG_S = 10.0
#: A child that is silent for so long although it should have been killed, or missing although it should have been
#: started: systemd shall start everything anew.
_FORSAKEN_S = 3 * HUNG_S
#: Within which a successor must have connected to its cameras, or a new version must have been read.
_RENEW_S = 20.0
#: What one version of the supervisor leaves to the next, in its environment.
_LEGACY = "TIERGATE_SUPERVISOR_LEGACY"
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
    more: tuple[tuple[str, socket.socket], ...] = ()  #: further ones by what they are for

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
        self._clock: Clock = make_clock(settings)
        self._stopping = asyncio.Event()
        self._upgrading = asyncio.Event()
        self._complete = False  #: every child that there should be has been started
        self._kept = Tasks()
        self._processes: dict[str, Running] = {}
        self._successors: dict[str, Running] = {}
        self._specs: dict[str, Spec] = {}
        self._missing_ns: dict[str, int] = {}  #: children that do not run → since when, by the steady clock

    def stop(self) -> None:
        self._stopping.set()

    def upgrade(self) -> None:
        """SIGHUP."""
        self._upgrading.set()

    async def run(self) -> None:
        """Until `stop`. Raises process.lock_held, process.address_in_use, ops.catalog_missing, and migration's."""
        self._run_dir.mkdir(parents=True, exist_ok=True)
        legacy = Legacy.left()
        with _node_lock(self._run_dir / NODE_LOCK, legacy) as lock:
            pid_file = self._run_dir / "supervisor.pid"
            killed = legacy is None and pid_file.exists()  # one that ends by itself takes it away
            if legacy is None:
                for stale in [*self._run_dir.glob("*.ready"), *self._run_dir.glob("*.alive")]:
                    stale.unlink(missing_ok=True)
            adopted = {name: Running(*child) for name, child in (legacy.children if legacy else {}).items()}
            self._kept.start(self._feed(), "watchdog")
            await asyncio.to_thread(own_catalog.require, self._settings)
            await asyncio.to_thread(migrate, self._settings.catalog_url)
            wanted = self._wanted()
            for name, descriptor in (legacy.listeners if legacy is not None else {}).items():
                if name not in wanted:  # switched off since
                    os.close(descriptor)
            listeners = {
                name: self._inherited(name, legacy) or self._bind_first(process, listen, killed)
                for name, (process, listen) in wanted.items()
            }
            pid_file.write_text(f"{os.getpid()}\n")
            catalog = Catalog(self._settings.catalog_url)
            leaving = False
            try:
                for process in self._children:
                    if process == "recorder":
                        await self._add_recorders(catalog, adopted)
                    elif process == "web":
                        bound = await self._bind_rest("web", wanted, listeners)
                        first = bound.pop("web")
                        for index in range(self._settings.web.workers):
                            number = index if self._settings.web.workers > 1 else None
                            self._add(Spec("web", number, first, tuple(bound.items())), adopted)
                    elif process == "relay":
                        bound = await self._bind_rest("relay", wanted, listeners)
                        self._add(Spec("relay", None, bound["relay"]), adopted)
                    else:
                        self._add(Spec(process), adopted)
                self._complete = True
                for stranger in adopted.values():  # this version has no such child
                    stranger.terminate()
                if legacy is not None:
                    self._kept.start(self._renew_all(), "renew")
                await self._watch(catalog)
                leaving = not self._stopping.is_set()
            finally:
                catalog.close()
                if not leaving:
                    notify("STOPPING=1")
                    await self._end_children()
                    for listener in listeners.values():
                        if listener is not None:
                            listener.close()
                    pid_file.unlink(missing_ok=True)
            self._become_next_version(lock, listeners)

    def _wanted(self) -> dict[str, tuple[str, str]]:
        """What is listened for → (the process that does, address and port)."""
        rtsp = {scheme: ("web", listen) for scheme, listen in self._settings.rtsp.listeners.items()}
        return {"web": ("web", self._settings.web.listen), "relay": ("relay", self._settings.relay.listen)} | rtsp

    async def _bind_rest(
        self, process: str, wanted: dict[str, tuple[str, str]], listeners: dict[str, socket.socket | None]
    ) -> dict[str, socket.socket]:
        """All listeners of `process`; what was not free before is waited for."""
        bound: dict[str, socket.socket] = {}
        for name, (of, listen) in wanted.items():
            if of == process:
                bound[name] = listeners[name] or await self._bind_freed(listen)
        listeners.update(bound)
        return bound

    def _inherited(self, name: str, legacy: Legacy | None) -> socket.socket | None:
        descriptor = legacy.listeners.get(name) if legacy is not None else None
        return socket.socket(fileno=descriptor) if descriptor is not None else None

    # -- children ----------------------------------------------------------------------------------------------------

    def _add(self, spec: Spec, adopted: dict[str, Running]) -> None:
        self._specs[spec.name] = spec
        self._missing_ns[spec.name] = self._clock.monotonic_ns()
        self._kept.start(self._keep(spec, adopted.pop(spec.name, None)), f"keep-{spec.name}")

    async def _add_recorders(self, catalog: Catalog, adopted: dict[str, Running]) -> None:
        for shard in await catalog.aread(shards):
            if f"recorder-{shard}" not in self._specs:
                self._add(Spec("recorder", shard), adopted)

    async def _keep(self, spec: Spec, process: Running | None) -> None:
        """`process`: one that runs already."""
        pause_s = _SHORTEST_PAUSE_S
        while not self._stopping.is_set():
            steady = Deadline(_STEADY_S)
            try:
                process = process or self._spawn(spec)
            except OSError as error:
                _log.error(
                    "child cannot be started",
                    extra={"child": spec.name, "problem": _errno(error), "again_in_s": round(pause_s, 2)},
                )
            else:
                self._processes[spec.name] = process
                self._missing_ns.pop(spec.name, None)
                code = await process.wait()
                self._processes.pop(spec.name, None)
                process = self._successors.pop(spec.name, None)
                if process is not None:
                    continue  # it has waited for this end
                self._missing_ns[spec.name] = self._clock.monotonic_ns()
                for sign in ("ready", "alive"):
                    with contextlib.suppress(OSError):  # a disk that is sick is no reason to leave a camera unrecorded
                        (self._run_dir / f"{spec.name}.{sign}").unlink(missing_ok=True)
                if self._stopping.is_set():
                    return
                if steady.passed:
                    pause_s = _SHORTEST_PAUSE_S
                _log.error(
                    "child ended", extra={"child": spec.name, "exit_code": code, "again_in_s": round(pause_s, 2)}
                )
            await self._pause(pause_s * (0.75 + random.random() / 4))  # noqa: S311 (spreads restarts)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _spawn(self, spec: Spec, *more: str) -> Running:
        """Raises OSError when the machine has no room for another process now."""
        argv = [sys.executable, "-m", f"gateway.processes.{spec.process}", "--config", str(self._config_path)]
        if spec.process != "recorder":
            # Five interpreters that start at once must not take the processor from the cameras' sockets (I8).
            argv = ["nice", "-n", "5", *argv]
        if spec.number is not None:
            argv += ["--shard", str(spec.number)]
        argv += more
        environment = dict(os.environ)
        descriptors: tuple[int, ...] = ()
        # Only the supervisor speaks with systemd; a child that inherits the socket would answer in its name.
        for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", LISTEN_FD, LISTEN_MORE):
            environment.pop(name, None)
        if spec.listener is not None:
            descriptors = (spec.listener.fileno(), *(held.fileno() for _, held in spec.more))
            environment[LISTEN_FD] = str(spec.listener.fileno())
            environment[LISTEN_MORE] = json.dumps({name: held.fileno() for name, held in spec.more})
        process = Running.start(argv, environment, descriptors)
        _log.info("child started", extra={"child": spec.name, "pid": process.pid})
        return process

    async def _end_children(self) -> None:
        """SIGTERM to all, SIGKILL to what is left after 10 s."""
        self._stopping.set()
        for process in [*self._processes.values(), *self._successors.values()]:
            process.terminate()
        await self._kept.finished(KILL_AFTER_S)
        for name, process in [*self._processes.items(), *self._successors.items()]:
            _log.error("child does not end and is killed", extra={"child": name})
            process.kill()
        await self._kept.finished(5.0)
        await self._kept.cancel()

    # -- renewing ----------------------------------------------------------------------------------------------------

    async def _renew_all(self) -> None:
        """Every child by one of this version, recorders first: what they lack the others cannot give."""
        for spec in list(self._specs.values()):
            if self._stopping.is_set():
                return
            await self._renew(spec)
        _log.info("all children are of this version")

    async def _renew(self, spec: Spec) -> None:
        """The successor is up, and a recorder's has pictures, before the predecessor is told to go."""
        before = self._processes.get(spec.name)
        if before is None:
            return  # between two lives: the next one is of this version anyway
        try:
            heir = self._spawn(spec, "--succeed")
        except OSError as error:
            _log.error(
                "the new version of a child cannot be started; the old one goes on",
                extra={"child": spec.name, "problem": _errno(error)},
            )
            return
        self._successors[spec.name] = heir
        await self._says("waiting", spec, heir)
        if not heir.alive:
            self._successors.pop(spec.name, None)
            _log.error("the new version of a child does not start; the old one goes on", extra={"child": spec.name})
            return
        before.terminate()
        if not await before.ended_within(KILL_AFTER_S):
            _log.error("child does not end and is killed", extra={"child": spec.name})
            before.kill()
        await self._says("ready", spec, heir)

    async def _says(self, what: str, spec: Spec, process: Running) -> None:
        """Waits until the process has said so, has ended, or has had its time."""
        path, deadline = self._run_dir / f"{spec.name}.{what}", Deadline(_RENEW_S)
        while not (deadline.passed or self._stopping.is_set() or _names(path, process.pid)):
            if await process.ended_within(0.05):
                return

    async def _readable_version(self) -> bool:
        """Whether what is on the disk would start: an upgrade that is half there must not end this node."""
        try:
            check = Running.start(
                [sys.executable, "-c", "import gateway.processes.supervisor, gateway.processes.recorder"],
                os.environ, (),
            )  # fmt: skip
        except OSError:
            return False
        if not await check.ended_within(_RENEW_S):
            check.kill()
        return await check.wait() == 0

    def _become_next_version(self, lock: int, listeners: dict[str, socket.socket | None]) -> None:
        """Never returns, unless this supervisor ends for good."""
        if self._stopping.is_set():
            return
        legacy = Legacy(
            lock,
            {name: held.fileno() for name, held in listeners.items() if held is not None},
            {name: (process.pid, process.stdin) for name, process in self._processes.items()},
        )
        _log.info("the supervisor becomes the version on the disk")
        logs.finish()
        legacy.leave()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the next version listens; impatience must not end it
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - what we were started with

    # -- watching ----------------------------------------------------------------------------------------------------

    async def _watch(self, catalog: Catalog) -> None:
        """Until told to stop or to become another version."""
        watching = Tasks()
        if "recorder" in self._children:
            watching.start(self._follow_register(catalog), "register")
        try:
            while not self._stopping.is_set():
                self._kill_hung()
                if self._upgrading.is_set():
                    self._upgrading.clear()
                    if self._successors:
                        _log.warning("still renewing; the request to upgrade is passed over")
                    elif await self._readable_version():
                        return
                    else:
                        _log.error("the version on the disk does not start; this one goes on")
                await self._pause(0.5)
        finally:
            await watching.cancel()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _feed(self) -> None:
        """Tells systemd that the node is up, and again and again that it lives."""
        interval_s = watchdog_interval_s()
        announced = False
        while not self._stopping.is_set():
            ready = self._complete and all((self._run_dir / f"{name}.ready").exists() for name in self._specs)
            if ready and not announced:
                announced = True
                notify(f"READY=1\nMAINPID={os.getpid()}")
                _log.info("all children are ready")
            if interval_s is not None and not self._silent(_FORSAKEN_S) and not self._missing(_FORSAKEN_S):
                notify("WATCHDOG=1")
            await self._pause(0.25 if interval_s is None else min(0.25, interval_s / 4))

    async def _follow_register(self, catalog: Catalog) -> None:
        """Cameras of another shard bring a recorder of their own. A catalog that is locked holds up nothing else."""
        seen: int | None = None
        while True:
            try:
                version = await catalog.aversion()
                if version != seen:
                    await self._add_recorders(catalog, {})
                    seen = version
            except Exception:
                _log.exception("the catalog does not answer the supervisor")
            await asyncio.sleep(_SHARD_POLL_S)

    def _silent(self, seconds: float) -> list[str]:
        """Children that have been seen to turn, but not lately. Never those whose successors have begun to sign."""
        found = []
        for name in self._processes:
            sign = read_sign(self._run_dir, name)
            if sign is not None and self._clock.monotonic_ns() - sign.alive_ns > seconds * 1e9:
                found.append(name)
        return found

    def _missing(self, seconds: float) -> list[str]:
        """Children that there should be and that have not run for so long."""
        now_ns = self._clock.monotonic_ns()
        return [name for name, since_ns in self._missing_ns.items() if now_ns - since_ns > seconds * 1e9]

    def _kill_hung(self) -> None:
        """A child whose loop has not turned for `HUNG_S` does nothing any more, whatever its threads do."""
        for name in self._silent(HUNG_S):
            _log.error("child gives no sign of life and is killed", extra={"child": name})
            self._processes[name].kill()

    def _bind_first(self, process: str, listen: str, killed: bool) -> socket.socket | None:
        """Before anything starts, so that a port of somebody else's is told at once. None: not ours to bind, or held by
        a child of the supervisor that was killed."""
        if process not in self._children:
            return None
        try:
            return self._bind(listen)
        except TiergateError:
            if not killed:
                raise
            return None

    async def _bind_freed(self, listen: str) -> socket.socket:
        """Waits for the child that holds the port. Raises process.address_in_use."""
        deadline = Deadline(_PORT_WAIT_S)
        while True:
            try:
                return self._bind(listen)
            except TiergateError:
                if deadline.passed or self._stopping.is_set():
                    raise
            await asyncio.sleep(0.1)

    def _bind(self, listen: str) -> socket.socket:
        host, port = split_listen(listen)
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
            raise TiergateError(Kind.ENVIRONMENT, "process.address_in_use", listen=listen, problem=problem) from exc
        bound.setblocking(False)
        return bound


@dataclass(frozen=True, slots=True)
class Legacy:
    """What stays open across the exec of a supervisor by its next version."""

    lock: int
    listeners: dict[str, int]
    children: dict[str, tuple[int, int]]  #: name → (pid, our end of its standard input)

    @classmethod
    def left(cls) -> Legacy | None:
        text = os.environ.pop(_LEGACY, None)
        if text is None:
            return None
        value = json.loads(text)
        children = {name: (int(pid), int(stdin)) for name, (pid, stdin) in value["children"].items()}
        found = cls(int(value["lock"]), {k: int(v) for k, v in value["listeners"].items()}, children)
        found._inheritable(False)
        return found

    def leave(self) -> None:
        self._inheritable(True)
        os.environ[_LEGACY] = json.dumps(
            {"lock": self.lock, "listeners": self.listeners, "children": self.children}
        )  # fmt: skip

    def _inheritable(self, value: bool) -> None:
        for descriptor in (self.lock, *self.listeners.values(), *(stdin for _, stdin in self.children.values())):
            os.set_inheritable(descriptor, value)


def _errno(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def _names(path: Path, pid: int) -> bool:
    try:
        return int(path.read_text()) == pid
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def _node_lock(path: Path, legacy: Legacy | None) -> Iterator[int]:
    """The descriptor that holds the lock; closing it would give the lock away, so an exec takes it along."""
    if legacy is not None:
        descriptor = legacy.lock
    else:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise TiergateError(Kind.ENVIRONMENT, "process.lock_held", lock=path.name) from exc
        yield descriptor
    finally:
        os.close(descriptor)


def run(config_path: Path, children: Sequence[str] = CHILDREN) -> int:
    """Runs the node in the foreground; the exit code. What `tiergate serve` calls."""
    settings = load(config_path)
    logs.configure("supervisor", settings.log.level)

    async def main() -> None:
        supervisor = Supervisor(settings, config_path, children)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.stop)
        loop.add_signal_handler(signal.SIGHUP, supervisor.upgrade)
        await supervisor.run()

    asyncio.run(main())
    return 0
