"""Uploading: what the keeper adds per camera-second, how fast a backlog drains, and bytes written per byte received.

Real spool and catalog rows of segments of one minute at 4 Mbit/s; a folder store on the spool's filesystem, and real S3
servers whose data lie on the same disk. Contender: ``minio.Minio.fput_object``, what a script does, on
the same files and server. Written bytes are those that the kernel's block layer charged to the processes
(`/proc/PID/io`), after a sync.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks._box import Meter, children, median, options, report, written_bytes
from config.clock import SystemClock
from config.ids import ulid
from config.redact import Secret
from storage.catalog import segments
from storage.catalog.engine import Catalog
from storage.catalog.migrate import migrate
from storage.catalog.segments import SegmentRow
from storage.keys import segment_key
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store
from storage.spool import Spool
from storage.uploader import Uploader
from tests.parts.s3 import MinIO, S3Server, SeaweedFS
from tests.storage.footage import NODE, record

SEGMENT_S = 60
SEGMENT_BYTES = SEGMENT_S * 4_000_000 // 8
CAMERAS = 20


@dataclass(frozen=True, slots=True)
class Depot:
    folder: Path
    catalog: Catalog
    spool: Spool
    rows: list[SegmentRow]


@contextmanager
def depot(folder: Path, count: int) -> Iterator[Depot]:
    """A spool with `count` segments that wait, and a catalog that knows them."""
    folder.mkdir()
    url = f"sqlite:///{folder / 'catalog.db'}"
    migrate(url)
    catalog, spool = Catalog(url), Spool(folder / "spool", SystemClock(), NODE)
    spool.prepare()
    pattern = record(spool, 1.0)[0]
    pattern.path.unlink()
    catalog.write(lambda c: segments.insert_run(c, pattern.run))
    rows = []
    for number in range(count):
        start_ms = pattern.segment.start_ms + number // CAMERAS * SEGMENT_S * 1000
        id_, camera = ulid(start_ms, os.urandom(10)), f"210211000013{number % CAMERAS:08d}"
        data = os.urandom(SEGMENT_BYTES)
        path = spool.path_of(camera, id_)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        rows.append(
            replace(
                pattern.segment, id=id_, camera_id=camera, object_key=segment_key(NODE, camera, start_ms, id_),
                start_ms=start_ms, end_ms=start_ms + SEGMENT_S * 1000, bytes=len(data),
                sha256=hashlib.sha256(data).digest(), volume=spool.volume_id,
            )
        )  # fmt: skip
    catalog.write(lambda c: segments.insert_segments(c, rows))
    os.sync()
    yield Depot(folder, catalog, spool, rows)
    catalog.close()


def _drain(place: Depot, store: ObjectStore, server_pids: list[int]) -> dict[str, float]:
    """Until nothing waits; the keeper's side is this process."""
    uploader = Uploader(place.catalog, store, place.spool, SystemClock())
    written = written_bytes([os.getpid(), *server_pids])
    meter = Meter([os.getpid()])
    while uploader.run_once().stored:
        pass
    used_ms, wall_s = meter.read()
    uploader.close()
    assert uploader.counters.backlog.count == 0
    os.sync()
    uploaded = written_bytes([os.getpid(), *server_pids]) - written
    footage_s = len(place.rows) * SEGMENT_S
    received = sum(row.bytes for row in place.rows)
    return {
        "cpu_ms_per_camera_second": round(used_ms / footage_s, 3),
        "real_time_factor": round(footage_s / CAMERAS / wall_s, 1),
        "mb_per_s": round(received / 1e6 / wall_s, 1),
        # Recording has written each byte once before.
        "bytes_written_per_byte_received": round(1 + uploaded / received, 3),
    }


def _script(place: Depot, server: S3Server) -> dict[str, float]:
    """The peer: each file by the client's own call, one after another."""
    bucket, client = server.new_bucket(), server.client()
    meter, started = Meter([os.getpid()]), time.perf_counter()
    for row in place.rows:
        client.fput_object(bucket, row.object_key, str(place.spool.path_of(row.camera_id, row.id)))
    used_ms, _ = meter.read()
    footage_s = len(place.rows) * SEGMENT_S
    wall_s = time.perf_counter() - started
    return {
        "cpu_ms_per_camera_second": round(used_ms / footage_s, 3),
        "real_time_factor": round(footage_s / CAMERAS / wall_s, 1),
    }


def _folder(folder: Path, count: int) -> dict[str, float]:
    with depot(folder, count) as place:
        store = FolderStore(place.folder / "objects")
        store.ensure()
        return _drain(place, store, [])


def _s3(folder: Path, count: int, kind: type[S3Server]) -> dict[str, Any]:
    with depot(folder, count) as place, kind(place.folder / "server") as server:
        theirs = _script(place, server)
        store = S3Store(
            server.url, server.region, server.new_bucket(), Secret(server.access_key), Secret(server.secret_key)
        )  # fmt: skip
        popen = server._child.popen
        assert popen is not None
        ours = _drain(place, store, [popen.pid, *children(popen.pid)])
    return {"server": kind.kind, "ours": ours, "fput_object": theirs}


def main() -> int:
    chosen = options("upload", __doc__ or "").parse_args()
    count, rounds = (10, 1) if chosen.quick else (40, 3)
    kinds: list[type[S3Server]] = [SeaweedFS] if MinIO.binary() is None else [SeaweedFS, MinIO]
    folders: list[dict[str, float]] = []
    servers: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as where:
        for number in range(rounds):
            folders.append(_folder(Path(where) / f"folder-{number}", count))
            servers += [_s3(Path(where) / f"{kind.kind}-{number}", count, kind) for kind in kinds]

    def worst(name: str) -> float:
        """Of the servers' medians."""
        return max(median(s["ours"][name] for s in servers if s["server"] == kind.kind) for kind in kinds)

    slowest = min(median(s["ours"]["real_time_factor"] for s in servers if s["server"] == k.kind) for k in kinds)
    bars = {
        "CPU that uploading adds, ms per camera-second (S3)": (worst("cpu_ms_per_camera_second"), 0.5),
        "CPU that uploading adds, ms per camera-second (folder)": (
            median(f["cpu_ms_per_camera_second"] for f in folders), 0.5,
        ),
        "bytes written per byte received (folder)": (
            median(f["bytes_written_per_byte_received"] for f in folders), 1.05,
        ),
        "bytes written per byte received (S3, same disk)": (worst("bytes_written_per_byte_received"), 2.1),
        "real time needed to drain real time (S3)": (1 / slowest, 1 / 3),
    }  # fmt: skip
    return report("upload", {"segments": count, "folder": folders, "s3": servers}, bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
