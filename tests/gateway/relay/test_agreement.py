"""A linked node's time is what a sweep goes by where the store has no clock: it alone explains a step of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock, wall_ms
from config.errors import Kind, TiergateError
from config.units import DAY_MS
from gateway.ops import clock_evidence
from gateway.relay.agreement import Agreement
from storage.catalog.engine import Catalog
from storage.catalog.links import LinkRow
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore
from storage.sweeper import Sweeper
from tests.gateway.relay.pair import pair
from tests.parts.catalog import new_catalog


def peer_ms(catalog: Catalog, store: ObjectStore, clock: ManualClock) -> int | None:
    return clock_evidence.gather(clock, store, catalog).peer_ms


def swept(catalog: Catalog, store: ObjectStore, clock: ManualClock) -> str | None:
    clock.disciplined = None
    evidence = clock_evidence.gather(clock, store, catalog)
    refused = Sweeper(catalog, store, clock, lambda: evidence, 0).sweep().refused
    return None if refused is None else refused.code


async def test_a_step_that_a_linked_node_agrees_with_is_explained_and_no_other(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        clock = upper.clock
        for step_s in (0, 90):
            clock.advance(1800)
            clock.step_wall(step_s)
            await upper.service.keeping.poll()
            for node in (upper, lower):
                assert peer_ms(node.catalog, node.store, clock) == node.now_ms
                assert swept(node.catalog, node.store, clock) is None
        urls = [(node.settings.catalog_url, node.store) for node in (upper, lower)]
    clock.advance(1800)
    clock.step_wall(90)
    for url, store in urls:  # nobody is heard any more
        catalog = Catalog(url)
        assert peer_ms(catalog, store, clock) == wall_ms(clock) - 90_000
        assert swept(catalog, store, clock) == "retention.clock_contradicted"
        catalog.close()
    clock.advance(3601)
    for url, store in urls:
        catalog = Catalog(url)
        assert peer_ms(catalog, store, clock) is None
        assert swept(catalog, store, clock) == "retention.clock_stepped"
        catalog.close()


async def test_a_node_whose_clock_went_31_days_ahead_finds_nobody_who_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (upper, lower):
        await upper.service.keeping.poll()
        assert swept(lower.catalog, lower.store, lower.clock) is None
        right_ms = upper.now_ms
        # The two share a clock here: what the upper one signs with is its time, and that has not moved.
        monkeypatch.setattr(upper.service._pool, "_now_ms", lambda: right_ms)
        lower.clock.step_wall(31 * DAY_MS / 1000)
        await upper.service.keeping.poll()
        assert {problem.code for problem in upper.service.keeping.problems.values()} == {"tier.clock_skew"}
        assert peer_ms(lower.catalog, lower.store, lower.clock) == right_ms
        assert swept(lower.catalog, lower.store, lower.clock) == "retention.clock_contradicted"


async def test_a_clock_that_is_set_while_two_nodes_talk_is_not_agreed_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path) as (upper, lower):
        server, clock, right_ms = lower.service.server, lower.clock, lower.now_ms
        real = server.authenticate

        async def set_ahead(*call: Any) -> LinkRow:
            if wall_ms(clock) - right_ms > DAY_MS:  # the two share a clock here, and would agree from now on
                raise TiergateError(Kind.UNAVAILABLE, "tier.peer_away", problem="test")
            link = await real(*call)
            clock.step_wall(31 * DAY_MS / 1000)
            return link

        clock.advance(1800)  # what was told at the pairing is old
        right_ms = lower.now_ms
        monkeypatch.setattr(server, "authenticate", set_ahead)
        await upper.service.keeping.poll()
        assert lower.now_ms - right_ms == 31 * DAY_MS
        for node in (upper, lower):
            assert peer_ms(node.catalog, node.store, clock) == right_ms


async def test_it_is_told_seldom_but_of_a_clock_that_was_set_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    new_catalog(url)
    catalog, store, clock = Catalog(url), FolderStore(tmp_path / "objects"), ManualClock()
    heard = Agreement(catalog, clock)
    for pass_s, step_s, told in ((0, 0, True), (599, 0.5, False), (1, 0, True), (5, 2, True), (5, -90, True)):
        clock.advance(pass_s)
        clock.step_wall(step_s)
        before, version = heard.sighting(), catalog.read(clock_evidence.last_agreed)
        await heard.heard(before)
        now = catalog.read(clock_evidence.last_agreed)
        assert (now == before, now == version) == (told, not told)
    assert peer_ms(catalog, store, clock) == wall_ms(clock)
    monkeypatch.setattr(clock_evidence, "boot_id", lambda: "after a reboot")
    assert peer_ms(catalog, store, clock) is None, "the steady hand has begun anew"
    catalog.close()
