"""The parts do what the tests that use them take for granted."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from onvif import ONVIFCamera
from zeep.exceptions import Fault

from storage.catalog.migrate import migrate
from tests.parts.browser import Chromium
from tests.parts.catalog import make_owned, new_catalog
from tests.parts.onvif_ipycam import OnvifCamera
from tests.parts.process import Child, free_port
from tests.parts.relay import TcpRelay, Towards
from tests.parts.rtsp_server import RtspServer
from tests.parts.s3 import S3Server, SeaweedFS
from tests.parts.wait import until

pytestmark = pytest.mark.real


def probe(url: str) -> subprocess.CompletedProcess[str]:
    argv = ["ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-show_streams", "-of", "json", url]
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)


def streams(url: str) -> list[dict[str, Any]]:
    done = probe(url)
    assert done.returncode == 0, done.stderr
    listed: list[dict[str, Any]] = json.loads(done.stdout)["streams"]
    return listed


@pytest.mark.parametrize(
    ("mount", "codecs"),
    [
        ("tiny", ["h264"]),
        ("tiny_hevc", ["hevc"]),
        ("tiny_aac", ["h264", "aac"]),
        ("tiny_pcma", ["h264", "pcm_alaw"]),
        ("bframes", ["h264"]),
    ],
)
def test_a_foreign_client_reads_every_kind_of_camera(rtsp_server: RtspServer, mount: str, codecs: list[str]) -> None:
    found = streams(rtsp_server.url(mount))
    assert [s["codec_name"] for s in found] == codecs
    assert (found[0]["width"], found[0]["height"]) == (320, 180)
    assert bool(found[0]["has_b_frames"]) is (mount == "bframes")


@pytest.mark.parametrize("auth", ["digest", "basic"])
def test_a_wrong_password_is_refused(rtsp_factory: Callable[..., RtspServer], auth: str) -> None:
    server = rtsp_factory({"gate": "tiny"}, auth=auth)
    assert probe(server.url("gate")).returncode == 0
    assert "401" in probe(server.url("gate", credentials=False)).stderr
    old = server.url("gate")
    server.set_credentials("admin", "changed")
    assert "401" in probe(old).stderr
    assert probe(server.url("gate")).returncode == 0


def test_an_unplugged_camera_cuts_its_viewers_and_comes_back(rtsp_factory: Callable[..., RtspServer]) -> None:
    server = rtsp_factory({"gate": "tiny", "yard": "tiny2"})
    argv = ["ffmpeg", "-nostdin", "-v", "error", "-rtsp_transport", "tcp", "-i"]
    copies = {
        name: subprocess.Popen([*argv, server.url(name), "-c", "copy", "-f", "null", "-"]) for name in ("gate", "yard")
    }
    try:
        until(lambda: server.pictures_sent("gate") and server.pictures_sent("yard"), 10, "both cameras are watched")
        assert server.unplug("gate") == 1
        until(lambda: copies["gate"].poll() is not None, 10, "the viewer of the unplugged camera was cut off")
        assert copies["yard"].poll() is None
        assert "404" in probe(server.url("gate")).stderr
        server.plug("gate")
        assert streams(server.url("gate"))
    finally:
        for copy in copies.values():
            copy.kill()
            copy.wait()


def test_a_killed_rtsp_server_comes_back_on_its_port(rtsp_factory: Callable[..., RtspServer]) -> None:
    server = rtsp_factory({"gate": "tiny"}, auth="none")
    url = server.url("gate")
    server.kill()
    assert probe(url).returncode != 0
    server.start()
    assert server.url("gate") == url
    assert streams(url)


def test_s3_keeps_what_it_is_given_and_refuses_a_wrong_key(s3_server: S3Server, s3_bucket: str) -> None:
    body = os.urandom(300_000)
    s3_server.client().put_object(s3_bucket, "a/b", io.BytesIO(body), len(body))
    response = s3_server.client().get_object(s3_bucket, "a/b")
    try:
        assert response.read() == body
    finally:
        response.close()
        response.release_conn()
    s3_server.secret_key, right = "wrong" * 8, s3_server.secret_key
    try:
        with pytest.raises(Exception, match=r"(?i)signature|access|denied"):
            s3_server.client().put_object(s3_bucket, "c", io.BytesIO(body), len(body))
    finally:
        s3_server.secret_key = right


def test_a_killed_s3_server_keeps_its_objects(s3_factory: Callable[[], S3Server]) -> None:
    server = s3_factory()
    bucket = server.new_bucket()
    server.client().put_object(bucket, "kept", io.BytesIO(b"x" * 1000), 1000)
    server.kill()
    with pytest.raises(Exception, match=r"refused|Connection"):
        server.client().stat_object(bucket, "kept")
    server.start()
    assert server.client().stat_object(bucket, "kept").size == 1000


def listeners(groups: set[int]) -> list[str]:
    """Local addresses (as /proc/net writes them) that processes of these groups listen on."""
    inodes: set[str] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(process.name)) in groups:
                links = [os.readlink(entry) for entry in (process / "fd").iterdir()]
                inodes |= {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in inodes:
                found.append(columns[1].partition(":")[0])
    return found


def test_servers_listen_on_loopback_only(seaweedfs: S3Server, rtsp_server: RtspServer) -> None:
    found = listeners({seaweedfs._child.popen.pid, rtsp_server._alive().popen.pid})  # type: ignore[union-attr]  # both run
    assert len(found) >= 2
    assert set(found) <= {"0100007F", "00000000000000000000000001000000"}


def test_several_seaweedfs_may_start_at_once() -> None:
    """What one of them opens without being asked (a catalog of tables at port 8181), the next one died of."""
    servers = [SeaweedFS() for _ in range(4)]
    try:
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(SeaweedFS.start, servers))
    finally:
        for server in servers:
            server.remove()


async def test_the_onvif_device_is_foreign_and_wants_its_digest(onvif_camera: OnvifCamera) -> None:
    camera = ONVIFCamera("127.0.0.1", onvif_camera.port, onvif_camera.user, onvif_camera.password)
    try:
        await camera.update_xaddrs()
        information = await (await camera.create_devicemgmt_service()).GetDeviceInformation()
        assert information.Manufacturer
        media = await camera.create_media_service()
        uris = []
        for profile in await media.GetProfiles():
            setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
            answer = await media.GetStreamUri({"StreamSetup": setup, "ProfileToken": profile.token})
            uris.append(answer.Uri)
    finally:
        await camera.close()
    port = onvif_camera.rtsp.port
    assert uris == [f"rtsp://127.0.0.1:{port}/tiny", f"rtsp://127.0.0.1:{port}/tiny2"]

    stranger = ONVIFCamera("127.0.0.1", onvif_camera.port, onvif_camera.user, "wrong")
    try:
        with pytest.raises(Fault, match="not authorized"):
            await stranger.update_xaddrs()
    finally:
        await stranger.close()


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets, to as many as come."""

    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                while data := self.request.recv(65536):
                    self.request.sendall(data)
            except OSError:
                pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


