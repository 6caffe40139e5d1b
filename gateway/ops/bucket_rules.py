"""The lifecycle rules of the node's buckets: how far they are from the plan, and setting them.

Belongs here: asking and setting for all buckets of the node. Does not belong here: the plan (`storage.lifecycle`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from config.errors import TiergateError
from config.reasons import Reason
from config.settings import Settings
from storage import lifecycle
from storage.catalog import retention_rows
from storage.lifecycle import BucketRule, Difference
from storage.objects import Purpose, make_store
from storage.objects.s3 import S3Store
from storage.objects.s3_rules import read_rules, set_rules


@dataclass(frozen=True, slots=True)
class Plan:
    """Of one bucket."""

    purpose: Purpose
    rules: tuple[BucketRule, ...]
    shortest_days: int | None  #: a rule of another hand that ends objects sooner is dangerous; None: any is


@dataclass(frozen=True, slots=True)
class BucketState:
    bucket: str
    plan: Plan
    differences: tuple[Difference, ...]
    problem: Reason | None = None  #: why the bucket has no rules, or was not asked
    unread: bool = False  #: the bucket did not say which rules it has

    def as_json(self) -> dict[str, Any]:
        return {
            "bucket": self.bucket,
            "purpose": self.plan.purpose,
            "rules": [{"change": one.change} | one.rule.as_json() for one in self.differences],
            "problem": self.problem and self.problem.as_json(),
        }


def plans(connection: Connection, settings: Settings, node_id: str) -> list[Plan]:
    """Nothing for a folder: it has no rules of its own."""
    if settings.store.kind == "folder":
        return []
    classes = retention_rows.classes(connection)
    held = bool(retention_rows.holds(connection))
    footage = lifecycle.for_footage(classes, node_id, settings.store.expire_by_rule, held)
    return [
        Plan("video", footage, None if held else lifecycle.longest_days(classes)),
        Plan("evidence", lifecycle.for_evidence(), None),
        Plan("cache", lifecycle.for_cache(), 0),
    ]


def compare(settings: Settings, plans: list[Plan]) -> list[BucketState]:
    return [_compare(settings, plan) for plan in plans]


def apply(settings: Settings, plans: list[Plan]) -> list[BucketState]:
    """Sets what differs; what differs afterwards, the store has refused. That is said, not failed."""
    for plan in plans:
        state = _compare(settings, plan)
        if state.problem is None and lifecycle.to_do(state.differences):
            try:
                set_rules(_bucket(settings, plan), plan.rules)
            except TiergateError:
                continue  # the answer shows that nothing has changed
    return [replace(state, differences=tuple(map(_refused, state.differences))) for state in compare(settings, plans)]


def loosen(settings: Settings, plans: list[Plan]) -> list[Plan]:
    """Sets the planned rules where one of ours, whoever set it when, would end objects sooner: it is taken from under
    footage that is held by now, and lengthened behind a class that keeps longer. Where that was done.

    Raises media.store_unavailable, media.store_refused of the bucket with the footage; another one stops nothing.
    """
    done = []
    for plan in sorted(plans, key=lambda plan: plan.purpose != "video"):
        store = _bucket(settings, plan)
        try:
            if lifecycle.too_soon(plan.rules, read_rules(store) or ()):
                set_rules(store, plan.rules)
                done.append(plan)
        except TiergateError:
            if plan.purpose == "video":
                raise
    return done


def _refused(one: Difference) -> Difference:
    return replace(one, change="refused") if one.change in ("add", "change", "remove") else one


def _bucket(settings: Settings, plan: Plan) -> S3Store:
    store = make_store(settings, plan.purpose)
    if not isinstance(store, S3Store):
        raise TypeError("only buckets have rules")
    return store


def _compare(settings: Settings, plan: Plan) -> BucketState:
    store = _bucket(settings, plan)
    try:
        standing = read_rules(store)
    except TiergateError as error:
        return BucketState(store.bucket, plan, (), error.reason, unread=True)
    if standing is None:
        return BucketState(store.bucket, plan, (), Reason("retention.rules_none", {"bucket": store.bucket}))
    told = lifecycle.differences(plan.rules, standing, plan.shortest_days)
    return BucketState(store.bucket, plan, tuple(told))
