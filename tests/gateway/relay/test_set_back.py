"""The machine's clock runs ahead for a while and is set right: pulls go on as if nothing had been, and none gains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from config.clock import ManualClock
from config.errors import TiergateError
from config.ids import ulid
from storage.catalog import leases, links
from storage.catalog.leases import LeaseRow
from storage.catalog.tables import audit
from tests.gateway.relay.pair import CAMERA, Node, link_up, node, pair, two_nodes
from tests.gateway.relay.test_pull import objects, pull
from tests.gateway.relay.test_purge import cached
from tests.parts.wait import until_async
from tiering.steady import SetBack

DAY_S = 86_400


def row(node_: Node, lease: str) -> LeaseRow:
    side = "granted" if node_.settings.node.tier == "community" else "held"
    found = node_.catalog.read(lambda c: leases.get(c, lease, side))
    assert found is not None
    return found


async def right_again(*nodes: Node) -> None:
    async def all_are() -> bool:
        return all(abs(n.service.pulls.clock.now_ms() - n.now_ms) < 1000 for n in nodes)

    await until_async(all_are, 20, "the relays' clocks are those of their machines")


def why(node_: Node) -> list[tuple[str, str]]:
    wanted = select(audit.c.subject, audit.c.details).where(audit.c.action == "lease.end")
    return [(e.subject, e.details["reason"]) for e in node_.catalog.read(lambda c: c.execute(wanted).all())]


@pytest.mark.fault("S16", "B24")
async def test_a_relay_whose_clock_was_ahead_dates_leases_by_the_right_time_again(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        clock = lower.clock
        before, _ = await cached(upper, lower, minutes=120)
        clock.step_wall(3600)
        ahead, _ = await cached(upper, lower, minutes=60)
        assert row(lower, ahead).issued_ms == lower.now_ms
        clock.advance(60)
        clock.step_wall(-3600)
        await right_again(upper, lower)
        after = await pull(upper)
        assert row(lower, after).issued_ms == lower.now_ms == row(upper, after).issued_ms
        for node_ in (upper, lower):
            assert row(node_, before).ended_ms is None and row(node_, after).ended_ms is None
            over = row(node_, ahead)
            assert (over.end_reason, over.ended_ms, over.cache_until_ms) == ("clock_set_back", *[lower.now_ms] * 2)
            assert (ahead, "clock_set_back") in why(node_)

        async def purged() -> bool:
            return not any(ahead in key for key in objects(upper))

        await until_async(purged, 10, "what was pulled under it is gone")
        with pytest.raises(TiergateError) as refused:
            await upper.control.renew(ahead, "still burning", 30, "user:duty")
        assert refused.value.reason.code == "tier.lease_expired"
        for seconds, code in ((118 * 60 + 59, "tier.unconfirmed"), (1, "tier.lease_expired")):
            clock.advance(seconds)  # two hours after it was granted, and not sooner
            with pytest.raises(TiergateError) as over_now:
                await upper.control.index(before, CAMERA, "main", lower.now_ms - 7_200_000, lower.now_ms)
            assert over_now.value.reason.code == code


@pytest.mark.fault("S16", "B24")
async def test_renewed_while_the_clock_was_ahead_it_ends_too(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        lease = await pull(upper, minutes=60)
        lower.clock.step_wall(600)
        await upper.control.renew(lease, "still burning", 120, "user:duty")
        lower.clock.step_wall(-600)
        await right_again(upper, lower)
        assert row(lower, lease).end_reason == row(upper, lease).end_reason == "clock_set_back"


@pytest.mark.fault("S16", "B24")
async def test_a_lease_that_is_being_written_when_the_clock_goes_back_ends_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (upper, lower):
        lower.clock.step_wall(3600)
        made, setting_back = row(lower, await pull(upper)), lower.service.setting_back
        late, real = replace(made, id=ulid(made.issued_ms, bytes(10))), setting_back._end

        async def end(back: SetBack) -> None:
            await real(back)
            if lower.catalog.read(lambda c: leases.get(c, late.id, "granted")) is None:
                lower.catalog.write(lambda c: leases.add(c, late))

        monkeypatch.setattr(setting_back, "_end", end)
        lower.clock.step_wall(-3600)
        await right_again(lower)
        await until_async(lambda: _ended(lower, made.id, late.id), 10, "both have ended")


async def _ended(lower: Node, *wanted: str) -> bool:
    return all(row(lower, lease).end_reason == "clock_set_back" for lease in wanted)


@pytest.mark.fault("S16", "B24")
async def test_nobody_vouches_for_a_clock_that_was_set_back_and_nothing_gains(tmp_path: Path) -> None:
    clock = ManualClock()
    clock.disciplined = False
    async with node(tmp_path / "n", clock, "street", "210102001") as alone:
        clock.step_wall(-3600)
        await alone.service.setting_back.look()
        steady = alone.service.pulls.clock
        assert steady.now_ms() == alone.now_ms + 3_600_000
        clock.disciplined = True
        await alone.service.setting_back.look()
        assert steady.now_ms() == alone.now_ms


@pytest.mark.fault("S16", "B24")
async def test_leases_of_a_clock_that_was_set_right_while_the_relay_was_down(tmp_path: Path) -> None:
    clock = ManualClock()
    async with two_nodes(tmp_path, clock) as (upper, lower):
        await link_up(upper, lower)
        before = await pull(upper, minutes=120)
        clock.step_wall(3600)
        ahead, _ = await cached(upper, lower)
        await upper.service.keeping.poll()  # each has it from the other that this is the time
    clock.step_wall(-3600)
    async with two_nodes(tmp_path, clock) as (upper, lower):
        assert row(upper, ahead).ended_ms is row(lower, ahead).ended_ms is None
        [link] = upper.catalog.read(links.all_of)
        upper.catalog.write(lambda c: links.change(c, link.id, {"url": lower.service.url}))

        async def over() -> bool:
            return all(row(node_, ahead).end_reason == "clock_set_back" for node_ in (upper, lower))

        await until_async(over, 20, "the two agree on the new time")
        await until_async(lambda: _empty(upper), 10, "what was pulled under it is gone")
        assert row(upper, before).ended_ms is row(lower, before).ended_ms is None


async def _empty(upper: Node) -> bool:
    return objects(upper) == []


async def test_what_is_done_now_and_then_is_done_after_the_clock_was_set_back(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):

        def seen() -> list[Any]:
            return [node_.catalog.read(links.all_of)[0].last_seen_ms for node_ in (upper, lower)]

        lower.clock.step_wall(DAY_S)
        await upper.service.keeping.poll()
        assert seen() == [lower.now_ms] * 2
        lower.clock.step_wall(-DAY_S)
        await right_again(upper, lower)
        await upper.service.keeping.poll()
        assert seen() == [lower.now_ms] * 2
