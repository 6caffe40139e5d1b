"""One live session to the node above: what ends it, and what does not. In virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from sqlalchemy.exc import OperationalError

from config.errors import Kind, TiergateError
from config.reasons import Reason
from storage.catalog.links import LinkRow
from storage.media.access_unit import AccessUnit, StreamConfig
from tests.parts.virtual_time import in_virtual_time
from tiering.cmaf import CmafReader, Notice
from tiering.lease import Permit
from tiering.lines import Lines
from tiering.live_server import BLIND_S, LiveSession

LINK = LinkRow(
    "L", "N", "street", "210102001", "street", "upper", "https://10.0.0.1", bytes(32), None, "shared", 10_000_000, 0
)
THIN = replace(LINK, capacity_bps=5_000_000)  #: two small streams
LOCKED = OperationalError("SELECT", {}, Exception("database is locked"))


class Look:
    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.reason: Reason | None = None
        self.bytes_sent = 0

    def add_bytes(self, count: int) -> None:
        self.bytes_sent += count


class Below:
    """A lower node of which the test says what its catalog answers."""

    def __init__(self) -> None:
        self.answer: Permit | Exception = Permit("main")
        self.link = LINK
        self.lines = Lines(1, 4)
        self.looks: list[Look] = []
        self.open_looks = 0
        self.server: Any = SimpleNamespace(permit=self._permit, quota=self, lines=self.lines, register=self)

    async def _permit(self, *asked: Any) -> tuple[Permit, LinkRow, None]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer, self.link, None

    async def take(self, link: LinkRow, count: int) -> None:
        """The day's quota has room."""

    async def take_or_owe(self, link: LinkRow, count: int, owing_s: float) -> None:
        """As `take`."""

    @contextlib.asynccontextmanager
    async def open(self, *asked: Any) -> AsyncIterator[Look]:
        if isinstance(self.answer, Exception):
            raise self.answer
        look = Look()
        self.looks.append(look)
        self.open_looks += 1
        try:
            yield look
        finally:
            self.open_looks -= 1

    async def watch(self, camera: str, stream: str) -> AsyncGenerator[StreamConfig | AccessUnit | Notice, None]:
        while True:
            await asyncio.sleep(1.0)
            yield Notice("online")

    async def session(self) -> LiveSession:
        session = LiveSession(self.server, self, LINK, "lease", "camera", "main")
        await session.start()
        return session


def streams(below: Below) -> list[str]:
    """That run on the line now."""
    return [flow.stream for flow in below.lines.flows(LINK.id)]


async def told(session: LiveSession, states: list[str], notices: list[Notice] | None = None) -> str:
    """Takes all that is sent and notes it and its states; the code with which it ended."""
    reader = CmafReader()
    async for data in session.chunks():
        for item in reader.feed(data):
            assert isinstance(item, Notice)
            states.append(item.state)
            if notices is not None:
                notices.append(item)
            if item.state == "ended":
                await session.close()
                return str((item.reason or {})["code"])
    raise AssertionError("it broke off without a word")


def test_a_catalog_that_is_away_for_a_moment_ends_no_session() -> None:
    async def work() -> None:
        below, states = Below(), list[str]()
        taking = asyncio.create_task(told(await below.session(), states))
        await asyncio.sleep(5.0)
        below.answer = LOCKED
        await asyncio.sleep(BLIND_S - 5.0)
        assert not taking.done() and states.count("online") > 50
        below.answer = Permit("main")
        await asyncio.sleep(BLIND_S)
        assert not taking.done()
        below.answer = LOCKED
        began_s = asyncio.get_running_loop().time()
        assert await taking == "access.register_away"
        assert BLIND_S - 2.0 <= asyncio.get_running_loop().time() - began_s <= BLIND_S + 2.0
        assert below.open_looks == 0 and not below.lines.flows(LINK.id) and len(below.looks) == 1

    in_virtual_time(work)


def test_a_look_that_ends_ends_its_session_though_the_catalog_is_away() -> None:
    """What is known of a lease says when it is over."""

    async def work() -> None:
        below = Below()
        taking = asyncio.create_task(told(await below.session(), []))
        await asyncio.sleep(5.0)
        below.answer = LOCKED
        below.looks[0].reason = Reason("access.expired")
        below.looks[0].ended.set()
        assert await taking == "access.expired"

    in_virtual_time(work)


