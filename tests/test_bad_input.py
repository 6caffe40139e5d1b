"""Bad input at every door of a real node: one sentence in two languages, a reason code, no traceback, no secret.

The last tests look for the canary secrets that everything before has used (I10).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.units import format_time_ms
from gateway.cli.app import NOUNS, run
from tests.parts.impostors import Impostor, garbage, http_redirect, plain_http, rtsp_redirect
from tests.parts.node import QUICK, Node
from tests.parts.process import free_port
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until
from tests.parts.web import web_server

pytestmark = pytest.mark.real

CAMERA_PASSWORD = "C4nary/cam#p@ss:ü!"
WRONG_PASSWORD = "C4nary-wrong@pass"
USER_PASSWORD = "C4nary user pass 7"


@dataclass
class Done:
    returncode: int = 0
    stdout: str = ""
    stderr: str = ""


@dataclass
class Place:
    node: Node
    rtsp: RtspServer
    camera: str = ""
    token: str = ""
    secrets: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)  #: everything that the node and the command line ever answered

    # --- doors ---

    def cli(self, *argv: str, stdin: str | None = None, plain: bool = True, env: dict[str, str] | None = None) -> Done:
        """The command as in a process of its own (which costs a second each); what would be a traceback fails here."""
        done = Done()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**self.node.env(), "TIERGATE_DEBUG": "1", **(env or {})}.items():
                patch.setenv(name, value)
            patch.setattr("sys.stdin", io.StringIO(stdin or ""))
            with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
                done.returncode = run([*argv, *(() if plain else ("--json",))])
        done.stdout, done.stderr = out.getvalue(), err.getvalue()
        self.said += [done.stdout, done.stderr]
        return done

    def refused(self, code: int, *argv: str, says: str = "", **more: Any) -> str:
        """The command ends with `code` and one sentence; with --json the same as code and both languages."""
        done = self.cli(*argv, **more)
        sentence = done.stderr.strip()
        assert done.returncode == code, (argv, done.returncode, done.stdout, sentence)
        assert sentence and "\n" not in sentence and says in sentence, (argv, sentence)
        return sentence

    def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        with self.node.client() as client:
            answer = client.request(method, f"/api/v1{path}", **more)
        self.said.append(answer.text)
        return answer

    def problem(self, answer: httpx.Response, *codes: str, status: int | None = None) -> dict[str, Any]:
        """The answer is a problem in two languages, with one of `codes` (or what begins like it)."""
        assert 400 <= answer.status_code < 500 or answer.status_code == 503, (answer.status_code, answer.text)
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        found: dict[str, Any] = answer.json()
        assert found["status"] == answer.status_code and (status is None or status == answer.status_code), found
        assert any(found["code"].startswith(code) for code in codes), found
        assert found["en"] and found["zh"] and found["en"] != found["zh"]
        assert not {"{", "\n"} & set(found["en"] + found["zh"]), found
        assert any("\u4e00" <= c <= "\u9fff" for c in found["zh"]) and "Traceback" not in answer.text
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    settings = QUICK | {"cameras": {"allowed_networks": ["127.0.0.1/32"], "connect_timeout_s": 2}}
    node = Node(tmp_path_factory.mktemp("bad") / "node", settings=settings)
    with RtspServer(password=CAMERA_PASSWORD) as rtsp, node.init().start():
        made = Place(node, rtsp)
        made.camera = node.add_camera(rtsp.url("tiny"), "--name", "北门", "--sharing", "departments")
        department = node.cli("department", "add", "城管执法队")["id"]
        issued = node.cli(
            "token", "issue", department, "--label", "巡查", "--camera", made.camera, "--function", "live",
            "--expires", "8h", "--yes",
        )  # fmt: skip
        made.token = issued["token"]
        gone = node.cli(
            "token", "issue", department, "--label", "作废", "--camera", made.camera, "--function", "live",
            "--expires", "8h", "--yes",
        )  # fmt: skip
        node.cli("token", "revoke", gone["jti"])
        node.cli("user", "add", "zhang", "--name", "张三", "--role", "duty", "--password-stdin", stdin=USER_PASSWORD)
        session = next(iter(json.loads((node.folder / "home/tiergate/sessions.json").read_text()).values()))
        made.secrets = {
            "camera password": CAMERA_PASSWORD, "wrong camera password": WRONG_PASSWORD, "password": node.password,
            "user's password": USER_PASSWORD, "token": made.token, "revoked token": gone["token"], "session": session,
        }  # fmt: skip
        yield made


# --- cameras that are none ---


def test_adding_a_camera_waits_for_its_picture(place: Place) -> None:
    added = place.cli("camera", "add", place.rtsp.url("tiny2"), "--name", "等画面", plain=False)
    camera = json.loads(added.stdout)
    assert camera["streams"]["main"]["state"] == "online" and added.stderr == ""
    place.cli("camera", "remove", camera["id"])
    assert "audio_basis" in place.refused(2, "camera", "add", place.rtsp.url("tiny2"), "--audio")


def test_wrong_addresses_and_passwords_say_what_is_wrong(place: Place) -> None:
    good = place.rtsp.url("tiny", credentials=False)
    with web_server() as web_port, Impostor(garbage) as noise, Impostor(lambda _: b"") as mute:
        for url, more, codes in (
            (good + "-not-there", {"username": "admin", "password": CAMERA_PASSWORD}, ("camera.stream_not_found",)),
            (good, {"username": "admin", "password": WRONG_PASSWORD}, ("camera.bad_login",)),
            (good, {}, ("camera.bad_login",)),
            (f"rtsp://127.0.0.1:{free_port()}/x", {}, ("camera.refused",)),
            ("rtsp://no-such-host.invalid/x", {}, ("camera.address_unresolvable",)),
            (f"rtsp://127.0.0.1:{web_port}/x", {}, ("camera.not_video", "camera.failed", "camera.ended")),
            (f"rtsp://127.0.0.1:{noise.port}/x", {}, ("camera.not_video", "camera.failed", "camera.ended")),
            (f"rtsp://127.0.0.1:{mute.port}/x", {}, ("camera.timeout", "camera.not_video")),
        ):
            place.problem(place.api("POST", "/cameras/probe", json={"url": url, **more}), *codes)
    argv = ("camera", "probe", good, "--username", "admin", "--password-stdin")
    assert "password" in place.refused(2, *argv, stdin=WRONG_PASSWORD + "\n")
    assert "密码" in place.refused(2, *argv, "--lang", "zh", stdin=WRONG_PASSWORD + "\n")
    error = json.loads(place.cli(*argv, stdin=WRONG_PASSWORD + "\n", plain=False).stderr)["error"]
    assert error["code"] == "camera.bad_login" and error["en"] and error["zh"]


def test_a_registered_camera_with_a_wrong_password_says_so_in_its_state(place: Place) -> None:
    url = place.rtsp.url("tiny2", credentials=False).replace("rtsp://", f"rtsp://admin:{WRONG_PASSWORD}@")
    added = place.cli("camera", "add", url, "--name", "错误口令", plain=False)
    camera, main = (made := json.loads(added.stdout))["id"], made["streams"]["main"]
    assert added.returncode == 0 and main["reason"]["code"] == "camera.bad_login"
    assert main["reason"]["en"] in added.stderr and len(added.stderr.splitlines()) == 1

    def refused() -> bool:
        main = place.api("GET", f"/cameras/{camera}").json()["streams"]["main"]
        return bool(main["reason"] and main["reason"]["code"] == "camera.bad_login" and main["cause"] == "credentials")

    until(refused, 30, "the state names the password")
    doctor = place.cli("doctor", "--quick")
    assert doctor.returncode == 1 and camera in doctor.stdout and ".." not in doctor.stdout
    assert "拒绝" in place.cli("doctor", "--quick", "--lang", "zh").stdout
    place.cli("camera", "remove", camera)


@pytest.mark.fault("S6")
def test_what_is_no_camera_address_is_refused(place: Place) -> None:
    for url, code in (
        ("http://127.0.0.1/x", "camera.scheme_refused"), ("file:///etc/passwd", "camera.scheme_refused"),
        ("rtsp+http://127.0.0.1/", "camera.scheme_refused"), ("concat:rtsp://127.0.0.1", "camera.scheme_refused"),
        ("rtsp://", "camera.url_malformed"), ("rtsp:///x", "camera.url_malformed"), ("x", "camera.url_malformed"),
        ("rtsp://[::1", "camera.url_malformed"), ("rtsp://127.0.0.1:99999/", "camera.url_malformed"),
        ("rtsp://127.0.0.1:0/", "camera.url_malformed"), ("rtsp://127.0.0.1:-1/", "camera.url_malformed"),
        ("rtsp://127.0.0.1/a\r\nX: y", "camera.url_malformed"), ("rtsp://127.0.0.1/\0", "web.body_malformed.controls"),
        ("rtsp://127.0.0.1/" + "x" * 2000, "web.body_malformed.too_long"), ("", "web.body_malformed.too_short"),
        ("rtsp://127.0.0.1/\ud800", "web.body_malformed.controls"),
        (f"rtsp://admin:{WRONG_PASSWORD}@127.0.0.1:99999/", "camera.url_malformed"),
    ):  # fmt: skip
        for path in ("/cameras", "/cameras/probe"):
            body = json.dumps({"url": url}).encode()
            answer = place.api("POST", path, content=body, headers={"content-type": "application/json"})
            found = place.problem(answer, code, status=422)
            assert "is not a camera address" not in found["en"] or not found["en"].startswith(" ")


@pytest.mark.fault("S6")
def test_no_packet_goes_to_an_address_that_is_not_allowed(place: Place) -> None:
    with Impostor(host="127.0.0.9") as canary:
        there = f"127.0.0.9:{canary.port}"
        for url in (
            f"rtsp://{there}/x", f"rtsps://{there}/x", f"RTSP://{there}/x", f"rtsp://127.0.0.1@{there}/x",
            f"rtsp://127.0.0.1:554@{there}/x", f"rtsp://127.0.0.1\\@{there}/x", f"rtsp://127.0.0.1%23@{there}/x",
            f"rtsp://[::ffff:127.0.0.9]:{canary.port}/", f"rtsp://2130706441:{canary.port}/x",
            f"rtsp://0x7f.9:{canary.port}/", f"rtsp://0177.0.0.011:{canary.port}/", f"rtsp://127.9:{canary.port}/",
        ):  # fmt: skip
            for path in ("/cameras", "/cameras/probe"):
                place.problem(place.api("POST", path, json={"url": url}), "camera.", status=422)
        for onvif in (
            there,
            f"http://{there}/onvif/device_service",
            f"http://127.0.0.1@{there}/",
            f"127.0.0.1@{there}",
        ):
            place.problem(place.api("POST", "/cameras/probe", json={"onvif": onvif}), "camera.")
        with (
            Impostor(rtsp_redirect(f"rtsp://{there}/x")) as first,
            Impostor(rtsp_redirect(f"rtsp://{there}/x", login_first=True)) as later,
            Impostor(http_redirect(f"http://{there}/onvif/device_service")) as web,
        ):
            for server in (first, later):
                body = {"url": f"rtsp://127.0.0.1:{server.port}/x", "username": "admin", "password": CAMERA_PASSWORD}
                place.problem(place.api("POST", "/cameras/probe", json=body), "camera.redirected")
                assert server.knocks
            place.problem(place.api("POST", "/cameras/probe", json={"onvif": f"127.0.0.1:{web.port}"}), "camera.")
            assert web.knocks
        assert canary.knocks == 0


def test_a_refused_network_is_named_with_what_to_do(place: Place) -> None:
    said = place.refused(2, "camera", "add", "rtsp://8.8.8.8/stream1")
    assert "8.8.8.8" in said and "cameras.allowed_networks" in said
    assert "cameras.allowed_networks" in place.refused(2, "camera", "add", "rtsp://8.8.8.8/stream1", "--lang", "zh")


# --- names ---

HIDDEN = ["a\0b", "\x1b[31mred", "\u202egnp", "\u2066x", "\u200b", "\u200d", "\ufeff", "a\u2029b", "a\x85b", "\ud800"]
ODD = [
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "-rf",
    "--json",
    "😀🎥",
    "👩‍🚒",
    "{name}",
    "%s%n",
    "'; drop table",
    "=1+1",
]


def test_hostile_names_are_refused_or_kept_as_they_are(place: Place) -> None:
    path, json_type = f"/cameras/{place.camera}", {"content-type": "application/json"}
    for name in (*HIDDEN, "x" * 10_000, " "):
        answer = place.api("PATCH", path, content=json.dumps({"name": name}).encode(), headers=json_type)
        place.problem(answer, "web.body_malformed.", status=422)
    for name in ODD:
        assert place.api("PATCH", path, json={"name": name}).json()["name"] == name
        assert name in place.cli("camera", "list").stdout.replace("\ufffd", "\u200d")
        assert place.cli("camera", "set", place.camera, f"--name={name}").returncode == 0
    for field_, body in (("reason", {"cameras": [place.camera], "reason": "a\x1b]0;b"}), ("place", {"place": "a\0"})):
        target = ("POST", "/holds") if field_ == "reason" else ("PATCH", path)
        place.problem(place.api(*target, json=body), "web.body_malformed.", status=422)
    place.cli("camera", "set", place.camera, "--name", "北门")


def test_hostile_lists_are_refused_before_anything_is_registered(place: Place, tmp_path: Path) -> None:
    before = [c["id"] for c in place.api("GET", "/cameras").json()["items"]]
    for number, (content, sentence) in enumerate((
        (b"url,name\n\xff\xfe,x\n", "UTF-8"), (b"", "columns"), (b"nonsense\nfoo\n", "columns"),
        (b"url,name\nrtsp://127.0.0.1:1/a,x\n" + b"x" * 200_000 + b",n\n", "Line 3"),
        (b"url,name\nrtsp://127.0.0.1:1/a,x,extra\n", "Line 2"),
    )):  # fmt: skip
        file = tmp_path / f"{number}.csv"
        file.write_bytes(content)
        place.refused(2, "camera", "import", str(file), says=sentence)
        place.refused(2, "region", "import", str(file))
    regions = tmp_path / "regions.csv"
    for region in ("code,name\n21,a\x1b[31m\n", "code,name\n2x,a\n", "code,name,tier\n2103,b,moon\n"):
        regions.write_text(region)
        assert "2" in place.refused(2, "region", "import", str(regions))
        said = place.refused(2, "region", "import", str(regions), "--lang", "zh")
        assert "区划清单第 2 行" in said
    rows = tmp_path / "rows.csv"
    rows.write_text(f"url,name\nhttp://u:{WRONG_PASSWORD}@127.0.0.1/,a\nrtsp://8.8.8.8/,b\nrtsp://127.0.0.1:1/\x07,c\n")
    done = place.cli("camera", "import", str(rows))
    assert done.returncode == 1 and len(done.stdout.strip().splitlines()) == 4
    assert [c["id"] for c in place.api("GET", "/cameras").json()["items"]] == before


# --- ids, times, tokens, bodies ---


@pytest.mark.fault("S8")
def test_ids_of_nothing_are_not_found_and_never_another_path(place: Place) -> None:
    for id_ in ("1", "9" * 20, "../users", "x/../../session", "..", "#", "1?x=1", "a\x1bb", "😀", "", "%2e%2e"):
        place.refused(1, "camera", "show", "--", id_)
        place.refused(1, "camera", "remove", "--", id_)
    for path in (
        "/cameras/x",
        "/cameras/%00",
        "/cameras/%ff",
        "/cameras/..%2f..%2fsession",
        "/nope",
        "/leases/1/timeline",
    ):
        place.problem(place.api("GET", path), "access.not_found", "web.route_unknown", "web.body_malformed")


def test_absurd_times_are_refused_in_one_sentence(place: Place) -> None:
    now = time.time_ns() // 1_000_000
    day = 86_400_000
    for low, high, code in (
        (now, now - 1000, "time.range_empty"), (now, now, "time.range_empty"), (0, 1000, "time"), (-5, 5, "time"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999Z", "time"), (now - 400 * day, now, "time.range_too_long"),
        ("NaN", "NaN", "time"), ("inf", "inf", "time"), ("9" * 400, "9" * 400, "t"), ("", "", "time"),
        (now // 1000, now // 1000 + 5, "time"), ("2026-01-01T00:00:00", "2026-01-02T00:00:00", "time"),
        ("2026-02-30T00:00:00Z", "2026-03-01T00:00:00Z", "time"), ("١٢٣", "١٢٣", "time"),
        ("2026-01-01T00:00:00+99:99", "2026-01-01T01:00:00+99:99", "time"),
    ):  # fmt: skip
        for path in ("timeline", "playback.m3u8", "clip.mp4"):
            query = {"from": low, "to": high, "reason": "核查事件经过"}
            answer = place.api("GET", f"/cameras/{place.camera}/{path}", params=query)
            place.problem(answer, code, "web.body_malformed.t", "media.play_clip_too_long")
    for at in ("NaN", "-1", "0", "9" * 30, "x"):
        place.problem(place.api("GET", f"/cameras/{place.camera}/snapshot.jpg", params={"at": at}), "time", "web.body")
    window = (
        "--from",
        "1970-01-01T00:00:00Z",
        "--to",
        "NaN",
        "--reason",
        "核查事件经过",
        "-o",
        str(place.node.folder / "never.mp4"),
    )
    place.refused(2, "clip", place.camera, *window)
    place.refused(2, "retention", "explain", f"{place.camera}@NaN")


@pytest.mark.fault("S12", "S22")
def test_bad_credentials_are_refused_alike(place: Place) -> None:
    header, body, signature = place.token.split(".")
    revoked = place.secrets["revoked token"]
    garbled = [f"{header}.{body}.{signature[::-1]}", f"{header}.{body[::-1]}.{signature}", place.token[:-4], revoked]
    with httpx.Client(base_url=place.node.url, timeout=30) as nobody:
        for token in (*garbled, "x", "eyJhbGciOiJub25lIn0.e30.", "a" * 9_000):
            answer = nobody.get("/api/v1/cameras", headers={"Authorization": f"Bearer {token}"})
            place.problem(answer, "access.", status=401)
            place.said.append(answer.text)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert place.cli("camera", "list", env={"TIERGATE_TOKEN": token[:9_000]}).returncode == 4
        place.problem(nobody.get("/api/v1/cameras"), "access.", status=401)
        for sign_in in (
            {"login": "a\x1bb", "password": "x"},
            {"login": "admin", "password": WRONG_PASSWORD},
            {"token": "x"},
        ):
            answer = nobody.post("/api/v1/session", json=sign_in)
            place.said.append(answer.text)
            place.problem(answer, "access.", "web.body_malformed", status=401)
    place.refused(4, "login", "admin", "--password-stdin", stdin=WRONG_PASSWORD + "\n")
    place.refused(2, "login", "admin", "--password-stdin", stdin="")
    place.refused(4, "camera", "list", env={"TIERGATE_TOKEN": "中文"})


@pytest.mark.fault("S19", "S24")
def test_a_nul_is_refused_wherever_something_may_be_typed(place: Place) -> None:
    """PostgreSQL can neither store one nor compare with it."""
    now = time.time_ns() // 1_000_000
    camera, window = f"/cameras/{place.camera}", {"from": str(now - 60_000), "to": str(now)}
    for path, query, field_ in (
        (f"{camera}/snapshot.jpg", {"reason": "\0"}, "reason"),
        (f"{camera}/snapshot.jpg", {"case_no": "\0"}, "case_no"),
        (f"{camera}/playback.m3u8", window | {"reason": "a\0b"}, "reason"),
        (f"{camera}/clip.mp4", window | {"reason": "核查事件\0经过"}, "reason"),
        (f"{camera}/timeline", window | {"purpose": "\0"}, "purpose"),
        ("/exports/evidence.zip", window | {"camera": place.camera, "reason": "核查事件\0经过"}, "reason"),
        ("/cameras", {"q": "\0"}, "q"), ("/cameras", {"region": "21\0"}, "region"),
        ("/cameras", {"cursor": "\0"}, "cursor"), ("/cameras", {"\0": "x"}, "query"),
        ("/audit", {"actor": "\0"}, "actor"), ("/audit", {"subject": "\0"}, "subject"),
        ("/register", {"person": "\0"}, "person"), ("/register", {"cursor": "\0"}, "cursor"),
        ("/sessions", {"user": "\0"}, "user"),
        (f"{camera}/live.mp4", {"reason": "a\0b"}, "reason"), (f"{camera}/live.mp4", {"case_no": "a\0"}, "case_no"),
        (f"{camera}/live.mp4", {"purpose": "\0"}, "purpose"),
    ):  # fmt: skip
        found = place.problem(place.api("GET", path, params=query), "web.body_malformed.controls", status=422)
        assert found["params"]["field"] == field_
    for path, body, field_ in (
        ("/session", {"login": "a\0b", "password": "x"}, "login"), ("/session", {"token": "\0"}, "token"),
        ("/session/shift", {"login": "\0", "password": "x"}, "login"),
        ("/cameras", {"url": "rtsp://127.0.0.1/\0"}, "url"),
        ("/users", {"login": "\0", "name": "x", "password": "y"}, "login"),
        ("/holds", {"cameras": [place.camera, "\0"], "reason": "x"}, "cameras"),
    ):  # fmt: skip
        found = place.problem(place.api("POST", path, json=body), "web.body_malformed.controls", status=422)
        assert found["params"]["field"] == field_
    for name, hidden in (("reason", "\x1b[31m"), ("reason", "\u202egnp"), ("case_no", "\u202e1"), ("case_no", "1\n2")):
        answer = place.api("GET", f"{camera}/playback.m3u8", params=window | {"reason": "核查事件经过", name: hidden})
        place.problem(answer, "web.body_malformed.controls", status=422)
    answer = place.api("POST", f"{camera}/whep", params={"reason": "\0"})
    place.problem(answer, "web.body_malformed.controls", status=422)
    for path in (f"{camera}%00/timeline", "/cameras/%00", "/leases/%00"):
        place.problem(place.api("GET", path, params=window), "access.not_found", "web.route_unknown", status=404)


@pytest.mark.fault("S24")
def test_bodies_that_are_none_are_refused_at_every_address_that_takes_one(place: Place) -> None:
    schema = json.loads((Path(__file__).parents[1] / "docs" / "openapi.json").read_text())
    paths = [p for p, methods in schema["paths"].items() if "requestBody" in methods.get("post", {}) and "{" not in p]
    assert len(paths) > 10
    headers = {"content-type": "application/json"}
    for path in paths:
        for content in (b"{", b"[]", b"\xff\xfe", b'{"surprise":NaN}', b'{"a":' * 4_000):
            with place.node.client() as client:
                answer = client.post(path, content=content, headers=headers)
            place.problem(answer, "web.", "access.")


# --- the command line itself ---


def test_a_mistyped_line_is_one_sentence_and_exit_code_2(place: Place) -> None:
    place.refused(2, "camera", "add", "-x", says="-x")
    place.refused(2, "camera", "nope", says="nope")
    place.refused(2, "camera", "ad", says="Nearest: add;")
    place.refused(2, "camera", "set", "x", "--name", says="--name needs a value; see `tiergate camera set --help`")
    place.refused(2, "camera", "ad", "--lang", "zh", says="相近的有：add；")
    place.refused(2, "nope", says="nope")
    place.refused(2, "clip", place.camera, says="--from")
    place.refused(2, "camera", "list", "--lang", "fr", says="zh")
    place.refused(2, "audit", "tail", "-n", "x", says="--count")
    place.refused(2, "camera", "import", "/nonexistent.csv", says="FILE")
    place.refused(2, "camera", "add", "rtsp://127.0.0.1/q", "--name", b"\xff\xfe".decode(errors="surrogateescape"))
    for url in ("garbage", "ftp://x", "file:///x"):
        place.refused(2, "camera", "list", "--url", url, says="--url")
    with Impostor(plain_http) as web:
        place.refused(3, "camera", "list", "--url", f"http://127.0.0.1:{web.port}", says="tiergate")
    place.refused(3, "camera", "list", "--url", f"http://127.0.0.1:{free_port()}")
    place.refused(3, "camera", "list", "--config", "/nonexistent", says="tiergate init")
    place.refused(1, "report", "gaps", "--camera", "9" * 20)  # no record of a camera is no perfect record
    for option in ("--key", "--against", "--witness"):
        place.refused(2, "audit", "verify", option, str(place.node.config), says="FILE")
    for number in ("nan", "inf", "-1"):
        place.refused(2, "camera", "add", "rtsp://127.0.0.1/q", "--name", "x", "--wait", number, says="--wait")
        place.refused(2, "camera", "discover", "--seconds", number, says="--seconds")
        place.refused(2, "retention", "forecast", "--mbit", number, says="--mbit")
    error = json.loads(place.cli("camera", "add", "-x", plain=False).stderr)["error"]
    assert error["code"] == "cli.option_unknown" and error["en"] and error["zh"]


def test_what_works_on_local_files_never_takes_those_for_another_node(place: Place) -> None:
    local = (
        ("doctor",), ("backup", "/tmp/never"), ("upgrade",), ("secrets", "rotate"), ("store", "check"),
        ("token", "rotate-key"), ("alarm", "list"), ("link", "certificate"), ("serve",), ("init",),
        ("user", "reset-password", "zhang", "--password-stdin"),
        ("user", "add-first", "li", "--name", "Li", "--password-stdin"),
    )  # fmt: skip
    for words in local:
        place.refused(2, *words, "--url", "https://other.example", says="--url", stdin="another password 9\n")
    place.node.cli("login", "zhang", "--password-stdin", stdin=USER_PASSWORD)  # still the same
    place.node.cli("login", place.node.user, "--password-stdin", stdin=place.node.password)


def test_a_file_that_cannot_be_used_is_named_with_why(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    place.refused(3, "audit", "export", str(tmp_path / "file" / "x"), says=str(tmp_path / "file"))
    for bad in ("", "-li", "a" * 61):
        place.refused(2, "init", "--config", str(tmp_path / "n.toml"), "--login", bad, says="login")
    assert not (tmp_path / "n.toml").exists()
    blocked = {"XDG_CONFIG_HOME": str(tmp_path / "file")}
    before = len(place.api("GET", "/sessions").json()["items"])
    place.refused(
        3, "login", "zhang", "--password-stdin", stdin=USER_PASSWORD, env=blocked, says=str(tmp_path / "file")
    )
    assert len(place.api("GET", "/sessions").json()["items"]) == before


def test_a_clip_is_whole_or_not_there_and_says_what_is_missing(place: Place, tmp_path: Path) -> None:
    until(lambda: place.node.footage(place.camera), 30, "footage")
    span = place.node.footage(place.camera)[0]
    asked = ("clip", place.camera, "--from", _time(span["from_ms"] - 60_000), "--to", _time(span["from_ms"] + 1_000),
             "--reason", "fire at the gate")  # fmt: skip
    opened = len(place.api("GET", "/register").json()["items"])
    place.refused(3, *asked, "-o", str(tmp_path / "no" / "clip.mp4"), says="no")
    (tmp_path / "there.mp4").write_text("kept")
    place.refused(1, *asked, "-o", str(tmp_path / "there.mp4"), says="there.mp4")
    assert len(place.api("GET", "/register").json()["items"]) == opened, "nothing was asked of the node"
    said = json.loads(place.cli(*asked, "-o", str(tmp_path / "clip.mp4"), plain=False).stdout)
    assert said["bytes"] == (tmp_path / "clip.mp4").stat().st_size and "gaps" in said and said["damaged"] == []
    assert sorted(one.name for one in tmp_path.iterdir()) == ["clip.mp4", "there.mp4"]


def test_an_exported_log_is_whole_or_not_there(place: Place, tmp_path: Path) -> None:
    """On a disk that is full before its end."""
    full = subprocess.run(
        ["prlimit", "--fsize=1024", sys.executable, "-c", "from gateway.cli import main; main()", "audit", "export",
         str(tmp_path / "log")],
        env={**os.environ, **place.node.env()}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert full.returncode == 3 and str(tmp_path / "log") in full.stderr, full.stderr
    assert list(tmp_path.iterdir()) == []
    said = json.loads(place.cli("audit", "export", str(tmp_path / "log"), plain=False).stdout)
    assert said["entries"] > 5 and [path.name for path in tmp_path.iterdir()] == ["log"]
    place.refused(1, "audit", "export", str(tmp_path / "log"), says="log")


def _time(at_ms: int) -> str:
    return format_time_ms(at_ms)


def test_help_and_plain_tables_read_well(place: Place) -> None:
    for words in ([], ["camera"], ["retention"], ["init"]):
        done = place.cli(*words, "--help")
        assert done.returncode == 0 and done.stdout.startswith("Usage: tiergate")
    assert all(f"  {noun} " in place.cli("--help").stdout for noun in NOUNS)
    for words in ([], ["camera"], ["store"]):
        shown = place.cli(*words, "--help").stdout.partition("Commands:")[2]
        assert shown and "..." not in shown, "no line is cut off"
    tail = place.cli("audit", "tail", "--lang", "zh").stdout.splitlines()
    assert tail[0].split()[:2] == ["seq", "at_ms"] and "+08:00" in tail[1]
    listed = place.cli("camera", "list").stdout.splitlines()
    name, region = listed[0].index("name"), listed[0].index("region")
    row = next(line for line in listed if place.camera in line)
    cells = row.split()
    assert row[name:].startswith("北门") and cells[2] == "210211001003"
    assert row.index(cells[2]) == region - 2  # two characters that are drawn twice as wide
    for argv in (
        ["retention", "show"],
        ["retention", "plan"],
        ["store", "check"],
        ["report", "coverage"],
        ["user", "list"],
    ):
        assert place.cli(*argv, "--lang", "zh").returncode in (0, 1)


# --- paths of pictures ---


@pytest.mark.fault("S3")
def test_a_path_of_pictures_plays_for_its_opener_and_joins_the_canaries(place: Place) -> None:
    def opened() -> httpx.Response | None:
        now = time.time_ns() // 1_000_000
        query: dict[str, str | int] = {"from": now - 60_000, "to": now, "reason": "核查事件经过"}
        answer = client.get(f"/api/v1/cameras/{place.camera}/playback.m3u8", params=query)
        return answer if answer.status_code == 200 else None

    with place.node.client() as client:
        answer = until(opened, 60, "footage to play")
        path = answer.headers["x-tiergate-session"]
        place.secrets["session path"] = path.removeprefix("/m/")
        entries = [line for line in answer.text.splitlines() if line.startswith(path)]
        assert entries
        assert client.get(entries[0]).content
        for wrong in (f"{path}/nothing.mp4", f"{path}/index.m3u8?speed={place.secrets['session path']}", f"{path}/%00"):
            refused = client.get(wrong)
            assert refused.status_code >= 400, wrong
            place.said.append(refused.text)
        place.said.append(client.post(path).text)
        assert client.delete(path).status_code == 204
        over = client.get(entries[0])
        place.problem(over, "access.", "media.", status=over.status_code)
        place.said.append(over.text)
    assert len(place.secrets["session path"]) >= 22  # 128 bit


# --- nothing leaked ---


def _forms(secret: str) -> set[bytes]:
    from urllib.parse import quote

    return {secret.encode(), quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode()}


def _leaks(secrets: dict[str, str], text: bytes) -> list[str]:
    return [name for name, secret in secrets.items() if any(form in text for form in _forms(secret))]


def _processes(folder: Path) -> Iterator[Path]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                yield entry
        except OSError:
            continue


@pytest.mark.fault("S3", "S4", "S5")
def test_no_secret_is_in_logs_answers_metrics_processes_or_the_catalog(place: Place) -> None:
    node = place.node
    with node.client() as client:
        for path in (
            "/metrics", "/api/v1/cameras", f"/api/v1/cameras/{place.camera}", "/api/v1/tokens", "/api/v1/users",
            "/api/v1/audit?limit=1000", "/api/v1/register", "/api/v1/session", "/healthz", "/readyz",
            "/api/v1/reports/use", "/api/v1/reports/impact",
        ):  # fmt: skip
            answer = client.get(path)
            assert answer.status_code == 200, path
            place.said.append(answer.text)
    place.said += [place.cli("camera", "show", place.camera).stdout, place.cli("camera", "export").stdout]
    place.said += [place.cli("report", "impact", "--lang", language).stdout for language in ("en", "zh")]
    assert _leaks(place.secrets, "\n".join(place.said).encode("utf-8", "surrogatepass")) == []
    log = node.log.read_bytes()
    assert log.count(b"\n") > 3 and b"Traceback" not in log
    assert _leaks(place.secrets, log) == []
    found = list(_processes(node.folder))
    assert len(found) >= 5  # supervisor, web, recorder, keeper, relay
    for process in found:
        for part in ("cmdline", "environ"):
            try:
                text = (process / part).read_bytes()
            except OSError:
                continue
            assert _leaks(place.secrets, text) == [], (process, part)
    database = node.folder / "data" / "catalog" / "catalog.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    for file in database.parent.iterdir():
        assert _leaks(place.secrets, file.read_bytes()) == [], file


@pytest.mark.fault("S4")
@pytest.mark.parametrize("leaky", [lambda p: p.node.log, lambda p: p.node.folder / "data" / "catalog" / "catalog.db"])
def test_a_leak_would_be_found(place: Place, leaky: Callable[[Place], Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(leaky(place).read_bytes() + f"rtsp://admin:{CAMERA_PASSWORD}@x".encode())
    assert _leaks(place.secrets, copy.read_bytes()) == ["camera password"]
