"""Objects as files under a folder. Where spool and store share a filesystem, storing is one link(2): no byte is
written twice.

Belongs here: the `ObjectStore` contract on a local filesystem. Does not belong here: network shares used as S3 (their
links and syncs promise less; `doctor` says so).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from pathlib import Path

from config.errors import TiergateError
from storage import volume
from storage.objects import base
from storage.objects.base import CHUNK_BYTES, ObjectInfo, check_key

_TEMPORARY = ".incoming"
#: What filesystems answer where the checksum of a name's own record is wrong: as final as a bad sector.
_ROTTEN = (errno.EIO, errno.EBADMSG, errno.EUCLEAN)
_TRIES = 100  #: to enter a folder that others keep emptying


class FolderStore:
    """`name` is for errors. With `read_back` a linked file is hashed before it counts as stored."""

    _links = True  #: a link to the spool's file is the object; False: it has bytes of its own
    _mode = 0o640

    def __init__(self, root: Path, name: str = "store", read_back: bool = True) -> None:
        self._root = root
        self._name = name
        self._read_back = read_back

    @property
    def root(self) -> Path:
        return self._root

    @property
    def volume_id(self) -> str:
        return volume.read_identity(self._root, self._name)

    def ensure(self) -> None:
        with _translated(""):
            volume.prepare(self._root, self._name)
            (self._root / _TEMPORARY).mkdir(mode=0o750, exist_ok=True)

    def put_file(
        self, key: str, path: Path, sha256: bytes, bytes: int, metadata: Mapping[str, str] | None = None
    ) -> ObjectInfo:
        target = self._target(key)
        with _translated(key):
            self._present()
            try:
                if not self._links:
                    return self._copy(key, path, target, sha256, bytes)
                self._enter(path, target)
            except OSError as exc:
                if exc.errno not in (errno.EEXIST, errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                    raise
                return self._copy(key, path, target, sha256, bytes)
            if target.stat().st_size != bytes or (self._read_back and _sha256_of(target) != sha256):
                target.unlink()
                raise base.corrupt(key)
            volume.fsync_folder(target.parent)
        return ObjectInfo(key, bytes, sha256)

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        target = self._target(key)
        digest = hashlib.sha256(data).digest()
        with _translated(key):
            self._present()
            with self._temporary() as (fd, temporary):
                _write_all(fd, data)
                os.fsync(fd)
                try:
                    self._enter(temporary, target)
                except FileExistsError:
                    return self._same(key, target, digest, len(data), temporary)
            volume.fsync_folder(target.parent)
        return ObjectInfo(key, len(data), digest)

    def head(self, key: str) -> ObjectInfo | None:
        target = self._target(key)
        with _translated(key):
            self._present()
            try:
                size = target.stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None
        return ObjectInfo(key, size, None)

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return b"".join(self.iter_range(key, offset, length))

    def iter_range(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        target = self._target(key)
        with _translated(key):
            self._present()
            fd = os.open(target, os.O_RDONLY)
        return _pieces(fd, key, offset, length)

    def fetch(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]]:
        target = self._target(key)
        with _translated(key):
            self._present()
            fd = os.open(target, os.O_RDONLY)
            size = os.fstat(fd).st_size
        return ObjectInfo(key, size, None), _pieces(fd, key, 0, None)

    def delete(self, key: str, version_id: str | None = None) -> None:
        target = self._target(key)
        with _translated(key):
            self._present()
            if self._unlink(target):
                self._emptied(target.parent)

    def delete_many(self, keys: Sequence[str]) -> dict[str, TiergateError]:
        gone: dict[Path, list[str]] = {}  # one sync for all that leave a folder

        def remove(key: str) -> None:
            target = self._target(key)
            with _translated(key):
                self._present()
                if self._unlink(target):
                    gone.setdefault(target.parent, []).append(key)

        failed = base.one_by_one(remove, keys)
        for folder, left in gone.items():
            try:
                with _translated(left[0]):
                    self._emptied(folder)
            except TiergateError as exc:
                failed |= dict.fromkeys(left, exc)
        return failed

    @staticmethod
    def _unlink(target: Path) -> bool:
        try:
            target.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _emptied(self, folder: Path) -> None:
        """Makes last what was removed from `folder`. Folders of past hours go with their last object; one that is
        filled again meanwhile simply stays."""
        above = (folder, *folder.parents)
        for one in above:
            with contextlib.suppress(FileNotFoundError):
                volume.fsync_folder(one)
                break  # else another delete took the folder with its last object: the one above tells of both
        for one in above:
            if one == self._root:
                break
            try:
                one.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                break

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        with _translated(prefix):
            self._present()
        yield from self._walk("", prefix, start_after)

    def server_time(self) -> int | None:
        return None

    def drop_unfinished(self, prefix: str, before_ms: int, waiting: Callable[[Sequence[str]], Set[str]]) -> int:
        """Copies carry no key: each is in the hands of one call, and one that grew lately may still be."""
        dropped = 0
        with _translated(""):
            self._present()
            for left in (self._root / _TEMPORARY).iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if left.stat().st_mtime_ns < before_ms * 1_000_000:
                        left.unlink()
                        dropped += 1
        return dropped

    # --- inside ---

    def _target(self, key: str) -> Path:
        return self._root / check_key(key)

    def _present(self) -> None:
        """An unmounted volume looks like an empty folder: nothing is written to it, nothing is missing from it."""
        volume.read_identity(self._root, self._name)

    def _enter(self, source: Path, target: Path) -> None:
        """Links `source` as `target`, whose folders a delete may take away, empty, between their making and this."""
        for _ in range(_TRIES):
            try:
                volume.make_folders(target.parent, self._root)
                return os.link(source, target)
            except FileNotFoundError:
                if not source.exists():
                    raise
        raise base.unavailable("ENOENT")

    def _same(self, key: str, target: Path, sha256: bytes, size: int, fresh: Path) -> ObjectInfo:
        """What is there already, if it is what was to be stored. An earlier call may have died between link and sync,
        or its sync failed: then the kernel calls the name clean, and syncs it no more (FAULTS B3). `fresh`, a copy,
        takes the name: a link to the file that has it already would change nothing (rename(2)), and while a name is
        away another call might answer for it.
        """
        if target.stat().st_size != size or _sha256_of(target) != sha256:
            raise base.exists(key)
        os.replace(fresh, target)
        volume.fsync_folder(target.parent)
        return ObjectInfo(key, size, sha256)

    def _copy(self, key: str, path: Path, target: Path, sha256: bytes, size: int) -> ObjectInfo:
        with path.open("rb", buffering=0) as source:
            pieces = iter(partial(source.read, CHUNK_BYTES), b"")
            with self._copied(pieces, key, sha256, size) as fresh:
                try:
                    self._enter(fresh, target)
                except FileExistsError:
                    return self._same(key, target, sha256, size, fresh)
        volume.fsync_folder(target.parent)
        return ObjectInfo(key, size, sha256)

    @contextlib.contextmanager
    def _copied(self, pieces: Iterable[bytes], key: str, sha256: bytes, size: int) -> Iterator[Path]:
        """A whole copy, synced, that is no object yet. Raises media.object_corrupt where the bytes are others."""
        digest, copied = hashlib.sha256(), 0
        with self._temporary() as (fd, fresh):
            for piece in pieces:
                digest.update(piece)
                _write_all(fd, piece)
                copied += len(piece)
            if copied != size or digest.digest() != sha256:
                raise base.corrupt(key)
            os.fsync(fd)
            yield fresh

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[tuple[int, Path]]:
        folder = self._root / _TEMPORARY
        folder.mkdir(mode=0o750, exist_ok=True)
        path = folder / secrets.token_hex(16)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self._mode)
        try:
            yield fd, path
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)

    def _walk(self, folder: str, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        """In order of keys: a folder sorts as its name with the slash, as it does in S3."""
        try:
            # What a folder that cannot be read holds nobody knows: a listing without it would call all that missing.
            with _translated(folder), os.scandir(self._root / folder) as entries:
                names = sorted(
                    entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")
                    for entry in entries
                    if not entry.name.startswith(".")
                )
        except TiergateError as exc:
            if exc.reason.code == "media.object_missing":
                return
            raise
        for name in names:
            key = folder + name
            if name.endswith("/"):
                below = key.startswith(prefix) or prefix.startswith(key)
                passed = key < start_after and not start_after.startswith(key)
                if below and not passed:
                    yield from self._walk(key, prefix, start_after)
            elif key.startswith(prefix) and key > start_after:
                size = self._size_of(key)
                if size is not None:
                    yield ObjectInfo(key, size, None)

    def _size_of(self, key: str) -> int | None:
        """None of what went since it was listed, and of whatever else than a file a hand has put here."""
        try:
            found = os.lstat(f"{self._root}/{key}")
        except FileNotFoundError:
            return None
        except OSError as exc:
            if exc.errno in _ROTTEN:
                return 0  # the name is there: it is not missing
            raise _unavailable(exc) from exc
        return found.st_size if stat.S_ISREG(found.st_mode) else None


@contextlib.contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except TiergateError:
        raise
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
        raise base.missing(key) from exc
    except OSError as exc:
        raise _unavailable(exc) from exc


def _unavailable(exc: OSError) -> TiergateError:
    if exc.errno in _ROTTEN:
        return base.unavailable(base.BAD_SECTOR)
    return base.unavailable(errno.errorcode.get(exc.errno or 0, type(exc).__name__))


def _pieces(fd: int, key: str, offset: int, length: int | None) -> Iterator[bytes]:
    left = length
    try:
        while left is None or left > 0:
            with _translated(key):
                piece = os.pread(fd, CHUNK_BYTES if left is None else min(CHUNK_BYTES, left), offset)
            if not piece:
                return
            offset += len(piece)
            left = None if left is None else left - len(piece)
            yield piece
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sha256_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
