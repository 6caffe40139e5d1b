"""Shared walls (R38): the wall signs in, a person signs on, and every look is that person's."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.errors import TiergateError
from config.units import HOUR_MS, month_of_ms
from gateway.access import approvals
from gateway.access.ids import hash_of
from gateway.access.looks import Look
from gateway.access.passwords import LoginLimit
from storage.audit import log as audit
from storage.catalog import grants, people, places, register, sessions
from storage.catalog import shifts as shift_rows
from storage.use_view import report
from tests.gateway.web.site import ALL_ROLES, PASSWORD, REGION, Site, add_camera, site_in
from tiering.access import Function, Principal

SHIFT = "/api/v1/session/shift"


class Hall:
    """A wall that is signed in, two operators, an administrator, a camera."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.li, self.wang = (site.user(login, ("operator",)) for login in ("li", "wang"))
        self.camera = ""
        self.wall_id = ""
        self.secret = ""
        self.admin: httpx.AsyncClient
        self.wall: httpx.AsyncClient

    async def sign_on(self, login: str, hours: int = 8) -> dict[str, Any]:
        answer = await self.wall.post(SHIFT, json={"login": login, "password": PASSWORD, "hours": hours})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def principal(self) -> Principal:
        return await self.site.services.principals.of_credential(self.secret)

    def looking(
        self, who: Principal, function: Function = Function.LIVE
    ) -> contextlib.AbstractAsyncContextManager[Look]:
        return self.site.services.looks.open(who, function, self.camera)

    def rows(self) -> list[register.RegisterRow]:
        return self.site.catalog.read(lambda c: register.rows(c))

    def acts(self) -> list[tuple[str, str, Any]]:
        found = self.site.catalog.read(lambda c: list(audit.entries(c)))
        return [(e.actor, e.action, e.details.get("why")) for e in found if e.action.startswith("shift.")]

    def change(self, values: dict[str, Any], user_id: str | None = None) -> None:
        self.site.catalog.write(lambda c: people.change_user(c, user_id or self.li, values))
        self.site.services.watch.bump()


@contextlib.asynccontextmanager
async def opened(site: Site) -> AsyncIterator[Hall]:
    made = Hall(site)
    async with await site.sign_in("admin") as made.admin:
        made.camera = await add_camera(made.admin, 1)
        body = {"login": "hall", "name": "指挥大厅大屏", "roles": ["operator"], "password": PASSWORD, "wall": True}
        answer = await made.admin.post("/api/v1/users", json=body)
        assert answer.status_code == 201 and answer.json()["wall"] and not answer.json()["must_change"], answer.text
        made.wall_id = answer.json()["id"]
        async with await site.sign_in("hall") as made.wall:
            made.secret = made.wall.headers["authorization"].removeprefix("Bearer ")
            yield made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        made.user("admin", ALL_ROLES)
        yield made


@pytest.fixture
async def hall(site: Site) -> AsyncIterator[Hall]:
    async with opened(site) as made:
        yield made


async def test_a_wall_where_nobody_is_on_duty_shows_nothing_and_says_so(hall: Hall) -> None:
    told = (await hall.wall.get("/api/v1/session")).json()
    assert told["wall"] == {"login": "hall", "name": "指挥大厅大屏", "until_ms": None}
    assert (told["functions"], told["roles"]) == ([], [])
    of_camera = f"/api/v1/cameras/{hall.camera}"
    for path in ("/api/v1/cameras", of_camera, f"{of_camera}/timeline?from=0&to=1", "/api/v1/leases", "/api/v1/events"):
        answer = await hall.wall.get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "access.nobody_on_duty"), path
        assert "口岸" not in answer.text
        assert "上岗" in answer.json()["zh"]
    who = await hall.principal()
    for function in Function:
        with pytest.raises(TiergateError) as refused:
            await hall.site.services.looks.begin(who, function, hall.camera)
        assert refused.value.reason.code == "access.nobody_on_duty", function
    assert hall.rows() == []