def test_a_session_whose_peer_takes_nothing_is_over_within_5_s_of_its_lease() -> None:
    async def work() -> None:
        for end in (
            Permit(None, Reason("tier.lease_ended")),
            TiergateError(Kind.NOT_FOUND, "tier.lease_unknown"),
            None,  # the look alone
        ):
            below = Below()
            session = await below.session()
            chunks = session.chunks()
            over = asyncio.create_task(session.overstayed())
            await anext(chunks)
            await anext(chunks)
            await asyncio.sleep(100.0)  # nobody takes more
            assert not over.done()
            if end is None:
                below.looks[0].ended.set()
            else:
                below.answer = end
            async with asyncio.timeout(5.0):
                await over
            await chunks.aclose()
            await session.close()
            assert below.open_looks == 0 and not below.lines.flows(LINK.id)

    in_virtual_time(work)


def test_a_session_whose_peer_takes_all_says_itself_why_it_ends() -> None:
    async def work() -> None:
        below = Below()
        session = await below.session()
        over = asyncio.create_task(session.overstayed())
        taking = asyncio.create_task(told(session, []))
        await asyncio.sleep(100.5)
        below.answer = Permit(None, Reason("tier.lease_expired"))
        assert await taking == "tier.lease_expired" and not over.done()
        over.cancel()

    in_virtual_time(work)


def test_a_line_that_is_made_narrower_counts_for_what_runs() -> None:
    """First large streams become small ones; then those go that came last, one after the other."""

    async def work() -> None:
        below, states = Below(), list[str]()
        takers = [asyncio.create_task(told(await below.session(), states)) for _ in range(5)]
        await asyncio.sleep(5.0)
        assert streams(below) == ["main", "sub", "sub", "sub", "sub"]
        below.link = THIN
        await asyncio.sleep(10.0)
        assert streams(below) == ["sub", "sub"]
        assert [taker.done() for taker in takers] == [False, False, True, True, True]
        assert {taker.result() for taker in takers[2:]} == {"tier.line_full"}
        below.link = replace(LINK, capacity_bps=100_000)
        assert [await taker for taker in takers[:2]] == ["tier.line_full"] * 2
        assert not streams(below) and below.open_looks == 0

    in_virtual_time(work)


def test_a_stream_enters_the_line_as_wide_as_it_is_now() -> None:
    async def work() -> None:
        below = Below()
        below.link = THIN
        session = await below.session()
        assert session.stream == "sub"
        await session.close()

    in_virtual_time(work)


def test_a_late_confirmation_brings_the_large_stream_back() -> None:
    unconfirmed = Permit("sub", Reason("tier.unconfirmed"))

    async def work() -> None:
        for line, afterwards in ((LINK, ("main", None)), (THIN, ("sub", "tier.reduced_for_line"))):
            below, notices = Below(), list[Notice]()
            below.answer = unconfirmed
            taking = asyncio.create_task(told(await below.session(), [], notices))
            await asyncio.sleep(5.0)
            below.link, below.answer = line, Permit("main")
            await asyncio.sleep(10.0)
            assert streams(below) == [afterwards[0]]
            below.answer = unconfirmed
            await asyncio.sleep(10.0)
            below.answer = Permit("main")
            await asyncio.sleep(10.0)
            kept = [(n.stream, n.reason and n.reason["code"]) for n in notices if n.state == "stream"]
            assert kept == [("sub", "tier.unconfirmed"), afterwards] * 2
            below.answer = Permit(None, Reason("tier.lease_ended"))
            assert await taking == "tier.lease_ended" and below.open_looks == 0

    in_virtual_time(work)


def test_what_a_full_line_made_small_stays_so_and_is_told_once() -> None:
    async def work() -> None:
        below, notices = Below(), list[Notice]()
        first = asyncio.create_task(told(await below.session(), []))
        second = asyncio.create_task(told(await below.session(), [], notices))
        await asyncio.sleep(5.0)
        below.looks[0].reason = Reason("tier.lease_ended")
        below.looks[0].ended.set()
        await first
        await asyncio.sleep(10.0)
        assert streams(below) == ["sub"] and [n.state for n in notices].count("stream") == 1
        second.cancel()

    in_virtual_time(work)
