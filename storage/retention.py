"""The plan: for each segment keep or remove, and why. (pure)

The same function serves the sweep, ``retention plan``, ``explain`` and ``sweep --dry-run``; it takes rows and `now_ms`
and returns verdicts. Unknown means keep (I3): a segment of a class that does not exist, of a kind that is not ours to
delete, or in a state that the plan does not know is kept and says so.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from config.reasons import Reason
from config.units import DAY_MS, HOUR_MS, format_time_ms
from storage.classes import DELETE_WITHIN_MS, Membership, RetentionClass, class_of, keep_until_ms
from storage.holds import Hold, holds_on


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the plan needs of a segment row."""

    id: str
    camera_id: str
    start_ms: int
    end_ms: int
    bytes: int
    kind: str
    state: str
    class_name: str  #: at record time
    condemned_ms: int | None = None
    date_unknown: bool = False  #: nobody vouches for the clock that it was dated by
    aged_from_ms: int | None = None  #: then: when a proven clock first saw it

    @property
    def ages_from_ms(self) -> int:
        """By what candidates are ordered: its end, or when it was first seen."""
        return self.aged_from_ms if self.date_unknown and self.aged_from_ms is not None else self.end_ms

    @property
    def mark(self) -> tuple[int, str]:
        """Behind which the next page of candidates begins."""
        return self.ages_from_ms, self.id


def undated_span(aged_from_ms: int | None, now_ms: int) -> tuple[int, int]:
    """Of what time footage of unknown date may be: of any before a proven clock first saw it, or now."""
    return 0, now_ms if aged_from_ms is None else aged_from_ms


class Verdict(NamedTuple):
    """A tuple, because a plan makes millions of them."""

    segment: Candidate
    keep: bool
    class_name: str
    keep_until_ms: int | None  #: None: permanent, or unknown
    code: str  #: of `reason`
    held_by: Sequence[Hold] = ()

    @property
    def delete_by_ms(self) -> int | None:
        """By when the law wants it gone; None as in `keep_until_ms`."""
        return None if self.keep_until_ms is None else self.keep_until_ms + DELETE_WITHIN_MS

    @property
    def reason(self) -> Reason:
        """Made when somebody asks for it: most verdicts are only counted."""
        if self.code == "retention.not_ours":
            return Reason(self.code, {"kind": self.segment.kind})
        if self.code == "retention.unknown_class":
            return Reason(self.code, {"class": self.segment.class_name})
        if self.code == "retention.state_keeps":
            return Reason(self.code, {"state": self.segment.state})
        if self.code == "retention.held":
            return Reason(self.code, {"count": len(self.held_by), "case": self.held_by[0].case_no})
        if self.keep_until_ms is None:
            return Reason(self.code, {"class": self.class_name})
        return Reason(self.code, {"until": format_time_ms(self.keep_until_ms, local=True), "class": self.class_name})


#: States in which the plan has a say; every other state is kept as it is.
PLANNED_STATES = frozenset({"stored", "condemned"})

#: Since then Asia/Shanghai has been eight hours ahead of UTC on every day.
_STEADY_FROM_MS = 694_224_000_000  # 1992-01-01
_AHEAD_MS = 8 * HOUR_MS

#: (class, how long footage stays after its end or None for ever) of footage that ends on one day; None: it differs
#: within the day.
_Rule = tuple[str, int | None] | None


class _Camera:
    """What the plan needs of one camera, made ready once."""

    __slots__ = ("froms", "holds", "memberships", "reach", "rules")

    def __init__(
        self, memberships: Sequence[Membership], holds: Sequence[Hold], rules: dict[tuple[str, int], _Rule]
    ) -> None:
        self.memberships = memberships
        self.rules = rules
        self.holds = holds
        by_start = sorted(holds, key=lambda hold: hold.from_ms)
        self.froms = [hold.from_ms for hold in by_start]
        self.reach: list[int] = []  #: how far the holds up to this one reach
        for hold in by_start:
            self.reach.append(max(hold.to_ms, self.reach[-1]) if self.reach else hold.to_ms)


