"""Looks: a durable row before the first byte, and an end within seconds of revocation or expiry (I7)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from config.errors import Kind, TiergateError
from gateway.access.ids import hash_of
from gateway.access.keys import ensure_keys
from gateway.access.looks import Look
from gateway.access.media_sessions import IDLE_S, MediaSessions
from gateway.access.register import Registers, process_mark
from gateway.web.compose import make_services
from storage.catalog import cameras, grants, people, places, register, sessions
from storage.catalog.cameras import NewCamera, change_camera, create_camera
from storage.catalog.engine import Catalog
from storage.catalog.register import RegisterRow
from tests.gateway.web.site import REGION, Site, site_in
from tiering.access import Function, Principal


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        yield made


def camera(site: Site, number: int = 1) -> str:
    new = NewCamera("东门", REGION, (("main", f"rtsp://10.0.0.{number}/a", None),), sharing="departments")
    return site.catalog.write(lambda c: create_camera(c, new, "community", 32, site.now_ms())).id


def person(site: Site, *roles: str) -> Principal:
    id_ = site.user("li", roles)
    return principal(site, id_)


def principal(site: Site, id_: str) -> Principal:
    of_user = site.services.principals.of_user
    return site.catalog.read(lambda c: of_user(c, people.users(c, [id_])[id_], None, site.now_ms()))


def rows(site: Site) -> list[RegisterRow]:
    return site.catalog.read(lambda c: register.rows(c))


async def ended(look: Look) -> str | None:
    async with asyncio.timeout(10):
        await look.ended.wait()
    return look.end_reason


async def test_the_row_stands_before_the_first_byte_and_closes_with_what_was_sent(site: Site) -> None:
    id_, who = camera(site), person(site, "operator")
    async with site.services.looks.open(who, Function.LIVE, id_, reason="值班", client="10.0.0.7") as look:
        (row,) = rows(site)
        assert (row.person, row.unit, row.camera_id, row.function) == ("Li", "测试社区", id_, "live")
        assert row.closed_ms is None and row.id == look.register_id
        look.add_bytes(700)
        look.add_bytes(77)
    (row,) = rows(site)
    assert (row.bytes, row.result) == (777, "ended") and row.closed_ms is not None


async def test_what_may_not_be_looked_at_leaves_no_row(site: Site) -> None:
    id_ = camera(site)
    for roles, kind in (((), Kind.NOT_FOUND), (("system_admin",), Kind.FORBIDDEN)):
        who = Principal("user", "x", "x", "x", "x", roles=frozenset(roles))
        with pytest.raises(TiergateError) as refused:
            async with site.services.looks.open(who, Function.LIVE, id_):
                pass
        assert refused.value.kind is kind
    assert rows(site) == []


@pytest.mark.parametrize(
    ("case_no", "reason"), [(None, "张三：东门停车处"), ("", "张三：东门停车处"), ("REQ-12", ""), ("REQ-12", " 张三  ")]
)
async def test_a_person_concerned_is_shown_nothing_without_their_request_on_record(
    site: Site, case_no: str | None, reason: str
) -> None:
    """Order 799 art. 21."""
    id_, who, looks = camera(site), person(site, "operator"), site.services.looks
    footage = {"from_ms": 0, "to_ms": 60_000, "purpose": "person_request"}
    with pytest.raises(TiergateError) as refused:
        await looks.begin(who, Function.PLAYBACK, id_, case_no=case_no, reason=reason, **footage)  # type: ignore[arg-type]  # by name
    assert (refused.value.kind, refused.value.reason.code) == (Kind.INVALID, "access.request_record")
    assert rows(site) == []
    await looks.begin(who, Function.PLAYBACK, id_, case_no="REQ-12", reason="张三：东门停车处", **footage)  # type: ignore[arg-type]  # as above
    assert [(r.purpose, r.case_no) for r in rows(site)] == [("person_request", "REQ-12")]


@pytest.mark.fault("S16")
@pytest.mark.parametrize("how", ["disable", "remove", "deny", "sign_out"])
async def test_revocation_by_another_process_ends_a_running_look(site: Site, how: str) -> None:
    id_ = camera(site)
    user_id = site.user("li", ("operator",))
    other = Catalog(site.settings.catalog_url)

    def sign_in(connection: Connection) -> Principal:
        secret, _ = site.services.sessions.start(connection, user_id=user_id)
        return site.services.principals.by_session(connection, hash_of(secret), site.now_ms())

    who = site.catalog.write(sign_in)

    def revoke(connection: Connection) -> None:
        if how == "disable":
            people.change_user(connection, user_id, {"disabled_ms": 1})
        elif how == "remove":
            cameras.remove_camera(connection, id_, site.now_ms())
        elif how == "sign_out":
            sessions.end_session(connection, bytes.fromhex(who.session or ""), site.now_ms())
        else:
            value = {"effect": "deny", "resources": {"cameras": [id_]}, "functions": ["live"], "conditions": {}}
            grants.add_grant(connection, grants.GrantRow("g", "role", "operator", value, 1, "admin"))

    try:
        async with site.running(), site.services.looks.open(who, Function.LIVE, id_) as look:
            other.write(revoke)
            assert await ended(look) == "revoked" and look.reason is not None
    finally:
        other.close()
    assert rows(site)[0].result == "revoked"


@pytest.mark.fault("S16")
async def test_expiry_ends_a_running_look(site: Site) -> None:
    id_, until_ms = camera(site), site.now_ms() + 3_000
    value = {
        "effect": "allow",
        "resources": {"cameras": [id_]},
        "functions": ["live"],
        "conditions": {"valid_to_ms": until_ms},
    }
    user_id = site.user("li")
    site.catalog.write(lambda c: grants.add_grant(c, grants.GrantRow("g", "user", user_id, value, 1, "admin")))
    who = principal(site, user_id)
    async with site.running(), site.services.looks.open(who, Function.LIVE, id_) as look:
        assert look.constraints.until_ms == until_ms
        site.clock.advance(4)
        assert await ended(look) == "expired"


async def test_a_posting_ends_what_the_other_unit_may_not_and_the_register_names_both(site: Site) -> None:
    id_, who = camera(site), person(site, "operator")
    home = {"effect": "allow", "resources": {"cameras": [id_]}, "functions": ["live"], "conditions": {}}
    site.catalog.write(lambda c: places.add_department(c, "D1", "教育局", REGION, 1))
    site.catalog.write(lambda c: places.add_department(c, "D2", "应急局", REGION, 1))
    site.catalog.write(lambda c: grants.add_grant(c, grants.GrantRow("g", "department", "D2", home, 1, "admin")))
    until_ms = site.now_ms() + 60_000

    def post(unit: str) -> None:
        values = {"posted_to": unit, "posted_until_ms": until_ms}
        site.catalog.write(lambda c: people.change_user(c, who.id, values))
        site.services.watch.bump()

    async with site.running(), site.services.looks.open(who, Function.LIVE, id_) as look:
        post("D1")
        assert await ended(look) == "revoked"
    post("D2")
    posted = principal(site, who.id)
    async with site.services.looks.open(posted, Function.LIVE, id_):
        pass
    with pytest.raises(TiergateError) as refused:
        async with site.services.looks.open(posted, Function.PLAYBACK, id_, from_ms=1, to_ms=2):
            raise AssertionError("a picture that the unit may not see")
    assert refused.value.reason.code == "access.posting_lacks"
    assert {row.unit for row in rows(site)} == {who.unit, f"{who.unit} → 应急局"}
    site.clock.advance(60)
    assert principal(site, who.id) == who


async def test_an_unrelated_change_ends_nothing(site: Site) -> None:
    id_, who = camera(site), person(site, "operator")
    async with site.services.looks.open(who, Function.LIVE, id_) as look:
        await site.services.write(lambda c: change_camera(c, id_, {"name": "西门"}, site.now_ms()))
        await site.services.looks.review()
        assert not look.ended.is_set()


class Broken:
    """A catalog whose writes fail, as on a full disk."""

    def __init__(self, real: Catalog) -> None:
        self.real = real
        self.broken = True

    async def awrite(self, change: Any) -> Any:
        if self.broken:
            raise OperationalError("INSERT", {}, Exception("disk I/O error"))
        return await self.real.awrite(change)


class Late:
    """A catalog whose first write is done, and whose answer to it never comes."""

    def __init__(self, real: Catalog) -> None:
        self.real = real
        self.written = asyncio.Event()

    async def awrite(self, change: Any) -> Any:
        value = await self.real.awrite(change)
        if not self.written.is_set():
            self.written.set()
            await asyncio.Event().wait()
        return value


@pytest.mark.fault("S19")
async def test_without_the_catalog_the_journal_and_without_the_journal_no_picture(site: Site) -> None:
    id_, who = camera(site), person(site, "operator")
    away = Broken(site.catalog)
    registers = Registers(away, site.clock, site.settings.paths.run_dir, "web")  # type: ignore[arg-type]  # the part that writes
    site.services.looks._registers = registers
    async with site.services.looks.open(who, Function.LIVE, id_) as look:
        assert rows(site) == []
        journal = next(site.settings.paths.run_dir.glob("register-web-*.journal"))
        assert json.loads(journal.read_text())["open"]["id"] == look.register_id
        assert journal.stat().st_mode & 0o777 == 0o600
        look.add_bytes(5)
    away.broken = False
    await registers.replay(journal)
    (row,) = rows(site)
    assert (row.id, row.bytes, row.result) == (look.register_id, 5, "ended") and not journal.exists()
    away.broken = True
    registers._journal = site.settings.paths.run_dir / "missing" / "x.journal"
    with pytest.raises(TiergateError) as refused:
        async with site.services.looks.open(who, Function.LIVE, id_):
            raise AssertionError("a picture without a register entry")
    assert refused.value.kind is Kind.UNAVAILABLE and refused.value.reason.code == "access.register_away"


async def test_rows_of_a_dead_process_are_closed_and_its_journal_is_replayed(site: Site) -> None:
    id_, who = camera(site), person(site, "operator")
    dead = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
    await dead.wait()
    mark = f"web-1:{dead.pid}:12345"

    def row(number: int, process: str) -> RegisterRow:
        return RegisterRow(
            f"R{number}", 1, "李", "x", who.as_json(), "daily_watch", "", id_, "main", "live",
            None, None, None, None, None, process,
        )  # fmt: skip

    mine = process_mark("web", os.getpid())
    site.catalog.write(lambda c: register.open_row(c, row(1, mark)))
    site.catalog.write(lambda c: register.open_row(c, row(2, mine)))
    journal = site.settings.paths.run_dir / ("register-" + mark.replace(":", "-") + ".journal")
    journal.write_text(json.dumps({"open": asdict(row(3, mark))}) + "\n" + '{"open": {"id": "torn')
    await site.services.registers.recover()
    assert {r.id: r.result for r in rows(site)} == {"R1": "crashed", "R2": None, "R3": "crashed"}
    assert not journal.exists()


# --- so many at once -------------------------------------------------------------------------------------------------

MEDIA = ["live", "playback", "snapshot", "export", "ptz"]


def limited(site: Site, id_: str, most: int) -> Principal:
    """A person whose one grant gives a camera, `most` pictures at once."""
    user_id = site.user("wang")
    value = {
        "effect": "allow",
        "resources": {"cameras": [id_]},
        "functions": MEDIA,
        "conditions": {"max_streams": most},
    }
    site.catalog.write(lambda c: grants.add_grant(c, grants.GrantRow("g", "user", user_id, value, 1, "admin")))
    return site.catalog.read(
        lambda c: site.services.principals.of_user(c, people.users(c, [user_id])[user_id], None, site.now_ms())
    )


def open_rows(site: Site) -> list[RegisterRow]:
    return site.catalog.read(lambda c: register.open_rows(c))


@pytest.mark.fault("S23")
async def test_two_processes_that_open_at_once_never_open_more_than_the_grant_allows(
    site: Site, counted: Callable[[object], None]
) -> None:
    """Each process counts in the transaction of its own row, so that the last place is had once."""
    most, asked, rounds, refused = 5, 24, 6, 0
    id_ = camera(site)
    who = limited(site, id_, most)
    other = Catalog(site.settings.catalog_url)
    second = make_services(site.settings, site.clock, other, ensure_keys(site.settings), "web-2")
    try:
        for _ in range(rounds):
            async with contextlib.AsyncExitStack() as stack:

                async def start(number: int, stack: contextlib.AsyncExitStack = stack) -> str:
                    services = (site.services, second)[number % 2]
                    try:
                        await stack.enter_async_context(services.looks.open(who, Function.LIVE, id_))
                    except TiergateError as error:
                        assert error.kind is Kind.RATE_LIMITED
                        return error.reason.code
                    return "open"

                answers = Counter(await asyncio.gather(*(start(n) for n in range(asked))))
                assert answers == {"open": most, "access.too_many_open": asked - most}
                assert len(open_rows(site)) == most
                refused += answers["access.too_many_open"]
            assert open_rows(site) == []
    finally:
        other.close()
    counted(f"{rounds} × {asked} pictures asked of two processes at once, {most} opened each time, {refused} refused")


async def test_live_recorded_and_exported_pictures_share_the_places_and_a_still_takes_none(site: Site) -> None:
    id_ = camera(site)
    who, looks, paths = limited(site, id_, 2), site.services.looks, site.services.media_sessions
    now_ms = site.now_ms()
    footage: Any = {"from_ms": now_ms - 60_000, "to_ms": now_ms}
    async with looks.open(who, Function.LIVE, id_) as watched:
        secret, played = await paths.open(who, Function.PLAYBACK, id_, **footage)
        for function in (Function.LIVE, Function.EXPORT, Function.PLAYBACK):
            with pytest.raises(TiergateError) as refused:
                await looks.begin(who, function, id_, **({} if function is Function.LIVE else footage))
            assert (refused.value.kind, refused.value.reason.code) == (Kind.RATE_LIMITED, "access.too_many_open")
        for function in (Function.SNAPSHOT, Function.PTZ):
            async with looks.open(who, function, id_):
                pass
        # The count refuses a new picture; it cuts none that runs.
        site.services.watch.bump()
        await looks.review()
        assert not watched.ended.is_set() and not played.ended.is_set()
        await paths.end(secret)
        async with looks.open(who, Function.EXPORT, id_, **footage):
            assert len(open_rows(site)) == 2


async def test_each_person_of_a_department_and_each_grant_has_its_own_places(site: Site) -> None:
    first, second, department = camera(site), camera(site, 2), "01K00000000000000000000009"
    users = [site.user(login) for login in ("wang", "zhao")]

    def give(connection: Connection) -> None:
        places.add_department(connection, department, "教育局", REGION, 1)
        for user_id in users:
            people.change_user(connection, user_id, {"department_id": department})
        for name, id_ in (("g1", first), ("g2", second)):
            value = {"effect": "allow", "resources": {"cameras": [id_]}, "functions": MEDIA}
            row = grants.GrantRow(
                name, "department", department, value | {"conditions": {"max_streams": 1}}, 1, "admin"
            )
            grants.add_grant(connection, row)

    def load(connection: Connection) -> list[Principal]:
        known = people.users(connection, users)
        return [site.services.principals.of_user(connection, known[id_], None, site.now_ms()) for id_ in users]

    site.catalog.write(give)
    one, two = site.catalog.read(load)
    looks = site.services.looks
    async with (
        looks.open(one, Function.LIVE, first),
        looks.open(two, Function.LIVE, first),
        looks.open(one, Function.LIVE, second),
    ):
        for who, id_ in ((one, first), (two, first), (one, second)):
            with pytest.raises(TiergateError) as refused:
                await looks.begin(who, Function.LIVE, id_)
            assert refused.value.reason.code == "access.too_many_open"


async def test_a_caller_who_goes_away_while_the_row_is_written_keeps_no_place(site: Site) -> None:
    id_ = camera(site)
    who, late = limited(site, id_, 1), Late(site.catalog)
    site.services.looks._registers = Registers(late, site.clock, site.settings.paths.run_dir, "web")  # type: ignore[arg-type]  # the part that writes
    opening = asyncio.create_task(site.services.looks.begin(who, Function.LIVE, id_))
    await late.written.wait()
    assert len(open_rows(site)) == 1
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert [row.result for row in rows(site)] == ["error"] and open_rows(site) == []
    async with site.services.looks.open(who, Function.LIVE, id_):
        pass


async def test_without_the_catalog_nobody_can_count_and_no_limited_picture_is_opened(site: Site) -> None:
    id_ = camera(site)
    who, free = limited(site, id_, 1), person(site, "operator")
    away = Broken(site.catalog)
    site.services.looks._registers = Registers(away, site.clock, site.settings.paths.run_dir, "web")  # type: ignore[arg-type]  # the part that writes
    with pytest.raises(TiergateError) as refused:
        await site.services.looks.begin(who, Function.LIVE, id_)
    assert refused.value.reason.code == "access.register_away"
    async with site.services.looks.open(free, Function.LIVE, id_):
        pass


# --- session paths ---------------------------------------------------------------------------------------------------


async def test_a_session_path_opens_one_window_and_ends_with_the_right(site: Site) -> None:
    id_, who = camera(site), person(site, "duty")
    now_ms = site.now_ms()
    media = site.services.media_sessions
    secret, look = await media.open(who, Function.PLAYBACK, id_, from_ms=now_ms - 60_000, to_ms=now_ms)
    assert (await media.check(secret)) is look and len(secret) >= 22
    with pytest.raises(TiergateError) as unknown:
        await media.check(secret[:-1] + ("A" if secret[-1] != "A" else "B"))
    assert unknown.value.kind is Kind.NOT_FOUND
    look.add_bytes(100)
    await media.tend()
    assert rows(site)[0].bytes == 100 and rows(site)[0].closed_ms is None
    site.catalog.write(lambda c: people.change_user(c, who.id, {"disabled_ms": 1}))
    site.services.watch.bump()
    await site.services.looks.review()
    with pytest.raises(TiergateError) as over:
        await media.check(secret)
    assert over.value.kind is Kind.UNAUTHENTICATED
    await media.tend()
    assert (rows(site)[0].result, rows(site)[0].bytes) == ("revoked", 100)


@pytest.mark.fault("S21")
async def test_another_process_serves_the_same_path_under_the_same_row(site: Site, tmp_path: Path) -> None:
    id_, who = camera(site), person(site, "duty")
    now_ms = site.now_ms()
    secret, first = await site.services.media_sessions.open(
        who, Function.PLAYBACK, id_, from_ms=now_ms - 60_000, to_ms=now_ms, client="10.0.0.1"
    )
    services = site.services
    second = MediaSessions(site.catalog, site.clock, services.principals, services.looks, services.registers)
    look = await second.check(secret, "10.0.0.1")
    assert look is not first and look.register_id == first.register_id
    with pytest.raises(TiergateError):
        await second.check(secret, "10.0.0.2")
    first.add_bytes(10)
    look.add_bytes(7)
    await second.tend()
    await services.media_sessions.tend()
    site.clock.advance(4 * 3600 + 1)
    await second.tend()
    await services.media_sessions.tend()
    (row,) = rows(site)
    assert (row.bytes, row.result) == (17, "expired")


async def opened_paths(site: Site, count: int) -> list[str]:
    id_, who, now_ms = camera(site), person(site, "duty"), site.now_ms()
    secrets = []
    for _ in range(count):
        secret, look = await site.services.media_sessions.open(
            who, Function.PLAYBACK, id_, from_ms=now_ms - 60_000, to_ms=now_ms, client="127.0.0.1"
        )
        look.add_bytes(1000)
        secrets.append(secret)
    return secrets


def beside(site: Site) -> MediaSessions:
    """Another web process of the same node."""
    services = site.services
    return MediaSessions(site.catalog, site.clock, services.principals, services.looks, services.registers)


@pytest.mark.fault("S19")
async def test_a_page_of_nine_that_is_closed_is_counted_once_and_each_of_its_requests_answered(site: Site) -> None:
    secrets = await opened_paths(site, 9)
    async with site.client() as viewer:
        answers = await asyncio.gather(
            *(viewer.delete(f"/m/{secret}") for secret in secrets),
            site.services.media_sessions.tend(),  # the timer, in the middle of it
        )
    assert [answer.status_code for answer in answers if answer is not None] == [204] * 9
    assert [(row.bytes, row.result) for row in rows(site)] == [(1000, "ended")] * 9


async def test_bytes_that_could_not_be_written_down_are_written_down_later(site: Site) -> None:
    (secret,) = await opened_paths(site, 1)
    media = site.services.media_sessions
    away = Broken(site.catalog)
    away.aread = site.catalog.aread  # type: ignore[attr-defined]  # it can be read all the same
    media._catalog = away  # type: ignore[assignment]  # the parts that are used
    with pytest.raises(OperationalError):
        await media.end(secret)
    away.broken = False
    await media.tend()
    assert [(row.bytes, row.result) for row in rows(site)] == [(1000, "ended")]
    await media.tend()
    assert rows(site)[0].bytes == 1000


@pytest.mark.fault("S19")
async def test_a_viewer_who_is_done_ends_the_path_in_every_process_whichever_hears_it(site: Site) -> None:
    (secret,) = await opened_paths(site, 1)
    opener, other, third = site.services.media_sessions, beside(site), beside(site)
    first, _, last = await opener.check(secret), await other.check(secret), await third.check(secret)
    await other.end(secret)
    assert rows(site)[0].result == "ended"
    with pytest.raises(TiergateError) as gone:
        await beside(site).check(secret)
    assert gone.value.kind is Kind.NOT_FOUND
    for process, look in ((opener, first), (third, last)):
        await process.tend()
        assert look.ended.is_set()
        with pytest.raises(TiergateError):
            await process.check(secret)
    assert rows(site)[0].bytes == 1000


async def test_a_path_is_idle_when_no_process_serves_it(site: Site) -> None:
    (secret,) = await opened_paths(site, 1)
    opener, other = site.services.media_sessions, beside(site)
    look = await other.check(secret)
    for _ in range(4):
        look.add_bytes(10)
        for process in (other, opener):
            await process.tend()
        site.clock.advance(IDLE_S / 2)
        await other.check(secret)
    await opener.tend()
    assert rows(site)[0].closed_ms is None
    site.clock.advance(IDLE_S)
    await opener.tend()
    assert (rows(site)[0].bytes, rows(site)[0].result) == (1040, "ended")


async def test_a_path_whose_row_waits_in_the_journal_is_settled_after_the_row_is_there(site: Site) -> None:
    id_, who, now_ms = camera(site), person(site, "duty"), site.now_ms()
    media, away = site.services.media_sessions, Broken(site.catalog)
    registers = Registers(away, site.clock, site.settings.paths.run_dir, "web")  # type: ignore[arg-type]  # the part that writes
    site.services.looks._registers = media._registers = registers
    secret, look = await media.open(who, Function.PLAYBACK, id_, from_ms=now_ms - 60_000, to_ms=now_ms)
    look.add_bytes(9)
    away.broken = False
    await media.end(secret)
    assert rows(site) == []
    assert await registers.recover()
    await media.tend()
    assert [(row.bytes, row.result) for row in rows(site)] == [(9, "ended")]
