"""One camera recorded in this process by the product's own parts, on a clock that waits for them; and eyes for files.

`Stage` joins a `ScriptedCamera` to what a recorder has for one stream: the libav source, `CameraTask`, `Recording`,
segmenter, spool, ledger and a catalog. The stage holds the clock: it moves on to the next shot of the script when
everything sent before has been taken and the source waits for more. So minutes take a second, a loaded machine changes
nothing, and each arrival is what the script says. `Footage` is what was recorded, read back from the sealed files past
the product's own readers.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import io
import itertools
import os
import socket
import stat
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from sqlalchemy import Connection, insert

from config.clock import ManualClock
from config.redact import Secret
from gateway.access.ids import fresh_id
from gateway.ingest.backoff import Openings
from gateway.ingest.coverage import Coverage
from gateway.ingest.ledger import Ledger
from gateway.ingest.libav_source import LibavSource
from gateway.ingest.logins import Logins
from gateway.ingest.recorded_time import RecordedTime
from gateway.ingest.recording import Recording
from gateway.ingest.supervision import CameraTask, TaskTools
from gateway.ingest.writer import WriterPool
from gateway.live.feed import LiveFeed
from storage.catalog.cameras import CredentialRow, NewCamera, create_camera
from storage.catalog.engine import Catalog
from storage.catalog.gaps import GapRow, gaps_between
from storage.catalog.segments import SegmentRow, all_segments
from storage.catalog.status import StatusRow, StreamDuty
from storage.catalog.tables import region
from storage.segmenter import SegmenterPolicy, SegmentLabels
from storage.spool import Spool
from tests import media
from tests.gateway.ingest.volumes import one_volume
from tests.parts.catalog import new_catalog
from tests.parts.scripted_camera import Script, ScriptedCamera, Shot, film, picture_number, sets_of, sound_number
from tests.parts.wait import until

CAMERA = "21021100001320000001"
_NS = 1_000_000_000
#: poll and ppoll on x86-64 and on arm64: where libav waits for bytes.
_POLLS = {"7", "271", "73"}


class _EagerSource(LibavSource):
    """Grants nobody's wish for batches: a sleeping thread would hold up the stage's clock."""

    @property
    def relaxed(self) -> bool:
        return False

    @relaxed.setter
    def relaxed(self, wish: bool) -> None:
        pass


def _no_credential(row: CredentialRow) -> Secret:
    raise AssertionError("this camera asks for no password")


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture or sound as it stands in a file."""

    number: int | None  #: as the camera numbered it
    key: bool
    dts: int
    pts: int
    time_base: Fraction


@dataclass(frozen=True, slots=True)
class File:
    """A sealed segment, opened by libav."""

    row: SegmentRow
    pictures: tuple[Sample, ...]
    sounds: tuple[Sample, ...]
    tracks: tuple[str, ...]  #: declared: "video", "audio"
    size: tuple[int, int]
    record: bytes  #: decoder configuration
    decoded: tuple[int, ...]  #: pictures that came out of a decoder begun at each key frame; -1: it found a flaw

    @property
    def numbers(self) -> list[int | None]:
        return [sample.number for sample in self.pictures]

    @property
    def gops(self) -> dict[int, int]:
        """Number of each key frame that has one → pictures that decode from it; -1: damaged."""
        keys = [sample.number for index, sample in enumerate(self.pictures) if sample.key or not index]
        return {key: count for key, count in zip(keys, self.decoded, strict=True) if key is not None}


def look_into(row: SegmentRow, data: bytes) -> File:
    pictures: list[Sample] = []
    sounds: list[Sample] = []
    gops: list[list[av.Packet[av.VideoStream]]] = []
    with av.open(io.BytesIO(data), "r") as container:
        video = container.streams.video[0]
        for packet in container.demux():
            if packet.dts is None or packet.pts is None or not packet.size:
                continue
            body, is_video = bytes(packet), packet.stream.type == "video"
            number = picture_number(body) if is_video else sound_number(body)
            sample = Sample(number, packet.is_keyframe, packet.dts, packet.pts, packet.time_base)
            (pictures if is_video else sounds).append(sample)
            if is_video:
                if packet.is_keyframe or not gops:
                    gops.append([])
                gops[-1].append(packet)  # type: ignore[arg-type]  # of the video stream, as the branch says
        decoded = tuple(_decode(video, gop) for gop in gops)
        tracks = tuple(stream.type for stream in container.streams)
        size, record = (video.width, video.height), bytes(video.codec_context.extradata or b"")
    return File(row, tuple(pictures), tuple(sounds), tracks, size, record, decoded)


