"""Cameras at their worst, side by side in one recorder: each has its fault, and none of it reaches another.

The module's recorder runs with the settings of a real one (the bars are meant with them), and all faults go on at the
same time: what the tests have in common is the wait.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from storage.catalog import facts
from storage.catalog.gaps import GapRow
from storage.catalog.status import WATCHDOG_FACT
from tests.gateway.ingest.station import Station
from tests.media import decode_mp4
from tests.parts.relay import TcpRelay
from tests.parts.rtsp_gate import Message, RtspGate, Talk, reply
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until

pytestmark = pytest.mark.real

#: "to ±0.2 s"
EXACT_MS = 200
GOP_MS = 1000


class Mute(RtspGate):
    """Plays, but sends no picture: reports, replies and all else go on."""

    chatter = 0

    def frame(self, talk: Talk, channel: int, frame: bytes) -> tuple[bytes, ...]:
        if not self.active:
            return (frame,)
        if channel % 2 == 0:
            self.hits += 1
            if self.hits % 25:
                return ()
            # Reports, as cameras send them with or without a picture: what a watchdog must not be fed with.
            self.chatter += 1
            return (b"$\x01\x00\x1c" + _sender_report(frame[12:16]),)
        return (frame,)


def _sender_report(ssrc: bytes) -> bytes:
    return struct.pack(">BBH", 0x80, 200, 6) + ssrc + bytes(20)


class Holes(RtspGate):
    """Drops the pictures of some seconds; the session stands."""

    def frame(self, talk: Talk, channel: int, frame: bytes) -> tuple[bytes, ...]:
        if self.active and channel == 0:
            self.hits += 1
            return ()
        return (frame,)


class Noise(RtspGate):
    """4 KiB of noise between two frames, when told."""

    def frame(self, talk: Talk, channel: int, frame: bytes) -> tuple[bytes, ...]:
        if not self.active or channel != 0:
            return (frame,)
        self.active = False
        self.hits += 1
        return (random.Random(4).randbytes(4096), frame)


class OtherSource(RtspGate):
    """From some moment on the stream has another SSRC and another clock, as after an encoder's restart."""

    def frame(self, talk: Talk, channel: int, frame: bytes) -> tuple[bytes, ...]:
        if not self.active or channel != 0:
            return (frame,)
        self.hits += 1
        stamp = (int.from_bytes(frame[8:12], "big") + 123 * 90_000) & 0xFFFF_FFFF
        return (frame[:8] + stamp.to_bytes(4, "big") + b"\x0b\xad\xca\xfe" + frame[16:],)


class ShortSessions(RtspGate):
    """Ends a session that was not kept alive, and refuses the methods that most clients do it with."""

    timeout_s = 6
    methods = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"
    refused = 0
    kept = 0
    expired = 0

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self._alive_s: dict[Talk, float] = {}

    def request(self, talk: Talk, request: Message) -> bytes | None:
        if request.method == "OPTIONS" and request.header("Session") is None:
            return reply(request, "200 OK", f"Public: {self.methods}")
        if request.method in ("GET_PARAMETER", "SET_PARAMETER"):
            self.refused += 1
            if "GET_PARAMETER" in self.methods:
                self._alive_s[talk] = time.monotonic()
            return reply(request, "405 Method Not Allowed")
        if request.method == "OPTIONS":
            self.kept += 1
        self._alive_s[talk] = time.monotonic()
        return None

    def answer(self, talk: Talk, request: Message, answer: Message) -> bytes:
        raw = answer.raw
        if request.method == "SETUP":
            raw = raw.replace(b";timeout=60", b"").replace(b"Session: ", b"Session: ", 1)
            head, _, rest = raw.partition(b"Session: ")
            session, _, rest = rest.partition(b"\r\n")
            raw = head + b"Session: " + session.split(b";")[0] + f";timeout={self.timeout_s}\r\n".encode() + rest
        return raw

    def frame(self, talk: Talk, channel: int, frame: bytes) -> tuple[bytes, ...]:
        if time.monotonic() - self._alive_s.get(talk, talk.began_s) > self.timeout_s:
            self.expired += 1
            talk.close()
        return (frame,)


class Boasting(ShortSessions):
    """Names a method that it refuses when it is used; whoever asks is alive all the same."""

    methods = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"


