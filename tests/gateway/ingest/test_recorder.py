"""The recorder as a process, against real cameras: footage, gaps with causes, crashes, the live socket."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from gateway.live.client import watch
from gateway.live.wire import Config, Event, Unit
from storage.media.access_unit import Track
from storage.spool import PART
from tests.gateway.ingest.station import Station
from tests.media import decode_mp4
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until
from tests.storage.footage import new_id

pytestmark = pytest.mark.real


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


def _accounted(station: Station, camera: str) -> None:
    """From the first footage on every moment is footage or a closed gap; only the present may be open."""
    spans = [(row.start_ms, row.end_ms) for row in station.segments(camera)]
    spans += [(gap.from_ms, gap.to_ms) for gap in station.gaps(camera) if gap.to_ms is not None]
    spans.sort()
    end = spans[0][1]
    for start, stop in spans[1:]:
        assert start - end <= 250, f"{start - end} ms unaccounted for"
        end = max(end, stop)


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
    _accounted(station, second)

    station.remove(second)
    until(lambda: station.status(second, "main") is None, 10, "the recorder lets go of the removed camera")

    station.process.stop()
    assert not list((station.settings.paths.spool_dir / first).glob("*.part"))
    last = station.gaps(first)[-1]
    assert (last.cause, last.to_ms) == ("recorder_down", None)
    assert "p@ss" not in station.log.read_text()
    for line in station.log.read_text().splitlines():
        assert json.loads(line)["process"] == "recorder-0"


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
    _accounted(station, camera)


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
    _accounted(station, camera)
    assert "another" not in station.log.read_text()


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