def _decode(video: av.VideoStream, gop: list[av.Packet[av.VideoStream]]) -> int:
    """Pictures that a fresh decoder with the file's parameters makes of a GOP; -1 when it finds a flaw."""
    decoder = av.CodecContext.create(video.codec_context.name, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.extradata = video.codec_context.extradata
    decoder.options = {"err_detect": "explode"}
    try:
        return sum(len(decoder.decode(packet)) for packet in [*gop, None])
    except av.error.FFmpegError:
        return -1


@dataclass(frozen=True, slots=True)
class Footage:
    """What was recorded of one script, and the account of what was not."""

    files: tuple[File, ...]
    gaps: tuple[GapRow, ...]  #: before the last file; those since the script ended say that the port is closed

    @property
    def numbers(self) -> list[int | None]:
        return [number for file in self.files for number in file.numbers]

    @property
    def runs(self) -> list[str]:
        """Run ids in the order of their beginning."""
        return list(dict.fromkeys(file.row.run_id for file in self.files))

    def check_files(self) -> None:
        """Each file decodes from its first picture, none overlaps the one before, inside a run nothing is missing."""
        assert self.files
        for file in self.files:
            assert file.pictures[0].key, "a file begins with a picture that needs another"
            assert -1 not in file.decoded, f"damaged: {file.decoded}"
            assert sum(file.decoded) == len(file.pictures), f"{file.decoded} of {len(file.pictures)} decode"
            times = [sample.dts for sample in file.pictures]
            assert all(b > a for a, b in itertools.pairwise(times))
            assert file.row.end_ms > file.row.start_ms
            for track, samples in (("video", file.pictures), ("audio", file.sounds)):
                assert bool(samples) == (track in file.tracks), f"a track {track} without anything in it"
        for before, after in itertools.pairwise(self.files):
            assert after.row.start_ms >= before.row.end_ms, "footage twice"
            if before.row.run_id == after.row.run_id:
                assert after.row.start_ms == before.row.end_ms


class Stage:
    """`play` a script once; then it is `Footage`."""

    def __init__(self, folder: Path, script: Script, *, segment_ms: int = 2_000) -> None:
        self.clock = ManualClock()
        self.camera = ScriptedCamera(script, conducted=True)
        url = f"sqlite:///{folder / 'catalog.db'}"
        new_catalog(url)
        self.catalog = Catalog(url)
        self.catalog.write(_register)
        self.spool = Spool(folder / "spool", self.clock, "node")
        self.ledger = Ledger(self.catalog, 0.01)
        self.writers = WriterPool(1)
        self._loop = asyncio.new_event_loop()
        self._client: socket.socket | None = None  #: libav's socket, a second descriptor of it
        self._began_ns = 0  #: monotonic, of the script's beginning
        self.began_ms = 0  #: the same on the wall
        self.reports: list[StatusRow] = []  #: what the recorder would have told the catalog every few seconds

        def ids() -> str:
            return fresh_id(self.clock)

        self.recording = Recording(
            SegmentLabels("node", CAMERA), SegmenterPolicy(segment_ms=segment_ms),
            one_volume(self.spool, self.writers), self.ledger,
            Coverage(CAMERA, "main", self.ledger, ids), self.clock, ids,
        )  # fmt: skip
        tools = TaskTools(
            sources=lambda address: _EagerSource(address, ["127.0.0.0/8"], self.clock), open_credential=_no_credential,
            ledger=self.ledger, clock=RecordedTime(self.clock), media_timeout_s=1e6,
            logins=Logins(self.clock, folder / "logins"),
            openings=Openings(), enter_thread=lambda _: None,
        )  # fmt: skip
        duty = StreamDuty(
            camera_id=CAMERA, stream="main", url=self.camera.url, warm=False, recorded=True, enabled=True,
            audio=script.audio is not None, retention_class="default", changed_ms=0, credential=None,
        )  # fmt: skip
        self.task = CameraTask(duty, tools, self.recording, LiveFeed(self._loop, keep_gop=False))

    # -- conducting --------------------------------------------------------------------------------------------------

    def play(self, each: Callable[[float], None] = lambda at_s: None) -> Footage:
        """The whole script, until everything is on the disk. `each` is told the script's time after every step."""
        with self.camera:
            self.task.start()
            self._began_ns, self.began_ms = self.clock.monotonic_ns(), self.clock.wall_ns() // 1_000_000
            while not self.camera.finished:
                at_s = self.camera.next_s
                self._advance_to(at_s)
                until(lambda: self.camera.viewer is not None, 30, "somebody plays")
                with contextlib.suppress(OSError):
                    self.camera.send_until(at_s)
                until(self._taken, 30, "everything sent is taken", every_s=0.0002)
                each(at_s)
            self.camera.hang_up()
            until(lambda: self.task.state == "offline", 30, "the end of the stream is noticed", every_s=0.005)
        return self._footage()

    def _advance_to(self, at_s: float) -> None:
        """With the recorder's ticks, those of the last minute of a long silence."""
        due_ns = self._began_ns + round(at_s * 1e9)
        while (ahead_ns := due_ns - self.clock.monotonic_ns()) > 0:
            self.clock.advance(ahead_ns / 1e9 - 60 if ahead_ns > 120 * _NS else min(0.2, ahead_ns / 1e9))
            self.task.tick()
            row = self.task.report()
            if row is not None:
                self.reports.append(row)

    def _taken(self) -> bool:
        """Nothing is under way, and the source's thread waits for the network. In this order: what was read before the
        thread went to sleep has been dealt with."""
        ours = self.camera.viewer
        if ours is None:
            return True
        client = self._client_of(ours)
        if client is None or _received(client) < self.camera.written(ours):
            return False
        if fcntl.ioctl(client, termios.FIONREAD, bytes(4)) != bytes(4):
            return False
        session = self.task._session
        assert session is not None
        calls = Path(f"/proc/self/task/{session.thread.native_id}/syscall").read_text()
        return calls.split(" ", 1)[0] in _POLLS

    def _client_of(self, ours: socket.socket) -> socket.socket | None:
        """The recorder's end of the connection: libav's socket, which is in this process."""
        try:
            peer = ours.getpeername()
        except OSError:
            return None
        if self._client is None or self._client.getsockname() != peer:
            for name in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError):
                    if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                        continue
                    one = socket.socket(fileno=os.dup(int(name)))
                    if one.family == socket.AF_INET and one.getsockname() == peer:
                        self._client = one
                        break
                    one.close()
        return self._client

    # -- afterwards --------------------------------------------------------------------------------------------------

    def _footage(self) -> Footage:
        self.task.stop("test")
        until(lambda: self.recording.idle, 20, "everything is written", every_s=0.005)
        assert self.ledger.flush(20)
        rows = sorted(self.catalog.read(lambda c: all_segments(c, ["spooled"])), key=lambda row: (row.start_ms, row.id))
        files = []
        for row in rows:
            data = self.spool.read(CAMERA, row.id, 0, row.bytes + 1)
            assert data is not None
            assert len(data) == row.bytes
            files.append(look_into(row, data))
        gaps = self.catalog.read(lambda c: gaps_between(c, CAMERA, "main", 0, 10**15))
        last_ms = max((file.row.start_ms for file in files), default=0)
        return Footage(tuple(files), tuple(gap for gap in gaps if gap.from_ms < last_ms))

    def close(self) -> None:
        self.task.stop("test")
        self.task.join(10)
        until(lambda: self.recording.idle, 20, "everything is written")
        self.writers.close(5)
        self.ledger.close()
        self.catalog.close()
        self._loop.close()
        if self._client is not None:
            self._client.close()


