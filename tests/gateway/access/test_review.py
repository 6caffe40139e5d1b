"""How soon a look ends whose right is gone (I7), in virtual time: by construction, not by luck with a timer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from gateway.access.looks import RELOAD_S, REVIEW_S, Look, Looks
from gateway.access.register import Registers
from gateway.access.watch import CatalogWatch
from storage.catalog import grants, people
from storage.catalog.engine import Catalog
from tests.gateway.access.test_looks import camera, person, principal
from tests.gateway.web.site import Site, site_in
from tests.parts.virtual_time import LoopClock, in_virtual_time
from tiering.access import Function, Principal

T = TypeVar("T")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        yield made


class Slow:
    """The real catalog, whose answers are what it held when it was asked, and come `takes_s` later."""

    def __init__(self, real: Catalog, takes_s: float) -> None:
        self._real = real
        self.takes_s = takes_s

    async def aread(self, query: Callable[[Connection], T]) -> T:
        answer = self._real.read(query)
        await asyncio.sleep(self.takes_s)
        return answer

    async def awrite(self, change: Callable[[Connection], T]) -> T:
        return self._real.write(change)


@contextlib.asynccontextmanager
async def reviewed(site: Site, takes_s: float) -> AsyncIterator[tuple[Looks, Slow]]:
    """Looks of a process that no notice of a change reaches."""
    catalog, clock = Slow(site.catalog, takes_s), LoopClock(asyncio.get_running_loop(), site.clock.wall_ns())
    registers = Registers(catalog, clock, site.settings.paths.run_dir, "web")  # type: ignore[arg-type]  # the part that is used
    looks = Looks(catalog, clock, site.services.principals, registers, CatalogWatch(site.catalog))  # type: ignore[arg-type]  # as above
    async with looks.watching():
        yield looks, catalog


def disable(site: Site, who: Principal, at_ms: int | None) -> None:
    site.catalog.write(lambda c: people.change_user(c, who.id, {"disabled_ms": at_ms}))


async def seconds_until_ended(look: Look) -> float:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    async with asyncio.timeout(600):
        await look.ended.wait()
    return loop.time() - began_s


@pytest.mark.fault("S16")
def test_a_right_that_is_gone_ends_a_look_within_5_s_whenever_it_goes(
    site: Site, counted: Callable[[object], None]
) -> None:
    id_, who = camera(site), person(site, "operator")

    async def work() -> list[float]:
        took: list[float] = []
        for step in range(70):
            async with reviewed(site, REVIEW_S) as (looks, _), looks.open(who, Function.LIVE, id_) as look:
                await asyncio.sleep(step / 10)
                assert not look.ended.is_set()
                disable(site, who, 1)
                took.append(await seconds_until_ended(look))
            disable(site, who, None)
        return took

    took = in_virtual_time(work)
    counted(f"{len(took)} moments, ended after {min(took):.2f} to {max(took):.2f} s")
    assert max(took) <= RELOAD_S == 5.0


@pytest.mark.fault("S16")
def test_a_right_that_goes_while_a_look_begins_ends_it_within_5_s(site: Site) -> None:
    """It was decided by what was read before; a review that found nothing running knows nothing of that."""
    id_, who = camera(site), person(site, "operator")

    async def work() -> list[float]:
        took: list[float] = []
        for step in range(30):
            async with reviewed(site, 0.0) as (looks, _):
                await asyncio.sleep(step / 10)
                look = await looks.begin(who, Function.LIVE, id_)
                disable(site, who, 1)
                began_s = asyncio.get_running_loop().time()
                await asyncio.sleep(1.5)  # its row and its path are written
                looks.attach(look)
                await seconds_until_ended(look)
                took.append(asyncio.get_running_loop().time() - began_s)
            disable(site, who, None)
        return took

    assert max(in_virtual_time(work)) <= RELOAD_S


@pytest.mark.fault("S16")
def test_expiry_does_not_wait_for_a_catalog_that_does_not_answer(site: Site) -> None:
    id_, user_id = camera(site), site.user("wang")
    value = {"effect": "allow", "resources": {"cameras": [id_]}, "functions": ["live"]}
    conditions = {"valid_to_ms": site.now_ms() + 8_000}
    row = grants.GrantRow("g", "user", user_id, value | {"conditions": conditions}, 1, "admin")
    site.catalog.write(lambda c: grants.add_grant(c, row))
    who = principal(site, user_id)

    async def work() -> tuple[float, str | None]:
        async with reviewed(site, 0.0) as (looks, catalog), looks.open(who, Function.LIVE, id_) as look:
            catalog.takes_s = 50.0
            return await seconds_until_ended(look), look.end_reason

    took_s, why = in_virtual_time(work)
    assert 8.0 <= took_s <= 8.0 + RELOAD_S and why == "expired"
