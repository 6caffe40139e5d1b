"""TLS as people and other nodes meet it: a page over HTTPS, two nodes paired by pinned certificates, and refusals."""

from __future__ import annotations

import hashlib
import io
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.parts.node import QUICK, Node
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Pair:
    lower: Node
    upper: Node
    camera: str


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, rtsp_server: RtspServer) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("tls")
    lower = Node(folder / "lower", name="泉水社区", settings=QUICK, tls=True)
    upper = Node(folder / "upper", name="周水子街道", tier="street", region="210211001", settings=QUICK, tls=True)
    with lower.init().launch(), upper.init().launch():
        for node in (lower, upper):
            until(node.ready, 60, f"node {node.name} ready")
            node.cli("login", node.user, "--password-stdin", stdin=node.password + "\n")
        camera = lower.add_camera(rtsp_server.url("tiny"), "--name", "北门", "--sharing", "upper")
        upper.cli("link", "accept", lower.cli("link", "invite", "upper")["code"])
        yield Pair(lower, upper, camera)


def the_link(node: Node) -> dict[str, Any]:
    [link] = node.get("/links")["items"]
    return dict(link)


def test_the_page_comes_over_https_with_the_headers_that_protect_it(pair: Pair) -> None:
    node = pair.lower
    with httpx.Client(base_url=node.url, verify=node.verify) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert "max-age=" in page.headers["strict-transport-security"]
        policy = page.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert page.headers["x-content-type-options"] == "nosniff" and page.headers["referrer-policy"] == "no-referrer"
        signed = client.post("/api/v1/session", json={"login": node.user, "password": node.password})
        cookie = signed.headers["set-cookie"].lower()
        assert all(word in cookie for word in ("secure", "httponly", "samesite=strict")), cookie
        assert "session" not in signed.json()
        assert client.get("/api/v1/node").status_code == 200


@pytest.mark.fault("S26")
def test_nobody_speaks_plainly_to_a_port_with_tls(pair: Pair) -> None:
    for port in (pair.lower.port, pair.lower.relay_port):
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5)


def test_the_command_line_reaches_another_node_by_url_when_it_knows_the_ca(pair: Pair, tmp_path: Path) -> None:
    node, other_place = pair.lower, {"XDG_CONFIG_HOME": str(tmp_path)}
    strange = node.run("camera", "list", "--url", node.url, plain=True)
    assert strange.returncode == 3 and "TIERGATE_CA" in strange.stderr and "Traceback" not in strange.stderr
    missing = node.run("camera", "list", "--url", node.url, plain=True, env={"TIERGATE_CA": str(tmp_path / "no")})
    assert missing.returncode == 3 and "TIERGATE_CA" in missing.stderr and "Traceback" not in missing.stderr
    known = {"TIERGATE_CA": str(node.ca), **other_place}
    signed_out = node.run("camera", "list", "--url", node.url, env=known)
    assert signed_out.returncode == 4
    signed = node.run("login", node.user, "--password-stdin", "--url", node.url, stdin=node.password + "\n", env=known)
    assert signed.returncode == 0, signed.stderr
    listed = node.run("camera", "list", "--url", node.url, env=known)
    assert listed.returncode == 0 and pair.camera in listed.stdout


def test_an_emergency_pull_plays_between_two_nodes_with_pinned_certificates(pair: Pair) -> None:
    link = the_link(pair.upper)
    assert link["pinned"] and link["url"].startswith("https://") and the_link(pair.lower)["pinned"]
    until(lambda: pair.upper.get("/cameras", scope="lower")["items"], 30, "the directory arrives")
    until(lambda: pair.lower.footage(pair.camera), 30, "the camera records")
    pulled = pair.upper.cli(
        "pull", "emergency", pair.camera, "--case", "TLS-1", "--reason", "核查现场情况", "--minutes", "5"
    )["items"]
    assert [lease["state"] for lease in pulled] == ["active"]
    with pair.upper.client() as client:
        with client.stream("GET", f"/api/v1/cameras/{pair.camera}/live.mp4") as answer:
            assert answer.status_code == 200
            seen = io.BytesIO()
            for chunk in answer.iter_bytes():
                seen.write(chunk)
                if seen.getvalue().count(b"moof") >= 2:
                    break
    assert seen.getvalue()[4:8] == b"ftyp"
    pair.upper.cli("pull", "stop", pulled[0]["id"])


