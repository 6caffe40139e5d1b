"""Linked nodes keep the heads of each other's audit logs: whoever rewrites theirs is found by what the other has."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, select

from config import crypto
from config.errors import TiergateError
from config.units import HOUR_MS
from gateway.ops import doctor
from storage import questions
from storage.audit import heads, log
from storage.audit.log import Entry
from storage.audit.signed import Signer
from storage.catalog import facts, links
from storage.catalog.tables import audit
from tests.gateway.relay.pair import Node, pair
from tests.gateway.relay.test_hanging_cache import Hanging
from tests.storage.audit.holding import holds
from tiering.server import keep_head


def entries(node: Node) -> list[Entry]:
    return node.catalog.read(lambda c: list(log.entries(c, limit=10_000)))


def exported(node: Node) -> list[str]:
    made = node.catalog.read(lambda c: log.checkpoint(c, node.keys.node, node.now_ms))
    return list(log.export(entries(node), [made]))


def said(node: Node) -> list[str]:
    wanted = doctor.examine(node.settings, node.clock, wanted=lambda name: name == "heads")
    return [one.reason.code for one in wanted if one.check == "heads"]


def write_anew(node: Node, more: int) -> None:
    """As the owner of the machine can: the first entry is another one, and the whole chain is good again."""
    kept = entries(node)

    def change(connection: Connection) -> None:
        connection.execute(delete(audit))
        for entry in kept[: len(kept) - 2]:
            actor = "user:nobody" if entry.seq == 1 else entry.actor
            log.append(connection, entry.at_ms, actor, entry.action, entry.subject, entry.details)
        for _ in range(2 + more):
            log.append(connection, node.now_ms, "user:nobody", "camera.change", "x", {})

    node.catalog.write(change)
    assert node.catalog.read(log.verify_catalog) is None


@pytest.mark.fault("S18")
async def test_each_keeps_the_others_head_and_a_log_written_anew_is_found(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        keeping = upper.service.keeping
        await keeping.exchange_heads()
        await keeping.exchange_heads()  # once an hour is enough
        for node, peer in ((upper, lower), (lower, upper)):
            (mine,) = [e for e in entries(node) if e.action == heads.KEPT]
            assert (mine.actor, mine.subject) == (f"node:{peer.keys.node_id}", peer.keys.node_id)
            given = log.Checkpoint.from_json(mine.details["checkpoint"])
            assert peer.catalog.read(lambda c, g=given, p=peer: holds(c, g, p.keys.node_public))  # type: ignore[misc]  # bound now
            assert said(node) == ["ops.heads_ok"]
        witness = exported(upper)
        anchors = heads.read_heads(witness, lower.keys.node_public)
        whole = log.verify_export(exported(lower), lower.keys.node_public, anchors)
        assert whole.whole and whole.checkpoints == 2
        with pytest.raises(ValueError, match="no head"):
            heads.read_heads(witness, upper.keys.node_public)

        write_anew(lower, more=5)
        forged = exported(lower)
        assert log.verify_export(forged, lower.keys.node_public).whole  # by itself it is as good as any
        assert log.verify_export(forged, lower.keys.node_public, anchors).bad == f"anchor: seq {anchors[0].seq}"


@pytest.mark.fault("S18")
async def test_a_log_that_ends_earlier_than_it_did_is_an_alarm_on_the_other_side(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        keeping = upper.service.keeping
        for _ in range(20):
            lower.catalog.write(lambda c: log.append(c, lower.now_ms, "user:x", "camera.change", "x", {}))
        await keeping.exchange_heads()
        lower.catalog.write(lambda c: c.execute(delete(audit).where(audit.c.seq > 5)))
        upper.clock.advance(HOUR_MS / 1000)
        await keeping.exchange_heads()
        assert [e.action for e in entries(upper)].count(heads.WENT_BACK) == 1
        assert said(upper) == ["ops.head_back"]
        upper.clock.advance(26 * HOUR_MS / 1000)
        await keeping.exchange_heads()  # it goes on from there, and stays told
        assert said(upper) == ["ops.head_back"]
        upper.clock.advance(40 * 24 * HOUR_MS / 1000)
        assert said(upper) == ["ops.head_old"]


async def test_a_head_that_the_node_did_not_sign_is_not_kept(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower):
        link = upper.catalog.read(links.all_of)[0]
        true = lower.catalog.read(lambda c: log.checkpoint(c, lower.keys.node, lower.now_ms))
        foreign = lower.catalog.read(lambda c: log.checkpoint(c, bytes(range(32)), lower.now_ms))
        for made in (
            foreign,
            log.Checkpoint(true.seq + 1, true.digest, true.at_ms, true.public_key, true.signature),
            log.Checkpoint(true.seq, bytes(32), true.at_ms, true.public_key, true.signature),
            log.Checkpoint(true.seq, true.digest, true.at_ms, foreign.public_key, true.signature),
            log.Checkpoint(true.seq, true.digest, true.at_ms, true.public_key, crypto.sign(bytes(32), b"x")),
        ):
            with pytest.raises(TiergateError) as refused:
                upper.catalog.write(lambda c, m=made: keep_head(c, link, m, upper.now_ms))  # type: ignore[misc]  # bound now
            assert refused.value.reason.code == "tier.head_signature"
        assert upper.catalog.read(lambda c: facts.get(c, f"audit.head.{lower.keys.node_id}")) is None
        actions = upper.catalog.read(lambda c: set(c.execute(select(audit.c.action)).scalars()))
        assert actions.isdisjoint({heads.KEPT, heads.WENT_BACK})


@pytest.mark.fault("S18")
@pytest.mark.parametrize("cut_one", ["upper", "lower"])
async def test_a_node_whose_log_was_cut_gives_no_head_and_keeps_the_others(tmp_path: Path, cut_one: str) -> None:
    async with pair(tmp_path) as (upper, lower):
        node, peer = (upper, lower) if cut_one == "upper" else (lower, upper)
        assert Signer(node.catalog, node.store, node.keys.node_id, node.keys.node).write(node.now_ms) is not None
        end = entries(node)[-1].seq
        node.catalog.write(lambda c: c.execute(delete(audit).where(audit.c.seq == end)))
        node.catalog.write(lambda c: log.append(c, node.now_ms, "user:nobody", "camera.change", "x", {}))
        await upper.service.keeping.exchange_heads()
        assert peer.catalog.read(lambda c: heads.seen(c, node.keys.node_id)) is None
        if node is lower:  # the upper one, which calls, has given its own already
            assert lower.catalog.read(lambda c: heads.seen(c, upper.keys.node_id)) is not None


@pytest.mark.fault("B34")
async def test_a_store_that_hangs_gives_no_head_and_holds_no_thread_that_others_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "ANSWER_S", 0.3)
    async with pair(tmp_path) as (_, lower):
        Signer(lower.catalog, lower.store, lower.keys.node_id, lower.keys.node).write(lower.now_ms)
        disk = Hanging(lower.store, "read", monkeypatch)

        async def refused() -> None:
            with pytest.raises(TiergateError) as caught:
                await asyncio.wait_for(lower.service.server.signed_head(), 60)
            assert caught.value.reason.code == "media.store_unavailable"

        try:
            await asyncio.gather(*(refused() for _ in range(40)))
            await refused()
            assert disk.begun == 1, "while it hangs nobody asks again"
            assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 60) == 1
        finally:
            disk.go.set()
