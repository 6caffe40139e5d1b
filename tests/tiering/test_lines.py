"""Recorded bytes on a thin line: who waits is served or told to come again, whatever the crowd. In virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from config.errors import Kind, TiergateError
from storage.catalog.links import LinkRow
from tests.parts.virtual_time import in_virtual_time
from tiering.budget import range_rate_bps
from tiering.lines import PIECE_BYTES, QUEUE_MAX_S, Lines

GIVES_UP_S = 30.0  #: of a node that reads (`gateway.relay.http.ANSWER_S`)


def link(capacity_bps: int = 10_000_000, kind: str = "shared") -> LinkRow:
    return LinkRow(
        "L", "N", "street", "210102001", "street", "upper", "https://10.0.0.1", bytes(32), None, kind, capacity_bps, 0,
    )  # fmt: skip


class Crowd:
    """Readers that each want one piece after the other; what does not come in time they ask for again."""

    def __init__(self, lines: Lines, readers: int) -> None:
        self._lines, self._readers, self._link = lines, readers, link()
        self.got = Counter[int]()
        self.waited_s: list[float] = []
        self.gave_up = self.refused = 0

    async def read_for(self, seconds: float) -> None:
        tasks = [asyncio.create_task(self._read(number)) for number in range(self._readers)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, number: int) -> None:
        time = asyncio.get_running_loop().time
        while True:
            asked_s = time()
            try:
                async with asyncio.timeout(GIVES_UP_S):
                    await self._lines.pace(self._link, PIECE_BYTES)
            except TimeoutError:
                self.gave_up += 1
            except TiergateError as exc:
                assert exc.kind is Kind.RATE_LIMITED and exc.reason.code == "tier.line_busy"
                self.refused += 1
                await asyncio.sleep(exc.reason.params["seconds"])
            else:
                self.got[number] += 1
                self.waited_s.append(time() - asked_s)


@pytest.mark.fault("S15")
@pytest.mark.parametrize("readers", [3, 280, 600])
def test_a_crowd_of_readers_never_stops_a_line(readers: int, counted: Callable[[object], None]) -> None:
    lines, seconds = Lines(1, 4), 300.0

    async def work() -> Crowd:
        crowd = Crowd(lines, readers)
        await crowd.read_for(seconds)
        return crowd

    crowd = in_virtual_time(work)
    carried = crowd.got.total() * PIECE_BYTES * 8 / seconds / range_rate_bps(lines.line(link()), [])
    counted(
        f"{readers} readers: {carried:.0%} of the line used, {len(crowd.got)} served, {crowd.refused} times told to "
        f"come again, {crowd.gave_up} gave up, longest wait {max(crowd.waited_s):.1f} s"
    )
    assert 0.95 < carried <= 1.01 and crowd.gave_up == 0
    assert max(crowd.waited_s) <= QUEUE_MAX_S + 1


def test_a_place_of_a_reader_who_left_is_no_more_waited_for() -> None:
    lines, thin = Lines(1, 4), link(1_000_000)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        assert not await lines.pace(thin, PIECE_BYTES)
        one_s = lines.queue_s(thin)  # what one piece takes on this line
        waiting = [asyncio.create_task(lines.pace(thin, PIECE_BYTES)) for _ in range(12)]
        await asyncio.sleep(0)
        assert lines.queue_s(thin) == pytest.approx(13 * one_s)
        for task in waiting[:11]:
            task.cancel()
        await asyncio.gather(*waiting[:11], return_exceptions=True)
        assert lines.queue_s(thin) == pytest.approx(2 * one_s)
        began_s = loop.time()
        assert await waiting[11]
        assert loop.time() - began_s == pytest.approx(one_s)

    in_virtual_time(work)


def test_who_comes_again_when_told_is_let_in() -> None:
    lines, thin = Lines(1, 4), link(1_000_000)

    async def work() -> None:
        waiting = [asyncio.create_task(lines.pace(thin, PIECE_BYTES)) for _ in range(40)]
        await asyncio.sleep(0)
        with pytest.raises(TiergateError) as refused:
            await lines.pace(thin, PIECE_BYTES)
        await asyncio.sleep(refused.value.reason.params["seconds"])
        await lines.pace(thin, PIECE_BYTES)
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(answer) for answer in answers} == {bool, TiergateError}

    in_virtual_time(work)


def test_a_line_that_carries_nothing_upward_refuses_the_first_range() -> None:
    lines = Lines(1, 4)

    async def work() -> None:
        for nothing in (link(kind="diode"), link(0)):
            with pytest.raises(TiergateError) as refused:
                await lines.pace(nothing, PIECE_BYTES)
            assert (refused.value.kind, refused.value.reason.code) == (Kind.RATE_LIMITED, "tier.line_full")
        assert not await lines.pace(link(), PIECE_BYTES)  # set right, it owes nothing

    in_virtual_time(work)


def test_what_was_let_go_on_a_slow_line_is_not_waited_for_once_the_line_is_faster() -> None:
    lines = Lines(1, 4)

    async def work() -> float:
        loop = asyncio.get_running_loop()
        await lines.pace(link(1_000), PIECE_BYTES)
        assert lines.queue_s(link(1_000)) > 600
        began_s = loop.time()
        for _ in range(2):
            await lines.pace(link(), PIECE_BYTES)
        return loop.time() - began_s

    one_s = PIECE_BYTES * 8 / range_rate_bps(Lines(1, 4).line(link()), [])
    assert in_virtual_time(work) == pytest.approx(2 * one_s)


def test_a_live_stream_that_comes_makes_what_waits_slower() -> None:
    """What was let in at the rate of an empty line may not go at it beside a live stream."""
    lines, line = Lines(1, 4), link()

    async def work() -> float:
        loop = asyncio.get_running_loop()
        waiting = [asyncio.create_task(lines.pace(line, PIECE_BYTES)) for _ in range(100)]
        await asyncio.sleep(0)
        lines.enter(line, "lease", "camera", "main")
        await asyncio.gather(*waiting)
        return loop.time()

    began_s = 1_000.0
    took_s = in_virtual_time(work) - began_s
    beside = range_rate_bps(lines.line(line), ["main"])
    assert took_s >= 98 * PIECE_BYTES * 8 / beside
