"""The plan: for each segment keep or remove, and why. (pure)

The same function serves the sweep, ``retention plan``, ``explain`` and ``sweep --dry-run``; it takes rows and `now_ms`
and returns verdicts. Unknown means keep (I3): a segment of a class that does not exist, of a kind that is not ours to
delete, or in a state that the plan does not know is kept and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from config.reasons import Reason
from config.units import HOUR_MS, format_time_ms
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


@dataclass(frozen=True, slots=True)
class Verdict:
    segment: Candidate
    keep: bool
    class_name: str
    keep_until_ms: int | None  #: None: permanent, or unknown
    delete_by_ms: int | None
    reason: Reason


#: States in which the plan has a say; every other state is kept as it is.
PLANNED_STATES = frozenset({"stored", "condemned"})


def judge(
    segment: Candidate,
    memberships: Iterable[Membership],
    holds: Sequence[Hold],
    classes: Mapping[str, RetentionClass],
    now_ms: int,
) -> Verdict:
    """The verdict on one segment.

    Of footage of an unknown date (a dead battery says 1970) only this is certain: it had ended when a proven clock
    first saw it. It ages from then, and may be what any earlier hold or class is about.
    """
    start_ms, end_ms = segment.start_ms, segment.end_ms
    if segment.date_unknown:
        start_ms, end_ms = 0, now_ms if segment.aged_from_ms is None else segment.aged_from_ms
    class_ = class_of(start_ms, end_ms, segment.class_name, memberships, classes)
    until = keep_until_ms(end_ms, class_)
    delete_by = None if until is None else until + DELETE_WITHIN_MS

    def verdict(keep: bool, code: str, **params: object) -> Verdict:
        return Verdict(segment, keep, class_.name, until, delete_by, Reason(code, params))

    if segment.kind != "own":
        return verdict(True, "retention.not_ours", kind=segment.kind)
    if segment.class_name not in classes:
        return verdict(True, "retention.unknown_class", **{"class": segment.class_name})
    if segment.state not in PLANNED_STATES:
        return verdict(True, "retention.state_keeps", state=segment.state)
    held_by = holds_on(segment.camera_id, start_ms, end_ms, holds)
    if held_by:
        return verdict(True, "retention.held", count=len(held_by), case=held_by[0].case_no)
    if until is None:
        return verdict(True, "retention.permanent", **{"class": class_.name})
    shown = format_time_ms(until, local=True)
    if now_ms < until:
        return verdict(True, "retention.within", until=shown, **{"class": class_.name})
    return verdict(False, "retention.expired", until=shown, **{"class": class_.name})


def plan(
    segments: Iterable[Candidate],
    policy_of: Mapping[str, Sequence[Membership]],
    holds: Sequence[Hold],
    classes: Mapping[str, RetentionClass],
    now_ms: int,
) -> Iterator[Verdict]:
    """One verdict per segment, in the order given."""
    by_camera: dict[str, list[Hold]] = {}
    for hold in holds:
        if hold.released_ms is None:
            for camera_id in hold.cameras:
                by_camera.setdefault(camera_id, []).append(hold)
    for segment in segments:
        camera_id = segment.camera_id
        yield judge(segment, policy_of.get(camera_id, ()), by_camera.get(camera_id, ()), classes, now_ms)


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
        if verdict.keep and verdict.reason.code != "retention.within":
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
