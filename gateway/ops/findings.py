"""A finding of `doctor`: how bad, one sentence, the next step; and what a check says in all. (pure)"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from config.reasons import Reason

Level = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    check: str
    level: Level
    reason: Reason
    next: Reason | None = None

    def as_json(self) -> dict[str, Any]:
        following = None if self.next is None else self.next.as_json()
        return {"check": self.check, "level": self.level, "reason": self.reason.as_json(), "next": following}


@dataclass(frozen=True, slots=True)
class Answer:
    """What one check says. Its findings may stand under other names than its own."""

    check: str
    findings: tuple[Finding, ...] = ()
    whole: bool = True  #: False: it could not ask, or not everything; that it says nothing of a fault is no good sign


class NotAsked(Exception):
    """A check cannot ask all that it should judge. A line, its own or another's, says why."""


def fine(check: str, code: str, **params: object) -> Finding:
    return Finding(check, "ok", Reason(code, params))


def found(check: str, level: Level, reason: Reason, following: Reason) -> Finding:
    return Finding(check, level, reason, following)
