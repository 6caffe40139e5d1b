"""Requests that nobody sane sends, to a real server: no 5xx, no traceback, bounded answers and memory (FAULTS S24).

Operations and their parameters come from the API's own document; what speaks worse than HTTP comes over raw sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from gateway.cameras import discovery
from gateway.web import http
from gateway.web.describe import document
from tests.gateway.watching import Rig, rig
from tests.gateway.web.site import ALL_ROLES
from tests.parts.wait import until_async

pytestmark = pytest.mark.real

#: Answers that have no end when they are right; `tests.gateway.live` asks for them.
ENDLESS = {"GET /api/v1/events", "GET /api/v1/cameras/{camera_id}/live.mp4"}
MOST_BYTES = 4 << 20
_LEAKS = re.compile(r'Traceback|File "|site-packages|sqlalchemy|sqlite3|psycopg|\.py\b')


@pytest.fixture
async def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    async def nobody(seconds: float) -> list[discovery.Found]:
        return []  # nothing is multicast from a test

    monkeypatch.setattr(discovery, "discover", nobody)
    async with rig(tmp_path) as made:
        yield made


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def wrong(status: int, headers: Any, text: str) -> str:
    """What is wrong with an answer; 503 says that a part of the node is away, which here some are."""
    if len(text) > MOST_BYTES:
        return f"{len(text)} characters"
    if status >= 500 and status != 503:
        return f"status {status}: {text[:200]}"
    if status >= 400 and headers.get("content-type", [""])[0] != "application/problem+json":
        return f"{status} without a problem: {text[:200]}"
    leak = _LEAKS.search(text) if status >= 400 else None
    return f"{leak[0]} in {text[:300]}" if leak else ""


def _operations() -> dict[str, Any]:
    schema = schemathesis.openapi.from_dict(document())
    found: dict[str, Any] = {}
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # an Err has none: then the document is broken
        found[f"{operation.method.upper()} {operation.path}"] = operation
    return {name: operation for name, operation in found.items() if name not in ENDLESS}


@pytest.mark.fault("S24")
@pytest.mark.parametrize(
    "examples", [pytest.param(3, id="few"), pytest.param(200, marks=pytest.mark.torture, id="many")]
)
async def test_no_request_of_the_document_or_against_it_breaks_anything(
    node: Rig, examples: int, counted: Callable[[object], None]
) -> None:
    statuses: Counter[int] = Counter()
    bad: list[str] = []

    def attack(name: str, operation: Any, headers: dict[str, str]) -> None:
        known = {"camera_id": node.camera_id} if "{camera_id}" in name else None
        cases = [operation.as_strategy(GenerationMode.POSITIVE, path_parameters=known)]
        with contextlib.suppress(Exception):  # some operations have nothing that could be against their document
            cases.append(operation.as_strategy(GenerationMode.NEGATIVE))

        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(st.one_of(cases))
        def one(case: Any) -> None:
            try:
                answer = case.call(base_url=node.base, headers=headers, timeout=15)
            except (UnicodeError, ValueError):
                return  # what this client cannot even send
            statuses[answer.status_code] += 1
            fault = wrong(answer.status_code, answer.headers, answer.text)
            if fault:
                bad.append(f"{name} {case.path_parameters} {case.query} {str(case.body)[:200]}: {fault}")

        one()

    for name, operation in _operations().items():
        headers = await node.sign_in(*ALL_ROLES)
        await asyncio.to_thread(attack, name, operation, headers)
    refused = sum(count for status, count in statuses.items() if 400 <= status < 500)
    counted(
        f"{statuses.total()} requests to {len(_operations())} operations, {refused} refused: "
        f"{dict(sorted(statuses.items()))}"
    )
    assert bad == [], "\n".join(bad[:20])
    assert statuses.total() >= examples * len(_operations()) * 0.6 and sum(statuses[s] for s in (200, 201, 204)) >= 10
    assert (await node.http.get("/healthz")).status_code == 200


@pytest.mark.fault("S24")
def test_a_bad_answer_would_be_seen() -> None:
    problem = {"content-type": ["application/problem+json"]}
    assert wrong(500, problem, "{}") and wrong(400, {"content-type": ["text/html"]}, "x")
    assert wrong(400, problem, 'Traceback (most recent call last):\n  File "x.py"') and wrong(
        200, {}, "x" * (MOST_BYTES + 1)
    )
    assert not wrong(404, problem, '{"code":"access.not_found"}') and not wrong(503, problem, "{}")


# --- below HTTP ------------------------------------------------------------------------------------------------------


class Wire:
    """One raw connection."""

    def __init__(self, base: str) -> None:
        host, _, port = base.removeprefix("http://").partition(":")
        self._place = host, int(port)

    async def __aenter__(self) -> Wire:
        self.reader, self.writer = await asyncio.open_connection(*self._place)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def send(self, data: bytes) -> bool:
        """False: the other side has gone."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError:
            return False
        return not self.writer.is_closing()

    async def answer(self, seconds: float = 15.0) -> bytes | None:
        """All until the other side closes or answers once; None: neither in that time."""
        found = b""
        try:
            async with asyncio.timeout(seconds):
                while piece := await self.reader.read(65_536):
                    found += piece
                    head, whole, body = found.partition(b"\r\n\r\n")
                    length = re.search(rb"(?i)content-length: *(\d+)", head)
                    if whole and len(body) >= int(length[1] if length else 0):
                        break
        except TimeoutError:
            return None
        except OSError:
            pass
        return found


