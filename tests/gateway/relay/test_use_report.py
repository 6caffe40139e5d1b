"""The report of use goes to both tiers: what the lower node saw of the upper one's looks arrives above, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select

from config.errors import TiergateError
from config.units import DAY_MS, month_of_ms
from gateway.live.wire import Unit
from storage import use_view
from storage.audit import log
from storage.catalog import links
from storage.catalog.tables import fact, register
from tests.gateway.relay.pair import Node, pair
from tests.gateway.relay.test_pull import DUTY, first, pull, watch
from tests.parts.wait import until_async
from tiering import wire


async def looked_once(upper: Node, lower: Node) -> None:
    """A real pull, watched and given back."""
    lease = await pull(upper)
    stream = watch(upper, lease)
    await first(stream, Unit)
    upper.clock.advance(90)
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator

    async def closed() -> bool:
        rows = lower.catalog.read(lambda c: c.execute(select(register.c.closed_ms)).scalars().all())
        return bool(rows) and None not in rows

    await until_async(closed, 10, "the row is closed below")


def kept_below(upper: Node, month: str) -> list[dict[str, Any]]:
    return upper.catalog.read(lambda c: use_view.below(c, month))


def keep(lower: Node, month: str) -> None:
    """As the lower node's keeper does."""

    def write(connection: Any) -> None:
        whole = use_view.report(connection, month, lower.now_ms)
        told = {
            link.id: use_view.report(connection, month, lower.now_ms, link.peer_node)
            for link in links.all_of(connection, "upper")
        }
        use_view.keep(connection, month, whole, lower.now_ms, "keeper", told)

    lower.catalog.write(write)


@pytest.mark.real
async def test_the_lower_nodes_word_on_our_looks_arrives_above(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        month = month_of_ms(lower.now_ms)
        await looked_once(upper, lower)
        fetch = upper.service.keeping.fetch_reports
        await fetch()
        assert kept_below(upper, month) == [], "the month is not over"
        upper.clock.advance(20 * DAY_MS / 1000)
        await fetch()
        assert kept_below(upper, month) == [], "the lower node has not made it yet"
        keep(lower, month)
        await fetch()
        (found,) = kept_below(upper, month)
        assert found["name"] == "community node"
        (line,) = found["report"]["items"]
        assert (line["unit"], line["viewer"], line["mechanism"], line["looks"], line["cameras"]) == (
            DUTY.unit, "node", "emergency", 1, 1,
        )  # fmt: skip
        assert line["watched_s"] >= 90 and line["bytes"] > 0
        await fetch()  # asks for nothing that it has
        lower.catalog.write(lambda c: c.execute(delete(fact).where(fact.c.key.like("report.%"))))
        await fetch()
        assert kept_below(upper, month) == [found], "once: what was said stays"
        entries = upper.catalog.read(lambda c: log.tail(c, action="report.receive"))
        assert [e.subject for e in entries] == [f"use {month} {found['link_id']}"]
        assert entries[0].details["sha256"] == use_view.digest(found["report"])


def test_a_report_from_below_is_judged_before_anything_looks_at_it() -> None:
    numbers = dict.fromkeys(
        ("looks", "earlier", "running", "persons", "cameras", "watched_s", "bytes", "refused", "cut", "crashed"), 1
    )
    texts = dict.fromkeys(("unit", "viewer", "pictures", "purpose", "function", "mechanism"), "x")
    good: dict[str, Any] = {
        "month": "2026-10", "from_ms": 1, "to_ms": 2, "whole": True, "items": [texts | numbers],
        "sum": dict.fromkeys(("all", "own", "lower"), numbers), "without_case": [],
    }  # fmt: skip
    assert wire.use_report_from_json(good | {"more": "x"}, "2026-10") == good
    bad: dict[str, Any]
    for bad in (
        {"month": "2026-09"}, {"items": [texts]}, {"items": ["x"]}, {"items": [texts | numbers | {"looks": "1"}]},
        {"items": [texts | numbers | {"looks": -1}]}, {"items": [texts | numbers | {"unit": "x" * 121}]},
        {"items": [texts | numbers] * 5_001}, {"sum": {}}, {"sum": None}, {"whole": 1}, {"without_case": [{}]},
    ):  # fmt: skip
        with pytest.raises(TiergateError) as refused:
            wire.use_report_from_json(good | bad, "2026-10")
        assert refused.value.reason.code == "tier.body_malformed", bad
