"""The temporary cache ends when it must: whatever other nodes, stores, odd rows and blocks on their way do."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import TimeoutError as Late
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select

from config.clock import ManualClock
from config.errors import Kind, TiergateError
from storage.catalog import leases, links
from storage.catalog.leases import LeaseRow
from storage.catalog.links import LinkRow
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import audit
from storage.catalog.tables import lease as lease_table
from tests.gateway.relay.pair import CAMERA, Node, add_cameras, link_again, link_up, node, pair, two_nodes
from tests.gateway.relay.test_pull import objects, pull
from tests.parts.wait import until_async
from tiering.cache import LeaseKeys, object_key, tier_scope_check

BEGIN_MS = 600_000  #: before now


def held(upper: Node, lease: str) -> LeaseRow:
    row = upper.catalog.read(lambda c: leases.get(c, lease, "held"))
    assert row is not None
    return row


def keys(upper: Node) -> list[str]:
    folder = upper.settings.paths.keys_dir / "leases"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


async def cached(upper: Node, lower: Node, **more: object) -> tuple[str, SegmentRow]:
    """A lease with a block of footage in the cache above."""
    segment = lower.record(CAMERA, lower.now_ms - BEGIN_MS)
    lease = await pull(upper, **more)
    await upper.control.read(lease, segment.id, CAMERA, "main", 0, 1000)
    assert any(lease in key for key in objects(upper))
    return lease, segment


async def gone(upper: Node, *wanted: str) -> None:
    async def is_gone() -> bool:
        left = {*keys(upper), *(key.split("/")[1] for key in objects(upper))}
        return not left & set(wanted) and all(held(upper, lease).purged_ms is not None for lease in wanted)

    await until_async(is_gone, 12, "key and objects are gone, and the row says so")


class Trickle:
    """A node that takes every request and answers a byte now and then."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.add(head.split(b" ")[1].decode().partition("?")[0])
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
            while not reader.at_eof():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.1)
        writer.close()

    @contextlib.asynccontextmanager
    async def instead_of(self, upper: Node) -> AsyncIterator[None]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        [link] = upper.catalog.read(links.all_of)
        upper.catalog.write(lambda c: links.change(c, link.id, {"url": url}))
        try:
            yield
        finally:
            server.close()


@pytest.mark.fault("S16")
async def test_a_lower_node_that_answers_a_byte_now_and_then_delays_no_purge(tmp_path: Path) -> None:
    trickle = Trickle()
    async with contextlib.AsyncExitStack() as stack:
        upper, lower = await stack.enter_async_context(pair(tmp_path))
        first, _ = await cached(upper, lower, minutes=10, cache_minutes=0)
        second, _ = await cached(upper, lower, minutes=30, cache_minutes=0)
        await stack.enter_async_context(trickle.instead_of(upper))
        lower.clock.advance(10 * 60 + 1)
        await gone(upper, first)

        async def hangs() -> bool:
            return {"/tier/v1/directory", "/tier/v1/purge-statements"} <= trickle.asked

        await until_async(hangs, 12, "it was asked, and told that the first is purged")
        lower.clock.advance(20 * 60)
        await gone(upper, second)


@pytest.mark.fault("S16", "B17")
async def test_an_object_that_does_not_go_keeps_no_key_and_no_other_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (upper, lower):
        bad, _ = await cached(upper, lower, minutes=10, cache_minutes=0)
        good, _ = await cached(upper, lower, minutes=11, cache_minutes=0)
        unlink = upper.cache_store._unlink

        def refuse(target: Path) -> bool:
            if bad in str(target):
                raise OSError(errno.EIO, "a bad sector")
            return unlink(target)

        monkeypatch.setattr(upper.cache_store, "_unlink", refuse)
        lower.clock.advance(12 * 60)
        await gone(upper, good)
        assert keys(upper) == [] and held(upper, bad).purged_ms is None
        monkeypatch.undo()
        await gone(upper, bad)


@pytest.mark.fault("S16", "B17")
async def test_an_odd_row_stops_neither_purge_nor_start(tmp_path: Path) -> None:
    """A lease as one node could once give it: its id is none."""
    clock = ManualClock()
    async with two_nodes(tmp_path, clock) as (upper, lower):
        await link_up(upper, lower)
        first, _ = await cached(upper, lower, minutes=10, cache_minutes=0)
        second, _ = await cached(upper, lower, minutes=30, cache_minutes=0)
        odd = replace(held(upper, first), id="x", cache_until_ms=0)
        upper.catalog.write(lambda c: leases.add(c, odd))
        clock.advance(10 * 60 + 1)
        await gone(upper, first)
        assert any(second in key for key in objects(upper))
    clock.advance(20 * 60)
    async with node(tmp_path / "upper", clock, "street", "210102001") as again:
        assert objects(again) == [] and keys(again) == []


