"""How standing holds are doing, for people: a colour for each, and a summary that metrics read.

Belongs here: the join of holds, copies and the canary. Does not belong here: the rule of the colours
(`storage.evidence_rules`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from storage import canary
from storage.catalog import evidence_rows, facts, retention_rows
from storage.catalog.retention_rows import HoldRow
from storage.evidence import FAILED_AFTER
from storage.evidence_rules import Colour, LockProof, Standing, colour

_FACT = "evidence.holds"


@dataclass(frozen=True, slots=True)
class HoldState:
    standing: Standing
    colour: Colour
    lock: LockProof

    def as_json(self) -> dict[str, Any]:
        found = self.standing
        return {
            "colour": self.colour,
            "segments": found.segments,
            "bytes": found.bytes,
            "verified": found.verified,
            "waiting": found.waiting,
            "bad": found.bad,
            "oldest_waiting_ms": found.oldest_waiting_ms,
            "lock": self.lock,
        }


def of_hold(connection: Connection, hold: HoldRow, now_ms: int) -> HoldState:
    standing = evidence_rows.standing_of(connection, hold, FAILED_AFTER, now_ms)
    lock = canary.proof(connection)
    return HoldState(standing, colour(standing, lock), lock)


def of_standing(connection: Connection, now_ms: int) -> list[tuple[HoldRow, HoldState]]:
    return [(row, of_hold(connection, row, now_ms)) for row in retention_rows.holds(connection)]


@dataclass(frozen=True, slots=True)
class Summary:
    """Of all standing holds, at the keeper's last pass."""

    at_ms: int
    colours: dict[str, int]
    waiting: int
    bad: int
    oldest_waiting_ms: int | None


def remember(connection: Connection, now_ms: int) -> None:
    states = [state for _, state in of_standing(connection, now_ms)]
    since = [s.standing.oldest_waiting_ms for s in states if s.standing.oldest_waiting_ms is not None]
    value = {
        "at_ms": now_ms,
        "colours": dict(Counter(state.colour for state in states)),
        "waiting": sum(state.standing.waiting for state in states),
        "bad": sum(state.standing.bad for state in states),
        "oldest_waiting_ms": min(since, default=None),
    }
    facts.set(connection, _FACT, value)


def summary(connection: Connection) -> Summary | None:
    found = facts.get(connection, _FACT)
    return None if found is None else Summary(**found)
