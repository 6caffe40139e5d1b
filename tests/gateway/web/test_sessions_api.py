"""Who is signed in, and ending it: one's own, or anybody's as a security administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.access.ids import hash_of
from storage.audit import log as audit
from tests.gateway.web.matrix import Maker, make_cameras
from tests.gateway.web.site import ALL_ROLES, Site, site_in
from tiering.access import Function

SESSIONS = "/api/v1/sessions"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        made.user("admin", ALL_ROLES)
        made.user("auditor", ("audit_admin",))
        made.user("li", ("operator",))
        made.user("wang", ("operator",))
        yield made


@pytest.fixture
async def admin(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with await site.sign_in("admin") as client:
        yield client


async def listed(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get(SESSIONS, params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def is_in(client: httpx.AsyncClient) -> bool:
    return (await client.get("/api/v1/cameras")).status_code == 200


async def test_everybody_sees_and_ends_their_own_and_no_other(site: Site, admin: httpx.AsyncClient) -> None:
    async with (
        await site.sign_in("li") as first,
        await site.sign_in("li") as second,
        await site.sign_in("wang") as wang,
    ):
        mine = await listed(first)
        assert [one["login"] for one in mine] == ["li", "li"]
        assert [one["login"] for one in await listed(first, user="admin")] == ["li", "li"]
        [here] = [one for one in mine if one["current"]]
        [there] = [one for one in mine if not one["current"]]
        assert set(here) == {
            "id", "kind", "login", "name", "on_duty", "client", "created_ms", "expires_ms", "current",
        }  # fmt: skip
        assert first.headers["authorization"].removeprefix("Bearer ") not in str(mine)
        assert (await wang.delete(f"{SESSIONS}/{there['id']}")).status_code == 404
        assert await is_in(second)
        assert (await first.delete(f"{SESSIONS}/{there['id']}")).status_code == 204
        assert (await second.get("/api/v1/cameras")).status_code == 401
        assert await is_in(first) and await is_in(wang)
        assert [one["id"] for one in await listed(first)] == [here["id"]]
        assert (await first.delete(f"{SESSIONS}/{there['id']}")).status_code == 404
        assert (await first.delete(f"{SESSIONS}/{here['id']}")).status_code == 204
        assert not await is_in(first)
    ends = [e for e in site.catalog.read(lambda c: list(audit.entries(c))) if e.action == "session.end"]
    assert [(e.actor, e.subject, e.details["of"]) for e in ends] == [
        ("user:li", there["id"], "li"), ("user:li", here["id"], "li"),
    ]  # fmt: skip


async def test_administrators_see_all_and_the_security_administrator_ends_them(
    site: Site, admin: httpx.AsyncClient
) -> None:
    make = Maker(site, make_cameras(site))
    _, at_wall = make.person("hall", "operator", wall=True)
    make.shift(at_wall, site.user("zhao", ("operator",)))
    token = make.row("VMS")
    page = make.session(token_jti=token.jti)
    async with await site.sign_in("auditor") as auditor, await site.sign_in("li") as li:
        seen = {one["login"]: one for one in await listed(auditor)}
        assert set(seen) == {"admin", "auditor", "li", "hall", token.jti}
        assert (seen["hall"]["kind"], seen["hall"]["on_duty"]) == ("wall", "Zhao")
        assert (seen[token.jti]["kind"], seen[token.jti]["name"]) == ("token", "VMS")
        assert [one["login"] for one in await listed(auditor, user="li")] == ["li"]
        assert (await auditor.delete(f"{SESSIONS}/{seen['li']['id']}")).status_code == 404, "seeing is not ending"
        assert await is_in(li)
        for login in ("li", "hall", token.jti):
            assert (await admin.delete(f"{SESSIONS}/{seen[login]['id']}")).status_code == 204
        assert not await is_in(li)
    for secret in (at_wall, page):
        async with site.client(secret) as client:
            assert (await client.get("/api/v1/cameras")).status_code == 401
    shifts = (await admin.get("/api/v1/shifts")).json()["items"]
    assert [one["state"] for one in shifts] == ["signed_out"]


async def test_what_is_looked_at_under_it_ends_with_it(site: Site, admin: httpx.AsyncClient) -> None:
    camera = make_cameras(site)["mine"]
    async with await site.sign_in("li") as li:
        secret = li.headers["authorization"].removeprefix("Bearer ")
        holder = await site.services.principals.of_credential(secret)
        async with site.services.looks.open(holder, Function.LIVE, camera) as look:
            [one] = [one for one in await listed(admin) if one["login"] == "li"]
            assert bytes.fromhex(one["id"]) == hash_of(secret)[:8]
            assert (await admin.delete(f"{SESSIONS}/{one['id']}")).status_code == 204
            await site.services.looks.review()
            assert look.ended.is_set() and look.end_reason == "revoked"


async def test_pages_hold_each_once_and_what_is_over_is_gone(site: Site, admin: httpx.AsyncClient) -> None:
    make = Maker(site, make_cameras(site))
    for name in ("a", "b", "c"):
        make.person(name, "operator")
    found: list[str] = []
    cursor: str | None = None
    while True:
        answer = (await admin.get(SESSIONS, params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        found += [one["login"] for one in answer["items"]]
        cursor = answer["next"]
        if cursor is None:
            break
    assert sorted(found) == ["a", "admin", "b", "c"]
    site.clock.advance(60 * 60 * 24)
    async with await site.sign_in("admin") as later:
        assert [one["login"] for one in await listed(later)] == ["admin"]


@pytest.mark.parametrize("id_", ["0", "zz" * 8, "00" * 7, "00" * 8, "00" * 32, "-" * 16, "%00", "é" * 8])
async def test_no_such_sign_in_is_not_found(admin: httpx.AsyncClient, id_: str) -> None:
    assert (await admin.delete(f"{SESSIONS}/{id_}")).status_code == 404
    answer = await admin.get(SESSIONS, params={"cursor": id_})
    assert (answer.status_code, answer.json()["code"]) == (422, "web.cursor")
