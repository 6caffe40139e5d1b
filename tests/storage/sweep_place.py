"""A catalog, a store and a clock for sweeps."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from config.clock import ManualClock, wall_ms
from config.ids import ulid
from config.reasons import Reason
from config.units import DAY_MS, parse_time_ms
from storage.catalog import facts, places, retention_rows, segments
from storage.catalog.engine import Catalog
from storage.catalog.retention_rows import HoldRow
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import area, area_camera, camera, segment
from storage.clock_trust import ClockEvidence
from storage.keys import segment_key
from storage.objects.folder import FolderStore
from storage.sweeper import Sweeper, SweepReport

CAMERA, OTHER = "21021100011326000001", "21021100011326000002"
START_MS = parse_time_ms("2026-06-10T08:00:00+08:00")
DAY_S = 86_400


class Place:
    """One node as its keeper sees it: its footage, its clock, and what others say of that clock."""

    def __init__(self, folder: Path, catalog_url: str) -> None:
        self.catalog = Catalog(catalog_url)
        self.store = FolderStore(folder / "objects")
        self.store.ensure()
        self.clock = ManualClock(START_MS * 1_000_000)
        self.synchronised: bool | None = True
        self.boot = "boot-1"
        self._made = 0

    @property
    def now_ms(self) -> int:
        return wall_ms(self.clock)

    def evidence(self) -> ClockEvidence:
        return ClockEvidence(
            self.now_ms, self.clock.monotonic_ns() // 1_000_000, self.boot, self.synchronised, None, None
        )

    def sweeper(self) -> Sweeper:
        return Sweeper(self.catalog, self.store, self.clock, self.evidence, grace_ms=DAY_MS, chunk_rows=7)

    def sweep(self, dry_run: bool = False) -> SweepReport:
        return self.sweeper().sweep(dry_run)

    def footage(
        self, end_ms: int, camera: str = CAMERA, state: str = "stored", time_trust: str = "synchronised"
    ) -> SegmentRow:
        row = replace(self._segment(end_ms, camera, state), time_trust=time_trust)
        self.catalog.write(lambda c: segments.insert_segments(c, [row]))
        return row

    def much_footage(self, ends_ms: Iterable[int]) -> list[SegmentRow]:
        rows = [self._segment(end_ms, CAMERA, "stored") for end_ms in ends_ms]
        self.catalog.write(lambda c: segments.insert_segments(c, rows))
        return rows

    def _segment(self, end_ms: int, camera: str, state: str) -> SegmentRow:
        self._made += 1
        start_ms = end_ms - 60_000
        id_ = ulid(start_ms, self._made.to_bytes(10, "big"))
        key = segment_key("node", camera, start_ms, id_)
        path = self.store.root / key  # not through put_bytes: its fsyncs are not what is tested here
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"footage " + id_.encode())
        return SegmentRow(
            id=id_, camera_id=camera, stream="main", run_id="R", kind="own", state=state, start_ms=start_ms,
            end_ms=end_ms, start_wall_ns=start_ms * 1_000_000, time_trust="synchronised", bytes=34, sha256=bytes(32),
            init_bytes=0, fragments=b"", object_key=key, volume=None, class_="default", created_ms=end_ms,
        )  # fmt: skip

    def hold(self, from_ms: int, to_ms: int, *cameras: str) -> str:
        self._made += 1
        id_ = ulid(self.now_ms, self._made.to_bytes(10, "big"))
        row = HoldRow(
            id_, cameras or (CAMERA,), from_ms, to_ms, "owner", "why", "case-1", None, "3_months",
            self.now_ms + 90 * DAY_MS, self.now_ms, None, None,
        )  # fmt: skip
        self.catalog.write(lambda c: retention_rows.add_hold(c, row))
        return id_

    def state(self, row: SegmentRow) -> str:
        return self.catalog.read(lambda c: segments.existing(c, [row.id]))[row.id]

    def has_bytes(self, row: SegmentRow) -> bool:
        return self.store.head(row.object_key) is not None

    def fact(self, key: str) -> object:
        return self.catalog.read(lambda c: facts.get(c, key))


#: Weeks of sweeps: the same statements as in the other tests, ten thousand times.
sqlite_alone = pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)


@pytest.fixture
def place(tmp_path: Path, catalog_url: str) -> Iterator[Place]:
    made = Place(tmp_path, catalog_url)
    yield made
    made.catalog.close()


def due_footage(place: Place, count: int = 1) -> list[SegmentRow]:
    """Footage whose month is over."""
    return [place.footage(place.now_ms - 40 * DAY_MS + n * 60_000) for n in range(count)]


def on_each_chunk(monkeypatch: pytest.MonkeyPatch, then: Callable[[int], None]) -> None:
    """Calls `then` with how many chunks of a sweep have been released, after each."""
    doomed = Sweeper._doomed

    def watched(self: Sweeper, evidence: ClockEvidence) -> Iterator[list[str] | Reason]:
        for number, chunk in enumerate(doomed(self, evidence), 1):
            then(number)
            yield chunk

    monkeypatch.setattr(Sweeper, "_doomed", watched)


def mixed_footage(place: Place, chance: random.Random) -> None:
    """Footage of 45 days with every kind of boundary inside an hour: class, hold, area, state, date."""
    now_ms = place.now_ms
    rows = []
    for number in range(600):
        end_ms = now_ms - chance.randrange(45 * DAY_MS) if number % 2 else now_ms - 31 * DAY_MS - number * 17_000
        row = place._segment(
            end_ms, chance.choice([CAMERA, OTHER]), chance.choice(["stored"] * 5 + ["spooled", "condemned"])
        )
        values = {name: getattr(row, name) for name in row.__dataclass_fields__}
        doubt = {"time_trust": "unknown", "aged_from_ms": chance.choice([None, now_ms - 31 * DAY_MS, now_ms])}
        known = {"time_trust": "synchronised", "aged_from_ms": None}
        values |= {"class_": chance.choice(["default"] * 5 + ["key", "unheard_of"])}
        rows.append(values | (doubt if number % 7 == 0 else known))

    def write(connection: Connection) -> None:
        connection.execute(insert(segment), rows)

    place.catalog.write(write)
    place.hold(now_ms - 31 * DAY_MS - 6_500_000, now_ms - 31 * DAY_MS - 5_500_000, CAMERA)

    def areas(connection: Connection) -> None:
        places.seed_regions(connection, "210211001003", "community", "社区", now_ms)
        connection.execute(
            insert(camera).values(
                id=OTHER, name="x", tier="community", region="210211001003", recorded_by="self", enabled=True,
                created_ms=0, changed_ms=0,
            )
        )  # fmt: skip
        ends_ms = now_ms - 31 * DAY_MS - 1_000_000
        connection.execute(
            insert(area).values(
                id="A", name="A", class_="key", document_no="1", valid_from_ms=0, valid_to_ms=ends_ms
            )
        )  # fmt: skip
        connection.execute(insert(area_camera).values(area_id="A", camera_id=OTHER, from_ms=now_ms - 35 * DAY_MS))

    place.catalog.write(areas)
