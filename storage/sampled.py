"""Of footage that an owner's recorder keeps: which instants are asked for, and what the answers are worth. (pure)

An attestation is words (`storage.attested`). Each day some instants of what it promises are drawn for every such
camera, one of them near the far edge, where a recorder that is too small has already overwritten, and its recorder is
asked for them. The draw depends on a secret seed: nobody can tidy up the instants that will be asked for. Each camera
has its own time of the day, so that the recorders of a street are not asked at once.

One answer of "not there" is no finding: recorders restart, rebuild an index, move disks. It is asked again, later, and
only the second answer counts. What could not be asked is never taken for kept.

Belongs here: the draw, the verdicts. Does not belong here: asking (`gateway.cameras.owner_recorder`), rows
(`storage.catalog.owner_checks`).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from config.reasons import Reason
from config.units import DAY_MS, HOUR_MS, format_time_ms
from config.weekly import WeeklyWindow, week_change_ms, week_end_ms
from storage.attested import Standing

Verdict = Literal["present", "absent", "unknown"]
State = Literal["unasked", "unanswered", "present", "suspected", "missing"]
STATES: tuple[State, ...] = ("present", "suspected", "missing", "unanswered", "unasked")

#: Nothing is asked nearer to the ends of what is promised: recorders erase by the hour, and index what is new late.
MARGIN_MS = HOUR_MS
#: Nor nearer to an edge of the camera's windows of the week: two clocks never agree to the second.
_EDGE_MS = 60_000
#: A second answer counts as one only when the first is so old: a recorder that restarts takes minutes.
CONFIRM_AFTER_MS = 10 * 60_000
#: A recorder that said nothing useful for so long is a finding of its own.
UNANSWERED_MS = 3 * DAY_MS
#: Rows are kept so long after the question: as long as any attestation, and the month in which a year is accounted for.
KEEP_MS = 400 * DAY_MS


@dataclass(frozen=True, slots=True)
class Check:
    """One question to an owner's recorder and its answer."""

    id: str
    camera_id: str
    at_ms: int  #: the instant asked for, true time
    asked_ms: int
    verdict: Verdict
    reason: dict[str, Any]  #: `Reason.as_json`
    clock_offset_ms: int | None  #: the recorder's clock minus ours, as accounted for; None: it was not learned
    asked_by: str  #: actor

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Promised:
    """Of what footage an owner answers for, all that may be asked for now."""

    from_ms: int
    to_ms: int


def promised_since_ms(standing: Standing, registered_ms: int, now_ms: int) -> int:
    """The oldest footage that the owner's recorder must have: as far back as is attested; where nobody attests (any
    more), as the class asks for; never from before the camera was registered here, of which nothing is known."""
    said = standing.attestation
    days = said.days if said is not None and standing.state in ("attested", "short") else standing.floor_days
    return max(registered_ms, now_ms - days * DAY_MS)


def promised(standing: Standing, registered_ms: int, now_ms: int) -> Promised | None:
    """None: nothing is promised that could be asked for."""
    from_ms = promised_since_ms(standing, registered_ms, now_ms) + MARGIN_MS
    to_ms = now_ms - MARGIN_MS
    return Promised(from_ms, to_ms) if from_ms < to_ms else None


def _number(seed: bytes, *what: object) -> int:
    """Evenly drawn, the same for the same words: 2**256 is so much more than any span that no remainder leans."""
    return int.from_bytes(hashlib.sha256(seed + "|".join(map(str, what)).encode()).digest(), "big")


def turn_ms(seed: bytes, camera_id: str, now_ms: int) -> int:
    """The newest moment, not after now, at which it was this camera's turn. Once a day, at its own time of the day."""
    return now_ms - (now_ms - _number(seed, "turn", camera_id)) % DAY_MS


def is_due(turn: int, last_asked_ms: int | None) -> bool:
    """Whether its turn has passed without its recorder being asked: also when that was days ago, once for all."""
    return last_asked_ms is None or last_asked_ms < turn


def draw(
    seed: bytes, camera_id: str, turn: int, what: Promised, windows: Sequence[WeeklyWindow] | None, count: int
) -> tuple[int, ...]:
    """`count` instants of what is promised, in order: one within its oldest day, the others anywhere.

    `windows`: when the camera is recorded, None: always. Empty when none of that is promised.
    """
    spans = _open(what, windows)
    length = sum(end - start for start, end in spans)
    if length <= 0 or count <= 0:
        return ()
    edge = _number(seed, camera_id, turn, "edge") % min(length, DAY_MS)
    others = (_number(seed, camera_id, turn, n) % length for n in range(1, count))
    return tuple(sorted({_at(spans, offset) for offset in (edge, *others)}))


def _open(what: Promised, windows: Sequence[WeeklyWindow] | None) -> list[tuple[int, int]]:
    if windows is None:
        return [(what.from_ms, what.to_ms)]
    spans: list[tuple[int, int]] = []
    at_ms: int | None = what.from_ms
    while at_ms is not None and at_ms < what.to_ms:
        end_ms = week_end_ms(windows, at_ms)
        if end_ms is None:
            at_ms = week_change_ms(windows, at_ms)
            continue
        if spans and spans[-1][1] == at_ms:  # a window over midnight is two
            spans[-1] = (spans[-1][0], end_ms)
        else:
            spans.append((at_ms, end_ms))
        at_ms = end_ms
    trimmed = ((start + _EDGE_MS, min(end, what.to_ms) - _EDGE_MS) for start, end in spans)
    return [(start, end) for start, end in trimmed if start < end]


