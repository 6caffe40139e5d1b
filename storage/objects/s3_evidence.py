"""Held footage in an S3 bucket with versions and Object Lock, where the server has them.

Copies are made by the server itself where it can (CopyObject), else through this machine; either way every byte is
read back and compared, for a server that copies may also only say so. Locks are GOVERNANCE: a person with the right
may lift one, a mistake or a stolen key without that right may not; nothing here ever asks for the bypass.

Belongs here: requests about versions and locks. Does not belong here: when a lock is set or a copy goes
(`storage.evidence`).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import BinaryIO, cast

from minio.commonconfig import ENABLED, GOVERNANCE
from minio.error import MinioException, S3Error
from minio.retention import Retention
from minio.versioningconfig import VersioningConfig

from config.errors import Kind, TiergateError
from storage.objects import base
from storage.objects.base import ObjectInfo, ObjectStore, check_key
from storage.objects.evidence import UNLOCKED, Lock, gives_whole
from storage.objects.s3 import S3Store, _BehindTheEnd, _judge, _log, _pieces, _translated
from storage.scratch import nameless

_NO_LOCK = frozenset({"ObjectLockConfigurationNotFoundError", "NotImplemented", "MethodNotAllowed"})
_NOT_LOCKED = frozenset(
    {
        "NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "NoSuchObjectLegalHold",
        "MethodNotAllowed",  # of a marker of a deletion
    }
)  # fmt: skip


class S3Evidence(S3Store):
    _locks: bool | None = None  #: None: not asked yet

    def _make_bucket(self) -> None:
        """With versions and lock, which a bucket can only be born with; plain where the server knows neither."""
        try:
            self._client.make_bucket(self._bucket, object_lock=True)
        except S3Error as exc:
            if exc.code in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists", "AccessDenied"):
                raise
            _log.warning("the store makes no locked bucket", extra={"bucket": self._bucket, "problem": exc.code})
            self._client.make_bucket(self._bucket)
            try:
                self._client.set_bucket_versioning(self._bucket, VersioningConfig(ENABLED))
            except MinioException:
                _log.warning("the store keeps no versions", extra={"bucket": self._bucket})

    def can_lock(self) -> bool:
        if self._locks is None:
            try:
                with _translated(""):
                    self._locks = self._ask_lock()
            except TiergateError as exc:
                if exc.kind is Kind.UNAVAILABLE:
                    raise
                return False
        return self._locks

    def _ask_lock(self) -> bool:
        try:
            self._client.get_object_lock_config(self._bucket)
        except S3Error as exc:
            if exc.code in _NO_LOCK:
                return False
            raise
        return True

    # --- copies ---

    def copy_from(self, source: ObjectStore, key: str, sha256: bytes, bytes: int) -> ObjectInfo:
        check_key(key)
        for left in self._versions(key):  # of a run that was killed
            if left.bytes == bytes and gives_whole(self, key, left.version_id, sha256):
                return ObjectInfo(key, bytes, sha256, left.version_id)
        made = self._copy_in_store(source, key) or self._copy_through_here(source, key, sha256, bytes)
        try:
            whole = made.bytes == bytes and self.is_whole(key, made.version_id, sha256)
        except TiergateError:
            with contextlib.suppress(TiergateError):  # else each try would leave one more
                self.delete_version(key, made.version_id)
            raise
        if not whole:
            self.delete_version(key, made.version_id)
            raise base.corrupt(key)
        return ObjectInfo(key, bytes, sha256, made.version_id)

    def _copy_in_store(self, source: ObjectStore, key: str) -> ObjectInfo | None:
        """None where the server cannot."""
        if not isinstance(source, S3Store) or source.server != self.server:
            return None
        headers = {"x-amz-copy-source": f"/{source.bucket}/{key}", "x-amz-checksum-algorithm": "SHA256"}
        with _translated(key):
            response = self._request("PUT", key, headers)
            # An error that comes after the first byte of a long copy has the status 200.
            if response.status in (400, 403, 405, 501) or b"<Error>" in (response.data or b""):
                return None
            _judge(response, key)
            version = response.headers.get("x-amz-version-id")
        return self._head_version(key, None if version == "null" else version) or self._absent(key)

    def _copy_through_here(self, source: ObjectStore, key: str, sha256: bytes, bytes: int) -> ObjectInfo:
        with nameless() as (file, _):
            digest = hashlib.sha256()
            for piece in source.iter_range(key):
                digest.update(piece)
                file.write(piece)
            if digest.digest() != sha256 or file.tell() != bytes:
                raise base.corrupt(key)
            file.seek(0)
            # Not "only if there is none": a version that rotted under its lock can only be covered by another.
            return self._put(key, cast(BinaryIO, file), sha256, bytes, "video/mp4", {}, once=False)

    def _absent(self, key: str) -> ObjectInfo:
        raise base.unavailable("object is not there after its copy")

    def is_whole(self, key: str, version_id: str | None, sha256: bytes) -> bool:
        digest = hashlib.sha256()
        try:
            for piece in self.iter_version(key, version_id):
                digest.update(piece)
        except TiergateError as exc:
            if exc.reason.code == "media.object_missing":
                return False
            raise
        return digest.digest() == sha256

    def has_version(self, key: str, version_id: str | None, bytes: int) -> bool:
        found = self._head_version(key, version_id)
        return found is not None and found.bytes == bytes

    def iter_range(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The first version: a later one, or a marker of a deletion, may be a hand's (FAULTS B26)."""
        check_key(key)
        versions = self._versions(key)
        if not versions:
            raise base.missing(key)
        return self.iter_version(key, versions[-1].version_id, offset, length)

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ObjectInfo]:
        """SeaweedFS does not go on behind a key in a bucket with versions: what was before is left out here."""
        behind = not start_after
        for info in super().list(prefix):
            if behind:
                yield info
            behind = behind or info.key == start_after

    def iter_version(
        self, key: str, version_id: str | None, offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        if length is not None and length <= 0:
            return iter(())
        try:
            with _translated(key):
                response = self._client.get_object(
                    self._bucket, key, offset=offset, length=length or 0, version_id=version_id
                )
        except _BehindTheEnd:
            return iter(())
        return _pieces(response, key)

    def versions(self, key: str) -> Sequence[str | None]:
        return [info.version_id for info in self._versions(key, with_markers=True)]

    def _versions(self, key: str, with_markers: bool = False) -> Sequence[ObjectInfo]:
        """Newest first."""
        check_key(key)
        with _translated(key):
            versioned = self._is_versioned()
        if not versioned:
            found = self.head(key)
            return [] if found is None else [found]
        with _translated(key):
            return [
                ObjectInfo(key, item.size or 0, None, None if item.version_id == "null" else item.version_id)
                for item in self._client.list_objects(self._bucket, prefix=key, include_version=True)
                if item.object_name == key and (with_markers or not item.is_delete_marker)
            ]

    def _head_version(self, key: str, version_id: str | None) -> ObjectInfo | None:
        if version_id is None:
            return self.head(key)
        check_key(key)
        try:
            with _translated(key):
                found = self._client.stat_object(self._bucket, key, version_id=version_id)
        except TiergateError as exc:
            if exc.reason.code == "media.object_missing":
                return None
            raise
        return ObjectInfo(key, found.size or 0, None, version_id)

    # --- locks ---

    def lock(self, key: str, version_id: str | None, lock: Lock) -> Lock:
        if not self.can_lock():
            return UNLOCKED
        with _translated(key):
            until_ms = self._locked_until_ms(key, version_id)
            if lock.until_ms is not None and (until_ms is None or until_ms < lock.until_ms):
                ends = Retention(GOVERNANCE, datetime.fromtimestamp(-(-lock.until_ms // 1000), UTC))
                self._client.set_object_retention(self._bucket, key, ends, version_id)
                until_ms = self._locked_until_ms(key, version_id)
            if lock.legal_hold:
                self._client.enable_object_legal_hold(self._bucket, key, version_id)
            return Lock(until_ms, lock.legal_hold or self._has_legal_hold(key, version_id))

    def lock_of(self, key: str, version_id: str | None) -> Lock:
        if not self.can_lock():
            return UNLOCKED
        with _translated(key):
            return Lock(self._locked_until_ms(key, version_id), self._has_legal_hold(key, version_id))

    def lift_legal_hold(self, key: str, version_id: str | None) -> None:
        if not self.can_lock():
            return
        with _translated(key):
            if self._has_legal_hold(key, version_id):
                self._client.disable_object_legal_hold(self._bucket, key, version_id)

    def _has_legal_hold(self, key: str, version_id: str | None) -> bool:
        try:
            return self._client.is_object_legal_hold_enabled(self._bucket, key, version_id)
        except S3Error as exc:
            if exc.code in _NOT_LOCKED:
                return False
            raise

    def _locked_until_ms(self, key: str, version_id: str | None) -> int | None:
        try:
            found = self._client.get_object_retention(self._bucket, key, version_id)
        except S3Error as exc:
            if exc.code in _NOT_LOCKED:
                return None
            raise
        return None if found is None else round(found.retain_until_date.timestamp() * 1000)

    def put_locked(self, key: str, data: bytes, lock: Lock) -> str | None:
        version_id = self.put_bytes(key, data).version_id
        self.lock(key, version_id, lock)
        return version_id

    def delete_version(self, key: str, version_id: str | None) -> None:
        check_key(key)
        with _translated(key):
            response = self._request("DELETE", key, {}, query={"versionId": version_id} if version_id else None)
            if response.status in (400, 409):  # servers differ in how they refuse what is locked
                raise base.refused("ObjectLocked")
            if response.status != 404:
                _judge(response, key)
