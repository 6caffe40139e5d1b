"""Raw bytes at the RTSP port (FAULTS S23, S24): answered or hung up on, without a traceback, while others watch on."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import socket
import tracemalloc
from collections import Counter
from collections.abc import Callable

import pytest

from gateway.rtsp.connection import Limits
from tests.gateway.rtsp.talk import OVER_TCP, UNITS, Client, Served, again, login_of, served, stream_password
from tests.gateway.watching import Rig
from tests.parts.wait import until_async

pytestmark = pytest.mark.fault("S24")
MUTANTS = 1_500
QUICK = Limits(sign_in_s=1.0, request_s=0.3, session_s=60.0, write_s=1.0)


def request(method: str, uri: str, *headers: str, cseq: int = 1) -> bytes:
    return "\r\n".join((f"{method} {uri} RTSP/1.0", f"CSeq: {cseq}", *headers, "", "")).encode()


async def told(rtsp: Served, data: bytes, *, half_close: bool = True) -> bytes:
    """Everything that comes back until the other end hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", rtsp.port)
    try:
        writer.write(data)
        if half_close:
            writer.write_eof()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"RTSP/1.0 ")[1:]]


async def test_whoever_asks_on_and_takes_no_answer_is_hung_up_on(node: Rig) -> None:
    limits = Limits(sign_in_s=600.0, request_s=600.0, session_s=600.0, write_s=0.3)
    async with served(node, limits, send_bytes=4_096) as rtsp:
        with socket.socket() as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            own.connect(("127.0.0.1", rtsp.port))
            _, writer = await asyncio.open_connection(sock=own, limit=1_024)
            try:
                with pytest.raises(ConnectionError):
                    async with asyncio.timeout(60):
                        while True:
                            writer.write(request("OPTIONS", "*") * 100)
                            await writer.drain()
            finally:
                writer.transport.abort()


