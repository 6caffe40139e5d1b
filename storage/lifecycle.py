"""Rules that a bucket carries out by itself: which each should have, and how far it is from them. (pure)

The clock of each class is ours (`storage.retention`); a bucket knows neither holds nor areas nor a clock that went
wrong. What it may do by itself is end uploads that nobody finishes, empty the temporary cache long after every lease,
and, where an administrator wants a last net, remove footage a month after the longest class, never while a hold stands.
Such a net is by camera prefixes: the catalog's journal and the signed heads of the audit log lie in the same bucket.

Belongs here: planning and comparing. Does not belong here: asking a bucket (`storage.objects.s3_rules`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from storage.classes import RetentionClass

Change = Literal["add", "change", "remove", "keep", "foreign", "dangerous", "refused"]

OURS = "tiergate-"
UNFINISHED_DAYS = 1
CACHE_DAYS = 30  #: no lease's cache lasts longer than 72 hours
NET_DAYS = 30  #: after the longest class
LONGEST_MONTH_DAYS = 31


@dataclass(frozen=True, slots=True)
class BucketRule:
    id: str
    prefix: str = ""
    abort_days: int | None = None  #: unfinished uploads end after so many days
    expire_days: int | None = None  #: objects end after so many days
    enabled: bool = True
    other: bool = False  #: does more than these fields say (only rules of another hand)

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "prefix": self.prefix, "abort_days": self.abort_days, "expire_days": self.expire_days}


UNFINISHED = BucketRule(f"{OURS}unfinished-uploads", abort_days=UNFINISHED_DAYS)


def longest_days(classes: Mapping[str, RetentionClass]) -> int:
    """Most days that a class without a hold keeps footage."""
    own = [c for c in classes.values() if not c.for_hold and c.months is not None]
    return max((max((c.months or 0) * LONGEST_MONTH_DAYS, c.min_days or 0) for c in own), default=0)


def for_footage(
    classes: Mapping[str, RetentionClass], node_id: str, net: bool, holds_stand: bool
) -> tuple[BucketRule, ...]:
    """A class that keeps for ever, or a hold, leaves no place for a net."""
    for_ever = any(c.months is None and not c.for_hold for c in classes.values())
    if not net or holds_stand or for_ever or longest_days(classes) == 0:
        return (UNFINISHED,)
    days = longest_days(classes) + NET_DAYS
    return (UNFINISHED, *(BucketRule(f"{OURS}net-{n}", f"{node_id}/{n}", expire_days=days) for n in range(10)))


def for_evidence() -> tuple[BucketRule, ...]:
    """Nothing there ends by itself."""
    return (UNFINISHED,)


def for_cache() -> tuple[BucketRule, ...]:
    return (UNFINISHED, BucketRule(f"{OURS}cache", expire_days=CACHE_DAYS))


@dataclass(frozen=True, slots=True)
class Difference:
    change: Change
    rule: BucketRule


def differences(
    planned: Iterable[BucketRule], standing: Iterable[BucketRule], shortest_days: int | None
) -> list[Difference]:
    """What `apply` would do, rule by rule. Another hand's rules are never touched; one that ends objects sooner than
    `shortest_days` (None: ever) deletes what must stay, and is said to be dangerous."""
    wanted, found = {rule.id: rule for rule in planned}, {rule.id: rule for rule in standing}
    told: list[Difference] = []
    for id_, rule in found.items():
        if id_ in wanted:
            told.append(Difference("keep" if rule == wanted[id_] else "change", wanted[id_]))
        elif id_.startswith(OURS):
            told.append(Difference("remove", rule))
        else:
            ends = rule.enabled and rule.expire_days is not None
            soon = ends and (shortest_days is None or (rule.expire_days or 0) < shortest_days)
            told.append(Difference("dangerous" if soon else "foreign", rule))
    told += [Difference("add", rule) for id_, rule in wanted.items() if id_ not in found]
    return told


def too_soon(planned: Iterable[BucketRule], standing: Iterable[BucketRule]) -> list[BucketRule]:
    """Standing rules of ours that end objects sooner than is planned, others than is planned, or that nobody plans any
    more: a hold was placed, a class keeps longer."""
    wanted = {rule.id: rule for rule in planned}
    found = []
    for rule in standing:
        if not rule.id.startswith(OURS) or not rule.enabled or rule.expire_days is None:
            continue
        plan = wanted.get(rule.id)
        if (
            plan is None
            or plan.expire_days is None
            or plan.prefix != rule.prefix
            or rule.expire_days < plan.expire_days
        ):
            found.append(rule)
    return found


def to_do(told: Iterable[Difference]) -> list[Difference]:
    return [one for one in told if one.change in ("add", "change", "remove")]