class Planner:
    """Policies made ready for many segments. Says exactly what judging each segment by itself would say.

    What a class keeps depends on the calendar day on which footage ends; which class counts changes only where a
    membership begins or ends. So one answer per camera, class at record time and day serves all footage of that day,
    unless the earliest and the latest moment of the day would be answered differently.

    Of footage of an unknown date (a dead battery says 1970) only this is certain: it had ended when a proven clock
    first saw it. It ages from then, and may be what any earlier hold or class is about.
    """

    def __init__(
        self,
        policy_of: Mapping[str, Sequence[Membership]],
        holds: Iterable[Hold],
        classes: Mapping[str, RetentionClass],
    ) -> None:
        self._policy_of = policy_of
        self._classes = classes
        self._cameras: dict[str, _Camera] = {}
        self._plain: dict[tuple[str, int], _Rule] = {}  #: rules of all cameras that are in no area
        self._holds: dict[str, list[Hold]] = {}
        for hold in holds:
            if hold.released_ms is None:
                for camera_id in hold.cameras:
                    self._holds.setdefault(camera_id, []).append(hold)

    def plan(self, segments: Iterable[Candidate], now_ms: int) -> Iterator[Verdict]:
        """One verdict per segment, in the order given."""
        cameras, classes = self._cameras, self._classes
        new = tuple.__new__  # calling `Verdict` itself: a fifth fewer segments a second
        held: Sequence[Hold]
        for segment in segments:
            start_ms, end_ms, at_record = segment.start_ms, segment.end_ms, segment.class_name
            if segment.date_unknown:
                start_ms, end_ms = undated_span(segment.aged_from_ms, now_ms)
            camera = cameras.get(segment.camera_id)
            if camera is None:
                camera = self._camera(segment.camera_id)
            day = (end_ms + _AHEAD_MS) // DAY_MS
            try:
                rule = camera.rules[at_record, day]
            except KeyError:
                rule = self._rule(camera, at_record, day)
            until: int | None
            if rule is not None and end_ms - DAY_MS <= start_ms <= end_ms:
                class_name, stay_ms = rule
                until = None if stay_ms is None else end_ms + stay_ms
            else:
                class_ = class_of(start_ms, end_ms, at_record, camera.memberships, classes)
                class_name, until = class_.name, keep_until_ms(end_ms, class_)
            keep, held = True, ()
            if segment.kind != "own":
                code = "retention.not_ours"
            elif at_record not in classes:
                code = "retention.unknown_class"
            elif segment.state not in PLANNED_STATES:
                code = "retention.state_keeps"
            elif camera.froms and (held := _touching(camera, segment.camera_id, start_ms, end_ms)):
                code = "retention.held"
            elif until is None:
                code = "retention.permanent"
            elif now_ms < until:
                code = "retention.within"
            else:
                keep, code = False, "retention.expired"
            yield new(Verdict, (segment, keep, class_name, until, code, held))

    def is_held(self, camera_id: str, start_ms: int, end_ms: int) -> bool:
        """Whether a standing hold touches the stretch."""
        camera = self._cameras.get(camera_id) or self._camera(camera_id)
        return bool(_touching(camera, camera_id, start_ms, end_ms))

    def class_of(self, camera_id: str, start_ms: int, end_ms: int) -> RetentionClass:
        """The class that footage of a stretch has, or would have."""
        return class_of(start_ms, end_ms, "default", self._policy_of.get(camera_id, ()), self._classes)

    def _camera(self, camera_id: str) -> _Camera:
        memberships = self._policy_of.get(camera_id, ())
        rules = {} if memberships else self._plain
        made = self._cameras[camera_id] = _Camera(memberships, self._holds.get(camera_id, ()), rules)
        return made

    def _rule(self, camera: _Camera, at_record: str, day: int) -> _Rule:
        first_ms = day * DAY_MS - _AHEAD_MS
        last_ms = first_ms + DAY_MS - 1
        rule: _Rule = None
        if first_ms >= _STEADY_FROM_MS:
            # A later end and an earlier start can only let more memberships count.
            least = class_of(last_ms, first_ms, at_record, camera.memberships, self._classes)
            most = class_of(first_ms - DAY_MS, last_ms, at_record, camera.memberships, self._classes)
            if least is most:
                until_ms = keep_until_ms(first_ms, least)
                rule = (least.name, None if until_ms is None else until_ms - first_ms)
        camera.rules[at_record, day] = rule
        return rule