def _at(spans: Sequence[tuple[int, int]], offset: int) -> int:
    for start, end in spans:
        if offset < end - start:
            return start + offset
        offset -= end - start
    raise ValueError("beyond the spans")


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the answers of one camera's recorder come to, over what is promised now."""

    camera_id: str
    state: State
    present: int  #: instants
    missing: tuple[int, ...]  #: instants that it twice said, or showed, not to have
    suspected: tuple[int, ...]  #: once
    unanswered: int
    last_asked_ms: int | None
    last_answered_ms: int | None
    reason: Reason

    @property
    def completeness(self) -> float | None:
        """Share of the instants with an answer that counts; None: there is none."""
        known = self.present + len(self.missing)
        return round(self.present / known, 6) if known else None

    def as_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "present": self.present,
            "missing": len(self.missing),
            "missing_ms": list(self.missing[:50]),
            "suspected": len(self.suspected),
            "unanswered": self.unanswered,
            "completeness": self.completeness,
            "last_asked_ms": self.last_asked_ms,
            "last_answered_ms": self.last_answered_ms,
            "reason": self.reason.as_json(),
        }


def _by_instant(checks: Iterable[Check]) -> dict[int, list[Check]]:
    found: dict[int, list[Check]] = defaultdict(list)
    for check in sorted(checks, key=lambda c: (c.asked_ms, c.id)):
        found[check.at_ms].append(check)
    return dict(sorted(found.items()))


def _says(asked: Sequence[Check]) -> State:
    """Of one instant, its questions in order. The last answer counts; a "not there" from the second one on."""
    answers = [check for check in asked if check.verdict != "unknown"]
    if not answers:
        return "unanswered"
    if answers[-1].verdict == "present":
        return "present"
    first = answers[-1]
    for check in reversed(answers):
        if check.verdict == "present":
            break
        first = check
    return "missing" if answers[-1].asked_ms - first.asked_ms >= CONFIRM_AFTER_MS else "suspected"


def to_confirm(checks: Iterable[Check], since_ms: int, now_ms: int) -> tuple[int, ...]:
    """Instants that were once found missing, are still promised, and may be asked for again."""
    return tuple(
        at_ms
        for at_ms, asked in _by_instant(checks).items()
        if at_ms >= since_ms and _says(asked) == "suspected" and not 0 <= now_ms - asked[-1].asked_ms < CONFIRM_AFTER_MS
    )


def assess(
    camera_id: str, checks: Iterable[Check], since_ms: int, now_ms: int, before_ms: int | None = None
) -> Assessment:
    """`since_ms`: as far back as is promised (`promised_since_ms`); what was asked of older footage no longer counts,
    and neither does what a clock that ran ahead asked in the future.

    `before_ms`: of the stretch until then, whatever is promised now. What its instants were answered stands, however
    long ago that was: a recorder that was since asked for others has not fallen silent.
    """
    mine = [c for c in checks if c.camera_id == camera_id and c.at_ms >= since_ms and c.asked_ms <= now_ms]
    if before_ms is not None:
        mine = [c for c in mine if c.at_ms < before_ms]
    said = {at_ms: _says(asked) for at_ms, asked in _by_instant(mine).items()}
    counts = Counter(said.values())
    missing = tuple(at_ms for at_ms, state in said.items() if state == "missing")
    suspected = tuple(at_ms for at_ms, state in said.items() if state == "suspected")
    last_asked_ms = max((c.asked_ms for c in mine), default=None)
    last_answered_ms = max((c.asked_ms for c in mine if c.verdict != "unknown"), default=None)
    silent = last_answered_ms is None or (before_ms is None and now_ms - last_answered_ms > UNANSWERED_MS)
    state: State = "present"
    if last_asked_ms is None:
        state = "unasked"
    elif missing:
        state = "missing"
    elif silent:
        state = "unanswered"
    elif suspected:
        state = "suspected"
    params: dict[str, object] = {"present": counts["present"], "count": len(missing) + counts["present"]}
    if state == "missing":
        days = sorted({format_time_ms(at_ms, local=True)[:10] for at_ms in missing})
        params |= {"missing": len(missing), "days": ", ".join(days[:3]) + (" …" if len(days) > 3 else "")}
    elif state == "suspected":
        params = {"at": format_time_ms(suspected[0], local=True)}
    elif state == "unanswered":
        params = {"why": _why(mine)}
    elif state == "unasked":
        params = {}
    return Assessment(
        camera_id, state, counts["present"], missing, suspected, counts["unanswered"], last_asked_ms, last_answered_ms,
        Reason(f"retention.checked_{state}", params),
    )  # fmt: skip


def _why(checks: Sequence[Check]) -> Reason | dict[str, Any]:
    """What the newest question met; or that none was asked since one that was answered."""
    newest = max(checks, key=lambda c: (c.asked_ms, c.id))
    if newest.verdict != "unknown":
        return Reason("retention.checked_not_since", {"at": format_time_ms(newest.asked_ms, local=True)})
    return newest.reason
