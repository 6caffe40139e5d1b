"""A finding of `doctor`: how bad, one sentence, the next step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from config.clock import Clock
from config.reasons import Reason
from config.settings import Settings
from storage.catalog.engine import Catalog

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
class Probe:
    """What a check may look at."""

    settings: Settings
    clock: Clock
    catalog: Catalog | None  #: None: it cannot be opened, which is a finding of its own
    quick: bool = False

    @property
    def now_ms(self) -> int:
        return self.clock.wall_ns() // 1_000_000


def fine(check: str, code: str, **params: object) -> Finding:
    return Finding(check, "ok", Reason(code, params))


def found(check: str, level: Level, reason: Reason, following: Reason) -> Finding:
    return Finding(check, level, reason, following)
