"""Changes of a retention class: longer at once, shorter (or above the ceiling) after seven days.

A change that waits is a fact of the catalog; the sweep applies it when the trusted clock has passed `effective_ms`, in
the transaction that also renews the forecast, so that what a person announced a week ago does not trip the guard.

Belongs here: asking, waiting, applying. Does not belong here: what is allowed (`storage.classes.judge_change`), who
may ask.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.units import DAY_MS
from storage.audit import log as audit
from storage.catalog import facts, retention_rows
from storage.classes import MIN_DAYS_PER_MONTH, RetentionClass, judge_change

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


def _set_pending(connection: Connection, changes: dict[str, Change]) -> None:
    facts.set(connection, _PENDING, {name: asdict(change) for name, change in changes.items()})


def ask(
    connection: Connection,
    class_name: str,
    months: int,
    now_ms: int,
    actor: str,
    legal_basis: str | None = None,
    small_governance: bool = True,
) -> Change:
    """The change, applied already when it only lengthens within the ceiling. Audited.

    Raises retention.class_unknown, class_fixed, below_floor, above_ceiling. Under small governance the delay and the
    audited notice stand in for the second person that a length above the ceiling needs.
    """
    classes = retention_rows.classes(connection)
    class_ = classes.get(class_name)
    if class_ is None:
        known = ", ".join(c.name for c in classes.values() if not c.for_hold)
        raise TiergateError(Kind.NOT_FOUND, "retention.class_unknown", **{"class": class_name[:40], "known": known})
    if class_.for_hold or class_.months is None:
        raise TiergateError(Kind.INVALID, "retention.class_fixed", **{"class": class_.name})
    refusal = judge_change(class_, months, bool(legal_basis), approved=small_governance)
    if refusal is not None:
        raise TiergateError(Kind.INVALID, refusal.code, **refusal.params)
    above = class_.ceiling_months is not None and months > class_.ceiling_months
    waits = months < class_.months or above
    min_days = months * MIN_DAYS_PER_MONTH
    change = Change(class_name, months, min_days, now_ms, actor, now_ms + (WAIT_MS if waits else 0), legal_basis)
    waiting = pending(connection)
    waiting.pop(class_name, None)  # the latest word of an administrator replaces an earlier one
    if waits:
        waiting[class_name] = change
    else:
        retention_rows.set_class_months(connection, class_name, months, min_days, now_ms)
    _set_pending(connection, waiting)
    details: dict[str, Any] = {"from_months": class_.months, **asdict(change), "waits": waits}
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
    _set_pending(connection, waiting)
