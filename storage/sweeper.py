"""The sweep: carries out the plan, and only the plan. (invariants I3, I4)

Order of every deletion (FAULTS §5): condemn in a transaction → grace, in which a hold placed rescues → in one
transaction ask the plan again and mark ``deleting`` → ask it once more and delete the object (404 is success) →
``deleted``; the row stays as the manifest. Bytes are removed from ``deleting`` alone. One bad object never stops the
others; it is tried again at the next sweep, for ever.

Belongs here: I/O around `storage.retention`. Does not belong here: rules, cache purge (`tiering.cache`), spool copies
(`storage.uploader`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

from sqlalchemy import Connection, case, func, select

from config.clock import Clock, wall_ms
from config.reasons import Reason
from config.units import DAY_MS, HOUR_MS
from storage import approvals, class_changes
from storage.approval_rules import ACTIONS
from storage.aside import Aside, AsideReport
from storage.audit import log as audit
from storage.catalog import facts, retention_rows
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.retention_rows import DATE_UNKNOWN
from storage.catalog.tables import segment
from storage.classes import Membership, RetentionClass
from storage.clock_trust import AGREE_WITHIN_MS, HIGH_WATER, ClockEvidence, Sighting, Trust, judge_clock
from storage.holds import Hold
from storage.hours import hours, open_stretches
from storage.objects.base import ObjectStore
from storage.retention import Candidate, Forecast, Planner, Verdict, forecast, judge_guard, may_delete

logger = logging.getLogger(__name__)

ACTOR = "system:keeper"
_SIGHTING, _FORECAST = "sweep.sighting", "sweep.forecast"
LAST_SUCCESS, REFUSED_SINCE, REFUSED_REASON = "sweep.last_success_ms", "sweep.refused_since_ms", "sweep.refused_reason"
_CONFIRMED = "sweep.confirmed"
#: So long an answer to the guard waits for a sweep that can use it.
_CONFIRMED_MS = DAY_MS

#: What nobody dates ages from when it was seen: by its own date, 1970, all of it would be due at once.
_AGES_FROM = case((DATE_UNKNOWN, segment.c.aged_from_ms), else_=segment.c.end_ms)
_HOUR = (_AGES_FROM // HOUR_MS).label("hour")
_UNDATED = case((DATE_UNKNOWN, 1), else_=0).label("undated")
_BY_HOUR = (
    select(segment.c.camera_id, segment.c.class_, _HOUR, _UNDATED, func.count())
    .where(segment.c.state == "stored", segment.c.kind == "own", _AGES_FROM.is_not(None))
    .group_by(segment.c.camera_id, segment.c.class_, _HOUR, _UNDATED)
)


@dataclass(slots=True)
class SweepReport:
    """What one sweep did, or (dry run) would do."""

    now_ms: int
    dry_run: bool
    refused: Reason | None = None
    looked_at: int = 0
    condemned: list[Verdict] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    kept_by_hold: int = 0
    failed: int = 0
    aside: AsideReport = field(default_factory=AsideReport)  #: what was put aside and ended with its source

    def as_json(self) -> dict[str, Any]:
        return {
            "now_ms": self.now_ms,
            "dry_run": self.dry_run,
            "refused": self.refused and self.refused.as_json(),
            "looked_at": self.looked_at,
            "condemned": len(self.condemned),
            "condemned_bytes": sum(v.segment.bytes for v in self.condemned),
            "deleted": len(self.deleted),
            "kept_by_hold": self.kept_by_hold,
            "failed": self.failed + self.aside.failed,
            "aside_deleted": self.aside.deleted,
            "aside_unknown": self.aside.unknown,
        }


@dataclass(frozen=True, slots=True)
class Policies:
    """Everything the plan takes besides segments, read in one transaction."""

    classes: dict[str, RetentionClass]
    memberships: dict[str, list[Membership]]
    holds: list[Hold]
    planner: Planner = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "planner", Planner(self.memberships, self.holds, self.classes))

    @classmethod
    def read(cls, connection: Connection) -> Policies:
        return cls(
            retention_rows.classes(connection),
            retention_rows.memberships(connection),
            [row.rule() for row in retention_rows.holds(connection)],
        )

    @classmethod
    def foreseen(cls, connection: Connection, at_ms: int) -> Policies:
        """As a sweep at `at_ms` will find them when it has carried out what people ordered and the time decides."""
        standing = cls.read(connection)
        lapsing = {row.subject for row in approvals.overdue(connection, at_ms) if ACTIONS[row.action].provisional}
        left = [hold for hold in standing.holds if hold.id not in lapsing]
        return replace(standing, holds=left).changed(class_changes.due(connection, at_ms))

    def changed(self, changes: Iterable[class_changes.Change]) -> Policies:
        """With these changes of classes made."""
        made = {c.class_name: c.on(self.classes[c.class_name]) for c in changes if c.class_name in self.classes}
        return replace(self, classes={**self.classes, **made})

    def plan(self, segments: list[Candidate], now_ms: int) -> Iterator[Verdict]:
        return self.planner.plan(segments, now_ms)

    def may_be_due_before_ms(self, now_ms: int) -> int:
        """No segment that ended later can be due: no month of the calendar has fewer than 28 days."""
        days = [max(c.min_days or 0, 28 * c.months) for c in self.classes.values() if c.months is not None]
        return now_ms - min(days, default=0) * DAY_MS + 1


def clock_trust_of(connection: Connection, evidence: ClockEvidence) -> Trust:
    """Whether the time of `evidence` may delete, by what earlier sweeps have seen."""
    sighting, high_water_ms = facts.get(connection, _SIGHTING), facts.get(connection, HIGH_WATER)
    return judge_clock(evidence, Sighting(**sighting) if sighting else None, high_water_ms)


def confirm(connection: Connection, due: int, now_ms: int) -> None:
    """The next sweep that goes through may condemn so many segments, expected or not (as `Sweeper.sweep`'s
    `confirmed_due`, of people who do not wait for it)."""
    facts.set(connection, _CONFIRMED, {"due": due, "given_ms": now_ms})


def _confirmed(connection: Connection, now_ms: int) -> int:
    told = facts.get(connection, _CONFIRMED)
    return told["due"] if told and 0 <= now_ms - told["given_ms"] < _CONFIRMED_MS else -1


def _expected(connection: Connection) -> Forecast | None:
    stored = facts.get(connection, _FORECAST)
    return None if stored is None else Forecast.of_json(stored)


@dataclass(frozen=True, slots=True)
class _Removed:
    """What became of some segments' objects at the store."""

    gone: list[str]
    rescued: list[str]
    problems: dict[str, Exception]


