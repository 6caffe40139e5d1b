"""Changes of a retention class: longer at once, shorter (or above the ceiling) after seven days.

A change that waits is a fact of the catalog; the sweep applies it when the trusted clock has passed `effective_ms`, in
the transaction that also renews the forecast, so that what a person announced a week ago does not trip the guard.

Belongs here: asking, waiting, applying. Does not belong here: what is allowed (`storage.classes.judge_change`), who
may ask, who must agree (`storage.approval_rules`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.units import DAY_MS
from storage.approval_rules import Governance, needed_reason, needs_second, shorter_or_above
from storage.audit import log as audit
from storage.catalog import facts, retention_rows
from storage.classes import MIN_DAYS_PER_MONTH, RetentionClass, judge_change, judge_days
from storage.clock_trust import HIGH_WATER

WAIT_MS = 7 * DAY_MS
_PENDING = "retention.pending"


@dataclass(frozen=True, slots=True)
class Change:
    """A class is to keep `months` months from `effective_ms` on."""

    class_name: str
    months: int
    min_days: int
    asked_ms: int
    asked_by: str
    effective_ms: int
    legal_basis: str | None = None

    def on(self, class_: RetentionClass) -> RetentionClass:
        return RetentionClass(
            class_.name, class_.rank, self.months, self.min_days, class_.ceiling_months, class_.for_hold
        )


def pending(connection: Connection) -> dict[str, Change]:
    """Changes that wait, by class."""
    return {name: Change(**value) for name, value in (facts.get(connection, _PENDING) or {}).items()}


def set_pending(connection: Connection, changes: Iterable[Change]) -> None:
    """These wait, and no others."""
    facts.set(connection, _PENDING, {change.class_name: asdict(change) for change in changes})


def drop(connection: Connection, carried: Collection[Change], now_ms: int, actor: str) -> list[Change]:
    """After a restore: only those of `carried` go on waiting; the others, which must be asked for again."""
    waiting = pending(connection)
    dropped = [change for change in waiting.values() if change not in carried]
    for change in dropped:
        audit.append(connection, now_ms, actor, "retention.drop", change.class_name, asdict(change))
    set_pending(connection, [change for change in waiting.values() if change in carried])
    return dropped


def propose(connection: Connection, class_name: str, months: int, legal_basis: str | None) -> dict[str, Any]:
    """What would be changed, as the parameters of the action `retention.set`: all that two persons have to read.

    Raises retention.class_unknown, class_fixed, below_floor, above_ceiling.
    """
    class_ = _known(connection, class_name)
    refusal = judge_change(class_, months, bool(legal_basis))
    if refusal is not None:
        raise TiergateError(Kind.INVALID, refusal.code, **refusal.params)
    waiting = pending(connection).get(class_name)
    return {
        "class": class_name,
        "months": months,
        "from_months": class_.months,
        "ceiling": class_.ceiling_months,
        "legal_basis": legal_basis,
        "replaces_months": None if waiting is None else waiting.months,
    }


def months_of_days(connection: Connection, class_name: str, days: int) -> int:
    """A length in days as months. Raises retention.class_unknown, class_fixed, below_floor_days, whole_months."""
    refusal = judge_days(_known(connection, class_name), days)
    if refusal is not None:
        raise TiergateError(Kind.INVALID, refusal.code, **refusal.params)
    return days // MIN_DAYS_PER_MONTH


def _known(connection: Connection, class_name: str) -> RetentionClass:
    classes = retention_rows.classes(connection)
    class_ = classes.get(class_name)
    if class_ is None:
        known = ", ".join(c.name for c in classes.values() if not c.for_hold)
        raise TiergateError(Kind.NOT_FOUND, "retention.class_unknown", **{"class": class_name[:40], "known": known})
    return class_


def ask(
    connection: Connection,
    class_name: str,
    months: int,
    now_ms: int,
    actor: str,
    legal_basis: str | None = None,
    governance: Governance = "small",
    approver: str | None = None,
) -> Change:
    """The change, applied already when it only lengthens within the ceiling. Audited.

    Raises retention.class_unknown, class_fixed, below_floor, above_ceiling, and approval.needed for what one person
    alone may not do under this governance. Under small governance the delay and the audited notice stand in.
    """
    class_ = _known(connection, class_name)
    # Nobody has judged this clock, and one that runs ahead must not end a week early: what is due by it and shortens is
    # left to the sweep, or replaced here like any other that waits. What lengthens may come early.
    mine = [change for change in due(connection, now_ms) if change.class_name == class_name]
    apply(connection, [change for change in mine if change.months > (class_.months or 0)], now_ms, actor)
    proposal = propose(connection, class_name, months, legal_basis)
    if approver is None and needs_second("retention.set", proposal, governance):
        needed = needed_reason("retention.set")
        raise TiergateError(Kind.FORBIDDEN, needed.code, **needed.params)
    waits = shorter_or_above(proposal)
    min_days = months * MIN_DAYS_PER_MONTH
    # Nor must one that fell behind shorten the week.
    from_ms = max(now_ms, facts.get(connection, HIGH_WATER) or 0)
    change = Change(class_name, months, min_days, now_ms, actor, from_ms + WAIT_MS if waits else now_ms, legal_basis)
    waiting = pending(connection)
    waiting.pop(class_name, None)  # the latest word of an administrator replaces an earlier one
    if waits:
        waiting[class_name] = change
    else:
        retention_rows.set_class_months(connection, class_name, months, min_days, now_ms)
    set_pending(connection, waiting.values())
    details = {"from_months": proposal["from_months"], **asdict(change), "waits": waits, "approver": approver}
    audit.append(connection, now_ms, actor, "retention.set", class_name, details)
    return change


def due(connection: Connection, now_ms: int) -> list[Change]:
    return [change for change in pending(connection).values() if change.effective_ms <= now_ms]


def apply(connection: Connection, changes: list[Change], now_ms: int, actor: str) -> None:
    """Makes waiting changes hold; one that was replaced meanwhile is left alone."""
    waiting = pending(connection)
    for change in changes:
        if waiting.get(change.class_name) == change:
            del waiting[change.class_name]
            retention_rows.set_class_months(connection, change.class_name, change.months, change.min_days, now_ms)
            audit.append(connection, now_ms, actor, "retention.apply", change.class_name, asdict(change))
    set_pending(connection, waiting.values())
