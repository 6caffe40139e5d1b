"""A catalog that is full: the timeline of a day, the plan, and what a sweep looks at, at 10^5, 10^6 and 10^7 segments.

Each size is a month of one-minute segments of as many cameras as that takes, on SQLite and, where Debian's is there, on
PostgreSQL. One camera in ten is in a key area, twenty holds stand, 5 000 segments are due. Rows alone: nothing here
looks at what is in a store. `slopes` is how much dearer a thing gets from one size to the next, ten times larger.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import insert, text

from benchmarks._box import options, report
from config.clock import ManualClock
from config.units import DAY_MS, NS_PER_MS, parse_time_ms
from gateway.web.routers.timeline import read_spans
from storage.catalog import retention_rows
from storage.catalog.engine import Catalog, is_sqlite, make_engine
from storage.catalog.migrate import migrate
from storage.catalog.tables import camera, region
from storage.classes import Membership
from storage.clock_trust import ClockEvidence
from storage.holds import Hold
from storage.objects.folder import FolderStore
from storage.plan_view import plan_view
from storage.retention import Candidate
from storage.sweeper import Policies, Sweeper
from tests.parts.postgres import Postgres

_START_MS = parse_time_ms("2026-11-01T00:00:00+08:00")  # a month of November is thirty days, by both rules
_MINUTE_MS = 60_000
_PER_CAMERA = 30 * 24 * 60
_DUE = 5_000
_CHUNK_ROWS = 250_000
_TIMELINES = 200
_PLANNED = 300_000
_CAMERA = "21021100011326"

#: Made by the database itself: a client could not send 10^7 rows in a reasonable time.
_INSERT = """
INSERT INTO segment (
    id, camera_id, stream, run_id, kind, state, start_ms, end_ms, start_wall_ns, time_trust, bytes, sha256, init_bytes,
    fragments, object_key, salvaged, class, created_ms, stored_ms
)
WITH RECURSIVE n(i) AS (
    SELECT CAST(:low AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i + 1 < CAST(:high AS BIGINT)
), row(id, camera_id, start_ms) AS (
    SELECT
        '01KAAAAAAAAAAAA' || CAST(10000000000 + i AS VARCHAR(20)),
        :camera || CAST(100000 + i % CAST(:cameras AS BIGINT) AS VARCHAR(20)),
        CAST(:start_ms AS BIGINT) + i / CAST(:cameras AS BIGINT) * 60000
    FROM n
)
SELECT
    id, camera_id, 'main', 'R', 'own', 'stored', start_ms, start_ms + 60000, start_ms * 1000000, 'synchronised',
    30000000,
    CAST(:sha256 AS {blob}), 900, CAST(:fragments AS {blob}),
    '0123456789abcdef/' || camera_id || '/2026/11/01/00/' || CAST(start_ms AS VARCHAR(20)) || '-' || id || '.mp4',
    FALSE, 'default', start_ms, start_ms + 61000
FROM row
"""


def _fill(catalog: Catalog, rows: int, cameras: int, blob: str) -> float:
    statement = text(_INSERT.format(blob=blob))
    began_s = time.perf_counter()
    code = "210211001003"
    made = [
        {
            "id": f"{_CAMERA}{100_000 + number}", "name": f"门{number}", "tier": "community", "region": code,
            "recorded_by": "self", "enabled": True, "created_ms": 0, "changed_ms": 0,
        }
        for number in range(cameras)
    ]  # fmt: skip
    catalog.write(lambda c: c.execute(insert(region).values(code=code, name="社区", valid_from_ms=0)))
    catalog.write(lambda c: c.execute(insert(camera), made))
    for low in range(0, rows, _CHUNK_ROWS):
        values = {
            "low": low, "high": min(rows, low + _CHUNK_ROWS), "camera": _CAMERA, "cameras": cameras,
            "start_ms": _START_MS, "sha256": bytes(32), "fragments": bytes(150),
        }  # fmt: skip
        catalog.write(lambda c, values=values: c.execute(statement, values))  # type: ignore[misc]  # a bound default
    return time.perf_counter() - began_s


def _tend(url: str) -> None:
    """PostgreSQL's own upkeep, which comes by after each hundredth part of `segment` that is new."""
    engine = make_engine(url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))
    engine.dispose()