Relays = Callable[..., TcpRelay]


def connected(relay: TcpRelay) -> socket.socket:
    """A client of the relay."""
    return socket.create_connection(("127.0.0.1", relay.port), timeout=10)


def answer(client: socket.socket, data: bytes) -> bytes:
    """What comes back for it, up to its length or the end."""
    client.sendall(data)
    got = bytearray()
    while len(got) < len(data) and (piece := client.recv(65536)):
        got += piece
    return bytes(got)


def silent(client: socket.socket) -> bool:
    """Neither bytes nor an end for a moment."""
    client.settimeout(0.2)
    try:
        client.recv(1)
        return False
    except TimeoutError:
        return True
    finally:
        client.settimeout(10)


def test_a_relay_without_toxics_passes_and_counts(relay_factory: Relays, echo: int) -> None:
    relay = relay_factory(echo)
    with connected(relay) as client:
        assert answer(client, b"hello") == b"hello"
        assert (relay.connections, relay.bytes_to_server, relay.bytes_to_client) == (1, 5, 5)
    assert not relay.hits


def test_the_relay_delays_each_direction(relay_factory: Relays, echo: int) -> None:
    relay = relay_factory(echo, delay_s=0.1)
    with connected(relay) as client:
        began = time.monotonic()
        assert answer(client, b"hello") == b"hello"
        assert time.monotonic() - began >= 0.2
    assert relay.hits["delay"] >= 2


def test_the_relay_throttles(relay_factory: Relays, echo: int) -> None:
    relay = relay_factory(echo, rate_bps=1_600_000)
    with connected(relay) as client:
        began = time.monotonic()
        assert answer(client, bytes(40_000)) == bytes(40_000)
        assert time.monotonic() - began >= 0.2  # 320 000 bits
    assert relay.hits["throttle"] >= 20


def test_the_relay_stalls_and_lets_go(relay_factory: Relays, echo: int) -> None:
    relay = relay_factory(echo)
    with connected(relay) as client:
        assert answer(client, b"hello") == b"hello"
        relay.stall()
        client.sendall(b"later")
        assert silent(client)
        relay.flow()
        assert client.recv(5) == b"later"
    assert relay.hits["stall"] >= 1


def test_the_relay_resets_and_refuses(relay_factory: Relays, echo: int) -> None:
    relay = relay_factory(echo)
    with connected(relay) as client:
        assert answer(client, b"hello") == b"hello"
        assert relay.reset() == 1
        with pytest.raises(ConnectionResetError):
            client.recv(5)
    relay.refusing = True
    with pytest.raises(ConnectionResetError), connected(relay) as client:
        client.recv(1)
    assert (relay.hits["reset"], relay.hits["refuse"]) == (1, 1)


def test_the_relay_half_closes_and_goes_on_listening(relay_factory: Relays, echo: int) -> None:
    relay = relay_factory(echo)
    with connected(relay) as client:
        assert answer(client, b"x") == b"x"
        relay.half_close()
        assert client.recv(1) == b""
        client.sendall(b"still heard")
        until(lambda: relay.bytes_to_server == 12, 5, "the server hears the client")
        assert client.recv(1) == b""
    assert relay.hits["half_close"] == 1


