"""Words between two nodes that get lost: the answer to a pull, and that a lease has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, select
from sqlalchemy.exc import OperationalError

from config.clock import ManualClock
from config.errors import Kind, TiergateError
from storage.catalog import leases, links
from storage.catalog.leases import LeaseRow
from storage.catalog.tables import audit
from storage.catalog.tables import lease as lease_table
from tests.gateway.relay.pair import Node, add_cameras, link_again, link_up, node, pair, two_nodes
from tests.gateway.relay.test_pull import order, pull
from tests.parts.relay import TcpRelay
from tests.parts.wait import until_async
from tiering import directory
from tiering.wire import Directory

YOUNG_S = 120  #: so old a lease is before anybody asks whether it is held


def rows(node_: Node, side: str) -> list[LeaseRow]:
    return node_.catalog.read(lambda c: leases.listed(c, side))


def told(node_: Node, action: str) -> list[tuple[str, str, Any]]:
    wanted = select(audit.c.actor, audit.c.subject, audit.c.details).where(audit.c.action == action)
    return [tuple(entry) for entry in node_.catalog.read(lambda c: c.execute(wanted.order_by(audit.c.seq)).all())]


def through(upper: Node, port: int) -> None:
    [link] = upper.catalog.read(links.all_of)
    url = f"http://127.0.0.1:{port}"
    upper.catalog.write(lambda c: links.change(c, link.id, {"url": url}))


async def lose_an_answer(upper: Node, lower: Node, between: TcpRelay) -> str:
    """The lease that the lower node granted and the upper one never heard of."""
    before = {row.id for row in rows(lower, "granted")}
    between.truncate(0)
    with pytest.raises(TiergateError) as lost:
        await upper.control.pull(order())
    assert lost.value.kind is Kind.UNAVAILABLE

    async def granted() -> set[str]:
        return {row.id for row in rows(lower, "granted")} - before

    found = await until_async(granted, 10, "the request came through, and its lease has a row below")
    between.flow()
    return found.pop()


@contextlib.asynccontextmanager
async def apart(tmp_path: Path) -> AsyncIterator[tuple[Node, Node, TcpRelay]]:
    """A pair with a bad line between the two."""
    async with pair(tmp_path) as (upper, lower):
        with TcpRelay(int(lower.service.url.rpartition(":")[2])) as between:
            through(upper, between.port)
            yield upper, lower, between


async def ended(lower: Node, lease: str) -> LeaseRow:
    async def is_over() -> LeaseRow | None:
        found = lower.catalog.read(lambda c: leases.get(c, lease, "granted"))
        return found if found is not None and found.ended_ms is not None and found.purged_ms is not None else None

    found = await until_async(is_over, 20, "the lower node knows that nobody holds the lease")
    assert found is not None
    return found


@pytest.mark.fault("S15")
async def test_a_lease_whose_answer_was_lost_is_given_back(tmp_path: Path) -> None:
    async with apart(tmp_path) as (upper, lower, between):
        kept = await pull(upper)
        lost = await lose_an_answer(upper, lower, between)
        assert [row.id for row in rows(upper, "held")] == [kept]
        lower.clock.advance(YOUNG_S - 1)
        await upper.service.keeping.poll()
        assert all(row.ended_ms is None for row in rows(lower, "granted"))

        lower.clock.advance(2)
        over = await ended(lower, lost)
        assert over.end_reason == "not_held" and over.cache_until_ms == over.ended_ms
        assert [row.id for row in rows(lower, "granted") if row.ended_ms is None] == [kept]
        assert [row.ended_ms for row in rows(upper, "held")] == [None]
        [link] = lower.catalog.read(links.all_of)
        assert told(lower, "lease.end") == [(f"node:{upper.keys.node_id}", lost, {"reason": "not_held"})]
        [below] = upper.catalog.read(links.all_of)
        assert told(upper, "lease.end") == [("system:relay", lost, {"reason": "not_held", "link": below.id})]
        counted_ms = lower.catalog.read(lambda c: leases.camera_ms_since(c, link.id, 0))
        assert counted_ms <= (30 * 60 + YOUNG_S + 60) * 1000

        lower.clock.advance(3 * 3600)  # past all ends, and past the hour that a statement may take
        await until_async(lambda: _overdue_looked(lower), 10, "the loop has looked for statements that are late")
        assert lost not in {subject for _, subject, _ in told(lower, "lease.cache_overdue")}


async def _overdue_looked(lower: Node) -> bool:
    now_ms = lower.now_ms
    late = lower.catalog.read(lambda c: leases.overdue_purges(c, now_ms - 3_600_000))
    return {row.id for row in late} <= {subject for _, subject, _ in told(lower, "lease.cache_overdue")}


@pytest.mark.fault("S15")
async def test_a_lost_answer_is_made_good_after_both_nodes_were_restarted(tmp_path: Path) -> None:
    clock = ManualClock()
    async with two_nodes(tmp_path, clock) as (upper, lower):
        await link_up(upper, lower)
        with TcpRelay(int(lower.service.url.rpartition(":")[2])) as between:
            through(upper, between.port)
            kept = await pull(upper)
            lost = await lose_an_answer(upper, lower, between)
            expired = await lose_an_answer(upper, lower, between)
    clock.advance(YOUNG_S + 1)
    async with two_nodes(tmp_path, clock) as (upper, lower):
        values = {"expires_ms": clock.wall_ns() // 1_000_000 - 1, "cache_until_ms": clock.wall_ns() // 1_000_000 - 1}
        lower.catalog.write(lambda c: leases.change(c, expired, "granted", values))
        through(upper, int(lower.service.url.rpartition(":")[2]))
        assert (await ended(lower, lost)).end_reason == "not_held"
        await ended(lower, expired)  # over by itself; its statement would be missed for ever
        assert [row.id for row in rows(lower, "granted") if row.ended_ms is None] == [kept]


@pytest.mark.fault("S15")
async def test_a_lease_whose_answer_is_on_its_way_is_not_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (upper, lower):
        real, granted, go_on = lower.service.server.request_lease, asyncio.Event(), asyncio.Event()

        async def slow(link: links.LinkRow, value: Any) -> dict[str, Any]:
            answer = await real(link, value)
            granted.set()
            await go_on.wait()
            return answer

        monkeypatch.setattr(lower.service.server, "request_lease", slow)
        asking = asyncio.create_task(pull(upper))
        await granted.wait()
        lower.clock.advance(YOUNG_S + 60)
        for _ in range(2):
            await upper.service.keeping.poll()
        assert [row.ended_ms for row in rows(lower, "granted")] == [None]
        go_on.set()
        lease = await asking
        await upper.service.keeping.poll()
        assert [(row.id, row.ended_ms) for row in rows(lower, "granted")] == [(lease, None)]


@pytest.mark.fault("S14")
async def test_what_is_held_from_another_node_is_not_ended_because_one_names_it(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        lease = await pull(upper)
        [row] = rows(upper, "held")
        [link] = upper.catalog.read(links.all_of)
        other = replace(link, id="01K000000000000000000000LK", peer_node="n" * 16, suspended_ms=1)

        def move(connection: Connection) -> None:
            leases.change(connection, lease, "held", {"link_id": links.add(connection, other)})

        upper.catalog.write(move)
        lower.clock.advance(YOUNG_S + 60)
        for _ in range(2):
            await upper.service.keeping.poll()
        assert [found.ended_ms for found in rows(lower, "granted")] == [None]
        assert told(upper, "lease.end") == [] and row.ended_ms is None


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    "refusal",
    [
        TiergateError(Kind.RATE_LIMITED, "tier.day_full", limit_mb=1, at="–"),
        TiergateError(Kind.UNAVAILABLE, "media.store_unavailable", problem="x"),
        TiergateError(Kind.UNAUTHENTICATED, "tier.clock_skew"),
        RuntimeError("the catalog is away"),
    ],
)
async def test_an_end_that_is_refused_for_now_is_told_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Exception, restarted: bool
) -> None:
    clock = ManualClock()
    async with node(tmp_path / "lower", clock, "community", "210102001001") as lower:
        add_cameras(lower)
        server, asked = lower.service.server, 0
        real = server.end

        async def busy(link: links.LinkRow, lease_id: str, value: Any) -> dict[str, Any]:
            nonlocal asked
            asked += 1
            raise refusal

        async with node(tmp_path / "upper", clock, "street", "210102001") as upper:
            await link_again(upper, lower)
            lease = await pull(upper)
            monkeypatch.setattr(server, "end", busy)
            await upper.control.end(lease, "released", "user:duty")

            async def refused() -> bool:
                return asked >= 2

            await until_async(refused, 10, "the loop has told it too")
            if not restarted:
                monkeypatch.setattr(server, "end", real)
                await _heard(lower, lease)
                return
        monkeypatch.setattr(server, "end", real)
        async with node(tmp_path / "upper", clock, "street", "210102001"):
            await _heard(lower, lease)


async def _heard(lower: Node, lease: str) -> None:
    async def is_ended() -> bool:
        lower.clock.advance(1)  # whoever waits does so by this clock
        found = lower.catalog.read(lambda c: leases.get(c, lease, "granted"))
        return found is not None and found.end_reason == "released"

    await until_async(is_ended, 15, "the lower node has heard of the end", every_s=0.5)


async def test_an_end_that_is_refused_for_good_is_told_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair(tmp_path) as (upper, lower):
        lease, other = await pull(upper), await pull(upper)
        lower.catalog.write(lambda c: c.execute(delete(lease_table).where(lease_table.c.id == lease)))
        server, asked = lower.service.server, []
        real = server.end

        async def listening(link: links.LinkRow, lease_id: str, value: Any) -> dict[str, Any]:
            asked.append(lease_id)
            return await real(link, lease_id, value)

        monkeypatch.setattr(server, "end", listening)
        for each in (lease, other):
            await upper.control.end(each, "released", "user:duty")
            await upper.service.keeping.tell()
        lower.clock.advance(600)
        for _ in range(3):
            await upper.service.keeping.tell()
        assert asked.count(lease) <= 2 and asked.count(other) <= 2  # by whoever ended it, and by the loop


@pytest.mark.fault("S15")
async def test_an_end_that_could_not_be_written_is_taken_from_the_next_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (upper, lower):
        lease = await pull(upper)
        real, locked = directory.store, list[str]()

        def store(connection: Connection, link: links.LinkRow, found: Directory, now_ms: int) -> directory.Stored:
            if found.ended_leases and not locked:
                locked.append(lease)
                raise OperationalError("UPDATE", {}, Exception("database is locked"))
            return real(connection, link, found, now_ms)

        monkeypatch.setattr(directory, "store", store)
        lower.catalog.write(lambda c: leases.end(c, lease, "granted", lower.now_ms, "revoked", lower.now_ms))
        for _ in range(3):
            await upper.service.keeping.poll()
        [row] = rows(upper, "held")
        assert locked and row.end_reason == "revoked"
