"""The commit path of a node in one thread: recovery, recording, group sync, rows, uploads, on a clock of its own.

usage: commit_path.py. Each line on standard input is a `Life` as JSON; a life is forked, its pid printed, and after
another line it goes. It drives the product's own recording, ledger, spool and uploader with real pictures; only their
threads are taken away, so that the Nth system call is the same one in each life. What the catalog acknowledges is sent
to the parent, which no injection reaches and which syncs it to the life's manifest. Then the parent prints how it
ended.

`order` says what is right or wrong with the path. The known-bad twins: ``row_first`` commits a row before its bytes,
``sync_again`` tries a failed sync once more, ``no_file_sync`` and ``no_folder_sync`` leave out what makes bytes and
names survive a power loss.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from sqlalchemy.exc import OperationalError

from config.clock import ManualClock
from gateway.access.ids import fresh_id
from gateway.ingest.coverage import Coverage
from gateway.ingest.ledger import Change, Ledger
from gateway.ingest.recording import Recording
from gateway.ingest.spooling import Writing
from gateway.ingest.writer import Lane
from storage import spool as spool_module
from storage import volume
from storage.catalog import segments
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.migrate import migrate
from storage.catalog.segments import SegmentRow
from storage.catalog.status import past
from storage.objects.folder import FolderStore
from storage.rows import segment_row
from storage.salvage import recover
from storage.segmenter import CloseSegment, SegmenterPolicy, SegmentLabels
from storage.spool import Spool, SyncGroup
from storage.uploader import Uploader
from tests.gateway.ingest.volumes import one_volume
from tests.media import WALL_NS, access_units, encode_h264, stream_config

CAMERA = "21010000011320000001"
NODE = "0123456789abcdef"
STREAM = "main"
SEGMENT_MS = 1_000
PICTURE_S = 0.04
#: A life begins this long after the one before it.
LIFE_S = 60
READABLE = ("spooled", "stored")
#: How a life ended that could not even begin: its supervisor would start it again.
NOT_BEGUN = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Life:
    folder: str
    order: str = "right"
    number: int = 1  #: of the lives of this folder
    seconds: float = 4.0


class OneThread(Executor):
    """Work is done when it is handed in."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def one_thread_catalog(folder: Path) -> Catalog:
    catalog = Catalog(f"sqlite:///{folder / 'catalog' / 'catalog.db'}")
    catalog._thread = OneThread()  # type: ignore[assignment]  # what this module is for
    return catalog


def one_thread_uploader(catalog: Catalog, store: FolderStore, spool: Spool, clock: ManualClock) -> Uploader:
    uploader = Uploader(catalog, store, spool, clock)
    uploader._lanes._spawn = lambda run: run()
    uploader._ask = lambda _, look: look()
    return uploader