class Silent(RtspGate):
    """Takes every connection and never says a word."""

    def request(self, talk: Talk, request: Message) -> bytes | None:
        return b""


class LockOut(RtspGate):
    """Locks the account after five refused logins, until somebody walks up to the camera."""

    refused = 0

    @property
    def locked(self) -> bool:
        return self.refused >= 5

    def answer(self, talk: Talk, request: Message, answer: Message) -> bytes:
        if request.header("Authorization") is not None and answer.status == 401:
            self.refused += 1
        return answer.raw if not self.locked else reply(request, "403 Forbidden")


@dataclass
class Field:
    """One recorder, its cameras, and who stands between."""

    station: Station
    healthy: str
    gates: dict[str, RtspGate] = field(default_factory=dict)
    cameras: dict[str, str] = field(default_factory=dict)
    relay: TcpRelay | None = None
    began_s: float = field(default_factory=time.monotonic)

    def add(self, name: str, gate: RtspGate, url: str) -> None:
        self.gates[name] = gate
        self.cameras[name] = self.station.add_camera(url)

    def gaps(self, name: str) -> list[GapRow]:
        return self.station.gaps(self.cameras[name])

    def footage(self, name: str) -> int:
        return len(self.station.segments(self.cameras[name]))


SLOW = ("OPTIONS", "DESCRIBE", "SETUP", "PLAY", "MEDIA")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, rtsp_server: RtspServer) -> Iterator[Field]:
    station = Station(tmp_path_factory.mktemp("faults") / "node", connect_timeout_s=5.0, media_timeout_s=8.0)
    kinds: dict[str, type[RtspGate]] = {
        "mute": Mute, "holes": Holes, "noise": Noise, "ssrc": OtherSource, "short": ShortSessions, "boasting": Boasting,
        "silent": Silent,
    }  # fmt: skip
    gates = {name: kind(rtsp_server.port) for name, kind in kinds.items()}
    for phase in SLOW:
        gates[f"slow-{phase}"] = RtspGate(rtsp_server.port)
        gates[f"slow-{phase}"].slow_from = phase
    with TcpRelay(rtsp_server.port) as relay:
        made = Field(station, station.add_camera(rtsp_server.url("tiny")), relay=relay)
        try:
            for name, gate in gates.items():
                gate.__enter__()
                made.add(name, gate, rtsp_server.url("tiny", port=gate.port))
            made.cameras["half-open"] = station.add_camera(rtsp_server.url("tiny", port=relay.port))
            station.process.start()
            good = ["half-open", "mute", "holes", "noise", "ssrc", "short", "boasting"]
            until(lambda: all(made.footage(name) for name in good), 60, "footage of all that give any")
            yield made
        finally:
            station.close()
            for gate in gates.values():
                gate.__exit__()


@pytest.fixture(scope="module")
def struck(stage: Field) -> dict[str, int]:
    """When each fault began, ms. All at once: the tests wait together."""
    now = stage.station.now_ms
    assert stage.relay is not None
    stage.relay.stall()
    for name in ("mute", "holes", "noise", "ssrc"):
        stage.gates[name].active = True
    return dict.fromkeys((*stage.gates, "half-open"), now)


def _detected(gap: GapRow, struck_ms: int) -> int:
    """ms after the fault at which the recorder knew; the gap itself begins where footage ended."""
    assert abs(gap.from_ms - struck_ms) <= EXACT_MS, f"the gap begins {gap.from_ms - struck_ms} ms after the fault"
    return gap.detected_ms - struck_ms


def _one_gap(stage: Field, name: str, timeout_s: float) -> GapRow:
    return until(lambda: stage.gaps(name), timeout_s, f"a gap of {name}")[0]


@pytest.mark.fault("A21")
def test_lost_seconds_within_a_session_are_a_gap_of_their_length(
    stage: Field, struck: dict[str, int], counted: Callable[[object], None]
) -> None:
    gate = stage.gates["holes"]
    until(lambda: stage.station.now_ms - struck["holes"] >= 5000, 10, "five seconds without packets")
    gate.active = False
    back_ms = stage.station.now_ms
    gap = until(lambda: [g for g in stage.gaps("holes") if g.to_ms], 20, "a closed gap")[0]
    assert gap.to_ms is not None
    assert gate.hits > 50
    assert gate.connections == 1, "the session stood"
    _detected(gap, struck["holes"])
    assert -EXACT_MS <= gap.to_ms - back_ms <= GOP_MS + EXACT_MS, "it ends with the first key frame that came"
    assert len(stage.gaps("holes")) == 1
    counted(f"{gate.hits} packets lost; gap {gap.from_ms - struck['holes']:+} … {gap.to_ms - back_ms:+} ms of truth")


