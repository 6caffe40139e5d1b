"""No name, address, number or file that anybody gives a node becomes a command, or an argument of one. (FAULTS S7)

strace writes down every program that the node's processes start while words made to be taken for commands or options
come in by every field of the API, by an import file, by a camera's answers and by the hook of alarms. What starts is
the node's own children, each with the arguments that our code wrote, and the hook.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import httpx
import pytest

from tests.parts.node import QUICK, Node
from tests.parts.onvif_ipycam import OnvifCamera
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until
from tests.parts.web import QuietHandler, web_server

ROOT = Path(__file__).resolve().parents[1]
MARK = "c4nary"  #: in every word; in no argument of a program but the hook's

pytestmark = [pytest.mark.real, pytest.mark.fault("S7")]


def words(trap: Path) -> list[str]:
    """Each would make a file in `trap`, or be an option, if a shell or a program took it for more than a word."""
    touch = f"touch {trap}/{MARK}"
    return [
        f"$({touch})", f"`{touch}`", f"; {touch};", f"| {touch}", f"&& {touch}", f"x\n{touch}\n", f"'; {touch} #",
        f'"; {touch} #', f"-{MARK}", f"--{MARK}={trap}", f"-i {MARK} -y {trap}/{MARK}", f"@{trap}/{MARK}",
        f"exec:{touch}", f"|{touch}|", f"pipe:{MARK}", f"concat:{MARK}|file:/etc/passwd", f"file:{trap}/{MARK}",
        f"%({MARK})s%n%s", f"${{IFS}}{MARK}$IFS", f"{MARK}\r\n-y\r\n", f"../../{MARK}", f"!{MARK}", f"~{MARK}*?[a]",
    ]  # fmt: skip


@dataclass(frozen=True)
class Started:
    argv: tuple[str, ...]
    went: bool


_CALL = re.compile(
    r"(\d+) +execve\([^[]*(\[.*\]), 0x[0-9a-f]+ /\* \d+ vars \*/(?:\) += (-?\d+).*| <unfinished \.\.\.>)"
)
_RESUMED = re.compile(r"(\d+) +<\.\.\. execve resumed>\) += (-?\d+).*")


def started(log: Path) -> list[Started]:
    """What strace wrote down, also of what failed. Raises AssertionError for a line that is not understood."""
    found: list[Started] = []
    open_: dict[str, tuple[str, ...]] = {}
    for line in log.read_text().splitlines():
        if "exec" not in line:
            continue
        if resumed := _RESUMED.fullmatch(line):
            found.append(Started(open_.pop(resumed[1]), resumed[2] == "0"))
            continue
        call = _CALL.fullmatch(line)
        assert call is not None, line
        text = re.sub(r"\\x([0-9a-f]{2})", r"\\u00\1", call[2])  # -xx writes each byte as \xNN
        argv = tuple(argument.encode("latin-1").decode(errors="replace") for argument in json.loads(text))
        if call[3] is None:
            open_[call[1]] = argv
        else:
            found.append(Started(argv, call[3] == "0"))
    return found + [Started(argv, True) for argv in open_.values()]


def expected(argv: tuple[str, ...], node: Node, hook: tuple[str, ...]) -> str | None:
    """What of ours a command line is; None for any other."""
    if argv == hook:
        return "hook"
    if argv == ("/sbin/ldconfig", "-p"):  # how the standard library finds a library in C by its name
        return "ldconfig"
    if argv == (sys.executable, "-c", "from gateway.cli import main; main()", "--config", str(node.config), "serve"):
        return "supervisor"
    if argv[:3] == (sys.executable, "-m", "gateway.processes.decoder") and argv[3:] in (
        ("jobs",),
        ("transcode",),
        ("burn",),
    ):
        return "decoder"
    plain = argv[3:] if argv[:3] == ("nice", "-n", "5") else argv
    own = "gateway.processes.(recorder|keeper|relay|web|worker)"
    match = re.fullmatch(f"{sys.executable} -m {own} --config {node.config}( --shard [0-9]+)?", " ".join(plain))
    return match[1] if match else None


@dataclass
class Place:
    node: Node
    rtsp: RtspServer
    trap: Path
    hook: tuple[str, ...]
    log: Path
    told: Path
    camera: str = ""

    def programs(self) -> Counter[str]:
        """How often which of our programs was started. Raises AssertionError for any other, or a word in one's line."""
        found: Counter[str] = Counter()
        for one in started(self.log):
            name = expected(one.argv, self.node, self.hook)
            assert name is not None, one
            assert name == "hook" or not any(MARK in argument for argument in one.argv), one
            found[name] += one.went
        assert list(self.trap.iterdir()) == []
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("commands")
    trap = folder / "trap"
    trap.mkdir()
    log = folder / "execve.log"
    told = folder / "told"
    told.write_text("")
    program = folder / "hook; $(false)"
    program.write_text(f'#!/bin/sh\nwhile read -r line || [ -n "$line" ]; do echo "$line"; done >>\'{told}\'\n')
    program.chmod(0o755)
    hook = (str(program), *words(trap))
    settings = QUICK | {
        "alarms": {"command": list(hook)},
        "web": {"requests_per_s": 1_000, "anonymous_requests_per_s": 1_000},
        "cameras": {"allowed_networks": ["127.0.0.1/32"], "connect_timeout_s": 2},
    }
    # -D: the node stays the child of who started it; --seccomp-bpf: other calls are not stopped at.
    strace = [shutil.which("strace") or "strace", "-D", "-f", "--seccomp-bpf", "-xx", "-s", "100000"]
    traced = [*strace, "-e", "trace=execve,execveat", "-e", "signal=none", "-o", str(log), "--"]
    node = Node(folder / "node", settings=settings, under=traced)
    with RtspServer() as rtsp, node.init().start():
        place = Place(node, rtsp, trap, hook, log, told)
        place.camera = node.add_camera(rtsp.url("tiny"), "--name", f"$(touch {trap}/{MARK})")
        yield place