def _touching(camera: _Camera, camera_id: str, start_ms: int, end_ms: int) -> Sequence[Hold]:
    begun = bisect_right(camera.froms, end_ms)
    if begun == 0 or camera.reach[begun - 1] < start_ms:
        return ()
    return holds_on(camera_id, start_ms, end_ms, camera.holds)


def plan(
    segments: Iterable[Candidate],
    policy_of: Mapping[str, Sequence[Membership]],
    holds: Iterable[Hold],
    classes: Mapping[str, RetentionClass],
    now_ms: int,
) -> Iterator[Verdict]:
    """One verdict per segment, in the order given. Who asks more than once keeps a `Planner`."""
    return Planner(policy_of, holds, classes).plan(segments, now_ms)


def may_delete(verdict: Verdict, now_ms: int, grace_ms: int) -> bool:
    """A condemned segment goes when its grace is over and the plan, asked again, still removes it."""
    segment = verdict.segment
    return (
        not verdict.keep
        and segment.state == "condemned"
        and segment.condemned_ms is not None
        and now_ms >= segment.condemned_ms + grace_ms
    )


@dataclass(frozen=True, slots=True)
class Forecast:
    """How many segments the last plan expected to be due by each full hour (cumulative, from `from_ms`)."""

    from_ms: int
    due_by_hour: tuple[int, ...]

    @classmethod
    def of_json(cls, told: dict[str, Any]) -> Forecast:
        return cls(told["from_ms"], tuple(told["due_by_hour"]))

    def as_json(self) -> dict[str, Any]:
        return {"from_ms": self.from_ms, "due_by_hour": self.due_by_hour}

    def due_at(self, now_ms: int) -> int | None:
        """Expected count at `now_ms`; None beyond the forecast's end."""
        index = (now_ms - self.from_ms) // HOUR_MS
        if index < 0:
            return self.due_by_hour[0] if self.due_by_hour else 0
        return self.due_by_hour[index] if index < len(self.due_by_hour) else None


FORECAST_HOURS = 24 * 30  #: a keeper that was away longer asks a person


def forecast(verdicts: Iterable[Verdict], now_ms: int, hours: int = FORECAST_HOURS) -> Forecast:
    """Counts of unheld segments by the hour in which they fall due."""
    counts = [0] * hours
    for verdict in verdicts:
        if verdict.keep and verdict.code != "retention.within":
            continue
        until = verdict.keep_until_ms
        if until is None:
            continue
        hour = max(0, (until - now_ms) // HOUR_MS)
        if hour < hours:
            counts[hour] += 1
    total = 0
    for hour, count in enumerate(counts):
        total += count
        counts[hour] = total
    return Forecast(now_ms, tuple(counts))


def judge_guard(due: int, total: int, expected: Forecast | None, now_ms: int) -> Reason | None:
    """None when the number of segments to condemn is explained; else why the sweep refuses.

    What the last plan forecast for this hour never trips the guard, however much it is. The slack is one hour of the
    forecast's own granularity plus 5 % of all footage: a policy edit, a bad restore or a defect removes far more.
    """
    if expected is None:
        return None
    forecast_due = expected.due_at(now_ms + HOUR_MS)
    if forecast_due is None:
        forecast_due = expected.due_by_hour[-1] if expected.due_by_hour else 0
    allowed = forecast_due + max(10, total // 20)
    if due > allowed:
        return Reason("retention.guard_unexplained", {"due": due, "expected": forecast_due})
    return None