@pytest.mark.fault("A2")
def test_silence_is_found_within_ten_seconds(
    stage: Field, struck: dict[str, int], counted: Callable[[object], None]
) -> None:
    gap = _one_gap(stage, "half-open", 30)
    found_ms = _detected(gap, struck["half-open"])
    assert (gap.cause, gap.reason and gap.reason["code"]) == ("network", "camera.silent")
    assert found_ms <= 10_000
    assert stage.relay is not None
    assert stage.relay.bytes_to_client > 0
    stage.relay.reset()
    stage.relay.flow()
    closed = until(lambda: (g := stage.gaps("half-open"))[-1].to_ms is not None and g, 30, "it comes back")
    assert {g.cause for g in closed} <= {"network", "camera_offline"}
    counted(f"half-open: found after {found_ms} ms, gap {gap.from_ms - struck['half-open']:+} ms of truth")


@pytest.mark.fault("A2")
def test_reports_without_a_picture_do_not_feed_the_watchdog(
    stage: Field, struck: dict[str, int], counted: Callable[[object], None]
) -> None:
    gate = stage.gates["mute"]
    assert isinstance(gate, Mute)
    gap = _one_gap(stage, "mute", 30)
    found_ms = _detected(gap, struck["mute"])
    assert gap.cause == "network"
    assert found_ms <= 10_000
    assert gate.chatter > 3
    until(lambda: gate.connections >= 2, 20, "it is tried again")
    gate.active = False
    until(lambda: stage.gaps("mute")[-1].to_ms is not None, 30, "it comes back")
    counted(f"{gate.hits} packets held back, {gate.chatter} reports passed; found after {found_ms} ms")


@pytest.mark.fault("A10")
def test_another_source_in_mid_stream_is_another_run(
    stage: Field, struck: dict[str, int], counted: Callable[[object], None]
) -> None:
    gate, camera = stage.gates["ssrc"], stage.cameras["ssrc"]
    after = until(
        lambda: [r for r in stage.station.segments(camera) if r.start_ms > struck["ssrc"] + 1500], 30, "footage goes on"
    )
    assert gate.hits > 25
    assert gate.connections == 1
    before = [row for row in stage.station.segments(camera) if row.end_ms < struck["ssrc"] + EXACT_MS]
    assert before[-1].run_id != after[0].run_id
    stage.station.accounted(stage.cameras["ssrc"])
    counted(f"{gate.hits} packets of another source; runs {len(stage.station.runs(camera))}")


@pytest.mark.fault("A11")
def test_noise_between_frames_costs_a_gop_or_a_session(
    stage: Field, struck: dict[str, int], counted: Callable[[object], None]
) -> None:
    gate, camera = stage.gates["noise"], stage.cameras["noise"]
    until(
        lambda: [r for r in stage.station.segments(camera) if r.start_ms > struck["noise"] + 1500], 40, "footage again"
    )
    assert gate.hits == 1
    stage.station.accounted(stage.cameras["noise"])
    lost = sum((g.to_ms or 0) - g.from_ms for g in stage.gaps("noise"))
    assert lost <= 10_000 + 2000 + GOP_MS
    counted(f"noise {gate.hits} time, sessions {gate.connections}, missing {lost} ms")


@pytest.mark.fault("A32")
def test_a_session_is_kept_alive_although_get_parameter_is_refused(
    stage: Field, counted: Callable[[object], None]
) -> None:
    for name in ("short", "boasting"):
        gate = stage.gates[name]
        assert isinstance(gate, ShortSessions)
        until(lambda: time.monotonic() - stage.began_s > 4 * ShortSessions.timeout_s, 60, "four time-outs of a session")
        assert gate.expired == 0
        assert gate.connections == 1
        assert (gate.kept if name == "short" else gate.refused) >= 4
        assert stage.gaps(name) == []
        counted(f"{name}: time-out {gate.timeout_s} s, kept alive {gate.kept} times, refused {gate.refused}, expired 0")