class Sweeper:
    """Runs in the keeper. `evidence` asks kernel, store and peers for the time at the moment of the call."""

    def __init__(
        self,
        catalog: Catalog,
        store: ObjectStore,
        clock: Clock,
        evidence: Callable[[], ClockEvidence],
        grace_ms: int,
        chunk_rows: int = CHUNK_ROWS,
        aside: Aside | None = None,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self._evidence = evidence
        self._grace_ms = grace_ms
        self._chunk_rows = chunk_rows
        self._aside = aside

    def sweep(self, dry_run: bool = False, confirmed_due: int | None = None, told_ms: int | None = None) -> SweepReport:
        """One pass. Never raises for a single bad segment; raises when the catalog cannot be read.

        `confirmed_due`: a person has looked at the plan and confirms that up to so many segments may be condemned at
        once. It answers the guard alone, never the clock and never a hold. `told_ms`: what a person has just read from
        another clock. It answers a clock that stepped alone.
        """
        evidence = replace(self._evidence(), person_ms=told_ms)
        report = SweepReport(evidence.wall_ms, dry_run)
        trust = self._catalog.read(lambda c: clock_trust_of(c, evidence))
        if not trust.trusted:
            return self._refuse(report, trust.reason)
        if dry_run:
            policies, expected = self._foresee(report.now_ms)
        else:
            self._age(report.now_ms)
            self._settle_orders(report.now_ms)
            policies, expected = self._catalog.read(lambda c: (Policies.read(c), _expected(c)))
        due = self._due(policies, report)
        refusal = self._guard(due, expected, report.now_ms)
        if refusal is not None:
            confirmed = self._catalog.read(lambda c: _confirmed(c, report.now_ms))
            if len(due) > max(confirmed, -1 if confirmed_due is None else confirmed_due):
                report.condemned = due if dry_run else []
                return self._refuse(report, refusal)
        report.condemned = due
        if dry_run:
            report.deleted = self._would_delete(policies, due, report.now_ms)
            self._sweep_aside(report, evidence)
            return report
        self._condemn(due, report.now_ms)
        stepped = self._delete(report, evidence)
        if stepped is not None:
            return self._refuse(report, stepped)
        self._sweep_aside(report, evidence)
        self._remember(evidence, policies, report)
        return report

    # --- steps ---------------------------------------------------------------------------------------------------

    def _age(self, now_ms: int) -> None:
        while self._catalog.write(lambda c: retention_rows.age_from(c, now_ms, self._chunk_rows)) == self._chunk_rows:
            pass

    def _pages(
        self, state: str, before_ms: int, from_ms: int | None = None, date_unknown: bool = False
    ) -> Iterator[list[Candidate]]:
        mark = None if from_ms is None else (from_ms, "")
        read = partial(
            retention_rows.candidates,
            state=state,
            before_ms=before_ms,
            limit=self._chunk_rows,
            date_unknown=date_unknown,
        )
        while page := self._catalog.read(partial(read, after=mark)):
            yield page
            if len(page) < self._chunk_rows:
                break
            mark = page[-1].mark

    def _due(self, policies: Policies, report: SweepReport) -> list[Verdict]:
        """Hours of which the plan keeps everything are counted and not read: between what is due of ordinary cameras
        and of key areas stand two months of these."""
        before_ms = policies.may_be_due_before_ms(report.now_ms)
        found = self._catalog.read(lambda c: hours(c, ("stored",), before_ms))
        stretches, kept = open_stretches(found, policies.planner, report.now_ms)
        for verdict, count in kept:
            report.looked_at += count
            report.kept_by_hold += count if verdict.code == "retention.held" else 0
        due: list[Verdict] = []
        pages = [self._pages("stored", min(before_ms, to_ms), from_ms) for from_ms, to_ms in stretches]
        for page in chain(*pages, self._pages("stored", before_ms, date_unknown=True)):
            for verdict in policies.plan(page, report.now_ms):
                report.looked_at += 1
                if not verdict.keep:
                    due.append(verdict)
                elif verdict.code == "retention.held":
                    report.kept_by_hold += 1
        return due

    def _would_delete(self, policies: Policies, due: list[Verdict], now_ms: int) -> list[str]:
        """What this sweep would delete: what earlier ones left, what was condemned long enough ago, and with no grace
        what it has just condemned."""
        mark: tuple[int, str] | None = None
        going: list[str] = []
        while left := self._catalog.read(partial(retention_rows.tombstones, after=mark, limit=self._chunk_rows)):
            rows = self._catalog.read(partial(retention_rows.deleting, ids=[id_ for _, id_ in left]))
            going += [v.segment.id for v in policies.plan([found for found, _ in rows], now_ms) if not v.keep]
            mark = left[-1]
        for page in chain(self._pages("condemned", now_ms), self._pages("condemned", now_ms, date_unknown=True)):
            going += [v.segment.id for v in policies.plan(page, now_ms) if may_delete(v, now_ms, self._grace_ms)]
        return going + [v.segment.id for v in due if self._grace_ms <= 0]

    def _guard(self, due: list[Verdict], expected: Forecast | None, now_ms: int) -> Reason | None:
        if judge_guard(len(due), 0, expected, now_ms) is None:
            return None  # however much stands: counting millions of rows is left to where it decides
        return judge_guard(len(due), self._catalog.read(retention_rows.standing_count), expected, now_ms)

    def _condemn(self, due: list[Verdict], now_ms: int) -> None:
        for start in range(0, len(due), self._chunk_rows):

            def write(connection: Connection, chunk: list[Verdict] = due[start : start + self._chunk_rows]) -> None:
                ids = [v.segment.id for v in chunk]
                retention_rows.condemn(connection, ids, {v.segment.id: v.reason.as_json() for v in chunk}, now_ms)
                audit.append(connection, now_ms, ACTOR, "segment.condemn", f"{len(ids)} segments", {"ids": ids})

            self._catalog.write(write)

    def _settle_orders(self, now_ms: int) -> None:
        """What people ordered and the time decides: here, where the clock has been judged."""
        changes, overdue = self._catalog.read(lambda c: (class_changes.due(c, now_ms), approvals.overdue(c, now_ms)))
        if changes:
            self._apply_changes(changes, now_ms)
        if overdue:
            # With a request a provisional hold lapses. The forecast stays: a lapse that frees more than the guard's
            # slack asks a person.
            self._catalog.write(lambda c: approvals.expire(c, now_ms, ACTOR))

    def _foresee(self, now_ms: int) -> tuple[Policies, Forecast | None]:
        """What `_settle_orders` would leave behind."""

        def read(connection: Connection) -> tuple[Policies, Policies, list[class_changes.Change], Forecast | None]:
            changes = class_changes.due(connection, now_ms)
            return Policies.read(connection), Policies.foreseen(connection, now_ms), changes, _expected(connection)

        standing, foreseen, changes, expected = self._catalog.read(read)
        return foreseen, self._forecast(standing.changed(changes), now_ms) if changes else expected

    def _apply_changes(self, changes: list[class_changes.Change], now_ms: int) -> None:
        """Announced changes of classes whose week is over, together with the forecast that they bring."""
        expected = self._forecast(self._catalog.read(Policies.read).changed(changes), now_ms)

        def write(connection: Connection) -> None:
            class_changes.apply(connection, changes, now_ms, ACTOR)
            facts.set(connection, _FORECAST, expected.as_json())

        self._catalog.write(write)

    def _stepped(self, evidence: ClockEvidence) -> Reason | None:
        """Why the clock that was trusted at the sweep's start may not be used any more, if it jumped since."""
        wall_moved_ms = wall_ms(self._clock) - evidence.wall_ms
        moved_ms = wall_moved_ms - (self._clock.monotonic_ns() // 1_000_000 - evidence.monotonic_ms)
        if abs(moved_ms) <= AGREE_WITHIN_MS:
            return None
        return Reason("retention.clock_stepped", {"step_s": round(moved_ms / 1000)})

    def _delete(self, report: SweepReport, evidence: ClockEvidence) -> Reason | None:
        """Condemned → deleting → deleted; why it stopped, if the clock jumped.

        While the store deletes one chunk, the catalog settles the one before and releases the next. Nothing is judged
        ahead: between the last look at the holds and the request to the store nothing else is done.
        """
        chunks = self._doomed(evidence)
        chunk = next(chunks, None)
        if not isinstance(chunk, list):
            return chunk
        removed: _Removed | None = None
        with ThreadPoolExecutor(1, "sweep") as beside:
            while isinstance(chunk, list):
                rows = self._catalog.read(partial(self._judged, ids=chunk, now_ms=report.now_ms))
                asked = beside.submit(self._remove, rows)
                if removed is not None:
                    self._settle(removed, report)
                chunk = next(chunks, None)
                removed = asked.result()
        if removed is not None:
            self._settle(removed, report)
        return chunk

    def _doomed(self, evidence: ClockEvidence) -> Iterator[list[str] | Reason]:
        """The ids of what is to go, in chunks: what earlier sweeps left, then what each transaction releases. A reason
        ends it."""
        mark: tuple[int, str] | None = None
        while left := self._catalog.read(partial(retention_rows.tombstones, after=mark, limit=self._chunk_rows)):
            yield [id_ for _, id_ in left]
            mark = left[-1]
        for date_unknown in (False, True):
            after: tuple[int, str] | None = None
            while True:
                release = partial(self._release, evidence=evidence, after=after, date_unknown=date_unknown)
                released, after = self._catalog.write(release)
                if released:
                    yield released
                if isinstance(released, Reason):
                    return
                if after is None:
                    break

    def _release(
        self, connection: Connection, evidence: ClockEvidence, after: tuple[int, str] | None, date_unknown: bool
    ) -> tuple[list[str] | Reason, tuple[int, str] | None]:
        """Condemned → deleting, in the transaction that reads clock, holds and policies again: which of the next
        segments, or why none may go now; and behind which one to go on."""
        now_ms = evidence.wall_ms
        page = retention_rows.candidates(connection, "condemned", now_ms, after, self._chunk_rows, date_unknown)
        if not page:
            return [], None
        stepped = self._stepped(evidence)
        if stepped is not None:
            return stepped, None
        go, stay = [], []
        for verdict in Policies.read(connection).plan(page, now_ms):
            if verdict.keep:
                stay.append(verdict.segment.id)
            elif may_delete(verdict, now_ms, self._grace_ms):
                go.append(verdict.segment.id)
        retention_rows.move(connection, stay, "condemned", "stored", condemned_ms=None, delete_reason=None)
        retention_rows.move(connection, go, "condemned", "deleting")
        if go:
            audit.append(connection, now_ms, ACTOR, "segment.delete", f"{len(go)} segments", {"ids": go})
        return go, page[-1].mark if len(page) == self._chunk_rows else None

    @staticmethod
    def _judged(connection: Connection, ids: list[str], now_ms: int) -> list[tuple[Candidate, str, bool]]:
        """Segments, their keys, and whether they are to be kept after all: a store that refuses for hours leaves time
        for orders."""
        rows = retention_rows.deleting(connection, ids)
        verdicts = Policies.read(connection).plan([found for found, _ in rows], now_ms)
        return [(found, key, verdict.keep) for (found, key), verdict in zip(rows, verdicts, strict=True)]

    def _remove(self, rows: list[tuple[Candidate, str, bool]]) -> _Removed:
        """One bad object must not stop the others (FAULTS B17); it is counted and tried again at the next sweep."""
        rescued: list[str] = []
        doomed: dict[str, str] = {}
        problems: dict[str, Exception] = {}
        for found, key, keep in rows:
            try:
                if keep and self._store.head(key) is not None:
                    rescued.append(found.id)
                else:
                    doomed[key] = found.id
            except Exception as exc:
                problems[found.id] = exc
        failed: Mapping[str, Exception]
        try:
            failed = self._store.delete_many(list(doomed))
        except Exception:
            failed = self._removed_singly(doomed)
        problems |= {doomed[key]: problem for key, problem in failed.items()}
        return _Removed([id_ for id_ in doomed.values() if id_ not in problems], rescued, problems)

    def _removed_singly(self, keys: Iterable[str]) -> dict[str, Exception]:
        """Where nobody foresaw what stopped them all: the one behind it stays, and the others go."""
        failed: dict[str, Exception] = {}
        for key in keys:
            try:
                self._store.delete(key)
            except Exception as exc:
                failed[key] = exc
        return failed

    def _settle(self, removed: _Removed, report: SweepReport) -> None:
        def write(connection: Connection) -> None:
            rescued = removed.rescued
            retention_rows.move(connection, removed.gone, "deleting", "deleted", deleted_ms=report.now_ms)
            if rescued:
                retention_rows.move(connection, rescued, "deleting", "stored", condemned_ms=None, delete_reason=None)
                audit.append(
                    connection, report.now_ms, ACTOR, "segment.rescue", f"{len(rescued)} segments", {"ids": rescued}
                )

        for id_, problem in removed.problems.items():
            logger.warning("delete failed", extra={"segment": id_, "error": type(problem).__name__})
        report.failed += len(removed.problems)
        self._catalog.write(write)
        report.deleted += removed.gone

    def _sweep_aside(self, report: SweepReport, evidence: ClockEvidence) -> None:
        """After the deletions: what was put aside of footage that has just gone, goes now."""
        if self._aside is not None:
            report.aside = self._aside.sweep(
                self._catalog,
                lambda c: (Policies.foreseen(c, report.now_ms) if report.dry_run else Policies.read(c)).planner,
                lambda: self._stepped(evidence),
                ACTOR,
                report.now_ms,
                report.dry_run,
            )

    # --- memory --------------------------------------------------------------------------------------------------

    def _remember(self, evidence: ClockEvidence, policies: Policies, report: SweepReport) -> None:
        expected = self._forecast(policies, report.now_ms)

        def write(connection: Connection) -> None:
            sighting = Sighting(evidence.wall_ms, evidence.monotonic_ms, evidence.boot_id)
            high_water_ms = facts.get(connection, HIGH_WATER) or 0
            learned = {
                _SIGHTING: asdict(sighting),
                HIGH_WATER: max(high_water_ms, evidence.wall_ms),
                _FORECAST: expected.as_json(),
                LAST_SUCCESS: report.now_ms,
                REFUSED_SINCE: None,
                REFUSED_REASON: None,
                _CONFIRMED: None,
            }
            facts.set_all(connection, learned)

        self._catalog.write(write)

    def _forecast(self, policies: Policies, now_ms: int) -> Forecast:
        """From counts per camera, class and hour: footage of one camera and hour falls due within the same hour."""

        def read(connection: Connection) -> list[tuple[str, str, int, int, int]]:
            return [(r[0], r[1], int(r[2]), int(r[3]), int(r[4])) for r in connection.execute(_BY_HOUR)]

        def verdicts() -> Iterator[Verdict]:
            for camera_id, class_name, at_hour, undated, count in self._catalog.read(read):
                end_ms = at_hour * HOUR_MS
                seen_ms = end_ms if undated else None
                sample = Candidate(
                    "", camera_id, end_ms, end_ms, 0, "own", "stored", class_name, None, bool(undated), seen_ms
                )
                for verdict in policies.plan([sample], now_ms):
                    for _ in range(count):
                        yield verdict

        return forecast(verdicts(), now_ms)

    def _refuse(self, report: SweepReport, reason: Reason) -> SweepReport:
        report.refused = reason
        if report.dry_run:
            return report
        logger.error("sweep refused", extra={"reason": reason.code, **reason.params})

        def write(connection: Connection) -> None:
            if facts.get(connection, REFUSED_REASON) != reason.code:
                audit.append(connection, report.now_ms, ACTOR, "sweep.refuse", "sweep", reason.as_json())
                facts.set(connection, REFUSED_REASON, reason.code)
            if facts.get(connection, REFUSED_SINCE) is None:
                facts.set(connection, REFUSED_SINCE, report.now_ms)

        self._catalog.write(write)
        return report