def shown(port: int) -> str:
    """Digest of the certificate that somebody who comes now is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 10) as raw, context.wrap_socket(raw) as wrapped:
        return hashlib.sha256(wrapped.getpeercert(binary_form=True) or b"").hexdigest()


@pytest.mark.fault("S26")
def test_the_relays_certificate_is_changed_beside_the_running_nodes_and_the_link_stays(pair: Pair) -> None:
    lower, upper = pair.lower, pair.upper
    assert the_link(upper)["problem"] is None
    first, process = shown(lower.relay_port), lower.pid_of("relay")
    begun = lower.cli("link", "rotate-certificate", "--overlap", "0s")
    assert begun["shown"] == first != begun["coming"]
    until(lambda: shown(lower.relay_port) == begun["coming"], 60, "everybody above knows the next one")
    until(lambda: the_link(lower)["knows_certificate"], 10, "the link says so")

    # The files of the settings are written over, as whoever renews certificates does it.
    second = begun["coming"]
    lower.make_certificate()
    until(lambda: shown(lower.relay_port) not in (first, second), 60, "the one in the files")
    told = lower.cli("link", "certificate")
    assert told["shown"] == shown(lower.relay_port) and told["coming"] is None and told["days_left"] > 800
    assert [(link["peer_name"], link["knows_certificate"]) for link in told["links"]] == [(upper.name, True)]
    assert the_link(upper)["problem"] is None and lower.pid_of("relay") == process
    lower.stop()
    lower.start()
    assert shown(lower.relay_port) == told["shown"]
    until(lambda: the_link(upper)["problem"] is None, 30, "the directory comes again")
    nothing = lower.run("link", "rotate-certificate", "--finish", plain=True)
    assert nothing.returncode == 1 and "Traceback" not in nothing.stderr


@pytest.mark.fault("S14", "S26")
def test_another_certificate_is_refused_until_the_nodes_are_paired_again(pair: Pair) -> None:
    lower, upper = pair.lower, pair.upper
    assert the_link(upper)["problem"] is None
    id_ = the_link(upper)["id"]
    upper.cli("link", "set", id_, "--capacity-bps", "4000000")
    lower.stop()
    lower.make_certificate()
    for kept in lower.ca.parent.glob("relay-*.pem"):
        kept.unlink()  # else the one that was paired would be shown until the other node knows the new one
    lower.start()
    problem = until(lambda: (p := the_link(upper)["problem"]) and p["code"] == "tier.tls_pin" and p, 30, "the pin")
    assert problem["en"] and problem["zh"]
    said = upper.run("link", "list", plain=True, env={"COLUMNS": "400"})
    assert "pinned" in said.stdout + said.stderr or "锁定" in said.stdout
    pulled = upper.run("pull", "emergency", pair.camera, "--case", "TLS-2", "--reason", "核查现场情况", plain=True)
    assert pulled.returncode != 0 and "Traceback" not in pulled.stderr
    upper.cli("link", "accept", lower.cli("link", "invite", "upper")["code"])
    until(lambda: the_link(upper)["problem"] is None, 30, "the directory comes again")
    assert (the_link(upper)["id"], the_link(upper)["capacity_bps"]) == (id_, 4_000_000)


@pytest.mark.fault("S26")
def test_a_renewed_certificate_is_shown_without_a_start(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", settings=QUICK, tls=True)
    with node.init().launch():
        until(node.ready, 60, "the node is ready")
        process, before = node.pid_of("web"), node.verify

        def is_another() -> bool:
            try:
                httpx.get(f"{node.url}/healthz", verify=before)
            except httpx.ConnectError as error:
                return "CERTIFICATE_VERIFY_FAILED" in str(error)
            return False

        assert not is_another()
        node.make_certificate()
        until(is_another, 30, "the new certificate")
        assert node.ready() and node.pid_of("web") == process


def test_plain_http_on_an_address_that_is_not_loopback_is_refused_at_start(tmp_path: Path) -> None:
    node = Node(tmp_path / "node").init()
    for section in ("web", "relay"):
        node.configure({section: {"listen": f"0.0.0.0:{node.port}"}})
        refused = node.run("serve", plain=True)
        assert refused.returncode == 3 and "Traceback" not in refused.stderr
        assert "not loopback" in refused.stderr and f"{section}.tls_cert" in refused.stderr
        chinese = node.run("serve", "--lang", "zh", plain=True)
        assert "明文 HTTP" in chinese.stderr and "loopback" not in chinese.stderr
        node.configure({section: {"listen": f"127.0.0.1:{node.port}"}})
    with socket.socket() as free:
        free.bind(("127.0.0.1", node.port))  # nothing was left listening


def test_init_makes_a_ca_for_an_address_that_is_not_loopback(tmp_path: Path) -> None:
    node = Node(tmp_path / "node")
    answer = node.cli("init", "--data", str(node.folder / "data"), "--listen", f"0.0.0.0:{node.port}")
    assert answer["url"].startswith("https://")
    assert node.ca.exists() and (node.ca.parent / "ca.key").stat().st_mode & 0o077 == 0
    assert (node.ca.parent / "tls.key").stat().st_mode & 0o077 == 0
    context = Node(tmp_path / "node", tls=True).verify
    assert context is not True
