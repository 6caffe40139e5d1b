"""Live fan-out: CPU per WebSocket viewer-second of a real web process beside a bare asyncio loop that sends the same
bytes.

One 1080p camera of 4 Mbit/s, 25 pictures a second; 100 viewers each, at the same time, on loopback. Ours is ``python
-m gateway.processes.web`` with sign-in, decision, register and revocation checks; the bare loop is uvloop's
``transport.write`` of the same fragments to as many sockets, with nothing else: no WebSocket, no queue, no drop. The
source (a live socket as a recorder has it) and the viewers are processes of their own and are not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import uvloop

from benchmarks._box import Meter, median, options, report
from config.clock import SystemClock
from config.ids import ulid
from config.settings import build as build_settings
from gateway.access.keys import ensure_keys
from gateway.live.fmp4_stream import Timeline, mux
from gateway.web.compose import make_services
from storage.catalog import cameras, people
from storage.catalog.engine import Catalog
from storage.catalog.migrate import migrate
from storage.catalog.tables import region
from storage.media.access_unit import AccessUnit, StreamConfig, Track
from storage.media.codecs import nals_to_access_unit, parameter_sets_of_extradata, split_length_prefixed, video_config
from tests.gateway.live.serving import LiveSocket
from tests.parts.clips import clip
from tests.parts.wait import until

BAR = 1.8
FPS = 25


def _units() -> tuple[StreamConfig, list[AccessUnit]]:
    """The clip "main" as a source yields it."""
    with av.open(str(clip("main")), "r") as container:
        stream = container.streams.video[0]
        config = StreamConfig(
            video_config("h264", parameter_sets_of_extradata("h264", bytes(stream.codec_context.extradata or b"")))
        )
        units: list[AccessUnit] = []
        for packet in container.demux(stream):
            if packet.size:
                data, key, _ = nals_to_access_unit(split_length_prefixed(bytes(packet)), "h264")
                time_ticks = len(units) * 90_000 // FPS
                units.append(AccessUnit(Track.VIDEO, time_ticks, time_ticks, 90_000 // FPS, 0, key, data))
    return config, units


# -- the parts, each a process ---------------------------------------------------------------------------------------


async def _source(path: Path) -> None:
    config, units = _units()
    length = len(units) * 90_000 // FPS

    def again(turn: int) -> list[AccessUnit]:
        now_ns = time.time_ns()
        return [replace(u, dts=u.dts + turn * length, pts=u.pts + turn * length, wall_ns=now_ns) for u in units]

    async with LiveSocket(path) as camera:
        camera.config(config)
        async with camera.playing(again(0), again, 1 / FPS):
            await asyncio.Event().wait()


async def _bare(port: int) -> None:
    """`transport.write` of each fragment to every socket, dropped while a transport is paused."""
    config, units = _units()
    timeline = Timeline()
    timeline.start(config)
    fragments = [mux(unit, place) for unit in units if (place := timeline.place(unit)) is not None]
    writable: dict[asyncio.BaseTransport, bool] = {}

    class Sender(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            writable[transport] = True

        def connection_lost(self, exc: Exception | None) -> None:
            writable.pop(self.transport, None)

        def pause_writing(self) -> None:
            writable[self.transport] = False

        def resume_writing(self) -> None:
            writable[self.transport] = True

    loop = asyncio.get_running_loop()
    await loop.create_server(Sender, "127.0.0.1", port)
    due, index = loop.time(), 0
    while True:
        data = fragments[index % len(fragments)]
        for transport, ready in list(writable.items()):
            if ready:
                transport.write(data)  # type: ignore[attr-defined]  # a stream transport
        index += 1
        due += 1 / FPS
        await asyncio.sleep(max(0.0, due - loop.time()))


class _Frames:
    """Reads past the frames of one WebSocket and finds the pings among them (RFC 6455 §5.2)."""

    def __init__(self) -> None:
        self._head = b""  #: what has come of a frame's head, or of a ping
        self._skip = 0  #: bytes of its payload that are still to come

    def pings(self, data: memoryview) -> list[bytes]:
        found = []
        while data:
            if self._skip:
                taken = min(self._skip, len(data))
                self._skip -= taken
                data = data[taken:]
                continue
            self._head += bytes(data[: (missing := self._whole() - len(self._head))])
            data = data[missing:]
            if len(self._head) < self._whole():
                continue
            if self._head[0] & 0x0F == 0x9:
                found.append(self._head[2:])
            else:
                self._skip = self._length()
            self._head = b""
        return found

    def _whole(self) -> int:
        """Length of the head, as far as it is known; a ping is short and read with its payload."""
        if len(self._head) < 2:
            return 2
        short = self._head[1] & 0x7F
        if self._head[0] & 0x0F == 0x9:
            return 2 + short
        return 2 + {126: 2, 127: 8}.get(short, 0)

    def _length(self) -> int:
        short = self._head[1] & 0x7F
        return short if short < 126 else int.from_bytes(self._head[2:], "big")


def _viewers(port: int, count: int, request: bytes) -> None:
    """`count` sockets that read, answer pings and forget; prints what has come each second."""
    selector = selectors.DefaultSelector()
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        if request:
            sock.sendall(request)
            head = b""
            while b"\r\n\r\n" not in head:
                head += sock.recv(1)
            if b" 101 " not in head:
                raise SystemExit(head.decode(errors="replace"))
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, _Frames() if request else None)
    buffer = bytearray(1 << 18)
    total, told = 0, time.monotonic()
    while True:
        for key, _ in selector.select(0.2):
            viewer: Any = key.fileobj
            with contextlib.suppress(BlockingIOError):
                got = viewer.recv_into(buffer)
                if not got:
                    raise SystemExit("a viewer was cut off")
                total += got
                for ping in key.data.pings(memoryview(buffer)[:got]) if key.data is not None else ():
                    # Whoever does not answer is cut off. A client masks, if only with zeros.
                    viewer.sendall(bytes([0x8A, 0x80 | len(ping), 0, 0, 0, 0]) + ping)
        # Reading in steps of one frame: many small wake-ups would only heat the box.
        time.sleep(0.02)
        if time.monotonic() - told >= 0.5:
            told = time.monotonic()
            print(total, flush=True)


# -- the measurement -------------------------------------------------------------------------------------------------


def _prepare(folder: Path, port: int) -> tuple[Path, str, str, Path]:
    """(settings file, camera, bearer, live socket) of a node with one camera and one operator."""
    values = {
        "paths": {"data": str(folder)},
        "node": {"region": "210102", "tier": "community"},
        "web": {"listen": f"127.0.0.1:{port}"},
    }
    settings = build_settings(values)
    for path in (settings.paths.run_dir / "live", settings.paths.catalog_dir, settings.paths.keys_dir):
        path.mkdir(parents=True, exist_ok=True)
    file = folder / "tiergate.toml"
    file.write_text(
        "".join(
            f"[{table}]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in keys.items())
            for table, keys in values.items()
        )
    )
    migrate(settings.catalog_url)
    catalog = Catalog(settings.catalog_url)
    clock = SystemClock()
    services = make_services(settings, clock, catalog, ensure_keys(settings))
    id_ = ulid(services.now_ms(), os.urandom(10))

    def make(connection: Any) -> tuple[str, str]:
        if connection.execute(region.select().where(region.c.code == "210102")).first() is None:
            connection.execute(
                region.insert(), {"code": "210102", "name": "Heping", "tier": "district", "valid_from_ms": 0}
            )
        new = cameras.NewCamera("gate", "210102", (("main", "rtsp://10.0.0.1/main", None),))
        camera = cameras.create_camera(connection, new, "community", 32, services.now_ms())
        people.add_user(connection, people.User(id_, "op", "op", None, "", ("operator",), "-", False, 0, None))
        return camera.id, services.sessions.start(connection, user_id=id_)[0]

    camera_id, bearer = catalog.write(make)
    catalog.close()
    return file, camera_id, bearer, settings.paths.run_dir / "live" / "0.sock"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


@contextlib.contextmanager
def _part(*arguments: str, module: str = "benchmarks.live", output: Any = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdin=subprocess.DEVNULL, stdout=output, bufsize=0
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


class _Drain:
    """The byte count that a viewers' process prints."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process = process
        self._out = process.stdout
        os.set_blocking(self._out.fileno(), False)
        self._text = b""

    def has(self, count: int) -> bool:
        return self.bytes() > count

    def bytes(self) -> int:
        if self._process.poll() is not None:
            raise RuntimeError("the viewers ended")
        with contextlib.suppress(BlockingIOError):
            self._text += self._out.read() or b""
        lines = self._text.rsplit(b"\n", 2)
        return int(lines[-2]) if len(lines) > 1 and lines[-2] else 0


