"""A store that cannot give some objects, or none for a while: no real disk or server can be told to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from storage.objects import base
from storage.objects.base import ObjectInfo, ObjectStore
from storage.objects.evidence import FolderEvidence
from storage.objects.folder import FolderStore
from storage.objects.s3_evidence import S3Evidence


class SickStore(FolderStore):
    """Objects of `sick` answer with `problem`, those of `blind` with EIO already when they are looked at. `away`: none
    is given any more, though names are still known, as by a disk that is gone. Nobody may delete those of `kept`.
    `tries` counts what was refused."""

    def __init__(self, root: Path, problem: str = "EIO") -> None:
        super().__init__(root)
        self.problem = problem
        self.sick: set[str] = set()
        self.blind: set[str] = set()
        self.kept: set[str] = set()
        self.away = False
        self.tries: Counter[str] = Counter()

    def _refuse(self, key: str, among: set[str]) -> None:
        if self.away or key in among:
            self.tries[key] += 1
            raise base.unavailable(self.problem)

    def head(self, key: str) -> ObjectInfo | None:
        if key in self.blind:
            self._refuse(key, self.blind)
        return super().head(key)

    def iter_range(self, key: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self._refuse(key, self.sick | self.blind)
        return super().iter_range(key, offset, length)

    def fetch(self, key: str) -> tuple[ObjectInfo, Iterator[bytes]]:
        self._refuse(key, self.sick | self.blind)
        return super().fetch(key)

    def delete(self, key: str, version_id: str | None = None) -> None:
        if key in self.kept:
            self.tries[key] += 1
            raise base.refused("AccessDenied")
        super().delete(key, version_id)


class SickEvidence(SickStore, FolderEvidence):
    """A copy that is made anew is another version, as in a bucket, and is given."""

    def is_whole(self, key: str, version_id: str | None, sha256: bytes) -> bool:
        self._refuse(key, self.sick | self.blind)
        return super().is_whole(key, version_id, sha256)

    def copy_from(self, source: ObjectStore, key: str, sha256: bytes, bytes: int) -> ObjectInfo:
        if key in self.sick | self.blind and source.head(key) is not None:
            self.delete(key)
            self.sick.discard(key)
            self.blind.discard(key)
        return super().copy_from(source, key, sha256, bytes)


class SickVersions(S3Evidence):
    """A bucket whose server answers some versions with an error each time."""

    sick: frozenset[str | None] = frozenset()
    sick_of_new = False  #: what is put from now on is not given either

    def is_whole(self, key: str, version_id: str | None, sha256: bytes) -> bool:
        if version_id in self.sick or self.sick_of_new:
            raise base.unavailable("InternalError")
        return super().is_whole(key, version_id, sha256)