HEAD = b"GET /api/v1/node HTTP/1.1\r\nHost: node.test\r\n"
POST = b"POST /api/v1/session HTTP/1.1\r\nHost: node.test\r\nContent-Type: application/json\r\n"
BAD = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "an unknown method": b"FROB / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a header without a colon": HEAD + b"nonsense\r\n\r\n",
    "a NUL in a header": HEAD + b"X: a\0b\r\n\r\n",
    "a space before the colon": HEAD + b"X : y\r\n\r\n",
    "a folded header": HEAD + b"X: y\r\n z\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 30\r\n\r\n{}",
    "length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": POST + b"Content-Length: -2\r\n\r\n{}",
    "a length in other digits": POST + b"Content-Length: \xb2\r\n\r\n{}",
    "a length beyond 64 bits": POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "a length beyond the limit": POST + b"Content-Length: 9999999999\r\n\r\n{}",
    "a chunk size that is none": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk size without end": POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 100_000,
    "a negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": POST + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}{}{}\r\n0\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "an escape that is none": b"GET /api/v1/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path of bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute target": b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a CONNECT": b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a host that is none": b"GET / HTTP/1.1\r\nHost: <script>\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "an upgrade to nothing": HEAD + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "a WebSocket without a key": HEAD + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "deep JSON": POST + b"Content-Length: 200000\r\n\r\n" + b"[" * 200_000,
    "JSON of NaN": POST + b"Content-Length: 3\r\n\r\nNaN",
    "half a surrogate": POST + b'Content-Length: 19\r\n\r\n{"login":"\\ud800" }',
    "a token of bytes": HEAD + b"Authorization: Bearer \xff\xfe\r\n\r\n",
    "a token of 60 kB": HEAD + b"Authorization: Bearer " + b"a" * 60_000 + b"\r\n\r\n",
    "a cookie of bytes": HEAD + b"Cookie: tiergate_session=\xff; =; ;;;\r\n\r\n",
    "a range of nonsense": HEAD + b"Range: bytes=9-1,--,99999999999999999999-\r\n\r\n",
}  # fmt: skip


