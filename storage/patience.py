"""One object that cannot be read, told apart from a store that is away. (I3; FAULTS B30, B31)

A bad sector under one object, or an object that a server answers with an error each time, must not end a pass over all
of them. And none may be called unreadable because the whole store is away: so one is to blame only while others are
given. They are asked among those that the pass has not come to yet, for what was read a moment ago a disk that is gone
still gives out of memory. Where no other is given nobody knows whose fault it is, and the pass ends.

Belongs here: whose fault a failure is. Does not belong here: what becomes of an object that cannot be read.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import TypeVar, cast

from config.clock import Deadline
from config.errors import TiergateError
from storage.objects import base
from storage.objects.base import ObjectStore

T = TypeVar("T")

#: A server's error may pass; what a disk says of its own sectors does not.
TRIES = 3
PAUSE_S = 1.0
#: So many others are asked whether the store gives anything: were half of all unreadable, one in a thousand failures
#: would still be laid at the store's door.
_OTHERS = 10
_OTHERS_S = 60.0  #: a store that hangs takes half a minute to refuse each


def is_unreadable(exc: TiergateError) -> bool:
    """Whether the object is at fault alone."""
    return exc.reason.code == "media.object_unreadable"


class Patience:
    """For one pass over a store. May be asked from several threads."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._ahead: set[str] = set()

    def expect(self, keys: Iterable[str]) -> None:
        """Objects that the pass comes to next, or passes over unread."""
        with self._lock:
            self._ahead = set(keys)

    def ask(self, key: str, question: Callable[[], T]) -> T:
        """What `question` answers of the object. Raises media.object_unreadable when it alone is at fault, else what
        `question` raises."""
        with self._lock:
            self._ahead.discard(key)
        tries = 0
        while True:
            try:
                return question()
            except TiergateError as exc:
                if exc.reason.code != "media.store_unavailable" or not self._gives_others(key):
                    raise
                tries += 1
                problem = str(exc.reason.params["problem"])
                if problem == base.BAD_SECTOR or tries >= TRIES:
                    raise base.unreadable(key, problem) from exc
            time.sleep(PAUSE_S)

    def _gives_others(self, key: str) -> bool:
        with self._lock:
            ahead = random.sample(sorted(self._ahead), min(_OTHERS, len(self._ahead)))
        deadline = Deadline(_OTHERS_S)
        # At the end of a pass all were read.
        for other in ahead or islice((info.key for info in self._store.list() if info.key != key), _OTHERS):
            with contextlib.suppress(TiergateError):
                _, pieces = self._store.fetch(other)
                with contextlib.closing(cast(Generator[bytes, None, None], pieces)):
                    if next(pieces, b""):
                        return True
            if deadline.passed:
                break
        return False
