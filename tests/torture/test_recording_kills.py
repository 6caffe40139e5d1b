"""kill -9 of each process of a whole node while three cameras record: nothing acknowledged is lost. (I1, I2, I5)

`scripts/torture recording [--points N]` kills each process N times (50), the suite once or twice. An outsider's
eyes (`tests.torture.eyes`) judge; the known-bad twin runs under the same eyes, and a run in which nothing was
acknowledged or nothing open was hit fails.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.parts.node import QUICK, Node
from tests.parts.rtsp_server import RtspServer
from tests.parts.s3 import MinIO, S3Server, SeaweedFS
from tests.parts.wait import until
from tests.torture.commit_path import Life, begin, prepare
from tests.torture.eyes import Disk, Kill, Part, Verdict, Witness, judge, now_ms

POINTS = int(os.environ.get("TIERGATE_TORTURE_POINTS", "5" if "TIERGATE_TORTURE_QUICK" in os.environ else "50"))
CHILDREN = ("recorder", "keeper", "relay", "web", "worker")
SEGMENT_S = 2
#: Who writes footage, or whose end ends the writer.
RECORDING = ("node", "supervisor", "recorder")


def points(few: int) -> pytest.MarkDecorator:
    """How often each process is killed."""
    values = [
        pytest.param(few, marks=pytest.mark.real, id="few"),
        pytest.param(POINTS, marks=pytest.mark.torture, id="many"),
    ]
    return pytest.mark.parametrize("times", values)


class Field:
    """A node with three cameras, somebody who kills it, and somebody who looks."""

    def __init__(self, node: Node, urls: list[str], disk: Disk, seed: int) -> None:
        self.node, self.disk = node, disk
        self.cameras = [node.add_camera(url) for url in urls]
        self.kills: list[Kill] = []
        self._dice = random.Random(seed)

    def recording(self, after_ns: int) -> bool:
        return all(self.disk.growing_since(camera, after_ns) for camera in self.cameras)

    def until_recording(self) -> None:
        since_ns = time.time_ns()
        until(lambda: self.recording(since_ns), 60, "every camera is recorded")

    def kill(self, who: str) -> None:
        """Half of them die in full work, half at some instant of their start."""
        if self._dice.random() < 0.5:
            if who in CHILDREN:
                until(lambda: self._ready(who), 60, f"{who} is ready")
            time.sleep(self._dice.uniform(0, SEGMENT_S))  # the instant of the kill, not a wait for anything
        elif who in CHILDREN:
            until(lambda: self.node.pid_of(who), 60, f"{who} runs")
            time.sleep(self._dice.uniform(0, 0.5))  # as above
        self._strike(who)
        if who in ("node", "supervisor"):
            self.node.launch()
            if self._dice.random() < 0.25:  # once more, while it starts
                time.sleep(self._dice.uniform(0, 3))  # as above
                self._strike(who)
                self.node.launch()
        if who in RECORDING:  # that the others' ends cost no picture is seen in the account
            self.until_recording()

    def _strike(self, who: str) -> None:
        if who == "node":
            parts, at_ms = self.disk.parts(), now_ms()
            self.node.kill()
        elif who == "supervisor":
            parts, at_ms = self.disk.parts(), now_ms()
            self.node.kill_supervisor()
        else:
            pid = until(lambda: self.node.pid_of(who), 60, f"{who} runs")
            parts, at_ms = self.disk.parts(), now_ms()
            os.kill(pid, signal.SIGKILL)
        self.kills.append(Kill(who, at_ms, tuple(parts) if who in RECORDING else ()))

    def _ready(self, who: str) -> bool:
        name = "recorder-0" if who == "recorder" else who
        ready = self.node.folder / "data" / "run" / f"{name}.ready"
        return ready.exists() and int(ready.read_text()) == self.node.pid_of(who)


def torture(node: Node, urls: list[str], disk: Disk, seed: int, victims: list[str], manifest: Path) -> Verdict:
    with Witness(disk, manifest) as witness:
        node.start()
        field = Field(node, urls, disk, seed)
        field.until_recording()
        for who in victims:
            field.kill(who)
        kept = len(witness.told())
        until(lambda: len(witness.told()) > kept + 2, 60, "segments after the last kill")
        until(lambda: any(row.state == "stored" for row in disk.rows()), 60, "a segment in the store")
        node.stop()
    verdict = judge(disk, witness.told(), field.kills)
    verdict.faults |= unexplained_gaps(disk, field.kills)
    return verdict


def unexplained_gaps(disk: Disk, kills: list[Kill]) -> dict[str, list[str]]:
    """A gap is there because the recorder died, begins where its footage ended, and is called so."""
    struck = [kill.at_ms for kill in kills if kill.who in RECORDING]
    found = [
        f"{gap.camera} {gap.cause} {gap.from_ms} to {gap.to_ms}"
        for gap in disk.gaps()
        if gap.to_ms is not None
        and (gap.cause != "recorder_down" or not any(gap.from_ms - 500 <= at <= gap.to_ms for at in struck))
    ]
    return {"gap without a kill": found} if found else {}


def sequence(seed: int, times: int) -> list[str]:
    victims = [who for who in ("node", "supervisor", *CHILDREN) for _ in range(times)]
    random.Random(seed).shuffle(victims)
    return victims


def settings(store: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    return {
        **QUICK,
        "recorder": {"segment_seconds": SEGMENT_S},
        "spool": {"min_free_percent": 0.0, "critical_free_percent": 0.0},
        **({"store": store} if store else {}),
    }


def s3_disk(data: Path, server: S3Server, bucket: str) -> Disk:
    client = server.client()

    def read(key: str) -> bytes | None:
        answer = client.get_object(bucket, key)
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()

    return Disk(data, read)


def held_to_account(verdict: Verdict, seed: int, kills: int) -> None:
    assert sum(verdict.kills.values()) >= kills
    assert verdict.proves_something, f"seed {seed}: {verdict}"
    assert verdict.faults == {}, f"seed {seed}: {verdict}\n{verdict.faults}"


@pytest.mark.fault("B1")
@points(few=2)
def test_nothing_is_lost_by_kill_9_of_any_process(
    tmp_path: Path, rtsp_server: RtspServer, times: int, counted: Callable[[object], None]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    victims = sequence(seed, times)
    urls = [rtsp_server.url(mount) for mount in ("tiny", "tiny2", "tiny_hevc")]
    with Node(tmp_path / "node", settings=settings()).init() as node:
        verdict = torture(node, urls, Disk(node.folder / "data"), seed, victims, tmp_path / "manifest")
    counted(f"seed {seed}; {verdict}")
    held_to_account(verdict, seed, len(victims))


@pytest.mark.fault("B1")
@points(few=1)
def test_nothing_is_lost_by_kill_9_before_an_s3_store(
    tmp_path: Path, rtsp_server: RtspServer, times: int, counted: Callable[[object], None]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    victims = sequence(seed, times)
    urls = [rtsp_server.url(mount) for mount in ("tiny", "tiny2", "tiny_hevc")]
    with (MinIO if MinIO.binary() is not None else SeaweedFS)() as server:
        store = server.settings("torture")
        with Node(tmp_path / "node", settings=settings(store)).init() as node:
            disk = s3_disk(node.folder / "data", server, store["bucket"])
            verdict = torture(node, urls, disk, seed, victims, tmp_path / "manifest")
        counted(f"{server.kind}, seed {seed}; {verdict}")
        held_to_account(verdict, seed, len(victims))
        assert verdict.states["stored"] > 0


@pytest.mark.parametrize(
    "", [pytest.param(marks=pytest.mark.real, id="few"), pytest.param(marks=pytest.mark.torture, id="many")]
)
def test_the_same_eyes_catch_a_row_before_its_bytes(
    tmp_path: Path, rtsp_server: RtspServer, counted: Callable[[object], None]
) -> None:
    twin = Path(__file__).with_name("wrong_order")
    node = Node(tmp_path / "node", settings=settings(), python_path=(twin,)).init()
    disk, kills, verdict = Disk(node.folder / "data"), 0, Verdict()
    with node, Witness(disk, tmp_path / "manifest") as witness:
        node.start()
        camera = node.add_camera(rtsp_server.url("tiny"))
        for _ in range(20):
            kept = len(witness.told())
            until(partial(_told_more, witness, kept), 60, "the twin acknowledges", every_s=0.01)
            pid = node.pid_of("recorder")
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            kills += 1
            until(partial(disk.growing_since, camera, time.time_ns()), 60, "the twin records again")
            verdict = judge(disk, witness.told(), [])
            if verdict.faults.get("row without its bytes"):
                break
    counted(f"wrong order of commits caught after {kills} kills: {verdict.faults}")
    assert verdict.acknowledged > 0
    assert verdict.faults.get("row without its bytes")


def _told_more(witness: Witness, than: int) -> bool:
    return len(witness.told()) > than


def test_a_part_is_lost_by_the_first_kill_that_found_it_open(tmp_path: Path) -> None:
    """A node that is killed again while it starts has taken nothing from what its predecessor had left."""
    folder = tmp_path / "node"
    prepare(folder)
    begin(Life(str(folder), seconds=1.0), lambda rows: None)()
    disk = Disk(folder)
    (row,) = disk.rows()
    part = Part(row.id, row.camera, row.size)
    kills = [Kill("node", row.end_ms + 500, (part,)), Kill("node", row.end_ms + 3_000, (part,))]
    verdict = judge(disk, {}, kills, decode=False)
    assert (verdict.most_lost_ms, verdict.parts_hit, verdict.faults) == (500, 1, {})
    assert "too much of an open segment lost" in judge(disk, {}, kills[1:], decode=False).faults


def test_a_run_without_acknowledgements_proves_nothing() -> None:
    assert not Verdict().proves_something
    good = Verdict(acknowledged=9, segments=9, parts_hit=3)
    good.kills["recorder"] = 3
    assert good.proves_something
    good.acknowledged = 0
    assert not good.proves_something
