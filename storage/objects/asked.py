"""A store as those ask it who show footage: one that hangs answers them with an error. (FAULTS B34)

A read of a folder whose disk hangs never returns, and whoever scrubs over a timeline asks again and again: a thread
each, until the process has none left for anybody. An S3 store has deadlines of its own (`storage.objects.s3`), and on
a thin line it may be slow for longer than a disk that is well.

Belongs here: reading. Does not belong here: how long an answer is waited for (`storage.questions`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from storage.objects import base
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore
from storage.questions import Questions

T = TypeVar("T")


class AskedStore:
    """Each method raises media.store_unavailable when the disk does not answer; at once while it is known to hang."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._questions = Questions() if isinstance(store, FolderStore) else None

    def read(self, key: str, offset: int, length: int) -> bytes:
        """As `ObjectStore.read`."""
        return self._answer(partial(self._store.read, key, offset, length))

    def iter_range(self, key: str) -> Iterator[bytes]:
        """As `ObjectStore.iter_range` of a whole object. Each piece is a question: reading all may take its time."""
        pieces = self._answer(partial(self._store.iter_range, key))
        while piece := self._answer(partial(next, pieces, b"")):
            yield piece

    def _answer(self, ask: Callable[[], T]) -> T:
        if self._questions is None:
            return ask()
        try:
            return self._questions.answer(ask)
        except TimeoutError as exc:
            raise base.unavailable("no answer of the disk") from exc
