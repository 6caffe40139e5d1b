"""The day's quota while the catalog is away: what is sent is counted, no less and no more. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.errors import TiergateError
from storage.catalog import links
from storage.catalog.engine import Catalog
from tests.parts.catalog import new_catalog
from tests.parts.virtual_time import in_virtual_time
from tests.tiering.test_live_server import LINK, LOCKED, Below, told
from tiering import quota
from tiering.live_server import BLIND_S
from tiering.quota import Quota

NOW_MS = 1_700_000_000_000
PICTURE_BYTES = 1_000


class Locked:
    """A catalog; while it is `away` each write waits 5 s for a lock, in vain."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.away = False

    async def awrite(self, change: Callable[[Any], Any]) -> Any:
        if self.away:
            await asyncio.sleep(5.0)
            raise LOCKED
        return self._catalog.write(change)

    def counted_bytes(self) -> int:
        return sum(self._catalog.read(lambda c: links.carried(c, LINK.id, 0, 10**15)).values())


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Locked]:
    monkeypatch.setattr(quota, "AHEAD_BYTES", 10 * PICTURE_BYTES)
    url = f"sqlite:///{tmp_path}/catalog.db"
    new_catalog(url)
    made = Catalog(url)
    made.write(lambda c: links.add(c, LINK))
    yield Locked(made)
    made.close()


def test_a_piece_that_could_not_be_taken_leaves_what_was_in_hand(catalog: Locked) -> None:
    async def work() -> None:
        made = Quota(catalog, lambda: NOW_MS)  # type: ignore[arg-type]  # what a quota asks of a catalog
        await made.take(LINK, PICTURE_BYTES)
        catalog.away = True
        with pytest.raises(type(LOCKED)):
            await made.take(LINK, 20 * PICTURE_BYTES)
        await made.take(LINK, 9 * PICTURE_BYTES)  # of the piece in hand
        catalog.away = False
        await made.give_back()
        assert catalog.counted_bytes() == 10 * PICTURE_BYTES

    in_virtual_time(work)


def test_live_pictures_go_on_while_the_catalog_is_away_and_are_counted_when_it_answers(catalog: Locked) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        made, sent = Quota(catalog, lambda: NOW_MS), 0  # type: ignore[arg-type]  # as above

        async def send(seconds: float) -> float:
            """Some pictures a second; the longest that one had to wait."""
            nonlocal sent
            longest_s, until_s = 0.0, loop.time() + seconds
            while loop.time() < until_s:
                began_s = loop.time()
                await made.take_or_owe(LINK, PICTURE_BYTES, BLIND_S)
                sent += PICTURE_BYTES
                longest_s = max(longest_s, loop.time() - began_s)
                await asyncio.sleep(0.2)
            return longest_s

        await send(1.0)
        catalog.away = True
        assert await send(BLIND_S - 5.0) <= quota.WAIT_S
        assert catalog.counted_bytes() < sent
        catalog.away = False
        await send(20.0)
        assert catalog.counted_bytes() >= sent
        catalog.away = True
        began_s = loop.time()
        with pytest.raises(TiergateError) as away:
            await send(2 * BLIND_S)
        assert away.value.reason.code == "access.register_away"
        assert BLIND_S - 1.0 <= loop.time() - began_s <= BLIND_S + 5.0
        catalog.away = False
        await asyncio.sleep(20.0)
        await made.give_back()
        assert catalog.counted_bytes() == sent

    in_virtual_time(work)


def test_what_is_owed_when_the_relay_ends_is_counted(catalog: Locked) -> None:
    async def work() -> None:
        made = Quota(catalog, lambda: NOW_MS)  # type: ignore[arg-type]  # as above
        catalog.away = True
        for _ in range(3):
            await made.take_or_owe(LINK, PICTURE_BYTES, BLIND_S)
        catalog.away = False
        await made.give_back()
        assert catalog.counted_bytes() == 3 * PICTURE_BYTES

    in_virtual_time(work)


def test_a_catalog_that_takes_no_piece_for_a_moment_ends_no_session(
    catalog: Locked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quota, "AHEAD_BYTES", 1)  # each word needs a piece of its own

    async def work() -> None:
        below, states = Below(), list[str]()
        below.server.quota = Quota(catalog, lambda: NOW_MS)  # type: ignore[arg-type]  # as above
        taking = asyncio.create_task(told(await below.session(), states))
        await asyncio.sleep(5.0)
        catalog.away = True
        await asyncio.sleep(BLIND_S - 5.0)
        assert not taking.done() and states.count("online") > 50
        catalog.away = False
        await asyncio.sleep(BLIND_S)
        assert not taking.done()
        catalog.away = True
        assert await taking == "access.register_away"
        catalog.away = False
        await below.server.quota.give_back()

    in_virtual_time(work)
