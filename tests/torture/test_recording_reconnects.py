"""Cameras that reboot, all come back at once, or give a second and no more; and thousands of tries that fail.

Small in `scripts/test`, whole in `scripts/torture recording`.
"""

from __future__ import annotations

import math
import os
import random
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from config.clock import SystemClock
from config.redact import Secret
from gateway.ingest.libav_source import libav_factory
from gateway.ingest.source import SourceError, StreamAddress
from tests.gateway.ingest.station import Station
from tests.gateway.processes.test_supervisor import supervisor_of
from tests.media import decode_mp4
from tests.parts.clips import LOOKS
from tests.parts.impostors import Impostor, rtsp_redirect
from tests.parts.process import free_port
from tests.parts.relay import TcpRelay
from tests.parts.rtsp_gate import RtspGate, Talk
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until

EXACT_MS = 200
TINY_GOP_MS = 1000


def sizes(few: int, many: int) -> pytest.MarkDecorator:
    values = [
        pytest.param(few, marks=pytest.mark.real, id="few"),
        pytest.param(many, marks=pytest.mark.torture, id="many"),
    ]
    return pytest.mark.parametrize("times", values)


def _threads(station: Station) -> int:
    popen = station.process.popen
    assert popen is not None
    return len(os.listdir(f"/proc/{popen.pid}/task"))


def _footage_after(station: Station, camera: str, moment_ms: int) -> int | None:
    """When footage began after a moment, as soon as a picture of it is on the disk."""
    closed = [gap.to_ms for gap in station.gaps(camera) if gap.to_ms is not None and gap.to_ms >= moment_ms - EXACT_MS]
    return min(closed, default=None)


def _reboot(station: Station, camera: str, relay: TcpRelay, away_s: float) -> tuple[int, int, int]:
    """(connections cut, ms from the port's answer to footage, ms from the truth to the beginning of the gap)."""
    struck = relay.close_port()
    down_ms = station.now_ms
    until(lambda: station.now_ms - down_ms > away_s * 1000, 20, "the camera boots")
    relay.open_port()
    up_ms = station.now_ms
    footage_ms = until(lambda: _footage_after(station, camera, up_ms), 30, "footage again")
    gap = next(gap for gap in station.gaps(camera) if abs(gap.from_ms - down_ms) < 1000)
    kept = len(station.segments(camera))
    until(lambda: len(station.segments(camera)) > kept, 20, "a segment after the reboot")
    return struck, footage_ms - up_ms, gap.from_ms - down_ms


@pytest.mark.fault("A1")
@sizes(2, 50)
def test_a_camera_that_reboots_is_recorded_again_within_two_seconds_of_its_port(
    tmp_path: Path, rtsp_server: RtspServer, times: int, counted: Callable[[object], None]
) -> None:
    dice = random.Random(times)
    station = Station(tmp_path / "node", connect_timeout_s=5.0, media_timeout_s=8.0)
    back_ms: list[int] = []
    late_ms: list[int] = []
    with TcpRelay(rtsp_server.port) as relay:
        camera = station.add_camera(rtsp_server.url("tiny", port=relay.port))
        station.process.start()
        try:
            until(lambda: station.segments(camera), 30, "footage")
            threads = _threads(station)
            hits = 0
            for _ in range(times):
                away_s = dice.uniform(0.3, 4.0) if times < 10 else dice.uniform(0.3, 12.0)
                struck, back, late = _reboot(station, camera, relay, away_s)
                hits += struck
                back_ms.append(back)
                late_ms.append(late)
            assert hits >= times
            until(lambda: _threads(station) <= threads, 15, "no thread is left behind")
            assert {gap.cause for gap in station.gaps(camera)} == {"camera_offline"}
            station.process.stop()
            station.accounted(camera)
        finally:
            station.close()
    p95 = sorted(back_ms)[math.ceil(0.95 * len(back_ms)) - 1]
    counted(
        f"reboots {times}, connections cut {hits}; footage after the port: p95 {p95} ms, worst {max(back_ms)} ms; gap "
        f"begins {min(late_ms):+} … {max(late_ms):+} ms of truth"
    )
    assert p95 <= 2000 + TINY_GOP_MS
    assert all(abs(late) <= EXACT_MS for late in late_ms)


