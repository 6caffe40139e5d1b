"""Retention rules: calendar, class, holds, clock, guard. The mutants below show that the property bites."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.reasons import Reason
from config.units import DAY_MS, HOUR_MS, SHANGHAI, format_time_ms, parse_time_ms
from storage import retention
from storage.classes import Membership, RetentionClass, class_of, judge_change, judge_days, keep_until_ms
from storage.clock_trust import ClockEvidence, Sighting, judge_clock
from storage.holds import Hold
from storage.retention import Candidate, Forecast, Planner, Verdict, judge_guard, may_delete, plan
from tests.parts.zone import ZONES, host_zone

CLASSES = {
    "default": RetentionClass("default", 0, 1, 30, 1, False),
    "key": RetentionClass("key", 10, 3, 90, 3, False),
    "permanent": RetentionClass("permanent", 100, None, None, None, True),
}
DEFAULT, KEY = CLASSES["default"], CLASSES["key"]
NOW_MS = parse_time_ms("2026-11-24T12:00:00+08:00")


def segment(end_ms: int, state: str = "stored", kind: str = "own", class_name: str = "default") -> Candidate:
    return Candidate("S", "C", end_ms - 60_000, end_ms, 1, kind, state, class_name)


def judge(candidate: Candidate, members: list[Membership], orders: list[Hold]) -> Verdict:
    (verdict,) = plan([candidate], {candidate.camera_id: members}, orders, CLASSES, NOW_MS)
    return verdict


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("end", "class_", "until"),
    [
        # a calendar month of February is 28 days: the 30 days of Order 799 art. 17 win (REQUIREMENTS R12)
        ("2027-02-01T00:00:00+08:00", DEFAULT, "2027-03-03T00:00:00.000+08:00"),
        ("2027-01-31T23:59:59+08:00", DEFAULT, "2027-03-02T23:59:59.000+08:00"),
        ("2028-01-31T12:00:00+08:00", DEFAULT, "2028-03-01T12:00:00.000+08:00"),  # leap February
        ("2026-12-31T12:00:00+08:00", DEFAULT, "2027-01-31T12:00:00.000+08:00"),  # 31 days: the calendar wins
        ("2026-11-30T12:00:00+08:00", KEY, "2027-02-28T12:00:00.000+08:00"),  # both are 90 days
        ("2027-02-01T00:00:00+08:00", KEY, "2027-05-02T00:00:00.000+08:00"),  # R13: 89 days by calendar
        ("2026-07-31T12:00:00+08:00", KEY, "2026-10-31T12:00:00.000+08:00"),  # 92 days
    ],
)
def test_a_month_is_never_less_than_thirty_days(end: str, class_: RetentionClass, until: str, zone: str) -> None:
    with host_zone(zone):
        found = keep_until_ms(parse_time_ms(end), class_)
        assert found is not None
        assert format_time_ms(found, local=True) == until


def test_the_local_calendar_counts_not_utc() -> None:
    # 16:30 UTC is already the next day in Shanghai: the month must count from there
    until = keep_until_ms(parse_time_ms("2026-10-30T16:30:00Z"), DEFAULT)
    assert until is not None
    assert format_time_ms(until, local=True) == "2026-11-30T00:30:00.000+08:00"


def test_raising_the_class_before_the_end_extends_existing_footage() -> None:
    end_ms = NOW_MS - 29 * DAY_MS
    assert class_of(end_ms - 1, end_ms, "default", [Membership("key", NOW_MS, None)], CLASSES) is KEY


def test_a_membership_after_the_footage_should_be_gone_does_not_revive_it() -> None:
    end_ms = NOW_MS - 40 * DAY_MS
    assert class_of(end_ms - 1, end_ms, "default", [Membership("key", NOW_MS, None)], CLASSES) is DEFAULT


def test_lowering_the_class_does_not_shorten_what_was_recorded_as_key() -> None:
    end_ms = NOW_MS - 40 * DAY_MS
    left = Membership("key", end_ms - 10 * DAY_MS, end_ms + DAY_MS)
    verdict = judge(segment(end_ms), [left], [])
    assert verdict.keep and verdict.class_name == "key"


def test_a_chain_of_memberships_is_followed_to_its_end() -> None:
    classes = CLASSES | {"half_year": RetentionClass("half_year", 20, 6, 180, 6, False)}
    end_ms = NOW_MS
    chain = [Membership("half_year", end_ms + 60 * DAY_MS, None), Membership("key", end_ms + 20 * DAY_MS, None)]
    assert class_of(end_ms - 1, end_ms, "default", chain, classes).name == "half_year"


@pytest.mark.fault("B18")
def test_a_key_camera_never_keeps_less_than_an_ordinary_one() -> None:
    classes = CLASSES | {"default": RetentionClass("default", 0, 4, 120, 1, False)}
    assert class_of(NOW_MS - 1, NOW_MS, "key", [Membership("key", 0, None)], classes).name == "default"
    equal = CLASSES | {"default": RetentionClass("default", 0, 3, 90, 1, False)}
    assert class_of(NOW_MS - 1, NOW_MS, "default", [Membership("key", 0, None)], equal) is KEY


def test_floor_has_no_exception_and_ceiling_needs_basis_and_second_person() -> None:
    below = judge_change(DEFAULT, 0, True)
    assert below is not None and below.code == "retention.below_floor"
    above = judge_change(KEY, 4, False)
    assert above is not None and above.code == "retention.above_ceiling"
    assert judge_change(KEY, 4, True) is None
    assert judge_change(KEY, 3, False) is None


@pytest.mark.parametrize("class_", [DEFAULT, KEY])
def test_beyond_half_a_year_footage_is_held_and_no_class_keeps_it(class_: RetentionClass) -> None:
    assert judge_change(class_, 6, True) is None
    for has_basis in (False, True):
        longer = judge_change(class_, 7, has_basis)
        assert longer is not None and longer.code == "retention.only_hold"


@pytest.mark.parametrize(
    ("class_", "days", "code"),
    [
        (DEFAULT, 20, "retention.below_floor_days"),
        (DEFAULT, 29, "retention.below_floor_days"),
        (KEY, 60, "retention.below_floor_days"),
        (DEFAULT, 45, "retention.whole_months"),
        (DEFAULT, 30, None),
        (KEY, 120, None),
    ],
)
def test_a_length_in_days_is_whole_months_above_the_floor(class_: RetentionClass, days: int, code: str | None) -> None:
    refusal = judge_days(class_, days)
    assert (refusal and refusal.code) == code


moments = st.integers(NOW_MS - 400 * DAY_MS, NOW_MS + 30 * DAY_MS)
memberships = st.lists(
    st.builds(
        lambda name, start, length: Membership(name, start, None if length is None else start + length),
        st.sampled_from(["default", "key"]),
        moments,
        st.none() | st.integers(1, 200 * DAY_MS),
    ),
    max_size=4,
)
holds = st.lists(
    st.builds(
        lambda start, length, released: Hold("H", frozenset({"C"}), start, start + length, "case", released),
        moments,
        st.integers(1, 400 * DAY_MS),
        st.none() | st.just(1),
    ),
    max_size=3,
)
segments = st.builds(
    segment,
    moments,
    st.sampled_from(["spooled", "stored", "condemned", "deleting", "lost", "unheard_of"]),
    st.sampled_from(["own", "cache", "evidence", "necessity"]),
    st.sampled_from(["default", "key", "class_of_tomorrow"]),
)


def _violations(candidate: Candidate, members: list[Membership], orders: list[Hold]) -> list[str]:
    """What I3 and I4 forbid, stated without the code under test."""
    verdict = next(iter(plan([candidate], {"C": members}, orders, CLASSES, NOW_MS)))
    touching = any(
        h.released_ms is None and h.from_ms <= candidate.end_ms and candidate.start_ms <= h.to_ms for h in orders
    )
    found = []
    if not verdict.keep:
        if touching:
            found.append("held")
        if NOW_MS - candidate.end_ms < 30 * DAY_MS:
            found.append("unexpired")
        if (
            candidate.kind != "own"
            or candidate.state not in ("stored", "condemned")
            or candidate.class_name not in CLASSES
        ):
            found.append("unknown")
    elif (
        not touching
        and candidate.kind == "own"
        and candidate.state == "stored"
        and candidate.class_name in CLASSES
        and NOW_MS - candidate.end_ms > 93 * DAY_MS
    ):
        found.append("overdue")
    return found


@given(segments, memberships, holds)
def test_nothing_held_unexpired_or_unknown_is_ever_removed_and_nothing_is_overkept(
    candidate: Candidate, members: list[Membership], orders: list[Hold]
) -> None:
    assert _violations(candidate, members, orders) == []


def plainly(
    candidate: Candidate,
    policy_of: dict[str, list[Membership]],
    orders: list[Hold],
    classes: dict[str, RetentionClass],
    now_ms: int,
) -> tuple[object, ...]:
    """What the plan must say of one segment, each rule written down as it is in REQUIREMENTS and nothing remembered."""
    members = policy_of.get(candidate.camera_id, [])
    class_ = class_of(candidate.start_ms, candidate.end_ms, candidate.class_name, members, classes)
    until = keep_until_ms(candidate.end_ms, class_)
    held = [hold for hold in orders if hold.covers(candidate.camera_id, candidate.start_ms, candidate.end_ms)]
    shown = None if until is None else format_time_ms(until, local=True)
    if candidate.kind != "own":
        reason = Reason("retention.not_ours", {"kind": candidate.kind})
    elif candidate.class_name not in classes:
        reason = Reason("retention.unknown_class", {"class": candidate.class_name})
    elif candidate.state not in ("stored", "condemned"):
        reason = Reason("retention.state_keeps", {"state": candidate.state})
    elif held:
        reason = Reason("retention.held", {"count": len(held), "case": held[0].case_no})
    elif until is None:
        reason = Reason("retention.permanent", {"class": class_.name})
    elif now_ms < until:
        reason = Reason("retention.within", {"until": shown, "class": class_.name})
    else:
        reason = Reason("retention.expired", {"until": shown, "class": class_.name})
    delete_by = None if until is None else until + 72 * HOUR_MS
    return candidate, reason.code != "retention.expired", class_.name, until, delete_by, reason


def told(verdict: Verdict) -> tuple[object, ...]:
    return *verdict[:4], verdict.delete_by_ms, verdict.reason


#: Midnights of Shanghai, where one answer for a day could go wrong, and years in which its clocks were put forward.
_EDGES = [parse_time_ms(f"{day}T00:00:00+08:00") for day in ("2026-10-31", "2026-11-01", "2028-02-29", "2027-01-01")]
_SUMMER_TIME = [
    int(datetime(*day, 3, tzinfo=SHANGHAI).timestamp()) * 1000 for day in ((1986, 8, 14), (1990, 8, 16), (1940, 5, 2))
]
_near = st.builds(
    lambda edge, off: edge + off,
    st.sampled_from([*_EDGES, *_SUMMER_TIME]),
    st.integers(-2, 2) | st.integers(-3 * DAY_MS, 3 * DAY_MS),
)
_any_moment = moments | _near
_members = st.lists(
    st.builds(
        lambda name, one, other: Membership(name, *((one, None) if other is None else sorted((one, other)))),
        st.sampled_from(["default", "key", "half_year", "permanent", "class_of_tomorrow"]),
        _any_moment,
        st.none() | _any_moment,
    ),
    max_size=4,
)
_orders = st.lists(
    st.builds(
        lambda case, cameras, start, length, released: Hold(
            "H", frozenset(cameras), start, start + length, case, released
        ),
        st.sampled_from(["a", "b", "c"]),
        st.sets(st.sampled_from("CDE")),
        _any_moment,
        st.integers(0, 2) | st.integers(1, 100 * DAY_MS),
        st.none() | st.just(1),
    ),
    max_size=6,
)
_candidates = st.builds(
    lambda camera, end, length, kind, state, class_: Candidate(
        "S", camera, end - length, end, 1, kind, state, class_, None
    ),
    st.sampled_from("CDE"),
    _any_moment,
    st.integers(0, 60_000) | st.integers(0, 3 * DAY_MS),
    st.sampled_from(["own"] * 4 + ["cache", "evidence"]),
    st.sampled_from(["stored"] * 3 + ["condemned", "spooled", "deleting", "lost"]),
    st.sampled_from(["default", "key", "half_year", "permanent", "class_of_tomorrow"]),
)
_WIDE = CLASSES | {"half_year": RetentionClass("half_year", 20, 6, 180, 6, False)}


@settings(max_examples=400)
@given(
    st.lists(_candidates, min_size=1, max_size=40),
    st.dictionaries(st.sampled_from("CD"), _members),
    _orders,
    st.sampled_from([1, 2, 4]),
    _any_moment,
)
def test_the_plan_over_many_says_what_judging_each_by_itself_says(
    candidates: list[Candidate],
    policy_of: dict[str, list[Membership]],
    orders: list[Hold],
    months: int,
    now_ms: int,
) -> None:
    classes = _WIDE | {"default": RetentionClass("default", 0, months, months * 30, 1, False)}
    planner = Planner(policy_of, orders, classes)
    expected = [plainly(one, policy_of, orders, classes, now_ms) for one in candidates]
    assert [told(verdict) for verdict in planner.plan(candidates, now_ms)] == expected
    assert [told(verdict) for verdict in planner.plan(candidates, now_ms)] == expected, "what it remembers"
    for one in candidates:
        touched = any(h.covers(one.camera_id, one.start_ms, one.end_ms) for h in orders)
        assert planner.is_held(one.camera_id, one.start_ms, one.end_ms) == touched


@pytest.mark.parametrize("off_ms", [-1, 0, 1])
def test_a_membership_that_ends_or_begins_within_a_day_parts_that_day(off_ms: int) -> None:
    noon_ms = parse_time_ms("2026-10-20T12:00:00+08:00")
    until = keep_until_ms(noon_ms, DEFAULT)
    assert until is not None
    members = {"C": [Membership("key", noon_ms - DAY_MS, noon_ms)], "D": [Membership("key", until, None)]}
    ends = [noon_ms + hours * HOUR_MS + off_ms for hours in (-3, 0, 3)]
    candidates = [Candidate("S", camera, end, end, 1, "own", "stored", "default") for camera in "CD" for end in ends]
    found = list(plan(candidates, members, [], CLASSES, NOW_MS))
    assert [told(v) for v in found] == [plainly(one, members, [], CLASSES, NOW_MS) for one in candidates]
    assert len({v.class_name for v in found[:3]}) == len({v.class_name for v in found[3:]}) == 2


def test_a_hold_holds_what_it_touches_by_a_millisecond_and_a_long_segment_what_it_began_in() -> None:
    start_ms, end_ms = NOW_MS - 100 * DAY_MS, NOW_MS - 97 * DAY_MS
    orders = [
        Hold("H", frozenset({"C"}), end_ms + 1, end_ms + 9, "late"),
        Hold("H", frozenset({"C"}), start_ms - 9, start_ms, "first"),
        Hold("H", frozenset({"D"}), start_ms - 9, start_ms - 1, "early"),
        Hold("H", frozenset({"E"}), end_ms, end_ms + 1, "last"),
    ]
    members = {"D": [Membership("permanent", 0, start_ms + 1)]}  # it ended two days before the segment did
    candidates = [Candidate("S", camera, start_ms, end_ms, 1, "own", "stored", "default") for camera in "CDEF"]
    found = list(plan(candidates, members, orders, CLASSES, NOW_MS))
    assert [told(v) for v in found] == [plainly(one, members, orders, CLASSES, NOW_MS) for one in candidates]
    assert [v.code.partition(".")[2] for v in found] == ["held", "permanent", "held", "expired"]


def test_in_years_of_summer_time_a_day_has_more_than_one_answer() -> None:
    """Footage of one morning of 1986 whose month ends on the two sides of a change of the clocks."""
    night_ms = int(datetime(1986, 8, 13, 23, tzinfo=SHANGHAI).timestamp()) * 1000
    candidates = [
        Candidate("S", "C", end, end, 1, "own", "stored", "default")
        for end in range(night_ms, night_ms + 8 * HOUR_MS, HOUR_MS // 2)
    ]
    found = list(plan(candidates, {}, [], CLASSES, NOW_MS))
    assert [told(v) for v in found] == [plainly(one, {}, [], CLASSES, NOW_MS) for one in candidates]
    assert len({(v.keep_until_ms or 0) - v.segment.end_ms for v in found}) > 1


def test_the_property_catches_a_plan_without_the_hold_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "holds_on", lambda *_: [])
    order = Hold("H", frozenset({"C"}), 0, NOW_MS, "case")
    assert _violations(segment(NOW_MS - 100 * DAY_MS), [], [order]) == ["held"]


def test_the_property_catches_a_plan_that_counts_calendar_months_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "keep_until_ms", lambda end_ms, _: end_ms + 28 * DAY_MS)
    assert _violations(segment(NOW_MS - 29 * DAY_MS), [], []) == ["unexpired"]


@given(segments, memberships, holds, st.none() | st.integers(0, 200))
def test_footage_of_unknown_date_ages_from_when_it_was_first_seen(
    candidate: Candidate, members: list[Membership], orders: list[Hold], days_ago: int | None
) -> None:
    """Its own dates are believed in nothing: as if it lasted from the beginning of time until then."""
    seen_ms = None if days_ago is None else NOW_MS - days_ago * DAY_MS
    doubtful = replace(candidate, date_unknown=True, aged_from_ms=seen_ms)
    as_if = replace(candidate, start_ms=0, end_ms=NOW_MS if seen_ms is None else seen_ms)
    assert judge(doubtful, members, orders) == judge(as_if, members, orders)._replace(segment=doubtful)


def test_a_condemned_segment_goes_only_after_its_grace() -> None:
    condemned = Candidate("S", "C", 0, 60_000, 1, "own", "condemned", "default", condemned_ms=NOW_MS - HOUR_MS)
    verdict = judge(condemned, [], [])
    assert not may_delete(verdict, NOW_MS, 24 * HOUR_MS)
    assert may_delete(verdict, NOW_MS + 23 * HOUR_MS, 24 * HOUR_MS)


WALL = NOW_MS
BOOT = Sighting(WALL - HOUR_MS, 1_000_000, "boot-1")


def evidence(
    wall_ms: int, monotonic_ms: int = 1_000_000 + HOUR_MS, boot: str = "boot-1", **more: object
) -> ClockEvidence:
    fields: dict[str, object] = {"kernel_synchronised": None, "store_ms": None, "peer_ms": None} | more
    return ClockEvidence(wall_ms, monotonic_ms, boot, **fields)  # type: ignore[arg-type]  # fields are checked by the dataclass


@pytest.mark.parametrize(
    ("what", "trusted", "code"),
    [
        (evidence(WALL), True, "retention.clock_steady"),
        (evidence(WALL + 31 * DAY_MS), False, "retention.clock_stepped"),
        (evidence(WALL + 31 * DAY_MS, kernel_synchronised=True), False, "retention.clock_stepped"),
        (evidence(WALL + 31 * DAY_MS, store_ms=WALL), False, "retention.clock_contradicted"),
        (evidence(WALL + 31 * DAY_MS, store_ms=WALL + 31 * DAY_MS), True, "retention.clock_steady"),
        (evidence(WALL + 31 * DAY_MS, person_ms=WALL), False, "retention.clock_told_other"),
        (evidence(WALL + 90_000, person_ms=WALL + 31_000), True, "retention.clock_steady"),
        (evidence(WALL + 90_000, person_ms=WALL + 29_000), False, "retention.clock_told_other"),
        (evidence(WALL, person_ms=WALL + 90_000), False, "retention.clock_told_other"),
        (evidence(WALL + 90_000, store_ms=WALL, person_ms=WALL + 90_000), False, "retention.clock_contradicted"),
        (evidence(WALL + DAY_MS, 5_000, "boot-2", person_ms=WALL + DAY_MS), False, "retention.clock_unproven"),
        (evidence(WALL - 365 * DAY_MS, person_ms=WALL - 365 * DAY_MS), False, "retention.clock_behind"),
        (evidence(WALL - 10 * 365 * DAY_MS), False, "retention.clock_behind"),
        (evidence(WALL + DAY_MS, 5_000, "boot-2"), False, "retention.clock_unproven"),
        (evidence(WALL + DAY_MS, 5_000, "boot-2", kernel_synchronised=True), True, "retention.clock_agreed"),
        (evidence(WALL + DAY_MS, 5_000, "boot-2", store_ms=WALL + DAY_MS + 900), True, "retention.clock_agreed"),
        (
            evidence(WALL + DAY_MS, 5_000, "boot-2", kernel_synchronised=True, store_ms=WALL),
            False,
            "retention.clock_contradicted",
        ),
    ],
)
def test_only_a_proven_clock_may_delete(what: ClockEvidence, trusted: bool, code: str) -> None:
    trust = judge_clock(what, BOOT, WALL - HOUR_MS)
    assert (trust.trusted, trust.reason.code) == (trusted, code)


def test_what_was_forecast_never_trips_the_guard_however_much_it_is() -> None:
    expected = Forecast(NOW_MS, tuple(range(0, 24 * 30 * 1000, 1000)))
    five_days = NOW_MS + 5 * DAY_MS
    assert judge_guard(120_000, 200_000, expected, five_days) is None


def test_footage_that_was_not_forecast_trips_the_guard() -> None:
    expected = Forecast(NOW_MS, (0,) * 24)
    refusal = judge_guard(50, 200, expected, NOW_MS + HOUR_MS)
    assert refusal is not None and refusal.code == "retention.guard_unexplained"
