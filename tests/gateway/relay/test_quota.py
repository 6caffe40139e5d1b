"""The day's quota of a link: an upper node in wrong hands takes every picture it can, for days. (S15)"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from config.errors import TiergateError
from config.units import DAY_MS, HOUR_MS
from gateway.live.wire import Unit
from gateway.ops import doctor
from gateway.ops.alarms import Alarms, look
from gateway.ops.findings import Answer, Finding
from storage.catalog import leases, links
from storage.catalog.links import BYTES_PER_DAY, LinkRow
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import audit
from tests.gateway.relay.pair import CAMERA, OTHER, Node, pair
from tests.gateway.relay.test_pull import ended, first, pull, watch
from tiering.budget import COST_BPS
from tiering.client import PeerClient
from tiering.lease import Person
from tiering.mechanism import EMERGENCY
from tiering.quota import AHEAD_BYTES, Quota

QUOTA_BYTES = 40_000_000  #: two and a half pieces: a quota that ends in the middle of one


def upward(lower: Node) -> LinkRow:
    return lower.catalog.read(lambda c: links.all_of(c, "upper"))[0]


def allow(lower: Node, count: int) -> None:
    values = {"bytes_per_day": count, "capacity_bps": 10**12}  # the line is not what is tried here
    link = upward(lower)
    lower.catalog.write(lambda c: links.change(c, link.id, values))


def findings(lower: Node) -> list[Finding]:
    found = doctor.examine(lower.settings, lower.clock, wanted=lambda name: name == "quotas")
    return [one for one in found if one.check == "quotas"]


class Upper:
    """What an upper node's software may be changed into: it knows its keys and the protocol, and keeps no rule."""

    def __init__(self, upper: Node, lower: Node) -> None:
        self._upper, self._lower = upper, lower
        self.taken: deque[tuple[int, int]] = deque()  #: when, bytes
        self.refused: set[str] = set()

    def _client(self) -> PeerClient:
        link = self._upper.catalog.read(lambda c: links.all_of(c, "lower"))[0]
        return self._upper.service._pool.of(link)

    async def lease(self) -> str | None:
        try:
            return await pull(self._upper, cameras=(CAMERA, OTHER), minutes=120)
        except TiergateError as exc:
            self.refused.add(exc.reason.code)
            return None

    async def take_everything(self, lease: str, rows: list[SegmentRow], again: int) -> None:
        for row in rows * again:
            try:
                data = await self._client().segment(lease, row.id, 0, 1 << 20)
            except TiergateError as exc:
                self.refused.add(exc.reason.code)
                return
            self.taken.append((self._lower.now_ms, len(data)))

    def most_in_a_day(self) -> int:
        most, within, window = 0, 0, deque[tuple[int, int]]()
        for at_ms, count in self.taken:
            window.append((at_ms, count))
            within += count
            while window[0][0] <= at_ms - DAY_MS:
                within -= window.popleft()[1]
            most = max(most, within)
        return most


@pytest.mark.fault("S15")
async def test_an_upper_node_that_takes_all_it_can_for_three_days_gets_its_quota_and_no_byte_more(
    tmp_path: Path, counted: Callable[[object], None]
) -> None:
    dice = random.Random(15)
    async with pair(tmp_path) as (upper, lower):
        allow(lower, QUOTA_BYTES)
        hostile, kills, asked = Upper(upper, lower), 0, 0
        began_ms = lower.now_ms
        while lower.now_ms - began_ms < 3 * DAY_MS:
            rows = [lower.record(CAMERA, lower.now_ms - 600_000)]
            lease = await hostile.lease()
            if lease is not None:
                await hostile.take_everything(lease, rows, dice.choice((1, 30, 90)))
            if dice.random() < 0.3:  # the relay is killed: what it had in hand is counted and was not sent
                lower.service.server.quota = Quota(lower.catalog, lower.service.server.steady.now_ms)
                kills += 1
            lower.clock.advance(dice.randrange(600, 7000))
            asked += 1
        most, total = hostile.most_in_a_day(), sum(count for _, count in hostile.taken)
        counted(
            f"3 days, {asked} leases asked, {kills} kills: {total} bytes taken, at most {most} of {QUOTA_BYTES} in 24 h"
        )
        assert most <= QUOTA_BYTES
        assert kills and "tier.day_full" in hostile.refused
        # What kills and whole hours cost it: a piece each, and the 25th hour. It is a limit, not a wall.
        assert total > QUOTA_BYTES
        link, since_ms = upward(lower), lower.now_ms - DAY_MS
        assert lower.catalog.read(lambda c: leases.camera_ms_since(c, link.id, since_ms)) <= EMERGENCY.camera_ms_per_day


