"""The temporary cache: objects sealed in records, keys per lease, purge, and the proof that nothing is left.

An object is a piece of a lower tier's segment. It is sealed in AES-256-GCM records of 64 KiB under a key that belongs
to one lease and lies in one file, never in catalog or backup: destroying that file ends every copy, the store's
forgotten ones included. The row of an object is written before its bytes, so that I6 can be proven by comparing rows
and store. Live pictures never come here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from sqlalchemy import Connection

from config.crypto import DEFAULT_SUITE
from config.errors import Kind, TiergateError
from config.ids import ULID_PATTERN
from storage.catalog import cache as rows
from storage.catalog import leases
from storage.catalog.cache import CacheRow
from storage.catalog.engine import Catalog
from storage.catalog.leases import LeaseRow
from storage.keys import parse_segment_key
from storage.objects.asked import AskedStore
from storage.objects.base import ObjectStore
from tiering.wire import PurgeStatement

RECORD_BYTES = 64 * 1024
BLOCK_BYTES = 512 * 1024  #: of a segment in one object: what one range request fetches ahead
TAG_BYTES = 16
_HEAD = struct.Struct(">4sIQ8s")  #: magic, record size, plain length, nonce prefix
_MAGIC = b"TGC1"
PREFIX = "cache"


class SealedStore:
    """Objects of one lease, sealed, over any store. Reads any range by opening only the records it touches."""

    def __init__(self, store: ObjectStore | AskedStore, key: bytes, entropy: Callable[[int], bytes]) -> None:
        self._store = store
        self._key = key
        self._entropy = entropy

    def put_bytes(self, name: str, data: bytes) -> int:
        """Stores `data` under `name`; the bytes it takes."""
        sealed = seal(self._key, name, data, self._entropy(8))
        self._store.put_bytes(name, sealed)
        return len(sealed)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Raises crypto.sealed_broken when anything was changed, media.object_missing."""
        head = self._store.read(name, 0, _HEAD.size)
        record_bytes, plain_bytes = _parse_head(head)
        end = plain_bytes if length is None else min(plain_bytes, offset + length)
        if offset >= end:
            return b""
        first, last = offset // record_bytes, (end - 1) // record_bytes
        step = record_bytes + TAG_BYTES
        data = self._store.read(name, _HEAD.size + first * step, (last - first + 1) * step)
        plain = bytearray()
        for index in range(first, last + 1):
            start = (index - first) * step
            record = data[start : start + min(step, plain_bytes - index * record_bytes + TAG_BYTES)]
            plain += DEFAULT_SUITE.open(self._key, head[16:24] + struct.pack(">I", index), record, _bound(name, head))
        return bytes(plain[offset - first * record_bytes : end - first * record_bytes])


def _bound(name: str, head: bytes) -> bytes:
    return name.encode() + b"\0" + head  # no record can be moved to another object, nor an object be cut


def _parse_head(head: bytes) -> tuple[int, int]:
    if len(head) == _HEAD.size:
        magic, record_bytes, plain_bytes, _ = _HEAD.unpack(head)
        if magic == _MAGIC and 0 < record_bytes <= 1 << 24:
            return record_bytes, plain_bytes
    raise TiergateError(Kind.ENVIRONMENT, "crypto.sealed_broken")


def seal(key: bytes, name: str, data: bytes, nonce_prefix: bytes) -> bytes:
    head = _HEAD.pack(_MAGIC, RECORD_BYTES, len(data), nonce_prefix)
    parts = [head]
    for index, start in enumerate(range(0, len(data), RECORD_BYTES)):
        nonce = nonce_prefix + struct.pack(">I", index)
        parts.append(DEFAULT_SUITE.seal(key, nonce, data[start : start + RECORD_BYTES], _bound(name, head)))
    return b"".join(parts)


def object_key(lease_id: str, segment_id: str, block: int) -> str:
    return f"{PREFIX}/{lease_id}/{segment_id}/{block:06d}"


