"""What the watchdog compares: a thread that should live, a camera that should be seen, pictures that should be kept.

Sources are scripted here: no real camera makes a library hang or a thread die on demand. Cameras with real faults are
in tests/torture/test_recording_cameras.py.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import insert

from config.clock import SystemClock
from config.redact import Secret
from gateway.access.ids import fresh_id
from gateway.ingest import backoff, supervision
from gateway.ingest.backoff import Openings
from gateway.ingest.fleet import Fleet, FleetTools
from gateway.ingest.ledger import Ledger
from gateway.ingest.logins import Logins
from gateway.ingest.recorded_time import RecordedTime
from gateway.ingest.source import StreamAddress
from gateway.ingest.supervision import CameraTask, TaskTools
from gateway.ingest.writer import WriterPool
from storage.catalog.cameras import NewCamera, change_camera, create_camera
from storage.catalog.engine import Catalog
from storage.catalog.gaps import GapRow, gaps_between
from storage.catalog.segments import SegmentRow, all_segments
from storage.catalog.status import StreamDuty, past
from storage.catalog.tables import region
from storage.media.access_unit import AccessUnit, StreamConfig, Track
from storage.spool import Spool
from tests.gateway.ingest.volumes import one_volume
from tests.media import EncodedPacket, access_units, encode_h264, stream_config
from tests.parts.catalog import new_catalog
from tests.parts.wait import until

REGION = "210211001003"


class Scripted:
    """A camera of 25 pictures a second that does what its script says: `play`, `sound`, `no key`, `hang`, `crash`."""

    def __init__(self, plan: Callable[[], str], clock: SystemClock, packets: Sequence[EncodedPacket]) -> None:
        self.relaxed = False
        self.cut_off = threading.Event()
        self._stopped = threading.Event()
        self._plan, self._clock, self._packets = plan, clock, packets
        self.deaf = False  #: not even `cut` ends it

    def open(self) -> None:
        if self._plan() == "hang":
            self.cut_off.wait()
            if self.deaf:
                threading.Event().wait()

    def stop(self) -> None:
        self._stopped.set()

    def cut(self) -> None:
        self._stopped.set()
        self.cut_off.set()

    def close(self) -> None:
        pass

    def __iter__(self) -> Iterator[StreamConfig | AccessUnit]:
        yield stream_config("h264", self._packets)
        turn = 0
        while True:
            for unit in access_units("h264", self._packets[:25], dts_offset=turn * 90_000):
                if self._stopped.wait(0.02):
                    return
                plan = self._plan()
                if plan == "crash":
                    raise SystemExit  # what no handler of Exception catches
                unit.wall_ns = self._clock.wall_ns()
                if plan == "sound":
                    yield replace(unit, track=Track.AUDIO)
                elif plan == "no key":
                    yield replace(unit, key=False)
                elif plan == "play":
                    yield unit
            turn += 1


class Bench:
    """A fleet with a real catalog and spool, and cameras by script."""

    def __init__(self, folder: Path, media_timeout_s: float = 1.0) -> None:
        url = f"sqlite:///{folder / 'catalog.db'}"
        new_catalog(url)
        self.clock = SystemClock()
        self.catalog = Catalog(url)
        place = insert(region).values(code=REGION, name="测试社区", tier="community", valid_from_ms=0)
        self.catalog.write(lambda c: c.execute(place))
        self.ledger = Ledger(self.catalog, 0.01)
        self.writers = WriterPool(1)
        self.packets = encode_h264(2.0)
        self.plans: dict[str, str] = {}
        self.made: dict[str, list[Scripted]] = {}
        self.deaf: set[str] = set()

        def source(address: StreamAddress) -> Scripted:
            name = address.url.rpartition("/")[2]
            made = Scripted(lambda: self.plans[name], self.clock, self.packets)
            made.deaf = name in self.deaf
            self.made.setdefault(name, []).append(made)
            return made

        tasks = TaskTools(
            sources=source, open_credential=lambda _: Secret(""), ledger=self.ledger, clock=RecordedTime(self.clock),
            media_timeout_s=media_timeout_s, logins=Logins(self.clock, folder / "logins"), openings=Openings(),
            enter_thread=lambda _: None,
        )  # fmt: skip
        tools = FleetTools(
            tasks=tasks, volumes=one_volume(Spool(folder / "spool", self.clock, "node"), self.writers),
            ids=lambda: fresh_id(self.clock), node_id="node",
            segment_ms=2000, fragment_ms=680, linger_s=0.1,
        )  # fmt: skip
        self.fleet = Fleet(tools, asyncio.new_event_loop())
        self.duties: dict[str, StreamDuty] = {}

    def add(self, name: str, plan: str = "play") -> CameraTask:
        self.plans[name] = plan
        url, now_ms = f"rtsp://x/{name}", self.clock.wall_ns() // 10**6
        new = NewCamera(name=name, region=REGION, streams=(("main", url, None),))
        camera = self.catalog.write(lambda c: create_camera(c, new, "community", 32, now_ms)).id
        self.duties[name] = StreamDuty(camera, "main", url, False, True, True, False, "default", now_ms, None)
        self.apply()
        return self.task(name)

    def apply(self) -> None:
        self.fleet.apply(list(self.duties.values()), {})

    def task(self, name: str) -> CameraTask:
        return next(t for t in self.fleet.tasks if t.duty.camera_id == self.duties[name].camera_id)

    def turn(self) -> None:
        """What the recorder's loop and ticker do."""
        self.fleet.watchdog()
        self.fleet.tick()

    def until(self, predicate: Callable[[], object], timeout_s: float, what: str) -> None:
        def turned() -> bool:
            self.turn()
            return bool(predicate())

        until(turned, timeout_s, what, every_s=0.05)

    def segments(self, name: str) -> list[SegmentRow]:
        self.ledger.flush(5)
        rows = self.catalog.read(lambda c: all_segments(c, ["spooled"]))
        return [row for row in rows if row.camera_id == self.duties[name].camera_id]

    def gaps(self, name: str) -> list[GapRow]:
        self.ledger.flush(5)
        return self.catalog.read(lambda c: gaps_between(c, self.duties[name].camera_id, "main", 0, 10**15))

    def close(self) -> None:
        self.deaf.clear()
        self.fleet.stop("test")
        for made in self.made.values():
            for source in made:
                source.cut()
        self.writers.close(5)
        self.ledger.close()
        self.catalog.close()
        self.fleet._loop.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_replaced_and_counted(bench: Bench) -> None:
    task = bench.add("gate")
    bench.until(lambda: bench.segments("gate"), 20, "footage")
    bench.plans["gate"] = "crash"
    bench.until(lambda: len(bench.made["gate"]) >= 2, 10, "a new one")
    bench.plans["gate"] = "play"
    bench.until(lambda: task.state == "online", 10, "pictures again")
    bench.until(lambda: bench.gaps("gate")[-1].to_ms is not None, 10, "the gap ends")
    assert bench.fleet.restarts()["dead"] >= 1


