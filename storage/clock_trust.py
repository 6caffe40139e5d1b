"""Which time may delete footage. (pure; FAULTS B23, DESIGN §6 "Retention")

Neither ``now()`` nor the newest footage is safe alone: a battery that died says 1970, a hand or a bad server says next
year. Time is trusted when the kernel says that it is disciplined, or when somebody else (the store's ``Date``, a
paired node) agrees within a minute; it never runs back behind its high-water mark, and within one boot it may not move
against the steady clock, unless somebody else agrees with where it went: a person too, who tells the time of another
clock. Refusing costs disk space and raises an alarm; deleting on a wrong clock costs evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

from config.reasons import Reason

AGREE_WITHIN_MS = 60_000  #: a store's Date has whole seconds, a slow answer costs a few more
HIGH_WATER = "sweep.high_water_ms"  #: fact: the latest time that a sweep has trusted


@dataclass(frozen=True, slots=True)
class Sighting:
    """Both clocks at an earlier trusted moment. `boot_id` tells whether the steady clock is still the same one."""

    wall_ms: int
    monotonic_ms: int
    boot_id: str


@dataclass(frozen=True, slots=True)
class ClockEvidence:
    """All that is known of time at one moment; None: could not be asked."""

    wall_ms: int
    monotonic_ms: int
    boot_id: str
    kernel_synchronised: bool | None
    store_ms: int | None = None
    peer_ms: int | None = None
    person_ms: int | None = None  #: what somebody read from another clock and told: explains a step, and nothing else


@dataclass(frozen=True, slots=True)
class Trust:
    trusted: bool
    reason: Reason


def judge_clock(evidence: ClockEvidence, last: Sighting | None, high_water_ms: int | None) -> Trust:
    """Whether `evidence.wall_ms` may be used to delete."""
    others = [t for t in (evidence.store_ms, evidence.peer_ms) if t is not None]
    agreed = any(abs(t - evidence.wall_ms) <= AGREE_WITHIN_MS for t in others)
    contradicted = [t for t in others if abs(t - evidence.wall_ms) > AGREE_WITHIN_MS]
    if contradicted and not agreed:
        offset_s = round((evidence.wall_ms - contradicted[0]) / 1000)
        return Trust(False, Reason("retention.clock_contradicted", {"offset_s": offset_s}))
    told = evidence.person_ms
    if told is not None and abs(told - evidence.wall_ms) > AGREE_WITHIN_MS:
        return Trust(False, Reason("retention.clock_told_other", {"offset_s": round((evidence.wall_ms - told) / 1000)}))
    if high_water_ms is not None and evidence.wall_ms < high_water_ms - AGREE_WITHIN_MS:
        behind_s = round((high_water_ms - evidence.wall_ms) / 1000)
        return Trust(False, Reason("retention.clock_behind", {"behind_s": behind_s}))
    if last is not None and last.boot_id == evidence.boot_id:
        moved_ms = (evidence.wall_ms - last.wall_ms) - (evidence.monotonic_ms - last.monotonic_ms)
        if abs(moved_ms) > AGREE_WITHIN_MS and not agreed and told is None:
            return Trust(False, Reason("retention.clock_stepped", {"step_s": round(moved_ms / 1000)}))
        return Trust(True, Reason("retention.clock_steady"))
    if evidence.kernel_synchronised or agreed:
        return Trust(True, Reason("retention.clock_agreed"))
    return Trust(False, Reason("retention.clock_unproven"))