class LeaseKeys:
    """One file of 32 bytes per lease under ``keys/leases``, mode 0600."""

    def __init__(self, folder: Path, entropy: Callable[[int], bytes]) -> None:
        self._folder = folder
        self._entropy = entropy
        self._one = threading.Lock()  #: first readers of a lease come several at once: they get one key

    def _path(self, lease_id: str) -> Path:
        if not ULID_PATTERN.fullmatch(lease_id):
            raise ValueError("not a lease id")
        return self._folder / lease_id

    def make(self, lease_id: str) -> bytes:
        """The lease's key, made and synced if it is not there."""
        path = self._path(lease_id)
        with self._one:
            with contextlib.suppress(FileNotFoundError):
                return path.read_bytes()
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            key = self._entropy(32)
            fresh = path.with_suffix(".new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(descriptor, key)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            fresh.replace(path)
            self._sync()
            return key

    def get(self, lease_id: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            return self._path(lease_id).read_bytes()
        return None

    def destroy(self, lease_id: str) -> None:
        """Overwrites and removes the file; safe to repeat."""
        path = self._path(lease_id)
        with self._one, contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_WRONLY)
            try:
                os.write(descriptor, bytes(32))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            path.unlink()
            self._sync()

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def all_ids(self) -> list[str]:
        """Leases that still have a key."""
        if not self._folder.is_dir():
            return []
        return sorted(p.name for p in self._folder.iterdir() if ULID_PATTERN.fullmatch(p.name))


class Cache:
    """Blocking: call it from a thread. One process (the relay) writes and purges.

    On a disk that hangs each call raises media.store_unavailable in seconds, so that none holds its lease: the key of
    a lease that ends is destroyed whatever the disk does. (FAULTS B34)
    """

    def __init__(self, store: ObjectStore, keys: LeaseKeys, catalog: Catalog, entropy: Callable[[int], bytes]) -> None:
        self._store = AskedStore(store)
        self._keys = keys
        self._catalog = catalog
        self._entropy = entropy
        self._locks: WeakValueDictionary[str, threading.RLock] = WeakValueDictionary()
        self._guard = threading.Lock()

    def alone(self, lease_id: str) -> threading.RLock:
        """While it is held, nobody else writes or purges anything of the lease."""
        with self._guard:
            found = self._locks.get(lease_id)
            if found is None:
                found = self._locks[lease_id] = threading.RLock()
            return found

    def used_bytes(self) -> int:
        return self._catalog.read(rows.kept_bytes)

    def read_block(self, lease_id: str, segment_id: str, block: int) -> bytes | None:
        """A block that is there, else None. Bytes that do not open are as good as absent: they are fetched again."""
        name = object_key(lease_id, segment_id, block)
        key = self._keys.get(lease_id)
        row = self._catalog.read(lambda c: rows.get(c, name))
        if key is None or row is None or row.purged_ms is not None:
            return None
        try:
            return SealedStore(self._store, key, self._entropy).read(name)
        except TiergateError as exc:
            if exc.reason.code == "crypto.sealed_broken":
                self._store.delete(name)
                return None
            if exc.kind is Kind.NOT_FOUND:
                return None
            raise

    def write_block(
        self, lease_id: str, camera: str, segment_id: str, block: int, data: bytes, now_ms: Callable[[], int]
    ) -> bool:
        """Row first, then bytes. An object left by a crash in between under other bytes is replaced.

        False, and nothing is kept, when the lease has no cache any more: its row is read again here, where no purge can
        run, so that no block on its way comes after the statement that nothing is left.
        """
        with self.alone(lease_id):
            lease = self._catalog.read(lambda c: leases.get(c, lease_id, "held"))
            at_ms = now_ms()
            if lease is None or not may_keep(lease, at_ms):
                return False
            name = object_key(lease_id, segment_id, block)
            row = CacheRow(name, lease_id, camera, segment_id, len(data), lease.cache_until_ms, at_ms)
            self._catalog.write(lambda c: rows.add(c, row))
            self._store.delete(name)
            SealedStore(self._store, self._keys.make(lease_id), self._entropy).put_bytes(name, data)
            return True

    def destroy_key(self, lease_id: str) -> None:
        """From here on nothing of the lease can be read, whatever the store does."""
        with self.alone(lease_id):
            self._keys.destroy(lease_id)

    def purge(self, lease_id: str, now_ms: int) -> PurgeStatement:
        """Deletes everything of a lease and its key; what it says is what was found afterwards. Safe to repeat."""
        with self.alone(lease_id):
            self.destroy_key(lease_id)  # first, and for good
            known = self._catalog.read(lambda c: rows.of_lease(c, lease_id))
            prefix = f"{PREFIX}/{lease_id}/"
            self._store.delete_many(sorted({r.object_key for r in known} | {o.key for o in self._store.list(prefix)}))
            remaining = sum(1 for _ in self._store.list(prefix))
            if not remaining:
                self._catalog.write(lambda c: rows.purge(c, lease_id, now_ms))
            names = sorted(r.object_key for r in known)
            return PurgeStatement(
                lease_id,
                len(names),
                sum(r.bytes for r in known),
                hashlib.sha256("\n".join(names).encode()).hexdigest(),
                self._keys.get(lease_id) is None,
                remaining,
                now_ms,
            )

    def with_keys(self) -> list[str]:
        """Leases that have a key."""
        return self._keys.all_ids()

    def with_objects(self) -> set[str]:
        """Leases of which the store has an object: it lists all of the cache."""
        return {info.key.split("/")[1] for info in self._store.list(f"{PREFIX}/")}


def may_keep(lease: LeaseRow, now_ms: int) -> bool:
    """Whether anything of a held lease may be written to the cache now."""
    return lease.ended_ms is None and lease.purged_ms is None and now_ms < lease.cache_until_ms


# -- the proof (I6) ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ScopeFinding:
    """An object or row that breaks I6. `code` is a reason code with parameters `key` and `lease`."""

    code: str
    key: str
    lease_id: str

    def as_json(self) -> dict[str, Any]:
        from config.reasons import Reason

        return Reason(self.code, {"key": self.key, "lease": self.lease_id}).as_json()


@dataclass(frozen=True, slots=True)
class ScopeReport:
    objects: int  #: looked at
    cached: int  #: of these, a lower tier's, all in order
    findings: tuple[ScopeFinding, ...]


def tier_scope_check(catalog: Catalog, stores: Sequence[ObjectStore], node_id: str, now_ms: int) -> ScopeReport:
    """Looks at every object of `stores` (own, evidence, cache) and says which may not be there.

    A cached object must have a row, a held lease, and time left; footage under an own key must be of an own camera,
    or at least of no lower one and written by this node (a catalog that was lost may not know its cameras yet).
    """
    own, lower, known, held = catalog.read(_scope_rows)
    findings: list[ScopeFinding] = []
    objects = cached = 0
    seen: set[str] = set()
    for store in stores:
        for info in store.list():
            if info.key in seen:
                continue
            seen.add(info.key)
            objects += 1
            if not info.key.startswith(f"{PREFIX}/"):
                named = parse_segment_key(info.key)
                if named is not None and named.camera not in own and (named.camera in lower or named.node != node_id):
                    findings.append(ScopeFinding("tier.scope_foreign", info.key, ""))
                continue
            lease_id = info.key.split("/")[1]
            row, until_ms = known.get(info.key), held.get(lease_id)
            if row is None or until_ms is None or row.lease_id != lease_id:
                findings.append(ScopeFinding("tier.scope_no_lease", info.key, lease_id))
            elif now_ms >= min(row.cache_until_ms, until_ms) or row.purged_ms is not None:
                findings.append(ScopeFinding("tier.scope_overdue", info.key, lease_id))
            else:
                cached += 1
    return ScopeReport(objects, cached, tuple(findings))


def _scope_rows(connection: Connection) -> tuple[set[str], set[str], dict[str, CacheRow], dict[str, int]]:
    from sqlalchemy import select

    from storage.catalog.tables import cache_object, camera, peer_camera

    own = set(connection.execute(select(camera.c.id)).scalars())
    lower = set(connection.execute(select(peer_camera.c.camera_id)).scalars())
    known = {r.object_key: CacheRow(**r._mapping) for r in connection.execute(select(cache_object))}
    held = {r.id: r.cache_until_ms for r in leases.listed(connection, "held", limit=1_000_000)}
    return own, lower, known, held
