"""A password that is changed while somebody is being let in by it: what it was opens nothing any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.redact import Secret
from gateway.cli.offline import reset_password
from storage.audit import log as audit
from storage.catalog import people, shifts
from tests.gateway.web.site import ALL_ROLES, PASSWORD, Site, site_in

NEXT = "another good 2"
Change = Callable[[Site, str], Awaitable[None]]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        made.user("admin", ALL_ROLES)
        made.user("li", ("operator",))
        hall = made.user("hall")
        made.catalog.write(lambda c: people.change_user(c, hall, {"wall": True}))
        yield made


async def on_the_machine(site: Site, login: str) -> None:
    reset_password(site.settings, login, Secret(NEXT))


async def by_its_owner(site: Site, login: str) -> None:
    async with await site.sign_in(login) as client:
        answer = await client.post("/api/v1/session/password", json={"old": PASSWORD, "new": NEXT})
    assert answer.status_code == 204, answer.text


async def by_an_administrator(site: Site, login: str) -> None:
    await _patched(site, login, {"password": NEXT})


async def disabled(site: Site, login: str) -> None:
    await _patched(site, login, {"disabled": True})


async def _patched(site: Site, login: str, body: dict[str, Any]) -> None:
    async with await site.sign_in("admin") as client:
        answer = await client.patch(f"/api/v1/users/{_id_of(site, login)}", json=body)
    assert answer.status_code == 200, answer.text


def _id_of(site: Site, login: str) -> str:
    user = site.catalog.read(lambda c: people.user_by_login(c, login))
    assert user is not None
    return user.id


def once_found_right(site: Site, monkeypatch: pytest.MonkeyPatch, change: Change, login: str) -> None:
    """`change` comes between the moment when the password was found right and what it opens."""
    verify = site.passwords.verify

    async def then_changed(stored: str | None, password: Secret) -> bool:
        right = await verify(stored, password)
        monkeypatch.setattr(site.passwords, "verify", verify)
        await change(site, login)
        return right

    monkeypatch.setattr(site.passwords, "verify", then_changed)


def refusals(site: Site) -> list[tuple[str, str]]:
    entries = site.catalog.read(lambda c: list(audit.entries(c)))
    return [(e.action, e.subject) for e in entries if e.action.endswith(".refuse")]


@pytest.mark.parametrize(
    ("change", "login"),
    [
        (on_the_machine, "li"),
        (by_its_owner, "li"),
        (by_an_administrator, "li"),
        (by_an_administrator, "hall"),
        (disabled, "li"),
    ],
)
async def test_a_sign_in_on_its_way_does_not_outlive_the_change_of_its_password(
    site: Site, monkeypatch: pytest.MonkeyPatch, change: Change, login: str
) -> None:
    once_found_right(site, monkeypatch, change, login)
    async with site.client() as client:
        answer = await client.post("/api/v1/session", json={"login": login, "password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (401, "access.bad_login")
    assert refusals(site) == [("session.refuse", login)]


async def test_nobody_is_on_duty_at_a_wall_by_a_password_that_was_changed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await site.sign_in("hall") as wall:
        once_found_right(site, monkeypatch, on_the_machine, "li")
        answer = await wall.post("/api/v1/session/shift", json={"login": "li", "password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (403, "access.bad_login")
    assert refusals(site) == [("shift.refuse", "li")]
    assert site.catalog.read(lambda c: shifts.listed(c, running_ms=site.now_ms())) == []


async def test_a_password_that_was_reset_is_not_replaced_by_who_knows_the_one_before(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await site.sign_in("li") as stranger:
        once_found_right(site, monkeypatch, on_the_machine, "li")
        taken = await stranger.post("/api/v1/session/password", json={"old": PASSWORD, "new": "a stranger's own 3"})
    assert (taken.status_code, taken.json()["code"]) == (403, "access.bad_login")
    async with site.client() as client:
        answer = await client.post("/api/v1/session", json={"login": "li", "password": NEXT})
    assert answer.status_code == 200, answer.text