def _p95(values: list[float]) -> float:
    return sorted(values)[-max(1, len(values) // 20)]


def _timelines(catalog: Catalog, cameras: int, minutes: int, now_ms: int) -> dict[str, float]:
    chance = random.Random(1)
    took_ms = []
    for _ in range(_TIMELINES):
        camera_id = f"{_CAMERA}{100_000 + chance.randrange(cameras)}"
        from_ms = _START_MS + chance.randrange(max(1, minutes * _MINUTE_MS // DAY_MS)) * DAY_MS
        began_s = time.perf_counter()
        spans = catalog.read(
            lambda c, id_=camera_id, low=from_ms: read_spans(c, id_, "main", low, low + DAY_MS, now_ms)  # type: ignore[misc]  # bound defaults
        )
        took_ms.append((time.perf_counter() - began_s) * 1e3)
        if spans[0]["kind"] != "footage":
            raise RuntimeError(f"the timeline of {camera_id} has no footage")
    return {"p50_ms": round(sorted(took_ms)[len(took_ms) // 2], 2), "p95_ms": round(_p95(took_ms), 2)}


def _policies(catalog: Catalog, cameras: int, now_ms: int) -> Policies:
    """One camera in ten in a key area since a week; twenty holds of a day."""
    chance = random.Random(2)
    ids = [f"{_CAMERA}{100_000 + number}" for number in range(cameras)]
    starts = [_START_MS + chance.randrange(30 * DAY_MS) for _ in range(20)]
    holds = [
        Hold(f"H{n}", frozenset({chance.choice(ids)}), start, start + DAY_MS, f"A-{n}")
        for n, start in enumerate(starts)
    ]
    members = {id_: [Membership("key", now_ms - 7 * DAY_MS, None)] for id_ in ids[::10]}
    return Policies(catalog.read(retention_rows.classes), members, holds)


def _pure(catalog: Catalog, policies: Policies, now_ms: int) -> float:
    """Segments a second, of rows that are in memory."""
    rows: list[Candidate] = []
    after: tuple[int, str] | None = None
    while len(rows) < _PLANNED:
        page = catalog.read(
            lambda c, after=after: retention_rows.candidates(c, "stored", now_ms * 2, after, 50_000)  # type: ignore[misc]  # a bound default
        )
        if not page:
            break
        rows += page
        after = (page[-1].end_ms, page[-1].id)
    best = 0.0
    for _ in range(3):
        fresh = Policies(policies.classes, policies.memberships, policies.holds)  # nothing is remembered from before
        began_s = time.perf_counter()
        removed = sum(not verdict.keep for verdict in fresh.plan(rows, now_ms))
        best = max(best, len(rows) / (time.perf_counter() - began_s))
        if not 0 < removed <= _DUE:
            raise RuntimeError(f"{removed} removed of {_DUE} due")
    return best


def _sweep(catalog: Catalog, folder: Path, now_ms: int) -> tuple[float, int]:
    """Seconds of a sweep that stops before it writes, and how many it would condemn."""
    clock = ManualClock(now_ms * NS_PER_MS)
    store = FolderStore(folder)
    proof = ClockEvidence(now_ms, clock.monotonic_ns() // NS_PER_MS, "boot", True, None, None)
    sweeper = Sweeper(catalog, store, clock, lambda: proof, DAY_MS)
    began_s = time.perf_counter()
    found = sweeper.sweep(dry_run=True)
    took_s = time.perf_counter() - began_s
    if found.refused is not None:
        raise RuntimeError(f"the sweep refused: {found.refused.code}")
    return took_s, len(found.condemned)


def _measure(url: str, rows: int, folder: Path) -> dict[str, Any]:
    cameras = -(-rows // _PER_CAMERA)
    now_ms = _START_MS + 30 * DAY_MS + _DUE // cameras * _MINUTE_MS
    migrate(url)
    catalog = Catalog(url)
    try:
        filled_s = _fill(catalog, rows, cameras, "BLOB" if is_sqlite(url) else "BYTEA")
        if not is_sqlite(url):
            _tend(url)
        os.sync()  # gigabytes that are still on their way to the disk belong to the filling
        policies = _policies(catalog, cameras, now_ms)
        timeline = _timelines(catalog, cameras, rows // cameras, now_ms)
        pure_per_s = _pure(catalog, policies, now_ms)
        sweep_s, due = _sweep(catalog, folder, now_ms)
        began_s = time.perf_counter()
        items = catalog.read(lambda c: plan_view(c, policies, now_ms))
        whole_s = time.perf_counter() - began_s
        if sum(item.segments for item in items) != rows:
            raise RuntimeError("the plan does not speak of every segment")
    finally:
        catalog.close()
    return {
        "rows": rows,
        "cameras": cameras,
        "filled_s": round(filled_s, 1),
        "timeline_p50_ms": timeline["p50_ms"],
        "timeline_p95_ms": timeline["p95_ms"],
        "pure_plan_per_s": round(pure_per_s),
        "whole_plan_per_s": round(rows / whole_s),
        "sweep_s": round(sweep_s, 3),
        "due": due,
    }


def _slopes(measured: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Cost at each size over the cost at the size before; 1.0: the size does not matter, 10.0: it grows with it."""
    costs = {
        "timeline_p95": [one["timeline_p95_ms"] for one in measured],
        "whole_plan": [one["rows"] / one["whole_plan_per_s"] for one in measured],
        "sweep": [one["sweep_s"] for one in measured],
    }
    return {name: [round(b / a, 2) for a, b in itertools.pairwise(c)] for name, c in costs.items()}


@contextmanager
def _postgres() -> Iterator[Postgres | None]:
    if not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        yield None
        return
    server = Postgres().start()
    try:
        yield server
    finally:
        server.remove()


def main() -> int:
    parser = options("catalog", __doc__ or "")
    parser.add_argument("--most-rows", type=int, default=10**7, help="leave out larger sizes")
    parser.add_argument("--only", choices=("sqlite", "postgresql"), help="leave out the other")
    chosen = parser.parse_args()
    sizes = [10**5] if chosen.quick else [rows for rows in (10**5, 10**6, 10**7) if rows <= chosen.most_rows]
    results: dict[str, Any] = {}
    for rows in sizes if chosen.only != "postgresql" else ():
        with tempfile.TemporaryDirectory() as name:
            results.setdefault("sqlite", []).append(
                _measure(f"sqlite:///{name}/catalog.db", rows, Path(name) / "store")
            )
    with _postgres() if chosen.only != "sqlite" else nullcontext() as server, tempfile.TemporaryDirectory() as name:
        if server is not None:
            results["postgresql"] = [_measure(server.new_database(), rows, Path(name) / "store") for rows in sizes]
    bars: dict[str, tuple[float, float]] = {}
    for engine, measured in list(results.items()):
        largest = measured[-1]
        # Bars of `report` are upper ones: microseconds a segment, 2.0 being 500 000 a second.
        bars |= {
            f"{engine}: timeline of a day, p95 ms": (largest["timeline_p95_ms"], 20.0),
            f"{engine}: pure plan, µs per segment": (1e6 / largest["pure_plan_per_s"], 2.0),
            f"{engine}: whole plan, µs per segment": (1e6 / largest["whole_plan_per_s"], 1e6 / 150_000),
            f"{engine}: sweep of 5 000 due, s before deletes": (largest["sweep_s"], 1.0),
        }
        results[f"{engine}_slopes"] = _slopes(measured)
    return report("catalog", results, bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
