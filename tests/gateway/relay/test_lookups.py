"""Names of other nodes: a resolver that answers nothing keeps nobody else, and is asked once for each name."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from typing import Any

import httpx
import pytest

from gateway.relay import http
from gateway.relay.http import PeerTransport, http_over
from tests.parts.wait import until_async

NAMES = [f"node{number}.street.example" for number in range(20)]


class Resolver:
    """Answers nothing until `go`; then that there is no such name."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.go = threading.Event()

    def getaddrinfo(self, host: str, *_: Any, **__: Any) -> Any:
        self.asked[host] += 1
        self.go.wait()
        raise socket.gaierror("no such name")


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    made = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    return made


async def call(host: str) -> str:
    """How it fails."""
    async with http_over(PeerTransport(["127.0.0.0/8"], (bytes(32),))) as client:
        with pytest.raises(httpx.TransportError) as failed:
            await client.get(f"https://{host}:9/tier/v1/directory")
    return type(failed.value).__name__


async def test_names_that_nobody_answers_keep_no_thread_of_others(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "CONNECT_S", 600.0)
    calls = [asyncio.create_task(call(name)) for name in NAMES]

    async def all_asked() -> bool:
        return len(resolver.asked) == len(NAMES)

    try:
        await until_async(all_asked, 30, "every name is looked up")
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 30) == 1
        assert await call("127.0.0.1") == "ConnectError", "an address is no name: it waits for none"
        assert not any(task.done() for task in calls)
    finally:
        resolver.go.set()
    assert set(await asyncio.gather(*calls)) == {"ConnectError"}


async def test_a_name_is_waited_for_as_long_as_a_connection_and_asked_for_once(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "CONNECT_S", 0.1)
    try:
        for _ in range(3):
            async with asyncio.timeout(30):
                said = await asyncio.gather(call(NAMES[0]), call(NAMES[0]))
            assert set(said) == {"ConnectTimeout"}
        assert resolver.asked == {NAMES[0]: 1}
    finally:
        resolver.go.set()