@pytest.mark.parametrize("towards", ["client", "server"])
def test_the_relay_corrupts_one_bit_of_so_many_bytes(relay_factory: Relays, echo: int, towards: Towards) -> None:
    relay = relay_factory(echo)
    relay.corrupt_every_bytes[towards] = 100
    with connected(relay) as client:
        got = answer(client, bytes(1000))
        assert [at for at, byte in enumerate(got) if byte] == list(range(99, 1000, 100))
        relay.corrupt_every_bytes[towards] = None
        assert answer(client, bytes(1000)) == bytes(1000)
    assert relay.hits["corrupt"] == 10


@pytest.mark.parametrize("towards", ["client", "server"])
def test_the_relay_truncates_with_an_orderly_end(relay_factory: Relays, echo: int, towards: Towards) -> None:
    relay = relay_factory(echo)
    with connected(relay) as client:
        assert answer(client, bytes(500)) == bytes(500)
        relay.truncate(300, towards)
        assert len(answer(client, bytes(500))) <= 300
        assert client.recv(1) == b""
    with connected(relay) as client:  # a new one too
        assert len(answer(client, bytes(500))) <= 300
    assert relay.hits["truncate"] == 2
    assert (relay.bytes_to_client if towards == "client" else relay.bytes_to_server) == 500 + 2 * 300
    relay.flow()
    with connected(relay) as client:
        assert answer(client, bytes(500)) == bytes(500)


def test_the_relay_swallows_and_tells_nobody(relay_factory: Relays, echo: int) -> None:
    relay = relay_factory(echo)
    with connected(relay) as old:
        assert answer(old, b"hello") == b"hello"
        relay.black_hole()
        with connected(relay) as new:  # is taken, and leads nowhere
            for client in (old, new):
                client.sendall(b"anybody?")
                assert silent(client)
            relay.flow()
            for client in (old, new):  # what was lost does not come back
                client.sendall(b"anybody?")
                assert silent(client)
        with connected(relay) as later:
            assert answer(later, b"hello") == b"hello"
    assert relay.hits["black_hole"] >= 4
    assert relay.bytes_to_client == 10


def test_a_camera_can_be_watched_through_the_relay(
    relay_factory: Callable[..., TcpRelay], rtsp_server: RtspServer
) -> None:
    relay = relay_factory(rtsp_server.port)
    assert streams(rtsp_server.url("tiny", port=relay.port))
    assert relay.bytes_to_client > 10_000


def test_chromium_shows_a_page_and_its_complaints_are_collected(browser: Chromium) -> None:
    browser.page.set_content("<p id=word>here</p><script>console.error('seen'); undefinedFunction()</script>")
    assert browser.page.inner_text("#word") == "here"
    until(lambda: len(browser.complaints) == 2, 5, "both complaints were collected")
    assert "seen" in browser.complaints[0]
    assert "undefinedFunction" in browser.complaints[1]


def test_a_new_catalog_is_what_migrations_leave(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path / 'migrated.db'}")
    make_owned(f"sqlite:///{tmp_path / 'migrated.db'}")
    for _ in range(2):  # the second finds it there
        new_catalog(f"sqlite:///{tmp_path / 'copied.db'}")

    def content(path: Path) -> list[object]:
        with closing(sqlite3.connect(path)) as connection:
            pragmas = ("journal_mode", "page_size", "auto_vacuum", "user_version", "application_id", "encoding")
            said = [connection.execute(f"PRAGMA {name}").fetchone() for name in pragmas]
            return [*connection.iterdump(), *said, path.stat().st_mode]

    assert content(tmp_path / "copied.db") == content(tmp_path / "migrated.db")
    assert len(content(tmp_path / "copied.db")) > 50


def test_a_free_port_is_none_that_the_kernel_gives_to_others() -> None:
    least = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = {free_port() for _ in range(50)} | {free_port(also_plus=10_000) + 10_000 for _ in range(50)}
    assert len(ports) > 80
    assert max(ports) < least


def test_a_part_dies_with_whoever_started_it(tmp_path: Path) -> None:
    """kill -9 of the test run must leave no server behind."""
    port = free_port()
    code = (
        "import sys, time; from pathlib import Path; from tests.parts.process import Child\n"
        f"argv = ['/usr/bin/python3', '-m', 'http.server', '{port}', '--bind', '127.0.0.1']\n"
        f"child = Child(argv, Path({str(tmp_path / 'log')!r})).start()\n"
        "print(child.popen.pid, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert starter.stdout is not None
    group = int(starter.stdout.readline())
    starter.kill()
    starter.wait()
    starter.stdout.close()

    def gone() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    try:
        until(gone, 10, "the part ended with its starter")
    finally:
        if not gone():
            os.killpg(group, signal.SIGKILL)


async def test_stop_ends_a_part_that_ignores_sigterm(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    child = Child([sys.executable, "-c", stubborn], tmp_path / "log").start()
    until(lambda: "up" in child.tail(), 10, "the part runs")
    await asyncio.to_thread(child.stop, 0.2)
    assert not child.running
