"""The recorder's process on disks that fill, stall, turn read-only, go and come back swapped: real mounts, no doubles.

What is asked each time: the cameras of the other disk have no gap, those of this one have a named one, what the catalog
acknowledged reads back by its hash, and recording is back within 10 s of the disk. `scripts/torture recording` takes
all of them, the suite the quicker ones.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import pytest

from config.clock import SystemClock
from gateway.live.client import watch
from gateway.live.wire import Unit
from storage.catalog import volume_state
from storage.catalog.gaps import GapRow
from storage.catalog.segments import SegmentRow, all_segments
from storage.spool import Spool, free_space
from storage.volume import known_id
from tests.gateway.ingest.station import Station
from tests.parts.mounts import Mounts, usable
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until
from tests.torture.eyes import born_ms as ulid_ms

pytestmark = pytest.mark.skipif(not usable(), reason="mounting needs root and namespaces on this machine")

BACK_WITHIN_MS = 10_000


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    with Mounts(tmp_path) as made:
        yield made


class Rig:
    """A recorder whose spool volumes are mounts."""

    def __init__(self, folder: Path, mounts: Mounts, volumes: list[Path], **spool: Any) -> None:
        self.mounts, self.volumes = mounts, volumes
        paths = {"spool": str(volumes[0]), "extra_spools": [str(volume) for volume in volumes[1:]]}
        length_s = spool.pop("segment_seconds", 2)
        more = {"paths": paths, "spool": spool}
        self.station = Station(folder / "node", inside=mounts.enter, more=more, segment_seconds=length_s)
        self._spools = [Spool(mounts.path(v), SystemClock(), self.station.keys.node_id) for v in volumes]
        self.cameras: list[str] = []

    def start(self) -> None:
        self.station.process.start()

    def record(self, urls: list[str]) -> None:
        """All of them recorded, on every volume at least one."""
        self.cameras += [self.station.add_camera(url) for url in urls]
        if not self.station.process.running:
            self.start()
        until(lambda: all(self.rows(c) for c in self.cameras), 60, "a segment of every camera")

    def rows(self, camera: str) -> list[SegmentRow]:
        return self.station.segments(camera)

    def gaps(self, camera: str) -> list[GapRow]:
        return self.station.gaps(camera)

    def home(self, camera: str) -> int:
        """The number of the volume that the camera's newest segment lies on."""
        newest = self.rows(camera)[-1]
        return next(
            number
            for number, spool in enumerate(self._spools)
            if newest.volume in spool.present() or newest.volume == self.identity(number)
        )

    def identity(self, number: int) -> str | None:
        return self.station.catalog.read(lambda c: known_id(c, str(self.volumes[number])))

    def at(self, number: int) -> list[str]:
        return [camera for camera in self.cameras if self.home(camera) == number]

    def files(self, number: int) -> list[str]:
        root = self.mounts.path(self.volumes[number])
        return sorted(str(path.relative_to(root)) for path in root.rglob("*"))

    def ages_ms(self, number: int) -> list[int]:
        """Of the open parts."""
        parts = self.mounts.path(self.volumes[number]).glob("*/*.part")
        return [now_ms() - ulid_ms(path.stem) for path in parts]

    def trouble(self) -> dict[str, dict[str, Any] | None]:
        return self.station.catalog.read(volume_state.read)

    def grows(self, camera: str, beyond: int | None = None) -> bool:
        kept = beyond if beyond is not None else 0
        return len(self.rows(camera)) > kept

    def whole(self) -> int:
        """Every acknowledged segment by its hash; the catalog is intact."""
        rows = self.station.catalog.read(lambda c: all_segments(c, ["spooled"]))
        for row in rows:
            found = [d for s in self._spools if (d := s.read(row.camera_id, row.id, 0, row.bytes + 1)) is not None]
            assert len(found) == 1, f"{row.id} lies on {len(found)} volumes"
            assert hashlib.sha256(found[0]).digest() == row.sha256
        with closing(sqlite3.connect(self.station.settings.paths.catalog_dir / "catalog.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return len(rows)

    def accounted(self, camera: str) -> None:
        """Every second is footage or a gap, and none of it is both."""
        spans = [(row.start_ms, row.end_ms, "footage") for row in self.rows(camera)]
        spans += [(gap.from_ms, gap.to_ms, gap.cause) for gap in self.gaps(camera) if gap.to_ms is not None]
        spans.sort()
        for (_, end, one), (start, _, two) in itertools.pairwise(spans):
            assert abs(start - end) <= 250, f"{start - end} ms between {one} and {two}"


Server = Callable[..., RtspServer]


def urls(factory: Server, count: int) -> list[str]:
    server = factory({f"cam{number}": ("tiny", "tiny2")[number % 2] for number in range(count)})
    return [server.url(f"cam{number}") for number in range(count)]


@pytest.fixture
def rig(tmp_path: Path, mounts: Mounts) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(*volumes: Path, **spool: Any) -> Rig:
        made.append(Rig(tmp_path, mounts, list(volumes), **spool))
        return made[-1]

    yield make
    for one in made:
        for mount in list(mounts._frozen):
            mounts.thaw(mount)
        one.station.close()


def _length_ms(gaps: list[GapRow]) -> int:
    return sum((gap.to_ms or now_ms()) - gap.from_ms for gap in gaps)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.mark.fault("B4")
@pytest.mark.real
def test_a_full_disk_hands_its_cameras_on_and_takes_them_back(
    tmp_path: Path, mounts: Mounts, rig: Callable[..., Rig], rtsp_factory: Server, counted: Callable[[object], None]
) -> None:
    disks = [mounts.tmpfs(tmp_path / name, "size=24m") for name in ("a", "b")]
    here = rig(*disks)
    here.record(urls(rtsp_factory, 4))
    full = here.home(here.cameras[0])
    moved, others = here.at(full), here.at(1 - full)
    ballast = mounts.fill(disks[full])
    full_ms = now_ms()
    until(lambda: here.at(full) == [], 30, "every camera of the full disk is recorded on the other")
    counted(f"moved {len(moved)}, went on {len(others)}; gaps {[_length_ms(here.gaps(c)) for c in moved]} ms")
    for camera in moved:
        (gap,) = here.gaps(camera)
        assert gap.cause == "disk_full"
        assert gap.to_ms is not None
        assert gap.to_ms - max(gap.from_ms, full_ms) <= BACK_WITHIN_MS
    assert here.trouble()["spool" if full == 0 else "spool-2"] is not None
    ballast.unlink()
    until(lambda: set(here.at(full)) >= set(moved), 60, "they come back by themselves")
    here.station.process.stop()
    for camera in moved:
        assert [gap.cause for gap in here.gaps(camera)].count("disk_full") == 1, "coming back costs nothing"
        here.accounted(camera)
    for camera in others:
        assert {gap.cause for gap in here.gaps(camera)} <= {"recorder_down"}, "the other disk's cameras went on"
    assert here.whole() > 8


@pytest.mark.fault("B4")
@pytest.mark.torture
def test_a_full_disk_and_no_other_is_a_gap_that_ends_soon_after_there_is_space(
    tmp_path: Path, mounts: Mounts, rig: Callable[..., Rig], rtsp_factory: Server, counted: Callable[[object], None]
) -> None:
    here = rig(mounts.tmpfs(tmp_path / "a", "size=16m"))
    here.record(urls(rtsp_factory, 2))
    ballast = mounts.fill(here.volumes[0])
    until(lambda: all(here.gaps(c) for c in here.cameras), 30, "a gap of each")
    kept_open_until = time.monotonic() + 6  # so long that retries have slowed down
    until(lambda: time.monotonic() > kept_open_until, 20, "full for a while")
    assert {gap.cause for c in here.cameras for gap in here.gaps(c)} == {"disk_full"}
    ballast.unlink()
    space_ms = now_ms()
    until(lambda: all(here.gaps(c)[-1].to_ms is not None for c in here.cameras), 40, "footage again")
    late = [(here.gaps(c)[-1].to_ms or 0) - space_ms for c in here.cameras]
    counted(f"footage again {late} ms after there is space")
    assert max(late) <= BACK_WITHIN_MS
    here.station.process.stop()
    for camera in here.cameras:
        here.accounted(camera)
    assert here.whole() > 0


@pytest.mark.fault("B5")
@pytest.mark.real
def test_inodes_run_out_before_bytes_and_the_valve_closes_before_they_do(
    tmp_path: Path, mounts: Mounts, rig: Callable[..., Rig], rtsp_factory: Server
) -> None:
    disk = mounts.tmpfs(tmp_path / "a", "size=256m,nr_inodes=200")
    here = rig(disk, min_free_percent=20.0, critical_free_percent=10.0)
    here.record(urls(rtsp_factory, 2))
    outside = mounts.path(disk)
    used = 0
    while free_space(outside).percent >= 9:
        (outside / f"small-{used}").touch()
        used += 1
    until(lambda: all(here.gaps(c) for c in here.cameras), 20, "a gap of each")
    assert {gap.cause for c in here.cameras for gap in here.gaps(c)} <= {"disk_full", "shed"}
    assert free_space(outside).inodes_free > 0, "closed in time"
    for number in range(used):
        (outside / f"small-{number}").unlink()
    space_ms = now_ms()
    until(lambda: all(here.gaps(c)[-1].to_ms is not None for c in here.cameras), 40, "footage again")
    assert max((here.gaps(c)[-1].to_ms or 0) - space_ms for c in here.cameras) <= BACK_WITHIN_MS
    here.station.process.stop()
    assert here.whole() > 0


@pytest.mark.fault("B5")
@pytest.mark.real
def test_blocks_reserved_for_root_are_not_free(
    tmp_path: Path, mounts: Mounts, rig: Callable[..., Rig], rtsp_factory: Server
) -> None:
    disk = mounts.ext4(tmp_path / "a", 64, reserved_percent=40)
    here = rig(disk, min_free_percent=10.0, critical_free_percent=5.0)
    here.record(urls(rtsp_factory, 1))
    outside, block = mounts.path(disk), bytes(1 << 20)
    with (outside / "ballast").open("ab", buffering=0) as file:
        while free_space(outside).percent >= 8:
            file.write(block)
    found = mounts.run("stat", "-f", "-c", "%f %b", disk).split()
    assert int(found[0]) / int(found[1]) > 0.3, "a careless count sees room"
    (camera,) = here.cameras
    until(lambda: here.gaps(camera), 20, "ordinary footage is not admitted")
    (gap,) = here.gaps(camera)
    assert gap.cause == "shed"
    assert gap.reason is not None and gap.reason["code"] == "recorder.shed"
    here.station.process.stop()


@pytest.mark.fault("A34", "B4")
@pytest.mark.torture
def test_shedding_spares_what_is_precious(
    tmp_path: Path, mounts: Mounts, rig: Callable[..., Rig], rtsp_factory: Server
) -> None:
    """Low space: an ordinary camera is shed, by a gap with a reason; one under a hold is recorded on."""
    disk = mounts.tmpfs(tmp_path / "a", "size=64m")
    here = rig(disk, min_free_percent=40.0, critical_free_percent=2.0)
    here.record(urls(rtsp_factory, 2))
    ordinary, held = here.cameras
    _hold(here.station, held)
    with mounts.path(disk / "ballast").open("wb") as file:
        file.write(bytes(40 << 20))
    until(lambda: [gap.cause for gap in here.gaps(ordinary)] == ["shed"], 20, "the ordinary one is shed")
    kept = len(here.rows(held))
    until(lambda: here.grows(held, kept + 2), 30, "the held one is recorded on")
    assert here.gaps(held) == []
    assert len(here.gaps(ordinary)) == 1
    said = here.trouble()["spool"]
    assert said is not None and said["code"] == "recorder.shed"
    here.station.process.stop()
    assert here.whole() > 0


def _hold(station: Station, camera: str) -> None:
    from storage.catalog.retention_rows import HoldRow, add_hold

    at = station.now_ms
    row = HoldRow(
        id="01M3250V002TJFQ7RYQ07T4ET1", cameras=(camera,), from_ms=at - 60_000, to_ms=at + 3_600_000, owner="市局",
        reason="案件", case_no="A1", approver=None, class_name="1_year", review_ms=at + 86_400_000, created_ms=at,
        released_ms=None, released_by=None,
    )  # fmt: skip
    station.catalog.write(lambda c: add_hold(c, row))


@pytest.mark.torture
def test_a_disk_that_turns_read_only_hands_its_cameras_on_and_what_it_has_is_kept(
    tmp_path: Path, mounts: Mounts, rig: Callable[..., Rig], rtsp_factory: Server
) -> None:
    disks = [mounts.ext4(tmp_path / name, 64) for name in ("a", "b")]
    here = rig(*disks, segment_seconds=8)
    here.record(urls(rtsp_factory, 4))
    bad = here.home(here.cameras[0])
    moved, others = here.at(bad), here.at(1 - bad)
    until(lambda: 3000 < min(here.ages_ms(bad)) < max(here.ages_ms(bad)) < 6000, 30, "synced parts that stay open")
    mounts.turn_read_only(disks[bad])
    ro_ms = now_ms()
    until(lambda: here.at(bad) == [], 30, "recorded on the other disk")
    for camera in moved:
        (gap,) = here.gaps(camera)
        assert gap.cause == "unknown"
        assert gap.to_ms is not None and gap.to_ms - ro_ms <= BACK_WITHIN_MS
    before = {camera: here.gaps(camera)[0].from_ms for camera in moved}
    mounts.repair(disks[bad])
    until(lambda: set(here.at(bad)) >= set(moved), 60, "they come back")
    until(lambda: all(any(r.salvaged for r in here.rows(c)) for c in moved), 60, "what was open there is footage")
    here.station.process.stop()
    for camera in moved:
        assert here.gaps(camera)[0].from_ms > before[camera], "the gap begins where the footage that was saved ends"
        here.accounted(camera)
    for camera in others:
        assert {gap.cause for gap in here.gaps(camera)} <= {"recorder_down"}
    assert here.whole() > 8


@pytest.mark.fault("B6")
@pytest.mark.torture
def test_two_volumes_swapped_are_neither_written_nor_emptied_and_go_on_when_they_are_right(
    tmp_path: Path, mounts: Mounts, rig: Callable[..., Rig], rtsp_factory: Server
) -> None:
    real = [mounts.tmpfs(tmp_path / f"disk-{name}", "size=64m") for name in "ab"]
    places = [tmp_path / "a", tmp_path / "b"]
    for disk, place in zip(real, places, strict=True):
        mounts.bind(disk, place)
    here = rig(*places)
    here.record(urls(rtsp_factory, 3))
    here.station.process.stop()
    for place in places:
        mounts.unmount(place)
    for disk, place in zip(reversed(real), places, strict=True):
        mounts.bind(disk, place)
    before = [here.files(number) for number in (0, 1)]
    counts = {camera: len(here.rows(camera)) for camera in here.cameras}
    here.start()
    until(lambda: all("unknown" in {g.cause for g in here.gaps(c)} for c in here.cameras), 30, "a named gap of each")
    for camera in here.cameras:
        reason = here.gaps(camera)[-1].reason
        assert reason is not None and reason["code"] == "media.volume_swapped"
    assert [here.files(number) for number in (0, 1)] == before, "nothing written, nothing deleted"
    assert {camera: len(here.rows(camera)) for camera in here.cameras} == counts, "and nothing counted as lost"
    for place in places:
        mounts.unmount(place)
    for disk, place in zip(real, places, strict=True):
        mounts.bind(disk, place)
    right_ms = now_ms()
    until(lambda: all(here.grows(c, counts[c]) for c in here.cameras), 30, "footage again without a restart")
    assert max((here.gaps(c)[-1].to_ms or now_ms()) - right_ms for c in here.cameras) <= BACK_WITHIN_MS
    here.station.process.stop()
    assert here.whole() > sum(counts.values())


@pytest.mark.fault("B6")
@pytest.mark.torture
def test_an_unmounted_volume_gets_no_footage_underneath_and_its_cameras_go_elsewhere(
    tmp_path: Path, mounts: Mounts, rig: Callable[..., Rig], rtsp_factory: Server
) -> None:
    disk, other = mounts.tmpfs(tmp_path / "disk", "size=64m"), mounts.tmpfs(tmp_path / "b", "size=64m")
    place = tmp_path / "a"
    mounts.bind(disk, place)
    here = rig(place, other)
    here.record(urls(rtsp_factory, 4))
    assert here.at(0)
    here.station.process.stop()
    mounts.unmount(place)
    here.start()
    counts = {camera: len(here.rows(camera)) for camera in here.cameras}
    until(lambda: all(here.grows(c, counts[c]) for c in here.cameras), 40, "all recorded")
    assert {here.home(camera) for camera in here.cameras} == {1}
    assert list(mounts.path(place).iterdir()) == [], "the folder underneath is not a volume"
    mounts.bind(disk, place)
    until(lambda: bool(here.at(0)), 40, "the volume is used again when it is back")
    here.station.process.stop()
    assert here.whole() > 0


async def _pictures(station: Station, camera: str, seconds: float) -> int:
    """How many units a watcher gets meanwhile."""
    seen = 0
    path = station.settings.paths.run_dir / "live" / "0.sock"
    try:
        async with asyncio.timeout(seconds), aclosing(watch(path, camera, "main")) as stream:
            async for message in stream:
                seen += isinstance(message, Unit)
    except TimeoutError:
        pass
    return seen


def _rss_bytes(station: Station) -> int:
    assert station.process.popen is not None
    for line in Path(f"/proc/{station.process.popen.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


@pytest.mark.fault("B34")
@pytest.mark.real
def test_a_disk_that_stalls_hands_its_cameras_on_and_the_others_go_on(
    tmp_path: Path, mounts: Mounts, rig: Callable[..., Rig], rtsp_factory: Server
) -> None:
    disks = [mounts.ext4(tmp_path / "a", 128), mounts.tmpfs(tmp_path / "b", "size=128m")]
    here = rig(*disks)
    here.record(urls(rtsp_factory, 4))
    assert here.at(0) and here.at(1)
    stalled, others = here.at(0), here.at(1)
    mounts.freeze(disks[0])
    seen = asyncio.run(_pictures(here.station, stalled[0], 3))
    assert seen > 40, "live goes on"
    until(lambda: all(here.home(c) == 1 for c in stalled), 40, "recorded on the other disk")
    mounts.thaw(disks[0])
    until(lambda: set(here.at(0)) >= set(stalled), 60, "and back")
    here.station.process.stop()
    for camera in stalled:
        assert {gap.cause for gap in here.gaps(camera)} <= {"recorder_down"}, "what waited was written"
        here.accounted(camera)
    for camera in others:
        assert {gap.cause for gap in here.gaps(camera)} <= {"recorder_down"}
    assert here.whole() > 8


@pytest.mark.fault("B34")
@pytest.mark.torture
def test_the_only_disk_stalls_half_a_minute(
    tmp_path: Path, mounts: Mounts, rig: Callable[..., Rig], rtsp_factory: Server, counted: Callable[[object], None]
) -> None:
    """8 MiB of a 4 Mbit/s camera wait; more is given up by name. Memory stays where it was, live goes on."""
    here = rig(mounts.ext4(tmp_path / "a", 256))
    server = rtsp_factory({"big": "main", "small": "tiny"})
    here.record([server.url("big"), server.url("small")])
    before_bytes = _rss_bytes(here.station)
    mounts.freeze(here.volumes[0])
    frozen_ms, end_s = now_ms(), time.monotonic() + 30
    most_bytes, seen = 0, 0
    while time.monotonic() < end_s:  # the length of the stall is the test's subject
        seen += asyncio.run(_pictures(here.station, here.cameras[0], 3))
        most_bytes = max(most_bytes, _rss_bytes(here.station))
    mounts.thaw(here.volumes[0])
    thawed_ms = now_ms()
    big, small = here.cameras
    until(lambda: here.gaps(big) and here.gaps(big)[-1].to_ms is not None, 40, "footage again")
    gap = here.gaps(big)[-1]
    assert gap.cause == "disk_slow"
    assert (gap.to_ms or 0) - thawed_ms <= BACK_WITHIN_MS
    assert gap.from_ms - frozen_ms >= 10_000, "what fits into memory is kept"
    assert seen > 400
    assert most_bytes - before_bytes < (64 << 20)
    here.station.process.stop()
    assert {g.cause for g in here.gaps(small)} <= {"recorder_down"}
    for camera in here.cameras:
        here.accounted(camera)
    gap_ms, grown_mib = _length_ms([gap]), (most_bytes - before_bytes) >> 20
    counted(f"gap {gap_ms} ms, RSS +{grown_mib} MiB, pictures live {seen}")
    assert here.whole() > 0
