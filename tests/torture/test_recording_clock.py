"""A real recorder whose host's clock jumps while it records: nothing overwritten, nothing twice, every second named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.audit import log as audit
from storage.catalog.segments import SegmentRow
from storage.restamp import ACTION
from tests.gateway.ingest.station import Station
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until
from tests.torture.eyes import Disk, Verdict, Witness, judge

HOUR_S, DAY_S = 3_600, 86_400


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path / "node", test_clock=True)
    yield made
    made.close()


class Watch:
    """Steps the clock, waits for footage under the new time, and judges at the end with an outsider's eyes."""

    def __init__(self, station: Station, url: str, manifest: Path) -> None:
        self.station = station
        self.disk = Disk(station.settings.paths.data)
        self.witness = Witness(self.disk, manifest)
        self.camera = station.add_camera(url)
        self.steps = 0

    def rows(self) -> list[SegmentRow]:
        return self.station.segments(self.camera)

    def more(self, count: int = 2) -> None:
        before = {row.id for row in self.rows()}
        until(lambda: len([row for row in self.rows() if row.id not in before]) >= count, 30, "more segments")

    def step(self, seconds: float, *, synchronised: bool = True) -> None:
        """Footage goes on afterwards, in a run of its own when the time is another."""
        self.steps += 1
        self.station.step(seconds, synchronised=synchronised)
        self.more()

    def verdict(self) -> Verdict:
        self.station.process.stop()
        found = judge(self.disk, self.witness.told(), [])
        assert found.acknowledged > 0
        assert found.pictures > 50
        assert self.steps > 0
        assert found.faults == {}, f"{found}\n{found.faults}"
        return found


@pytest.fixture
def watch(station: Station, rtsp_server: RtspServer, tmp_path: Path) -> Iterator[Watch]:
    made = Watch(station, rtsp_server.url("tiny"), tmp_path / "manifest")
    with made.witness:
        yield made


@pytest.mark.real
@pytest.mark.fault("A25", "A26")
def test_an_hour_on_hours_back_a_day_on(watch: Watch) -> None:
    station = watch.station
    station.process.start()
    watch.more()
    files: Counter[str] = Counter()
    watch.step(HOUR_S)
    for _ in range(3):
        watch.step(-HOUR_S)
    held = [row for row in watch.rows() if row.time_trust == "held"]
    assert held, "footage after a step back says that its time is held"
    until(lambda: station.now_ms < watch.rows()[-1].start_ms, 5, "recorded time has not gone back")
    watch.step(DAY_S)
    until(lambda: any(row.time_trust == "restamped" for row in watch.rows()), 15, "the doubtful stretch is put right")
    watch.more()
    verdict = watch.verdict()
    files.update(path.stem for path in (station.settings.paths.spool_dir / watch.camera).glob("*.mp4"))
    rows = watch.rows()
    assert files == Counter(row.id for row in rows)
    assert rows[0].time_trust == rows[-1].time_trust == "synchronised"
    jumps = [gap for gap in station.gaps(watch.camera) if gap.cause == "clock" and gap.to_ms != gap.from_ms]
    lengths = [round((gap.to_ms or 0) - gap.from_ms, -3) // 1000 for gap in jumps]
    assert [round(length / HOUR_S) for length in lengths] == [1, 21], lengths
    assert set(verdict.causes) <= {"clock", "recorder_down", "open"}


@pytest.mark.real
@pytest.mark.fault("A25")
def test_1970_until_the_time_is_known(watch: Watch) -> None:
    station = watch.station
    years_s = station.now_ms / 1000 - 120
    station.step(-years_s, synchronised=False)
    station.process.start()
    watch.more()
    assert {row.time_trust for row in watch.rows()} == {"unknown"}
    assert watch.rows()[-1].end_ms < 3_600_000
    watch.step(years_s, synchronised=False)  # a hand, or a daemon before it vouches for the time
    station.step(0, synchronised=True)
    until(lambda: all(row.start_ms > 3_600_000 for row in watch.rows()), 20, "footage of 1970 lies in its true time")
    watch.more()
    watch.verdict()
    moved = [row for row in watch.rows() if row.time_trust == "restamped"]
    raw_ms = [row.start_wall_ns // 1_000_000 for row in moved]
    assert sum(raw < 3_600_000 for raw in raw_ms) >= 2, "what was believed first stays readable"
    told = station.catalog.read(lambda c: audit.entries(c, action=ACTION))
    assert [entry.subject for entry in told] == [watch.camera]
    runs = told[0].details["runs"]
    assert {row.run_id for row in moved} <= set(runs)
    for row, raw in zip(moved, raw_ms, strict=True):
        assert row.start_ms - raw == runs[row.run_id]
    missing = [gap for gap in station.gaps(watch.camera) if gap.to_ms is not None and gap.to_ms - gap.from_ms > 1000]
    assert missing == [], "nothing was missing: the clock was wrong, the camera was there"


@pytest.mark.real
@pytest.mark.fault("A25")
def test_a_boot_with_a_dead_battery_after_years_of_footage(watch: Watch) -> None:
    station = watch.station
    station.process.start()
    watch.more()
    station.process.stop()
    last_ms = watch.rows()[-1].end_ms
    station.step(-station.now_ms / 1000 + 60, synchronised=False)
    station.process.start()
    watch.more()
    fresh = [row for row in watch.rows() if row.start_ms >= last_ms - 40]
    assert fresh
    assert {row.time_trust for row in fresh} == {"held"}
    station.step(last_ms / 1000 - station.now_ms / 1000 + HOUR_S, synchronised=True)  # it was dark for an hour
    watch.steps += 1
    until(lambda: [r for r in watch.rows() if r.time_trust == "restamped"], 20, "what was held is put right")
    watch.more()
    watch.verdict()
    between = [gap for gap in station.gaps(watch.camera) if (gap.to_ms or 0) - gap.from_ms > 60_000]
    assert sum((gap.to_ms or 0) - gap.from_ms for gap in between) > 3_500_000
    assert {gap.cause for gap in between} <= {"recorder_down", "clock"}


@pytest.mark.real
def test_the_same_eyes_catch_a_recorder_that_follows_its_clock(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The known-bad twin dates footage by the wall clock, whatever it says."""
    twin = tmp_path / "twin"
    twin.mkdir()
    (twin / "sitecustomize.py").write_text(
        "import storage.segmenter as s\n"
        "s.SEAM_NS = 0\n"  # the belt below: a run that would begin in earlier footage is moved behind it
        "from gateway.ingest import timekeeping as t\n"
        "def look(self, wall_ns, steady_ns, synchronised):\n"
        "    if abs(wall_ns - steady_ns - self.era.offset_ns) > t.STEP_NS:\n"
        "        self._enter(t.Era(wall_ns, wall_ns - steady_ns))\n"
        "        return t.Change(self.era)\n"
        "t.Timekeeper.look = look\n"
    )
    station = watch.station
    with_twin = station.with_path(twin)
    with_twin.start()
    try:
        watch.more(4)
        station.step(-6, synchronised=True)
        watch.more(4)
    finally:
        with_twin.stop()
    found = judge(watch.disk, watch.witness.told(), [])
    assert "footage twice" in found.faults


@pytest.mark.fault("A26")
@pytest.mark.parametrize("times", [pytest.param(20, marks=pytest.mark.torture, id="many")])
def test_an_hour_back_again_and_again(watch: Watch, times: int, counted: Callable[[object], None]) -> None:
    watch.station.process.start()
    watch.more()
    for _ in range(times):
        watch.step(-HOUR_S)
    counted(f"{times} steps back: {watch.verdict()}")
