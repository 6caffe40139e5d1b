"""The recorder as a process, against real cameras: footage, gaps with causes, crashes, the live socket."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from datetime import datetime
from pathlib import Path

import pytest

from config.units import SHANGHAI
from gateway.live.client import watch
from gateway.live.wire import Config, Event, Unit
from gateway.ops.rotation import rotate_sealing
from storage.media.access_unit import Track
from storage.spool import PART
from tests.gateway.ingest.station import Station
from tests.media import decode_mp4
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until
from tests.storage.footage import new_id

pytestmark = pytest.mark.real

_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path / "node")
    yield made
    made.close()


def _whole(station: Station, camera: str) -> int:
    """Every acknowledged segment reads back and decodes; how many pictures there are."""
    pictures = 0
    for row in station.segments(camera):
        data = station.bytes_of(row)
        assert len(data) == row.bytes
        assert hashlib.sha256(data).digest() == row.sha256
        decoded = decode_mp4(data)
        assert decoded.pictures > 0
        pictures += decoded.pictures
    return pictures


def test_a_camera_is_recorded_added_and_removed_while_it_runs(station: Station, rtsp_server: RtspServer) -> None:
    first = station.add_camera(rtsp_server.url("tiny"))
    station.process.start()
    until(lambda: len(station.segments(first)) >= 2, 20, "two segments of the first camera")
    assert _whole(station, first) >= 50
    status = station.status(first)
    assert status is not None
    assert (status.state, status.width, status.height) == ("online", 320, 180)

    second = station.add_camera(rtsp_server.url("tiny_hevc"))
    until(lambda: station.segments(second), 20, "a segment of the camera that was added")
    assert _whole(station, second) > 0

    station.change(second, enabled=False)
    until(lambda: [g.cause for g in station.gaps(second)] == ["disabled"], 10, "a gap with the cause")
    station.change(second, enabled=True)
    until(lambda: station.gaps(second)[-1].to_ms is not None, 10, "the gap ends")
    station.accounted(second)
    until_first = station.all_gaps(first)[0]
    assert until_first.reason is not None
    assert (until_first.cause, until_first.reason["code"]) == ("recorder_down", "recorder.first_picture")
    assert until_first.to_ms == station.segments(first)[0].start_ms

    station.remove(second)
    until(lambda: station.status(second, "main") is None, 10, "the recorder lets go of the removed camera")

    station.process.stop()
    assert not list((station.settings.paths.spool_dir / first).glob("*.part"))
    last = station.gaps(first)[-1]
    assert (last.cause, last.to_ms) == ("recorder_down", None)
    assert "p@ss" not in station.log.read_text()
    for line in station.log.read_text().splitlines():
        assert json.loads(line)["process"] == "recorder-0"


def test_a_camera_that_is_replaced_keeps_its_history(station: Station, rtsp_factory: Callable[..., RtspServer]) -> None:
    old, new = rtsp_factory({"gate": "tiny"}), rtsp_factory({"door": "look3"}, user="root", password="p@ss-2")
    camera = station.add_camera(old.url("gate"))
    station.process.start()
    until(lambda: len(station.segments(camera)) >= 2, 20, "footage of the old camera")
    kept = {row.id: row.sha256 for row in station.segments(camera)}
    changed_ms = station.now_ms
    station.set_password(camera, "root", "p@ss-2")
    station.set_url(camera, new.url("door"))
    until(lambda: len(station.runs(camera)) > 1, 20, "a run of the new camera")
    until(lambda: [r for r in station.segments(camera) if r.start_ms > changed_ms + 500], 20, "footage of the new one")
    sizes = {(width, height) for width, height, _ in station.runs(camera).values()}
    assert sizes == {(320, 180), (192, 96)}
    after = {row.id: row.sha256 for row in station.segments(camera)}
    assert after.items() >= kept.items(), "not a byte of its history has changed"
    gap = station.gaps(camera)[0]
    assert gap.reason is not None
    assert (gap.cause, gap.reason["code"]) == ("recorder_down", "recorder.camera_changed")
    assert abs(gap.from_ms - changed_ms) <= 1000
    _whole(station, camera)
    station.accounted(camera)


def test_outside_its_windows_of_the_week_a_camera_is_not_recorded_and_misses_nothing(
    station: Station, rtsp_server: RtspServer
) -> None:
    camera = station.add_camera(rtsp_server.url("tiny"))
    station.process.start()
    until(lambda: station.segments(camera), 20, "footage")
    local = datetime.fromtimestamp(station.now_ms / 1000, SHANGHAI)
    # Windows are of whole minutes: one that lies hours away, then one that holds now.
    day = _WEEK[(local.weekday() + 3) % 7]
    station.change(camera, schedule=f"{day} 08:00-09:00")
    until(lambda: station.gaps(camera), 10, "recording ends")
    outside_ms = station.now_ms
    (gap,) = station.gaps(camera)
    assert gap.reason is not None
    assert (gap.cause, gap.reason["code"], gap.to_ms) == ("disabled", "camera.outside_schedule", None)
    station.process.kill()
    station.process.start()
    until(lambda: station.now_ms - outside_ms > 3000, 10, "some seconds outside, and a recorder that died in them")
    assert [g.cause for g in station.gaps(camera)] == ["disabled"]
    assert max(row.end_ms for row in station.segments(camera)) <= outside_ms
    today, tomorrow = (_WEEK[(local.weekday() + day) % 7] for day in (0, 1))
    station.change(camera, schedule=f"{today} 00:00-24:00, {tomorrow} 00:00-24:00")
    until(lambda: station.gaps(camera)[-1].to_ms is not None, 20, "and within them again")
    until(lambda: station.segments(camera)[-1].start_ms > outside_ms, 20, "footage")
    assert [g.cause for g in station.gaps(camera)] == ["disabled"]
    station.accounted(camera)


def test_kill_9_costs_at_most_two_seconds_and_the_time_away_has_a_name(
    station: Station, rtsp_server: RtspServer
) -> None:
    camera = station.add_camera(rtsp_server.url("long_gop"))  # no key frame for 10 s: fragments must end by time
    station.process.start()
    part_dir = station.settings.paths.spool_dir / camera
    until(
        lambda: any(p.stat().st_size > 60_000 for p in part_dir.glob("*.part")), 30, "an open segment with some seconds"
    )
    killed_ms = station.now_ms
    station.process.kill()
    before = {row.id for row in station.segments(camera)}
    station.process.start()
    until(lambda: any(r.salvaged for r in station.segments(camera)), 20, "the torn segment is salvaged")
    salvaged = next(r for r in station.segments(camera) if r.salvaged)
    assert salvaged.id not in before
    assert killed_ms - salvaged.end_ms <= 2000
    until(lambda: station.gaps(camera) and station.gaps(camera)[-1].to_ms is not None, 25, "footage is back")
    assert [gap.cause for gap in station.gaps(camera)] == ["recorder_down"]
    station.process.stop()
    _whole(station, camera)
    station.accounted(camera)


def test_a_camera_that_goes_leaves_a_gap_with_its_cause_and_comes_back(
    station: Station, rtsp_factory: Callable[..., RtspServer]
) -> None:
    server = rtsp_factory({"gate": "tiny"})
    camera = station.add_camera(server.url("gate"))
    station.process.start()
    until(lambda: station.segments(camera), 20, "footage")

    server.unplug("gate")
    until(lambda: [g.cause for g in station.gaps(camera)] == ["camera_offline"], 10, "a gap for the unplugged camera")
    server.plug("gate")
    until(lambda: station.gaps(camera)[-1].to_ms is not None, 10, "the gap ends by itself")

    server.pause()  # half-open: the connection stands, nothing comes
    until(lambda: station.gaps(camera)[-1].cause == "network", 15, "silence is noticed")
    server.resume()
    until(lambda: station.gaps(camera)[-1].to_ms is not None, 20, "the gap ends by itself")

    server.set_credentials("admin", "another")
    server.cut()
    until(lambda: station.gaps(camera)[-1].cause == "credentials", 15, "a wrong password is named")
    status = station.status(camera)
    assert status is not None
    assert status.reason is not None
    assert (status.state, status.reason["code"]) == ("offline", "camera.bad_login")
    station.set_password(camera, "admin", "another")
    until(lambda: station.gaps(camera)[-1].to_ms is not None, 10, "the new password is used at once")
    station.process.stop()
    station.accounted(camera)
    assert "another" not in station.log.read_text()


@pytest.mark.fault("S5")
def test_the_sealing_key_is_exchanged_under_a_camera_that_records(
    station: Station, rtsp_factory: Callable[..., RtspServer]
) -> None:
    server = rtsp_factory({"gate": "tiny"})
    camera = station.add_camera(server.url("gate"))
    station.process.start()
    until(lambda: station.segments(camera), 20, "footage")
    assert rotate_sealing(station.settings, "os:test").rows == 1
    count = len(station.segments(camera))
    until(lambda: len(station.segments(camera)) >= count + 2, 20, "footage after the exchange")
    assert len(station.runs(camera)) == 1, "the camera has not noticed"
    server.unplug("gate")
    until(lambda: station.gaps(camera)[-1].cause == "camera_offline", 10, "the camera is away")
    server.plug("gate")
    until(lambda: station.gaps(camera)[-1].to_ms is not None, 10, "its account opens with the new key")
    assert "credentials" not in {gap.cause for gap in station.gaps(camera)}
    station.process.stop()
    station.accounted(camera)


async def test_watchers_start_in_the_past_second_and_sub_opens_only_for_them(
    station: Station, rtsp_server: RtspServer
) -> None:
    camera = station.add_camera(rtsp_server.url("tiny"), rtsp_server.url("tiny2"))
    station.process.start()
    await asyncio.to_thread(until, lambda: station.segments(camera), 20, "footage")
    path = station.settings.paths.run_dir / "live" / "0.sock"
    assert station.status(camera, "sub") is None

    async with asyncio.timeout(20):
        for stream in ("main", "sub"):
            async with aclosing(watch(path, camera, stream)) as items:
                kinds: list[str] = []
                last: int | None = None
                async for item in items:
                    if isinstance(item, Config):
                        kinds.append("config")
                    elif isinstance(item, Unit) and item.unit.track is Track.VIDEO:
                        if last is None:
                            assert kinds[-1] == "config"
                            assert item.unit.key
                            assert item.replay is (stream == "main")
                        else:
                            assert 0 < item.unit.dts - last <= 2 * 3600, "a picture is missing or twice"
                        last = item.unit.dts
                        kinds.append("unit")
                    elif isinstance(item, Event):
                        kinds.append(item.state)
                    if kinds.count("unit") >= 60:
                        break
        async with aclosing(watch(path, "99999999991320000001", "main")) as items:
            (event,) = [item async for item in items]
            assert isinstance(event, Event)
            assert event.reason is not None
            assert event.reason["code"] == "camera.not_here"
    await asyncio.to_thread(
        until, lambda: (s := station.status(camera, "sub")) is not None and s.state == "idle", 10, "sub closes"
    )


async def test_who_asks_for_the_key_frame_gets_it_alone_or_waits_for_the_next(
    station: Station, rtsp_server: RtspServer
) -> None:
    """What a picture check needs, without the group of pictures that a watcher starts with."""
    camera = station.add_camera(rtsp_server.url("tiny"), rtsp_server.url("tiny2"))
    station.process.start()
    await asyncio.to_thread(until, lambda: station.segments(camera), 20, "footage")
    path = station.settings.paths.run_dir / "live" / "0.sock"

    async def next_of(items: AsyncIterator[Config | Unit | Event]) -> Config | Unit | Event:
        return await asyncio.wait_for(anext(items), 10)

    async with aclosing(watch(path, camera, "main", op="key_frame")) as items:
        assert isinstance(await next_of(items), Config)
        found = await next_of(items)
        assert isinstance(found, Unit)
        assert (found.unit.key, found.unit.track, found.replay) == (True, Track.VIDEO, True)
        with pytest.raises(TimeoutError):  # 25 pictures a second would have come to who watches
            await asyncio.wait_for(anext(items), 1)
    async with aclosing(watch(path, camera, "sub", op="key_frame")) as items:  # nobody had opened it: none is at hand
        seen: list[Config | Unit | Event] = []
        while not seen or not isinstance(seen[-1], Unit):
            seen.append(await next_of(items))
        assert seen[-1].unit.key
    await asyncio.to_thread(
        until, lambda: (s := station.status(camera, "sub")) is not None and s.state == "idle", 10, "sub closes"
    )


def test_a_file_that_cannot_be_salvaged_stops_no_camera(station: Station, rtsp_server: RtspServer) -> None:
    """Not even its own: what cannot be read stays where it is, and recording begins."""
    cameras = [station.add_camera(rtsp_server.url(name)) for name in ("tiny", "tiny2")]
    station.spool.prepare()
    sick = station.spool.path_of(cameras[1], new_id(), PART)
    sick.mkdir(parents=True)  # no file at all: reading it fails as a sick disk does
    station.process.start()
    until(lambda: all(station.segments(camera) for camera in cameras), 30, "both cameras are recorded")
    assert sick.exists()
    assert "cannot be salvaged" in station.log.read_text()
