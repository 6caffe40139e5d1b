"""What holds demand of the second copy: how long it is locked, when it may go, how a hold stands. (pure)

A lock runs as long as the hold's class says, from the hold's beginning or the segment's end, whichever is later; while
the hold stands beyond that, it is renewed before it runs out. Permanent is a legal hold. A lock is never shortened, so
only a proven time renews one, and a copy goes only when no hold needs it and the lock has run out: holds that overlap
need no count of their own.

Belongs here: decisions over values. Does not belong here: stores and rows (`storage.evidence`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from config.units import DAY_MS
from storage.classes import RetentionClass, keep_until_ms

RENEW_AHEAD_MS = 7 * DAY_MS  #: a standing hold's lock never runs out nearer than this
RENEWED_MS = 30 * DAY_MS

Colour = Literal["none", "green", "yellow", "red"]
LockProof = Literal["proven", "lies", "absent", "unknown"]


@dataclass(frozen=True, slots=True)
class Need:
    """What one standing hold asks for a segment that it covers."""

    class_name: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class LockTerms:
    """Of one copy: locked until a time, and by a legal hold as well."""

    until_ms: int | None = None
    legal_hold: bool = False


def lock_terms(
    end_ms: int, needs: Iterable[Need], classes: Mapping[str, RetentionClass], has: LockTerms, now_ms: int | None
) -> LockTerms:
    """What the lock must be now; `has` when nothing is to be done. A class that nobody knows is kept as for ever.

    `now_ms` is None where nobody vouches for the time: then footage and holds alone say how long, and nothing is
    renewed.
    """
    until_ms, legal_hold, any_need = has.until_ms or 0, False, False
    for need in needs:
        any_need = True
        class_ = classes.get(need.class_name)
        until = None if class_ is None else keep_until_ms(max(end_ms, need.created_ms), class_)
        if until is None:
            legal_hold = True
        else:
            until_ms = max(until_ms, until)
    if now_ms is not None and any_need and not legal_hold and until_ms < now_ms + RENEW_AHEAD_MS:
        until_ms = now_ms + RENEWED_MS
    return LockTerms(until_ms or None, legal_hold)


def may_go(needs: Iterable[Need], has: LockTerms, now_ms: int) -> bool:
    """Whether the copy may be deleted: nobody needs it, and no lock stands."""
    return not any(True for _ in needs) and not has.legal_hold and (has.until_ms is None or has.until_ms <= now_ms)


def explains(needs: Iterable[Need], classes: Mapping[str, RetentionClass], lock: LockTerms, now_ms: int) -> bool:
    """Whether holds that stand or stood account for a lock that somebody set. Where they do not, whoever set it may
    still need it."""
    needed = list(needs)
    endless = any((class_ := classes.get(n.class_name)) is None or keep_until_ms(0, class_) is None for n in needed)
    return (endless or not lock.legal_hold) and (bool(needed) or (lock.until_ms or 0) <= now_ms)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the footage of one hold is in two places. Footage that was gone before the hold does not count."""

    segments: int = 0
    bytes: int = 0
    verified: int = 0  #: whole in both places
    waiting: int = 0  #: recorded, not yet copied and read back
    bad: int = 0  #: damaged or lost in the store, or the copy cannot be made
    oldest_waiting_ms: int | None = None  #: since when the one that has waited longest could have been copied


def colour(standing: Standing, lock: LockProof) -> Colour:
    """Green only when every segment is verified in both places, and the store does not lie about its locks."""
    if standing.bad:
        return "red"
    if standing.segments == 0:
        return "none"
    if standing.verified < standing.segments or lock == "lies":
        return "yellow"
    return "green"
