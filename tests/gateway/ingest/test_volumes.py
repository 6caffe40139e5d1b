"""Which volume a camera is written to, and what is said of volumes that are not well."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from config.clock import SystemClock
from config.errors import Kind, TiergateError
from config.settings import Spool as SpoolSettings
from gateway.compose import recorder as compose
from gateway.ingest import volumes as volumes_module
from gateway.ingest.admission import Admission
from gateway.ingest.ledger import Ledger
from gateway.ingest.source import GapCause
from gateway.ingest.volumes import Trouble, Volume, Volumes
from gateway.ingest.writer import WriterPool
from storage.audit import log as audit
from storage.catalog import volume_state
from storage.catalog.engine import Catalog
from storage.catalog.segments import existing
from storage.salvage import RecoveryReport, recover
from storage.spool import Spool, SyncGroup
from tests.parts.wait import until
from tests.storage.footage import make_catalog, make_spool, record

CAMERAS = [f"210211000013{n:08d}" for n in range(200)]


class Rack:
    def __init__(self, folder: Path, count: int = 3) -> None:
        self.folder = folder
        self.catalog: Catalog = make_catalog(folder)
        self.free = dict.fromkeys(range(count), 50.0)
        self.volumes = Volumes([self._volume(number) for number in range(count)])
        for volume in self.volumes.all:
            volume.look()

    def _volume(self, number: int) -> Volume:
        spool = Spool(self.folder / str(number), SystemClock(), "node", f"spool-{number}")
        limits = SpoolSettings(min_free_percent=5, critical_free_percent=2)
        admission = Admission(limits, lambda: self.free[number])
        return Volume(spool, SyncGroup(800), WriterPool(1), admission, lambda s: _claim(s, self.catalog))

    def look(self) -> None:
        for volume in self.volumes.all:
            volume.look()

    def at(self, camera: str, precious: bool = False) -> Volume | Trouble:
        return Volumes.place(self.volumes.ranked(camera), precious)

    def spread(self) -> Counter[str]:
        placed = [self.at(camera) for camera in CAMERAS]
        return Counter(volume.name for volume in placed if isinstance(volume, Volume))

    def close(self) -> None:
        for volume in self.volumes.all:
            volume.writers.close(1)
        self.catalog.close()


def _claim(spool: Spool, catalog: Catalog) -> None:
    spool.claim(catalog)


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[Rack]:
    made = Rack(tmp_path)
    yield made
    made.close()


def failed(problem: str) -> TiergateError:
    return TiergateError(Kind.UNAVAILABLE, "media.part_failed", problem=problem)


def test_cameras_are_spread_evenly_and_only_those_of_a_bad_disk_move_to_all_others(rack: Rack) -> None:
    before = {camera: rack.at(camera) for camera in CAMERAS}
    assert max(rack.spread().values()) - min(rack.spread().values()) <= 1
    bad = rack.volumes.all[1]
    bad.failed(failed("EIO"))
    after = {camera: rack.at(camera) for camera in CAMERAS}
    assert {camera for camera in CAMERAS if after[camera] is not before[camera]} == {
        camera for camera in CAMERAS if before[camera] is bad
    }
    assert set(rack.spread()) == {"spool-0", "spool-2"}
    assert min(rack.spread().values()) >= 80, "no single disk takes them all"


def test_a_disk_that_failed_is_believed_after_it_has_taken_bytes_again(
    rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes_module, "PROBE_S", 0.0)
    bad = rack.volumes.all[0]
    bad.failed(failed("EIO"))
    probes: list[str] = []
    real = bad.spool.probe

    def probe() -> None:
        probes.append("asked")
        if len(probes) == 2:
            raise failed("EIO")  # one good answer is not enough
        real()

    monkeypatch.setattr(bad.spool, "probe", probe)
    asked = 0
    while bad.failing:
        bad.look()
        asked += 1
        assert asked < 10
    assert asked == 5
    assert not (bad.spool.root / ".tiergate-probe").exists()


def test_the_only_disk_is_tried_although_it_failed(tmp_path: Path) -> None:
    rack = Rack(tmp_path, 1)
    rack.volumes.all[0].failed(failed("EIO"))
    assert rack.at(CAMERAS[0]) is rack.volumes.all[0], "an attempt is how to know"
    rack.close()


def test_low_disks_take_what_is_precious_and_the_reason_is_the_mildest(rack: Rack) -> None:
    for number in rack.free:
        rack.free[number] = 4.0
    rack.look()
    refused = rack.at(CAMERAS[0])
    assert isinstance(refused, Trouble)
    assert refused.cause is GapCause.SHED
    assert isinstance(rack.at(CAMERAS[0], precious=True), Volume)
    rack.free[0] = 1.0
    rack.free[1] = 60.0
    rack.look()
    assert set(rack.spread()) == {"spool-1"}, "a disk with room takes everybody"
    for number in rack.free:
        rack.free[number] = 1.0
    rack.look()
    full = rack.at(CAMERAS[0], precious=True)
    assert isinstance(full, Trouble)
    assert full.cause is GapCause.DISK_FULL


@pytest.mark.fault("B34")
def test_a_writer_that_does_not_come_back_makes_its_volume_the_last(
    rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes_module, "STUCK_S", 0.05)
    stuck, flow = rack.volumes.all[0], threading.Event()

    def job() -> None:
        flow.wait(20)

    stuck.lane().put(job)
    until(lambda: stuck.slow, 10, "the volume is slow")
    assert set(rack.spread()) == {"spool-1", "spool-2"}
    flow.set()
    until(lambda: not stuck.slow, 10, "it is well again")
    assert set(rack.spread()) == {"spool-0", "spool-1", "spool-2"}


@pytest.mark.fault("B6")
def test_what_is_wrong_is_told_once_in_the_audit_log_and_as_a_fact(rack: Rack) -> None:
    ledger = Ledger(rack.catalog, 0.01)
    rack.volumes.tell(ledger, 0, 1000)
    (rack.folder / "1").rename(rack.folder / "gone")
    (rack.folder / "1").mkdir()
    rack.look()
    for _ in range(3):
        rack.volumes.tell(ledger, 0, 2000)
    assert ledger.flush(5)
    told = rack.catalog.read(volume_state.read)
    assert told["spool-0"] is None
    assert told["spool-1"] is not None and told["spool-1"]["code"] == "media.volume_missing"
    (rack.folder / "1").rmdir()
    (rack.folder / "gone").rename(rack.folder / "1")
    rack.look()
    rack.volumes.tell(ledger, 0, 3000)
    assert ledger.flush(5)
    entries = rack.catalog.read(lambda c: audit.tail(c, action="volume."))
    assert [(entry.action, entry.subject) for entry in reversed(entries)] == [
        ("volume.trouble", "spool-1"), ("volume.well", "spool-1"),
    ]  # fmt: skip
    assert set(rack.catalog.read(volume_state.read).values()) == {None}
    ledger.close()


def test_a_camera_whose_files_cannot_be_salvaged_takes_the_volume_from_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog, spool = make_catalog(tmp_path), make_spool(tmp_path)
    made = record(spool, 2.0, camera=CAMERAS[1])
    monkeypatch.setattr(compose, "shard_cameras", lambda connection, shard: CAMERAS[:2])

    def sick(catalog: Catalog, spool: Spool, cameras: list[str], *, end_runs: bool) -> RecoveryReport:
        if cameras == [CAMERAS[0]]:
            raise OverflowError("a length that no file has")
        return recover(catalog, spool, cameras, end_runs=end_runs)

    monkeypatch.setattr(compose, "recover", sick)
    admission = Admission(SpoolSettings(), lambda: 50.0)
    opens = partial(compose.open_volume, catalog, 0)
    volume = Volume(spool, SyncGroup(800), WriterPool(1), admission, opens)
    volume.look()
    assert Volumes.place((volume,), precious=False) is volume
    assert catalog.read(partial(existing, ids=[one.segment.id for one in made])).keys() == {m.segment.id for m in made}
    volume.writers.close(1)
    catalog.close()
