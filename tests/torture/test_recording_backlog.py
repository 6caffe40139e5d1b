"""A day without the store at twenty cameras: 0 lost, bounded, said, and drained faster than it came.

Scaled: every segment of the day has its row, its file and its object, but a file is one second long instead of sixty;
hours pass on a clock of our own. `scripts/torture recording` takes the whole day, the suite some minutes of it.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from config.clock import ManualClock
from config.ids import ulid
from config.redact import Secret
from config.settings import build
from gateway.ops import checks_catalog
from gateway.ops.probe import Probe
from storage.catalog import segments
from storage.catalog.engine import Catalog
from storage.catalog.segments import SegmentRow
from storage.keys import segment_key
from storage.objects.s3 import S3Store
from storage.uploader import Uploader
from tests.media import WALL_NS
from tests.parts.faulty_s3 import FaultyS3
from tests.parts.s3 import S3Server
from tests.storage.footage import NODE, make_catalog, make_spool, record

CAMERAS = 20
MINUTE_MS = 60_000
DRAINED_IN = 1 / 3  #: of the time in which it came


@pytest.mark.fault("A34", "B7")
@pytest.mark.parametrize(
    "minutes",
    [pytest.param(12, marks=pytest.mark.real, id="few"), pytest.param(1440, marks=pytest.mark.torture, id="many")],
)
def test_a_day_without_the_store(
    tmp_path: Path, seaweedfs: S3Server, minutes: int, counted: Callable[[object], None]
) -> None:
    catalog, spool = make_catalog(tmp_path), make_spool(tmp_path)
    clock = ManualClock(WALL_NS)
    bucket = seaweedfs.new_bucket()
    pattern = record(spool, 1.0)[0]
    whole = pattern.path.read_bytes()
    volume = spool.volume_id
    acknowledged: dict[str, SegmentRow] = {}
    with FaultyS3(seaweedfs) as proxy:
        proxy.away = True
        store = S3Store(
            proxy.url, seaweedfs.region, bucket, Secret(seaweedfs.access_key), Secret(seaweedfs.secret_key)
        )  # fmt: skip
        uploader = Uploader(catalog, store, spool, clock)
        catalog.write(lambda c: segments.insert_run(c, pattern.run))
        (spool.root / pattern.segment.camera_id).mkdir(exist_ok=True)
        knocks, pause = 0, max(10, minutes // 24)
        for minute in range(minutes):
            made: list[SegmentRow] = []
            for camera in range(CAMERAS):
                start_ms = WALL_NS // 1_000_000 + minute * MINUTE_MS
                id_ = ulid(start_ms, hashlib.sha256(f"{camera} {minute}".encode()).digest()[:10])
                camera_id = f"210211000013{camera:08d}"
                folder = spool.root / camera_id
                folder.mkdir(exist_ok=True)
                (folder / f"{id_}.mp4").write_bytes(whole)
                key = segment_key(NODE, camera_id, start_ms, id_)
                made.append(
                    replace(
                        pattern.segment, id=id_, camera_id=camera_id, object_key=key, start_ms=start_ms,
                        end_ms=start_ms + MINUTE_MS, volume=volume,
                    )
                )  # fmt: skip
            catalog.write(lambda c, made=made: segments.insert_segments(c, made))  # type: ignore[misc]  # a bound default
            acknowledged |= {row.id: row for row in made}
            clock.advance(60)
            if minute % pause == pause - 1:
                knocks += uploader.run_once().tried
        knocks += uploader.run_once().tried
        waiting = uploader.counters.backlog
        assert waiting.count == len(acknowledged) == CAMERAS * minutes
        assert waiting.bytes == CAMERAS * minutes * len(whole)
        assert knocks <= minutes // pause + 8, "a store that is away is asked, not beaten"
        assert proxy.hits["away"] >= knocks
        findings = catalog.read(lambda c: list(checks_catalog.backlog(c, _probe(clock))))
        assert [finding.level for finding in findings] == ["bad" if minutes > 60 else "warn"]
        proxy.away = False
        began = time.monotonic()
        while uploader.counters.backlog.count:
            uploader.run_once()
        drained_s = time.monotonic() - began
        uploader.close()
        rows = {row.id: row for row in _stored(catalog)}
        assert rows.keys() == acknowledged.keys()
        present = {info.key: info.bytes for info in store.list(f"{NODE}/")}
        assert present == {row.object_key: len(whole) for row in acknowledged.values()}, "0 lost, none twice"
        for row in list(acknowledged.values())[:: max(1, len(acknowledged) // 200)]:
            assert hashlib.sha256(store.read(row.object_key)).digest() == row.sha256
        left = [path for path in spool.root.rglob("*.mp4") if path != pattern.path]
        assert left == [], "the spool is empty again"
    catalog.close()
    shutil.rmtree(spool.root)
    counted(
        f"{minutes} min x {CAMERAS} cameras: {len(acknowledged)} segments waited, knocks {knocks}, drained in "
        f"{drained_s:.0f} s = {minutes * 60 / drained_s:.0f} x real time by count; lost 0"
    )
    assert drained_s < minutes * 60 * DRAINED_IN


def _probe(clock: ManualClock) -> Probe:
    return Probe(build({}), clock, None)


def _stored(catalog: Catalog) -> list[SegmentRow]:
    return catalog.read(partial(segments.all_segments, states=["stored"]))
