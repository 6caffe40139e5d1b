"""Every call between nodes × every node that may ask (FAULTS S1, S14): made from the routes of the relay's listener; a
route that is not in the table fails.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from config import crypto
from config.crypto import DEFAULT_SUITE, Signed, key_id
from gateway.relay import tier_app
from gateway.relay.pulls import PullOrder
from storage.catalog import links
from storage.catalog.tables import lease
from tests.gateway.relay.pair import CAMERA, OTHER, Node, pair
from tiering.lease import Person
from tiering.signing import sign_request

DUTY = Person("王值班", "街道综治中心")

#: What is said to whoever may ask, when the rules of a lease or the body of the request say no.
PAST_IT = {"tier.body_malformed", "tier.lease_expired", "tier.renewal_not_longer", "tier.report_unknown"}

#: What each call demands, written down a second time: nothing but a signature, a link, a link upward, a lease.
ROUTES = {
    "POST /tier/v1/links/accept": "invitation",
    "GET /tier/v1/directory": "upper",
    "GET /tier/v1/reports/use": "upper",
    "POST /tier/v1/leases": "upper",
    "POST /tier/v1/leases/{lease}/confirm": "lease",
    "POST /tier/v1/leases/{lease}/renew": "lease",
    "POST /tier/v1/leases/{lease}/end": "lease",
    "GET /tier/v1/leases/{lease}/live/{camera}": "camera",
    "GET /tier/v1/leases/{lease}/index/{camera}": "camera",
    "GET /tier/v1/leases/{lease}/segments/{segment}": "segment",
    "POST /tier/v1/purge-statements": "link",
    "POST /tier/v1/heads": "link",
    "POST /tier/v1/certificates": "link",
    "POST /tier/v1/notices": "link",
}


def cells(app: Any) -> set[str]:
    return {
        f"{method} {route.path}"
        for route in app.routes
        for method in route.methods - {"HEAD"}
        if route.path != "/{rest:path}"
    }


@dataclass(frozen=True)
class Key:
    private: bytes

    @property
    def public_key(self) -> bytes:
        return DEFAULT_SUITE.public_key(self.private)

    @property
    def node_id(self) -> str:
        return key_id(self.public_key)

    def sign(self, message: bytes) -> Signed:
        return crypto.sign(self.private, message)


@dataclass(frozen=True)
class Asker:
    """Who asks for what, and what must come of it at each demand."""

    name: str
    key: Key | None
    refusals: dict[str, tuple[int, str]]  #: demand → status and code; "*": at every other; missing: let in
    named: str | None = None  #: says that it is this node
    receiver: str | None = None
    shift_ms: int = 0
    other: str = ""  #: target, body or method: what was signed is not what is sent
    twice: bool = False
    camera: str = CAMERA
    lease: str = "good"
    segment: str = "inside"


def askers(upper: Node, foreign: Key) -> list[Asker]:
    own = Key(upper.keys.node)

    def unauthenticated(code: str) -> dict[str, tuple[int, str]]:
        return {"*": (401, code)}

    mine = Asker("the right one", own, {})
    lost = {name: (404, "tier.lease_unknown") for name in ("lease", "camera", "segment")}
    over = {name: (403, "") for name in ("camera", "segment")}
    return [
        mine,
        Asker("unsigned", None, unauthenticated("tier.unsigned")),
        Asker("a stranger", Key(bytes(32)), unauthenticated("tier.peer_unknown")),
        Asker("another key under its name", Key(bytes(32)), unauthenticated("tier.signature_bad"), named=own.node_id),
        replace(mine, name="for another receiver", receiver="f" * 16, refusals=unauthenticated("tier.signature_bad")),
        replace(mine, name="another target", other="target", refusals=unauthenticated("tier.signature_bad")),
        replace(mine, name="another body", other="body", refusals=unauthenticated("tier.signature_bad")),
        replace(mine, name="another method", other="method", refusals=unauthenticated("tier.signature_bad")),
        replace(mine, name="too late", shift_ms=-31_000, refusals=unauthenticated("tier.clock_skew")),
        replace(mine, name="too early", shift_ms=31_000, refusals=unauthenticated("tier.clock_skew")),
        replace(mine, name="replayed", twice=True, refusals=unauthenticated("tier.replayed")),
        Asker("another upper node, this lease", foreign, lost),
        replace(mine, name="a lease of nobody", lease="unknown", refusals=lost),
        replace(mine, name="a lease that is over", lease="over", refusals=over),
        replace(mine, name="a lease that was edited", lease="edited",
                refusals={name: (403, "tier.lease_signature") for name in ("lease", "camera", "segment")}),
        replace(mine, name="another camera", camera=OTHER, refusals={"camera": (403, "")}),
        replace(mine, name="before its range", segment="before", refusals={"segment": (403, "")}),
        replace(mine, name="another camera's footage", segment="other", refusals={"segment": (403, "")}),
    ]  # fmt: skip


class Field:
    def __init__(self, upper: Node, lower: Node, foreign: Key) -> None:
        self.upper, self.lower, self.foreign = upper, lower, foreign
        start_ms = lower.now_ms - 60_000
        self.segments = {
            "inside": lower.record(CAMERA, start_ms).id,
            "before": lower.record(CAMERA, start_ms - 5 * 3_600_000).id,
            "other": lower.record(OTHER, start_ms).id,
        }

    async def lease(self, how: str) -> str:
        if how == "unknown":
            return "01K0000000000000000000000Z"
        order = PullOrder(
            mechanism="emergency", case_no="A-7", reason="fire at the gate", requester=DUTY, persons=(DUTY,),
            cameras=(CAMERA,), minutes=30, actor="user:duty",
        )  # fmt: skip
        made = str((await self.upper.control.pull(order))["leases"][0])
        values: dict[str, Any] = {}
        if how == "over":
            values = {"ended_ms": self.lower.now_ms, "end_reason": "released"}
        if how == "edited":
            row = self.lower.catalog.read(lambda c: c.execute(lease.select().where(lease.c.id == made)).one())
            values = {"document": row.document.replace(CAMERA, OTHER)}
        if values:
            query = update(lease).where(lease.c.id == made, lease.c.side == "granted").values(values)
            self.lower.catalog.write(lambda c: c.execute(query))
        return made

    async def ask(self, http: httpx.AsyncClient, cell: str, asker: Asker, lease_id: str) -> tuple[int, str]:
        method, path = cell.split(" ", 1)
        values = {"lease": lease_id, "camera": asker.camera, "segment": self.segments[asker.segment]}
        target = re.sub(r"\{(\w+)\}", lambda m: values[m[1]], path)
        if "/index/" in path:
            target += f"?from={self.lower.now_ms - 120_000}&to={self.lower.now_ms}"
        if path.endswith("/reports/use"):
            target += "?month=2026-08"
        body = b"" if method == "GET" else json.dumps(self._body(path)).encode()
        headers: dict[str, str] = {}
        if asker.key is not None:
            signed = {"target": target, "body": body.decode(), "method": method}
            if asker.other:
                signed[asker.other] += "x"
            headers = sign_request(
                asker.key, asker.receiver or self.lower.keys.node_id, signed["method"], signed["target"],
                signed["body"].encode(), self.lower.now_ms + asker.shift_ms, secrets.token_bytes(16),
            )  # fmt: skip
            if asker.named is not None:
                headers["tiergate-node"] = asker.named
        if asker.twice:
            async with http.stream(method, target, content=body, headers=headers):
                pass
        async with http.stream(method, target, content=body, headers=headers) as answer:
            if answer.status_code < 400:
                return answer.status_code, ""
            return answer.status_code, str(json.loads(await answer.aread())["code"])

    @staticmethod
    def _body(path: str) -> dict[str, Any]:
        if path.endswith("/confirm"):
            return {"person": {"name": "李科长", "unit": "街道综治中心"}}
        if path.endswith("/renew"):
            return {"reason": "still burning", "minutes": 40}
        if path.endswith("/end"):
            return {"reason": "released"}
        if path.endswith("/notices"):
            return {"topic": "drill", "text": "tomorrow"}
        return {}


def wrong(asker: Asker, demanded: str, status: int, code: str) -> bool:
    if status >= 500:
        return True
    refusal = asker.refusals.get(demanded, asker.refusals.get("*"))
    if demanded == "invitation":  # whoever holds the code is no peer yet: the card must be there, signed by its own key
        return code != ("tier.unsigned" if asker.key is None else "tier.body_malformed")
    if refusal is None:
        return not (status < 400 or code in PAST_IT)
    return status != refusal[0] or bool(refusal[1] and code != refusal[1])


def _link(lower: Node, key: Key, role: str = "upper") -> None:
    known = lower.catalog.read(links.all_of)[0]
    fresh = replace(
        known, id="01K000000000000000000000LK", peer_node=key.node_id, public_key=key.public_key, peer_name="x",
        peer_role=role, url="http://10.9.9.9:1",
    )  # fmt: skip
    lower.catalog.write(lambda c: links.add(c, fresh))


@pytest.mark.fault("S1")
def test_every_call_is_in_the_table(tmp_path: Path) -> None:
    none: Any = None
    assert cells(tier_app.build(none, none, none, none)) == set(ROUTES)


@pytest.mark.fault("S1", "S14")
@pytest.mark.real
async def test_every_call_for_every_node(tmp_path: Path, counted: Callable[[object], None]) -> None:
    foreign = Key(bytes(range(32)))
    bad: list[str] = []
    asked: Counter[str] = Counter()
    async with pair(tmp_path) as (upper, lower), httpx.AsyncClient(base_url=lower.service.url) as http:
        _link(lower, foreign)
        field = Field(upper, lower, foreign)
        everybody = askers(upper, foreign)
        made = {how: await field.lease(how) for how in ("good", "over", "edited", "unknown")}
        for cell, demanded in sorted(ROUTES.items(), key=lambda item: item[0].endswith(("/end", "/accept"))):
            for asker in sorted(everybody, key=lambda a: not a.refusals):  # whom it is given to is last: it may end it
                status, code = await field.ask(http, cell, asker, made[asker.lease])
                asked[str(status)] += 1
                if wrong(asker, demanded, status, code):
                    bad.append(f"{cell} ({demanded}) for {asker.name}: {status} {code}")
        counted(f"{asked.total()} cells {dict(asked)}, {len(bad)} wrong")
        assert bad == []
        assert asked["200"] >= 10 and asked["401"] >= 90


@pytest.mark.real
async def test_a_link_that_is_suspended_removed_or_downward_opens_nothing(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower), httpx.AsyncClient(base_url=lower.service.url) as http:
        field = Field(upper, lower, Key(bytes(range(32))))
        mine = askers(upper, field.foreign)[0]
        good = await field.lease("good")
        [row] = lower.catalog.read(links.all_of)
        asking = [cell for cell, demanded in ROUTES.items() if demanded == "upper"]
        pictures = [cell for cell, demanded in ROUTES.items() if demanded in ("camera", "segment")]
        directory = ["GET /tier/v1/directory"]  # of a lease the rule is asked, and the body is read before it
        for values, cells_, status in (
            ({"suspended_ms": lower.now_ms}, [*directory, *pictures], 403),
            ({"suspended_ms": None, "peer_role": "lower"}, asking, 403),
            ({"peer_role": "upper", "removed_ms": lower.now_ms}, [*asking, *pictures], 401),
        ):
            lower.catalog.write(lambda c, v=values: links.change(c, row.id, v))  # type: ignore[misc]  # bound now
            for cell in cells_:
                got, code = await field.ask(http, cell, mine, good)
                assert got == status, (values, cell, got, code)