async def test_the_register_the_report_and_the_audit_name_the_person_and_the_wall(hall: Hall) -> None:
    told = await hall.sign_on("li")
    assert (told["login"], told["name"]) == ("li", "Li")
    assert told["wall"]["until_ms"] == hall.site.now_ms() + 8 * HOUR_MS
    assert set(told["functions"]) == {"live", "playback", "ptz", "status", "catalog"}
    assert told["watermark"] == {"text": "测试社区 Li", "always": True}
    assert [c["id"] for c in (await hall.wall.get("/api/v1/cameras")).json()["items"]] == [hall.camera]
    async with hall.looking(await hall.principal()):
        pass
    hall.site.user("auditor", ("audit_admin",))
    async with await hall.site.sign_in("auditor") as auditor:
        (row,) = (await auditor.get("/api/v1/register")).json()["items"]
        assert (row["person"], row["login"], row["wall"]) == ("Li", "li", "指挥大厅大屏")
        for actor in ("user:li", "wall:hall", "user:li wall:hall"):
            found = (await auditor.get("/api/v1/audit", params={"actor": actor, "action": "shift."})).json()["items"]
            assert [e["actor"] for e in found] == ["user:li wall:hall"], actor
        assert (await auditor.get("/api/v1/audit", params={"actor": "user:l", "action": "shift."})).json()[
            "items"
        ] == []
    month = month_of_ms(hall.site.now_ms())
    (line,) = hall.site.catalog.read(lambda c: report(c, month, hall.site.now_ms()))["items"]
    assert (line["viewer"], line["looks"], line["persons"]) == ("wall", 1, 1)


async def test_whoever_comes_after_is_on_duty_alone_and_what_was_looked_at_before_ends(hall: Hall) -> None:
    await hall.sign_on("li")
    async with hall.site.running(), hall.looking(await hall.principal()) as look:
        await hall.sign_on("wang")
        await hall.site.services.looks.review()
        assert look.end_reason == "revoked"
        now = await hall.principal()
        assert (now.login, now.wall and now.wall.login) == ("wang", "hall")
        async with hall.looking(now) as after:
            await hall.site.services.looks.review()
            assert not after.ended.is_set()
    assert sorted((r.person, r.result) for r in hall.rows()) == [("Li", "revoked"), ("Wang", "ended")]
    assert hall.acts() == [
        ("user:li wall:hall", "shift.start", None),
        ("user:wang wall:hall", "shift.end", "replaced"),
        ("user:wang wall:hall", "shift.start", None),
    ]


async def _sign_off(hall: Hall) -> None:
    assert (await hall.wall.delete(SHIFT)).status_code == 204


async def _ended_by_an_administrator(hall: Hall) -> None:
    (one,) = (await hall.admin.get("/api/v1/shifts", params={"running": True})).json()["items"]
    assert (await hall.wall.delete(f"/api/v1/shifts/{one['id']}")).json()["code"] == "access.wall_looks"
    answer = await hall.admin.delete(f"/api/v1/shifts/{one['id']}")
    assert (answer.status_code, answer.json()["state"]) == (200, "ended")


async def _person_disabled(hall: Hall) -> None:
    assert (await hall.admin.patch(f"/api/v1/users/{hall.li}", json={"disabled": True})).status_code == 200
    assert (await hall.admin.patch(f"/api/v1/users/{hall.li}", json={"disabled": False})).status_code == 200


async def _disabled_by_another_way(hall: Hall) -> None:
    hall.change({"disabled_ms": 1})


async def _password_reset(hall: Hall) -> None:
    answer = await hall.admin.patch(f"/api/v1/users/{hall.li}", json={"password": "another password 2"})
    assert answer.status_code == 200


async def _own_password(hall: Hall) -> None:
    async with await hall.site.sign_in("li") as li:
        body = {"old": PASSWORD, "new": "another password 2"}
        assert (await li.post("/api/v1/session/password", json=body)).status_code == 204


