"""Stores that fail: what was acknowledged is in the store by its hash, and no spool copy goes before that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from config.clock import ManualClock, SystemClock, wall_ms
from config.errors import TiergateError
from config.redact import Secret
from storage.catalog import segments
from storage.catalog.engine import Catalog
from storage.objects import s3
from storage.objects.s3 import S3Store
from storage.spool import Spool
from storage.uploader import Uploader
from tests.media import WALL_NS
from tests.parts.faulty_s3 import FaultyS3, Kind
from tests.parts.s3 import S3Server
from tests.storage.footage import Recorded, insert, make_catalog, make_spool, record
from tests.storage.objects.conformance import DATA, KEY, Conformance, code, put

_SECOND_NS = 1_000_000_000


@pytest.fixture
def proxy(seaweedfs: S3Server) -> Iterator[FaultyS3]:
    with FaultyS3(seaweedfs) as made:
        yield made


@pytest.fixture
def bucket(seaweedfs: S3Server) -> str:
    return seaweedfs.new_bucket()


def through(proxy: FaultyS3, bucket: str) -> S3Store:
    server = proxy.server
    return S3Store(proxy.url, server.region, bucket, Secret(server.access_key), Secret(server.secret_key))


def straight(server: S3Server, bucket: str) -> S3Store:
    return S3Store(server.url, server.region, bucket, Secret(server.access_key), Secret(server.secret_key))


@pytest.mark.real
class TestContractThroughTheProxy(Conformance):
    """With no fault set the proxy is nothing: on both servers."""

    @pytest.fixture(params=["seaweedfs", pytest.param("minio_server", marks=pytest.mark.torture)])
    def store(self, request: pytest.FixtureRequest) -> Iterator[S3Store]:
        server: S3Server = request.getfixturevalue(request.param)
        with FaultyS3(server) as proxy:
            yield through(proxy, server.new_bucket())
            assert not proxy.hits


class Depot:
    """A spool with footage, a catalog that knows it, and an uploader in front of a faulty store."""

    def __init__(self, folder: Path, proxy: FaultyS3, bucket: str, count: int = 6) -> None:
        self.catalog: Catalog = make_catalog(folder)
        self.spool: Spool = make_spool(folder)
        self.store, self.proxy = through(proxy, bucket), proxy
        self.truth = straight(proxy.server, bucket)
        self.recorded: list[Recorded] = []
        for number in range(count):
            made = record(self.spool, 1.0, wall_ns=WALL_NS + number * 60 * _SECOND_NS)
            insert(self.catalog, made)
            self.recorded += made
        self.uploader = Uploader(self.catalog, self.store, self.spool, SystemClock())
        self.copies_gone_early = 0

    def rounds(self, most: int) -> int:
        """Rounds until all is stored; after each, no copy may be gone whose object is not there and right."""
        for number in range(1, most + 1):
            self.uploader.run_once()
            self.look()
            if self.uploader.counters.backlog.count == 0:
                return number
        raise AssertionError(f"{self.uploader.counters.backlog.count} segments still wait after {most} rounds")

    def look(self) -> None:
        for one in self.recorded:
            if self.spool.find(one.segment.camera_id, one.segment.id) is None and not self._in_store(one):
                self.copies_gone_early += 1

    def _in_store(self, one: Recorded) -> bool:
        try:
            return hashlib.sha256(self.truth.read(one.segment.object_key)).digest() == one.segment.sha256
        except TiergateError:
            return False

    def assert_whole(self) -> None:
        assert self.copies_gone_early == 0
        assert all(self._in_store(one) for one in self.recorded)
        keys = [info.key for info in self.truth.list()]
        assert sorted(keys) == sorted(one.segment.object_key for one in self.recorded), "each object once"
        for one in self.recorded:
            row = self.catalog.read(partial(segments.segment_of, segment_id=one.segment.id))
            assert row is not None
            assert (row.state, row.volume) == ("stored", None)

    def close(self) -> None:
        self.uploader.close()
        self.catalog.close()


@pytest.fixture
def depot(tmp_path: Path, proxy: FaultyS3, bucket: str) -> Iterator[Depot]:
    made = Depot(tmp_path, proxy, bucket)
    yield made
    made.close()


@pytest.mark.fault("B10")
@pytest.mark.real
def test_a_lost_answer_after_storing_is_one_object_and_one_row(depot: Depot) -> None:
    fault = depot.proxy.add(Kind.DROP_ANSWER, times=3)
    depot.rounds(20)
    assert fault.hits == 3
    assert depot.uploader.counters.failures == 3
    depot.assert_whole()


@pytest.mark.fault("B10")
@pytest.mark.real
def test_a_request_that_arrives_twice_is_one_object_and_one_row(depot: Depot) -> None:
    fault = depot.proxy.add(Kind.DUPLICATE)
    depot.rounds(3)
    assert fault.hits == len(depot.recorded)
    assert depot.uploader.counters.failures == 0
    depot.assert_whole()


@pytest.mark.fault("B9")
@pytest.mark.real
def test_a_store_that_answers_and_forgets_frees_nothing(depot: Depot) -> None:
    fault = depot.proxy.add(Kind.FORGET, times=8)
    depot.rounds(20)
    assert fault.hits == 8
    assert depot.uploader.counters.failures == 8
    depot.assert_whole()


@pytest.mark.fault("B9")
@pytest.mark.parametrize(
    "count",
    [pytest.param(40, marks=pytest.mark.real, id="few"), pytest.param(1000, marks=pytest.mark.torture, id="many")],
)
def test_errors_resets_and_lost_answers_in_passing_lose_nothing(
    tmp_path: Path, proxy: FaultyS3, bucket: str, count: int, counted: Callable[[object], None]
) -> None:
    depot = Depot(tmp_path, proxy, bucket, count)
    try:
        for kind in (Kind.ERROR, Kind.RESET, Kind.DROP_ANSWER):
            proxy.add(kind, "PUT HEAD GET", share=0.1)
        rounds = depot.rounds(20 * count)
        proxy.clear()
        assert min(proxy.hits[k.value] for k in (Kind.ERROR, Kind.RESET, Kind.DROP_ANSWER)) > 0
        counted(f"{count} segments in {rounds} rounds; hits {dict(proxy.hits)}")
        depot.assert_whole()
    finally:
        depot.close()


@pytest.mark.fault("B8")
@pytest.mark.real
def test_a_store_that_stalls_in_the_body_is_given_up_and_asked_again_from_the_start(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "READ_TIMEOUT_S", 5)
    impatient = through(depot.proxy, depot.truth.bucket)
    depot.uploader = Uploader(depot.catalog, impatient, depot.spool, SystemClock())
    fault = depot.proxy.add(Kind.STALL, times=2)
    depot.rounds(10)
    assert fault.hits == 2
    assert depot.uploader.counters.failures == 2
    depot.assert_whole()


@pytest.mark.fault("A34", "B8")
@pytest.mark.real
def test_a_store_slower_than_the_cameras_keeps_every_segment_waiting_and_says_so(
    tmp_path: Path, proxy: FaultyS3, bucket: str
) -> None:
    """A fifth of what comes in goes out: the rest is in the spool, counted, with its age; none is gone."""
    depot = Depot(tmp_path, proxy, bucket, 10)
    try:
        size = depot.recorded[0].segment.bytes
        fault = proxy.add(Kind.THROTTLE, rate_bps=size * 8 / 0.5)
        depot.uploader.run_once(limit=2)
        waiting = depot.uploader.counters.backlog
        stored = depot.uploader.counters.stored
        assert (stored, waiting.count) == (2, 8)
        left = {row.id for row in depot.catalog.read(lambda c: segments.all_segments(c, ["spooled"]))}
        assert waiting.bytes == sum(one.segment.bytes for one in depot.recorded if one.segment.id in left)
        assert waiting.oldest_end_ms is not None and waiting.oldest_end_ms < wall_ms(SystemClock())
        depot.look()
        proxy.clear()
        assert fault.hits == 2
        depot.rounds(5)
        depot.assert_whole()
    finally:
        depot.close()


@pytest.mark.fault("B25")
@pytest.mark.parametrize("minutes", [20, -20])
@pytest.mark.real
def test_a_store_whose_clock_is_wrong_takes_everything_in_its_own_time(depot: Depot, minutes: int) -> None:
    depot.proxy.skew = timedelta(minutes=minutes)
    depot.rounds(3)
    assert depot.proxy.hits["skewed"] > 0
    assert depot.uploader.counters.failures == 0
    told = depot.store.server_time()
    assert told is not None
    assert abs(told - wall_ms(SystemClock()) - minutes * 60_000) < 60_000, "the alarm has what it needs"
    assert len(list(depot.store.list())) == len(depot.recorded)
    refused = depot.proxy.hits["skewed"]
    depot.proxy.skew = timedelta()  # the store's clock is set right
    assert depot.store.read(depot.recorded[0].segment.object_key)
    depot.assert_whole()
    assert depot.proxy.hits["skewed"] == refused + 1


@pytest.mark.real
def test_a_wrong_key_is_no_question_of_time(proxy: FaultyS3, bucket: str, tmp_path: Path) -> None:
    proxy.skew = timedelta(minutes=20)
    store = S3Store(proxy.url, proxy.server.region, bucket, Secret(proxy.server.access_key), Secret("wrong"))
    proxy.skew = None
    with pytest.raises(TiergateError) as caught:
        put(store, tmp_path)
    assert code(caught) == "media.store_refused"


@pytest.mark.fault("B11")
@pytest.mark.real
def test_unfinished_uploads_of_ours_go_after_a_day_and_no_others(seaweedfs: S3Server, bucket: str) -> None:
    """MinIO lists unfinished uploads by their whole name only, and ends them after 24 h by itself."""
    store, client = straight(seaweedfs, bucket), seaweedfs.client()
    begun = {
        key: client._create_multipart_upload(bucket, key, {})
        for key in ("node1/old.mp4", "node1/waits.mp4", "node2/old.mp4")
    }
    for key, upload in begun.items():
        client._upload_part(bucket, key, bytes(5 << 20), {}, upload, 1)
    now_ms = wall_ms(SystemClock())

    def waiting(keys: object) -> set[str]:
        return {"node1/waits.mp4"}

    assert store.drop_unfinished("node1/", now_ms - 24 * 3_600_000, waiting) == 0, "they are a moment old"
    assert store.drop_unfinished("node1/", now_ms + 3_600_000, waiting) == 1
    left = {upload.object_name for upload in client._list_multipart_uploads(bucket).uploads}
    assert left == {"node1/waits.mp4", "node2/old.mp4"}
    assert store.drop_unfinished("node1/", now_ms + 3_600_000, waiting) == 0


@pytest.mark.fault("B14")
@pytest.mark.real
def test_after_three_days_without_the_store_no_cleaner_eats_what_comes_late(
    tmp_path: Path, proxy: FaultyS3, bucket: str
) -> None:
    depot = Depot(tmp_path, proxy, bucket)
    clock = ManualClock(WALL_NS)
    depot.uploader = Uploader(depot.catalog, depot.store, depot.spool, clock)
    try:
        proxy.away = True
        for _ in range(3 * 24):
            clock.advance(3600)
            depot.uploader.run_once()
            with pytest.raises(TiergateError):
                depot.store.drop_unfinished("", wall_ms(clock) - 24 * 3_600_000, lambda keys: set())
        assert proxy.hits["away"] > 72
        proxy.away = False
        # An upload of the same key that somebody began three days ago and that is going on.
        late = depot.recorded[0].segment.object_key
        client = proxy.server.client()
        client._create_multipart_upload(bucket, late, {})

        def waiting(keys: list[str]) -> set[str]:
            return depot.catalog.read(partial(segments.spooled_keys, keys=keys))

        future_ms = wall_ms(SystemClock()) + 3_600_000
        assert depot.truth.drop_unfinished("", future_ms, waiting) == 0  # type: ignore[arg-type]  # a list it is
        clock.advance(3600)
        depot.rounds(5)
        depot.assert_whole()
        assert depot.truth.drop_unfinished("", future_ms, waiting) == 1  # type: ignore[arg-type]  # as above
        depot.assert_whole()
    finally:
        depot.close()


@pytest.mark.real
def test_the_proxy_is_not_the_store(proxy: FaultyS3, bucket: str, tmp_path: Path) -> None:
    """The injector can be seen to hurt: a store that believed every answer would have lost this."""
    fault = proxy.add(Kind.FORGET, times=1)
    store = through(proxy, bucket)
    response = store._pool.request(
        "PUT", f"{proxy.url}/{bucket}/{KEY}", body=DATA, headers={"Host": f"127.0.0.1:{proxy.port}",
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
    )  # fmt: skip
    assert response.status == 200
    assert fault.hits == 1
    assert straight(proxy.server, bucket).head(KEY) is None
