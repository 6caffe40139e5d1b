"""Use: who looked how often, how long, at how much and what for, summed from the register. (pure)

A look is counted in the month in which it began, its seconds in the months in which they passed, its bytes in the month
in which it ended: so a month's sums are final when it is over, whatever still runs, and all months together are the
register. Persons and cameras are counted once per line, in every month that their looks touch.

Belongs here: the sums. Does not belong here: reading rows, keeping a month's report (`storage.use_view`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Purposes that are about a case: a look for one of them that names no case number is listed (REQUIREMENTS §3.4).
CASE_EXPECTED = frozenset({"emergency", "supervision_check", "incident_review", "evidence", "person_request"})
NO_LEASE = "own"  #: mechanism of looks by a right of one's own


@dataclass(frozen=True, slots=True)
class RegisteredLook:
    """What the sums need of one row of the register."""

    opened_ms: int
    closed_ms: int | None
    person: str
    unit: str
    viewer: str  #: user, wall (a user on duty at a shared one), token (a department's), node (an upper tier's people)
    purpose: str
    function: str
    camera_id: str
    lease_id: str | None
    case_no: str | None
    bytes: int
    result: str | None


@dataclass(frozen=True, slots=True)
class RefusedLook:
    """What was asked for and not given: an entry of the audit log, no row of the register."""

    unit: str
    viewer: str
    pictures: str
    purpose: str
    function: str


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """What one line of the report is about."""

    unit: str
    viewer: str
    pictures: str  #: own: of this node's cameras; lower: of a lower tier's
    purpose: str
    function: str
    mechanism: str  #: own, the kind of the lease, or none where a lease would have been needed


@dataclass(slots=True)
class Tally:
    """The numbers of one line."""

    looks: int = 0
    earlier: int = 0  #: began before the month and ran into it
    running: int = 0  #: had not ended at the month's end, or now
    watched_ms: int = 0
    bytes: int = 0
    cut: int = 0  #: ended because the right was taken away
    crashed: int = 0  #: the process died; watched until that was noticed at the latest
    refused: int = 0
    persons: set[str] = field(default_factory=set)
    cameras: set[str] = field(default_factory=set)

    def add(self, look: RegisteredLook, from_ms: int, end_ms: int) -> None:
        if look.opened_ms >= from_ms:
            self.looks += 1
        else:
            self.earlier += 1
        until_ms = look.closed_ms
        if until_ms is None or until_ms >= end_ms:
            self.running += 1
            until_ms = end_ms
        else:
            self.bytes += look.bytes
            self.cut += look.result == "revoked"
            self.crashed += look.result == "crashed"
        self.watched_ms += max(0, until_ms - max(look.opened_ms, from_ms))
        self.persons.add(look.person)
        self.cameras.add(look.camera_id)

    def join(self, other: Tally) -> None:
        for name in ("looks", "earlier", "running", "watched_ms", "bytes", "cut", "crashed", "refused"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.persons |= other.persons
        self.cameras |= other.cameras

    def as_json(self) -> dict[str, Any]:
        return {
            "looks": self.looks,
            "earlier": self.earlier,
            "running": self.running,
            "persons": len(self.persons),
            "cameras": len(self.cameras),
            "watched_s": self.watched_ms // 1000,
            "bytes": self.bytes,
            "refused": self.refused,
            "cut": self.cut,
            "crashed": self.crashed,
        }


class Use:
    """Sums over [from_ms, end_ms); `end_ms` is the month's end, or now while it runs. Rows may come in any order."""

    def __init__(self, from_ms: int, end_ms: int) -> None:
        self._from_ms = from_ms
        self._end_ms = end_ms
        #: By the lease itself while rows stream in: its kind is asked once, at the end.
        self._tallies: dict[tuple[Line, str | None], Tally] = {}
        self._without_case: Counter[tuple[str, str, str, str]] = Counter()

    def add(self, look: RegisteredLook) -> None:
        ends_before = look.closed_ms is not None and look.closed_ms < self._from_ms
        if look.opened_ms >= self._end_ms or ends_before:
            return
        pictures = "lower" if look.lease_id is not None and look.viewer != "node" else "own"
        line = Line(look.unit, look.viewer, pictures, look.purpose, look.function, NO_LEASE)
        self._tally(line, look.lease_id).add(look, self._from_ms, self._end_ms)
        if look.opened_ms >= self._from_ms and look.purpose in CASE_EXPECTED and not look.case_no:
            self._without_case[look.unit, look.person, look.purpose, look.function] += 1

    def add_refused(self, refused: RefusedLook) -> None:
        mechanism = "none" if refused.pictures == "lower" else NO_LEASE
        line = Line(refused.unit, refused.viewer, refused.pictures, refused.purpose, refused.function, mechanism)
        self._tally(line, None).refused += 1

    def _tally(self, line: Line, lease_id: str | None) -> Tally:
        return self._tallies.setdefault((line, lease_id), Tally())

    @property
    def leases(self) -> set[str]:
        return {lease_id for _, lease_id in self._tallies if lease_id is not None}

    def as_json(self, kinds: Mapping[str, str]) -> dict[str, Any]:
        """`kinds`: of the leases. One whose row is gone is `unknown`: the look is counted in any case."""
        lines: dict[Line, Tally] = {}
        sums = {"all": Tally(), "own": Tally(), "lower": Tally()}
        for (line, lease_id), tally in self._tallies.items():
            mechanism = line.mechanism if lease_id is None else kinds.get(lease_id, "unknown")
            at = Line(line.unit, line.viewer, line.pictures, line.purpose, line.function, mechanism)
            for into in (lines.setdefault(at, Tally()), sums["all"], sums[line.pictures]):
                into.join(tally)
        return {
            "items": [
                {
                    "unit": line.unit,
                    "viewer": line.viewer,
                    "pictures": line.pictures,
                    "purpose": line.purpose,
                    "function": line.function,
                    "mechanism": line.mechanism,
                    **tally.as_json(),
                }
                for line, tally in sorted(lines.items())
            ],
            "sum": {name: tally.as_json() for name, tally in sums.items()},
            "without_case": [
                {"unit": unit, "person": person, "purpose": purpose, "function": function, "looks": count}
                for (unit, person, purpose, function), count in sorted(self._without_case.items())
            ],
        }