async def _roles_taken(hall: Hall) -> None:
    assert (await hall.admin.patch(f"/api/v1/users/{hall.li}", json={"roles": []})).status_code == 200


async def _denied(hall: Hall) -> None:
    value = {"effect": "deny", "resources": {"cameras": [hall.camera]}, "functions": ["live"], "conditions": {}}
    row = grants.GrantRow("g", "user", hall.li, value, 1, "admin")
    await hall.site.services.write(lambda c: grants.add_grant(c, row))


async def _posted_elsewhere(hall: Hall) -> None:
    hall.site.catalog.write(lambda c: places.add_department(c, "D1", "教育局", REGION, 1))
    hall.change({"posted_to": "D1", "posted_until_ms": hall.site.now_ms() + HOUR_MS})


async def _wall_denied(hall: Hall) -> None:
    assert (await hall.admin.patch(f"/api/v1/users/{hall.wall_id}", json={"roles": []})).status_code == 200


async def _wall_disabled(hall: Hall) -> None:
    assert (await hall.admin.patch(f"/api/v1/users/{hall.wall_id}", json={"disabled": True})).status_code == 200


async def _wall_signed_out(hall: Hall) -> None:
    assert (await hall.wall.delete("/api/v1/session")).status_code == 204


ENDS = [
    _sign_off, _ended_by_an_administrator, _person_disabled, _disabled_by_another_way, _password_reset, _own_password,
    _roles_taken, _denied, _posted_elsewhere, _wall_denied, _wall_disabled, _wall_signed_out,
]  # fmt: skip
#: After these nobody is on duty any more; after the others the person is, and may less.
OVER = {_sign_off, _ended_by_an_administrator, _person_disabled, _password_reset, _own_password}


@pytest.mark.fault("S16")
@pytest.mark.parametrize("end", ENDS, ids=lambda f: f.__name__.strip("_"))
async def test_whatever_ends_the_person_or_the_wall_ends_what_is_looked_at(
    hall: Hall, end: Callable[[Hall], Any]
) -> None:
    await hall.sign_on("li")
    who = await hall.principal()
    async with hall.looking(who) as look:
        secret, path = await hall.site.services.media_sessions.open(
            who, Function.PLAYBACK, hall.camera, from_ms=0, to_ms=60_000
        )
        await hall.site.services.looks.review()
        assert not look.ended.is_set() and not path.ended.is_set()
        await end(hall)
        await hall.site.services.looks.review()
        assert look.end_reason == "revoked"
        if end is not _denied:  # that one speaks of live pictures alone
            assert path.end_reason == "revoked"
            with pytest.raises(TiergateError):
                await hall.site.services.media_sessions.check(secret)
    if end in OVER:
        answer = await hall.wall.get("/api/v1/cameras")
        assert answer.json()["code"] == "access.nobody_on_duty"
        assert (await hall.admin.get("/api/v1/shifts", params={"running": True})).json()["items"] == []


@pytest.mark.fault("S16")
async def test_a_shift_ends_on_time_although_nothing_is_written(hall: Hall) -> None:
    await hall.sign_on("li", 1)
    async with hall.looking(await hall.principal()) as look:
        hall.site.clock.advance(3599)
        await hall.site.services.looks.review()
        assert not look.ended.is_set() and (await hall.wall.get("/api/v1/cameras")).status_code == 200
        hall.site.clock.advance(1)
        await hall.site.services.looks.review()
        assert look.end_reason == "expired"
    assert (await hall.wall.get("/api/v1/cameras")).json()["code"] == "access.nobody_on_duty"
    (one,) = (await hall.admin.get("/api/v1/shifts")).json()["items"]
    assert (one["state"], one["person"], one["wall"]) == ("over", "Li", "指挥大厅大屏")


