"""A certificate is renewed under requests: none fails, and who comes later gets the new one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn

from gateway.ops.certificates import make_private_ca
from gateway.processes.web import config_of
from gateway.web.certificate import LiveCertificate
from tests.gateway.web.site import site_in

PAIRS = 6
CLIENTS = 3


class Place:
    """A real server with TLS on a port of loopback, its two files, and pairs to come."""

    def __init__(self, folder: Path, port: int, live: LiveCertificate) -> None:
        self.port, self.live, self.pairs = port, live, [folder / str(n) for n in range(PAIRS)]
        self.trust = ssl.create_default_context()
        for pair in self.pairs:
            self.trust.load_verify_locations(pair / "ca.crt")

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trust, server_hostname="localhost")

    async def shown(self) -> bytes:
        """The certificate that somebody who comes now is shown, after a whole request."""
        reader, writer = await self.connect()
        await ask(reader, writer)
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return found

    def certificate(self, number: int) -> bytes:
        return ssl.PEM_cert_to_DER_cert((self.pairs[number] / "tls.crt").read_text().split("-----END")[0] +
                                        "-----END CERTIFICATE-----\n")  # fmt: skip

    def put(self, number: int, name: str) -> None:
        """One of the two files, written over as a careless script does."""
        target = self.live.file if name == "tls.crt" else self.live.key
        target.write_bytes((self.pairs[number] / name).read_bytes())


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    for number in range(PAIRS):
        (tmp_path / str(number)).mkdir()
        make_private_ca(tmp_path / str(number), f"node {number}", ["127.0.0.1"])
    live = LiveCertificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    with site_in(tmp_path / "site") as site, socket.create_server(("127.0.0.1", 0)) as bound:
        made = Place(tmp_path, bound.getsockname()[1], live)
        made.put(0, "tls.crt")
        made.put(0, "tls.key")
        server = uvicorn.Server(config_of(site.app, lifespan=False, certificate=live))
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # signals are pytest's
        serving = asyncio.create_task(server.serve([bound]))
        yield made
        server.should_exit = True
        await serving


@pytest.mark.fault("S26")
async def test_a_certificate_is_renewed_under_requests_and_none_fails(place: Place) -> None:
    failed: list[BaseException] = []
    came: asyncio.Queue[None] = asyncio.Queue()
    over = asyncio.Event()

    async def come_and_go() -> None:
        while not over.is_set():
            try:
                await place.shown()
            except Exception as error:
                failed.append(error)
            await came.put(None)

    reader, writer = await place.connect()
    stay = [asyncio.create_task(come_and_go()) for _ in range(CLIENTS)]

    async def more() -> None:
        """Everybody has come once more, and who stayed is answered too."""
        while not came.empty():
            came.get_nowait()
        for _ in range(2 * CLIENTS):
            await came.get()
        await ask(reader, writer)

    for number in range(1, PAIRS):
        await more()
        first, second = ("tls.crt", "tls.key") if number % 2 else ("tls.key", "tls.crt")
        place.put(number, first)
        assert not place.live.look(), "half of a pair"
        await more()
        assert await place.shown() == place.certificate(number - 1)
        place.put(number, second)
        assert place.live.look()
        assert not place.live.look(), "nothing changed since"
        assert await place.shown() == place.certificate(number)
        await more()
    over.set()
    await asyncio.gather(*stay)
    writer.close()
    assert failed == []


async def test_files_that_are_no_pair_or_away_change_nothing(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.live.file.write_bytes(b"no certificate")
    assert not place.live.look() and not place.live.look()
    told = [r for r in caplog.records if "not in use" in r.getMessage()]
    assert len(told) == 1, "said once, not at every look"
    assert await place.shown() == place.certificate(0)
    place.live.key.unlink()
    assert not place.live.look()
    assert await place.shown() == place.certificate(0)
    for name in ("tls.crt", "tls.key"):
        place.put(1, name)
    assert place.live.look() and await place.shown() == place.certificate(1)
