"""The one decision: default deny, explicit deny wins, nothing implies anything, narrowing never widens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.errors import TiergateError
from config.weekly import WeeklyWindow
from tiering.access import (
    ROLES,
    CameraResource,
    Conditions,
    Decision,
    Facts,
    Function,
    Grant,
    LeaseFact,
    Posting,
    Principal,
    Resources,
    Stream,
    allowed_ranges,
    decide,
    functions,
    lease_as_grant,
    marks_export,
    narrow,
)
from tiering.grants import Grants

NOW = 1_790_000_000_000  # Monday 2026-09-21 22:13:20 in Asia/Shanghai
MINUTE = 60_000
CAMERA = CameraResource("c1", ("210211", "2102", "21"), "dep1", frozenset({"a1"}), sharing="departments")
EVERYTHING = frozenset(Function)


def grant(*names: str, effect: str = "allow", source: str = "user", **conditions: Any) -> Grant:
    resources = conditions.pop("resources", Resources(cameras=frozenset({"c1"})))
    chosen = frozenset(Function(n) for n in names)
    return Grant("g", source, resources, chosen, Conditions(**conditions), effect)  # type: ignore[arg-type]  # test words


def user(*grants: Grant, roles: tuple[str, ...] = (), **more: Any) -> Principal:
    base: dict[str, Any] = {"department_id": "dep9", "roles": frozenset(roles), "grants": grants}
    return Principal("user", "u1", "li", "李", "值班室", **(base | more))


def token(*grants: Grant, **more: Any) -> Principal:
    return Principal("token", "j1", "label", "label", "教育局", grants=grants, **more)


def allowed(principal: Principal, name: str, camera: CameraResource = CAMERA, now_ms: int = NOW, **facts: Any) -> bool:
    return decide(principal, Function(name), camera, now_ms, Facts(**facts)).allow


def test_who_is_posted_may_what_both_units_may_and_after_it_what_the_home_may() -> None:
    home = (grant("live", "playback", source="user"), grant("live", "playback", source="department"))
    there = grant("live", source="department", max_stream="sub", valid_to_ms=NOW + 2 * MINUTE)
    posted = user(*home, posting=Posting("dep1", "教育局", (there,), NOW + MINUTE))
    seen = decide(posted, Function.LIVE, CAMERA, NOW, Facts(stream="sub"))
    assert (seen.allow, seen.max_stream, seen.until_ms) == (True, "sub", NOW + 2 * MINUTE)
    assert not allowed(posted, "live", stream="main")
    refused = decide(posted, Function.PLAYBACK, CAMERA, NOW, Facts(from_ms=NOW - MINUTE, to_ms=NOW))
    assert refused.visible and refused.reason.code == "access.posting_lacks"
    assert refused.reason.params == {"function": "playback", "unit": "教育局"}
    assert allowed(posted, "playback", now_ms=NOW + MINUTE, from_ms=NOW - MINUTE, to_ms=NOW)
    few = replace(
        posted,
        posting=Posting(
            "dep1",
            "教育局",
            (replace(there, id="t", conditions=replace(there.conditions, max_streams=2)),),
            NOW + MINUTE,
        ),
    )
    assert decide(few, Function.LIVE, CAMERA, NOW, Facts(stream="sub")).counted_under == ("t",)
    assert decide(few, Function.LIVE, CAMERA, NOW, Facts(stream="sub", open_looks={"t": 1})).allow
    assert decide(few, Function.LIVE, CAMERA, NOW, Facts(stream="sub", open_looks={"t": 2})).too_many
    # Roles are of the home; a unit that may nothing shows nothing.
    operator = user(roles=("operator",), posting=Posting("dep1", "教育局", (), NOW + MINUTE))
    assert not decide(operator, Function.LIVE, CAMERA, NOW).visible and allowed(operator, "live", now_ms=NOW + MINUTE)


@st.composite
def of_unit(draw: st.DrawFn) -> tuple[Grant, ...]:
    names = draw(st.lists(st.sampled_from(["live", "playback", "export", "catalog"]), min_size=1, max_size=3))
    windows = st.sampled_from([None, NOW - 60 * MINUTE, NOW - 20 * MINUTE])
    effect = draw(st.sampled_from(["allow", "allow", "allow", "deny"]))
    made = grant(*names, effect=effect, source="department", footage_from_ms=draw(windows))
    more = draw(st.booleans())
    return (made, *draw(of_unit())) if more else (made,)


@given(of_unit(), of_unit(), st.sampled_from(["live", "playback", "export"]), st.integers(0, 3))
@settings(max_examples=300)
def test_a_posting_is_an_intersection(
    home: tuple[Grant, ...], there: tuple[Grant, ...], name: str, quarter: int
) -> None:
    range_ = Facts(from_ms=NOW - 40 * MINUTE + quarter * 10 * MINUTE, to_ms=NOW)
    facts = range_ if name != "live" else Facts(stream="sub")
    function = Function(name)
    posted = user(*home, department_id="dep1", posting=Posting("dep1", "教育局", there, NOW + MINUTE))
    both = [user(*home, department_id="dep1"), user(*there, department_id="dep1")]
    seen, alone = decide(posted, function, CAMERA, NOW, facts), [decide(p, function, CAMERA, NOW, facts) for p in both]
    assert seen.allow == all(d.allow for d in alone) and seen.visible == all(d.visible for d in alone)
    if name != "live":
        parts = [allowed_ranges(p, function, CAMERA, NOW, facts) for p in both]
        inside = [(max(a, c), min(b, d)) for a, b in parts[0] for c, d in parts[1] if max(a, c) < min(b, d)]
        assert allowed_ranges(posted, function, CAMERA, NOW, facts) == inside


@st.composite
def _anywhere(draw: st.DrawFn) -> Grant:
    """A grant of this camera, of another, of a place around it or of none, denial or not, plain or narrowed."""
    some = st.sampled_from(["c1", "c2"]), st.sampled_from(["210211", "2102", "99"]), st.sampled_from(["a1", "a2"])
    names = [draw(st.frozensets(one, max_size=2)) for one in some]
    departments = draw(st.frozensets(st.sampled_from(["dep1", "dep2"]), max_size=1))
    resources = Resources(names[1], names[0], names[2], departments, draw(st.booleans()))
    functions_ = draw(st.lists(st.sampled_from(["live", "playback", "catalog"]), min_size=1, max_size=3))
    effect = draw(st.sampled_from(["allow", "allow", "deny"]))
    made = grant(*functions_, effect=effect, source="department", resources=resources, max_stream=draw(STREAMS))
    return replace(made, within=draw(st.sampled_from([(), (Resources(regions=frozenset({"21"})),)])))


STREAMS = st.sampled_from(["main", "sub"])


@given(st.lists(_anywhere(), max_size=6), st.sampled_from(["live", "playback", "export"]), st.integers(0, 1))
@settings(max_examples=400)
def test_grants_that_were_made_ready_say_what_they_say_one_by_one(given_: list[Grant], name: str, secrecy: int) -> None:
    camera, facts = replace(CAMERA, secrecy=secrecy), Facts(stream="main", from_ms=NOW - MINUTE, to_ms=NOW)
    for of in (user, token):
        plain, ready = of(*given_), replace(of(), grants=Grants(given_))
        assert decide(ready, Function(name), camera, NOW, facts) == decide(plain, Function(name), camera, NOW, facts)
        assert functions(ready, camera, NOW, facts) == functions(plain, camera, NOW, facts)


def test_nobody_without_a_grant_sees_that_the_camera_exists() -> None:
    unknown = decide(user(), Function.LIVE, None, NOW)
    forbidden = decide(user(), Function.LIVE, CAMERA, NOW)
    assert unknown == forbidden
    assert not forbidden.visible


@pytest.mark.parametrize("name", list(Function))
def test_no_function_implies_another(name: Function) -> None:
    got = functions(user(grant(name)), CAMERA, NOW)
    assert got == (frozenset() if name in (Function.PTZ, Function.TALK) else {name})


def test_steering_needs_live_and_a_still_of_the_past_needs_playback() -> None:
    assert allowed(user(grant("live", "ptz")), "ptz")
    assert allowed(user(grant("snapshot")), "snapshot")
    assert not allowed(user(grant("snapshot")), "snapshot", from_ms=NOW - 5, to_ms=NOW - 5)
    assert allowed(user(grant("snapshot", "playback")), "snapshot", from_ms=NOW - 5, to_ms=NOW - 5)


def test_an_explicit_denial_wins_whatever_allows() -> None:
    denied = user(grant("live"), grant("live", effect="deny"), roles=("operator",))
    decision = decide(denied, Function.LIVE, CAMERA, NOW)
    assert not decision.allow and decision.visible and decision.reason.code == "access.denied"
    whole = user(grant(*EVERYTHING, effect="deny"), roles=("operator",))
    assert not decide(whole, Function.CATALOG, CAMERA, NOW).visible


def test_a_secret_camera_only_by_a_grant_that_names_it() -> None:
    secret = replace(CAMERA, secrecy=1)
    assert not allowed(user(roles=("duty",)), "live", secret)
    assert not allowed(user(grant("live", resources=Resources(regions=frozenset({"21"})))), "live", secret)
    assert allowed(user(grant("live")), "live", secret)
    denial = grant("live", effect="deny", resources=Resources(regions=frozenset({"21"})))
    assert not allowed(user(grant("live"), denial), "live", secret)


def test_regions_reach_down_by_stored_ancestry() -> None:
    assert allowed(user(grant("live", resources=Resources(regions=frozenset({"2102"})))), "live")
    assert not allowed(user(grant("live", resources=Resources(regions=frozenset({"210212"})))), "live")
    assert allowed(user(grant("live", resources=Resources(areas=frozenset({"a1"})))), "live")
    assert allowed(user(grant("live", resources=Resources(departments=frozenset({"dep1"})))), "live")


def test_what_is_not_shared_reaches_no_token_and_no_other_department() -> None:
    private = replace(CAMERA, sharing="none")
    assert allowed(token(grant("live", source="token")), "live")
    assert not decide(token(grant("live", source="token")), Function.LIVE, private, NOW).visible
    by_department = grant("live", source="department")
    assert not allowed(user(by_department), "live", private)
    assert allowed(user(by_department, department_id="dep1"), "live", private)
    assert allowed(user(grant("live")), "live", private)


@pytest.mark.parametrize(
    ("role", "has", "lacks"),
    [
        ("system_admin", "manage status catalog", "live playback snapshot export ptz talk hold"),
        ("security_admin", "catalog", "live playback manage export"),
        ("audit_admin", "catalog", "live playback manage export"),
        ("operator", "live playback snapshot ptz status catalog", "export hold manage talk"),
        ("duty", "live playback snapshot ptz status catalog export hold", "manage talk"),
        ("auxiliary", "live status catalog", "snapshot export ptz hold manage"),
        ("analysis", "playback snapshot hold status catalog", "live export ptz talk manage"),
        ("inspection", "live snapshot status catalog", "playback export ptz talk hold manage"),
    ],
)
def test_roles_give_what_they_say(role: str, has: str, lacks: str) -> None:
    got = functions(user(roles=(role,)), CAMERA, NOW)
    assert set(has.split()) <= got and got.isdisjoint(lacks.split())


def test_an_auxiliary_looks_back_ten_minutes_counted_from_the_opening() -> None:
    aux = user(roles=("auxiliary",))
    assert allowed(aux, "playback", from_ms=NOW - 9 * MINUTE, to_ms=NOW)
    assert not allowed(aux, "playback", from_ms=NOW - 11 * MINUTE, to_ms=NOW)
    later = NOW + 5 * MINUTE
    assert allowed(aux, "playback", now_ms=later, from_ms=NOW - 9 * MINUTE, to_ms=NOW, opened_ms=NOW)
    assert not allowed(aux, "playback", now_ms=later, from_ms=NOW - 9 * MINUTE, to_ms=NOW)


def test_footage_windows_cover_the_whole_range_or_nothing() -> None:
    one = grant("playback", footage_from_ms=NOW - 100, footage_to_ms=NOW - 50)
    two = grant("playback", footage_from_ms=NOW - 60, footage_to_ms=NOW)
    assert allowed(user(one), "playback", from_ms=NOW - 100, to_ms=NOW - 50)
    refused = decide(user(one), Function.PLAYBACK, CAMERA, NOW, Facts(from_ms=NOW - 101, to_ms=NOW - 50))
    assert refused.reason.code == "access.footage_outside" and refused.visible
    assert allowed(user(one, two), "playback", from_ms=NOW - 100, to_ms=NOW)
    hole = grant("playback", effect="deny", footage_from_ms=NOW - 70, footage_to_ms=NOW - 65)
    facts = Facts(from_ms=NOW - 200, to_ms=NOW + 10)
    assert not allowed(user(one, two, hole), "playback", from_ms=NOW - 100, to_ms=NOW)
    ranges = allowed_ranges(user(one, two, hole), Function.PLAYBACK, CAMERA, NOW, facts)
    assert ranges == [(NOW - 100, NOW - 70), (NOW - 65, NOW)]


def test_times_networks_streams_and_purposes() -> None:
    assert not allowed(user(grant("live", valid_to_ms=NOW)), "live")
    assert decide(user(grant("live", valid_to_ms=NOW + 5)), Function.LIVE, CAMERA, NOW).until_ms == NOW + 5
    evening = (WeeklyWindow(frozenset({1}), 22 * 60, 23 * 60),)
    decision = decide(user(grant("live", weekly=evening)), Function.LIVE, CAMERA, NOW)
    assert decision.allow and decision.until_ms == NOW + 46 * MINUTE + 40_000
    later = decide(user(grant("live", weekly=evening)), Function.LIVE, CAMERA, NOW + 60 * MINUTE)
    assert (later.visible, later.reason.code) == (True, "access.outside_week")
    networked = user(grant("live", networks=("10.1.0.0/16",)))
    assert allowed(networked, "live", client="10.1.2.3") and allowed(networked, "live", client="::ffff:10.1.2.3")
    assert not allowed(networked, "live", client="10.2.2.3") and not allowed(networked, "live")
    small = user(grant("live", max_stream="sub"))
    assert allowed(small, "live", stream="sub") and not allowed(small, "live", stream="main")
    drill = user(grant("live", purposes=frozenset({"drill"})))
    assert allowed(drill, "live", purpose="drill") and not allowed(drill, "live")
    anybody = user(grant("live", "status"))
    assert not allowed(anybody, "live", purpose="curiosity"), "the list of purposes is closed"
    assert allowed(anybody, "status", purpose="curiosity"), "no picture, no purpose"


def test_one_picture_more_is_opened_while_the_grant_has_a_place() -> None:
    who = user(grant("live", "playback", "export", "snapshot", "ptz", max_streams=2))
    asked: tuple[tuple[dict[str, int] | None, str, dict[str, Any]], ...] = (
        (None, "live", {}),
        ({}, "live", {}),
        ({"g": 1}, "playback", {"from_ms": NOW - 5, "to_ms": NOW}),
        ({"g": 2, "other": 9}, "snapshot", {}),
        ({"g": 2}, "snapshot", {"from_ms": NOW - 5, "to_ms": NOW}),
        ({"g": 2}, "ptz", {}),
        ({"other": 9}, "export", {"from_ms": NOW - 5, "to_ms": NOW}),
    )
    for open_, name, more in asked:
        assert allowed(who, name, open_looks=open_, **more), (open_, name)
    for count in (2, 3):
        refused = decide(who, Function.LIVE, CAMERA, NOW, Facts(open_looks={"g": count}))
        assert (refused.allow, refused.visible, refused.too_many) == (False, True, True)
        assert refused.reason.params == {"most": 2}


def test_a_picture_is_counted_under_the_grants_that_it_needs() -> None:
    limited = grant("live", "playback", max_streams=1)
    free = replace(grant("live", footage_from_ms=NOW - 50), id="free")
    second = replace(limited, id="second")
    full = Facts(open_looks={"g": 1})
    assert decide(user(limited), Function.LIVE, CAMERA, NOW).counted_under == ("g",)
    assert decide(user(limited, free), Function.LIVE, CAMERA, NOW).counted_under == ()
    assert decide(user(limited, free), Function.LIVE, CAMERA, NOW, full).allow
    both = decide(user(limited, second), Function.LIVE, CAMERA, NOW)
    left = decide(user(limited, second), Function.LIVE, CAMERA, NOW, full)
    assert (both.counted_under, left.counted_under) == (("g", "second"), ("second",))
    # An unlimited grant of half the time does not make up for a limited one that is full.
    half = replace(grant("playback", footage_from_ms=NOW - 50), id="free")
    whole = Facts(from_ms=NOW - 100, to_ms=NOW)
    inside = Facts(from_ms=NOW - 40, to_ms=NOW)
    assert decide(user(limited, half), Function.PLAYBACK, CAMERA, NOW, whole).counted_under == ("g",)
    assert decide(user(limited, half), Function.PLAYBACK, CAMERA, NOW, inside).counted_under == ()
    assert decide(user(limited, half), Function.PLAYBACK, CAMERA, NOW, replace(whole, open_looks={"g": 1})).too_many
    assert decide(user(limited, half), Function.PLAYBACK, CAMERA, NOW, replace(inside, open_looks={"g": 1})).allow


# --- leases ----------------------------------------------------------------------------------------------------------


def lease(**more: Any) -> LeaseFact:
    base: dict[str, Any] = {
        "id": "L1",
        "side": "held",
        "node": "n2",
        "cameras": frozenset({"c1"}),
        "functions": frozenset({Function.LIVE, Function.PLAYBACK, Function.PTZ}),
        "max_stream": "main",
        "persons": frozenset({("李", "值班室")}),
        "expires_ms": NOW + 60 * MINUTE,
        "from_ms": NOW - 120 * MINUTE,
        "to_ms": NOW + 60 * MINUTE,
    }
    return LeaseFact(**(base | more))


def lower(*leases: LeaseFact) -> CameraResource:
    return replace(CAMERA, origin="lower", sharing="none", leases=leases)


def test_pictures_without_a_name_in_them_leave_with_who_may_hold_them() -> None:
    def original(who: Principal, camera: CameraResource = CAMERA, **facts: Any) -> tuple[bool, str]:
        whole: dict[str, Any] = {"from_ms": NOW - 10, "to_ms": NOW, "purpose": "evidence", "original": True}
        asked = Facts(**(whole | facts))
        decision = decide(who, Function.EXPORT, camera, NOW, asked)
        return decision.allow, decision.reason.code

    yes, no = (True, "access.allowed"), (False, "access.original")
    assert original(user(roles=("duty",))) == yes
    assert original(user(grant("export", "hold"))) == yes
    assert original(user(grant("export"))) == no
    assert original(user(grant("export"), grant("hold", effect="deny"), roles=("duty",))) == no
    assert original(token(grant("export", "hold", source="token"))) == no
    # The right to hold must cover the footage, and no export comes of hold alone.
    assert original(user(grant("export"), grant("hold", footage_from_ms=NOW - 5))) == no
    assert original(user(grant("hold"))) == (False, "access.no_function")
    # Of a lower tier's camera a lease says export, and the role says whether as evidence.
    pulled = lower(lease(functions=frozenset({Function.EXPORT}), from_ms=NOW - 10, to_ms=NOW))
    assert original(user(roles=("duty",)), pulled) == yes
    assert original(user(grant("hold", effect="deny"), roles=("duty",)), pulled) == no
    # It ends with the first of the two rights.
    short = user(grant("export"), grant("hold", valid_to_ms=NOW + 7))
    facts = Facts(from_ms=NOW - 10, to_ms=NOW, purpose="evidence", original=True)
    assert decide(short, Function.EXPORT, CAMERA, NOW, facts).until_ms == NOW + 7
    assert decide(short, Function.EXPORT, CAMERA, NOW, replace(facts, original=False)).until_ms is None


def test_every_export_carries_a_name_but_evidence_of_own_cameras() -> None:
    facts = Facts(from_ms=NOW - 10, to_ms=NOW, purpose="evidence")
    duty = user(roles=("duty",))
    pulled = lower(lease(functions=frozenset({Function.EXPORT}), from_ms=NOW - 10, to_ms=NOW))
    assert not marks_export(duty, CAMERA, NOW, facts)
    assert marks_export(duty, CAMERA, NOW, replace(facts, purpose="drill"))
    assert marks_export(duty, pulled, NOW, facts)
    assert marks_export(user(grant("export")), CAMERA, NOW, facts)
    assert marks_export(token(grant("export", "hold", source="token")), CAMERA, NOW, facts)


def why(principal: Principal, camera: CameraResource, name: str = "live") -> tuple[bool, bool, str]:
    decision = decide(principal, Function(name), camera, NOW)
    return decision.allow, decision.visible, decision.reason.code


def test_a_lower_camera_is_watched_under_a_lease_by_whom_it_names_and_whose_role_allows_it() -> None:
    duty = user(roles=("duty",))
    assert why(duty, lower()) == (False, True, "access.lease_needed")
    assert why(duty, lower(lease())) == (True, True, "access.allowed")
    assert decide(duty, Function.LIVE, lower(lease()), NOW).lease_id == "L1"
    assert why(replace(duty, name="王"), lower(lease()))[2] == "access.lease_not_yours"
    assert why(replace(duty, unit="别处"), lower(lease()))[2] == "access.lease_not_yours"
    assert why(duty, lower(lease(persons=frozenset({("*", "值班室")}))))[0]
    assert why(user(roles=("auxiliary",)), lower(lease()), "ptz")[2] == "access.role_lacks"
    assert why(duty, lower(lease()), "snapshot")[2] == "access.lease_lacks"
    assert why(duty, lower(lease(expires_ms=NOW)))[2] == "access.lease_needed"
    assert why(duty, lower(lease(ended_ms=NOW - 1)))[2] == "access.lease_needed"
    assert not why(user(), lower(lease()))[0]
    assert not decide(token(grant("live")), Function.LIVE, lower(lease()), NOW).visible
    assert why(replace(duty, grants=(grant("live", effect="deny"),)), lower(lease()))[2] == "access.denied"


def test_a_granted_lease_says_nothing_about_our_own_people() -> None:
    assert not allowed(user(roles=("duty",)), "live", lower(lease(side="granted")))


def test_an_unconfirmed_lease_keeps_a_small_picture_only() -> None:
    late = lower(lease(confirm_by_ms=NOW - 1))
    duty = user(roles=("duty",))
    assert allowed(duty, "live", late, stream="sub") and not allowed(duty, "live", late, stream="main")
    assert not allowed(duty, "playback", late, from_ms=NOW - 5, to_ms=NOW)
    early = lease(confirm_by_ms=NOW + 5)
    made = lease_as_grant(early, NOW)
    assert made is not None and made.conditions.valid_to_ms == NOW + 5


@pytest.mark.fault("S14")
def test_a_node_gets_what_the_lease_granted_to_it_and_nothing_else() -> None:
    node = Principal("node", "n2", "街道", "街道", "2102")
    mine = replace(CAMERA, sharing="none", leases=(lease(side="granted"),))
    assert allowed(node, "live", mine, lease_id="L1")
    assert not allowed(node, "playback", mine, from_ms=NOW - 121 * MINUTE, to_ms=NOW, lease_id="L1")
    assert not decide(node, Function.LIVE, CAMERA, NOW, Facts(lease_id="L1")).visible
    assert not allowed(replace(node, id="n3"), "live", mine, lease_id="L1")
    assert not allowed(replace(node, grants=(grant("live"),)), "live", CAMERA, lease_id="L1")
    assert not decide(node, Function.LIVE, mine, NOW).visible, "a node asks under a lease or not at all"


@pytest.mark.fault("S14")
@given(
    st.lists(
        st.builds(
            lease,
            id=st.sampled_from(["A", "B", "C"]),
            side=st.just("granted"),
            functions=st.frozensets(st.sampled_from([Function.LIVE, Function.PLAYBACK])),
            max_stream=st.sampled_from(["main", "sub"]),
            expires_ms=st.integers(NOW - 2, NOW + 9),
            confirm_by_ms=st.one_of(st.none(), st.integers(NOW - 2, NOW + 9)),
        ),
        max_size=3,
        unique_by=lambda one: one.id,
    ),
    st.sampled_from(["A", "B", "C", None]),
    st.sampled_from([Function.LIVE, Function.PLAYBACK]),
    st.sampled_from(["main", "sub"]),
)
def test_of_a_nodes_leases_the_one_it_asks_under_decides_alone(
    leases: list[LeaseFact], asked: str | None, function: Function, stream: Stream
) -> None:
    node = Principal("node", "n2", "街道", "街道", "2102")
    facts = Facts(stream, NOW - 5, NOW, lease_id=asked)

    def judged(some: list[LeaseFact]) -> Decision:
        return decide(node, function, replace(CAMERA, leases=tuple(some)), NOW, facts)

    found = judged(leases)
    assert found == judged([one for one in leases if one.id == asked])
    if found.allow:
        assert found.lease_id == asked


def test_a_lease_without_a_range_is_for_live_only() -> None:
    made = lease_as_grant(lease(from_ms=None, to_ms=None), NOW)
    assert made is not None and made.functions == {Function.LIVE, Function.PTZ}


# --- properties ------------------------------------------------------------------------------------------------------

_times = st.one_of(st.none(), st.integers(NOW - 300, NOW + 300))
_resources = st.builds(
    Resources,
    regions=st.frozensets(st.sampled_from(["21", "2102", "210211", "11"]), max_size=2),
    cameras=st.frozensets(st.sampled_from(["c1", "c2"]), max_size=2),
    areas=st.frozensets(st.sampled_from(["a1", "a2"]), max_size=1),
    departments=st.frozensets(st.sampled_from(["dep1", "dep2"]), max_size=1),
    all_own=st.booleans(),
)
_weekly = st.one_of(
    st.none(),
    st.lists(
        st.builds(
            WeeklyWindow,
            st.frozensets(st.integers(1, 7), min_size=1, max_size=3),
            st.integers(0, 1400),
            st.integers(1401, 1440),
        ),
        max_size=2,
    ).map(tuple),
)
_conditions = st.builds(
    Conditions,
    valid_from_ms=_times,
    valid_to_ms=_times,
    footage_from_ms=_times,
    footage_to_ms=_times,
    look_back_ms=st.one_of(st.none(), st.integers(0, 300)),
    weekly=_weekly,
    max_stream=st.sampled_from(["main", "sub"]),
    max_streams=st.one_of(st.none(), st.integers(1, 3)),
    purposes=st.one_of(st.none(), st.frozensets(st.sampled_from(["daily_watch", "drill"]))),
    networks=st.one_of(st.none(), st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "::/0"])).map(tuple)),
)


def _grants(effect: st.SearchStrategy[str]) -> st.SearchStrategy[Grant]:
    return st.builds(
        Grant,
        id=st.sampled_from(["g", "h"]),
        source=st.sampled_from(["user", "department"]),
        resources=_resources,
        functions=st.frozensets(st.sampled_from(Function), min_size=1),
        conditions=_conditions,
        effect=effect,
        within=st.lists(_resources, max_size=1).map(tuple),
    )


_allow = _grants(st.just("allow"))
_any = _grants(st.sampled_from(["allow", "allow", "deny"]))
_cameras = st.builds(
    CameraResource,
    id=st.sampled_from(["c1", "c2"]),
    regions=st.sampled_from([("210211", "2102", "21"), ("11",)]),
    department_id=st.sampled_from([None, "dep1", "dep2"]),
    areas=st.frozensets(st.sampled_from(["a1", "a2"])),
    secrecy=st.integers(0, 1),
    sharing=st.sampled_from(["none", "departments"]),
)
_open_looks = st.one_of(st.none(), st.dictionaries(st.sampled_from(["g", "h"]), st.integers(0, 3)))
_facts = st.builds(
    Facts,
    stream=st.sampled_from([None, "main", "sub"]),
    from_ms=st.integers(NOW - 200, NOW),
    to_ms=st.integers(NOW, NOW + 200),
    purpose=st.sampled_from(["daily_watch", "drill"]),
    client=st.sampled_from([None, "10.1.2.3", "10.2.2.3", "::1"]),
    open_looks=_open_looks,
) | st.builds(
    Facts,
    stream=st.sampled_from([None, "main", "sub"]),
    client=st.sampled_from([None, "10.1.2.3"]),
    open_looks=_open_looks,
)
_function = st.sampled_from(Function)


@settings(max_examples=120)
@given(st.lists(_any, max_size=4), _allow, _cameras, _function, _facts)
def test_removing_an_allowing_grant_never_adds_access(
    some: list[Grant], one: Grant, camera: CameraResource, function: Function, facts: Facts
) -> None:
    with_it, without = user(*some, one), user(*some)
    before, after = decide(with_it, function, camera, NOW, facts), decide(without, function, camera, NOW, facts)
    assert before.allow or not after.allow
    assert before.visible or not after.visible


@settings(max_examples=120)
@given(st.lists(_any, max_size=3), _grants(st.just("deny")), _cameras, _function, _facts)
def test_a_denial_never_adds_access(
    some: list[Grant], denial: Grant, camera: CameraResource, function: Function, facts: Facts
) -> None:
    after = decide(user(*some, denial), function, camera, NOW, facts)
    assert not after.allow or decide(user(*some), function, camera, NOW, facts).allow


@pytest.mark.fault("S13")
@settings(max_examples=200)
@given(_allow, st.lists(_allow, min_size=1, max_size=4), _cameras, _function, _facts)
def test_a_chain_of_narrowings_allows_no_more_than_any_link_of_it(
    first: Grant, chain: list[Grant], camera: CameraResource, function: Function, facts: Facts
) -> None:
    narrowed = first
    for by in chain:
        narrowed = narrow(narrowed, by)
    narrow_decision = decide(user(narrowed), function, camera, NOW, facts)
    if narrow_decision.allow:
        for wide in (first, *chain):
            link = replace(wide, source=first.source, id=first.id)  # by the same count of open pictures
            wide_decision = decide(user(link), function, camera, NOW, facts)
            assert wide_decision.allow
            assert wide_decision.max_stream == "main" or narrow_decision.max_stream == "sub"


@pytest.mark.fault("S13")
@pytest.mark.parametrize(
    ("limit", "facts"),
    [
        ({"valid_from_ms": NOW + 1}, {}),
        ({"valid_to_ms": NOW}, {}),
        ({"footage_from_ms": NOW - 5}, {}),
        ({"footage_to_ms": NOW - 5}, {}),
        ({"look_back_ms": 5}, {}),
        ({"weekly": ()}, {}),
        ({"max_stream": "sub"}, {"stream": "main"}),
        ({"max_streams": 2}, {"open_looks": {"g": 2}}),
        ({"purposes": frozenset({"drill"})}, {}),
        ({"networks": ("10.0.0.0/8",)}, {}),
    ],
)
def test_each_limit_survives_narrowing_from_either_side(limit: dict[str, Any], facts: dict[str, Any]) -> None:
    wide, tight = grant("playback"), grant("playback", **limit)
    asked = {"from_ms": NOW - 10, "to_ms": NOW} | facts
    assert allowed(user(wide), "playback", **asked)
    assert not allowed(user(narrow(wide, tight)), "playback", **asked)
    assert not allowed(user(narrow(tight, wide)), "playback", **asked)


@settings(max_examples=120)
@given(st.lists(_any, max_size=4), _cameras, _function, _facts)
def test_what_is_allowed_is_visible_and_what_is_invisible_looks_unknown(
    some: list[Grant], camera: CameraResource, function: Function, facts: Facts
) -> None:
    decision = decide(user(*some), function, camera, NOW, facts)
    assert decision.visible or not decision.allow
    if not decision.visible:
        assert decision == decide(user(*some), function, None, NOW, facts)


@settings(max_examples=120)
@given(_any)
def test_json_and_back_is_the_same_grant(one: Grant) -> None:
    assert Grant.from_json(one.id, "user", one.as_json()).as_json() == one.as_json()


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"functions": ["see"]},
        {"functions": "live"},
        {"functions": ["live"], "conditions": {"only_on_sundays": True}},
        {"functions": ["live"], "resources": {"everything": True}},
        {"functions": ["live"], "resources": {"all_own": 1}},
        {"functions": ["live"], "conditions": {"valid_to_ms": True}},
        {"functions": ["live"], "conditions": {"valid_to_ms": "5"}},
        {"functions": ["live"], "conditions": {"weekly": [{"days": [8], "from_minute": 0, "to_minute": 5}]}},
        {"functions": ["live"], "conditions": {"purposes": ["curiosity"]}},
        {"functions": ["live"], "conditions": {"networks": ["10.0.0.1/8"]}},
        {"functions": ["live"], "conditions": {"max_streams": 0}},
        {"functions": ["live"], "conditions": {"max_streams": "2"}},
        {"functions": ["live"], "effect": "maybe"},
        {"functions": ["live"], "extra": 1},
    ],
)
def test_a_grant_that_is_not_understood_is_refused(value: Any) -> None:
    with pytest.raises(TiergateError):
        Grant.from_json("g", "user", value)


def test_templates_are_for_own_cameras_only() -> None:
    assert all(g.resources == Resources(all_own=True) for grants in ROLES.values() for g in grants)
    assert isinstance(decide(user(roles=("duty",)), Function.LIVE, CAMERA, NOW), Decision)