@pytest.mark.fault("A2")
def test_sound_alone_does_not_show_that_a_camera_sees_anything(bench: Bench) -> None:
    bench.add("gate")
    bench.until(lambda: bench.segments("gate"), 20, "footage")
    bench.plans["gate"] = "sound"
    bench.until(lambda: bench.gaps("gate"), 10, "a gap although bytes come")
    (gap,) = bench.gaps("gate")
    assert gap.reason is not None
    assert (gap.cause, gap.reason["code"]) == ("network", "camera.silent")
    assert bench.fleet.restarts()["silent"] >= 1


def test_pictures_that_become_no_footage_are_worth_a_new_session(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_USELESS_NS", 500_000_000)
    task = bench.add("gate", "no key")
    task._useless_ns = supervision._USELESS_NS
    bench.until(lambda: bench.fleet.restarts().get("useless", 0) >= 2, 20, "two new sessions")
    (gap,) = bench.gaps("gate")
    assert gap.reason is not None
    assert (gap.cause, gap.reason["code"]) == ("camera_offline", "recorder.stopped_sending")
    assert gap.from_ms == task.duty.changed_ms, "a camera that has never given footage owes it since it was registered"
    assert task._useless_ns >= 4 * supervision._USELESS_NS, "longer each time: a key frame may come every few minutes"
    bench.plans["gate"] = "play"
    bench.until(lambda: bench.segments("gate"), 20, "footage")
    bench.until(lambda: task._useless_ns == supervision._USELESS_NS, 10, "and all is forgiven")


@pytest.mark.fault("A3")
def test_a_hanging_library_is_cut_off_and_a_deaf_one_is_left_without_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "LONGEST_S", 0.2)
    task = bench.add("gate", "hang")
    bench.until(lambda: len(bench.made["gate"]) >= 3, 20, "it is tried again and again")
    assert all(source.cut_off.is_set() for source in bench.made["gate"][:2])
    bench.until(lambda: sum(t.thread.is_alive() for t in task._over) <= 1, 10, "no thread hangs")
    assert task.hung == 0

    other = bench.add("deaf", "hang")
    bench.deaf.add("deaf")
    bench.made["deaf"][0].deaf = True
    bench.until(lambda: other.hung >= supervision.HUNG_MAX, 60, "three that nothing ends")
    tries = len(bench.made["deaf"])
    bench.add("good")
    bench.until(lambda: len(bench.segments("good")) >= 2, 20, "a neighbour records for some seconds")
    assert len(bench.made["deaf"]) <= tries + 1, "no thread more is spent on it"


