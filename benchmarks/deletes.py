"""How fast expired segments are deleted, beside the server's own rate for objects deleted in bulk.

Real S3 servers, a real catalog (SQLite), and the keeper's own sweep, in the pass in which the grace of all segments is
over: clock and plan are asked again, `deleting`, the objects go, `deleted`, each step with its row of audit. Contender:
``minio.Minio.remove_objects``, what a script does that knows the names and asks nobody, on as many objects of such
names in another bucket of the same server: one half of them before the sweep and one half after it, so that a server or
a disk that grows slower with time counts for both. The objects are small: large ones cost the server more, not us.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from minio.deleteobjects import DeleteObject

from benchmarks._box import options, report
from config.clock import ManualClock, wall_ms
from config.ids import ulid
from config.redact import Secret
from config.units import DAY_MS, NS_PER_MS, parse_time_ms
from storage.catalog import segments
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.segments import SegmentRow
from storage.clock_trust import ClockEvidence
from storage.keys import segment_key
from storage.objects.s3 import S3Store
from storage.sweeper import Sweeper, SweepReport
from tests.parts.s3 import MinIO, S3Server, SeaweedFS
from tests.storage.footage import NODE, make_catalog

_NOW_MS = parse_time_ms("2026-11-01T00:00:00+08:00")
_MINUTE_MS = 60_000
_CAMERAS = 50
_DATA = b"footage" * 64


def _rows(count: int) -> list[SegmentRow]:
    """One-minute segments of some cameras, all of them two months old."""
    digest = hashlib.sha256(_DATA).digest()
    made = []
    for number in range(count):
        start_ms = _NOW_MS - 61 * DAY_MS - number // _CAMERAS * _MINUTE_MS
        id_, camera = ulid(start_ms, number.to_bytes(10, "big")), f"210211000013{number % _CAMERAS:08d}"
        row = SegmentRow(
            id=id_, camera_id=camera, stream="main", run_id="R", kind="own", state="stored", start_ms=start_ms,
            end_ms=start_ms + _MINUTE_MS, start_wall_ns=start_ms * NS_PER_MS, time_trust="synchronised",
            bytes=len(_DATA), sha256=digest, init_bytes=0, fragments=b"",
            object_key=segment_key(NODE, camera, start_ms, id_), volume=None, class_="default", created_ms=start_ms,
        )  # fmt: skip
        made.append(row)
    return made


def _fill(server: S3Server, keys: Sequence[str]) -> str:
    """A new bucket with an object for each key."""
    bucket, client = server.new_bucket(), server.client()
    with ThreadPoolExecutor(16) as pool:
        for _ in pool.map(lambda key: client.put_object(bucket, key, io.BytesIO(_DATA), len(_DATA)), keys):
            pass
    return bucket


def _in_bulk(server: S3Server, bucket: str, keys: Sequence[str]) -> float:
    """Seconds of the peer."""
    began_s = time.perf_counter()
    errors = list(server.client().remove_objects(bucket, (DeleteObject(key) for key in keys)))
    took_s = time.perf_counter() - began_s
    if errors:
        raise RuntimeError(f"{len(errors)} objects were not deleted in bulk: {errors[0].code}")
    return took_s


def _sweep(catalog: Catalog, store: S3Store, clock: ManualClock) -> SweepReport:
    proof = ClockEvidence(
        wall_ms(clock), clock.monotonic_ns() // NS_PER_MS, "boot", True, None, None
    )  # fmt: skip
    return Sweeper(catalog, store, clock, lambda: proof, DAY_MS).sweep()


def _measure(server: S3Server, folder: Path, count: int) -> dict[str, Any]:
    rows = _rows(count)
    keys = [row.object_key for row in rows]
    mine, theirs = _fill(server, keys), _fill(server, keys)
    store = S3Store(server.url, server.region, mine, Secret(server.access_key), Secret(server.secret_key))
    folder.mkdir()
    catalog, clock = make_catalog(folder), ManualClock(_NOW_MS * NS_PER_MS)
    try:
        for start in range(0, count, CHUNK_ROWS):
            catalog.write(partial(segments.insert_segments, rows=rows[start : start + CHUNK_ROWS]))
        if len(_sweep(catalog, store, clock).condemned) != count:
            raise RuntimeError("not every segment was condemned")
        clock.advance(DAY_MS // 1_000 + 1)
        peer_s = _in_bulk(server, theirs, keys[: count // 2])
        began_s = time.perf_counter()
        swept = _sweep(catalog, store, clock)
        ours_s = time.perf_counter() - began_s
        peer_s += _in_bulk(server, theirs, keys[count // 2 :])
    finally:
        catalog.close()
    left = len(list(store.list()))
    if len(swept.deleted) != count or left:
        raise RuntimeError(f"{len(swept.deleted)} of {count} deleted, {left} objects left")
    return {
        "server": server.kind,
        "segments": count,
        "ours_per_s": round(count / ours_s),
        "remove_objects_per_s": round(count / peer_s),
        "ratio": round(peer_s / ours_s, 3),
    }


def main() -> int:
    chosen = options("deletes", __doc__ or "").parse_args()
    count = 5_000 if chosen.quick else 100_000
    kinds: list[type[S3Server]] = [SeaweedFS] if MinIO.binary() is None else [SeaweedFS, MinIO]
    results = []
    for kind in kinds:
        with tempfile.TemporaryDirectory() as where, kind(Path(where) / "server") as server:
            results.append(_measure(server, Path(where) / "node", count))
    # Bars of `report` are upper ones: 0.7 of the server's own rate is at most 1 / 0.7 of its time.
    bars = {
        f"{one['server']}: time over that of the server's own bulk deletion": (1 / one["ratio"], 1 / 0.7)
        for one in results
    }
    return report("deletes", {"servers": results}, bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
