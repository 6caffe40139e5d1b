"""The spool: footage on its way from a camera to the store, one file per segment, durable at every step. (I1, I2)

``<spool>/<camera>/<ulid>.part`` grows by whole fragments and is hashed while it grows; `SyncGroup` makes it durable
each 0.8 s. Sealing appends the closing index, syncs, renames to ``.mp4`` and syncs the folder: only then may its row
be written. A part whose sync has failed is renamed ``.failed``: after such a failure the kernel may call pages clean
that never reached the disk, so nobody syncs that file again (FAULTS B3); salvage copies what is whole into a new one.

Belongs here: files and what the disk says. Does not belong here: where segments begin and end (`storage.segmenter`),
torn files after a crash (`storage.salvage`), the way to the store (`storage.uploader`).
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from config.clock import Clock
from config.errors import Kind, TiergateError
from config.ids import is_ulid
from storage import volume
from storage.catalog.engine import Catalog

logger = logging.getLogger(__name__)

QUARANTINE = "quarantine"
PART, SEALED, FAILED = ".part", ".mp4", ".failed"
PROBE = ".tiergate-probe"
_PROBE_BYTES = 64 * 1024
SYNC_THREADS = 8  #: 64 files of 1 MiB: 31-43 ms a round (MEASUREMENTS D2)
Digest = bytes  #: inside a class with a field `bytes` the type needs another name
_CAMERA = re.compile(r"[0-9A-Za-z]{1,20}")


def _failure(exc: OSError) -> TiergateError:
    problem = errno.errorcode.get(exc.errno or 0, type(exc).__name__)
    return TiergateError(Kind.UNAVAILABLE, "media.part_failed", problem=problem)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """write(2) may take less than it is given, on a filling disk above all."""
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view) :]


@dataclass(frozen=True, slots=True)
class SealedPart:
    """A finished segment file: durable under its final name."""

    path: Path
    bytes: int
    sha256: Digest


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """What is left for an ordinary user of a filesystem (f_bavail: FAULTS B5)."""

    bytes_free: int
    bytes_total: int
    inodes_free: int
    inodes_total: int  #: 0 where inodes are not counted
    read_only: bool = False

    @property
    def percent(self) -> float:
        """The scarcer of bytes and inodes."""
        shares = [100.0 * self.bytes_free / max(1, self.bytes_total)]
        if self.inodes_total:
            shares.append(100.0 * self.inodes_free / self.inodes_total)
        return min(shares)


class PartFile:
    """An open segment. One thread appends, seals and closes; `SyncGroup`'s threads sync meanwhile.

    Nobody but that one thread closes the descriptor: its number goes to the next file that is opened, and bytes that
    are on their way would end in another camera's segment.
    """

    def __init__(self, path: Path) -> None:
        """Raises media.part_failed, also when the file exists: a name is never used twice."""
        self._path = path
        self._digest = hashlib.sha256()
        self._length = 0
        self._dirty = False
        self._entered = False  #: the folder's entry for this file is durable
        self._lock = threading.Lock()  #: who holds it may sync, rename or close
        self._error: TiergateError | None = None
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except OSError as exc:
            raise _failure(exc) from exc

    @property
    def path(self) -> Path:
        return self._path

    @property
    def length(self) -> int:
        return self._length

    @property
    def dirty(self) -> bool:
        return self._dirty

    @property
    def error(self) -> TiergateError | None:
        """Why this part can take no more; what it holds up to here is salvage's."""
        return self._error

    def append(self, data: bytes | bytearray | memoryview) -> int:
        """Writes all of `data`; the offset at which it lies. Raises media.part_failed, then and from then on."""
        self._check()
        offset = self._length
        try:
            write_all(self._fd, data)
        except OSError as exc:
            self._error = _failure(exc)
            raise self._error from exc
        self._digest.update(data)
        self._length += len(data)
        self._dirty = True
        return offset

    def sync(self) -> None:
        """Everything appended before the call is durable after it. Raises media.part_failed once; never tries again."""
        with self._lock:
            if self._fd < 0 or self._error is not None or not self._dirty:
                return
            self._dirty = False
            try:
                os.fdatasync(self._fd)
                if not self._entered:
                    volume.fsync_folder(self._path.parent)
                    self._entered = True
            except OSError as exc:
                self._fail_sync(exc)

    def seal(self, index: bytes) -> SealedPart:
        """Appends the closing index and gives the file its final name. Raises media.part_failed."""
        self.append(index)
        with self._lock:
            try:
                self._check()  # a sync may have failed since
                try:
                    os.fsync(self._fd)
                except OSError as exc:
                    self._fail_sync(exc)
                target = self._path.with_suffix(SEALED)
                os.rename(self._path, target)
                self._path = target
                volume.fsync_folder(target.parent)
            except OSError as exc:
                self._error = _failure(exc)
                raise self._error from exc
            finally:
                self._close()
        self._dirty = False
        return SealedPart(target, self._length, self._digest.digest())

    def close(self) -> None:
        """Gives the file up as it is; salvage finds it."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._fd < 0:
            raise ValueError("part is closed")

    def _fail_sync(self, exc: OSError) -> None:
        self._error = _failure(exc)
        try:
            failed = self._path.with_suffix(FAILED)
            os.rename(self._path, failed)
            self._path = failed
        except OSError:
            logger.warning("failed part keeps its name", extra={"part": self._path.name})
        raise self._error from exc


class SyncGroup:
    """Syncs every dirty part each `interval_ms`, several at once, in threads of its own.

    A failed part is dropped from the group and counted; its writer learns it at the next append. A round never overlaps
    the one before. What a disk that stalls costs is seen by what waits to be written (`gateway.ingest.writer`).
    """

    def __init__(self, interval_ms: int, threads: int = SYNC_THREADS) -> None:
        self._interval_s = interval_ms / 1000
        self._parts: set[PartFile] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="sync")
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failures = 0

    def add(self, part: PartFile) -> None:
        with self._lock:
            self._parts.add(part)

    def discard(self, part: PartFile) -> None:
        with self._lock:
            self._parts.discard(part)

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="sync-group", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the threads after a last round. Safe to call twice, and without `start`."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.sync_now()
        self._pool.shutdown(wait=True)

    def sync_now(self) -> None:
        """One round, in the caller's time."""
        with self._lock:
            due = [part for part in self._parts if part.dirty]
        if len(due) == 1:
            self._sync(due[0])
        elif due:
            wait([self._pool.submit(self._sync, part) for part in due])

    def _sync(self, part: PartFile) -> None:
        try:
            part.sync()
        except TiergateError as exc:
            self.discard(part)
            with self._lock:
                self.failures += 1
            logger.error("sync failed", extra={"part": part.path.name, "reason": exc.reason.params.get("problem")})

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.sync_now()