def test_what_fails_for_one_camera_fails_for_that_camera_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = bench.add("bad")
    hits = []

    def broken(*_: object) -> None:
        hits.append(1)
        raise RuntimeError("broken")

    for name in ("tick", "watchdog", "update"):
        monkeypatch.setattr(bad, name, broken)
    bench.add("good")
    bench.until(lambda: bench.segments("good"), 20, "the neighbour records and its segments end")
    assert len(hits) > 10
    assert bench.fleet.incomplete, "and the recorder will look again"


def test_a_task_that_should_run_and_does_not_is_started(bench: Bench) -> None:
    task = bench.add("gate")
    bench.until(lambda: task.state == "online", 10, "pictures")
    task.stop("by mistake")
    bench.until(lambda: task.state == "online", 10, "pictures again")
    assert bench.fleet.restarts() == {"missing": 1}


def test_outside_its_week_a_camera_misses_nothing_whatever_becomes_of_it(bench: Bench) -> None:
    task = bench.add("gate")
    bench.until(lambda: bench.segments("gate"), 20, "footage")
    duty = bench.duties["gate"]
    earlier = {gap.id for gap in bench.gaps("gate")}  # of a box that was busy for a second

    def gaps() -> list[GapRow]:
        return [gap for gap in bench.gaps("gate") if gap.id not in earlier]

    bench.fleet.watch(duty.camera_id, "main")  # somebody watches: the stream stays, the footage does not
    bench.duties["gate"] = replace(duty, scheduled=False)
    bench.apply()
    (gap,) = gaps()
    assert gap.reason is not None
    assert (gap.cause, gap.reason["code"], gap.to_ms) == ("disabled", "camera.outside_schedule", None)
    assert task.state == "online"
    bench.until(lambda: task.recording is not None and task.recording.idle, 10, "what was open is sealed")
    kept = len(bench.segments("gate"))
    bench.plans["gate"] = "silence"
    bench.until(lambda: task.state == "offline", 10, "the camera is away")
    assert [g.cause for g in gaps()] == ["disabled"]
    bench.plans["gate"] = "play"
    bench.until(lambda: task.state == "online", 10, "the camera is back")
    bench.fleet.unwatch(duty.camera_id, "main")
    bench.fleet._lingered((duty.camera_id, "main"))  # what the loop does when its time comes
    assert (task.running, task.cause) == (False, "disabled"), "where nobody watches, its state says why"
    assert len(bench.segments("gate")) == kept
    bench.duties["gate"] = duty
    bench.apply()
    bench.until(lambda: gaps()[-1].to_ms is not None, 10, "footage again")
    (gap,) = gaps()
    bench.until(lambda: len(bench.segments("gate")) > kept, 20, "and segments")
    assert gap.to_ms in {row.start_ms for row in bench.segments("gate")}


def test_while_its_owner_records_it_a_camera_misses_nothing_here_and_what_was_missing_stays_told(bench: Bench) -> None:
    bench.add("gate")
    bench.until(lambda: bench.segments("gate"), 20, "footage")
    duty = bench.duties["gate"]
    bench.plans["gate"] = "silence"
    bench.until(lambda: bench.task("gate").state == "offline", 10, "the camera is away")
    earlier = [gap.id for gap in bench.gaps("gate")]

    def hand(recorded_by: str) -> None:
        now_ms = bench.clock.wall_ns() // 10**6
        bench.catalog.write(lambda c: change_camera(c, duty.camera_id, {"recorded_by": recorded_by}, now_ms))
        bench.duties["gate"] = replace(duty, recorded=recorded_by == "self")
        past_of = {(duty.camera_id, "main"): bench.catalog.read(lambda c: past(c, duty.camera_id, "main"))}
        bench.fleet.apply(list(bench.duties.values()), past_of)

    hand("owner")
    *before, theirs = bench.gaps("gate")
    assert [gap.id for gap in before] == earlier and all(gap.to_ms is not None for gap in before)
    assert theirs.reason is not None
    assert (theirs.cause, theirs.reason["code"], theirs.to_ms) == ("disabled", "camera.owner_records", None)
    hand("self")
    *before, theirs, ours = bench.gaps("gate")
    assert [gap.id for gap in before] == earlier
    assert (theirs.cause, theirs.to_ms, ours.cause) == ("disabled", ours.from_ms, "recorder_down")


def test_a_recorder_that_hears_late_of_an_owner_leaves_no_gap_of_its_own_open(bench: Bench) -> None:
    bench.add("gate")
    bench.until(lambda: bench.segments("gate"), 20, "footage")
    duty = bench.duties["gate"]
    now_ms = bench.clock.wall_ns() // 10**6
    bench.catalog.write(lambda c: change_camera(c, duty.camera_id, {"recorded_by": "owner"}, now_ms))
    bench.plans["gate"] = "silence"
    bench.until(lambda: bench.task("gate").state == "offline", 10, "the camera is away")
    bench.duties["gate"] = replace(duty, recorded=False)
    bench.apply()
    assert [gap.cause for gap in bench.gaps("gate") if gap.to_ms is None] == ["disabled"]
