"""A whole node with RTSP on: ports that the supervisor holds, TLS with web's certificate, software of others."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.parts.node import QUICK, Node
from tests.parts.process import free_port
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until

pytestmark = pytest.mark.real


def frames(url: str, count: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-i", url, "-frames:v", str(count), "-f", "null", "-"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_node_serves_its_camera_over_both_ports_and_goes_on_after_its_web_process_was_killed(
    tmp_path: Path, rtsp_server: RtspServer
) -> None:
    plain, secured = free_port(), free_port()
    listening = {"rtsp": {"listen": f"127.0.0.1:{plain}", "tls_listen": f"127.0.0.1:{secured}"}}
    node = Node(tmp_path / "node", settings=QUICK | listening, tls=True)
    with node.init().launch():
        until(node.ready, 60, "the node is ready")
        node.cli("login", node.user, "--password-stdin", stdin=node.password + "\n")
        camera = node.add_camera(rtsp_server.url("tiny"), "--name", "北门", "--sharing", "departments")
        department = node.cli("department", "add", "教育局")["id"]
        token = node.cli(
            "token", "issue", department, "--label", "VMS", "--camera", camera, "--function", "live", "--yes"
        )
        made = node.cli(
            "stream-password", "create", "--for", f"token:{token['jti']}", "--cameras", camera, "--label", "VMS",
            "--unmarked-basis", "agreement 2026-14",
        )  # fmt: skip
        assert made["urls"] == [f"rtsps://127.0.0.1:{secured}/{camera}/main"]
        login = f"{made['username']}:{made['password']}@"
        url = ""
        for scheme, port in (("rtsp", plain), ("rtsps", secured)):
            url = f"{scheme}://{login}127.0.0.1:{port}/{camera}/main"
            done = frames(url, 25)
            assert (done.returncode, done.stderr) == (0, ""), url
        with node.client() as client:
            assert 'tiergate_rtsp_refused_total{reason="access.not_signed_in"} 2.0' in client.get("/metrics").text
        rows = node.get("/register")["items"]
        assert [(row["person"], row["stream_password"], row["result"]) for row in rows] == [
            ("VMS", made["id"], "ended")
        ] * 2
        os.kill(node.pid_of("web") or 0, signal.SIGKILL)
        done = frames(url, 25)  # the port is the supervisor's: whoever comes waits, and is not refused
        assert done.returncode == 0, done.stderr
        log = node.log.read_text(encoding="utf-8")
        assert made["password"] not in log and login not in log