def test_a_shell_would_obey_the_words(tmp_path: Path) -> None:
    obeyed = 0
    for word in words(tmp_path):
        subprocess.run(["sh", "-c", f"echo {word}"], cwd=tmp_path, capture_output=True, check=False)
        obeyed += (tmp_path / MARK).exists()
        (tmp_path / MARK).unlink(missing_ok=True)
    assert obeyed >= 6


# --- every field of the API ---


def fields(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of each property that takes a text, and a body of its schema that has the others as they must be."""
    body = {name: plainest(document, document_of(document, schema)["properties"][name])
            for name in document_of(document, schema).get("required", ())}  # fmt: skip
    for name, of in document_of(document, schema).get("properties", {}).items():
        if any(one.get("type") in ("string", "array") and "enum" not in one for one in (of, *of.get("anyOf", ()))):
            yield name, body


def document_of(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    schema = next((one for one in schema.get("anyOf", ()) if "$ref" in one), schema)
    if "$ref" in schema:
        found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return found
    return schema


def plainest(document: dict[str, Any], of: dict[str, Any]) -> Any:
    of = document_of(document, of)
    if "enum" in of:
        return of["enum"][0]
    kind = of.get("type") or of["anyOf"][0].get("type")
    if kind == "integer":
        return max(int(time.time() * 1_000), 1) if "maximum" not in of else 1
    return {"boolean": True, "array": ["x"], "object": {}, "number": 1.0}.get(kind, "x")


def test_no_field_of_the_api_becomes_a_command(place: Place, counted: Callable[[object], None]) -> None:
    document = json.loads((ROOT / "docs" / "openapi.json").read_text())
    answers: Counter[int] = Counter()
    given, turn = words(place.trap), 0
    other = place.node.add_camera(place.rtsp.url("tiny2"))
    with place.node.client() as client:
        for path, calls in document["paths"].items():
            for method, call in calls.items():
                if method == "delete" or path.endswith("/session/password"):
                    continue
                schema = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
                turn += 1
                for word in given[turn % 3 :: 3]:
                    where = path
                    for parameter in call.get("parameters", ()):
                        value = other if parameter["name"] == "camera_id" else word
                        where = where.replace("{" + parameter["name"] + "}", quote(value, safe=""))
                    query = {p["name"]: word for p in call.get("parameters", ()) if p["in"] == "query"}
                    bodies = [body | {name: word} for name, body in fields(document, schema)] if schema else [None]
                    for body in bodies:
                        with client.stream(method, where, params=query, json=body, timeout=30) as answer:
                            answers[answer.status_code] += 1
                            assert answer.status_code < 500 or answer.status_code == 503, (method, where, body)
    counted(f"answers {dict(answers)}, programs {dict(place.programs())}")
    assert sum(answers.values()) > 800 and answers[200] + answers[201] > 50


# --- a camera, an import file, footage, the hook ---


@contextlib.contextmanager
def lying_device(onvif_camera: OnvifCamera, word: str) -> Iterator[int]:
    """Somebody else's device that says `word` of itself, of its profiles and in its streams' addresses."""
    said = escape(word)

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            text = httpx.post(onvif_camera.url, content=body, headers={"Content-Type": "text/xml"}).text
            text = re.sub(r"(<(?:\w+:)?(?:Manufacturer|Model|FirmwareVersion|SerialNumber|Name)>)[^<]*", r"\1#", text)
            text = re.sub(r"(rtsp://[^<]*)(?=<)", r"\1?#", text).replace("#", said)
            data = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/soap+xml")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with web_server(Handler) as port:
        yield port


def test_no_answer_of_a_device_becomes_a_command(
    place: Place, onvif_camera: OnvifCamera, counted: Callable[[object], None]
) -> None:
    account = {"username": onvif_camera.user, "password": onvif_camera.password}
    told: Counter[str] = Counter()
    with place.node.client() as client:
        for word in words(place.trap):
            with lying_device(onvif_camera, word) as port:
                asked = {"onvif": f"127.0.0.1:{port}", **account}
                probed = client.post("/api/v1/cameras/probe", json=asked)
                added = client.post("/api/v1/cameras", json=asked)
            told[f"{probed.status_code} {added.status_code}"] += 1
            assert max(probed.status_code, added.status_code) < 500 or "camera." in added.json()["code"], added.text
    counted(f"devices that lied: {dict(told)}, programs {dict(place.programs())}")
    assert told["200 201"], "some are believed, and recorded from"


def test_no_line_of_an_import_file_becomes_a_command(place: Place, counted: Callable[[object], None]) -> None:
    file = place.trap.parent / "cameras; touch.csv"
    base = place.rtsp.url("imported")
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["url", "name", "username", "password", "place", "region"])
        for word in words(place.trap):
            writer.writerow([f"{base}?{quote(word, safe='')}", word, "", "", word, ""])
            writer.writerow([f"{base}/{word}", "n", word, word, "", ""])
            writer.writerow([word, word, word, word, word, word])
    answer = place.node.run("camera", "import", str(file))
    lines = json.loads(answer.stdout)["items"]
    counted(f"lines {len(lines)}, taken {sum(1 for line in lines if line['id'])}, programs {dict(place.programs())}")
    assert any(line["id"] for line in lines) and any(line["problem"] for line in lines)


def test_footage_with_such_names_starts_decoders_and_the_hook_and_nothing_else(
    place: Place, counted: Callable[[object], None]
) -> None:
    """A still and a clip whose maker, case and reason are such words, and the hook, whose arguments are."""
    until(lambda: place.node.footage(place.camera), 60, "footage")
    now_ms = time.time_ns() // 1_000_000
    with place.node.client() as client:
        still = client.get(f"/api/v1/cameras/{place.camera}/snapshot.jpg")
        assert still.status_code == 200 and still.content[:2] == b"\xff\xd8", still.text
        (span,) = place.node.footage(place.camera)[:1]
        window = {"from": max(span["from_ms"], now_ms - 20_000), "to": now_ms}
        for word in words(place.trap)[:4]:
            asked = {**window, "purpose": "evidence", "reason": word, "case_no": word, "watermark": "true"}
            clip = client.get(f"/api/v1/cameras/{place.camera}/clip.mp4", params=asked)
            assert clip.status_code == 200 and clip.content[4:8] == b"ftyp", clip.text[:300]
    until(lambda: place.told.read_text(), 120, "the hook of alarms")
    seen = place.programs()
    counted(f"programs {dict(seen)}, of the hook {len(place.told.read_text().splitlines())} messages")
    assert (
        seen["decoder"] and seen["hook"] and set(seen) >= {"supervisor", "recorder", "keeper", "relay", "web", "worker"}
    )
