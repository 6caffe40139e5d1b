"""Recording: CPU per camera-second beside one ``ffmpeg -c copy -f segment`` per camera, on the same cameras, at once.

32 cameras of 1080p, 25 pictures a second, 4 Mbit/s from a real RTSP server. Ours does everything durable: hash, index,
fdatasync, catalog rows, folder store; the keeper's CPU is counted with the recorder's. Then: `camera add` → first
footage, and a restart with 16 cameras → all of them recording. Also bytes written per byte received.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._box import Meter, children, command_line, median, options, report, written_bytes
from tests.parts.node import QUICK, Node
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until

_MOUNT = "main"  #: 1080p H.264, 25 fps, 4 Mbit/s, key frame each 2 s
SEGMENT_S = 60


def _pids(node: Node, *names: str) -> list[int]:
    wanted = [f"gateway.processes.{n}" for n in names]
    return [p for p in children(node.supervisor_pid) if any(w in command_line(p) for w in wanted)]


def _ffmpeg(url: str, folder: Path) -> subprocess.Popen[bytes]:
    """The peer: what a script that records one camera does."""
    folder.mkdir()
    return subprocess.Popen(
        ["ffmpeg", "-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-i", url, "-c", "copy", "-an",
         "-f", "segment", "-segment_time", str(SEGMENT_S), "-segment_format", "mp4", "-reset_timestamps", "1",
         str(folder / "%04d.mp4")],
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _add(node: Node, url: str, name: str) -> str:
    with node.client() as client:
        answer = client.post("/api/v1/cameras", json={"url": url, "name": name})
        answer.raise_for_status()
        return str(answer.json()["id"])


def _recording(node: Node) -> int:
    """How many cameras have an open segment."""
    return len({p.parent.name for p in (node.folder / "data" / "spool").glob("*/*.part") if p.stat().st_size > 0})


def _records(node: Node, cameras: int) -> bool:
    return _recording(node) >= cameras


def _side_by_side(cameras: int, rounds: int, window_s: float) -> dict[str, Any]:
    # As a node does by itself: segments of a minute, pictures checked each minute.
    settings = {**QUICK, "recorder": {"segment_seconds": SEGMENT_S, "shard_size": 32}, "health": {"interval_s": 60}}
    with (
        tempfile.TemporaryDirectory() as folder,
        RtspServer() as server,
        Node(Path(folder) / "node", settings=settings) as node,
    ):
        mounts = [f"cam{i}" for i in range(cameras)]
        for mount in mounts:
            server.add(mount, _MOUNT)
        node.init().start()
        for mount in mounts:
            _add(node, server.url(mount), mount)
        peers = [_ffmpeg(server.url(m), Path(folder) / m) for m in mounts]
        try:
            until(lambda: _recording(node) == cameras, 120, "all cameras recording")
            until(lambda: all(list((Path(folder) / m).glob("*.mp4")) for m in mounts), 120, "every ffmpeg recording")
            time.sleep(5)  # steady state: the bursts of the start are nobody's rate
            ours: list[float] = []
            theirs: list[float] = []
            written = 0
            for _ in range(rounds):
                our_pids = _pids(node, "recorder", "keeper")
                written = written_bytes(_pids(node, "recorder"))
                our_meter, their_meter = Meter(our_pids), Meter(p.pid for p in peers)
                time.sleep(window_s)
                for meter, values in ((our_meter, ours), (their_meter, theirs)):
                    used_ms, wall_s = meter.read()
                    values.append(used_ms / wall_s / cameras)
                written = written_bytes(_pids(node, "recorder")) - written
            received = cameras * window_s * 4_040_000 / 8
        finally:
            for peer in peers:
                peer.terminate()
            for peer in peers:
                peer.wait()
    return {
        "cameras": cameras,
        "ours_ms_per_camera_second": [round(v, 2) for v in ours],
        "ffmpeg_ms_per_camera_second": [round(v, 2) for v in theirs],
        "ratio": round(median(ours) / median(theirs), 3),
        "bytes_written_per_byte_received": round(written / received, 3),
    }


def _starts(cameras: int) -> dict[str, Any]:
    """`camera add` → first footage; a restart with `cameras` → all recording."""
    with (
        tempfile.TemporaryDirectory() as folder,
        RtspServer() as server,
        Node(Path(folder) / "node", settings=QUICK) as node,
    ):
        node.init().start()
        mounts = [f"cam{i}" for i in range(cameras)]
        for mount in mounts:
            server.add(mount, "sub")
        first = []
        for mount in mounts[:3]:
            wanted = _recording(node) + 1
            started = time.perf_counter()
            _add(node, server.url(mount), mount)
            until(functools.partial(_records, node, wanted), 60, "first footage", every_s=0.02)
            first.append(time.perf_counter() - started)
        for mount in mounts[3:]:
            _add(node, server.url(mount), mount)
        until(lambda: _recording(node) == cameras, 60, "all recording")
        node.stop()
        until(lambda: _recording(node) == 0, 30, "nothing open after the stop")
        started = time.perf_counter()
        node.start()
        until(lambda: _recording(node) == cameras, 60, "all recording again", every_s=0.02)
        restart = time.perf_counter() - started
    return {
        "camera_add_to_first_footage_s": [round(v, 2) for v in first],
        "restart_cameras": cameras,
        "restart_to_all_recording_s": round(restart, 2),
    }


def main() -> int:
    chosen = options("ingest", __doc__ or "").parse_args()
    cameras, rounds, window_s = (8, 2, 5.0) if chosen.quick else (32, 5, 14.0)
    steady = _side_by_side(cameras, rounds, window_s)
    starts = _starts(4 if chosen.quick else 16)
    bars = {
        "ours / ffmpeg, CPU per camera-second": (steady["ratio"], 1.5),
        "camera add to first footage, s": (max(starts["camera_add_to_first_footage_s"]), 5.0),
        "restart to all recording, s": (starts["restart_to_all_recording_s"], 10.0),
    }
    return report("ingest", {"side_by_side": steady, "starts": starts}, bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