def main() -> int:
    parser = options("live", __doc__ or "")
    parser.add_argument("--viewers", type=int, default=100)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--request", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part == "source":
        asyncio.run(_source(arguments.path))
    elif arguments.part == "bare":
        uvloop.run(_bare(arguments.port))
    elif arguments.part == "viewers":
        _viewers(arguments.port, arguments.viewers, arguments.request.encode())
    else:
        return _measure(arguments.viewers, arguments.quick, arguments.json)
    return 0


def _measure(viewers: int, quick: bool, file: Path | None) -> int:
    rounds, seconds = (2, 5) if quick else (4, 12)
    clip("main")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as parts:
        ours_port, bare_port = _free_port(), _free_port()
        settings, camera, bearer, live_socket = _prepare(Path(name), ours_port)
        source = parts.enter_context(_part("--part", "source", "--path", str(live_socket)))
        ours = parts.enter_context(_part("--config", str(settings), module="gateway.processes.web"))
        bare = parts.enter_context(_part("--part", "bare", "--port", str(bare_port)))
        for port in (ours_port, bare_port):
            until(partial(_answers, port), 30, "the servers listen")
        until(live_socket.exists, 30, "the source listens")
        request = (
            f"GET /api/v1/cameras/{camera}/live.ws HTTP/1.1\r\nHost: 127.0.0.1:{ours_port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: dGllcmdhdGUtdmlld2Vycw==\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {bearer}\r\n\r\n"
        )
        drains = {}
        for label, port, words in (("ours", ours_port, request), ("bare", bare_port, "")):
            more = ["--part", "viewers", "--port", str(port), "--viewers", str(viewers), "--request", words]
            drains[label] = _Drain(parts.enter_context(_part(*more, output=subprocess.PIPE)))
        for label, drain in drains.items():
            until(partial(drain.has, viewers * 500_000), 60, f"{label}: all viewers see pictures")
        time.sleep(2)  # bursts of joining are over
        results: dict[str, list[float]] = {"ours": [], "bare": [], "ratio": [], "ours_mbit": [], "bare_mbit": []}
        for _ in range(rounds):
            before = {label: drain.bytes() for label, drain in drains.items()}
            meters = {"ours": Meter([ours.pid]), "bare": Meter([bare.pid])}
            time.sleep(seconds)
            for label, meter in meters.items():
                used_ms, elapsed_s = meter.read()
                results[label].append(used_ms / viewers / elapsed_s)
                got = drains[label].bytes() - before[label]
                results[f"{label}_mbit"].append(got * 8 / viewers / elapsed_s / 1e6)
            results["ratio"].append(results["ours"][-1] / results["bare"][-1])
        assert source.poll() is None
    shown = {
        "viewers": viewers,
        "cpu_ms_per_viewer_second": {k: round(median(results[k]), 3) for k in ("ours", "bare")},
        "mbit_per_viewer_second": {k: round(median(results[f"{k}_mbit"]), 2) for k in ("ours", "bare")},
        "rounds": {k: [round(value, 3) for value in results[k]] for k in ("ours", "bare", "ratio")},
    }
    ratio = median(results["ratio"])
    return report("live", shown, {"cpu_ratio_to_bare_send_loop": (ratio, BAR)}, file)


if __name__ == "__main__":
    sys.exit(main())