async def test_a_shift_is_no_longer_than_the_walls_own_sign_in_nor_than_twelve_hours(hall: Hall) -> None:
    too_long = {"login": "li", "password": PASSWORD, "hours": 13}
    assert (await hall.wall.post(SHIFT, json=too_long)).status_code == 422
    began_ms = hall.site.now_ms()
    hall.site.clock.advance(6 * 3600)
    told = await hall.sign_on("li", 12)
    assert told["wall"]["until_ms"] == began_ms + hall.site.settings.web.session_hours * HOUR_MS


async def test_who_may_sign_on_is_a_named_person_with_a_password_of_their_own(hall: Hall) -> None:
    async def refused(login: str, password: str = PASSWORD) -> str:
        answer = await hall.wall.post(SHIFT, json={"login": login, "password": password})
        assert answer.status_code == 403, answer.text
        return str(answer.json()["code"])

    hall.change({"must_change": True}, hall.wang)
    assert await refused("li", "wrong") == "access.bad_login"
    assert await refused("nobody") == "access.bad_login"
    assert await refused("hall") == "access.bad_login"  # a wall is nobody
    assert await refused("wang") == "access.must_change"
    hall.change({"disabled_ms": 1}, hall.wang)
    assert await refused("wang") == "access.bad_login"
    assert (await hall.principal()).wall is not None and hall.acts()[-1][1] == "shift.refuse"
    async with await hall.site.sign_in("li") as li:
        answer = await li.post(SHIFT, json={"login": "li", "password": PASSWORD})
        assert (answer.status_code, answer.json()["code"]) == (409, "access.not_a_wall")
        assert (await li.delete(SHIFT)).json()["code"] == "access.not_a_wall"
    assert (await hall.wall.delete(SHIFT)).json()["code"] == "access.nobody_on_duty"


