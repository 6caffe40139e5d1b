"""Recorded bytes that wait for their turn on a line: what may be seen, and the register's row, are of the moment in
which they go.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from config.errors import Kind, TiergateError
from config.ids import ulid
from gateway.relay import tier_app
from storage.catalog import leases, links, register
from storage.catalog.links import LinkRow
from storage.catalog.register import RegisterRow
from storage.catalog.segments import SegmentRow, insert_segments
from tests.gateway.relay.pair import CAMERA, Node, pair
from tests.gateway.relay.test_pull import pull
from tiering import wire
from tiering.client import PeerClient
from tiering.lines import PIECE_BYTES, QUEUE_MAX_S, Lines
from tiering.ports import FootageReader


class Held(Lines):
    """A line that is full until `go`."""

    def __init__(self) -> None:
        super().__init__(1, 4)
        self.waiting, self.go, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def pace(self, link: LinkRow, count: int) -> bool:
        self.waiting.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.left.set()
            raise
        await super().pace(link, count)
        return True


class SlowFootage:
    """The real bytes, when `go` is set."""

    def __init__(self, real: FootageReader) -> None:
        self._real = real
        self.reading, self.go = asyncio.Event(), asyncio.Event()

    async def read(self, segment: SegmentRow, offset: int, length: int) -> bytes:
        self.reading.set()
        await self.go.wait()
        return await self._real.read(segment, offset, length)


def client_of(upper: Node) -> PeerClient:
    return upper.service._pool.of(upper.catalog.read(lambda c: links.all_of(c, "lower"))[0])


def upward(lower: Node) -> LinkRow:
    return lower.catalog.read(lambda c: links.all_of(c, "upper"))[0]


def rows(lower: Node) -> list[RegisterRow]:
    return lower.catalog.read(lambda c: register.rows(c))


def end_lease(lower: Node, lease: str) -> None:
    lower.catalog.write(lambda c: leases.end(c, lease, "granted", lower.now_ms, "revoked", lower.now_ms))


def suspend(lower: Node, _: str) -> None:
    link = upward(lower)
    lower.catalog.write(lambda c: links.change(c, link.id, {"suspended_ms": lower.now_ms}))


def let_expire(lower: Node, _: str) -> None:
    lower.clock.advance(2 * 3600)


@pytest.mark.fault("S16")
@pytest.mark.parametrize("ends", [end_lease, suspend, let_expire])
async def test_who_waits_for_the_line_gets_no_byte_when_the_right_has_ended(tmp_path: Path, ends: Any) -> None:
    async with pair(tmp_path) as (upper, lower):
        row = lower.record(CAMERA, lower.now_ms - 600_000)
        lease = await pull(upper)
        held = lower.service.server.lines = Held()
        asked = asyncio.create_task(client_of(upper).segment(lease, row.id, 0, PIECE_BYTES))
        await held.waiting.wait()
        ends(lower, lease)
        held.go.set()
        with pytest.raises(TiergateError) as refused:
            await asked
        assert refused.value.kind is Kind.FORBIDDEN
        assert lower.footage.reads == 0 and rows(lower) == []


@pytest.mark.fault("S16")
async def test_bytes_whose_look_ended_while_they_were_read_do_not_go(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        row = lower.record(CAMERA, lower.now_ms - 600_000)
        lease = await pull(upper)
        slow = lower.service.server._footage = SlowFootage(lower.footage)
        asked = asyncio.create_task(client_of(upper).segment(lease, row.id, 0, PIECE_BYTES))
        await slow.reading.wait()
        end_lease(lower, lease)
        (look,) = lower.looks.running
        await look.ended.wait()
        slow.go.set()
        with pytest.raises(TiergateError) as refused:
            await asked
        assert refused.value.kind is Kind.FORBIDDEN
        await lower.service.server.readings.close()
        assert [row.bytes for row in rows(lower)] == [0]


@pytest.mark.fault("S19")
async def test_the_registers_row_covers_bytes_that_waited_and_were_read_for_long(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        row = lower.record(CAMERA, lower.now_ms - 600_000)
        lease = await pull(upper)
        server = lower.service.server
        held, slow = Held(), SlowFootage(lower.footage)
        server.lines, server._footage = held, slow
        asked = asyncio.create_task(client_of(upper).segment(lease, row.id, 0, PIECE_BYTES))
        await held.waiting.wait()
        await server.readings.close_idle(0)  # as after half a minute
        held.go.set()
        await slow.reading.wait()
        await server.readings.close_idle(0)
        assert [row.closed_ms for row in rows(lower)] == [None]
        slow.go.set()
        assert len(await asked) == PIECE_BYTES
        await server.readings.close_idle(0)
        assert [(row.bytes, row.result) for row in rows(lower)] == [(PIECE_BYTES, "ended")]


async def test_a_reader_that_hangs_up_leaves_its_place(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        row = lower.record(CAMERA, lower.now_ms - 600_000)
        lease = await pull(upper)
        held = lower.service.server.lines = Held()
        asked = asyncio.create_task(client_of(upper).segment(lease, row.id, 0, PIECE_BYTES))
        await held.waiting.wait()
        asked.cancel()
        async with asyncio.timeout(10):
            await held.left.wait()
        assert lower.footage.reads == 0


@pytest.mark.fault("S15")
async def test_where_too_much_waits_a_reader_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        row = lower.record(CAMERA, lower.now_ms - 600_000)
        lease = await pull(upper)
        link = upward(lower)
        lower.catalog.write(lambda c: links.change(c, link.id, {"capacity_bps": 100_000}))
        taken = await client_of(upper).segment(lease, row.id, 0, 1 << 20)  # a minute and more of this line
        with pytest.raises(TiergateError) as refused:
            await client_of(upper).segment(lease, row.id, 0, PIECE_BYTES)
        assert (refused.value.kind, refused.value.reason.code) == (Kind.RATE_LIMITED, "tier.line_busy")
        seconds = refused.value.reason.params["seconds"]
        assert 1 <= seconds <= math.ceil(len(taken) * 8 / 75_000 - QUEUE_MAX_S)
        assert tier_app.problem(refused.value).headers["retry-after"] == str(seconds)


async def test_an_index_of_several_pages_comes_through_to_who_asked(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        count = wire.INDEX_SEGMENTS_MAX + 100
        last = lower.record(CAMERA, lower.now_ms - 60_000)
        before = [
            replace(
                last, id=ulid(start_ms, bytes(10)), object_key=str(start_ms), start_ms=start_ms, end_ms=start_ms + 2000
            )
            for start_ms in range(last.start_ms - 2000 * (count - 1), last.start_ms, 2000)
        ]
        lower.catalog.write(lambda c: insert_segments(c, before))
        lease = await pull(upper)
        found = await upper.control.index(lease, CAMERA, "main", before[0].start_ms, lower.now_ms)
        assert [s.id for s in found.segments] == [s.id for s in (*before, last)] and found.next_ms is None
        with pytest.raises(TiergateError) as too_many:
            wire.FootageIndex.from_json(found.as_json())  # one answer of a node may not hold so much
        assert too_many.value.reason.code == "tier.body_malformed"
