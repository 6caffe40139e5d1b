"""Held footage for tests: real segments in a store, a second store, holds, and the keeper of second copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock, SystemClock, wall_ms
from config.redact import Secret
from storage import evidence_state
from storage.catalog import evidence_rows, retention_rows
from storage.catalog.evidence_rows import CopyRow
from storage.catalog.retention_rows import HoldRow
from storage.damage import Mender
from storage.evidence import EvidenceKeeper, EvidenceReport
from storage.evidence_state import HoldState
from storage.objects import base
from storage.objects.base import ObjectStore
from storage.objects.evidence import EvidenceStore, FolderEvidence, Lock
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store
from storage.objects.s3_evidence import S3Evidence
from tests.media import WALL_NS
from tests.parts.s3 import S3Server
from tests.storage.footage import CAMERA, NODE, Recorded, insert, make_catalog, make_spool, new_id, record
from tests.storage.test_check import upload

SERVERS = [pytest.param("seaweedfs", marks=pytest.mark.real), pytest.param("minio_server", marks=pytest.mark.real)]
FROM_MS, TO_MS = WALL_NS // 10**6, WALL_NS // 10**6 + 60_000


def in_bucket(server: S3Server, bucket: str, kind: type[S3Store] = S3Store) -> S3Store:
    return kind(server.url, server.region, bucket, Secret(server.access_key), Secret(server.secret_key))


def evidence_on(server: S3Server, bucket: str, kind: type[S3Evidence] = S3Evidence) -> S3Evidence:
    made = in_bucket(server, bucket, kind)
    assert isinstance(made, S3Evidence)
    return made


class EvidencePlace:
    def __init__(self, folder: Path, store: ObjectStore | None = None, evidence: EvidenceStore | None = None) -> None:
        self.catalog = make_catalog(folder)
        self.spool = make_spool(folder)
        self.store = store or FolderStore(folder / "objects")
        self.evidence = evidence or FolderEvidence(folder / "objects-evidence")
        self.store.ensure()
        self.evidence.ensure()
        self.clock = ManualClock(SystemClock().wall_ns())  # a store judges locks by its own clock
        self.clock_trusted = True

    def recorded(self, seconds: float = 4.0, wall_ns: int = WALL_NS) -> list[Recorded]:
        found = record(self.spool, seconds, wall_ns=wall_ns)
        insert(self.catalog, found)
        return sorted(found, key=lambda one: one.segment.start_ms)

    def stored(self, seconds: float = 4.0, wall_ns: int = WALL_NS) -> list[Recorded]:
        found = self.recorded(seconds, wall_ns)
        upload(self.catalog, self.store, self.spool)
        return found

    def hold(self, from_ms: int = FROM_MS, to_ms: int = TO_MS, class_name: str = "3_months", **more: Any) -> HoldRow:
        now_ms = wall_ms(self.clock)
        row = HoldRow(
            new_id(), (CAMERA,), from_ms, to_ms, "owner", "why", "A-1", None, class_name, now_ms + 10**9, now_ms,
            None, None,
        )  # fmt: skip
        row = replace(row, **more)
        self.catalog.write(lambda c: retention_rows.add_hold(c, row))
        return row

    def release(self, hold: HoldRow) -> None:
        assert self.catalog.write(lambda c: retention_rows.release_hold(c, hold.id, "somebody", wall_ms(self.clock)))

    def keeper(self, evidence: EvidenceStore | None = None) -> EvidenceKeeper:
        """The keeper has started anew."""
        second = evidence or self.evidence
        mender = Mender(self.catalog, self.store, self.spool, "test", [second])
        return EvidenceKeeper(self.catalog, self.store, second, self.clock, mender, lambda: self.clock_trusted, NODE)

    def run(self, days: float = 0, evidence: EvidenceStore | None = None) -> EvidenceReport:
        self.clock.advance(days * 86_400)
        return self.keeper(evidence).run()

    def state(self, hold: HoldRow) -> HoldState:
        return self.catalog.read(lambda c: evidence_state.of_hold(c, hold, wall_ms(self.clock)))

    def copy(self, one: Recorded) -> CopyRow:
        found = self.catalog.read(lambda c: evidence_rows.copy_of(c, one.segment.id))
        assert found is not None
        return found

    def spoil_main(self, one: Recorded) -> None:
        """Its bytes are others, in the same place."""
        key = one.segment.object_key
        data = bytearray(self.store.read(key))
        data[len(data) // 2] ^= 1
        self.store.delete(key)
        self.store.put_bytes(key, bytes(data))


def place_on(request: pytest.FixtureRequest, folder: Path) -> EvidencePlace:
    """On a folder, or on the server of that name."""
    if request.param == "folder":
        return EvidencePlace(folder)
    server = request.getfixturevalue(request.param)
    name = server.new_bucket()
    return EvidencePlace(folder, in_bucket(server, name), evidence_on(server, f"{name}-evidence"))


def held_whole(place: EvidencePlace, recorded: Sequence[Recorded]) -> bool:
    return all(
        place.evidence.is_whole(one.segment.object_key, place.copy(one).version_id, one.segment.sha256)
        for one in recorded
    )


class LockingFolder(FolderEvidence):
    """Locks that run by the test's clock: no real server lets three months pass in a test."""

    clock: ManualClock
    refusals = 0
    store_ms: int | None = None  #: what it says of the time, if it has a clock of its own

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.locks: dict[str, Lock] = {}

    def can_lock(self) -> bool:
        return True

    def server_time(self) -> int | None:
        return self.store_ms

    def lock(self, key: str, version_id: str | None, lock: Lock) -> Lock:
        before = self.lock_of(key, version_id)
        until_ms = max(before.until_ms or 0, lock.until_ms or 0) or None
        self.locks[key] = Lock(until_ms, before.legal_hold or lock.legal_hold)
        return self.locks[key]

    def lock_of(self, key: str, version_id: str | None) -> Lock:
        return self.locks.get(key, Lock())

    def lift_legal_hold(self, key: str, version_id: str | None) -> None:
        self.locks[key] = Lock(self.lock_of(key, version_id).until_ms, False)

    def delete_version(self, key: str, version_id: str | None) -> None:
        lock = self.locks.get(key, Lock())
        if lock.legal_hold or (lock.until_ms or 0) > wall_ms(self.clock):
            self.refusals += 1
            raise base.refused("ObjectLocked")
        super().delete_version(key, version_id)
        self.locks.pop(key, None)


def locking_place(folder: Path) -> tuple[EvidencePlace, LockingFolder]:
    evidence = LockingFolder(folder / "objects-evidence")
    made = EvidencePlace(folder, evidence=evidence)
    evidence.clock = made.clock
    return made, evidence