@pytest.mark.fault("S14")
async def test_an_odd_lease_is_refused_before_it_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiering.lease import from_document, to_document

    async with pair(tmp_path) as (upper, lower):
        server = lower.service.server
        real = server.request_lease

        async def odd(link: links.LinkRow, value: Any) -> dict[str, Any]:
            answer = await real(link, value)
            terms = replace(from_document(answer["document"]), id="x", cache_until_ms=0)
            document = to_document(terms)
            return {**answer, "document": document, "signature": server.signer.sign(document.encode()).as_text()}

        monkeypatch.setattr(server, "request_lease", odd)
        with pytest.raises(TiergateError) as refused:
            await pull(upper)
        assert refused.value.reason.code == "tier.document_malformed"
        assert upper.catalog.read(lambda c: leases.listed(c, "held")) == []


@pytest.mark.fault("S16")
@pytest.mark.parametrize("step", ["delete", "put_bytes"])
async def test_no_block_on_its_way_is_kept_after_the_purge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The lease is ended and purged in the middle of a block's way into the cache."""
    async with pair(tmp_path) as (upper, lower):
        segment = lower.record(CAMERA, lower.now_ms - BEGIN_MS)
        lease = await pull(upper)
        real, loop, met = getattr(upper.cache_store, step), asyncio.get_running_loop(), threading.Event()

        def slow(*args: Any) -> Any:
            if not met.is_set():
                met.set()
                upper.catalog.write(lambda c: leases.end(c, lease, "held", upper.now_ms, "released", upper.now_ms))
                purge = asyncio.run_coroutine_threadsafe(upper.service.keeping.purge_due(), loop)
                with contextlib.suppress(Late):
                    purge.result(1)  # it passes the block, or waits for it
            return real(*args)

        monkeypatch.setattr(upper.cache_store, step, slow)
        await upper.control.read(lease, segment.id, CAMERA, "main", 0, 1000)
        assert met.is_set()
        await gone(upper, lease)
        assert objects(upper) == [] and keys(upper) == []


