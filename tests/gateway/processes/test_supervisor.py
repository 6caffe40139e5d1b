"""The supervisor with real recorders: they start, come back, multiply and never outlive it."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import update

from gateway.processes.running import Running
from storage.catalog.tables import camera as camera_table
from tests.gateway.ingest.station import REPOSITORY, Station
from tests.parts.process import Child
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until

pytestmark = pytest.mark.real

_RUN = "import sys; from pathlib import Path; from gateway.processes.supervisor import run; "


def supervisor_of(station: Station, *children: str, log: str = "supervisor.log", first: str = "", **env: str) -> Child:
    code = f"{_RUN}{first}sys.exit(run(Path(sys.argv[1]), {children!r}))"
    argv = [sys.executable, "-c", code, str(station.config)]
    return Child(argv, station.folder / log, guarded=False, env={"PYTHONPATH": str(REPOSITORY), **env})


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path / "node")
    yield made
    made.close()


def _pid(station: Station, name: str) -> int:
    return int((station.settings.paths.run_dir / f"{name}.ready").read_text())


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _recorded_since(station: Station, camera: str, moment_ms: int) -> bool:
    return any(row.end_ms > moment_ms for row in station.segments(camera))


def test_children_come_back_multiply_and_end_with_it(station: Station, rtsp_server: RtspServer) -> None:
    notified = station.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(notified))
        systemd.settimeout(20)
        with supervisor_of(station, "recorder", NOTIFY_SOCKET=str(notified)) as supervisor:
            supervisor.start()
            assert b"READY=1" in systemd.recv(1024)
            first = _pid(station, "recorder-0")
            os.kill(first, 9)
            second = until(lambda: (p := _pid(station, "recorder-0")) != first and p, 15, "the recorder is back")

            # A camera of another shard brings a recorder of its own.
            camera = station.add_camera(rtsp_server.url("tiny"))
            station.catalog.write(lambda c: c.execute(update(camera_table).values(shard=1)))
            until(lambda: station.segments(camera), 20, "the new recorder records")
            third = _pid(station, "recorder-1")

            # One node, one supervisor.
            with supervisor_of(station, "recorder", log="second.log") as rival:
                rival.start()
                until(lambda: not rival.running, 15, "a second supervisor gives up")
                assert "process.lock_held" in rival.tail() or "already running" in rival.tail()
            supervisor.stop()
            assert not _runs(second)
            assert not _runs(third)
            assert station.gaps(camera)[-1].cause == "recorder_down"


def test_a_stream_that_crashes_the_library_takes_its_neighbours_down_once(
    tmp_path: Path, rtsp_server: RtspServer
) -> None:
    station = Station(tmp_path / "node", shard_size=2)
    poison = Path(__file__).parent / "poison"
    supervisor = supervisor_of(station, "recorder", PYTHONPATH=f"{poison}{os.pathsep}{REPOSITORY}")
    try:
        near = station.add_camera(rtsp_server.url("tiny"))
        bad = station.add_camera(rtsp_server.url("tiny2") + "?poison")
        far = station.add_camera(rtsp_server.url("tiny_hevc"))
        supervisor.start()

        def deaths(name: str) -> int:
            lines = supervisor.log.read_text().splitlines()
            return sum("child ended" in line and f'"{name}"' in line for line in lines)

        until(lambda: deaths("recorder-1000") >= 3, 60, "it crashes in a recorder of its own, again and again")
        assert deaths("recorder-0") == 1
        assert deaths("recorder-1") == 0
        alone_ms = station.now_ms
        for camera in (near, far):
            until(partial(_recorded_since, station, camera, alone_ms), 20, "its neighbours record")
            assert all(gap.cause == "recorder_down" for gap in station.gaps(camera))
        assert station.gaps(far) == []
        gap = until(lambda: station.gaps(bad)[-1], 20, "it has a gap with its cause")
        assert gap.reason is not None
        assert (gap.cause, gap.reason["code"], gap.to_ms) == ("unsupported", "camera.crashed", None)

        # Another address is another stream: where it does not crash, it is recorded.
        station.set_url(bad, rtsp_server.url("tiny2"))
        until(lambda: station.segments(bad), 30, "it is recorded")
        assert station.gaps(bad)[-1].to_ms is not None
    finally:
        supervisor.stop()
        station.close()


@pytest.mark.fault("A37")
def test_kill_9_of_the_supervisor_leaves_nobody(station: Station) -> None:
    supervisor = supervisor_of(station, "recorder").start()
    pid = until(lambda: _pid(station, "recorder-0"), 20, "a recorder")
    assert supervisor.popen is not None
    os.kill(supervisor.popen.pid, 9)
    supervisor.popen.wait(5)
    until(lambda: not _runs(pid), 10, "the child ends with its parent")
    supervisor.stop()


def _hears(systemd: socket.socket, within_s: float) -> bool:
    systemd.settimeout(within_s)
    try:
        return systemd.recv(1024) == b"WATCHDOG=1"
    except TimeoutError:
        return False


def test_a_child_that_the_machine_has_no_room_for_comes_when_it_has(station: Station) -> None:
    """No process, no memory or, as here, no descriptor is left for it; meanwhile systemd is not told that all is
    well."""
    notified = station.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(notified))
        shorter = "import gateway.processes.supervisor as s; s._FORSAKEN_S = 0.5; s._LONGEST_PAUSE_S = 1.0; "
        watched = {"NOTIFY_SOCKET": str(notified), "WATCHDOG_USEC": "1000000"}
        with supervisor_of(station, "recorder", first=shorter, **watched) as supervisor:
            supervisor.start()
            first = until(lambda: _pid(station, "recorder-0"), 20, "a recorder")
            assert supervisor.popen is not None
            pid = supervisor.popen.pid
            until(lambda: _hears(systemd, 5), 20, "systemd is told that it lives")
            _, hard = limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            held = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (held - 1, hard))
            os.kill(first, 9)
            until(lambda: supervisor.log.read_text().count("child cannot be started") > 1, 20, "it is tried again")
            until(lambda: not _hears(systemd, 2), 60, "systemd hears no more that all is well")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
            until(lambda: _pid(station, "recorder-0") != first, 30, "the recorder is back")
            until(lambda: _hears(systemd, 5), 20, "systemd is told that it lives")


def test_a_child_that_cannot_be_watched_is_not_left_running(monkeypatch: pytest.MonkeyPatch) -> None:
    spawned: list[int] = []

    def refuse(pid: int) -> int:
        spawned.append(pid)
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    before = sorted(os.listdir("/proc/self/fd"))

    async def start() -> None:
        Running.start(["sleep", "60"], os.environ, ())

    with pytest.raises(OSError, match="too many"):
        asyncio.run(start())
    with pytest.raises(ChildProcessError):
        os.waitpid(spawned[0], os.WNOHANG)
    assert sorted(os.listdir("/proc/self/fd")) == before