@pytest.mark.fault("S22")
async def test_tries_at_a_wall_and_at_the_door_are_counted_together(hall: Hall) -> None:
    hall.site.services.login_limit = LoginLimit(hall.site.clock)
    for turn in range(10):
        body = {"login": "li", "password": "wrong"}
        answer = await (hall.wall.post(SHIFT, json=body) if turn % 2 else hall.wall.post("/api/v1/session", json=body))
        assert answer.json()["code"] == "access.bad_login"
    answer = await hall.wall.post(SHIFT, json={"login": "li", "password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (429, "access.too_many_tries")


async def test_a_wall_looks_and_does_nothing_else_whoever_is_on_duty(hall: Hall) -> None:
    hall.change({"roles": list(ALL_ROLES)})
    hall.change({"roles": ["duty"]}, hall.wall_id)
    await hall.sign_on("li")
    who = await hall.principal()
    for function in (Function.SNAPSHOT, Function.EXPORT, Function.TALK, Function.HOLD, Function.MANAGE):
        with pytest.raises(TiergateError) as refused:
            await hall.site.services.looks.begin(who, function, hall.camera)
        assert refused.value.reason.code == "access.wall_function"
    for method, path in (
        ("GET", "/api/v1/users"),
        ("POST", "/api/v1/tokens"),
        ("POST", "/api/v1/holds"),
        ("POST", "/api/v1/pulls"),
        ("POST", "/api/v1/break-glass/open"),
        ("POST", "/api/v1/approvals/01K0000000000000000000000Z"),
        ("POST", "/api/v1/session/password"),
        ("GET", "/api/v1/audit"),
    ):
        answer = await hall.wall.request(method, path, json={})
        assert (answer.status_code, answer.json()["code"]) == (403, "access.wall_looks"), path
    assert (await hall.wall.get("/api/v1/leases")).status_code == 200  # that somebody above watches is said here too


async def test_at_a_wall_and_by_their_own_sign_in_somebody_is_one_person(hall: Hall) -> None:
    services, now_ms = hall.site.services, hall.site.now_ms()
    hall.change({"roles": ["duty"]})
    await hall.sign_on("li")
    at_wall = await hall.principal()
    alone = hall.site.catalog.read(
        lambda c: services.principals.of_user(c, people.require_user(c, hall.li), None, now_ms)
    )

    def ask_and_give(connection: Any) -> None:
        asked = approvals.ask(connection, services.clock, alone, "hold.add", "h", {}, "a case", "127.0.0.1")
        approvals.decide(connection, services.principals, at_wall, asked.id, True, "", now_ms)

    with pytest.raises(TiergateError) as refused:
        hall.site.catalog.write(ask_and_give)
    assert refused.value.reason.code == "approval.own"


async def test_pictures_at_once_are_counted_over_everybody_at_a_wall(hall: Hall) -> None:
    value = {
        "effect": "allow", "resources": {"cameras": [hall.camera]}, "functions": ["live"],
        "conditions": {"max_streams": 1},
    }  # fmt: skip
    hall.change({"roles": []}, hall.wall_id)
    row = grants.GrantRow("g", "user", hall.wall_id, value, 1, "admin")
    await hall.site.services.write(lambda c: grants.add_grant(c, row))
    await hall.sign_on("li")
    async with hall.looking(await hall.principal()), await hall.site.sign_in("hall") as second:
        answer = await second.post(SHIFT, json={"login": "wang", "password": PASSWORD})
        assert answer.status_code == 201
        secret = second.headers["authorization"].removeprefix("Bearer ")
        other = await hall.site.services.principals.of_credential(secret)
        with pytest.raises(TiergateError) as refused:
            await hall.site.services.looks.begin(other, Function.LIVE, hall.camera)
        assert refused.value.reason.code == "access.too_many_open"
        (account,) = [u for u in (await hall.admin.get("/api/v1/users")).json()["items"] if u["wall"]]
        assert sorted(account["on_duty"]) == ["Li", "Wang"]


async def test_the_account_of_a_wall_is_no_persons(hall: Hall) -> None:
    async def code(answer: httpx.Response) -> tuple[int, str]:
        return answer.status_code, answer.json()["code"]

    body = {"login": "w2", "name": "大屏", "roles": ["audit_admin"], "password": PASSWORD, "wall": True}
    assert await code(await hall.admin.post("/api/v1/users", json=body)) == (409, "access.wall_account")
    long = body | {"login": "w" * 41, "roles": []}
    assert await code(await hall.admin.post("/api/v1/users", json=long)) == (422, "access.wall_login")
    path = f"/api/v1/users/{hall.wall_id}"
    admin = await hall.admin.patch(path, json={"roles": ["system_admin"]})
    assert await code(admin) == (409, "access.wall_account")
    posted = {"posted_to": "D1", "posted_until": hall.site.now_ms() + HOUR_MS}
    assert await code(await hall.admin.patch(path, json=posted)) == (409, "access.wall_account")
    assert (await hall.admin.patch(path, json={"wall": False})).status_code == 422  # for good
    reset = await hall.admin.patch(path, json={"password": "another password 2"})
    assert reset.status_code == 200 and not reset.json()["must_change"]
    pull = {"mechanism": "emergency", "cameras": [hall.camera], "case": "A-1", "reason": "smoke at the gate"}
    named = await hall.admin.post("/api/v1/pulls", json=pull | {"persons": ["hall"]})
    assert await code(named) == (422, "tier.approver_unknown")
    alone = hall.site.catalog.read(
        lambda c: hall.site.services.principals.of_user(c, people.require_user(c, hall.wall_id), None, 1)
    )
    assert alone.wall is not None and alone.wall.until_ms is None and not alone.roles  # without a sign-in as with one


async def test_who_is_on_duty_stands_with_the_sign_in_that_they_are_on(hall: Hall) -> None:
    await hall.sign_on("li")
    async with await hall.site.sign_in("hall") as second:
        assert (await second.get("/api/v1/cameras")).json()["code"] == "access.nobody_on_duty"
    now_ms = hall.site.now_ms()
    hall.site.catalog.write(lambda c: sessions.end_session(c, hash_of(hall.secret), now_ms))
    assert hall.site.catalog.read(lambda c: shift_rows.listed(c, running_ms=now_ms)) == []
