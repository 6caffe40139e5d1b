"""Pairing with a node that is linked already: what stays as somebody here has set it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from config.errors import TiergateError
from storage.catalog import links
from storage.catalog.tables import audit
from tests.gateway.relay.pair import Node, link_again, pair
from tests.gateway.relay.test_pull import pull


def only(node_: Node) -> links.LinkRow:
    [link] = node_.catalog.read(links.all_of)
    return link


def added(node_: Node) -> list[int | None]:
    """The suspensions that the audit log of pairings speaks of."""
    wanted = select(audit.c.details).where(audit.c.action == "link.add").order_by(audit.c.seq)
    return [details.get("suspended_ms") for details in node_.catalog.read(lambda c: c.execute(wanted).scalars().all())]


@pytest.mark.fault("S15")
@pytest.mark.parametrize("side", ["upper", "lower"])
async def test_pairing_again_lifts_no_suspension(tmp_path: Path, side: str) -> None:
    async with pair(tmp_path) as (upper, lower):
        suspending = upper if side == "upper" else lower
        link, since_ms = only(suspending), lower.now_ms
        suspending.catalog.write(lambda c: links.change(c, link.id, {"suspended_ms": since_ms}))
        lower.clock.advance(60)
        await link_again(upper, lower)
        again = only(suspending)
        assert (again.id, again.suspended_ms, again.created_ms) == (link.id, since_ms, lower.now_ms)
        assert added(suspending) == [None, since_ms]
        with pytest.raises(TiergateError) as refused:
            await pull(upper)
        assert refused.value.reason.code == "tier.link_suspended"

        suspending.catalog.write(lambda c: links.change(c, link.id, {"suspended_ms": None}))
        await pull(upper)


async def test_a_removed_link_begins_anew(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        link = only(lower)
        values = {"suspended_ms": lower.now_ms, "removed_ms": lower.now_ms}
        lower.catalog.write(lambda c: links.change(c, link.id, values))
        await link_again(upper, lower)
        assert only(lower).suspended_ms is None and added(lower) == [None, None]
        await pull(upper)
