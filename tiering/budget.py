"""The line budget: how many streams may go up one link at once. (pure)

The static cap (DESIGN §6 "Thin lines"): 1 main + 4 sub on 10 Mbit/s, scaled by the link's capacity. A main stream that
finds no place is offered as `sub` (reason `tier.reduced_for_line`); a sub that finds none is refused with what it
would need. An upper node opens one stream per lease and camera however many people watch there, so a flow here is a
line's stream, not a viewer. Recorded bytes get what the live flows leave, paced (P4-P6).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from config.reasons import Reason

REFERENCE_BPS = 10_000_000  #: the line for which the caps are written
USABLE_PERCENT = {"dedicated": 90, "shared": 75, "diode": 0}  #: of capacity, for video
#: A stream's place in the account, transport included (REQUIREMENTS §4.1): 4 Mbit/s and 512 kbit/s × 1.10.
COST_BPS = {"main": 4_400_000, "sub": 563_200}
REDUCED = Reason("tier.reduced_for_line")
RANGE_FLOOR_PERCENT = 5  #: of usable: recorded bytes crawl on a full line but never stop dead


@dataclass(frozen=True, slots=True)
class Line:
    """A link as the budget sees it."""

    capacity_bps: int
    kind: str = "shared"
    max_main: int = 1  #: at REFERENCE_BPS
    max_sub: int = 4

    @property
    def usable_bps(self) -> int:
        return self.capacity_bps * USABLE_PERCENT.get(self.kind, 0) // 100

    @property
    def caps(self) -> tuple[int, int]:
        """(main, sub) at once. A line too thin for the scaled cap still carries one sub if it fits."""
        if self.usable_bps < COST_BPS["sub"]:
            return 0, 0
        main = self.max_main * self.capacity_bps // REFERENCE_BPS
        sub = self.max_sub * self.capacity_bps // REFERENCE_BPS
        return main, max(sub, 1) if self.max_sub else 0


@dataclass(frozen=True, slots=True)
class Admission:
    stream: str | None  #: what is granted; None: nothing
    reason: Reason | None  #: why it is less than asked, or refused


def count(streams: Iterable[str]) -> tuple[int, int]:
    listed = list(streams)
    return listed.count("main"), listed.count("sub")


def fits(line: Line, streams: Sequence[str]) -> bool:
    """Whether all of `streams` together stay inside the cap. A sub may sit in a main's free place."""
    main, sub = count(streams)
    cap_main, cap_sub = line.caps
    return main + max(0, sub - cap_sub) <= cap_main


def admit(line: Line, active: Sequence[str], wanted: str) -> Admission:
    """Decide on one more stream of quality `wanted` beside the `active` ones."""
    if fits(line, [*active, wanted]):
        return Admission(wanted, None)
    if wanted == "main" and fits(line, [*active, "sub"]):
        return Admission("sub", REDUCED)
    used = sum(COST_BPS[stream] for stream in active)
    return Admission(
        None,
        Reason(
            "tier.line_full",
            {"needed_kbps": COST_BPS["sub"] // 1000, "available_kbps": max(0, line.usable_bps - used) // 1000},
        ),
    )


def range_rate_bps(line: Line, active: Iterable[str]) -> int:
    """How fast recorded bytes may leave beside the `active` live streams."""
    left = line.usable_bps - sum(COST_BPS[stream] for stream in active)
    return max(left, line.usable_bps * RANGE_FLOOR_PERCENT // 100)
