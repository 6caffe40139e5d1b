"""The store of held footage: a second copy with bytes of its own, locked where the store can lock. (DESIGN §6)

The catalog is the first belt (`storage.retention`), the lock the second. A copy is known by its key and version: in a
versioned bucket what lies on top may be a hand's, the version that was verified stays what it was.

Belongs here: the contract of such stores, and the folder. Does not belong here: which segments are copied and when a
copy goes (`storage.evidence`), S3 (`storage.objects.s3_evidence`).

Contract, beyond that of every `ObjectStore`
- `copy_from` leaves a version that reads back with the digest, or raises; called again it finds that version.
- `lock` never shortens, and lifts no legal hold; what it answers is what the store holds afterwards. A store without
  locks answers `UNLOCKED`.
- What is not asked for by its version is the first of a key, or the last; neither need be the one that is whole.
- `delete_version` of a locked version raises media.store_refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from config.errors import TiergateError
from storage import volume
from storage.objects import base
from storage.objects.base import ObjectInfo, ObjectStore
from storage.objects.folder import FolderStore, _sha256_of, _translated


@dataclass(frozen=True, slots=True)
class Lock:
    """What the store itself refuses to delete: until a time, or while a legal hold stands."""

    until_ms: int | None = None
    legal_hold: bool = False


UNLOCKED = Lock()


class EvidenceStore(ObjectStore, Protocol):
    def can_lock(self) -> bool:
        """Whether the store says that it can; whether it does, only a canary tells (FAULTS B27)."""
        ...

    def copy_from(self, source: ObjectStore, key: str, sha256: bytes, bytes: int) -> ObjectInfo:
        """Raises media.object_missing (the source has none), media.object_corrupt (it has other bytes)."""
        ...

    def is_whole(self, key: str, version_id: str | None, sha256: bytes) -> bool:
        """Reads all of it. False as well when it is not there."""
        ...

    def has_version(self, key: str, version_id: str | None, bytes: int) -> bool: ...

    def iter_version(
        self, key: str, version_id: str | None, offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        """As `iter_range`, of this version."""
        ...

    def versions(self, key: str) -> Sequence[str | None]:
        """Everything that lies under a key, newest first, markers of deletions too; empty: nothing."""
        ...

    def lock(self, key: str, version_id: str | None, lock: Lock) -> Lock: ...

    def lock_of(self, key: str, version_id: str | None) -> Lock: ...

    def lift_legal_hold(self, key: str, version_id: str | None) -> None:
        """One that is not set is success."""
        ...

    def put_locked(self, key: str, data: bytes, lock: Lock) -> str | None:
        """A small object, locked when this returns; its version."""
        ...

    def delete_version(self, key: str, version_id: str | None) -> None:
        """One that is not there is success. Never bypasses a lock."""
        ...


def gives_whole(store: EvidenceStore, key: str, version_id: str | None, sha256: bytes) -> bool:
    """Of a copy that may be there already. One that is not given is made again: should the store be away, it takes no
    other either."""
    try:
        return store.is_whole(key, version_id, sha256)
    except TiergateError as exc:
        if exc.reason.code != "media.store_unavailable":
            raise
        return False


class FolderEvidence(FolderStore):
    """Files of their own, read-only. Nothing in a folder refuses root: it is a second copy, not a second belt."""

    _links = False
    _mode = 0o440

    def can_lock(self) -> bool:
        return False

    def copy_from(self, source: ObjectStore, key: str, sha256: bytes, bytes: int) -> ObjectInfo:
        target = self._target(key)
        with _translated(key):
            self._present()
            there = target.exists()
            if not there or not gives_whole(self, key, None, sha256):
                with self._copied(source.iter_range(key), key, sha256, bytes) as fresh:
                    if there:
                        os.replace(fresh, target)  # a disk that cannot read its file still gives up the name
                    else:
                        self._enter(fresh, target)
            volume.fsync_folder(target.parent)
            if not self.is_whole(key, None, sha256):
                raise base.corrupt(key)
        return ObjectInfo(key, bytes, sha256)

    def is_whole(self, key: str, version_id: str | None, sha256: bytes) -> bool:
        try:
            with _translated(key):
                self._present()
                return _sha256_of(self._target(key)) == sha256
        except TiergateError as exc:
            if exc.reason.code == "media.object_missing" or exc.reason.params.get("problem") == base.BAD_SECTOR:
                return False
            raise

    def has_version(self, key: str, version_id: str | None, bytes: int) -> bool:
        found = self.head(key)
        return found is not None and found.bytes == bytes

    def iter_version(
        self, key: str, version_id: str | None, offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        return self.iter_range(key, offset, length)

    def versions(self, key: str) -> Sequence[str | None]:
        return [] if self.head(key) is None else [None]

    def lock(self, key: str, version_id: str | None, lock: Lock) -> Lock:
        return UNLOCKED

    def lock_of(self, key: str, version_id: str | None) -> Lock:
        return UNLOCKED

    def lift_legal_hold(self, key: str, version_id: str | None) -> None:
        pass

    def put_locked(self, key: str, data: bytes, lock: Lock) -> str | None:
        self.put_bytes(key, data)
        return None

    def delete_version(self, key: str, version_id: str | None) -> None:
        self.delete(key)
