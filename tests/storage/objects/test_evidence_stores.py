"""Locks on real servers: what is held is not deleted, a store that lies is found out, one without locks says so."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path

import pytest
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

from config.errors import TiergateError
from config.units import DAY_MS
from storage import canary
from storage.objects.evidence import UNLOCKED, FolderEvidence, Lock
from storage.objects.folder import FolderStore
from storage.objects.s3_evidence import S3Evidence
from tests.parts.s3 import S3Server
from tests.parts.wait import until
from tests.storage.evidence_place import evidence_on, in_bucket
from tests.storage.footage import NODE, make_catalog
from tests.storage.objects.conformance import DATA, KEY, Conformance, code, put
from tests.storage.sick import SickVersions

DIGEST = hashlib.sha256(DATA).digest()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class TestFolder(Conformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FolderEvidence:
        store = FolderEvidence(tmp_path / "evidence")
        store.ensure()
        return store


@pytest.mark.real
class TestBucket(Conformance):
    @pytest.fixture
    def store(self, s3_server: S3Server) -> S3Evidence:
        store = evidence_on(s3_server, f"evidence-{time.time_ns()}")
        store.ensure()
        return store


@pytest.fixture
def evidence(s3_server: S3Server) -> S3Evidence:
    store = evidence_on(s3_server, f"evidence-{time.time_ns()}")
    store.ensure()
    return store


def copied(server: S3Server, evidence: S3Evidence, folder: Path) -> str | None:
    store = in_bucket(server, server.new_bucket())
    put(store, folder)
    return evidence.copy_from(store, KEY, DIGEST, len(DATA)).version_id


@pytest.mark.real
@pytest.mark.fault("B26")
@pytest.mark.parametrize("lock", [Lock(now_ms() + DAY_MS), Lock(None, True), Lock(now_ms() + DAY_MS, True)])
def test_the_store_refuses_to_delete_what_is_locked(
    s3_server: S3Server, evidence: S3Evidence, tmp_path: Path, lock: Lock
) -> None:
    assert evidence.can_lock()
    version = copied(s3_server, evidence, tmp_path)
    assert version is not None
    held = evidence.lock(KEY, version, lock)
    assert held.legal_hold == lock.legal_hold
    assert (held.until_ms or 0) >= (lock.until_ms or 0)
    with pytest.raises(TiergateError) as caught:
        evidence.delete_version(KEY, version)
    assert code(caught) == "media.store_refused"
    # A plain DELETE succeeds and only hides it: it still reads, and a listing that forgot it would be wrong.
    s3_server.client().remove_object(evidence.bucket, KEY)
    assert evidence.is_whole(KEY, version, DIGEST)
    assert evidence.read(KEY) == DATA
    # Neither does another object on top change what was held.
    s3_server.client().put_object(evidence.bucket, KEY, io.BytesIO(b"other"), 5)
    assert evidence.read(KEY) == DATA


@pytest.mark.real
def test_a_lock_is_never_shortened_and_the_copy_goes_when_it_has_run_out(
    s3_server: S3Server, evidence: S3Evidence, tmp_path: Path
) -> None:
    version = copied(s3_server, evidence, tmp_path)
    until_ms = now_ms() + 3_000
    evidence.lock(KEY, version, Lock(until_ms, True))
    kept = evidence.lock(KEY, version, Lock(until_ms - 2_000, False))
    assert (kept.until_ms or 0) >= until_ms and kept.legal_hold
    evidence.lift_legal_hold(KEY, version)
    evidence.lift_legal_hold(KEY, version)
    assert evidence.lock_of(KEY, version) == Lock(kept.until_ms, False)

    def deleted() -> bool:
        try:
            evidence.delete_version(KEY, version)
        except TiergateError as exc:
            assert exc.reason.code == "media.store_refused"
            return False
        return True

    assert not deleted()
    until(deleted, 30, "the lock has run out")
    assert now_ms() >= until_ms - 1_000
    assert evidence.versions(KEY) == []


@pytest.mark.real
def test_a_copy_is_made_once_and_only_of_what_was_recorded(
    s3_server: S3Server, evidence: S3Evidence, tmp_path: Path
) -> None:
    store = in_bucket(s3_server, s3_server.new_bucket())
    put(store, tmp_path)
    first = evidence.copy_from(store, KEY, DIGEST, len(DATA))
    assert evidence.copy_from(store, KEY, DIGEST, len(DATA)) == first
    assert evidence.versions(KEY) == [first.version_id]
    with pytest.raises(TiergateError) as caught:
        evidence.copy_from(store, KEY, hashlib.sha256(b"other").digest(), len(DATA))
    assert code(caught) == "media.object_corrupt"
    assert evidence.versions(KEY) == [first.version_id]
    with pytest.raises(TiergateError) as caught:
        evidence.copy_from(store, KEY + ".none", DIGEST, len(DATA))
    assert code(caught) == "media.object_missing"


@pytest.mark.real
def test_a_source_elsewhere_is_copied_through_this_machine(evidence: S3Evidence, tmp_path: Path) -> None:
    folder = FolderStore(tmp_path / "objects")
    folder.ensure()
    put(folder, tmp_path)
    made = evidence.copy_from(folder, KEY, DIGEST, len(DATA))
    assert evidence.is_whole(KEY, made.version_id, DIGEST)


@pytest.mark.real
@pytest.mark.fault("B30")
def test_a_version_that_the_server_does_not_give_is_covered_by_another(s3_server: S3Server, tmp_path: Path) -> None:
    store = in_bucket(s3_server, s3_server.new_bucket())
    put(store, tmp_path)
    evidence = evidence_on(s3_server, f"evidence-{time.time_ns()}", SickVersions)
    assert isinstance(evidence, SickVersions)
    evidence.ensure()
    first = evidence.copy_from(store, KEY, DIGEST, len(DATA)).version_id
    evidence.sick = frozenset({first})
    second = evidence.copy_from(store, KEY, DIGEST, len(DATA)).version_id
    assert second != first and evidence.is_whole(KEY, second, DIGEST)
    assert evidence.versions(KEY) == [second, first]
    # One that was made and cannot be read back is not left behind by each try.
    evidence.sick_of_new = True
    for _ in range(3):
        with pytest.raises(TiergateError) as caught:
            evidence.copy_from(store, KEY, DIGEST, len(DATA))
        assert code(caught) == "media.store_unavailable"
    assert evidence.versions(KEY) == [second, first]


# --- the canary ---


@pytest.mark.real
@pytest.mark.fault("B27")
def test_the_canary_proves_a_real_lock(evidence: S3Evidence, tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path)
    assert catalog.read(canary.proof) == "unknown"
    assert canary.run(catalog, evidence, NODE, now_ms()) == "proven"
    assert catalog.read(canary.proof) == "proven"
    catalog.close()


class _Lying(S3Evidence):
    """Says that it has locked, and has not (as seaweedfs#7194)."""

    hits = 0

    def lock(self, key: str, version_id: str | None, lock: Lock) -> Lock:
        type(self).hits += 1
        return lock


@pytest.mark.real
@pytest.mark.fault("B27")
def test_the_first_canary_finds_a_store_whose_locks_are_lies(s3_server: S3Server, tmp_path: Path) -> None:
    evidence = evidence_on(s3_server, f"evidence-{time.time_ns()}", _Lying)
    evidence.ensure()
    catalog = make_catalog(tmp_path)
    _Lying.hits = 0
    assert canary.run(catalog, evidence, NODE, now_ms()) == "lies"
    assert _Lying.hits == 1
    assert catalog.read(canary.proof) == "lies"
    catalog.close()


@pytest.mark.real
@pytest.mark.parametrize("versioned", [False, True])
def test_a_bucket_without_locks_still_takes_copies_and_says_that_it_has_none(
    s3_server: S3Server, tmp_path: Path, versioned: bool
) -> None:
    bucket = s3_server.new_bucket()
    if versioned:
        s3_server.client().set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    evidence = evidence_on(s3_server, bucket)
    evidence.ensure()
    assert canary.try_lock(evidence, NODE, now_ms()) == "absent"
    version = copied(s3_server, evidence, tmp_path)
    assert evidence.lock(KEY, version, Lock(now_ms() + DAY_MS, True)) == UNLOCKED
    assert evidence.is_whole(KEY, version, DIGEST)
    evidence.delete_version(KEY, version)
    assert evidence.versions(KEY) == []


def test_a_folder_has_no_lock(tmp_path: Path) -> None:
    evidence = FolderEvidence(tmp_path / "evidence")
    evidence.ensure()
    assert canary.try_lock(evidence, NODE, now_ms()) == "absent"


@pytest.mark.real
def test_old_canaries_go(evidence: S3Evidence) -> None:
    key = f"{NODE}/_canary/{now_ms() - 3 * DAY_MS}-0a"
    young = f"{NODE}/_canary/{now_ms()}-0b"
    evidence.put_bytes(key, b"x")
    evidence.put_bytes(young, b"x")
    canary.remove_old(evidence, NODE, now_ms())
    assert [info.key for info in evidence.list()] == [young]
