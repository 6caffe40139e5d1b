"""The pipeline on a disk that fills, stalls or runs low: every lost second has a cause, and footage comes back."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.clock import ManualClock
from config.errors import Kind, TiergateError
from config.settings import Spool as SpoolSettings
from gateway.access.ids import fresh_id
from gateway.ingest import recording as recording_module
from gateway.ingest import volumes as volumes_module
from gateway.ingest.admission import Admission
from gateway.ingest.coverage import Coverage
from gateway.ingest.ledger import Ledger
from gateway.ingest.recording import Recording
from gateway.ingest.volumes import Volume, Volumes
from gateway.ingest.writer import Lane, WriterPool
from storage.catalog.engine import Catalog
from storage.catalog.gaps import GapRow, gaps_between
from storage.catalog.segments import SegmentRow, all_segments, open_runs
from storage.catalog.status import past
from storage.media.access_unit import AccessUnit
from storage.segmenter import SegmenterPolicy, SegmentLabels
from storage.spool import PART, PartFile, SealedPart, Spool, SyncGroup
from tests.media import WALL_NS, access_units, encode_h264, stream_config
from tests.parts.catalog import new_catalog
from tests.parts.wait import until

CAMERA = "21021100001320000001"
SECOND_NS = 1_000_000_000


class MoodyDisk(Spool):
    """A real spool on a disk that can be told to be full, or to stall."""

    full = False
    flow = threading.Event()

    def create(self, camera_id: str, segment_id: str) -> PartFile:
        _ = super().volume_id
        path = self.path_of(camera_id, segment_id, PART)
        path.parent.mkdir(exist_ok=True)
        disk = self

        class MoodyPart(PartFile):
            def append(self, data: bytes | bytearray | memoryview) -> int:
                disk.flow.wait(20)
                if disk.full:
                    raise TiergateError(Kind.UNAVAILABLE, "media.part_failed", problem="ENOSPC")
                return super().append(data)

        return MoodyPart(path)


class Bench:
    """A recording with a real catalog, fed with seconds of real pictures by hand."""

    def __init__(
        self, folder: Path, retention_class: str = "default", wall_ns: int = WALL_NS, volumes: int = 1
    ) -> None:
        url = f"sqlite:///{folder / 'catalog.db'}"
        new_catalog(url)
        self.clock = ManualClock(wall_ns)
        self.catalog = Catalog(url)
        self.disk = MoodyDisk(folder / "spool", self.clock, "node")
        self.disk.flow = threading.Event()
        self.disk.flow.set()
        self.free_percent = 50.0
        self.admission = Admission(
            SpoolSettings(min_free_percent=5, critical_free_percent=2), lambda: self.free_percent
        )
        self.ledger = Ledger(self.catalog, 0.01)
        self.writers = WriterPool(1)
        disks = [
            self.disk,
            *(Spool(folder / f"spool-{n}", self.clock, "node", f"spool-{n}") for n in range(1, volumes)),
        ]
        for disk in disks:
            disk.prepare()
        coverage = Coverage(CAMERA, "main", self.ledger, lambda: fresh_id(self.clock))
        coverage.resume(self.catalog.read(lambda c: past(c, CAMERA, "main")), self.clock.wall_ns() // 1_000_000)
        self.recording = Recording(
            SegmentLabels("node", CAMERA, retention_class=retention_class), SegmenterPolicy(segment_ms=2000),
            Volumes([Volume(disk, SyncGroup(800), self.writers, self.admission) for disk in disks]),
            self.ledger, coverage, self.clock,
            lambda: fresh_id(self.clock),
        )  # fmt: skip
        self.packets = encode_h264(2.0)
        self.recording.begin(stream_config("h264", self.packets))
        self._ticks = 0

    @property
    def lane(self) -> Lane:
        return self.recording.lane

    def feed(self, seconds: int) -> None:
        for _ in range(seconds):
            units = access_units("h264", self.packets[:25], wall_ns=self.clock.wall_ns(), dts_offset=self._ticks)
            for unit in units:
                self._push(unit)
            self._ticks += 90_000
            if self.disk.flow.is_set():
                until(lambda: self.recording.idle, 10, "the disk keeps up")

    def _push(self, unit: AccessUnit) -> None:
        self.recording.push(unit)
        self.clock.advance(0.04)

    def tick(self) -> None:
        self.admission.observe()
        self.recording.tick(self.clock.wall_ns())

    def settle(self) -> None:
        until(lambda: self.recording.idle, 10, "the lane is idle")
        assert self.ledger.flush(10)

    @property
    def segments(self) -> list[SegmentRow]:
        self.settle()
        return self.catalog.read(lambda c: all_segments(c, ["spooled"]))

    @property
    def gaps(self) -> list[GapRow]:
        self.settle()
        return self.catalog.read(lambda c: gaps_between(c, CAMERA, "main", 0, 10**15))

    def close(self) -> None:
        self.disk.flow.set()
        self.recording.end("test")
        self.settle()
        self.writers.close(5)
        self.ledger.close()
        self.catalog.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_footage_becomes_rows_and_the_run_ends(bench: Bench) -> None:
    bench.feed(6)
    bench.recording.end("camera went")
    rows = bench.segments
    assert len(rows) >= 2
    assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(rows))
    assert abs(rows[-1].end_ms - rows[0].start_ms - 6000) <= 40
    assert not bench.catalog.read(open_runs)
    assert not bench.gaps


@pytest.mark.fault("A24")
def test_what_a_camera_sends_again_after_a_restart_is_not_footage_twice(tmp_path: Path) -> None:
    first = Bench(tmp_path)
    first.feed(6)
    first.recording.end("killed")
    end_ms = first.segments[-1].end_ms
    first.close()
    second = Bench(tmp_path, wall_ns=first.clock.wall_ns() - 3 * SECOND_NS)  # its pictures are dated before the end
    try:
        second.feed(6)
        second.recording.end("done")
        rows = sorted(second.segments, key=lambda row: row.start_ms)
    finally:
        second.close()
    following = [row for row in rows if row.start_ms >= end_ms]
    assert following[0].start_ms == end_ms
    assert all(a.end_ms <= b.start_ms for a, b in itertools.pairwise(rows))


@pytest.mark.fault("B4")
def test_a_full_disk_is_a_gap_with_that_cause_and_what_was_written_is_kept(bench: Bench) -> None:
    bench.feed(3)
    while not list((bench.disk.root / CAMERA).glob("*.part")):
        bench.feed(1)
    bench.disk.full = True
    bench.feed(6)
    bench.settle()
    assert len(list((bench.disk.root / CAMERA).glob("*.part"))) <= 1, "tries on a full disk leave nothing behind"
    assert not list(bench.disk.quarantined())
    bench.tick()
    (gap,) = bench.gaps
    assert (gap.cause, gap.to_ms) == ("disk_full", None)
    bench.disk.full = False
    bench.feed(10)
    bench.recording.end("done")
    (gap,) = bench.gaps
    rows = bench.segments
    assert gap.to_ms in {row.start_ms for row in rows}
    assert any(row.salvaged for row in rows), "the open part is made whole when the disk is well"


@pytest.mark.fault("B3")
@pytest.mark.parametrize("at", ["file", "folder"])
def test_a_seal_that_failed_is_charged_to_its_own_segment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    failed: list[str] = []
    real = os.fsync

    def fail_once(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not failed and (path.endswith(PART) if at == "file" else path.endswith(CAMERA)):
            failed.append(path)
            raise OSError(5, "Input/output error")
        real(descriptor)

    bench.feed(1)
    monkeypatch.setattr(os, "fsync", fail_once)
    monkeypatch.setattr(volumes_module, "PROBE_S", 0.0)
    bench.feed(4)
    bench.tick()
    bench.settle()
    while bench.recording.volume.failing:  # its watch, which nobody else is here
        bench.recording.volume.look()
    bench.feed(10)
    bench.recording.end("done")
    rows, gaps = bench.segments, bench.gaps
    assert failed
    salvaged = [row for row in rows if row.salvaged]
    assert salvaged
    assert at == "folder" or any(row.id in failed[0] for row in salvaged)
    # What was written stands for itself, and the segment behind it went on.
    spans = sorted([(row.start_ms, row.end_ms) for row in rows] + [(gap.from_ms, gap.to_ms or 0) for gap in gaps])
    assert all(abs(second[0] - first[1]) <= 45 for first, second in itertools.pairwise(spans)), spans
    assert not list(bench.disk.root.glob(f"{CAMERA}/*{PART}"))


@pytest.mark.fault("B34")
def test_a_disk_that_stalls_costs_footage_by_name_and_delays_nobody(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_module, "PENDING_MAX_BYTES", 200_000)
    bench.feed(2)
    bench.settle()
    bench.disk.flow.clear()
    bench.feed(20)  # returns although nothing is written
    assert bench.lane.pending_bytes < 600_000
    assert bench.recording.coverage.open_cause == "disk_slow"
    bench.disk.flow.set()
    bench.settle()
    bench.feed(3)
    bench.recording.end("done")
    (gap,) = bench.gaps
    assert gap.cause == "disk_slow"
    assert gap.to_ms is not None
    assert {row.end_ms for row in bench.segments} >= {gap.from_ms}
    assert {row.start_ms for row in bench.segments} >= {gap.to_ms}


@pytest.mark.parametrize("saved", [True, False])
def test_a_segment_that_cannot_be_sealed_costs_its_own_time_at_most(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    real, failed = PartFile.seal, list[Path]()

    def seal(part: PartFile, index: bytes) -> SealedPart:
        if not failed:
            failed.append(part.path)
            if not saved:
                part.path.unlink()
            raise TiergateError(Kind.UNAVAILABLE, "media.part_failed", problem="ENOSPC")
        return real(part, index)

    monkeypatch.setattr(PartFile, "seal", seal)
    monkeypatch.setattr(volumes_module, "PROBE_S", 0.0)
    bench.feed(6)
    while bench.recording.volume.failing:  # its watch, which nobody else is here
        bench.recording.volume.look()
    bench.feed(6)
    bench.tick()
    bench.recording.end("done")
    assert len(failed) == 1
    rows, gaps = bench.segments, bench.gaps
    spans = sorted([(row.start_ms, row.end_ms) for row in rows] + [(gap.from_ms, gap.to_ms or 0) for gap in gaps])
    assert all(a[1] == b[0] for a, b in itertools.pairwise(spans)), "every second once"
    assert [gap.cause for gap in gaps] == ([] if saved else ["disk_full"])
    assert [row.id for row in rows if row.salvaged] == ([failed[0].stem] if saved else [])


def test_a_recording_moves_at_a_key_frame_and_loses_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, volumes=2)
    try:
        bench.feed(3)
        first = bench.recording.volume
        first.failed(TiergateError(Kind.UNAVAILABLE, "media.part_failed", problem="EIO"))
        bench.feed(3)
        assert bench.recording.volume is not first
        first.proven()
        bench.feed(3)
        assert bench.recording.volume is first
        bench.recording.end("done")
        rows = bench.segments
        assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(rows))
        assert bench.gaps == []
        assert len({row.volume for row in rows}) == 2
        for run in {row.run_id for row in rows}:
            assert len({row.volume for row in rows if row.run_id == run}) == 1, "a run never leaves its volume"
    finally:
        bench.close()


@pytest.mark.parametrize(
    ("free_percent", "retention_class", "cause"),
    [(4.0, "default", "shed"), (4.0, "key", None), (1.0, "key", "disk_full"), (1.0, "default", "disk_full")],
)
def test_low_space_stops_new_footage_of_ordinary_cameras_first(
    tmp_path: Path, free_percent: float, retention_class: str, cause: str | None
) -> None:
    bench = Bench(tmp_path, retention_class)
    try:
        bench.feed(3)
        bench.free_percent = free_percent
        bench.tick()
        bench.feed(3)
        assert [gap.cause for gap in bench.gaps] == ([cause] if cause else [])
        bench.free_percent = 50.0
        bench.tick()
        bench.feed(3)
        assert all(gap.to_ms is not None for gap in bench.gaps)
    finally:
        bench.close()


def test_a_pause_of_the_camera_within_one_session_is_a_gap_too(bench: Bench) -> None:
    bench.feed(3)
    bench.clock.advance(7)
    bench._ticks += 7 * 90_000
    bench.feed(3)
    bench.recording.end("done")
    (gap,) = bench.gaps
    assert gap.cause == "camera_offline"
    assert gap.to_ms is not None
    assert 6900 <= gap.to_ms - gap.from_ms <= 7100


def test_a_late_joiner_gets_what_exists_since_the_last_key_frame(bench: Bench) -> None:
    bench.feed(3)
    recent = bench.recording.recent()
    assert recent is not None
    assert sum(entry.samples for entry in recent.entries) + len(recent.pending) == 25
    assert (recent.entries[0].key if recent.entries else recent.pending[0].key) is True
