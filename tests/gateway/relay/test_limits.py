"""How often a linked node may call: one that means ill fills no log, and costs no other link its place."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from config.clock import ManualClock
from config.crypto import b64
from config.errors import TiergateError
from gateway.relay.limits import LinkLimits
from storage.audit import log
from storage.catalog.tables import audit
from tests.gateway.relay.pair import CAMERA, Node, pair
from tests.gateway.relay.test_routes import half
from tests.gateway.relay.test_tier_matrix import Key, _link
from tests.tiering.test_lines import link
from tiering.mechanism import EMERGENCY
from tiering.signing import sign_request


class Asker:
    """A node's software that keeps no rule but the signature's."""

    def __init__(self, key: Key, lower: Node, http: httpx.AsyncClient) -> None:
        self._key, self._lower, self._http = key, lower, http
        self.retry_after: set[str] = set()

    async def ask(self, method: str, target: str, value: dict[str, Any] | None = None) -> tuple[int, str]:
        body = b"" if value is None else json.dumps(value).encode()
        to, now_ms = self._lower.keys.node_id, self._lower.now_ms
        headers = sign_request(self._key, to, method, target, body, now_ms, secrets.token_bytes(16))
        answer = await self._http.request(method, target, content=body, headers=headers)
        if answer.status_code == 429:
            self.retry_after.add(answer.headers["retry-after"])
        return answer.status_code, answer.json().get("code", "")

    async def again_and_again(self, times: int, method: str, target: str, value: dict[str, Any] | None) -> Counter[Any]:
        return Counter([await self.ask(method, target, value) for _ in range(times)])


def entries(node: Node) -> int:
    return node.catalog.read(lambda c: c.execute(select(func.count()).select_from(audit)).scalar_one())


#: Without case and reason.
REFUSED = {
    "mechanism": "emergency", "mechanism_version": EMERGENCY.version, "case_no": "", "reason": "",
    "requester": {"name": "x", "unit": "y"}, "persons": [], "cameras": [CAMERA], "functions": ["live"],
    "max_stream": "main", "minutes": 5,
}  # fmt: skip
TOO_MANY = (429, "web.too_many_requests")


@pytest.mark.fault("S15", "S23")
async def test_a_linked_node_that_asks_without_end_fills_no_log(
    tmp_path: Path, counted: Callable[[object], None]
) -> None:
    other = Key(bytes(range(32)))
    async with pair(tmp_path) as (upper, lower), httpx.AsyncClient(base_url=lower.service.url) as http:
        _link(lower, other)
        hostile, honest = Asker(Key(upper.keys.node), lower, http), Asker(other, lower, http)
        head = upper.catalog.read(lambda c: log.checkpoint(c, upper.keys.node, upper.now_ms)).as_json()
        before = entries(lower)
        refusals = await hostile.again_and_again(60, "POST", "/tier/v1/leases", REFUSED)
        notices = await hostile.again_and_again(200, "POST", "/tier/v1/notices", {"topic": "x", "text": "y"})
        heads = await hostile.again_and_again(60, "POST", "/tier/v1/heads", {"checkpoint": head})
        wrote = entries(lower) - before
        counted(f"320 calls: {wrote} entries; leases {dict(refusals)}, notices {dict(notices)}, heads {dict(heads)}")
        assert notices[TOO_MANY] > 100 and heads[TOO_MANY] == 40
        assert refusals[(403, "tier.case_and_reason")] == 60 and wrote <= 140
        assert await hostile.ask("POST", "/tier/v1/leases", REFUSED) == TOO_MANY
        assert hostile.retry_after == {"2", "60"}
        assert (await honest.ask("POST", "/tier/v1/notices", {"topic": "x", "text": "y"}))[0] == 200
        told = (await lower.control.status())["refused"]
        assert told["node_written"] > notices[TOO_MANY] and told["node_heads"] >= 40 and told["node_asked"] == 0
        lower.clock.advance(2)
        assert (await hostile.ask("POST", "/tier/v1/notices", {"topic": "x", "text": "y"}))[0] == 200


def test_what_only_reads_has_a_bound_of_its_own() -> None:
    limits, passed = LinkLimits(ManualClock()), 0
    with pytest.raises(TiergateError):
        while passed < 10_000:
            limits.call("asked", link())
            passed += 1
    assert passed == 1_000 and limits.refused["node_asked"] == 1
    limits.call("written", link())


@pytest.mark.fault("S23")
async def test_strangers_who_guess_invitations_are_not_remembered_and_soon_turned_away(tmp_path: Path) -> None:
    async with pair(tmp_path) as (_, lower), httpx.AsyncClient(base_url=lower.service.url) as http:
        nonces, stranger = lower.settings.paths.run_dir / "relay.nonces", Key(bytes(range(32)))
        card = replace(lower.service.card, node=stranger.node_id, public_key=stranger.public_key).as_json()
        value = {"card": card, "secret": b64(bytes(20))}
        answers = await Asker(stranger, lower, http).again_and_again(40, "POST", "/tier/v1/links/accept", value)
        assert answers == {(403, "tier.invite_over"): 19, TOO_MANY: 21}, "one of the twenty was the honest one"
        assert stranger.node_id not in nonces.read_text(encoding="ascii")
        actors = lower.catalog.read(lambda c: c.execute(select(audit.c.actor)).scalars().all())
        assert not [actor for actor in actors if stranger.node_id in actor]
        assert (await lower.control.status())["refused"]["node_pairing"] == 21


@pytest.mark.fault("S23")
def test_a_stranger_with_many_addresses_of_one_household_is_one_stranger() -> None:
    limits = LinkLimits(ManualClock())
    for number in range(20):
        limits.stranger(f"2001:db8::{number:x}")
    with pytest.raises(TiergateError):
        limits.stranger("2001:db8::ffff")
    limits.stranger("2001:db8:0:1::1")


async def test_what_the_relay_refused_stands_in_the_metric(tmp_path: Path) -> None:
    async with half(tmp_path, "street", "210211001") as node:
        node.site.user("li", ("operator",))
        async with await node.site.sign_in("li") as li:
            node.relay.limits.refused["node_written"] += 3
            assert 'tiergate_requests_refused_total{of="node_written"} 3.0' in (await li.get("/metrics")).text