async def test_half_huge_and_shapeless_requests_are_answered_or_hung_up_on(node: Rig) -> None:
    async with served(node, QUICK) as rtsp:
        url = rtsp.url()
        for data, wanted in (
            (b"", []),
            (b"\0" * 100_000, [413]),
            (b"A" * 100_000, [413]),
            (b"OPTIONS * RTSP/1.0\r\n\r\n", [400]),
            (request("OPTIONS", "*", *["A: b"] * 100), [400]),
            (request("OPTIONS", "*", "A: " + "b" * 9000), [413]),
            (request("SET_PARAMETER", url, "Content-Length: 99999"), [413]),
            (request("SET_PARAMETER", url, "Content-Length: 5") + b"abc", []),
            (request("DESCRIBE", url + "/../../etc/passwd"), [401]),
            (request("PLAY", url, "Session: " + "x" * 5000), [401]),
            (request("TEARDOWN", url, "Session: x"), [454]),
            (request("SETUP", url, "Transport: " + "RTP/AVP/TCP;" * 300), [401]),
            (request("DESCRIBE", url, 'Authorization: Digest username="' + "\\" * 3000), [401]),
            (request("DESCRIBE", url, "Authorization: Digest " + "a=b," * 900), [401]),
            (b"".join(request("OPTIONS", "*", cseq=n) for n in range(200)), [200] * 200),
            (b"$\0\xff\xff" + request("OPTIONS", "*"), []),
            (b"$\0\0\x02ab" + request("OPTIONS", "*"), [200]),
        ):
            assert statuses(await told(rtsp, data)) == wanted, data[:60]
    async with served(node, Limits(sign_in_s=60.0, request_s=0.3)) as rtsp:
        for half in (b"OPTI", b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n", b"$\0", b"$\0\x01\0abc"):
            assert await told(rtsp, half, half_close=False) == b"", "whoever does not go on is hung up on"


async def test_pipelined_requests_are_answered_in_their_order_between_the_pictures(rtsp: Served) -> None:
    login = login_of(await stream_password(rtsp.node))
    client = await rtsp.client()
    async with rtsp.node.camera.playing(UNITS, again, 0.005):
        session = await client.play(rtsp.url(), login)
        many = [
            request("GET_PARAMETER", rtsp.url(), f"Session: {session}", cseq=1000 + n) + b"$\1\0\4abcd"
            for n in range(300)
        ]
        client.writer.write(b"".join(many))
        answers = [await client.answer() for _ in range(300)]
        assert [int(a.headers["cseq"]) for a in answers] == list(range(1000, 1300))
        assert {a.status for a in answers} == {200}
        await client.media(100)


async def test_whoever_asks_and_never_reads_is_hung_up_on_with_little_kept(node: Rig) -> None:
    async with served(node, QUICK) as rtsp:
        reader, writer = await asyncio.open_connection("127.0.0.1", rtsp.port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport reads
        flood = b"".join(request("OPTIONS", "*", cseq=n) for n in range(2000))
        kept: list[int] = []
        try:
            async with asyncio.timeout(20):
                while True:
                    writer.write(flood)
                    await writer.drain()
                    kept += [c._writer.transport.get_write_buffer_size() for c in rtsp.server._connections]
        except ConnectionError:
            pass
        del reader
        writer.transport.abort()
    assert kept and max(kept) < 1024 * 1024


def mutations(session: str, rtsp: Served, login: tuple[str, str], client: Client) -> list[Callable[[], bytes]]:
    """Requests that are good, to be spoilt."""
    url = rtsp.url()
    signed = [
        lambda m=m, u=u, more=more: request(m, u, f"Authorization: {client.authorization(m, u, *login, 'MD5')}", *more)
        for m, u, more in (
            ("DESCRIBE", url, ()),
            ("SETUP", url + "/trackID=1", (f"Transport: {OVER_TCP}",)),
            ("PLAY", url, (f"Session: {session}", "Range: npt=0.000-")),
        )
    ]
    plain = [
        lambda: request("OPTIONS", url),
        lambda: request("GET_PARAMETER", url, f"Session: {session}", "Content-Length: 4") + b"ping",
        lambda: request("TEARDOWN", url, f"Session: {session}"),
        lambda: b"$\1\0\x0cabcdefghijkl",
    ]
    return [*signed, *plain]


def spoilt(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(out) + 1)
        match chance.randrange(6):
            case 0:
                out[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                del out[at : at + chance.randint(1, 20)]
            case 2:
                out[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 30)))
            case 3:
                out[at:at] = out[: chance.randint(1, 200)]
            case 4:
                out[at:at] = chance.choice((b"\r\n", b"\r\n\r\n", b"$", b"\0", b"%00", b"CSeq: 9\r\n", b"A" * 9000))
            case _:
                out[:] = out[:at]
        if not out:
            out += b"\r\n"
    return bytes(out)


async def test_mutated_requests_cost_their_connection_alone(
    node: Rig, caplog: pytest.LogCaptureFixture, counted: Callable[[object], None]
) -> None:
    """1 500 spoilt requests on fresh connections: no traceback, no answer 500, no memory kept; the watcher watches."""
    chance = random.Random(20261128)
    login = login_of(await stream_password(node))
    seen: Counter[int] = Counter()
    caplog.set_level(logging.WARNING)
    async with served(node, Limits(request_s=5.0)) as rtsp, node.camera.playing(UNITS, again, 0.01):
        watcher, asker = await rtsp.client(), await rtsp.client()
        await watcher.play(rtsp.url(), login)
        await asker.ask("DESCRIBE", rtsp.url())
        rtsp.server._login_limit._most = 1_000_000  # what is spoilt is a bad try; here each shall be looked at
        good = mutations("0" * 32, rtsp, login, asker)
        before = 0
        for number in range(MUTANTS):
            data = spoilt(chance.choice(good)(), chance)
            for status in statuses(await told(rtsp, data)):
                seen[status] += 1
            if number == MUTANTS // 3:
                gc.collect()
                tracemalloc.start()
                before = tracemalloc.get_traced_memory()[0]
            if number % 100 == 0:
                await watcher.media(20)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        await watcher.media(200)
        assert (await watcher.ask("OPTIONS", "*")).status == 200
        assert rtsp.server.streams == 1
    counted(f"{MUTANTS} mutants, answers {dict(seen)}, {grown} bytes kept")
    assert 500 not in seen and {400, 401} <= seen.keys()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert grown < 4 * 1024 * 1024
    assert len(await node.register()) == 1


async def test_mutated_requests_of_one_who_is_signed_in_end_their_own_stream_at_most(
    rtsp: Served, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(7)
    login = login_of(await stream_password(rtsp.node))
    caplog.set_level(logging.WARNING)
    async with rtsp.node.camera.playing(UNITS, again, 0.01):
        watcher = await rtsp.client()
        await watcher.play(rtsp.url(), login)
        for _ in range(40):
            client = await rtsp.client()
            session = await client.play(rtsp.url(), login)
            good = mutations(session, rtsp, login, client)
            client.writer.write(b"".join(spoilt(chance.choice(good)(), chance) for _ in range(3)))
            client.writer.write_eof()
            await client.until_closed()
        await watcher.media(200)

        async def one_left() -> bool:
            rows = await rtsp.node.register()
            return len(rows) > 40 and [row.closed_ms for row in rows].count(None) == 1

        await until_async(one_left, 10, "each stream that ended has closed its row")
        assert rtsp.server.streams == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
