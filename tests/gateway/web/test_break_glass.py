"""Break-glass: sealed by one, opened by another, loud, over by itself, reviewed by a third."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from config.units import HOUR_MS
from gateway.access.break_glass import fresh_seal
from gateway.ops import doctor
from storage.audit import log as audit
from storage.catalog import people
from tests.gateway.web.site import ALL_ROLES, Site, add_camera, site_in
from tiering.access import Function, Principal

DUTY_ONLY = "/api/v1/retention/forecast"
WHY = {"reason": "nobody answers, smoke in the market"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        made.user("admin", ALL_ROLES)
        made.user("auditor", ("audit_admin",))
        made.user("li")
        yield made


def told(site: Site) -> list[str]:
    found = doctor.examine(site.settings, site.clock, wanted=lambda name: name == "broken_glass")
    return [f"{one.level} {one.reason.code}" for one in found if one.check == "break_glass"]


def principal(site: Site, login: str) -> Principal:
    of_user = site.services.principals.of_user

    def read(connection: Connection) -> Principal:
        user = people.user_by_login(connection, login)
        assert user is not None
        return of_user(connection, user, None, site.now_ms())

    return site.catalog.read(read)


async def test_a_seal_is_opened_once_is_loud_and_is_reviewed_by_somebody_else(site: Site) -> None:
    async with await site.sign_in("admin") as admin, await site.sign_in("auditor") as auditor:
        assert (await auditor.post("/api/v1/break-glass", json={"hours": 2})).status_code == 403
        assert (await admin.post("/api/v1/break-glass", json={"hours": 13})).status_code == 422
        made = (await admin.post("/api/v1/break-glass", json={"hours": 2})).json()
        listed = (await auditor.get("/api/v1/break-glass")).json()["items"]
        assert [one["state"] for one in listed] == ["sealed"] and made["seal"] not in str(listed)
        assert told(site) == []
        async with await site.sign_in("li") as li:
            assert (await li.get(DUTY_ONLY)).status_code == 403
            wrong = await li.post("/api/v1/break-glass/open", json={"seal": fresh_seal(), **WHY})
            assert (wrong.status_code, wrong.json()["code"]) == (403, "access.seal_wrong")
            assert (await li.post("/api/v1/break-glass/open", json={"seal": made["seal"]})).status_code == 422
            assert (await li.delete(f"/api/v1/break-glass/{made['id']}")).status_code == 404  # not theirs to see
            typed = made["seal"].lower().replace("-", " ").replace("0", "o").replace("1", "l")
            opened = await li.post("/api/v1/break-glass/open", json={"seal": typed, **WHY})
            assert opened.status_code == 200, opened.text
            assert opened.json()["until_ms"] == site.now_ms() + 2 * HOUR_MS
            assert (await li.get(DUTY_ONLY)).status_code == 200
            session = (await li.get("/api/v1/session")).json()
            assert session["roles"] == ["duty"] and session["break_glass_until_ms"] == opened.json()["until_ms"]
            again = await li.post("/api/v1/break-glass/open", json={"seal": made["seal"], **WHY})
            assert again.json()["code"] == "access.seal_wrong"
            assert told(site) == ["bad ops.break_glass_open"]

            review = f"/api/v1/break-glass/{made['id']}/review"
            words = {"words": "the register shows the market alone"}
            assert (await auditor.post(review, json=words)).json()["code"] == "access.seal_running"
            assert (await li.delete(f"/api/v1/break-glass/{made['id']}")).status_code == 200
            assert (await li.get(DUTY_ONLY)).status_code == 403
        assert told(site) == ["bad ops.break_glass_unreviewed"]
        done = await auditor.post(review, json=words)
        assert (done.status_code, done.json()["state"]) == (200, "reviewed")
        assert (await auditor.post(review, json=words)).json()["code"] == "access.seal_not_open"
        assert told(site) == []
    acts = [e.action for e in site.catalog.read(lambda c: list(audit.entries(c))) if e.action.startswith("breakglass.")]
    assert acts == [f"breakglass.{act}" for act in ("seal", "refuse", "open", "refuse", "end", "review")]


async def test_who_opened_it_does_not_review_it_and_a_void_one_opens_nothing(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        made = (await admin.post("/api/v1/break-glass", json={})).json()
        assert (await admin.post("/api/v1/break-glass/open", json={"seal": made["seal"], **WHY})).status_code == 200
        site.clock.advance(3 * 3600)
        own = await admin.post(f"/api/v1/break-glass/{made['id']}/review", json={"words": "all was well"})
        assert (own.status_code, own.json()["code"]) == (403, "access.seal_own")
        other = (await admin.post("/api/v1/break-glass", json={})).json()
        assert (await admin.delete(f"/api/v1/break-glass/{other['id']}")).json()["state"] == "void"
        refused = await admin.post("/api/v1/break-glass/open", json={"seal": other["seal"], **WHY})
        assert refused.json()["code"] == "access.seal_wrong"
        assert (await admin.delete("/api/v1/break-glass/01K0000000000000000000000Z")).status_code == 404


@pytest.mark.fault("S17")
async def test_under_full_governance_who_sealed_it_does_not_open_it(tmp_path: Path) -> None:
    with site_in(tmp_path, node={"governance": "full"}) as site:
        site.user("root", ("security_admin",))
        site.user("second", ("security_admin",))
        async with await site.sign_in("root") as root, await site.sign_in("second") as second:
            made = (await root.post("/api/v1/break-glass", json={})).json()
            own = await root.post("/api/v1/break-glass/open", json={"seal": made["seal"], **WHY})
            assert (own.status_code, own.json()["code"]) == (403, "access.seal_sealer")
            assert (await root.get("/api/v1/session")).json()["roles"] == ["security_admin"]
            opened = await second.post("/api/v1/break-glass/open", json={"seal": made["seal"], **WHY})
            assert (opened.status_code, opened.json()["person"]) == (200, "Second")
        acts = [(e.action, e.actor) for e in site.catalog.read(lambda c: list(audit.entries(c)))]
        assert [act for act in acts if act[0].startswith("breakglass.")] == [
            ("breakglass.seal", "user:root"), ("breakglass.refuse", "user:root"), ("breakglass.open", "user:second"),
        ]  # fmt: skip


@pytest.mark.fault("S16")
async def test_its_rights_end_on_time_although_nothing_is_written(site: Site) -> None:
    async with await site.sign_in("admin") as admin, await site.sign_in("li") as li:
        made = (await admin.post("/api/v1/break-glass", json={"hours": 1})).json()
        assert (await li.post("/api/v1/break-glass/open", json={"seal": made["seal"], **WHY})).status_code == 200
        assert (await li.get(DUTY_ONLY)).status_code == 200
        site.clock.advance(3599)
        assert (await li.get(DUTY_ONLY)).status_code == 200
        site.clock.advance(1)
        assert (await li.get(DUTY_ONLY)).status_code == 403


async def test_its_rights_end_by_themselves_and_what_is_looked_at_with_them(site: Site) -> None:
    async with await site.sign_in("admin") as admin, await site.sign_in("li") as li, site.running():
        camera = await add_camera(admin, 1)
        made = (await admin.post("/api/v1/break-glass", json={"hours": 1})).json()
        await li.post("/api/v1/break-glass/open", json={"seal": made["seal"], **WHY})
        async with site.services.looks.open(principal(site, "li"), Function.LIVE, camera) as look:
            await site.services.looks.review()
            assert not look.ended.is_set()
            site.clock.advance(3600)
            await site.services.looks.review()
            assert look.end_reason in ("revoked", "expired")
        assert (await li.get(DUTY_ONLY)).status_code == 403