class Spurts(RtspGate):
    """A camera that gives pictures for a moment, again and again."""

    def __init__(self, target_port: int, lengths_s: list[float]) -> None:
        super().__init__(target_port)
        self.left_s = lengths_s
        self.spurts: list[tuple[float, int]] = []  #: (length, pictures given)
        self._lengths: dict[Talk, float] = {}
        self._pictures: dict[Talk, int] = {}

    def frame(self, talk: Talk, channel: int, frame: bytes) -> tuple[bytes, ...]:
        if talk not in self._lengths:
            self._lengths[talk] = self.left_s.pop() if self.left_s else 3600.0
        if channel == 0:
            assert talk.first_frame_s is not None
            if time.monotonic() - talk.first_frame_s > self._lengths[talk]:
                self.spurts.append((self._lengths[talk], self._pictures.get(talk, 0)))
                self._lengths[talk] = 3600.0
                talk.close()
                return ()
            if frame[5] & 0x80:  # the marker of a picture's last packet
                self._pictures[talk] = self._pictures.get(talk, 0) + 1
        return (frame,)


@pytest.mark.fault("A36")
@sizes(5, 500)
def test_streams_of_a_second_and_less_are_kept_or_are_gaps(
    tmp_path: Path, rtsp_server: RtspServer, times: int, counted: Callable[[object], None]
) -> None:
    dice = random.Random(36)
    station = Station(tmp_path / "node", media_timeout_s=8.0)
    gates: list[Spurts] = []
    cameras: list[str] = []
    try:
        for number in range(5):
            gate = Spurts(rtsp_server.port, [dice.uniform(0.1, 2.0) for _ in range(times // 5)])
            gates.append(gate.__enter__())
            url = rtsp_server.url("tiny" if number % 2 else "tiny2", port=gate.port)
            cameras.append(station.add_camera(url))
        station.process.start()
        until(lambda: not any(gate.left_s for gate in gates), 20 * times, "all spurts", every_s=0.2)
        until(lambda: all(len(gate.spurts) == times // 5 for gate in gates), 30, "the last ones")
        ended_ms = station.now_ms
        until(lambda: all(_last_ms(station, camera) > ended_ms for camera in cameras), 40, "and then they stay")
        station.process.stop()
        given = kept = 0
        for gate, camera in zip(gates, cameras, strict=True):
            station.accounted(camera)
            rows = [row for row in station.segments(camera) if row.start_ms < ended_ms]
            kept += sum(decode_mp4(station.bytes_of(row)).pictures for row in rows)
            given += sum(pictures for _, pictures in gate.spurts)
            for first, second in pairwise(rows):
                assert second.start_ms >= first.end_ms - 40, "footage twice"
        spurts = sum(len(gate.spurts) for gate in gates)
    finally:
        station.close()
        for gate in gates:
            gate.__exit__()
    counted(f"spurts {spurts}, pictures given {given}, decoded from what was kept {kept} (with the streams after them)")
    assert spurts == times // 5 * 5
    assert given > spurts


def _last_ms(station: Station, camera: str) -> int:
    return max((row.end_ms for row in station.segments(camera)), default=0)


@pytest.mark.fault("A33")
@sizes(12, 200)
def test_all_cameras_come_back_at_once_and_none_is_taken_for_another(
    tmp_path: Path, rtsp_factory: Callable[..., RtspServer], times: int, counted: Callable[[object], None]
) -> None:
    server = rtsp_factory({f"look{n}": f"look{n}" for n in range(LOOKS)}, auth="none")
    station = Station(tmp_path / "node", connect_timeout_s=5.0, media_timeout_s=8.0, shard_size=32)
    with TcpRelay(server.port) as relay, supervisor_of(station, "recorder") as supervisor:
        looks: dict[str, int] = {}
        for number in range(times):
            look = number % LOOKS
            looks[station.add_camera(f"{server.url(f'look{look}', port=relay.port)}?camera={number}")] = look
        supervisor.start()
        until(lambda: all(_last_ms(station, camera) for camera in looks), 60 + times, "footage of all", every_s=0.5)
        cut = relay.close_port()
        down_ms = station.now_ms
        until(lambda: station.now_ms - down_ms > 3000, 10, "the switch is away for three seconds")
        relay.open_port()
        up_ms = station.now_ms
        back: dict[str, int] = {}

        def all_back() -> bool:
            for camera in looks.keys() - back.keys():
                found = _footage_after(station, camera, up_ms)
                if found is not None:
                    back[camera] = found - up_ms
            return len(back) == len(looks)

        until(all_back, 60, "all cameras are back", every_s=0.2)
        until(lambda: all(_last_ms(station, camera) > up_ms for camera in looks), 60, "and sealed", every_s=0.5)
        supervisor.stop()
        seen = 0
        for camera, look in looks.items():
            sizes_seen = {run[:2] for run in station.runs(camera).values()}
            assert sizes_seen == {(96 + 32 * look, 96)}, f"another camera's picture: {sizes_seen}"
            for row in station.segments(camera):
                decoded = decode_mp4(station.bytes_of(row))
                assert decoded.size == (96 + 32 * look, 96)
                seen += decoded.pictures
            station.accounted(camera)
        station.close()
    order = sorted(back.values())
    counted(
        f"cameras {times}, connections cut {cut}; back after the port: half {order[len(order) // 2]} ms, last "
        f"{order[-1]} ms; pictures looked at {seen}, foreign 0"
    )
    assert cut >= times
    assert order[-1] <= 60_000


@pytest.mark.fault("C7")
@sizes(200, 5000)
def test_failed_connections_leave_nothing_behind(
    rtsp_server: RtspServer, times: int, counted: Callable[[object], None]
) -> None:
    sources = libav_factory(["127.0.0.0/8"], SystemClock(), 2.0, 4.0)
    failures: dict[str, int] = {}
    with (
        Impostor(lambda request: b"RTSP/1.0 500 Broken\r\nCSeq: 1\r\n\r\n") as broken,
        Impostor(rtsp_redirect("rtsp://127.0.0.9/x")) as elsewhere,
        Impostor(lambda request: b"RTSP/1.0 454\r\n\r\n") as odd,
    ):
        user, password = rtsp_server.user, Secret(rtsp_server.password)
        addresses = [
            StreamAddress(f"rtsp://127.0.0.1:{free_port()}/x"),
            StreamAddress(rtsp_server.url("tiny", credentials=False), user, Secret("wrong")),
            StreamAddress(f"rtsp://127.0.0.1:{rtsp_server.port}/not-there", user, password),
            StreamAddress(f"rtsp://127.0.0.1:{broken.port}/x"),
            StreamAddress(f"rtsp://127.0.0.1:{elsewhere.port}/x"),
            StreamAddress(f"rtsp://127.0.0.1:{odd.port}/x"),
        ]

        def fail(address: StreamAddress) -> None:
            source = sources(address)
            with pytest.raises(SourceError) as caught:
                source.open()
            source.close()
            code = caught.value.reason.code
            failures[code] = failures.get(code, 0) + 1

        for address in addresses:
            fail(address)
        before, threads = _descriptors(), threading.active_count()
        for number in range(times):
            fail(addresses[number % len(addresses)])
        until(lambda: _descriptors() <= before, 15, "no descriptor more")
        until(lambda: threading.active_count() <= threads, 15, "no thread more")
    counted(f"failed {sum(failures.values())} times: {failures}; descriptors {before} before and after")
    assert len(failures) >= 4


def _descriptors() -> int:
    """Sockets and files of this process; those of the servers' threads come and go."""
    return len(os.listdir("/proc/self/fd"))
