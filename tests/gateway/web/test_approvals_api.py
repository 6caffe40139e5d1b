"""What needs a second person under full governance, as its callers meet it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from config.errors import TiergateError
from config.units import DAY_MS
from gateway.access import approvals
from gateway.access.principals import of_token
from storage import class_changes
from storage.approval_rules import ACTIONS, STATES, Approval
from storage.audit import log as audit
from storage.catalog import approvals as rows
from storage.catalog import facts, people, retention_rows
from storage.catalog.grants import TokenRow
from storage.objects import make_store
from tests.gateway.web.site import ALL_ROLES, Site, add_camera, site_in
from tests.gateway.web.test_retention_api import footage, hold, state
from tiering.access import Principal

FULL: dict[str, Any] = {"node": {"governance": "full"}, "web": {"session_hours": 168}}
PEOPLE: dict[str, tuple[str, ...]] = {
    "asker": ALL_ROLES,
    "second": ("duty", "security_admin"),
    "third": ("duty", "security_admin"),
    "auditor": ("audit_admin",),
    "operator": ("operator",),
}


class Office:
    """A site under full governance and a client of each person."""

    def __init__(self, site: Site, clients: dict[str, httpx.AsyncClient], ids: dict[str, str]) -> None:
        self.site, self.clients, self.ids = site, clients, ids

    def __getattr__(self, name: str) -> httpx.AsyncClient:
        return self.clients[name]

    async def decide(self, who: str, approval: str, decision: str = "give", words: str = "") -> httpx.Response:
        body = {"decision": decision, "words": words}
        return await self.clients[who].post(f"/api/v1/approvals/{approval}", json=body)

    async def queue(self, who: str, **query: str) -> list[dict[str, Any]]:
        answer = await self.clients[who].get("/api/v1/approvals", params=query)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])

    def acts(self, *actions: str) -> list[tuple[str, str]]:
        found = self.site.catalog.read(lambda c: audit.entries(c, limit=5_000))
        return [(e.action, e.actor) for e in found if e.action in actions]

    def standing(self) -> list[str]:
        return [h.id for h in self.site.catalog.read(retention_rows.holds)]


@pytest_asyncio.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    with site_in(tmp_path, retention={"clock_source": "trusted"}, **FULL) as site:
        make_store(site.settings).ensure()
        ids = {login: site.user(login, roles) for login, roles in PEOPLE.items()}
        async with AsyncExitStack() as stack:
            clients = {login: await stack.enter_async_context(await site.sign_in(login)) for login in PEOPLE}
            yield Office(site, clients, ids)


async def a_hold(office: Office) -> tuple[str, dict[str, Any]]:
    """(camera, the hold that "asker" has placed on its last day)."""
    camera = await add_camera(office.asker, 1)
    now_ms = office.site.now_ms()
    placed = await hold(office.asker, camera, now_ms - DAY_MS, now_ms)
    assert placed.status_code == 202, placed.text
    return camera, placed.json()


FOUR_MONTHS = {"months": 4, "legal_basis": "市令 5"}


# --- classes ---


@pytest.mark.fault("S17")
async def test_key_areas_to_four_months_need_a_basis_and_a_second_person(office: Office) -> None:
    what_if: dict[str, str | int] = {"class": "key", "months": 4}
    planned = (await office.asker.get("/api/v1/retention/plan", params=what_if)).json()
    bare = await office.asker.put("/api/v1/retention/key", json={"months": 4})
    assert bare.status_code == 422
    for said in (planned["change_refused"], bare.json()):
        assert said["code"] == "retention.above_ceiling"
        assert "legal basis and a second person" in said["en"] and "法律依据并经第二人批准" in said["zh"]
    assert planned["change_needs"]["code"] == "approval.needed"
    assert "second person" in planned["change_needs"]["en"] and "第二人" in planned["change_needs"]["zh"]
    with_basis = await office.asker.get("/api/v1/retention/plan", params=what_if | {"legal_basis": "市令 5"})
    assert with_basis.json()["change_refused"] is None
    assert with_basis.json()["change_needs"]["code"] == "approval.needed"

    asked = await office.asker.put("/api/v1/retention/key", json=FOUR_MONTHS)
    assert asked.status_code == 202
    said = asked.json()["reason"]
    assert said["code"] == "approval.queued"
    assert "nothing has changed yet" in said["en"] and "尚未变更" in said["zh"]
    assert office.site.catalog.read(class_changes.pending) == {}

    (waiting,) = await office.queue("second", state="pending")
    assert waiting["id"] == asked.json()["approval"] and waiting["may_decide"]
    assert "市令 5" in waiting["what"]["zh"] and "4 months instead of 3" in waiting["what"]["en"]
    office.site.clock.advance(3_600)
    given_ = await office.decide("second", waiting["id"], words="同意")
    assert given_.status_code == 200 and given_.json()["state"] == "used"
    change = office.site.catalog.read(class_changes.pending)["key"]
    assert (change.months, change.asked_by) == (4, "user:asker")
    assert change.effective_ms == office.site.now_ms() + 7 * DAY_MS
    assert office.acts("approval.ask", "approval.give", "retention.set", "approval.use") == [
        ("approval.ask", "user:asker"),
        ("approval.give", "user:second"),
        ("retention.set", "user:asker"),
        ("approval.use", "user:second"),
    ]


async def test_the_default_class_cannot_keep_twenty_days(office: Office) -> None:
    planned = await office.asker.get("/api/v1/retention/plan", params={"class": "default", "days": 20})
    asked = await office.asker.put("/api/v1/retention/default", json={"days": 20})
    assert asked.status_code == 422
    for said in (planned.json()["change_refused"], asked.json()):
        assert said["code"] == "retention.below_floor_days"
        assert "the law's floor is 1 month" in said["en"] and "法定下限为 1 个月" in said["zh"]
    assert planned.json()["change_needs"] is None
    assert await office.queue("second") == []
    both = await office.asker.put("/api/v1/retention/default", json={"days": 30, "months": 1})
    assert both.json()["code"] == "retention.length_once"
    assert (await office.asker.put("/api/v1/retention/default", json={"days": 30})).status_code == 200


async def test_what_was_shown_is_done_or_nothing(office: Office) -> None:
    asked = (await office.asker.put("/api/v1/retention/key", json=FOUR_MONTHS)).json()["approval"]
    twice = await office.asker.put("/api/v1/retention/key", json=FOUR_MONTHS)
    assert (twice.status_code, twice.json()["code"]) == (409, "approval.asked_already")
    office.site.catalog.write(lambda c: retention_rows.set_class_months(c, "key", 6, 180, 1))
    answer = await office.decide("second", asked)
    assert (answer.status_code, answer.json()["code"]) == (409, "approval.not_done")
    assert "then 3, now 6" in answer.json()["en"]
    (row,) = await office.queue("second")
    assert (row["state"], row["outcome"]["code"]) == ("refused", "approval.not_done")
    assert office.site.catalog.read(class_changes.pending) == {}
    assert office.acts("retention.set", "approval.fail", "approval.use") == [("approval.fail", "user:second")]


async def test_more_than_a_fifth_goes_past_the_guard_by_two_people_alone(office: Office) -> None:
    camera = await add_camera(office.asker, 1)
    now_ms = office.site.now_ms()
    young = footage(office.site, camera, *(now_ms - n * DAY_MS // 4 for n in range(1, 101)))
    assert (await office.asker.post("/api/v1/retention/sweep")).json()["refused"] is None
    # A hand in the database: no order, no week.
    office.site.catalog.write(lambda c: retention_rows.set_class_months(c, "default", 0, 5, 1))

    async def swept(**confirm: int) -> httpx.Response:
        return await office.asker.post("/api/v1/retention/sweep", params=confirm)

    refused = (await swept()).json()["refused"]
    assert refused["code"] == "retention.guard_unexplained"
    due = refused["params"]["due"]
    assert due > 10
    asked = await swept(confirm=due)
    assert asked.status_code == 202 and f"{due} of 100" in asked.json()["notice"]["en"]
    assert (await swept()).json()["refused"] is not None, "nothing is confirmed yet"
    assert (await office.decide("asker", asked.json()["approval"])).status_code == 403
    assert {state(office.site, id_) for id_ in young} == {"stored"}
    assert (await office.decide("second", asked.json()["approval"])).status_code == 200
    done = (await swept()).json()
    assert (done["refused"], done["condemned"]) == (None, due)
    # An answer is good for one sweep.
    office.site.catalog.write(lambda c: retention_rows.set_class_months(c, "default", 0, 1, 1))
    assert (await swept()).json()["refused"] is not None
    little = await swept(confirm=10)
    assert little.status_code == 200 and little.json()["refused"] is not None, "for less than a fifth one is enough"


@pytest.mark.parametrize("gone", [{"disabled_ms": 1}, {"roles": ["duty"]}])
async def test_a_requester_whose_right_is_gone(office: Office, gone: dict[str, Any]) -> None:
    asked = (await office.asker.put("/api/v1/retention/key", json=FOUR_MONTHS)).json()["approval"]
    office.site.catalog.write(lambda c: people.change_user(c, office.ids["asker"], gone))
    answer = await office.decide("second", asked)
    assert answer.status_code == 409 and "no longer the right" in answer.json()["en"]
    assert office.site.catalog.read(class_changes.pending) == {}


# --- holds ---


async def test_a_hold_by_one_is_approved_by_another_and_once(office: Office) -> None:
    camera = await add_camera(office.asker, 1)
    now_ms = office.site.now_ms()
    (old,) = footage(office.site, camera, now_ms - 40 * DAY_MS)
    assert (await office.asker.post("/api/v1/retention/sweep")).json()["condemned"] == 1
    placed = await hold(office.asker, camera, now_ms - 41 * DAY_MS, now_ms - 39 * DAY_MS)
    assert placed.status_code == 202 and placed.json()["notice"]["code"] == "approval.hold_stands"
    assert state(office.site, old) == "stored"  # it protects before anybody has approved it
    asked = placed.json()["approval"]

    own = await office.decide("asker", asked)
    assert (own.status_code, own.json()["code"]) == (403, "approval.own")
    assert (await office.decide("asker", asked, "refuse", "x")).json()["code"] == "approval.own"
    assert (await office.decide("operator", asked)).status_code == 404
    assert (await office.decide("auditor", asked)).json()["code"] == "access.role_needed"
    assert (await office.decide("second", "01K0000000000000000000000Z")).json()["code"] == "approval.unknown"

    answers = await asyncio.gather(office.decide("second", asked), office.decide("third", asked))
    assert sorted(a.status_code for a in answers) == [200, 409]
    assert next(a for a in answers if a.status_code == 409).json()["code"] == "approval.decided"
    assert len(office.acts("hold.approve")) == 1 and len(office.acts("approval.use")) == 1
    (listed,) = (await office.asker.get("/api/v1/holds")).json()["items"]
    assert listed["approver"] in ("Second", "Third")

    office.site.clock.advance(73 * 3600)
    assert (await office.asker.post("/api/v1/retention/sweep")).json()["refused"] is None
    assert office.standing() == [placed.json()["id"]]


async def test_a_hold_that_nobody_approves_lapses_by_a_trusted_clock_only(office: Office) -> None:
    _, placed = await a_hold(office)
    office.site.clock.advance(71 * 3600)
    await office.asker.post("/api/v1/retention/sweep")
    assert office.standing() == [placed["id"]]
    office.site.clock.step_wall(3 * 3600)
    refused = (await office.asker.post("/api/v1/retention/sweep")).json()["refused"]
    assert refused["code"] == "retention.clock_stepped"
    assert office.standing() == [placed["id"]]
    late = await office.decide("second", placed["approval"])
    assert (late.status_code, late.json()["code"]) == (409, "approval.expired")
    office.site.clock.step_wall(-3 * 3600)
    office.site.clock.advance(2 * 3600)
    assert (await office.asker.post("/api/v1/retention/sweep")).json()["refused"] is None
    assert office.standing() == []
    assert office.acts("approval.expire", "hold.lapse") == [
        ("approval.expire", "system:keeper"), ("hold.lapse", "system:keeper"),
    ]  # fmt: skip


async def test_a_refused_hold_ends_and_a_refusal_has_words(office: Office) -> None:
    _, placed = await a_hold(office)
    silent = await office.decide("second", placed["approval"], "refuse")
    assert (silent.status_code, silent.json()["code"]) == (422, "approval.words_needed")
    assert office.standing() == [placed["id"]]
    refused = await office.decide("second", placed["approval"], "refuse", "案号有误")
    assert refused.json()["state"] == "refused" and refused.json()["words"] == "案号有误"
    assert office.standing() == []
    assert (await office.decide("third", placed["approval"])).json()["code"] == "approval.decided"


@pytest.mark.fault("S17")
async def test_the_release_of_a_hold_waits_for_a_second_person(office: Office) -> None:
    _, placed = await a_hold(office)
    await office.decide("second", placed["approval"])
    path = f"/api/v1/holds/{placed['id']}/release"
    first = await office.asker.post(path, json={"reason": "结案"})
    assert first.status_code == 202 and first.json()["notice"]["code"] == "approval.queued"
    assert (await office.decide("asker", first.json()["approval"])).status_code == 403
    assert office.standing() == [placed["id"]]
    await office.decide("second", first.json()["approval"], "refuse", "还未结案")
    assert office.standing() == [placed["id"]]
    again = (await office.asker.post(path, json={"reason": "结案"})).json()["approval"]
    assert (await office.decide("second", again)).status_code == 200
    assert office.standing() == []
    assert office.acts("hold.release") == [("hold.release", "user:asker")]


async def test_the_list_of_holds_says_what_waits_for_a_second_person_to_whom_the_queue_is_closed_too(
    office: Office,
) -> None:
    async def waits() -> tuple[int | None, int | None]:
        (row,) = (await office.operator.get("/api/v1/holds", params={"all": True})).json()["items"]
        return row["provisional_until_ms"], row["release_until_ms"]

    _, placed = await a_hold(office)
    assert await office.queue("operator") == []
    assert await waits() == (placed["approval_expires_ms"], None)
    await office.decide("second", placed["approval"])
    assert await waits() == (None, None)
    path = f"/api/v1/holds/{placed['id']}/release"
    asked = (await office.asker.post(path, json={"reason": "结案"})).json()
    assert await waits() == (None, asked["approval_expires_ms"])
    office.site.clock.advance(25 * 3600)
    assert await waits() == (None, None)


async def test_a_provisional_hold_is_so_until_a_sweep_ends_it(office: Office) -> None:
    _, placed = await a_hold(office)
    office.site.clock.advance(73 * 3600)
    (row,) = (await office.operator.get("/api/v1/holds")).json()["items"]
    assert row["provisional_until_ms"] == placed["approval_expires_ms"] < office.site.now_ms()
    await office.asker.post("/api/v1/retention/sweep")
    (row,) = (await office.operator.get("/api/v1/holds", params={"all": True})).json()["items"]
    assert row["released_ms"] is not None and row["provisional_until_ms"] is None


@pytest.mark.parametrize("gone", [{"roles": ["operator"]}, {"disabled_ms": 1}])
async def test_who_says_keep_keeps_it_whatever_became_of_the_requester(office: Office, gone: dict[str, Any]) -> None:
    _, placed = await a_hold(office)
    office.site.catalog.write(lambda c: people.change_user(c, office.ids["asker"], gone))
    answer = await office.decide("second", placed["approval"])
    assert (answer.status_code, answer.json()["state"]) == (200, "used")
    (hold,) = office.site.catalog.read(retention_rows.holds)
    assert (hold.id, hold.approver) == (placed["id"], "Second")


async def test_a_release_by_somebody_without_the_right_leaves_the_hold(office: Office) -> None:
    _, placed = await a_hold(office)
    await office.decide("second", placed["approval"])
    asked = (await office.asker.post(f"/api/v1/holds/{placed['id']}/release", json={"reason": "结案"})).json()
    office.site.catalog.write(lambda c: people.change_user(c, office.ids["asker"], {"roles": ["operator"]}))
    answer = await office.decide("second", asked["approval"])
    assert (answer.status_code, answer.json()["code"]) == (409, "approval.not_done")
    assert office.standing() == [placed["id"]]


async def test_the_queue_shows_each_their_part_by_state(office: Office) -> None:
    _, placed = await a_hold(office)
    asked = (await office.asker.put("/api/v1/retention/key", json=FOUR_MONTHS)).json()["approval"]
    await office.decide("second", asked)
    assert {a["id"] for a in await office.queue("auditor")} == {asked, placed["approval"]}
    assert not any(a["may_decide"] for a in await office.queue("auditor"))
    assert await office.queue("operator") == []
    (own,) = await office.queue("asker", state="pending")
    assert own["id"] == placed["approval"] and own["barred"]["code"] == "approval.own"
    assert {s: len(await office.queue("second", state=s)) for s in STATES} == {
        "pending": 1, "given": 0, "refused": 0, "expired": 0, "used": 1,
    }  # fmt: skip
    office.site.clock.advance(72 * 3600)
    assert [a["state"] for a in await office.queue("second", state="expired")] == ["expired"]
    assert await office.queue("second", state="pending") == []
    first = (await office.auditor.get("/api/v1/approvals", params={"limit": 1})).json()
    rest = (await office.auditor.get("/api/v1/approvals", params={"cursor": first["next"]})).json()
    assert len(first["items"]) == len(rest["items"]) == 1 and rest["next"] is None


async def test_under_small_governance_nothing_waits_for_anybody(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        site.user("admin", ALL_ROLES)
        async with await site.sign_in("admin") as admin:
            camera = await add_camera(admin, 1)
            placed = await hold(admin, camera, 10**12, 2 * 10**12)
            assert placed.status_code == 201 and "approval" not in placed.json()
            path = f"/api/v1/holds/{placed.json()['id']}/release"
            assert (await admin.post(path, json={"reason": "x"})).status_code == 200
            assert (await admin.put("/api/v1/retention/key", json=FOUR_MONTHS)).status_code == 200
            assert (await admin.get("/api/v1/approvals")).json()["items"] == []


# --- whatever happens ---


class Bench:
    """A site under full governance without HTTP: for many short histories."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.crowd = {login: self._person(site.user(login, roles)) for login, roles in PEOPLE.items()}
        token = TokenRow("J", "D", "教育局", "x", {"functions": ["live"]}, 0, 1 << 42, "asker")
        self.crowd["token"] = of_token(token)

    def _person(self, id_: str) -> Principal:
        of_user = self.site.services.principals.of_user
        return self.site.catalog.read(lambda c: of_user(c, people.require_user(c, id_), None, self.site.now_ms()))

    def ask(self) -> Approval:
        """The same request as ever, after whatever waited before is over."""
        self.site.clock.advance(25 * 3600)

        def write(c: Connection) -> Approval:
            facts.set(c, "retention.pending", {})
            proposal = class_changes.propose(c, "key", 4, "市令 5")
            return approvals.ask(
                c, self.site.clock, self.crowd["asker"], "retention.set", "key", proposal, "市令 5", "local"
            )

        return self.site.catalog.write(write)

    def decide(self, who: str, approval: str, give: bool) -> bool:
        """Whether the word was taken."""
        principals, now_ms = self.site.services.principals, self.site.now_ms()
        try:
            self.site.catalog.write(
                lambda c: approvals.decide(c, principals, self.crowd[who], approval, give, "话", now_ms)
            )
        except TiergateError:
            return False
        return True

    def done(self) -> int:
        return len(self.site.catalog.read(lambda c: audit.entries(c, limit=100_000, action="retention.set")))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with site_in(tmp_path_factory.mktemp("bench"), **FULL) as site:
        yield Bench(site)


_STEPS = st.tuples(st.sampled_from([*PEOPLE, "token"]), st.booleans(), st.sampled_from([0, 1, 11, 23, 24]))


@pytest.mark.fault("S17")
@given(st.lists(_STEPS, max_size=6))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_it_is_done_at_most_once_and_only_by_a_second_person_in_time(
    bench: Bench, steps: list[tuple[str, bool, int]]
) -> None:
    before, row, waited_h, expected = bench.done(), bench.ask(), 0, "pending"
    for who, give, hours in steps:
        bench.site.clock.advance(hours * 3600)
        waited_h += hours
        rightly = expected == "pending" and waited_h < 24 and who in ("second", "third")
        assert bench.decide(who, row.id, give) == rightly
        if rightly:
            expected = "used" if give else "refused"
    found = bench.site.catalog.read(lambda c: rows.find(c, row.id))
    assert found is not None and found.state == expected
    assert bench.done() - before == (expected == "used")


def test_every_action_can_be_carried_out() -> None:
    assert approvals.PERFORM.keys() == ACTIONS.keys()
