"""The parts do what the tests that use them take for granted."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onvif import ONVIFCamera
from zeep.exceptions import Fault

from tests.parts.browser import Chromium
from tests.parts.onvif_ipycam import OnvifCamera
from tests.parts.process import Child, free_port
from tests.parts.relay import TcpRelay
from tests.parts.rtsp_server import RtspServer
from tests.parts.s3 import S3Server
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


def test_servers_listen_on_loopback_only(seaweedfs: S3Server, rtsp_server: RtspServer) -> None:
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    ours = {seaweedfs._child.popen.pid, rtsp_server._alive().popen.pid}  # type: ignore[union-attr]  # both run
    for line in listening:
        pids = {int(part.split("=")[1]) for part in line.replace(",", " ").split() if part.startswith("pid=")}
        groups = set()
        for pid in pids:
            try:
                groups.add(os.getpgid(pid))
            except ProcessLookupError:
                continue
        if groups & ours:
            address = line.split()[3].rsplit(":", 1)[0]
            assert address in {"127.0.0.1", "[::1]"}, line


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


def echo_server() -> int:
    """Sends back what it gets, one connection at a time; ends with the test run."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                try:
                    while data := connection.recv(4096):
                        connection.sendall(data)
                except OSError:
                    continue

    threading.Thread(target=serve, daemon=True).start()
    port: int = server.getsockname()[1]
    return port


def test_the_relay_passes_counts_stalls_and_resets(relay_factory: Callable[..., TcpRelay]) -> None:
    relay = relay_factory(echo_server())
    with socket.create_connection(("127.0.0.1", relay.port), timeout=5) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"hello"
        assert (relay.connections, relay.bytes_to_server, relay.bytes_to_client) == (1, 5, 5)
        relay.stall()
        client.sendall(b"later")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(5)
        relay.flow()
        client.settimeout(5)
        assert client.recv(5) == b"later"
        assert relay.reset() == 1
        with pytest.raises(ConnectionResetError):
            client.recv(5)
    with socket.create_connection(("127.0.0.1", relay.port), timeout=5) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        relay.half_close()
        assert client.recv(1) == b""
    relay.refusing = True
    with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", relay.port), timeout=5) as client:
        client.recv(1)


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
