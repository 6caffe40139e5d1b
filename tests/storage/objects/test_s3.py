"""The S3 store on real servers (SeaweedFS, MinIO): the common contract, and what only a network store can do wrong."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from minio.commonconfig import ENABLED
from minio.versioningconfig import VersioningConfig

from config.clock import Clock, ManualClock, SystemClock
from config.errors import Kind, TiergateError
from config.redact import Secret
from storage.objects.s3 import S3Store, _Body
from tests.parts.faulty_s3 import FaultyS3
from tests.parts.faulty_s3 import Kind as FaultKind
from tests.parts.relay import TcpRelay
from tests.parts.s3 import S3Server
from tests.parts.wait import until
from tests.storage.objects.conformance import DATA, KEY, FootageConformance, code, put

pytestmark = pytest.mark.real


def make(
    server: S3Server, bucket: str, *, port: int | None = None, secret: str | None = None, clock: Clock | None = None
) -> S3Store:
    return S3Store(
        f"http://127.0.0.1:{port or server.port}",
        server.region,
        bucket,
        Secret(server.access_key),
        Secret(secret or server.secret_key),
        clock=clock,
    )


class TestContract(FootageConformance):
    @pytest.fixture
    def store(self, s3_server: S3Server, s3_bucket: str) -> S3Store:
        return make(s3_server, s3_bucket)


def test_ensure_makes_the_bucket(s3_server: S3Server, tmp_path: Path) -> None:
    store = make(s3_server, f"made-{time.time_ns()}")
    store.ensure()
    store.ensure()
    put(store, tmp_path)


def test_the_server_keeps_the_digest_and_the_courtesy_metadata(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    store = make(s3_server, s3_bucket)
    put(store, tmp_path)
    found = store.head(KEY)
    assert found is not None
    assert found.sha256 == hashlib.sha256(DATA).digest()
    stat = s3_server.client().stat_object(s3_bucket, KEY)
    assert stat.metadata is not None
    assert stat.metadata.get("x-amz-meta-camera") == "1"


def test_the_server_tells_its_time(s3_server: S3Server, s3_bucket: str) -> None:
    told = make(s3_server, s3_bucket).server_time()
    assert told is not None
    assert abs(told - time.time() * 1000) < 60_000


@pytest.mark.fault("B26")
def test_in_a_versioned_bucket_deleted_bytes_are_gone(s3_server: S3Server, tmp_path: Path) -> None:
    bucket = s3_server.new_bucket(object_lock=True)  # lock buckets are versioned
    store = make(s3_server, bucket)
    put(store, tmp_path)
    store.delete(KEY)
    left = [item for item in s3_server.client().list_objects(bucket, recursive=True, include_version=True)]
    assert [item for item in left if not item.is_delete_marker] == []


@pytest.mark.fault("B26")
def test_versions_that_somebody_switches_on_meanwhile_hide_no_bytes_for_longer_than_a_minute(
    minio_server: S3Server, tmp_path: Path
) -> None:
    bucket, clock = minio_server.new_bucket(), ManualClock(SystemClock().wall_ns())
    store = make(minio_server, bucket, clock=clock)
    put(store, tmp_path)
    store.delete(KEY)
    client = minio_server.client()
    client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    clock.advance(61)
    put(store, tmp_path)
    store.delete(KEY)
    store.put_bytes("one", b"1")
    assert store.delete_many(["one"]) == {}
    left = client.list_objects(bucket, recursive=True, include_version=True)
    assert [item.object_name for item in left if not item.is_delete_marker] == []


@pytest.mark.fault("B15", "B26")
def test_many_that_a_lock_and_versions_keep_are_told_apart(minio_server: S3Server) -> None:
    bucket = minio_server.new_bucket(object_lock=True)
    store = make(minio_server, bucket)
    for name in ("free", "kept", "other"):
        store.put_bytes(name, b"1")
    minio_server.client().enable_object_legal_hold(bucket, "kept")
    failed = store.delete_many(["free", "kept", "other"])
    assert set(failed) == {"kept"}
    left = minio_server.client().list_objects(bucket, recursive=True, include_version=True)
    assert {item.object_name for item in left if not item.is_delete_marker} == {"kept"}


@pytest.mark.fault("B15")
@pytest.mark.parametrize(
    ("kind", "remain"),
    [(FaultKind.ERROR, 3), (FaultKind.FORGET, 3), (FaultKind.DROP_ANSWER, 0), (FaultKind.UNKNOWN, 0)],
)
def test_many_are_gone_or_said_to_be_there(s3_server: S3Server, s3_bucket: str, kind: FaultKind, remain: int) -> None:
    """By the one request for all of them failing, forgotten, its answer lost, or not known to the server."""
    keys = ["a/1", "a/2", "b/1"]
    with FaultyS3(s3_server) as proxy:
        store = make(s3_server, s3_bucket, port=proxy.port)
        for key in keys:
            store.put_bytes(key, b"1")
        fault = proxy.add(kind, "POST")
        failed = store.delete_many(keys)
        assert fault.hits > 0
        assert len(list(store.list())) == remain
        told = [] if kind is FaultKind.UNKNOWN else keys
        assert {key: error.reason.code for key, error in failed.items()} == dict.fromkeys(
            told, "media.store_unavailable"
        )
        proxy.clear()
        assert store.delete_many(keys) == {}
        assert list(store.list()) == []


def test_a_wrong_key_is_refused_and_says_no_secret(s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    store = make(s3_server, s3_bucket, secret="wrong-and-secret")
    for attempt in (lambda: put(store, tmp_path), lambda: store.read(KEY), lambda: list(store.list())):
        with pytest.raises(TiergateError) as caught:
            attempt()
        assert code(caught) == "media.store_refused"
        assert "wrong-and-secret" not in str(caught.value)
    (failed,) = store.delete_many([KEY]).values()
    assert failed.reason.code == "media.store_refused"
    assert "wrong-and-secret" not in str(failed)


def test_a_bucket_that_is_not_there_is_refused(minio_server: S3Server) -> None:
    # SeaweedFS makes the bucket of a PUT by itself
    with pytest.raises(TiergateError) as caught:
        make(minio_server, "no-such-bucket-here").put_bytes("a", b"x")
    assert code(caught) == "media.store_refused"


def test_a_store_that_is_gone_is_unavailable_and_comes_back(s3_factory: Callable[[], S3Server], tmp_path: Path) -> None:
    server = s3_factory()
    store = make(server, server.new_bucket())
    put(store, tmp_path)
    server.kill()
    for attempt in (lambda: put(store, tmp_path, "a/b"), lambda: store.head(KEY), lambda: store.read(KEY)):
        with pytest.raises(TiergateError) as caught:
            attempt()
        assert code(caught) == "media.store_unavailable"
        assert caught.value.kind is Kind.UNAVAILABLE
    server.start()
    assert store.read(KEY) == DATA
    put(store, tmp_path, "a/b")


def test_a_connection_cut_in_the_middle_of_a_body_leaves_no_object(
    seaweedfs: S3Server, tmp_path: Path, relay_factory: Callable[..., TcpRelay]
) -> None:
    bucket = seaweedfs.new_bucket()
    relay = relay_factory(seaweedfs.port, rate_bps=2e6)
    store = make(seaweedfs, bucket, port=relay.port)
    data = bytes(2_000_000)
    with ThreadPoolExecutor(1) as pool:
        attempt = pool.submit(put, store, tmp_path, KEY, data)
        until(lambda: relay.reset() > 0, 10, "the upload has a connection to cut")
        with pytest.raises(TiergateError) as caught:
            attempt.result(60)
    assert code(caught) == "media.store_unavailable"
    assert make(seaweedfs, bucket).head(KEY) is None


@pytest.mark.fault("B8")
def test_a_body_that_trickles_past_its_deadline_is_given_up(tmp_path: Path) -> None:
    clock = ManualClock()
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    with path.open("rb") as file:
        body = _Body(file, 100, clock, clock.monotonic_ns() + 10**9)
        assert body.read(10) == b"x" * 10
        clock.advance(2)
        with pytest.raises(TimeoutError):
            body.read(10)
