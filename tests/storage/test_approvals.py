"""The second person's queue in the catalog: who may decide, until when, and that one decision wins."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from config.errors import TiergateError
from config.ids import ulid
from config.reasons import TABLE, Reason
from storage import approvals
from storage.approval_rules import (
    ACTIONS,
    STATES,
    Approval,
    State,
    may_not_decide,
    may_read,
    needed_reason,
    needs_second,
    over,
    shown,
    state_at,
)
from storage.audit import log as audit
from storage.catalog import approvals as rows
from storage.catalog import retention_rows
from storage.catalog.engine import Catalog
from storage.catalog.retention_rows import HoldRow
from tiering.access import ROLES

NOW_MS = 1_790_000_000_000
CLASS = {
    "class": "key", "months": 4, "from_months": 3, "ceiling": 3, "legal_basis": "市令 5", "replaces_months": None,
}  # fmt: skip
HOLD = {"cameras": ["C"], "from_ms": 1, "to_ms": 2, "case_no": "A-1", "class": "1_year", "review_ms": 3}
SWEEP = {"due": 21, "standing": 100}
PARAMS: dict[str, dict[str, Any]] = {
    "retention.set": CLASS, "retention.sweep": SWEEP, "hold.add": HOLD, "hold.release": HOLD,
}  # fmt: skip


def request(number: int = 0, action: str = "retention.set", subject: str = "key") -> Approval:
    return Approval(
        ulid(NOW_MS, number.to_bytes(10, "big")), action, subject, PARAMS[action], "因案", "U1", "asker", "申请人",
        "127.0.0.1", NOW_MS, NOW_MS + ACTIONS[action].wait_ms,
    )  # fmt: skip


# --- rules ---

_kinds = st.sampled_from(["user", "token", "node"])
_roles = st.frozensets(st.sampled_from(sorted(ROLES)))


@pytest.mark.fault("S17")
@given(st.sampled_from(sorted(ACTIONS)), _kinds, st.sampled_from(["U1", "U2"]), _roles)
def test_only_another_person_with_a_fitting_role_decides(
    action: str, kind: str, id_: str, roles: frozenset[str]
) -> None:
    allowed = may_not_decide(request(action=action), kind, id_, roles) is None
    assert allowed == (kind == "user" and id_ != "U1" and bool(roles & ACTIONS[action].givers))
    assert not allowed or may_read(request(action=action), kind, id_, roles)


@given(st.sampled_from(sorted(ACTIONS)), st.sampled_from(STATES), st.integers(-1, 10 * 24 * 3_600_000))
def test_nothing_is_decided_twice_or_late(action: str, state: str, waited_ms: int) -> None:
    row = replace(request(action=action), state=state)  # type: ignore[arg-type]  # one of STATES
    now_ms = NOW_MS + waited_ms
    open_ = state == "pending" and waited_ms < ACTIONS[action].wait_ms
    assert (over(row, now_ms) is None) == open_ == (state_at(row, now_ms) == "pending")


def test_one_person_is_enough_under_small_governance_and_for_what_only_lengthens() -> None:
    shorter, longer = CLASS | {"months": 3, "from_months": 4}, CLASS | {"months": 3, "from_months": 2}
    assert needs_second("retention.set", CLASS, "full") and needs_second("retention.set", shorter, "full")
    assert not needs_second("retention.set", longer, "full")
    assert needs_second("hold.add", HOLD, "full") and needs_second("hold.release", HOLD, "full")
    assert needs_second("retention.sweep", SWEEP, "full")
    assert not needs_second("retention.sweep", SWEEP | {"due": 20}, "full"), "a fifth is not more than a fifth"
    assert not any(needs_second(action, PARAMS[action], "small") for action in ACTIONS)


def test_every_action_has_words_roles_that_exist_and_a_time() -> None:
    for code, action in ACTIONS.items():
        assert action.givers <= set(ROLES) and action.wait_ms > 0
        said = [shown(request(action=code)).as_json(), needed_reason(code).as_json()]
        assert all("{" not in reason[language] for reason in said for language in ("en", "zh"))
        assert {reason["code"] for reason in said} <= set(TABLE)


# --- rows, on each database ---


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    opened = Catalog(catalog_url)
    yield opened
    opened.close()


def ask(catalog: Catalog, asked: Approval) -> Approval:
    return catalog.write(lambda c: approvals.ask(c, asked))


def give(catalog: Catalog, seen: Approval, who: str) -> Approval:
    """What `who` gives, believing that the request is as it was `seen`."""

    def write(c: Connection) -> Approval:
        decided = approvals.decide(c, seen, "given", f"user:{who}", "批准人", "同意", NOW_MS + 5)
        return approvals.used(c, decided, NOW_MS + 5)

    return catalog.write(write)


def refusal(work: Callable[[], object]) -> str:
    with pytest.raises(TiergateError) as caught:
        work()
    return caught.value.reason.code


def test_a_request_reads_back_whole_and_moves_once(catalog: Catalog) -> None:
    asked = ask(catalog, request())
    assert catalog.read(lambda c: rows.find(c, asked.id)) == asked
    assert refusal(lambda: ask(catalog, request(1))) == "approval.asked_already"
    done = give(catalog, asked, "b")
    assert catalog.read(lambda c: rows.find(c, asked.id)) == done
    assert (done.state, done.decided_name, done.words, done.decided_ms) == ("used", "批准人", "同意", NOW_MS + 5)
    assert refusal(lambda: give(catalog, asked, "c")) == "approval.decided"  # what an old page still believes
    assert refusal(lambda: give(catalog, done, "c")) == "approval.decided"
    assert catalog.read(lambda c: [r.id for r in rows.newest(c, ["used"], None)]) == [asked.id]
    assert catalog.read(lambda c: rows.newest(c, STATES, asked.id)) == []
    actions = [e.action for e in catalog.read(lambda c: audit.entries(c, action="approval."))]
    assert actions == ["approval.ask", "approval.give", "approval.use"]


def test_of_two_who_give_at_the_same_moment_one_does(catalog: Catalog, catalog_url: str) -> None:
    """Two web processes, each with a catalog of its own; both have seen the request before either decides."""
    asked = [ask(catalog, request(n, subject=f"s{n}")) for n in range(20)]
    start = threading.Barrier(2)
    done: list[str] = []
    refused: list[str] = []

    def giver(who: str) -> None:
        mine = Catalog(catalog_url)
        for row in asked:
            start.wait(60)
            try:
                done.append(give(mine, row, who).id)
            except TiergateError as error:
                refused.append(error.reason.code)
        mine.close()

    threads = [threading.Thread(target=giver, args=(who,)) for who in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(done) == [row.id for row in asked]
    assert refused == ["approval.decided"] * len(asked)
    assert len(catalog.read(lambda c: audit.entries(c, action="approval.use"))) == len(asked)


def test_a_provisional_hold_lapses_with_its_request_and_no_other(catalog: Catalog) -> None:
    def write(c: Connection) -> None:
        for id_ in ("H1", "H2"):
            hold = HoldRow(id_, ("C",), 1, 2, "甲", "因案", "A-1", None, "1_year", 3, NOW_MS, None, None)
            retention_rows.add_hold(c, hold)

    catalog.write(write)
    asked = ask(catalog, request(1, "hold.add", "H1"))
    catalog.write(lambda c: approvals.expire(c, asked.expires_ms - 1, "system:keeper"))
    assert {h.id for h in catalog.read(retention_rows.holds)} == {"H1", "H2"}
    catalog.write(lambda c: approvals.expire(c, asked.expires_ms, "system:keeper"))
    assert {h.id for h in catalog.read(retention_rows.holds)} == {"H2"}
    found = catalog.read(lambda c: rows.find(c, asked.id))
    assert found is not None and (found.state, found.decided_by) == ("expired", "system:keeper")
    acts = [(e.action, e.subject) for e in catalog.read(lambda c: audit.entries(c, actor="system:keeper"))]
    assert acts == [("approval.expire", asked.id), ("hold.lapse", "H1")]


def put_hold(catalog: Catalog, id_: str, approver: str | None = None) -> None:
    hold = HoldRow(id_, ("C",), 1, 2, "甲", "因案", "A-1", approver, "1_year", 3, NOW_MS, None, None)
    catalog.write(lambda c: retention_rows.add_hold(c, hold))


def test_an_approved_hold_never_lapses_whatever_its_request_says(catalog: Catalog) -> None:
    put_hold(catalog, "H1", "批准人")
    put_hold(catalog, "H2", "批准人")
    asked = ask(catalog, request(1, "hold.add", "H1"))
    refused = ask(catalog, request(2, "hold.add", "H2"))
    catalog.write(lambda c: approvals.decide(c, refused, "refused", "user:b", "b", "不", NOW_MS))
    catalog.write(lambda c: approvals.expire(c, asked.expires_ms, "system:keeper"))
    assert {h.id for h in catalog.read(retention_rows.holds)} == {"H1", "H2"}


def test_a_given_hold_whose_act_fails_is_not_undone(catalog: Catalog) -> None:
    """The second person said "keep": whatever else is in the way, that is no order to delete."""
    put_hold(catalog, "H1")
    asked = ask(catalog, request(1, "hold.add", "H1"))

    def write(c: Connection) -> Approval:
        decided = approvals.decide(c, asked, "given", "user:b", "b", "", NOW_MS)
        return approvals.failed(c, decided, Reason("approval.requester_gone", {"person": "甲"}), NOW_MS)

    assert catalog.write(write).state == "refused"
    assert {h.id for h in catalog.read(retention_rows.holds)} == {"H1"}


def test_after_a_restore_requests_end_that_were_decided_since(catalog: Catalog) -> None:
    for id_, approver in (("H1", "批准人"), ("H2", None), ("H3", None), ("H4", None)):
        put_hold(catalog, id_, approver)
    cases = {
        "approved": ask(catalog, request(1, "hold.add", "H1")),
        "lapsed": ask(catalog, request(2, "hold.add", "H2")),
        "released": ask(catalog, request(3, "hold.release", "H2")),
        "waits": ask(catalog, request(4, "hold.add", "H3")),
        "class waits": ask(catalog, request(5)),
        "known": ask(catalog, request(6, "hold.release", "H4")),
    }
    catalog.write(lambda c: retention_rows.release_hold(c, "H2", "user:b", NOW_MS))
    known: dict[str, State] = {cases["known"].id: "refused"}
    assert catalog.write(lambda c: approvals.end_decided(c, known, NOW_MS, "os:x")) == 4
    found = {what: catalog.read(lambda c, id_=row.id: rows.find(c, id_)) for what, row in cases.items()}  # type: ignore[misc]  # a bound default
    assert {what: row and row.state for what, row in found.items()} == {
        "approved": "used", "lapsed": "refused", "released": "used", "waits": "pending", "class waits": "pending",
        "known": "refused",
    }  # fmt: skip
    assert {h.id for h in catalog.read(retention_rows.holds)} == {"H1", "H3", "H4"}
    assert catalog.write(lambda c: approvals.end_decided(c, known, NOW_MS, "os:x")) == 0
