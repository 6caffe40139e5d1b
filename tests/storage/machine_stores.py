"""Stores and catalog of the retention machine, which fail and die when they are told to. Objects are whole segments
with their own identity, so that a catalog can be made from them anew."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from config.errors import TiergateError
from storage.catalog.engine import Catalog
from storage.media.access_unit import StreamConfig, Track
from storage.media.boxes import Identity
from storage.media.fmp4 import Sample, fragment, init_segment
from storage.objects import base
from storage.objects.base import ObjectInfo, ObjectStore, check_key, missing
from storage.objects.folder import FolderStore
from tests.media import encode_h264, stream_config

T = TypeVar("T")
LENGTH_MS = 60_000


@cache
def _stream() -> StreamConfig:
    return stream_config("h264", encode_h264(0.2, size=(160, 120)))


@cache
def _picture() -> bytes:
    """One picture that stands for a minute. Whoever makes a catalog of objects reads headers alone."""
    ticks = LENGTH_MS * _stream().video.timescale // 1_000
    return fragment(Track.VIDEO, 1, 0, [Sample(bytes(8), ticks)])


def segment_bytes(identity: Identity) -> bytes:
    """A minute of footage that says of itself what `identity` says."""
    return init_segment(_stream(), (Track.VIDEO,), identity) + _picture()


class Crash(BaseException):
    """kill -9, as far as one process can play it."""


class MemoryStore:
    """What the sweeper, the journal, a rebuild and a check ask of a store."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    @property
    def objects(self) -> ObjectStore:
        return self  # type: ignore[return-value]  # all of it that is called

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        self._objects[check_key(key)] = data
        return ObjectInfo(key, len(data), hashlib.sha256(data).digest())

    def delete(self, key: str) -> None:
        self._objects.pop(key, None)

    def has(self, key: str) -> bool:
        return key in self._objects

    def head(self, key: str) -> ObjectInfo | None:
        data = self._objects.get(key)
        return None if data is None else ObjectInfo(key, len(data), None)

    def read(self, key: str) -> bytes:
        if key not in self._objects:
            raise missing(key)
        return self._objects[key]

    def fetch(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]]:
        data = self.read(key)
        return ObjectInfo(key, len(data), None), iter([data])

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        found = sorted(key for key in self._objects if key.startswith(prefix))
        return (ObjectInfo(key, len(self._objects[key]), None) for key in found)


class DiskStore:
    def __init__(self, folder: Path) -> None:
        self._store = FolderStore(folder)
        self._store.ensure()

    @property
    def objects(self) -> ObjectStore:
        return self._store

    def put_bytes(self, key: str, data: bytes) -> None:
        path = self._store.root / key  # not through put_bytes: its fsyncs are not what is tested here
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def has(self, key: str) -> bool:
        return self._store.head(key) is not None


class DyingCatalog:
    """A catalog whose process dies before or after its nth write."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.dies_in: int | None = None
        self.after_commit = False

    def read(self, query: Callable[[Connection], T]) -> T:
        return self._catalog.read(query)

    def write(self, change: Callable[[Connection], T]) -> T:
        if self.dies_in is None:
            return self._catalog.write(change)
        self.dies_in -= 1
        if self.dies_in < 0 and not self.after_commit:
            raise Crash
        done = self._catalog.write(change)
        if self.dies_in < 0:
            raise Crash
        return done


class Witnessed:
    """The store as the sweeper sees it: every deletion is judged, some fail, one may be the last of its process."""

    def __init__(self, inner: MemoryStore | DiskStore, judge: Callable[[str], None]) -> None:
        self._inner, self._judge = inner, judge
        self.denies = False
        self.dies_in: int | None = None

    def head(self, key: str) -> object | None:
        return key if self._inner.has(key) else None

    def iter_range(self, key: str) -> Iterator[bytes]:
        return self._inner.objects.fetch(key)[1]

    def delete(self, key: str, version_id: str | None = None) -> None:
        if self.denies:
            raise OSError("denied")
        if self._inner.has(key):
            self._judge(key)
            self._inner.delete(key)
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                raise Crash

    def delete_many(self, keys: Sequence[str]) -> dict[str, TiergateError]:
        return base.one_by_one(self.delete, keys)
