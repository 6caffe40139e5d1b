"""What goes away and comes back while a node records: the store, a camera, the node itself. And what ffmpeg says of it.

`scripts/torture recording` keeps the store away for two minutes, the suite for some seconds.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.ingest.source import RELAXED_S
from tests.parts.node import Node
from tests.parts.rtsp_server import RtspServer
from tests.parts.s3 import MinIO, SeaweedFS
from tests.parts.wait import until
from tests.torture.eyes import Disk, Row, Witness, judge, now_ms
from tests.torture.test_recording_kills import SEGMENT_S, s3_disk, settings

ON_DISK = {"recorder": {"segment_seconds": SEGMENT_S, "media_timeout_s": 3.0}}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path / "node", settings=settings() | ON_DISK).init() as made:
        yield made.start()


def clip(node: Node, camera: str, from_ms: int, to_ms: int) -> int:
    """Pictures of the clip that a person gets for this time."""
    with node.client() as client:
        answer = client.get(
            f"/api/v1/cameras/{camera}/clip.mp4", params={"from": from_ms, "to": to_ms, "reason": "outage"}
        )
    assert answer.status_code == 200, answer.text
    return decoded(answer.content)


def decoded(data: bytes) -> int:
    """Pictures in an MP4 from its first frame on, by ffmpeg; any complaint of it fails."""
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-xerror", "-err_detect", "explode", "-i", "pipe:0", "-f", "null",
         "-stats_period", "100", "-progress", "pipe:1", "-"],
        input=data, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-800:]
    assert not done.stderr.strip(), done.stderr[-800:]
    return int([line.split(b"=")[1] for line in done.stdout.splitlines() if line.startswith(b"frame=")][-1])


@pytest.mark.fault("B7")
@pytest.mark.parametrize(
    "away_s",
    [pytest.param(10, marks=pytest.mark.real, id="few"), pytest.param(120, marks=pytest.mark.torture, id="many")],
)
def test_a_store_that_is_away_loses_nothing_and_hides_nothing(
    tmp_path: Path, rtsp_server: RtspServer, away_s: int, counted: Callable[[object], None]
) -> None:
    with (MinIO if MinIO.binary() is not None else SeaweedFS)() as server:
        store = server.settings("outage")
        with Node(tmp_path / "node", settings=settings(store)).init() as node:
            disk = s3_disk(node.folder / "data", server, store["bucket"])
            with Witness(disk, tmp_path / "manifest") as witness:
                node.start()
                cameras = [node.add_camera(rtsp_server.url(mount)) for mount in ("tiny", "tiny2", "tiny_hevc")]
                until(lambda: sum(row.state == "stored" for row in disk.rows()) >= 3, 60, "segments in the store")
                before = disk.spool_files()
                server.kill()
                away_ms, end_s = now_ms(), time.monotonic() + away_s
                played = 0
                while time.monotonic() < end_s:  # the length of the outage is the test's subject
                    since = played
                    until(
                        lambda: min(last_end(disk, camera) for camera in cameras) > now_ms() - 1000 * (SEGMENT_S + 2),
                        30, "footage goes on",
                    )  # fmt: skip
                    from_ms = max(away_ms, now_ms() - 12_000)
                    if now_ms() - from_ms > 4_000:
                        played += clip(node, cameras[since % 3], from_ms, now_ms() - 2_000)
                grown = disk.spool_files()
                assert grown >= before + len(cameras) * (away_s // SEGMENT_S) * 0.7
                assert all(row.state == "spooled" for row in disk.rows() if row.start_ms > away_ms)
                server.start()
                back_s = time.monotonic()
                until(lambda: backlog_before(disk, now_ms() - 5000) == 0, 120 + away_s, "the backlog is drained")
                drained_s = time.monotonic() - back_s
                # The time of the outage, now from the store.
                assert clip(node, cameras[0], away_ms + 1000, away_ms + 6000) > 50
                for camera in cameras:
                    node.cli("camera", "set", camera, "--disable")
                until(lambda: not disk.parts(), 30, "the last segments are sealed")
                until(lambda: len(disk.gaps()) == len(cameras), 30, "recording has ended")
                until(lambda: backlog_before(disk, now_ms()) == 0, 60, "the last segments are stored")
                node.stop()
        verdict = judge(disk, witness.told(), [])
        in_store = 0
        for row in disk.rows():
            if row.state == "stored":
                data = disk.stored_bytes_of(row)
                assert data is not None
                assert hashlib.sha256(data).digest() == row.sha256
                in_store += 1
    counted(
        f"{server.kind} away {away_s} s; spool {before} → {grown} files; drained in {drained_s:.1f} s; pictures played "
        f"meanwhile {played}; in the store by hash {in_store} of {verdict.segments}; {verdict}"
    )
    assert verdict.faults == {}
    assert {gap.cause for gap in disk.gaps()} == {"disabled"}
    assert in_store == verdict.segments > grown


def last_end(disk: Disk, camera: str) -> int:
    return max((row.end_ms for row in disk.rows() if row.camera == camera), default=0)


def backlog_before(disk: Disk, moment_ms: int) -> int:
    return sum(row.state == "spooled" and row.end_ms < moment_ms for row in disk.rows())


@pytest.mark.real
def test_ffmpeg_finds_every_segment_whole_and_every_run_continuous(
    node: Node, rtsp_server: RtspServer, counted: Callable[[object], None]
) -> None:
    mounts = ("tiny", "tiny_hevc", "tiny_aac", "tiny_pcma", "tiny_pcmu")
    cameras = {node.add_camera(rtsp_server.url(mount)): mount for mount in mounts}
    for camera, mount in cameras.items():
        if _has_sound(mount):
            node.cli("camera", "set", camera, "--audio", "--audio-basis", "辽公发 3 号")
    since_ms = now_ms() + 1000
    disk = Disk(node.folder / "data")
    until(lambda: all(_count(disk, camera, since_ms) >= 5 for camera in cameras), 90, "five segments of each camera")
    node.stop()
    joints, worst_frames = 0, 0.0
    for camera, mount in cameras.items():
        rows = [row for row in disk.rows() if row.camera == camera and row.start_ms > since_ms]
        looked = [(row, *_packets(disk, row, mount)) for row in rows]
        for (first, end, _, first_sound), (second, _, start, second_sound) in pairwise(looked):
            if first.run != second.run:
                continue
            joints += 1
            worst_frames = max(worst_frames, abs(start - end) / 0.04)
            assert abs(start - end) <= 0.04, f"{mount}: {start - end:.3f} s between two segments"
            if first_sound is not None and second_sound is not None:
                assert abs(second_sound[0] - first_sound[1]) <= 0.07, f"{mount}: sound leaves off between segments"
    total = sum(_count(disk, camera, since_ms) for camera in cameras)
    counted(f"{total} segments of {len(mounts)} kinds decode; joints {joints}, worst {worst_frames:.2f} frames")
    assert joints >= 3 * len(mounts)


def _has_sound(mount: str) -> bool:
    return "_aac" in mount or "_pcm" in mount


def _count(disk: Disk, camera: str, since_ms: int = 0) -> int:
    return sum(row.camera == camera and row.start_ms > since_ms for row in disk.rows())


def _packets(disk: Disk, row: Row, mount: str) -> tuple[float, float, tuple[float, float] | None]:
    """(end of the last picture, start of the first, (start, end) of the sound) in run time, after a full decode."""
    data = disk.bytes_of(row)
    assert data is not None
    expected = (row.end_ms - row.start_ms) / 40
    assert -2 <= decoded(data) - expected <= 10
    found = _probe(data)
    pictures = [packet for packet in found if packet["codec_type"] == "video"]
    assert pictures[0]["flags"].startswith("K")
    times = sorted(float(packet["pts_time"]) for packet in pictures)
    for one, next_ in pairwise(times):
        assert abs(next_ - one - 0.04) <= 0.02, f"{mount}: {next_ - one:.3f} s between pictures at {one:.3f}"
    sound = [packet for packet in found if packet["codec_type"] == "audio"]
    if row.end_ms - row.start_ms > 200:  # the last one of a run may be a single picture
        assert bool(sound) == _has_sound(mount)
    span = (float(sound[0]["pts_time"]), _end(sound[-1])) if sound else None
    return times[-1] + 0.04, times[0], span


def _end(packet: dict[str, Any]) -> float:
    return float(packet["pts_time"]) + float(packet["duration_time"])


def _probe(data: bytes) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "packet=codec_type,pts_time,duration_time,flags", "-of", "json",
         "pipe:0"],
        input=data, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    packets: list[dict[str, Any]] = json.loads(done.stdout)["packets"]
    return packets


@pytest.mark.fault("A1")
@pytest.mark.real
def test_a_camera_without_power_is_a_gap_with_its_cause_and_comes_back(
    node: Node, rtsp_factory: Callable[..., RtspServer], counted: Callable[[object], None]
) -> None:
    cameras = rtsp_factory({"gate": "tiny", "door": "tiny2"})
    gate, door = node.add_camera(cameras.url("gate")), node.add_camera(cameras.url("door"))
    disk = Disk(node.folder / "data")
    until(lambda: min(_count(disk, gate), _count(disk, door)) >= 2, 60, "footage of both")

    cameras.unplug("gate")
    gone_ms = now_ms()
    until(lambda: now_ms() > gone_ms + 4000, 10, "some seconds without power")
    cameras.plug("gate")
    plugged_ms = now_ms()
    until(lambda: [gap for gap in disk.gaps() if gap.to_ms is not None], 30, "the gap ends by itself")
    until(lambda: last_end(disk, gate) > now_ms() - 4000, 30, "and footage goes on")
    (gap,) = disk.gaps()
    assert (gap.camera, gap.cause) == (gate, "camera_offline")
    assert abs(gap.from_ms - gone_ms) <= 500
    (first_after,) = [row.start_ms for row in disk.rows() if row.camera == gate and row.start_ms >= (gap.to_ms or 0)][
        :1
    ]
    assert gap.to_ms is not None
    assert abs(gap.to_ms - first_after) <= 500
    assert gap.to_ms >= plugged_ms
    spans = node.get(f"/cameras/{gate}/timeline", **{"from": gone_ms - 1000, "to": now_ms()})["spans"]
    (shown,) = [span for span in spans if span["kind"] == "gap"]
    assert shown["cause"] == "camera_offline"
    assert shown["reason"]["zh"]
    back_ms = gap.to_ms - plugged_ms

    # Half-open: the connections stand and nothing comes. Both cameras are silent, and that is the network's fault.
    cameras.pause()
    paused_ms = now_ms()
    until(lambda: len([gap for gap in disk.gaps() if gap.cause == "network"]) == 2, 30, "silence is noticed")
    cameras.resume()
    until(lambda: all(gap.to_ms is not None for gap in disk.gaps()), 60, "both come back")
    silent = [gap for gap in disk.gaps() if gap.cause == "network"]
    assert all(abs(gap.from_ms - paused_ms) <= 500 for gap in silent)
    kept = len(disk.rows())
    until(lambda: len(disk.rows()) > kept + 2, 30, "footage goes on")
    node.stop()
    verdict = judge(disk, {}, [])
    counted(
        f"unplugged: gap begins {gap.from_ms - gone_ms} ms after, footage again {back_ms} ms after power; silent: "
        f"{[gap.from_ms - paused_ms for gap in silent]} ms; {verdict}"
    )
    assert verdict.faults == {}


@pytest.mark.real
def test_a_node_that_is_stopped_seals_and_names_the_time_it_was_down(
    node: Node, rtsp_server: RtspServer, counted: Callable[[object], None]
) -> None:
    camera = node.add_camera(rtsp_server.url("tiny"))
    disk = Disk(node.folder / "data")
    until(lambda: _count(disk, camera) >= 2, 60, "footage")
    stopped_ms = now_ms()
    node.stop()
    down_ms = now_ms()
    assert disk.parts() == []
    assert disk.quarantined() == []
    # Nobody watches, so the source reads every `RELAXED_S`; libav holds a picture until the next one begins.
    assert last_end(disk, camera) >= stopped_ms - 1000 * RELAXED_S - 200, "what was open is sealed and has its row"
    assert not any(row.salvaged for row in disk.rows())
    kept = _count(disk, camera)
    started_ms = now_ms()
    node.start()
    until(lambda: _count(disk, camera) > kept, 60, "footage again")
    (gap,) = disk.gaps()
    assert gap.cause == "recorder_down"
    assert gap.to_ms is not None
    assert gap.from_ms >= stopped_ms - 500
    assert gap.from_ms <= down_ms
    assert disk.bytes_of(disk.rows()[-1]) is not None

    # The supervisor alone is killed and comes back at once: its children find out, and wait for their predecessors.
    killed_ms = now_ms()
    node.kill_supervisor()
    node.start()
    until(lambda: last_end(disk, camera) > now_ms() - 4000, 60, "footage again")
    node.stop()
    verdict = judge(disk, {}, [])
    second = [gap for gap in disk.gaps() if gap.to_ms is not None][1]
    counted(
        f"SIGTERM took {down_ms - stopped_ms} ms, restart to footage {gap.to_ms - started_ms} ms; supervisor killed: "
        f"gap {second.from_ms - killed_ms} … {(second.to_ms or 0) - killed_ms} ms; {verdict}"
    )
    assert verdict.faults == {}
    assert {gap.cause for gap in disk.gaps()} == {"recorder_down"}
