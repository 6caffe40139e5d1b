"""Rules of buckets: for any classes, nothing that a class or a hold keeps is ever ended by a bucket."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from config.units import DAY_MS
from storage.classes import RetentionClass, keep_until_ms
from storage.keys import CATALOG_FOLDER, QUARANTINE_FOLDER, segment_key
from storage.lifecycle import (
    NET_DAYS,
    OURS,
    UNFINISHED,
    BucketRule,
    differences,
    for_cache,
    for_evidence,
    for_footage,
    to_do,
    too_soon,
)

NODE = "0123456789abcdef"
classes = st.dictionaries(
    st.sampled_from(["default", "key", "other", "3_months", "permanent"]),
    st.builds(
        RetentionClass, st.just("c"), st.integers(0, 200), st.none() | st.integers(0, 120),
        st.none() | st.integers(0, 4_000), st.none(), st.booleans(),
    ),
)  # fmt: skip
rules = st.lists(
    st.builds(
        BucketRule, st.sampled_from([f"{OURS}a", f"{OURS}net-1", "theirs", "other", UNFINISHED.id]), st.just(""),
        st.none() | st.integers(1, 9), st.none() | st.integers(1, 500),
    ),
    unique_by=lambda rule: rule.id,
)  # fmt: skip


@given(classes, st.booleans(), st.booleans(), st.integers(1_600_000_000_000, 2_500_000_000_000))
def test_the_net_is_behind_every_class_and_never_under_a_hold(
    known: dict[str, RetentionClass], net: bool, holds_stand: bool, end_ms: int
) -> None:
    planned = for_footage(known, NODE, net, holds_stand)
    ends = [rule for rule in planned if rule.expire_days is not None]
    assert planned[0] == UNFINISHED
    if not net or holds_stand:
        assert ends == []
    for rule in ends:
        for class_ in known.values():
            if class_.for_hold:
                continue
            until = keep_until_ms(end_ms, class_)
            assert until is not None
            assert end_ms + (rule.expire_days or 0) * DAY_MS >= until + (NET_DAYS - 1) * DAY_MS


def test_the_net_covers_footage_and_neither_journal_nor_signed_heads() -> None:
    planned = for_footage({"default": RetentionClass("default", 0, 1, 30, 1, False)}, NODE, True, False)
    ends = [rule for rule in planned if rule.expire_days is not None]
    key = segment_key(NODE, "21010000011320000001", 1_790_000_000_000, "01M3250V002TJFQ7RYQ07T4ET1")
    assert [rule.expire_days for rule in ends if key.startswith(rule.prefix)] == [61]
    for folder in (CATALOG_FOLDER, QUARANTINE_FOLDER):
        assert not any(f"{NODE}/{folder}/x".startswith(rule.prefix) for rule in ends)


def test_a_hold_or_a_class_that_keeps_for_ever_leaves_no_place_for_the_net() -> None:
    month = RetentionClass("default", 0, 1, 30, 1, False)
    assert len(for_footage({"default": month}, NODE, True, False)) == 11
    assert for_footage({"default": month}, NODE, False, False) == (UNFINISHED,)
    assert for_footage({"default": month}, NODE, True, True) == (UNFINISHED,)
    for_ever = RetentionClass("key", 10, None, None, None, False)
    assert for_footage({"default": month, "key": for_ever}, NODE, True, False) == (UNFINISHED,)


def test_evidence_never_ends_by_itself_and_the_cache_does() -> None:
    assert [rule.expire_days for rule in for_evidence()] == [None]
    assert [rule.expire_days for rule in for_cache()] == [None, 30]


@given(rules, st.booleans(), st.none() | st.integers(1, 400))
def test_apply_makes_the_planned_rules_and_leaves_other_hands_alone(
    standing: list[BucketRule], cache: bool, shortest_days: int | None
) -> None:
    planned = for_cache() if cache else for_evidence()
    told = differences(planned, standing, shortest_days)
    after = {rule.id: rule for rule in standing}
    for one in to_do(told):
        if one.change == "remove":
            del after[one.rule.id]
        else:
            after[one.rule.id] = one.rule
    assert {id_: rule for id_, rule in after.items() if id_.startswith(OURS)} == {rule.id: rule for rule in planned}
    theirs = {rule.id: rule for rule in standing if not rule.id.startswith(OURS)}
    assert {id_: rule for id_, rule in after.items() if not id_.startswith(OURS)} == theirs
    assert to_do(differences(planned, after.values(), shortest_days)) == []
    for one in told:
        if one.change == "dangerous":
            assert one.rule.expire_days is not None
            assert shortest_days is None or one.rule.expire_days < shortest_days
        if one.change == "foreign" and one.rule.expire_days is not None:
            assert shortest_days is not None and one.rule.expire_days >= shortest_days


@given(classes, classes, st.booleans(), st.booleans())
def test_what_a_bucket_ends_too_soon_is_every_rule_of_ours_before_the_plan(
    before: dict[str, RetentionClass], after: dict[str, RetentionClass], held: bool, net: bool
) -> None:
    """Rules that were set for other classes, or before a hold."""
    standing = [*for_footage(before, NODE, True, False), BucketRule("theirs", "", expire_days=1)]
    planned = for_footage(after, NODE, net, held)
    ends = {rule.prefix: rule.expire_days for rule in planned if rule.expire_days is not None}
    found = too_soon(planned, standing)
    for rule in standing[:-1]:
        if rule.expire_days is not None:
            until_days = ends.get(rule.prefix)
            assert (rule in found) == (until_days is None or rule.expire_days < until_days)
    assert standing[-1] not in found
    assert too_soon(planned, planned) == []


def test_a_rule_of_ours_over_other_keys_or_switched_off() -> None:
    month = {"default": RetentionClass("default", 0, 1, 30, 1, False)}
    planned = for_footage(month, NODE, True, False)
    wide = replace(planned[1], prefix="")
    assert too_soon(planned, [wide]) == [wide]
    assert too_soon((UNFINISHED,), [replace(wide, enabled=False)]) == []
    assert too_soon(for_evidence(), for_cache()) == [for_cache()[1]]