@pytest.mark.fault("S24")
async def test_bad_http_is_answered_or_closed(node: Rig, counted: Callable[[object], None]) -> None:
    statuses: Counter[str] = Counter()
    for name, data in BAD.items():
        async with Wire(node.base) as wire:
            await wire.send(data)
            if wire.writer.can_write_eof():
                with contextlib.suppress(OSError):
                    wire.writer.write_eof()
            text = await wire.answer()
        assert text is not None, f"{name}: neither answered nor closed"
        status = text[9:12].decode("ascii", "replace") if text.startswith(b"HTTP/1.1 ") else "closed"
        statuses[status] += 1
        assert not status.startswith("5"), (name, text[:300])
        assert not _LEAKS.search(text.decode("utf-8", "replace")), (name, text[:300])
    assert (await node.http.get("/api/v1/node")).status_code == 200
    counted(f"{len(BAD)} bad requests: {dict(statuses)}")


@pytest.mark.fault("S23")
async def test_a_head_without_end_is_cut_off_and_costs_no_memory(node: Rig) -> None:
    before = resident_bytes()
    for start in (b"GET /", HEAD + b"X: ", HEAD):
        async with Wire(node.base) as wire:
            await wire.send(start)
            sent = 0
            piece = b"X-Y: z\r\n" * 8_192 if start == HEAD else b"a" * 65_536
            while sent < 64 << 20 and await wire.send(piece):
                sent += len(piece)
            assert sent < 64 << 20, f"{start!r}: 64 MiB of head were taken"
    assert resident_bytes() - before < 48 << 20
    assert (await node.http.get("/api/v1/node")).status_code == 200


@pytest.mark.fault("S23")
async def test_a_body_without_end_is_cut_off_and_costs_no_memory(node: Rig) -> None:
    before = resident_bytes()
    async with Wire(node.base) as wire:
        await wire.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        sent = 0
        while sent < 64 << 20 and await wire.send(b"10000\r\n" + b"a" * 65_536 + b"\r\n"):
            sent += 65_536
            if wire.reader.at_eof() or wire.reader._buffer:  # type: ignore[attr-defined]  # answered: no need to go on
                break
        text = await wire.answer()
    assert text is not None and sent < 64 << 20
    assert text == b"" or text.startswith(b"HTTP/1.1 413")
    assert resident_bytes() - before < 48 << 20


@pytest.mark.fault("S23")
async def test_slow_requests_end_and_others_are_served(node: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred connections that send a byte now and then, and some that send nothing."""
    monkeypatch.setattr(http, "HEAD_S", 1.0)
    monkeypatch.setattr(http, "BODY_S", 1.0)
    starts = [b"", b"G", HEAD, HEAD + b"X: ", POST + b"Content-Length: 50\r\n\r\n{"]
    async with contextlib.AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(Wire(node.base)) for _ in range(100)]
        gone: set[int] = set()

        async def drip(number: int, wire: Wire) -> None:
            await wire.send(starts[number % len(starts)])
            text = b"" if number % len(starts) == 0 else b"a"
            while not wire.reader.at_eof() and not wire.reader._buffer:  # type: ignore[attr-defined]  # what came
                if text and not await wire.send(text):
                    break
                await asyncio.sleep(0.1)
            gone.add(number)

        drips = [asyncio.create_task(drip(n, w)) for n, w in enumerate(wires)]
        assert (await node.http.get("/api/v1/node")).status_code == 200
        await until_async(lambda: _all(gone, 100), 30, "every slow connection is ended")
        await asyncio.gather(*drips)
    assert (await node.http.get("/api/v1/node")).status_code == 200


async def _all(gone: set[int], count: int) -> bool:
    return len(gone) == count


async def test_a_request_in_pieces_and_a_second_one_are_still_served(
    node: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bounds are for those that never end: each request has its own time."""
    monkeypatch.setattr(http, "HEAD_S", 5.0)
    async with Wire(node.base) as wire:
        for _ in range(3):
            for byte in (HEAD[:9], HEAD[9:], b"X: y\r", b"\n\r\n"):
                assert await wire.send(byte)
                await asyncio.sleep(0.01)
            text = await wire.answer()
            assert text is not None and text.startswith(b"HTTP/1.1 200")
    with socket.create_connection(wire._place, 5) as bare:
        bare.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}")
