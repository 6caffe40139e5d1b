"""A store as those ask it who show footage or end it: one that hangs answers them with an error. (FAULTS B34)

A read of a folder whose disk hangs never returns, and whoever scrubs over a timeline asks again and again: a thread
each, until the process has none left for anybody. An S3 store has deadlines of its own (`storage.objects.s3`), and on
a thin line it may be slow for longer than a disk that is well.

A write that got no answer may still come to its end. Until it has, the store refuses everything: whoever is told that
nothing is left is told so after it.

Belongs here: what is asked of a store. Does not belong here: how long an answer is waited for (`storage.questions`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

from config.errors import TiergateError
from storage.objects import base
from storage.objects.base import ObjectInfo, ObjectStore
from storage.objects.evidence import EvidenceStore
from storage.objects.folder import FolderStore
from storage.questions import Questions

T = TypeVar("T")

_AT_ONCE = 100  #: objects that are listed or deleted with one question: even a slow disk syncs so many folders in time


class AskedStore:
    """Each method raises media.store_unavailable when the disk does not answer; at once while it is known to hang."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._questions = Questions() if isinstance(store, FolderStore) else None

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """As `ObjectStore.read`."""
        return self._answer(partial(self._store.read, key, offset, length))

    def iter_range(self, key: str) -> Iterator[bytes]:
        """As `ObjectStore.iter_range` of a whole object. Each piece is a question: reading all may take its time."""
        yield from self._pieces(partial(self._store.iter_range, key))

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        """As `ObjectStore.put_bytes`."""
        return self._answer(partial(self._store.put_bytes, key, data))

    def delete(self, key: str) -> None:
        """As `ObjectStore.delete`."""
        self._answer(partial(self._store.delete, key))

    def delete_many(self, keys: Sequence[str]) -> dict[str, TiergateError]:
        """As `ObjectStore.delete_many`."""
        left: dict[str, TiergateError] = {}
        for start in range(0, len(keys), _AT_ONCE):
            left |= self._answer(partial(self._store.delete_many, keys[start : start + _AT_ONCE]))
        return left

    def list(self, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        """As `ObjectStore.list`."""
        infos = self._store.list(prefix, start_after)
        while page := self._answer(partial(_next_of, infos)):
            yield from page

    def _pieces(self, begin: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
        pieces = self._answer(begin)
        while piece := self._answer(partial(next, pieces, b"")):
            yield piece

    def _answer(self, ask: Callable[[], T]) -> T:
        if self._questions is None:
            return ask()
        try:
            return self._questions.answer(ask)
        except TimeoutError as exc:
            raise base.unavailable("no answer of the disk") from exc


class AskedEvidence(AskedStore):
    def __init__(self, store: EvidenceStore) -> None:
        super().__init__(store)
        self._evidence = store

    def read_version(self, key: str, version_id: str | None, offset: int, length: int) -> bytes:
        """As `AskedStore.read`, of this version."""
        return self._answer(lambda: b"".join(self._evidence.iter_version(key, version_id, offset, length)))

    def iter_version(self, key: str, version_id: str | None) -> Iterator[bytes]:
        """As `AskedStore.iter_range`, of this version."""
        yield from self._pieces(partial(self._evidence.iter_version, key, version_id))


def _next_of(infos: Iterator[ObjectInfo]) -> tuple[ObjectInfo, ...]:
    return tuple(islice(infos, _AT_ONCE))
