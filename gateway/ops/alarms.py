"""What turns a finding of `doctor` into an alarm, and an alarm into news. (pure)

A finding is looked for every half minute. It is an alarm when two looks in a row see it, and over when two in a row do
not: a camera that reconnects, a disk at its edge, are no news. An alarm that gets worse is news again; one that gets
better is not, before it is over. What a check cannot ask it does not judge: the alarms that came of it stay as they
are. News waits in a queue until every hook of the settings has taken it.

Belongs here: which alarms stand, what is news, what waits for whom. Does not belong here: the checks
(`gateway.ops.doctor`), the hooks (`gateway.ops.alarm_hooks`), when it is looked (`gateway.processes.keeper`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from gateway.ops.findings import Answer, Finding, Level

Turn = Literal["raised", "worse", "cleared"]

#: Fact of the catalog: `Alarms.as_json`.
FACT = "keeper.alarms"
#: So many looks in a row must agree.
LOOKS = 2
#: News that waits for a hook; beyond that the oldest is dropped, and counted.
MOST_WAITING = 1000

#: Two findings of one check are the same alarm when their sentence and these parameters agree; numbers may change.
_SUBJECTS = (
    "camera",
    "volume",
    "job",
    "shard",
    "section",
    "process",
    "name",
    "lease",
    "case",
    "bucket",
    "rule",
    "what",
    "seal",
    "place",
    "link",
)
#: Of these sentences also that: elsewhere it may change while the fault is the same, as why a camera gives no picture.
_SUBJECTS_OF: Mapping[str, tuple[str, ...]] = {"ops.gaps_open": ("cause",)}
_RANK: Mapping[Level, int] = {"ok": 0, "warn": 1, "bad": 2}


@dataclass(frozen=True, slots=True)
class Alarm:
    """A finding that stands, or is about to."""

    check: str
    level: Level
    since_ms: int
    reason: dict[str, Any]  #: `Reason.as_json`
    next: dict[str, Any] | None
    seen: int = 1  #: looks in a row, no further than `LOOKS`
    missed: int = 0  #: looks in a row
    told: Level = "ok"  #: the level at which it was last news


@dataclass(frozen=True, slots=True)
class News:
    """One turn of one alarm. `id` is the same on every attempt to deliver it."""

    id: str
    turn: Turn
    at_ms: int
    check: str
    level: Level
    since_ms: int
    reason: dict[str, Any]
    next: dict[str, Any] | None
    waits_for: tuple[str, ...] = ()  #: hooks that have not taken it


@dataclass(frozen=True, slots=True)
class Alarms:
    """The memory between looks."""

    by_key: Mapping[str, Alarm] = field(default_factory=dict)
    waiting: tuple[News, ...] = ()
    dropped: int = 0  #: news that nobody took before it had to make room
    #: By key, the check that was asked; absent of alarms that an older version left.
    asked: Mapping[str, str] = field(default_factory=dict)

    @property
    def standing(self) -> list[Alarm]:
        """The worst first, then the oldest."""
        found = [alarm for alarm in self.by_key.values() if alarm.told != "ok"]
        return sorted(found, key=lambda alarm: (-_RANK[alarm.told], alarm.since_ms, alarm.check))

    def as_json(self) -> dict[str, Any]:
        return {
            "by_key": {key: asdict(alarm) for key, alarm in self.by_key.items()},
            "waiting": [asdict(news) | {"waits_for": list(news.waits_for)} for news in self.waiting],
            "dropped": self.dropped,
            "asked": dict(self.asked),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | None) -> Alarms:
        """None is the memory of a node that has never looked."""
        if value is None:
            return cls()
        return cls(
            {key: Alarm(**alarm) for key, alarm in value["by_key"].items()},
            tuple(News(**news | {"waits_for": tuple(news["waits_for"])}) for news in value["waiting"]),
            value["dropped"],
            value.get("asked", {}),
        )


def key_of(finding: Finding) -> str:
    """What it is about, whatever its numbers say."""
    code, params = finding.reason.code, finding.reason.params
    names = (*_SUBJECTS, *_SUBJECTS_OF.get(code, ()))
    return "|".join([finding.check, code, *(str(params[name]) for name in names if name in params)])


def look(
    before: Alarms, answers: Collection[Answer], now_ms: int, ids: Iterable[str], hooks: Collection[str], least: Level
) -> tuple[Alarms, list[News]]:
    """(the memory after this look, what is news). `least`: findings below it are nobody's alarm."""
    fresh = iter(ids)
    seen: dict[str, Finding] = {}
    asked: dict[str, str] = {}
    for answer in answers:
        for finding in answer.findings:
            if finding.level != "ok" and _RANK[finding.level] >= _RANK[least]:
                key = key_of(finding)
                seen[key], asked[key] = finding, answer.check
    unknown = {answer.check for answer in answers if not answer.whole}
    by_key: dict[str, Alarm] = {}
    news: list[News] = []

    def tell(turn: Turn, alarm: Alarm) -> None:
        waits_for = tuple(sorted(hooks))
        news.append(
            News(
                next(fresh), turn, now_ms, alarm.check, alarm.level, alarm.since_ms, alarm.reason, alarm.next, waits_for
            )
        )

    for key, finding in seen.items():
        said = finding.as_json()
        reason, following = said["reason"], said["next"]
        known = before.by_key.get(key)
        if known is None:
            alarm = Alarm(finding.check, finding.level, now_ms, reason, following)
        else:
            alarm = replace(
                known, level=finding.level, reason=reason, next=following, seen=min(LOOKS, known.seen + 1), missed=0
            )
        if alarm.seen >= LOOKS and _RANK[alarm.level] > _RANK[alarm.told]:
            tell("raised" if alarm.told == "ok" else "worse", alarm)
            alarm = replace(alarm, told=alarm.level)
        by_key[key] = alarm
    for key, known in before.by_key.items():
        if key in seen:
            continue
        check = before.asked.get(key)
        if check is not None:
            asked[key] = check
        if check in unknown or (check is None and unknown):
            by_key[key] = known
            continue
        alarm = replace(known, seen=0, missed=known.missed + 1)
        if alarm.told == "ok":
            continue
        if alarm.missed < LOOKS:
            by_key[key] = alarm
        else:
            tell("cleared", alarm)
    waiting = [*before.waiting, *(one for one in news if one.waits_for)]
    over = max(0, len(waiting) - MOST_WAITING)
    still_asked = {key: check for key, check in asked.items() if key in by_key}
    return Alarms(by_key, tuple(waiting[over:]), before.dropped + over, still_asked), news


def taken(before: Alarms, hook: str, ids: Collection[str]) -> Alarms:
    """`hook` has taken the news with these ids."""
    left = []
    for news in before.waiting:
        waits_for = tuple(h for h in news.waits_for if not (h == hook and news.id in ids))
        if waits_for:
            left.append(replace(news, waits_for=waits_for))
    return replace(before, waiting=tuple(left))


def only_for(before: Alarms, hooks: Collection[str]) -> Alarms:
    """Nothing waits for a hook that the settings no longer have."""
    kept = [replace(news, waits_for=tuple(h for h in news.waits_for if h in hooks)) for news in before.waiting]
    return replace(before, waiting=tuple(news for news in kept if news.waits_for))
