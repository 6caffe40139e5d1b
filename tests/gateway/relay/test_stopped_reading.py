"""A node above that stops reading, or whose line is dead: its session ends all the same, and holds no place."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.live.wire import Config
from gateway.relay import tier_app
from gateway.relay.adapters import KeySigner
from storage.catalog import leases, links
from storage.catalog.tables import register
from storage.media.access_unit import AccessUnit, StreamConfig
from tests.gateway.relay.pair import CAMERA, Node, pair
from tests.gateway.relay.test_pull import first, pull, watch
from tests.media import access_units
from tests.parts.wait import until_async
from tiering.cmaf import Notice
from tiering.signing import sign_request

FAT_BYTES = 1 << 20  #: of a picture: more than everything on the way to the peer holds
NEVER_S = 3600.0


class FatPictures:
    """A stream of which one picture never fits into what lies between sender and reader."""

    def __init__(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given = 0
        self._pictures = node.pictures
        monkeypatch.setattr(node.pictures, "watch", self.watch)

    async def watch(self, camera: str, stream: str) -> AsyncGenerator[StreamConfig | AccessUnit | Notice, None]:
        yield self._pictures.config if stream == "main" else self._pictures.small
        while True:
            for unit in access_units("h264", self._pictures.packets):
                self.given += 1
                yield replace(unit, data=unit.data + bytes(FAT_BYTES))
                await asyncio.sleep(0.1)


@contextlib.contextmanager
def asking(upper: Node, lower: Node, lease: str) -> Iterator[socket.socket]:
    """A connection of the upper node that asked for the camera's main stream, and reads nothing by itself."""
    target = f"/tier/v1/leases/{lease}/live/{CAMERA}?stream=main"
    nonce = secrets.token_bytes(16)
    headers = sign_request(KeySigner(upper.keys), lower.keys.node_id, "GET", target, b"", upper.now_ms, nonce)
    lines = [f"GET {target} HTTP/1.1", "host: lower", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect(("127.0.0.1", int(lower.service.url.rpartition(":")[2])))
        made.sendall("\r\n".join(lines).encode())
        yield made


def flows(node: Node) -> list[str]:
    [link] = node.catalog.read(links.all_of)
    return [flow.stream for flow in node.service.lines.flows(link.id)]


async def stuck(node: Node, pictures: FatPictures) -> bool:
    """While the first picture cannot leave, the next waits behind it."""
    return flows(node) == ["main"] and pictures.given >= 2


async def over(node: Node) -> bool:
    rows = node.catalog.read(lambda c: c.execute(select(register)).all())
    return flows(node) == [] and [row.closed_ms is not None for row in rows] == [True]


def rest_of(connection: socket.socket) -> int:
    """Bytes that still come until the connection is at its end."""
    connection.settimeout(60)
    count = 0
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            count += len(piece)
    return count


@pytest.mark.fault("S16")
@pytest.mark.parametrize("how", ["lease", "time"])
async def test_the_session_of_a_peer_that_stopped_reading_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """With its lease, and after a time without it; its register row is closed, its place free, its connection cut."""
    monkeypatch.setattr(tier_app, "STALLED_S", NEVER_S if how == "lease" else 0.5)
    async with pair(tmp_path) as (upper, lower):
        pictures = FatPictures(lower, monkeypatch)
        lease = await pull(upper)
        with asking(upper, lower, lease) as connection:
            if how == "lease":
                await until_async(lambda: stuck(lower, pictures), 30, "the peer's connection is full")
                lower.catalog.write(lambda c: leases.end(c, lease, "granted", lower.now_ms, "revoked", lower.now_ms))
            await until_async(lambda: over(lower), 30, "the session is over")
            assert await asyncio.to_thread(rest_of, connection) < FAT_BYTES


async def test_who_comes_again_after_a_dead_line_gets_the_main_stream_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tier_app, "STALLED_S", NEVER_S)
    async with pair(tmp_path) as (upper, lower):
        pictures = FatPictures(lower, monkeypatch)
        lease = await pull(upper)
        with asking(upper, lower, lease):
            await until_async(lambda: stuck(lower, pictures), 30, "the peer's connection is full")
            monkeypatch.undo()
            stream = watch(upper, lease)
            config = await first(stream, Config, 30)
            assert isinstance(config, Config) and config.stream.video.width == 320
            assert flows(lower) == ["main"]
            await stream.aclose()  # type: ignore[attr-defined]  # an async generator