def _received(client: socket.socket) -> int:
    """Bytes that have reached the socket, read or not. The sender's own queue would wait for acknowledgements."""
    return int.from_bytes(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)[128:136], sys.byteorder)


def _register(connection: Connection) -> None:
    connection.execute(insert(region).values(code="210211001003", name="测试社区", tier="community", valid_from_ms=0))
    streams = (("main", "rtsp://127.0.0.1/script", None),)
    new = NewCamera(id=CAMERA, name="门口", region="210211001003", streams=streams)
    create_camera(connection, new, "community", 32, 0)


# -- scripts that many tests begin with --------------------------------------------------------------------------------

RATE = 90_000
GOP = 25
SMALL = (160, 128)

#: The fixture `play`: what was recorded of a script.
Play = Callable[..., Footage]


def steady(pictures: int = 500, gop: int = GOP) -> Script:
    packets = media.encode_h264(4.0, size=SMALL, gop=gop)
    return Script(film(packets, pictures), sdp_sets=sets_of(packets))


def is_picture(first: int, last: int = 10**9) -> Callable[[Shot], bool]:
    return lambda shot: shot.track == "video" and first <= shot.number <= last


def whole(*ranges: tuple[int, int]) -> list[int]:
    return [number for first, last in ranges for number in range(first, last)]