@dataclass(frozen=True, slots=True)
class OpenPart:
    """A segment that is being written, as a reader sees it."""

    camera_id: str
    segment_id: str
    path: Path
    bytes: int  #: length when it was listed; it grows


class Spool:
    """The spool of one volume. Making one asks the disk nothing; `prepare` does. `name` is for people."""

    def __init__(self, root: Path, clock: Clock, node_id: str, name: str = "spool") -> None:
        self._root = root
        self._clock = clock
        self._node_id = node_id
        self._name = name
        self._expected: str | None = None

    @property
    def root(self) -> Path:
        return self._root

    @property
    def name(self) -> str:
        return self._name

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def node_id(self) -> str:
        return self._node_id

    def prepare(self) -> str:
        """Makes the folder on first use; the volume's id. Raises media.volume_missing for a foreign folder."""
        return volume.prepare(self._root, self._name)

    def claim(self, catalog: Catalog) -> str:
        """As `prepare`, for a node: the volume must be the one that the catalog knows at this place; its id.

        Where one is known, an empty folder is a disk that is not mounted: it gets no identity, or footage would go to
        the disk underneath. From here on this object serves no other volume. Raises media.volume_missing,
        media.volume_swapped.
        """
        place = str(self._root)
        known = catalog.read(partial(volume.known_id, place=place))
        if known is None:
            found = self.prepare()
            catalog.write(partial(volume.recognise, name=self._name, volume_id=found, place=place))
            self._expected = found
        else:
            self._expected = known
        return self.volume_id

    @property
    def volume_id(self) -> str:
        """Raises media.volume_missing while the volume is not mounted, media.volume_swapped when another one is."""
        found = volume.read_identity(self._root, self._name)
        if self._expected is not None and found != self._expected:
            raise TiergateError(Kind.ENVIRONMENT, "media.volume_swapped", volume=self._name)
        return found

    def present(self) -> dict[str, Spool]:
        """Volume id → spool; empty while it is not there."""
        try:
            return {self.volume_id: self}
        except TiergateError:
            return {}

    def create(self, camera_id: str, segment_id: str) -> PartFile:
        """A new part. Raises media.part_failed; media.volume_missing when nothing is mounted here."""
        path = self.path_of(camera_id, segment_id, PART)
        _ = self.volume_id
        try:
            volume.make_folders(path.parent, self._root)
        except OSError as exc:
            raise _failure(exc) from exc
        return PartFile(path)

    def path_of(self, camera_id: str, segment_id: str, suffix: str = SEALED) -> Path:
        if not _CAMERA.fullmatch(camera_id) or not is_ulid(segment_id) or camera_id == QUARANTINE:
            raise ValueError("not the name of a segment")
        return self._root / camera_id / (segment_id + suffix)

    # --- reading ---

    def find(self, camera_id: str, segment_id: str) -> Path | None:
        """The segment's file, sealed or still open."""
        # Sealed is asked twice: between the first two questions the part may have got its final name.
        for suffix in (SEALED, PART, SEALED):
            path = self.path_of(camera_id, segment_id, suffix)
            if path.exists():
                return path
        return None

    def read(self, camera_id: str, segment_id: str, offset: int, length: int) -> bytes | None:
        """Up to `length` bytes; None when the spool has no such segment (any more)."""
        for suffix in (SEALED, PART, SEALED):
            try:
                fd = os.open(self.path_of(camera_id, segment_id, suffix), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                return pread_all(fd, offset, length)
            finally:
                os.close(fd)
        return None

    def open_parts(self, camera_id: str) -> list[OpenPart]:
        """Segments being written, oldest first (ULIDs sort by time)."""
        return [
            OpenPart(camera_id, path.stem, path, size) for path, size in self._files(camera_id) if path.suffix == PART
        ]

    def sealed(self, camera_id: str) -> list[Path]:
        return [path for path, _ in self._files(camera_id) if path.suffix == SEALED]

    def broken(self, camera_id: str) -> list[Path]:
        """Open and failed parts of a camera: what a dead recorder left, when no other writes the camera."""
        return [path for path, _ in self._files(camera_id) if path.suffix in (PART, FAILED)]

    def cameras(self) -> list[str]:
        """Cameras that have, or had, footage here."""
        with os.scandir(self._root) as entries:
            return sorted(e.name for e in entries if e.name != QUARANTINE and _CAMERA.fullmatch(e.name) and e.is_dir())

    def _files(self, camera_id: str) -> Iterable[tuple[Path, int]]:
        if not _CAMERA.fullmatch(camera_id):
            raise ValueError("not a camera id")
        found: list[tuple[Path, int]] = []
        try:
            with os.scandir(self._root / camera_id) as entries:
                for entry in entries:
                    if is_ulid(entry.name.split(".")[0]):
                        try:
                            found.append((Path(entry.path), entry.stat().st_size))
                        except FileNotFoundError:
                            continue  # sealed or freed since the listing began
        except FileNotFoundError:
            return []
        return sorted(found)

    # --- room ---

    def free(self) -> FreeSpace:
        return free_space(self._root)

    def probe(self) -> None:
        """Shows that the disk takes bytes: a small file written, synced and removed. Raises media.part_failed."""
        _ = self.volume_id
        path = self._root / PROBE
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            try:
                write_all(fd, bytes(_PROBE_BYTES))
                os.fsync(fd)
            finally:
                os.close(fd)
                path.unlink(missing_ok=True)
        except OSError as exc:
            raise _failure(exc) from exc

    def free_copy(self, camera_id: str, segment_id: str) -> None:
        """Removes the spool copy of a segment that the store has. The caller has seen the store's answer."""
        _ = self.volume_id
        self.path_of(camera_id, segment_id).unlink(missing_ok=True)

    def quarantine(self, path: Path) -> Path:
        """Puts aside a file that nobody understands; it ends as its source does (`storage.aside`)."""
        folder = self._root / QUARANTINE
        volume.make_folders(folder, self._root)
        target = folder / f"{path.parent.name}-{path.name}"
        number = 0
        while target.exists():
            number += 1
            target = folder / f"{path.parent.name}-{path.name}.{number}"
        os.rename(path, target)
        volume.fsync_folder(folder)
        volume.fsync_folder(path.parent)
        logger.warning("file put into quarantine", extra={"part": target.name})
        return target

    def quarantined(self) -> Iterator[Path]:
        folder = self._root / QUARANTINE
        if folder.is_dir():
            yield from sorted(folder.iterdir())

    def drop_quarantined(self, path: Path) -> None:
        """Raises media.volume_missing, media.volume_swapped, OSError."""
        _ = self.volume_id
        path.unlink(missing_ok=True)


def free_space(folder: Path) -> FreeSpace:
    """Of the filesystem that holds `folder`. Raises OSError."""
    found = os.statvfs(folder)
    return FreeSpace(
        bytes_free=found.f_bavail * found.f_frsize,
        bytes_total=found.f_blocks * found.f_frsize,
        inodes_free=found.f_favail,
        inodes_total=found.f_files,
        read_only=bool(found.f_flag & os.ST_RDONLY),
    )


def pread_all(fd: int, offset: int, length: int) -> bytes:
    """pread(2) until `length` bytes are there or the file ends."""
    pieces: list[bytes] = []
    while length > 0:
        piece = os.pread(fd, min(length, 1 << 24), offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
