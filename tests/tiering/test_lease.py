"""Leases: what is granted, what it becomes over time, that nothing ever widens (FAULTS C3, S13, S15)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.crypto import DEFAULT_SUITE, sign
from config.errors import TiergateError
from config.units import DAY_MS, HOUR_MS
from tiering.cache_policy import HARD_TTL_MS, MAX_TTL_MS, CacheAct, cache_until_ms, decide_cache
from tiering.exchange import PAIRING_RULES, may_leave, mode_of
from tiering.lease import (
    CameraFacts,
    LeaseEvents,
    LeaseRequest,
    LeaseTerms,
    Peers,
    Permit,
    Person,
    Phase,
    canonical_json,
    decide_request,
    from_document,
    permit,
    phase,
    refuse_confirmation,
    renew,
    to_document,
    verify_document,
)
from tiering.lease_answer import unlike_renewal, unlike_request
from tiering.mechanism import EMERGENCY, MINUTE_MS, SHIPPED, SUPERVISION, Mechanism
from tiering.topology import TIER_ORDER, is_next_below, refuse_link, refuse_pull

NOW = 1_790_000_000_000
LEASE = "01JBQ8Y3M0AAAAAAAAAAAAAAAA"
RULES = {(grade, nature): mode for grade, nature, mode in PAIRING_RULES}
PEERS = Peers("a" * 16, "community", "b" * 16, "street", False, RULES)
CAMERAS = [f"210102000113260000{n:02d}" for n in range(60)]
FACTS = {c: CameraFacts(0, "none", True) for c in CAMERAS}
DUTY, SECOND = Person("Wang", "street centre"), Person("Li", "street centre")


def request(**more: object) -> LeaseRequest:
    values: dict[str, object] = {
        "mechanism": "emergency", "mechanism_version": 1, "case_no": "A-1", "reason": "fire at gate", "requester": DUTY,
        "persons": (DUTY,), "cameras": (CAMERAS[0],), "functions": ("live", "playback"), "minutes": 30,
        "from_ms": NOW - HOUR_MS, "to_ms": NOW + HOUR_MS,
    }  # fmt: skip
    return LeaseRequest(**{**values, **more})  # type: ignore[arg-type]  # fields by name


def grant(mechanism: Mechanism = EMERGENCY, **more: object) -> LeaseTerms:
    decision = decide_request(request(**more), mechanism, PEERS, FACTS, LEASE, NOW)
    assert decision.terms is not None, decision.reason
    return decision.terms


def test_a_range_that_is_cut_by_the_way_of_the_request_is_not_called_narrowed() -> None:
    """Above they ask for the two hours before their now; here it is a little later when they are granted."""
    for late_ms, said in ((40, []), (59_000, []), (61_000, ["tier.narrowed_range"])):
        asked = request(from_ms=NOW - EMERGENCY.look_back_ms - late_ms, to_ms=NOW + 30 * MINUTE_MS - late_ms)
        decision = decide_request(asked, EMERGENCY, PEERS, FACTS, LEASE, NOW)
        assert decision.terms is not None and decision.terms.from_ms == NOW - EMERGENCY.look_back_ms
        assert [one.code for one in decision.narrowed] == said


@pytest.mark.parametrize("shipped", SHIPPED)
def test_a_mechanism_is_read_as_it_was_written_by_this_version_and_by_older_ones(shipped: Mechanism) -> None:
    row = json.loads(json.dumps(shipped.as_json()))
    assert Mechanism.from_json(row) == shipped == Mechanism.from_json({**row, "priority": 1})
    for odd in ({**row, "more": 1}, {name: part for name, part in row.items() if name != "max_ms"}):
        with pytest.raises(TiergateError):
            Mechanism.from_json(odd)


def test_an_emergency_is_granted_at_once_and_without_sharing() -> None:
    terms = grant()
    assert (terms.expires_ms, terms.confirm_by_ms) == (NOW + 30 * MINUTE_MS, NOW + 30 * MINUTE_MS)
    assert terms.to_ms == NOW + 30 * MINUTE_MS  # not longer than the lease itself
    assert terms.cache_until_ms == terms.expires_ms + 72 * HOUR_MS


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"case_no": " "}, "tier.case_and_reason"),
        ({"reason": "test"}, "tier.case_and_reason"),
        ({"persons": ()}, "tier.persons_missing"),
        ({"persons": (Person("Wang", ""),)}, "tier.persons_missing"),
        ({"cameras": tuple(CAMERAS[:51])}, "tier.cameras_count"),
        ({"cameras": ()}, "tier.cameras_count"),
        ({"cameras": (CAMERAS[0], "2" * 20)}, "tier.camera_unknown"),
        ({"minutes": 0}, "tier.minutes_malformed"),
        ({"functions": ("export",)}, "tier.functions_none"),
        ({"functions": ("playback",), "from_ms": NOW - 5 * HOUR_MS, "to_ms": NOW - 4 * HOUR_MS}, "tier.range_outside"),
        ({"mechanism_version": 2}, "tier.mechanism_unknown"),
    ],
)
def test_what_the_rules_do_not_cover_is_refused_with_its_reason(change: dict[str, object], code: str) -> None:
    decision = decide_request(request(**change), EMERGENCY, PEERS, FACTS, LEASE, NOW)
    assert decision.terms is None and decision.reason is not None and decision.reason.code == code


@pytest.mark.parametrize(
    ("peers", "facts", "code"),
    [
        (replace(PEERS, suspended=True), FACTS, "tier.link_suspended"),
        (replace(PEERS, upper_tier="city"), FACTS, "tier.pull_direction"),
        (replace(PEERS, lower_tier="street", upper_tier="community"), FACTS, "tier.pull_direction"),
        (replace(PEERS, exchange={}), FACTS, "tier.camera_unknown"),
        (replace(PEERS, camera_ms_today=EMERGENCY.camera_ms_per_day), FACTS, "tier.quota_day"),
        (PEERS, {CAMERAS[0]: CameraFacts(1, "upper", True)}, "tier.camera_unknown"),
        (PEERS, {CAMERAS[0]: CameraFacts(0, "none", False)}, "tier.camera_disabled"),
    ],
)
def test_what_stands_between_the_nodes_is_respected(peers: Peers, facts: dict[str, CameraFacts], code: str) -> None:
    decision = decide_request(request(), EMERGENCY, peers, facts, LEASE, NOW)
    assert decision.terms is None and decision.reason is not None and decision.reason.code == code


def test_supervision_needs_another_person_and_a_shared_camera_and_keeps_nothing() -> None:
    asked = request(mechanism="supervision", functions=("live",), from_ms=None, to_ms=None)
    shared = {CAMERAS[0]: CameraFacts(0, "upper", True)}

    def code(one: LeaseRequest, facts: dict[str, CameraFacts]) -> str:
        decision = decide_request(one, SUPERVISION, PEERS, facts, LEASE, NOW)
        return decision.reason.code if decision.reason is not None else "granted"

    assert code(asked, shared) == "tier.approver_needed"
    assert code(replace(asked, approver=DUTY), shared) == "tier.approver_needed"
    assert code(replace(asked, approver=SECOND), FACTS) == "tier.camera_not_shared"
    terms = decide_request(replace(asked, approver=SECOND), SUPERVISION, PEERS, shared, LEASE, NOW).terms
    assert terms is not None and terms.max_stream == "sub" and terms.cache_until_ms == terms.expires_ms


def test_an_unconfirmed_emergency_keeps_only_a_small_live_picture() -> None:
    terms = grant(minutes=120)
    assert terms.confirm_by_ms is not None
    late = terms.confirm_by_ms

    def live(events: LeaseEvents, at_ms: int) -> str | None:
        return permit(terms, events, at_ms, camera=CAMERAS[0], function="live", stream="main").stream

    def recorded(at_ms: int) -> Permit:
        return permit(
            terms, LeaseEvents(), at_ms,
            camera=CAMERAS[0], function="playback", stream="main", from_ms=NOW - 5, to_ms=NOW,
        )  # fmt: skip

    assert live(LeaseEvents(), late - 1) == "main"
    assert live(LeaseEvents(), late) == "sub"
    assert live(LeaseEvents(confirmed_ms=late - 5), late) == "main"
    assert recorded(late - 1).stream == "main"
    refused = recorded(late)
    assert refused.stream is None and refused.reason is not None and refused.reason.code == "tier.unconfirmed"
    assert phase(terms, LeaseEvents(), terms.cache_until_ms, late) is Phase.DEGRADED


def test_phases_follow_time() -> None:
    terms = grant()
    seen = [
        phase(terms, LeaseEvents(confirmed_ms=NOW), terms.cache_until_ms, at)
        for at in (NOW, terms.expires_ms - 1, terms.expires_ms, terms.cache_until_ms - 1, terms.cache_until_ms)
    ]
    assert seen == [Phase.ACTIVE, Phase.ACTIVE, Phase.EXPIRED, Phase.EXPIRED, Phase.CACHE_OVER]
    ended = LeaseEvents(ended_ms=NOW + 1)
    assert phase(terms, ended, terms.cache_until_ms, NOW + 1) is Phase.ENDED
    assert phase(terms, ended, NOW + 1, NOW + 1) is Phase.CACHE_OVER


def test_confirmation_is_a_second_persons_or_waits() -> None:
    terms = grant()
    early, later = NOW + MINUTE_MS, NOW + EMERGENCY.self_confirm_after_ms
    assert refuse_confirmation(terms, EMERGENCY, LeaseEvents(), SECOND, early) is None
    refused = refuse_confirmation(terms, EMERGENCY, LeaseEvents(), DUTY, early)
    assert refused is not None and refused.code == "tier.confirm_second_person"
    assert refuse_confirmation(terms, EMERGENCY, LeaseEvents(), DUTY, later) is None
    assert refuse_confirmation(terms, EMERGENCY, LeaseEvents(ended_ms=early), SECOND, later) is not None


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 10**7)), max_size=8))
def test_renewals_never_pass_the_mechanisms_end(steps: list[tuple[int, int]]) -> None:
    terms, now = grant(minutes=120), NOW
    heard = terms
    for minutes, wait in steps:
        now += wait
        decision = renew(terms, EMERGENCY, LeaseEvents(confirmed_ms=NOW), "still burning", minutes, now)
        if decision.terms is not None:
            assert decision.terms.expires_ms <= now + EMERGENCY.max_ms
            for known in (terms, heard):  # the upper node may not have heard of some
                assert unlike_renewal(decision.terms, known, "still burning", minutes, now_ms=now, slack_ms=0) == ()
            terms, heard = decision.terms, heard if wait % 2 else decision.terms
    assert terms.renewals <= EMERGENCY.max_renewals
    assert terms.expires_ms <= NOW + EMERGENCY.absolute_ms
    assert terms.cache_until_ms <= min(terms.expires_ms + MAX_TTL_MS, NOW + HARD_TTL_MS)


@pytest.mark.parametrize("late_ms", [0, 1, 80, 30_000])
def test_recorded_footage_until_the_end_goes_on_over_a_renewal(late_ms: int) -> None:
    """Above they reckon the end by their clock and before the request is on its way."""
    terms = grant(to_ms=NOW - late_ms + 30 * MINUTE_MS)
    longer = renew(terms, EMERGENCY, LeaseEvents(confirmed_ms=NOW), "still burning", 60, NOW + 29 * MINUTE_MS).terms
    assert longer is not None and longer.to_ms == longer.expires_ms > terms.expires_ms
    cut = grant(to_ms=NOW + 20 * MINUTE_MS)  # a range that was to end before the lease keeps its end
    longer = renew(cut, EMERGENCY, LeaseEvents(confirmed_ms=NOW), "still burning", 60, NOW + 29 * MINUTE_MS).terms
    assert longer is not None and longer.to_ms == cut.to_ms


@pytest.mark.fault("S15")
def test_a_renewal_takes_no_more_than_is_left_of_the_day() -> None:
    terms, later = grant(cameras=tuple(CAMERAS[:2])), NOW + 29 * MINUTE_MS
    added_ms = 2 * (later + 30 * MINUTE_MS - terms.expires_ms)
    for left_ms, code in ((added_ms, None), (added_ms - 1, "tier.quota_day")):
        today_ms = EMERGENCY.camera_ms_per_day - left_ms
        decision = renew(terms, EMERGENCY, LeaseEvents(confirmed_ms=NOW), "still burning", 30, later, today_ms)
        assert (decision.reason and decision.reason.code) == code


letters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")  # what `tiering.wire` lets in
texts = st.text(letters, max_size=12)
requests = st.builds(
    LeaseRequest,
    mechanism=st.sampled_from(["emergency", "supervision"]),
    mechanism_version=st.just(1),
    case_no=texts,
    reason=st.text(letters, min_size=4, max_size=20),
    requester=st.just(DUTY),
    persons=st.lists(st.builds(Person, texts, texts), max_size=3).map(tuple),
    cameras=st.lists(st.sampled_from(CAMERAS), max_size=55).map(tuple),
    functions=st.lists(st.sampled_from(["live", "playback", "export", "ptz", "snapshot", "manage"])).map(tuple),
    minutes=st.integers(-5, 20_000),
    max_stream=st.sampled_from(["main", "sub"]),
    approver=st.sampled_from([None, DUTY, SECOND]),
    from_ms=st.one_of(st.none(), st.integers(NOW - 9 * HOUR_MS, NOW + 9 * HOUR_MS)),
    to_ms=st.one_of(st.none(), st.integers(NOW - 9 * HOUR_MS, NOW + 9 * HOUR_MS)),
    cache_minutes=st.one_of(st.none(), st.integers(-5, 20_000)),
)


@pytest.mark.fault("S13")
@settings(max_examples=300)
@given(requests, st.sampled_from(SHIPPED))
def test_a_lease_is_never_wider_than_request_or_mechanism(asked: LeaseRequest, mechanism: Mechanism) -> None:
    facts = {c: CameraFacts(0, "upper", True) for c in CAMERAS}
    terms = decide_request(asked, mechanism, PEERS, facts, LEASE, NOW).terms
    if terms is None:
        return
    assert set(terms.cameras) == set(asked.cameras) and len(terms.cameras) <= mechanism.max_cameras
    assert set(terms.functions) <= set(asked.functions) & set(mechanism.functions) and terms.functions
    assert NOW < terms.expires_ms <= NOW + min(asked.minutes * MINUTE_MS, mechanism.max_ms)
    assert "sub" not in (asked.max_stream, mechanism.max_stream) or terms.max_stream == "sub"
    assert terms.expires_ms <= terms.cache_until_ms <= terms.expires_ms + mechanism.cache_ttl_ms
    if terms.from_ms is not None and terms.to_ms is not None:
        assert asked.from_ms is not None and asked.to_ms is not None
        assert max(asked.from_ms, NOW - mechanism.look_back_ms) <= terms.from_ms < terms.to_ms <= asked.to_ms
        assert terms.to_ms <= terms.expires_ms
    else:
        assert "playback" not in terms.functions
    assert from_document(to_document(terms)) == terms
    assert unlike_of(terms, replace(asked, mechanism=mechanism.name), mechanism) == ()


def unlike_of(terms: LeaseTerms, asked: LeaseRequest, mechanism: Mechanism = EMERGENCY) -> tuple[str, ...]:
    """As the upper node of `PEERS` judges what comes back, by the same clock."""
    return unlike_request(
        terms, asked, mechanism, lower_node=PEERS.lower_node, upper_node=PEERS.upper_node, now_ms=NOW, slack_ms=0
    )


#: What a lower node may answer with that nobody asked for: field -> value.
OTHERS: list[tuple[str, dict[str, object]]] = [
    ("lower_node", {"lower_node": "c" * 16}), ("upper_node", {"upper_node": "c" * 16}),
    ("mechanism", {"mechanism": "supervision"}), ("mechanism_version", {"mechanism_version": 2}),
    ("kind", {"kind": "supervision"}), ("case_no", {"case_no": "A-2"}), ("reason", {"reason": "a fight"}),
    ("requester", {"requester": SECOND}), ("approver", {"approver": SECOND}), ("persons", {"persons": (DUTY, SECOND)}),
    ("cameras", {"cameras": tuple(CAMERAS[:2])}), ("functions", {"functions": ("live", "playback", "export")}),
    ("max_stream", {"max_stream": "main"}), ("range", {"from_ms": NOW - HOUR_MS - 1}), ("range", {"to_ms": None}),
    ("range", {"to_ms": NOW + HOUR_MS + 1}), ("expires_ms", {"expires_ms": NOW + 30 * MINUTE_MS + 1}),
    ("confirm_by_ms", {"confirm_by_ms": None}), ("confirm_by_ms", {"confirm_by_ms": NOW + HOUR_MS}),
    ("cache_until_ms", {"cache_until_ms": NOW + HARD_TTL_MS}), ("renewals", {"renewals": -1}),
]  # fmt: skip


@pytest.mark.fault("S13")
@pytest.mark.parametrize(("field", "other"), OTHERS)
def test_a_lease_that_is_another_than_asked_for_is_seen_in_the_field_where_it_is(
    field: str, other: dict[str, object]
) -> None:
    asked = request(max_stream="sub")
    terms = replace(grant(max_stream="sub"), **other)  # type: ignore[arg-type]  # fields by name
    assert unlike_of(terms, asked) == (field,)


@pytest.mark.fault("S13")
def test_a_lease_without_a_range_is_less_and_one_with_a_range_that_nobody_asked_for_is_more() -> None:
    live = grant(functions=("live",), from_ms=None, to_ms=None)
    assert unlike_of(live, request(functions=("live",))) == ()
    assert unlike_of(grant(), request(from_ms=None, to_ms=None)) == ("range",)


@pytest.mark.fault("S13")
def test_a_renewal_is_the_same_lease_for_longer_and_anything_else_is_seen() -> None:
    old, now = grant(max_stream="sub"), NOW + 5 * MINUTE_MS
    honest = renew(old, EMERGENCY, LeaseEvents(confirmed_ms=NOW), "still burning", 60, now).terms
    assert honest is not None

    def unlike(**other: object) -> tuple[str, ...]:
        terms = replace(honest, **other)  # type: ignore[arg-type]  # fields by name
        return unlike_renewal(terms, old, " still burning", 60, now_ms=now, slack_ms=0)

    assert unlike() == ()
    for field, other in OTHERS:
        if field not in ("range", "expires_ms", "cache_until_ms", "renewals"):
            assert unlike(**other) == (field,)
    assert unlike(id="x") == ("id",) and unlike(first_issued_ms=now) == ("first_issued_ms",)
    assert unlike(cameras=()) == ("cameras",), "nor is it less"
    assert unlike(from_ms=NOW - HOUR_MS - 1) == ("from_ms",)
    assert unlike(to_ms=honest.expires_ms + 1) == ("to_ms",)
    assert unlike(renewals=0) == ("renewals",)
    assert unlike(cache_until_ms=honest.cache_until_ms + 1) == ("cache_until_ms",)
    assert "expires_ms" in unlike(expires_ms=honest.expires_ms + 1)
    assert unlike_renewal(old, old, old.reason, 60, now_ms=now, slack_ms=0) == ("expires_ms", "renewals")


def test_only_the_signed_text_counts() -> None:
    key, other = bytes(range(32)), bytes(range(1, 33))
    terms = grant()
    document = to_document(terms)
    signature = sign(key, document.encode()).as_text()
    public = DEFAULT_SUITE.public_key(key)
    assert verify_document(document, signature, public).id == LEASE
    for text, by in ((document.replace("A-1", "A-2"), public), (document, DEFAULT_SUITE.public_key(other))):
        with pytest.raises(TiergateError) as refused:
            verify_document(text, signature, by)
        assert refused.value.reason.code == "tier.lease_signature"
    for text in (
        "{}", "[]", "x", document + " ", document.replace('"renewals":0', '"renewals":false'),
        document.replace(f'"from_ms":{terms.from_ms}', '"from_ms":"0"'), document.replace(f'"{CAMERAS[0]}"', "[]"),
    ):  # fmt: skip
        with pytest.raises(TiergateError):
            from_document(text)


ODD: dict[str, tuple[object, ...]] = {
    "id": ("x", "", None, 7, LEASE.lower(), LEASE + "0", "../" + LEASE[3:]),
    "lower_node": ("", None, 1, "n" * 41),
    "upper_node": ("", None, ["u"]),
    "mechanism": ("", None, "m" * 41),
    "mechanism_version": (None, "1", 1.0, True, -1, 1 << 31),
    "kind": ("war", None, 1, ["emergency"]),
    "case_no": (None, 3, "c" * 121, "\0", "\ud800"),
    "reason": (None, "r" * 501, "a\0b", "\udfff"),
    "requester": (None, {}, {"name": "W"}, {"name": "", "unit": "U"}, {"name": 1, "unit": "U"}, "Wang"),
    "approver": ({}, {"name": "W", "unit": "u" * 121}, {"name": [], "unit": "U"}, "Wang", 1),
    "persons": ([], None, [{}], [{"name": "\ud800", "unit": "U"}], [{"name": "W", "unit": "U"}] * 51, ["Wang"]),
    "cameras": ([], None, "", [1], ["x"], [CAMERAS[0] + "0"], [CAMERAS[0]] * 201, {CAMERAS[0]: 1}, [[CAMERAS[0]]]),
    "functions": ([], None, "live", [""], [None], ["live"] * 21, ["f" * 41]),
    "max_stream": ("all", None, 1),
    "from_ms": (None, "soon", -1, 1.5, True, NOW + 9 * DAY_MS, 1 << 48),
    "to_ms": (None, "late", -1, NOW - 9 * DAY_MS, 1 << 48),
    "first_issued_ms": (None, "0", True, -1, NOW + 1),
    "issued_ms": (None, 1.0, NOW - 1, NOW + DAY_MS),
    "expires_ms": (None, "x", NOW - 1, 1 << 48, 10**400),
    "confirm_by_ms": ("soon", -1, True, 1 << 48),
    "cache_until_ms": (None, 0, "x", NOW - 1, 10**15, NOW + 30 * MINUTE_MS + MAX_TTL_MS + 1),
    "renewals": (None, False, "0", -1, 1 << 31),
}


@pytest.mark.fault("S14")
@pytest.mark.parametrize("name", LeaseTerms.__slots__)
def test_a_signed_document_with_an_odd_field_is_no_lease(name: str) -> None:
    """It would stand in rows for days, and in the way of every purge."""
    good = json.loads(to_document(grant()))
    assert from_document(canonical_json(good)) == grant()
    for value in ODD[name]:
        with pytest.raises(TiergateError) as refused:
            from_document(canonical_json({**good, name: value}))
        assert refused.value.reason.code == "tier.document_malformed", value


def test_nothing_is_kept_longer_than_our_own_rule_lets_it() -> None:
    live = {"from_ms": None, "to_ms": None, "functions": ("live",)}
    longest = replace(grant(minutes=30), cache_until_ms=NOW + 30 * MINUTE_MS + MAX_TTL_MS)
    assert from_document(to_document(longest)) == longest
    week = replace(grant(), expires_ms=NOW + 9 * DAY_MS, cache_until_ms=NOW + HARD_TTL_MS)
    assert from_document(to_document(week)) == week
    bare = replace(grant(), **live, expires_ms=NOW + 9 * DAY_MS, cache_until_ms=NOW + 9 * DAY_MS)  # type: ignore[arg-type]  # fields by name
    assert from_document(to_document(bare)) == bare
    for terms in (longest, week, bare):
        with pytest.raises(TiergateError):
            from_document(to_document(replace(terms, cache_until_ms=terms.cache_until_ms + 1)))


def test_tiers_link_only_with_their_neighbours() -> None:
    below = [(u, low) for u in TIER_ORDER for low in TIER_ORDER if is_next_below(u, low)]
    assert below == [("city", "district"), ("district", "street"), ("street", "community")]
    assert refuse_pull("community", "street") is not None and refuse_pull("street", "street") is not None
    assert (
        refuse_link("community", "street", "upper") is None and refuse_link("community", "street", "lower") is not None
    )


def test_a_missing_exchange_rule_is_none() -> None:
    assert mode_of({}, "ordinary", "video") == "none" and not may_leave({}, "ordinary", "video")
    assert may_leave(RULES, "ordinary", "video") and not may_leave(RULES, "restricted", "video")
    assert mode_of({("ordinary", "video"): "whatever"}, "ordinary", "video") == "none"


@given(st.integers(0, 10**13), st.integers(0, 30 * DAY_MS), st.integers(-5, 30 * DAY_MS))
def test_no_cache_outlives_72_hours_after_its_lease_or_7_days(first: int, length: int, ttl: int) -> None:
    until = cache_until_ms(first, first + length, ttl)
    assert until <= first + length + MAX_TTL_MS and until <= first + HARD_TTL_MS


@given(st.integers(0, 100), st.integers(0, 100), st.booleans(), *(st.integers(0, 100) for _ in range(3)))
def test_the_quota_holds_and_nothing_is_stored_after_its_time(
    now: int, until: int, allowed: bool, used: int, quota: int, size: int
) -> None:
    act = decide_cache(now_ms=now, until_ms=until, allowed=allowed, used_bytes=used, quota_bytes=quota, size_bytes=size)
    if act is CacheAct.STORE:
        assert allowed and now < until and used + size <= quota
    assert (act is CacheAct.PURGE) == (now >= until)
