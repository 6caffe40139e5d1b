"""A peer that answers badly: without end, or a byte at a time."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator

import httpx
import pytest

from config.errors import TiergateError
from tests.tiering.test_wire import PUBLIC, Signer
from tiering.client import PeerClient

HEAD = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: 10000000000\r\n\r\n"


class Answering:
    """Answers every request with a head and then `piece`, again and again with a pause, until the other side goes."""

    def __init__(self, status: int, piece: bytes, pause_s: float) -> None:
        self.status, self.piece, self.pause_s = status, piece, pause_s
        self.sent = 0
        self.gone = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.gone.clear()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HEAD % self.status)
            while not reader.at_eof():
                writer.write(self.piece)
                await writer.drain()
                self.sent += len(self.piece)
                await asyncio.sleep(self.pause_s)
        writer.close()
        self.gone.set()

    @contextlib.asynccontextmanager
    async def client(self, call_s: float) -> AsyncIterator[PeerClient]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            yield PeerClient(url, "n" * 16, PUBLIC, Signer(), http, lambda: 0, secrets.token_bytes, call_s)
        server.close()
        await self.gone.wait()


async def code(client: PeerClient, call: str) -> str:
    with pytest.raises(TiergateError) as refused:
        async with asyncio.timeout(20):
            if call == "live":
                async for _ in client.live("l", "c", "main"):
                    raise AssertionError("a picture came")
            await client.directory(None)
    return refused.value.reason.code


@pytest.mark.parametrize(("call", "status"), [("directory", 200), ("directory", 503), ("live", 503)])
async def test_an_answer_that_trickles_for_days_is_given_up(call: str, status: int) -> None:
    async with Answering(status, b" ", 0.01).client(0.2) as client:
        assert await code(client, call) == "tier.peer_away"


@pytest.mark.parametrize("call", ["directory", "live"])
async def test_of_a_refusal_without_end_little_is_taken(call: str) -> None:
    peer = Answering(503, bytes(65_536), 0)
    async with peer.client(15) as client:
        assert await code(client, call) == "tier.peer_garbled"
    assert peer.sent < 16 << 20  # what lies in the buffers of the kernel, and not the ten gigabytes


async def test_what_comes_may_take_its_time() -> None:
    """More than the call's own time, but not slower than a line is."""
    async with Answering(503, bytes(16_384), 0.05).client(0.2) as client:
        assert await code(client, "directory") == "tier.peer_garbled"  # it was read to the limit of refusals
