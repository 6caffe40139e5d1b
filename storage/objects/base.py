"""The store of sealed objects: the contract that a folder and every S3 server fulfil alike.

One conformance suite (``tests/storage/objects``) holds each implementation to it. Belongs here: the Protocol, its
values and errors, and what a key may look like. Does not belong here: what the objects are, when they may go.

Contract
- A key is relative, ``/``-separated, of parts of ``[A-Za-z0-9._-]`` that begin with a letter, digit or ``_``
  (`check_key`); anything else raises media.object_bad_key before anything is touched.
- Objects are written once. `put_file` either leaves the whole object under its key or nothing; an object that is there
  already with the same bytes is success, with others media.object_exists. Nothing is ever overwritten.
- When `put_file` has returned, the object survives a crash of store and machine as far as the store promises it.
- Every failure that may pass by itself (store away, slow, full) is Kind.UNAVAILABLE; a missing object is
  media.object_missing.
- All methods block and may be called from several threads; none may be called from an event loop.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from config.errors import Kind, TiergateError

CHUNK_BYTES = 1 << 20  #: read and hashed at once
#: An upload slower than this is begun anew later: a store that trickles must not hold every worker (FAULTS B8).
SLOWEST_BYTES_PER_S = 32 * 1024
Digest = bytes  #: inside a class with a field `bytes` the type needs another name
#: `problem` of what the disk itself has lost: trying again does not help.
BAD_SECTOR = "EIO"
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a store says of an object."""

    key: str
    bytes: int
    sha256: Digest | None  #: None: the store does not know it; only reading tells
    version_id: str | None = None  #: of a versioned bucket


class ObjectStore(Protocol):
    def put_file(
        self, key: str, path: Path, sha256: bytes, bytes: int, metadata: Mapping[str, str] | None = None
    ) -> ObjectInfo:
        """Stores the file at `path`, which has `bytes` bytes and this digest, and verifies it by `head`.

        `metadata` is a courtesy to people who look at the store; nobody reads it back. Raises media.object_exists,
        media.object_corrupt (the store has, or the file gave, other bytes), media.store_unavailable.
        """
        ...

    def put_bytes(self, key: str, data: bytes) -> ObjectInfo:
        """A small object (checkpoint, sidecar) from memory, under the same rules as `put_file`."""
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """None when there is no such object. `sha256` only if the store keeps it (folder: None)."""
        ...

    def read(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """A range, or all; shorter only at the end of the object. Raises media.object_missing."""
        ...

    def iter_range(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The same in pieces; the iterator must be exhausted or closed."""
        ...

    def fetch(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]]:
        """A whole object by one request: what `head` says of it, and its pieces as `iter_range` gives them."""
        ...

    def delete(self, key: str, version_id: str | None = None) -> None:
        """Removes an object; one that is not there is success."""
        ...

    def delete_many(self, keys: Sequence[str]) -> dict[str, TiergateError]:
        """`delete` for each of `keys`, by as few requests as the store takes: those that are not gone, and why.

        One that fails, be it for a bad key, keeps none of the others.
        """
        ...

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """Objects whose key begins with `prefix`, each once, behind `start_after` in the same order. `sha256` is None.

        The order is the store's own and stable: by key in S3's sense for most, folder by folder for SeaweedFS. None is
        left out because it cannot be read: one whose size a bad sector hides has 0 bytes. Raises
        media.store_unavailable.
        """
        ...

    def server_time(self) -> int | None:
        """UTC of the store's machine in ms; None when that is our own machine and so no second opinion."""
        ...

    def ensure(self) -> None:
        """Makes what the store needs (folders, buckets). Raises media.store_unavailable, media.store_refused."""
        ...

    def drop_unfinished(self, prefix: str, before_ms: int, waiting: Callable[[Sequence[str]], Set[str]]) -> int:
        """Removes what uploads left that never became objects, under `prefix`, without a sign of life since
        `before_ms`; never those whose key `waiting` answers: they will be tried again (FAULTS B11, B14). How many."""
        ...


def check_key(key: str) -> str:
    """`key`, or media.object_bad_key."""
    parts = key.split("/")
    if len(key) > 900 or not all(_PART.fullmatch(part) for part in parts):
        raise TiergateError(Kind.INVALID, "media.object_bad_key", key=key[:80])
    return key


def one_by_one(delete: Callable[[str], object], keys: Sequence[str]) -> dict[str, TiergateError]:
    """`ObjectStore.delete_many` where there is no request for many."""
    failed = {}
    for key in keys:
        try:
            delete(key)
        except TiergateError as exc:
            failed[key] = exc
    return failed


def missing(key: str) -> TiergateError:
    return TiergateError(Kind.NOT_FOUND, "media.object_missing", key=key)


def exists(key: str) -> TiergateError:
    return TiergateError(Kind.CONFLICT, "media.object_exists", key=key)


def corrupt(key: str) -> TiergateError:
    return TiergateError(Kind.UNAVAILABLE, "media.object_corrupt", key=key)


def unreadable(key: str, problem: str) -> TiergateError:
    """Of an object that the store does not give while it gives others (`storage.patience`)."""
    return TiergateError(Kind.UNAVAILABLE, "media.object_unreadable", key=key, problem=problem)


def unavailable(problem: str) -> TiergateError:
    """`problem`: a short text without secrets (a class name, a status, an S3 error code)."""
    return TiergateError(Kind.UNAVAILABLE, "media.store_unavailable", problem=problem)


def refused(problem: str) -> TiergateError:
    """Trying again does not help: wrong key, missing right, no such bucket."""
    return TiergateError(Kind.ENVIRONMENT, "media.store_refused", problem=problem)