@pytest.mark.fault("A3", "C10")
def test_a_byte_a_second_frees_its_worker_and_a_mute_camera_is_one_cause(
    stage: Field, struck: dict[str, int], counted: Callable[[object], None]
) -> None:
    gates = {name: gate for name, gate in stage.gates.items() if name.startswith("slow-")} | {
        "silent": stage.gates["silent"]
    }
    until(lambda: all(gate.connections >= 3 for gate in gates.values()), 60, "three tries of each")
    watched_s = time.monotonic() - stage.began_s
    for name, gate in gates.items():
        assert gate.slow_bytes > 5 or name == "silent"
        # As many connections as tries: a worker that is given up is gone, and its connection with it.
        assert gate.open_connections <= 1, f"{name}: {gate.open_connections} connections stand"
        assert gate.connections - 1 >= watched_s // 15, f"{name}: a worker was held longer than 15 s"
        assert gate.connections <= 12 * (watched_s / 60 + 1)
        causes = [gap.cause for gap in stage.gaps(name)]
        assert causes == ["network"], f"{name}: {causes}"
    told = stage.station.log.read_text()
    for name in gates:
        lines = [line for line in told.splitlines() if "stream is away" in line and stage.cameras[name] in line]
        assert len(lines) == 1, f"{name}: one alert, not {len(lines)}"
    assert stage.station.gaps(stage.healthy) == [], "the neighbour has lost nothing"
    tries = {name: gate.connections for name, gate in gates.items()}
    counted(f"tries in {watched_s:.0f} s: {tries}; slow bytes {sum(gate.slow_bytes for gate in gates.values())}")


def test_the_neighbour_has_lost_nothing_and_everything_is_accounted_for(stage: Field, struck: dict[str, int]) -> None:
    assert stage.station.gaps(stage.healthy) == []
    rows = stage.station.segments(stage.healthy)
    assert all(b.start_ms - a.end_ms <= 40 for a, b in pairwise(rows))
    until(lambda: not _hung(stage.station), 20, "no thread hangs")
    for name in ("half-open", "mute", "holes", "ssrc", "short"):
        stage.station.accounted(stage.cameras[name])
        for row in stage.station.segments(stage.cameras[name]):
            data = stage.station.bytes_of(row)
            assert hashlib.sha256(data).digest() == row.sha256
            assert decode_mp4(data).pictures > 0


def _hung(station: Station) -> int:
    found = station.catalog.read(lambda c: facts.get(c, f"{WATCHDOG_FACT}0")) or {}
    return int(found.get("hung", 0))


@pytest.mark.fault("A28")
def test_a_camera_that_locks_accounts_out_is_asked_three_times(
    tmp_path: Path, rtsp_factory: Callable[..., RtspServer], counted: Callable[[object], None]
) -> None:
    server = rtsp_factory({"gate": "tiny", "gate2": "tiny2"})
    station = Station(tmp_path / "node")
    with LockOut(server.port) as gate:
        camera = station.add_camera(
            server.url("gate", port=gate.port), server.url("gate2", port=gate.port), warm_sub=True
        )
        server.set_credentials("admin", "another")
        station.process.start()
        try:
            until(lambda: gate.refused >= 3, 40, "three refused logins, of both streams together")
            noted = station.settings.paths.run_dir / "logins"
            until(lambda: [p for p in noted.glob("*.json") if len(json.loads(p.read_text())) == 3], 10, "their record")
            station.process.kill()
            station.process.start()
            until(lambda: station.status(camera, "sub") is not None, 20, "the recorder is there again")
            watched_s = time.monotonic()
            until(lambda: time.monotonic() - watched_s > 6, 10, "six seconds in which nobody tries")
            assert gate.refused == 3
            assert [gap.cause for gap in station.gaps(camera)][-1] in ("credentials", "recorder_down")
            station.set_password(camera, "admin", "another")
            changed_ms = station.now_ms
            until(lambda: station.segments(camera), 20, "the new secret is used")
            took_ms = station.segments(camera)[0].start_ms - changed_ms
            assert took_ms <= 5000
            assert gate.refused == 3
        finally:
            station.close()
    counted(f"refused logins {gate.refused}, then a kill -9; footage {took_ms} ms after the new secret")
