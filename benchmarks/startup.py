"""Start-up of a node with a past: 10^6 rows in the catalog, 500 part files of a recorder that was killed, until the
first recorded frame of a camera is on the disk.

One recorder's shard has 25 cameras; each left 20 part files without their end. One of the cameras sends pictures.
The part files are about 1.3 MB each: what salvage costs grows with their bytes, and the report says how many they were.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from benchmarks._box import options, report
from config.ids import ulid
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.tables import camera, segment
from storage.segmenter import OpenSegment, Write
from storage.spool import PART
from tests.parts.node import QUICK, Node
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until
from tests.storage.footage import commands
from tests.storage.forest import Forest, camera_id

_CAMERAS, _PARTS_EACH, _PART_S = 25, 20, 8.0


def _register(catalog: Catalog, region: str) -> None:
    rows = [
        {
            "id": camera_id(number), "name": f"门{number}", "tier": "community", "region": region,
            "recorded_by": "self", "enabled": False, "created_ms": 0, "changed_ms": 0,
        }
        for number in range(_CAMERAS)
    ]  # fmt: skip
    catalog.write(lambda c: c.execute(insert(camera), rows))


def _rows(catalog: Catalog, forest: Forest, count: int) -> None:
    """Rows alone: a start does not look at what is in the store."""
    now_ns = time.time_ns()
    start_ns = now_ns - count // _CAMERAS * 6 * 10**9 - 3_600 * 10**9
    chunk: list[dict[str, Any]] = []
    for tree in forest.trees(count, _CAMERAS, start_ns):
        for row, _ in tree.segments:
            values = {name: getattr(row, name) for name in type(row).__dataclass_fields__}
            chunk.append(values)
        if len(chunk) >= 20 * CHUNK_ROWS:
            catalog.write(lambda c, rows=chunk: c.execute(insert(segment), rows))  # type: ignore[misc]  # a bound default
            chunk = []
    if chunk:
        catalog.write(lambda c: c.execute(insert(segment), chunk))


def _parts(spool: Path) -> int:
    """Part files as kill -9 leaves them: whole fragments, a torn one, no index. Their bytes."""
    orders = list(commands(_PART_S, segment_ms=600_000, size=(320, 240)))
    opened = orders[0]
    assert isinstance(opened, OpenSegment)
    data = opened.init + b"".join(order.data for order in orders if isinstance(order, Write))
    total = 0
    for number in range(_CAMERAS):
        for nth in range(_PARTS_EACH):
            wall_ns = time.time_ns() - (number * _PARTS_EACH + nth + 2) * 60 * 10**9
            part = data
            ids = [ulid(wall_ns // 10**6, bytes(8) + bytes([kind, number])) for kind in (nth, 100 + nth)]
            for old, new in (
                (opened.segment_id, ids[0]), (opened.run_id, ids[1]), (opened.labels.camera, camera_id(number)),
                (str(opened.wall_start_ns), str(wall_ns)),
            ):  # fmt: skip
                part = part.replace(old.encode(), new.encode(), 1)
            path = spool / camera_id(number) / f"{ids[0]}{PART}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(part[:-1_000])
            total += len(part) - 1_000
    return total


def _first_frame(node: Node, camera: str, before: set[Path]) -> bool:
    folder = node.folder / "data" / "spool" / camera
    return any(path.stat().st_size > 4_000 for path in folder.glob("*.part") if path not in before)


def _measure(rows: int) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as name,
        RtspServer() as server,
        Node(Path(name) / "node", settings=QUICK) as node,
    ):
        server.add("cam", "sub")
        node.init().start()
        recorded = node.add_camera(server.url("cam"))
        folder = node.folder / "data" / "spool" / recorded
        until(lambda: any(path.stat().st_size > 4_000 for path in folder.glob("*.part")), 60, "the camera is recorded")
        node.stop()
        catalog = Catalog(f"sqlite:///{node.folder / 'data' / 'catalog' / 'catalog.db'}")
        _register(catalog, node.region)
        _rows(catalog, Forest(Path(name) / "rows", 1), rows)
        count = catalog.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM segment").scalar_one())
        catalog.close()
        part_bytes = _parts(node.folder / "data" / "spool")
        left = sum(1 for _ in (node.folder / "data" / "spool").glob("*/*.part"))
        before = set(folder.glob("*.part"))
        began_s = time.perf_counter()
        node.launch()
        until(lambda: _first_frame(node, recorded, before), 120, "the first recorded frame", every_s=0.02)
        first_s = time.perf_counter() - began_s
        until(lambda: not _parts_left(node, recorded), 300, "all part files are salvaged", every_s=0.1)
        salvaged_s = time.perf_counter() - began_s
    return {
        "rows": count,
        "part_files": left,
        "part_mb": round(part_bytes / 1e6, 1),
        "first_recorded_frame_s": round(first_s, 2),
        "all_salvaged_s": round(salvaged_s, 2),
    }


def _parts_left(node: Node, recorded: str) -> list[Path]:
    """Of the cameras that send nothing: each `.part` of theirs is of the dead recorder."""
    return [p for p in (node.folder / "data" / "spool").glob("*/*.part") if p.parent.name != recorded]


def main() -> int:
    chosen = options("startup", __doc__ or "").parse_args()
    measured = _measure(50_000 if chosen.quick else 1_000_000)
    bars = {"start to first recorded frame, s": (measured["first_recorded_frame_s"], 10.0)}
    return report("startup", measured, bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
