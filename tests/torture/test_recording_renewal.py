"""The node under way: upgraded with recorders running, ended with viewers watching, a child that hangs, a noisy one.

`scripts/torture recording` renews fifty times, the suite twice.
"""

from __future__ import annotations

import array
import fcntl
import os
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests.gateway.ingest.station import REPOSITORY, Station
from tests.parts.node import QUICK, Node
from tests.parts.process import Child
from tests.parts.relay import TcpRelay
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until
from tests.torture.eyes import Disk, Witness, judge

#: Away from the source, so that PYTHONPATH alone says which version is found.
_RUN = "import os, sys; os.chdir('/'); from pathlib import Path; from gateway.processes.supervisor import run; "


class Systemd:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.heard: list[tuple[float, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                said = self._socket.recv(4096).decode()
            except OSError:
                return
            self.heard.append((time.monotonic(), said))

    def times(self, word: str) -> list[float]:
        return [at for at, said in self.heard if word in said]

    def close(self) -> None:
        self._socket.close()


@contextmanager
def supervised(station: Station, *children: str, **env: str) -> Iterator[tuple[Child, Systemd]]:
    systemd = Systemd(station.folder / "notify")
    code = f"{_RUN}sys.exit(run(Path(sys.argv[1]), {children!r}))"
    environment = {"PYTHONPATH": str(REPOSITORY), "NOTIFY_SOCKET": str(systemd.path), **env}
    argv = [sys.executable, "-c", code, str(station.config)]
    try:
        with Child(argv, station.folder / "supervisor.log", guarded=False, env=environment) as child:
            child.start()
            until(lambda: systemd.times("READY=1"), 60, f"the node is ready\n{child.tail()}")
            yield child, systemd
    finally:
        systemd.close()


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    made = Station(tmp_path / "node")
    yield made
    made.close()


def ready_pid(station: Station, name: str) -> int:
    return int((station.settings.paths.run_dir / f"{name}.ready").read_text())


def another(station: Station, than: int) -> int:
    """The pid of the recorder that has taken the place of `than`."""
    return until(lambda: (pid := ready_pid(station, "recorder-0")) != than and pid, 60, "another recorder")


def told_again(systemd: Systemd, than: int) -> bool:
    return len(systemd.times("READY=1")) > than


def goes_on(station: Station, camera: str) -> None:
    known = len(station.segments(camera))
    until(lambda: len(station.segments(camera)) > known + 1, 60, "recording goes on")


@pytest.mark.fault("C9")
@pytest.mark.parametrize(
    "times", [pytest.param(2, marks=pytest.mark.real, id="few"), pytest.param(50, marks=pytest.mark.torture, id="many")]
)
def test_an_upgrade_costs_at_most_a_gop_or_a_second(
    station: Station, rtsp_server: RtspServer, relay_factory: Callable[..., TcpRelay], tmp_path: Path, times: int,
    counted: Callable[[object], None],
) -> None:  # fmt: skip
    # A far camera: connecting alone takes longer than all that may be missing.
    relay = relay_factory(rtsp_server.port, delay_s=0.25)
    urls = [rtsp_server.url("tiny"), rtsp_server.url("tiny_hevc"), rtsp_server.url("tiny2", port=relay.port)]
    cameras = [station.add_camera(url) for url in urls]
    disk = Disk(station.settings.paths.data)
    with Witness(disk, tmp_path / "manifest") as witness, supervised(station, "recorder") as (child, systemd):
        until(lambda: all(station.segments(camera) for camera in cameras), 60, "every camera is recorded")
        assert child.popen is not None
        supervisor = child.popen.pid
        for _ in range(times):
            before = ready_pid(station, "recorder-0")
            announced = len(systemd.times("READY=1"))
            os.kill(supervisor, signal.SIGHUP)
            pid = another(station, before)
            until(partial(told_again, systemd, announced), 30, "systemd hears that the node is up again")
            assert not runs(before)
            assert runs(pid)
            assert child.running, "the supervisor kept its pid"
            for camera in cameras:
                goes_on(station, camera)
        assert not systemd.times("STOPPING=1")
        child.stop()
        assert systemd.times("STOPPING=1")
    # Not decoded: what a far camera's first seconds are dated by is no matter of renewal.
    verdict = judge(disk, witness.told(), [], decode=False)
    gaps = [gap for camera in cameras for gap in station.gaps(camera) if gap.to_ms is not None]
    lengths = sorted((gap.to_ms or 0) - gap.from_ms for gap in gaps)
    counted(f"{times} upgrades × {len(cameras)} cameras: gaps ms {lengths[:3]} … {lengths[-3:]}; {verdict}")
    assert verdict.acknowledged > 0
    assert verdict.faults == {}, f"{verdict}\n{verdict.faults}"
    assert {gap.cause for gap in gaps} == {"recorder_down"}
    assert len(gaps) <= times * len(cameras)
    assert lengths[-1] <= 1_100, "clips of these mounts have a key frame a second"


@pytest.mark.real
@pytest.mark.fault("C9")
def test_a_broken_version_on_the_disk_ends_nothing(station: Station, rtsp_server: RtspServer, tmp_path: Path) -> None:
    camera = station.add_camera(rtsp_server.url("tiny"))
    broken = tmp_path / "broken"
    with supervised(station, "recorder", PYTHONPATH=f"{broken}{os.pathsep}{REPOSITORY}") as (child, _):
        until(lambda: station.segments(camera), 30, "footage")
        (broken / "gateway").mkdir(parents=True)
        (broken / "gateway" / "__init__.py").write_text("half an upgrade\n")
        before = ready_pid(station, "recorder-0")
        assert child.popen is not None
        os.kill(child.popen.pid, signal.SIGHUP)
        until(lambda: "does not start; this one goes on" in child.tail(50), 30, "the supervisor says so")
        goes_on(station, camera)
        assert ready_pid(station, "recorder-0") == before
    assert [gap.cause for gap in station.gaps(camera)] == ["recorder_down"]


@pytest.mark.real
@pytest.mark.fault("C8")
def test_a_child_that_hangs_is_replaced_and_systemd_fed(station: Station, rtsp_server: RtspServer) -> None:
    camera = station.add_camera(rtsp_server.url("tiny"))
    with supervised(station, "recorder", WATCHDOG_USEC="4000000") as (child, systemd):
        until(lambda: station.segments(camera), 60, "footage")
        hung = ready_pid(station, "recorder-0")
        os.kill(hung, signal.SIGSTOP)  # nothing turns any more, and no pipe closes
        stopped_s = time.monotonic()
        until(lambda: not runs(hung), 60, "the child is killed")
        another(station, hung)
        replaced_s = time.monotonic() - stopped_s
        goes_on(station, camera)
        fed = systemd.times("WATCHDOG=1")
        # The supervisor itself hangs: systemd hears nothing more.
        assert child.popen is not None
        os.kill(child.popen.pid, signal.SIGSTOP)
        until(lambda: time.monotonic() - systemd.times("WATCHDOG=1")[-1] > 4.0, 30, "systemd is not fed any more")
        os.kill(child.popen.pid, signal.SIGCONT)
        until(lambda: systemd.times("WATCHDOG=1")[-1] > fed[-1] + 4.0, 30, "fed again")
    assert replaced_s <= 15
    between = [later - earlier for earlier, later in pairwise(fed)]
    assert len(fed) > 10
    assert max(between) < 4.0, "a child that hangs is the supervisor's to replace, not systemd's"


@pytest.mark.torture
@pytest.mark.fault("C8")
def test_a_ticker_that_stalls_is_seen_although_the_loop_turns(
    station: Station, rtsp_server: RtspServer, tmp_path: Path
) -> None:
    """Life is more than an event loop: fragments are written by a thread of their own."""
    camera = station.add_camera(rtsp_server.url("tiny"))
    fault = tmp_path / "fault"
    fault.mkdir()
    (fault / "sitecustomize.py").write_text(
        "import pathlib, threading, time\n"
        f"flag = pathlib.Path({str(tmp_path / 'stall')!r})\n"
        "from gateway.ingest.fleet import Fleet\n"
        "tick = Fleet.tick\n"
        "def stalled(self):\n"
        "    if flag.exists():\n"
        "        flag.rename(flag.with_suffix('.hit'))\n"
        "        threading.Event().wait()\n"
        "    tick(self)\n"
        "Fleet.tick = stalled\n"
    )
    with supervised(station, "recorder", PYTHONPATH=f"{fault}{os.pathsep}{REPOSITORY}"):
        until(lambda: station.segments(camera), 60, "footage")
        stalled = ready_pid(station, "recorder-0")
        (tmp_path / "stall").touch()
        until(lambda: (tmp_path / "stall.hit").exists(), 10, "the ticker stalls")
        since_s = time.monotonic()
        another(station, stalled)
        assert time.monotonic() - since_s <= 15
        goes_on(station, camera)


@pytest.mark.real
@pytest.mark.fault("A37")
def test_a_log_that_nobody_reads_stops_no_recorder(station: Station, rtsp_server: RtspServer) -> None:
    """The reader of a container's log sleeps; the pipe is full; pictures go on to the disk."""
    camera = station.add_camera(rtsp_server.url("tiny"))
    noise, stacks = station.folder / "noise", station.folder / "stacks"
    noise.mkdir()
    (noise / "sitecustomize.py").write_text(
        "import faulthandler, logging, signal\n"
        f"faulthandler.register(signal.SIGUSR1, file=open({str(stacks)!r}, 'w'))\n"
        "from gateway.ingest.fleet import Fleet\n"
        "tick = Fleet.tick\n"
        "def noisy(self):\n"
        "    for _ in range(50):\n"
        "        logging.getLogger('noise').warning('x' * 1000)\n"
        "    tick(self)\n"
        "Fleet.tick = noisy\n"
    )
    argv = [sys.executable, "-m", "gateway.processes.recorder", "--config", str(station.config), "--shard", "0"]
    environment = {**os.environ, "PYTHONPATH": f"{noise}{os.pathsep}{REPOSITORY}"}
    environment.pop("PYTHONUNBUFFERED", None)  # a service has none, and a buffer has a lock
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as recorder:
        try:
            until(lambda: station.segments(camera), 60, "footage")
            assert recorder.stderr is not None
            until(partial(is_full, recorder.stderr.fileno()), 30, "the pipe is full", every_s=1.0)
            goes_on(station, camera)
            recorder.terminate()
            try:
                code = recorder.wait(12)
            except subprocess.TimeoutExpired:
                recorder.send_signal(signal.SIGUSR1)
                until(stacks.read_text, 10, "its stacks")
                pytest.fail(stacks.read_text())
            assert code == 0
            assert [gap.cause for gap in station.gaps(camera)] == ["recorder_down"]
        finally:
            recorder.kill()


@pytest.mark.real
@pytest.mark.fault("A37")
def test_no_zombie_is_left_by_children_that_die(station: Station) -> None:
    with supervised(station, "recorder") as (child, _):
        assert child.popen is not None
        for _ in range(2):
            pid = until(lambda: ready_pid(station, "recorder-0"), 60, "a recorder")
            os.kill(pid, signal.SIGKILL)
            another(station, pid)
        found = [state for state, parent in processes() if parent == child.popen.pid]
        assert found.count("Z") == 0
        assert len(found) == 1


@pytest.mark.real
@pytest.mark.fault("C9")
def test_sigterm_with_viewers_ends_soon_and_seals_everything(
    tmp_path: Path, rtsp_server: RtspServer, counted: Callable[[object], None]
) -> None:
    with Node(tmp_path / "node", settings=QUICK).init() as node:
        node.start()
        camera = node.add_camera(rtsp_server.url("tiny"))
        disk = Disk(node.folder / "data")
        until(lambda: [row for row in disk.rows() if row.camera == camera], 60, "footage")
        with node.client() as client, client.stream("GET", f"/api/v1/cameras/{camera}/live.mp4") as answer:
            pieces = answer.iter_raw()
            assert len(next(pieces)) > 0, "somebody watches"
            began_s = time.monotonic()
            os.kill(node.supervisor_pid, signal.SIGTERM)
            until(lambda: not runs(node_pid(node)), 30, "the node has ended", every_s=0.02)
            took_s = time.monotonic() - began_s
        verdict = judge(disk, {}, [])
        counted(f"ended in {took_s:.1f} s with a viewer; {verdict}")
        assert took_s < 10
        assert disk.parts() == []
        assert verdict.faults == {}
        assert [gap.cause for gap in disk.gaps()] == ["recorder_down"]


def node_pid(node: Node) -> int:
    try:
        return node.supervisor_pid
    except FileNotFoundError:
        return 0


def runs(pid: int) -> bool:
    try:
        return pid > 0 and Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def processes() -> Iterator[tuple[str, int]]:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = entry.read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        yield state, int(parent)


def is_full(pipe: int) -> bool:
    """Much waits in it, and no more comes although much is said: small writes leave the ends of pages empty."""
    before = waiting_bytes(pipe)
    time.sleep(0.5)  # longer than the writer needs for what is missing
    return before == waiting_bytes(pipe) > 30_000


def waiting_bytes(descriptor: int) -> int:
    size = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, size)
    return size[0]