@pytest.mark.fault("S15")
async def test_a_lease_that_is_renewed_in_its_last_second_and_given_back_counts_whole(tmp_path: Path) -> None:
    """What was really open is summed here by the clock, apart from the account that is tried."""
    async with pair(tmp_path) as (upper, lower):
        hostile, open_ms = Upper(upper, lower), 0
        for _ in range(6):
            lease = await hostile.lease()
            assert lease is not None
            began_ms, client = lower.now_ms, hostile._client()
            await client.confirm(lease, Person("second person", "street"))
            lower.clock.advance(120 * 60 - 1)
            await client.renew(lease, "again for the same", 120)
            lower.clock.advance(1)
            await client.end(lease, "released")
            open_ms += 2 * (lower.now_ms - began_ms)
        link, since_ms = upward(lower), lower.now_ms - DAY_MS
        assert open_ms > 23 * HOUR_MS
        assert lower.catalog.read(lambda c: leases.camera_ms_since(c, link.id, since_ms)) >= open_ms


@pytest.mark.fault("S15")
async def test_live_pictures_end_and_are_refused_and_come_back_with_the_hours(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        allow(lower, 1_000_000)
        lease = await pull(upper)
        stream = watch(upper, lease)
        await first(stream, Unit)
        assert await ended(stream, 30) == "tier.day_full"
        assert await ended(watch(upper, lease)) == "tier.day_full"
        assert lower.pictures.running == 0
        told = lower.catalog.read(lambda c: c.execute(select(audit).where(audit.c.action == "link.quota_full")).all())
        assert len(told) == 1 and told[0].subject == upward(lower).id  # once an hour, however often it is refused
        allow(lower, 2_000_000)  # at once: the security administrator has looked and allows more
        stream = watch(upper, lease)
        await first(stream, Unit)
        await stream.aclose()  # type: ignore[attr-defined]  # an async generator
        allow(lower, 1_000_000)
        lower.clock.advance(25 * 3600)
        lease = await pull(upper)
        stream = watch(upper, lease)
        await first(stream, Unit)
        await stream.aclose()  # type: ignore[attr-defined]  # an async generator


@pytest.mark.fault("S15")
async def test_a_used_up_quota_is_an_alarm_within_two_looks(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        allow(lower, 10_000_000)
        row = lower.record(CAMERA, lower.now_ms - 600_000)
        assert [one.reason.code for one in findings(lower)] == ["ops.quotas_ok"]
        lease = await pull(upper)
        await Upper(upper, lower).take_everything(lease, [row], 30)
        seen = findings(lower)
        assert [(one.level, one.reason.code) for one in seen] == [("bad", "ops.quota_full")]
        said = [Answer("quotas", tuple(seen))]
        memory, _ = look(Alarms(), said, lower.now_ms, ("a", "b"), (), "warn")
        _, news = look(memory, said, lower.now_ms + 30_000, ("c", "d"), (), "warn")  # a look each half minute
        assert [one.turn for one in news] == ["raised"]
        allow(lower, 11_500_000)
        assert [(one.level, one.reason.code) for one in findings(lower)] == [("warn", "ops.quota_low")]
        allow(lower, 100_000_000)
        assert [one.reason.code for one in findings(lower)] == ["ops.quotas_ok"]


async def test_what_was_in_hand_at_a_quiet_end_is_given_back(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        allow(lower, 2 * AHEAD_BYTES)
        row = lower.record(CAMERA, lower.now_ms - 600_000)
        lease = await pull(upper)
        await Upper(upper, lower).take_everything(lease, [row], 1)
        link = upward(lower)
        hour_ms = lower.now_ms // HOUR_MS * HOUR_MS
        assert lower.catalog.read(lambda c: links.carried(c, link.id, 0, 10**15)) == {hour_ms: AHEAD_BYTES}
        await lower.service.server.quota.give_back()
        assert lower.catalog.read(lambda c: links.carried(c, link.id, 0, 10**15)) == {hour_ms: row.bytes}


async def test_what_is_in_hand_when_the_hour_ends_counts_in_the_hour_in_which_it_is_sent(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        allow(lower, 4 * AHEAD_BYTES)
        row = lower.record(CAMERA, lower.now_ms - 600_000)
        hostile, link = Upper(upper, lower), upward(lower)
        first_ms = lower.now_ms // HOUR_MS * HOUR_MS
        await hostile.take_everything(await pull(upper, minutes=120), [row], 1)
        lower.clock.advance(3600)
        await hostile.take_everything(await pull(upper, minutes=120), [row], 2)
        await lower.service.server.quota.give_back()
        hours = lower.catalog.read(lambda c: links.carried(c, link.id, 0, 10**15))
        assert hours == {first_ms: row.bytes, first_ms + HOUR_MS: 2 * row.bytes}


def test_a_new_link_carries_one_main_and_four_sub_streams_around_the_clock() -> None:
    assert (COST_BPS["main"] + 4 * COST_BPS["sub"]) * 86_400 // 8 == pytest.approx(BYTES_PER_DAY, rel=0.01)