class OneThreadLedger(Ledger):
    """Commits when it is told, as the ledger's thread does after each wait; what fails waits on."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._waiting: deque[tuple[Change, Callable[[], None] | None]] = deque()

    def put(self, change: Change, then: Callable[[], None] | None = None) -> None:
        self._waiting.append((change, then))

    def settle(self) -> None:
        batch, rest = list(self._waiting)[:CHUNK_ROWS], list(self._waiting)[CHUNK_ROWS:]
        self._waiting = deque([*(self._commit(batch) if batch else ()), *rest])


class _OneThreadWriters:
    stuck_s = 0.0

    def lane(self) -> Lane:
        return Lane(self)  # type: ignore[arg-type]  # one method of the pool

    def schedule(self, lane: Lane) -> None:
        lane.run()


def prepare(folder: Path) -> None:
    """An installation that has not recorded yet."""
    (folder / "catalog").mkdir(parents=True)
    migrate(f"sqlite:///{folder / 'catalog' / 'catalog.db'}")
    Spool(folder / "spool", ManualClock(), NODE).prepare()
    FolderStore(folder / "objects").ensure()


def begin(life: Life, tell: Callable[[Iterable[SegmentRow]], None]) -> Callable[[], None]:
    """A recorder and keeper at their start; the rest of their life. `tell` hears what was acknowledged."""
    folder = Path(life.folder)
    clock = ManualClock(WALL_NS + life.number * LIFE_S * 10**9)
    catalog = one_thread_catalog(folder)
    spool, store = Spool(folder / "spool", clock, NODE), FolderStore(folder / "objects")
    ledger = OneThreadLedger(catalog)
    group = SyncGroup(800)
    _spoil(life.order, catalog, tell)

    def acknowledge() -> None:
        ledger.settle()
        try:
            tell(catalog.read(partial(segments.all_segments, states=READABLE, limit=10_000)))
        except OperationalError:
            return  # nobody could read it: nobody was told

    recover(catalog, spool, spool.cameras())
    writers = _OneThreadWriters()
    volumes = one_volume(spool, writers, group)  # type: ignore[arg-type]  # what a volume calls of the pool
    acknowledge()
    coverage = Coverage(CAMERA, STREAM, ledger, lambda: fresh_id(clock))
    coverage.resume(catalog.read(partial(past, camera_id=CAMERA, stream=STREAM)), clock.wall_ns() // 10**6)
    uploader = one_thread_uploader(catalog, store, spool, clock)

    def upload() -> None:
        try:
            store.ensure()
            uploader.run_once()
        except Exception as error:  # as the keeper: logged, and tried again
            logging.warning("upload round failed: %r", error)

    recording = Recording(
        SegmentLabels(NODE, CAMERA, STREAM, "default", time_trust="synchronised"),
        SegmenterPolicy(fragment_ms=400, segment_ms=SEGMENT_MS),
        volumes, ledger, coverage, clock, lambda: fresh_id(clock),
    )  # fmt: skip
    packets = _pictures()
    recording.begin(stream_config("h264", packets))

    def go_on() -> None:
        for index in range(round(life.seconds / PICTURE_S)):
            unit = access_units("h264", (packets[index % len(packets)],), wall_ns=0)[0]
            ticks = index * 3600 - unit.dts
            unit.dts, unit.pts, unit.wall_ns = unit.dts + ticks, unit.pts + ticks, clock.wall_ns()
            recording.push(unit)
            clock.advance(PICTURE_S)
            if index % 5 == 4:
                recording.tick(clock.wall_ns())
            if index % 10 == 9:
                acknowledge()
            if index % 20 == 19:
                group.sync_now()
            if index % 50 == 49:
                upload()
        recording.end("stopped")
        acknowledge()
        upload()
        acknowledge()
        catalog.close()

    return go_on


@functools.cache
def _pictures() -> tuple[Any, ...]:
    return encode_h264(1.0, size=(160, 120))


# --- the twins ---


def _spoil(order: str, catalog: Catalog, tell: Callable[[Iterable[SegmentRow]], None]) -> None:
    if order == "row_first":
        _row_first(catalog, tell)
    elif order == "sync_again":
        _replace_in_spool(fdatasync=_sync_again)
    elif order == "no_file_sync":
        _replace_in_spool(fsync=lambda fd: None, fdatasync=lambda fd: None)
    elif order == "no_folder_sync":
        volume.fsync_folder = lambda path: None
    elif order != "right":
        raise ValueError(order)


def _replace_in_spool(**calls: Callable[[int], None]) -> None:
    vars(spool_module)["os"] = SimpleNamespace(**{**vars(os), **calls})


def _sync_again(descriptor: int) -> None:
    try:
        os.fdatasync(descriptor)
    except OSError:
        os.fdatasync(descriptor)


def _row_first(catalog: Catalog, tell: Callable[[Iterable[SegmentRow]], None]) -> None:
    seal = Writing.seal

    def wrong(self: Any, closed: CloseSegment) -> SegmentRow:
        whole = self._part.path.read_bytes() + closed.index
        digest = hashlib.sha256(whole).digest()
        row = segment_row(self._opened, closed, len(whole), digest, self._volume_id, 0)
        catalog.write(lambda connection: segments.insert_segments(connection, [row]))
        tell([row])
        return seal(self, closed)

    Writing.seal = wrong  # type: ignore[method-assign]  # what a twin is


# --- the process ---


def _child(life: Life, parent: socket.socket) -> None:
    told: set[str] = set()

    def tell(rows: Iterable[SegmentRow]) -> None:
        for row in rows:
            if row.id not in told:
                told.add(row.id)
                parent.send(f"{row.id} {row.sha256.hex().upper()}\n".encode())

    parent.recv(1)  # whoever wants to look on is there now
    code = NOT_BEGUN
    try:
        go_on = begin(life, tell)
        code = 1
        go_on()
        code = 0
    except Exception as error:
        logging.exception("a life ended: %r", error)
    logging.shutdown()
    os._exit(code)


def _parent(life: Life) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        signal.alarm(60)
        _child(life, theirs)
    theirs.close()
    print(pid, flush=True)
    sys.stdin.readline()
    ours.send(b"!")
    manifest = os.open(Path(life.folder + ".manifest"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    while True:
        try:
            line = ours.recv(4096)
        except ConnectionResetError:
            break
        if not line:
            break
        os.write(manifest, line)
        os.fsync(manifest)
    os.close(manifest)
    ours.close()
    _, status = os.waitpid(pid, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    _pictures()  # the encoder's work is done once, before the forks
    print("ready", flush=True)
    for line in sys.stdin:
        _parent(Life(**json.loads(line)))


if __name__ == "__main__":
    main()