async def test_a_block_of_a_lease_that_is_over_is_not_kept(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        lease, segment = await cached(upper, lower)
        cache, kept = upper.service.cache, objects(upper)
        last_ms = held(upper, lease).cache_until_ms
        assert not cache.write_block(lease, CAMERA, segment.id, 7, b"x", lambda: last_ms)
        assert cache.write_block(lease, CAMERA, segment.id, 7, b"x", lambda: last_ms - 1)
        assert len(objects(upper)) == len(kept) + 1
        await upper.control.end(lease, "released", "user:duty")
        assert not cache.write_block(lease, CAMERA, segment.id, 8, b"x", lambda: upper.now_ms)
        assert not cache.write_block("01JBQ8Y3M0AAAAAAAAAAAAAAAA", CAMERA, segment.id, 8, b"x", lambda: upper.now_ms)
        assert objects(upper) == [] and keys(upper) == []


@pytest.mark.fault("S16", "B15")
async def test_what_was_left_of_a_purged_lease_is_found_and_said(tmp_path: Path) -> None:
    """As a relay could leave it that purged while it wrote."""
    async with pair(tmp_path) as (upper, lower):
        lease, segment = await cached(upper, lower)
        await upper.control.end(lease, "released", "user:duty")
        first = held(upper, lease).purge_statement
        left = LeaseKeys(upper.settings.paths.keys_dir / "leases", lambda n: bytes(n))
        for one in (lease, "01JBQ8Y3M0AAAAAAAAAAAAAAAA"):  # and of one that nobody knows
            left.make(one)
            upper.cache_store.put_bytes(object_key(one, segment.id, 9), b"sealed")
        stores = (upper.store, upper.cache_store)
        assert tier_scope_check(upper.catalog, stores, upper.keys.node_id, upper.now_ms).findings
        upper.clock.advance(3_601)
        await upper.service.keeping.sweep()
        assert objects(upper) == [] and keys(upper) == []
        assert tier_scope_check(upper.catalog, stores, upper.keys.node_id, upper.now_ms).findings == ()
        again = held(upper, lease).purge_statement
        assert first is not None and again is not None and first["statement"] != again["statement"]

        async def told() -> bool:
            row = lower.catalog.read(lambda c: leases.get(c, lease, "granted"))
            return row is not None and (row.purge_statement or {}).get("statement") == again["statement"]

        await until_async(told, 10, "the lower node has the statement that is true")


@pytest.mark.fault("S16")
@pytest.mark.parametrize("how", ["suspended", "removed"])
async def test_a_link_that_is_closed_below_takes_the_caches_above(tmp_path: Path, how: str) -> None:
    from gateway.web.routers.links import _end_leases

    async with pair(tmp_path) as (upper, lower):
        over, segment = await cached(upper, lower, minutes=10)
        lower.clock.advance(10 * 60 + 1)  # expired: its cache may stay for three days
        runs, _ = await cached(upper, lower)
        [link] = lower.catalog.read(links.all_of)

        def close(connection: Any) -> None:
            _end_leases(connection, link.id, lower.now_ms, how)
            links.change(connection, link.id, {f"{how}_ms": lower.now_ms})

        lower.catalog.write(close)
        await gone(upper, over, runs)
        assert held(upper, runs).ended_ms is not None
        with pytest.raises(TiergateError) as refused:
            await upper.control.read(runs, segment.id, CAMERA, "main", 0, 1000)
        assert refused.value.reason.code == "tier.lease_ended"
        [entry] = upper.catalog.read(
            lambda c: c.execute(select(audit.c.details).where(audit.c.action == "link.closed_below")).scalars().all()
        )
        assert set(entry["leases"]) == {over, runs}
        if how == "removed":
            return

        async def told() -> bool:
            rows = [lower.catalog.read(lambda c, i=i: leases.get(c, i, "granted")) for i in (over, runs)]  # type: ignore[misc]  # bound now
            return all(row is not None and row.purged_ms is not None for row in rows)

        await until_async(told, 10, "statements go over a suspended link")


@pytest.mark.fault("S16")
async def test_an_ending_is_told_as_long_as_there_may_be_a_cache(tmp_path: Path) -> None:
    """The node above was away for three days, and the link was suspended and resumed meanwhile."""
    clock = ManualClock()
    async with node(tmp_path / "lower", clock, "community", "210102001001") as lower:
        add_cameras(lower)
        async with node(tmp_path / "upper", clock, "street", "210102001") as upper:
            await link_again(upper, lower)
            lease, _ = await cached(upper, lower)
        [link] = lower.catalog.read(links.all_of)
        clock.advance(60)
        lower.catalog.write(lambda c: leases.end_all(c, link.id, "granted", lower.now_ms, "suspended"))
        clock.advance(72 * 3600)
        async with node(tmp_path / "upper", clock, "street", "210102001") as again:
            assert held(again, lease).cache_until_ms > again.now_ms
            await gone(again, lease)
            assert held(again, lease).end_reason == "suspended"


async def test_a_statement_of_a_lease_that_nobody_below_knows_is_sent_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (upper, lower):
        unknown, refused = [(await cached(upper, lower))[0] for _ in range(2)]
        lower.catalog.write(lambda c: c.execute(delete(lease_table).where(lease_table.c.id == unknown)))
        server, asked = lower.service.server, Counter[str]()
        real = server.purge_statement

        async def listening(link: LinkRow, value: Any) -> dict[str, Any]:
            lease = json.loads(value["statement"])["lease_id"]
            asked[lease] += 1
            if lease == refused:
                raise TiergateError(Kind.INVALID, "tier.body_malformed", field="statement")
            return await real(link, value)

        monkeypatch.setattr(server, "purge_statement", listening)
        for lease in (unknown, refused):
            await upper.control.end(lease, "released", "user:duty")
        upper.clock.advance(3600)
        await gone(upper, unknown, refused)
        for _ in range(20):
            await upper.service.keeping.tell()
        kept = held(upper, unknown).purge_statement
        assert kept is not None and kept["answer"] == "tier.lease_unknown" and asked[unknown] == 1
        assert 1 <= asked[refused] <= 3, "what is refused is not said again at each round"
        monkeypatch.setattr(server, "purge_statement", real)
        upper.clock.advance(60)
        await upper.service.keeping.tell()
        row = lower.catalog.read(partial(leases.get, lease_id=refused, side="granted"))
        assert row is not None and row.purged_ms is not None
