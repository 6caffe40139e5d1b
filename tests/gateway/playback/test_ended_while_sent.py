"""What is on its way when a right ends: behind a client that takes nothing, nothing leaves any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.web.app import build
from gateway.web.downloads import SENT_BYTES
from tests.gateway.watching import WALL_MS, Rig, rig
from tests.media import access_units, encode_h264, stream_config
from tests.parts.wait import until_async

PACKETS = encode_h264(4.0, gop=100)
CONFIG = stream_config("h264", PACKETS)
UNITS = access_units("h264", PACKETS)
WINDOW = f"from={WALL_MS}&to={WALL_MS + 4000}"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        await made.record(CONFIG, UNITS)
        yield made


@dataclass
class Client:
    """An ASGI server whose client takes nothing until it is `released`. As uvicorn's, `send` waits before it writes."""

    released: asyncio.Event = field(default_factory=asyncio.Event)
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    bodies: list[bytes] = field(default_factory=list)
    asked: bool = False

    async def get(self, node: Rig, url: str, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": parts.path, "raw_path": parts.path.encode(), "query_string": parts.query.encode(),
            "root_path": "", "headers": [(b"host", b"node"), *raw], "client": ("127.0.0.1", 1), "server": ("node", 80),
        }  # fmt: skip
        await build(node.services)(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self.asked:
            await asyncio.Event().wait()  # it never leaves
        self.asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.stalled.set()
            await self.released.wait()
            self.bodies.append(message["body"])


async def asked(node: Rig, what: str, headers: dict[str, str]) -> str:
    """The address under which the pictures are."""
    if what == "clip":
        return f"{node.path}/clip.mp4?{WINDOW}&reason=fight+at+the+gate&watermark=false"
    if what == "evidence":
        return f"/api/v1/exports/evidence.zip?camera={node.camera_id}&{WINDOW}&reason=fight+at+the+gate"
    answer = await node.http.get(f"{node.path}/playback.m3u8?{WINDOW}", headers=headers)
    return next(line for line in answer.text.splitlines() if "/seg/" in line)


@pytest.mark.fault("S16")
@pytest.mark.parametrize("what", ["clip", "evidence", "entry of a playlist"])
async def test_what_waits_for_a_client_that_pauses_does_not_leave_after_the_right(node: Rig, what: str) -> None:
    headers = await node.sign_in("duty")
    client = Client()
    sending = asyncio.create_task(client.get(node, await asked(node, what, headers), headers))
    async with asyncio.timeout(30):
        await client.stalled.wait()
    (look,) = node.services.looks.running
    look.end("revoked")

    async def closed() -> bool:
        return sending.done() and (await node.register())[-1].closed_ms is not None

    try:
        # The row of a session path is closed by the path, which looks each 5 s.
        await until_async(closed, 5 if what != "entry of a playlist" else 12, "the transfer is over, its row closed")
    finally:
        client.released.set()
        results = await asyncio.gather(sending, return_exceptions=True)
    assert client.bodies == []
    assert isinstance(results[0], ConnectionAbortedError), "a file cut short must not look whole"
    assert (await node.register())[-1].result == "revoked"


@pytest.mark.parametrize("what", ["clip", "evidence", "entry of a playlist"])
async def test_little_is_given_to_the_server_at_once(node: Rig, what: str) -> None:
    headers = await node.sign_in("duty")
    client = Client()
    client.released.set()
    async with asyncio.timeout(30):
        await client.get(node, await asked(node, what, headers), headers)
    assert sum(map(len, client.bodies)) > 4 * SENT_BYTES
    assert max(map(len, client.bodies)) <= SENT_BYTES
