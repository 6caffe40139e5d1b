"""From the spool into the store, oldest first, losing nothing. (I1; FAULTS B7-B12)

One segment: put under its unique key, verify what the store says it has, row ``spooled → stored``, and only then free
the spool copy. A crash between any two of these is found again: an object that is there already with the same bytes is
success, a spool copy of a stored segment is freed at the next round. While the store is away nothing is tried beyond
one segment per backoff, another one each time; the spool grows, and `backlog` says by how much and since when. A
segment that the store refuses while it takes others (one erasure set is down, one prefix is forbidden, one folder is
broken) waits by itself, longer each time. Segments on a volume that is not there wait for it, and hold up no other. A
file that cannot be read to its end, on a disk that answers otherwise, costs its own thread (`storage.lanes`); a disk
that hangs while a copy is freed keeps its copies until it answers.

Belongs here: order, retries, the moves of the row. Does not belong here: how a store is spoken to (`storage.objects`),
what to shed when the spool is full (the recorder stops admitting; nothing spooled is thrown away).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path

from sqlalchemy import Connection

from config.clock import Clock, Deadline, wall_ms
from config.errors import TiergateError
from config.reasons import Reason
from storage import damage, lanes, questions
from storage.catalog import segments
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.segments import Backlog, SegmentRow
from storage.lanes import Lanes
from storage.objects.base import SLOWEST_BYTES_PER_S, ObjectStore
from storage.spool import Spool
from storage.spools import Volumes, require_volume

logger = logging.getLogger(__name__)

ACTOR = "keeper"
BATCH_ROWS = 64  #: looked at per round; the rest waits in the catalog
NEWEST_LANE = 4  #: one upload in so many takes the newest instead: fresh footage is what people ask for (FAULTS B7)
IDLE_S = 1.0
LOOK_ANYWAY_S = 30.0  #: between two rounds although nothing moves in the catalog
BACKOFF_FIRST_S, BACKOFF_MAX_S = 1.0, 60.0
LEFTOVERS_EVERY_S = 600
FINISH_S = 5.0  #: what is in flight at the end is waited for so long
#: How long a segment waits that the store has twice refused while it took another; doubles each time.
WAIT_FIRST_S, WAIT_MAX_S = 1.0, 600.0
AWAY_KEYS = 2  #: refused without one taken in between; one alone may be refused for its own sake


@dataclass(slots=True)
class UploadCounters:
    """What the uploader says of itself: what became of all it has tried, and how it stands."""

    stored: int = 0
    failures: int = 0  #: attempts that the store did not take
    corrupt: int = 0  #: segments that wait because their spool copy is missing or is not what its row says
    backlog: Backlog = field(default_factory=lambda: Backlog(0, 0, None))  #: as of the last round
    away_since_ms: int | None = None  #: the store has not taken anything since; None while it takes some
    hanging: tuple[SegmentRow, ...] = ()  #: whose upload does not end, as of the last round
    last_reason: Reason | None = None


class _Fate(Enum):
    STORED = "stored"  #: the store has it, verified
    REFUSED = "refused"  #: the store did not take it; another time
    DAMAGED = "damaged"  #: the fault is this segment's
    AWAY = "away"  #: its volume went while we looked


@dataclass(frozen=True, slots=True)
class _Outcome:
    row: SegmentRow
    fate: _Fate
    reason: Reason | None = None


@dataclass(slots=True)
class _Wait:
    """Of one segment that is refused while others are taken."""

    times: int
    until_ns: int  #: steady


@dataclass(frozen=True, slots=True)
class Round:
    """What one `run_once` did."""

    tried: int
    stored: int
    failed: int

    def __add__(self, other: Round) -> Round:
        return Round(self.tried + other.tried, self.stored + other.stored, self.failed + other.failed)


class Uploader:
    """Runs in the keeper, alone: two of them would do double work, though no harm."""

    def __init__(self, catalog: Catalog, store: ObjectStore, spool: Volumes, clock: Clock, workers: int = 4) -> None:
        self._catalog = catalog
        self._store = store
        self._volumes = spool
        self._present: dict[str, Spool] = {}  #: volume id → spool, in this round
        self._clock = clock
        self._workers = workers
        self._lanes = Lanes(workers, self._put, _allowed_s)
        self._ask: Callable[[Path, Callable[[], None]], None] = questions.ask
        self._jitter = random.Random()  # noqa: S311  spreads retries, guards nothing
        self._leftovers_due_ns = clock.monotonic_ns()
        self._put_aside: set[str] = set()  #: damaged segments: not tried again until the next look for leftovers
        self._told: set[str] = set()  #: of those, counted already
        self._refused_since: dict[str, str] = {}  #: segment → camera, refused since the store took one; latest last
        self._waits: dict[str, _Wait] = {}  #: by segment
        self.counters = UploadCounters()

    # --- rounds ---

    def run_once(self, limit: int = BATCH_ROWS, patient: bool = True) -> Round:
        """Uploads up to `limit` segments in threads, moves their rows, frees their spool copies. Blocks.

        What does not end in time (`_allowed_s`) is left to itself, and told of by the round in which it does; with
        `patient` false the round ends with the last segment's beginning. Raises media.volume_missing while no volume is
        mounted: then nothing can be said about any segment.
        """
        self._present = require_volume(self._volumes)
        self._look_for_leftovers()
        done = self._settle(self._lanes.finish(0))
        due = self._catalog.read(partial(self._due, limit=limit))
        while due:
            # One knock is enough while the store is away; a few at a time else, so that a crash repeats little.
            if self.counters.away_since_ms is None:
                chunk, due = due[: self._workers * 2], due[self._workers * 2 :]
            elif self._lanes.moving:
                break
            else:
                chunk = [self._knock(due)]
                due.remove(chunk[0])
            done += self._settle(self._lanes.run(chunk))
            if self._refused_since:
                break
        if patient:
            done += self._settle(self._lanes.finish(lanes.HANGS_S))
        self._name_hanging()
        self.counters.backlog = self._catalog.read(segments.spooled_bytes)
        return done

    async def run(self, stop: asyncio.Event) -> None:
        """Rounds until `stop`; what is in flight then is finished. Waits longer and longer while the store is away."""
        backoff_s = BACKOFF_FIRST_S
        loop = asyncio.get_running_loop()
        seen: int | None = None  #: version of a catalog in which nothing waits
        look = Deadline(0)
        while not stop.is_set():
            pause_s = IDLE_S
            version = await self._catalog.aversion()
            if version == seen and not look.passed:  # 3 µs instead of three queries, all day long
                await self._pause(stop, pause_s)
                continue
            try:
                done = await loop.run_in_executor(None, partial(self.run_once, patient=False))
            except TiergateError as exc:  # the spool's volume is not there; nothing of it may be judged
                self.counters.last_reason = exc.reason
                logger.error("upload round failed", extra={"reason": exc.reason.code})
                pause_s, backoff_s = self._jittered(backoff_s), min(BACKOFF_MAX_S, backoff_s * 2)
            else:
                if self._refused_since:
                    pause_s, backoff_s = self._jittered(backoff_s), min(BACKOFF_MAX_S, backoff_s * 2)
                else:
                    backoff_s = BACKOFF_FIRST_S
                    if done.stored and self.counters.backlog.count > len(self._put_aside) + len(self._waits):
                        continue
                    seen = version if not done.tried and not self.counters.backlog.count else None
                    look = Deadline(LOOK_ANYWAY_S)
            await self._pause(stop, pause_s)
        await loop.run_in_executor(None, self._finish)

    def _finish(self) -> None:
        """What is in flight when it is to end; a copy that hangs is not waited for."""
        self._settle(self._lanes.finish(FINISH_S))

    @staticmethod
    async def _pause(stop: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)

    def close(self) -> None:
        """What is still in flight is told of by nobody: the next start finds it done, or does it again."""
        self._lanes.close(FINISH_S)

    # --- steps ---

    def _due(self, connection: Connection, limit: int) -> list[SegmentRow]:
        """Oldest first; every `NEWEST_LANE`th place goes to the newest."""
        newest_count = limit // NEWEST_LANE if limit >= NEWEST_LANE else 0
        now_ns = self._clock.monotonic_ns()
        aside = self._put_aside | {id_ for id_, wait in self._waits.items() if wait.until_ns > now_ns}
        aside |= {row.id for row in self._lanes.begun}
        there = list(self._present)
        oldest = segments.oldest_spooled(connection, limit - newest_count, aside, there)
        taken = {row.id for row in oldest}
        fresh = segments.newest_spooled(connection, newest_count, aside, there)
        newest = [row for row in fresh if row.id not in taken]
        mixed: list[SegmentRow] = []
        while oldest or newest:
            mixed += oldest[: NEWEST_LANE - 1] + newest[:1]
            oldest, newest = oldest[NEWEST_LANE - 1 :], newest[1:]
        return mixed

    def _knock(self, due: Sequence[SegmentRow]) -> SegmentRow:
        """Of a camera that was not refused yet if there is one, else a segment that was not, else the one whose refusal
        is longest ago; last of all what was refused while others were taken."""
        since = self._refused_since
        cameras = set(since.values())
        order = {id_: place for place, id_ in enumerate(since)}
        return min(due, key=lambda row: (row.id in self._waits, row.camera_id in cameras, order.get(row.id, -1)))

    def _settle(self, outcomes: Sequence[_Outcome]) -> Round:
        taken = [o.row for o in outcomes if o.fate is _Fate.STORED]
        if taken:
            self._mark(taken)
            self._free(taken)
        spoiled = [o.row for o in outcomes if o.reason is not None and o.reason.code == "media.spool_corrupt"]
        if spoiled:
            self._catalog.write(partial(_mark_copies, rows=spoiled, now_ms=wall_ms(self._clock)))
        return Round(len(outcomes), len(taken), self._judge(outcomes))

    def _judge(self, outcomes: Sequence[_Outcome]) -> int:
        """Counts; says whether the store is away, and who waits by itself. How many it did not take."""
        counters = self.counters
        refused = [o for o in outcomes if o.fate is _Fate.REFUSED]
        for outcome in outcomes:
            if outcome.fate is _Fate.DAMAGED:
                # One bad segment must not hold up the others; its row stays `spooled`, its file where it is.
                self._put_aside.add(outcome.row.id)
            if outcome.fate is _Fate.DAMAGED and outcome.row.id not in self._told:
                self._told.add(outcome.row.id)
                counters.corrupt = len(self._told)
                code = outcome.reason.code if outcome.reason else ""
                logger.error("segment cannot be stored", extra={"segment": outcome.row.id, "reason": code})
        counters.failures += len(refused)
        for outcome in refused:
            counters.last_reason = outcome.reason
            if outcome.row.id in self._waits:  # that says nothing of the store as a whole
                self._let_wait(outcome.row.id)
                why = outcome.reason.as_json() if outcome.reason else {}
                logger.warning("segment is refused while others are taken", extra={"segment": outcome.row.id, **why})
            else:
                self._refused_since.pop(outcome.row.id, None)  # to the end
                self._refused_since[outcome.row.id] = outcome.row.camera_id
        taken = [o.row.id for o in outcomes if o.fate is _Fate.STORED]
        if taken:
            for id_ in taken:
                self._waits.pop(id_, None)
                self._refused_since.pop(id_, None)
            for id_ in self._refused_since:
                self._let_wait(id_)
            self._refused_since.clear()
            counters.away_since_ms = None
            if not self._waits:
                counters.last_reason = None
        elif len(self._refused_since) >= AWAY_KEYS and counters.away_since_ms is None:
            counters.away_since_ms = wall_ms(self._clock)
            logger.warning("store is away", extra=counters.last_reason.as_json() if counters.last_reason else {})
        return len(refused)

    def _let_wait(self, id_: str) -> None:
        """Refused once while another was taken, it comes again at once: the store may just have come back."""
        times = self._waits[id_].times + 1 if id_ in self._waits else 1
        wait_s = min(WAIT_MAX_S, WAIT_FIRST_S * 2.0 ** min(times - 2, 20)) if times > 1 else 0.0
        self._waits[id_] = _Wait(times, self._clock.monotonic_ns() + int(wait_s * 1e9))

    def _put(self, row: SegmentRow) -> _Outcome:
        """In a thread of the pool; never raises."""
        spool = self._spool_of(row)
        if spool is None:
            return _Outcome(row, _Fate.AWAY)
        path = spool.path_of(row.camera_id, row.id)
        metadata = {"camera": row.camera_id, "run": row.run_id, "segment": row.id}
        try:
            if not path.exists():
                return self._without_copy(row, spool)
            self._store.put_file(row.object_key, path, row.sha256, row.bytes, metadata)
        except TiergateError as exc:
            if exc.reason.code in ("media.object_exists", "media.object_bad_key"):
                return _Outcome(row, _Fate.DAMAGED, exc.reason)
            return self._refused(row, spool, exc.reason)
        except Exception as exc:  # a driver's own exception is a failure of this attempt, never of the uploader
            logger.exception("upload failed", extra={"segment": row.id})
            return self._refused(row, spool, Reason("media.store_unavailable", {"problem": type(exc).__name__}))
        return _Outcome(row, _Fate.STORED)

    def _refused(self, row: SegmentRow, spool: Spool, reason: Reason) -> _Outcome:
        """Whose fault it was: a copy that cannot be read, or is not what its row says, is no fault of the store."""
        if self._copy_is_whole(row, spool):
            return _Outcome(row, _Fate.REFUSED, reason)
        if not spool.present():
            return _Outcome(row, _Fate.AWAY)
        return _Outcome(row, _Fate.DAMAGED, Reason("media.spool_corrupt", {"segment": row.id}))

    def _spool_of(self, row: SegmentRow) -> Spool | None:
        """Where its copy lies; with no volume in the row, any that has it."""
        if row.volume is not None:
            return self._present.get(row.volume)
        spools = list(self._present.values())
        return next((spool for spool in spools if spool.find(row.camera_id, row.id) is not None), spools[0])

    def _without_copy(self, row: SegmentRow, spool: Spool) -> _Outcome:
        """No spool copy: fine when the store has it (a catalog restored from a backup says so), damage else."""
        try:
            if self._has_whole(row):
                return _Outcome(row, _Fate.STORED)
        except TiergateError as exc:  # nothing can be said while the store is away
            return _Outcome(row, _Fate.REFUSED, exc.reason)
        if not spool.present():  # an unmounted spool must not make a segment look damaged
            return _Outcome(row, _Fate.AWAY)
        return _Outcome(row, _Fate.DAMAGED, Reason("media.spool_corrupt", {"segment": row.id}))

    def _has_whole(self, row: SegmentRow) -> bool:
        """Raises media.store_unavailable."""
        found = self._store.head(row.object_key)
        return found is not None and found.bytes == row.bytes and found.sha256 in (None, row.sha256)

    def _copy_is_whole(self, row: SegmentRow, spool: Spool) -> bool:
        try:
            with spool.path_of(row.camera_id, row.id).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest() == row.sha256
        except OSError:
            return False

    def _name_hanging(self) -> None:
        hanging, known = self._lanes.hanging, {row.id for row in self.counters.hanging}
        for row in hanging:
            if row.id not in known:
                logger.error(
                    "an upload hangs", extra={"segment": row.id, "camera": row.camera_id, "volume": row.volume}
                )
        self.counters.hanging = tuple(hanging)

    def _mark(self, done: Sequence[SegmentRow]) -> None:
        now_ms = wall_ms(self._clock)
        moved = set(self._catalog.write(partial(_stored, ids=[r.id for r in done], now_ms=now_ms)))
        self.counters.stored += len(moved)

    def _free(self, rows: Sequence[SegmentRow]) -> None:
        """Removes spool copies; every one of `rows` is in the store and its row says so."""
        if not rows:
            return
        freed: list[str] = []
        for row in rows:
            spool = self._spool_of(row)
            if spool is None:
                continue  # its row goes on naming the volume; freed when that is back
            try:
                self._ask(spool.root, partial(spool.free_copy, row.camera_id, row.id))
            except (OSError, TiergateError) as exc:  # a disk that turned read-only, hangs, or went: freed another time
                logger.warning("spool copy stays", extra={"segment": row.id, "problem": type(exc).__name__})
                continue
            freed.append(row.id)
        self._catalog.write(partial(segments.mark_freed, ids=freed))

    def _look_for_leftovers(self) -> None:
        """What a crash left between `stored` and free, and what waits on volumes that are not there: now and then."""
        if self._clock.monotonic_ns() < self._leftovers_due_ns:
            return
        self._leftovers_due_ns = self._clock.monotonic_ns() + LEFTOVERS_EVERY_S * 1_000_000_000
        self._put_aside.clear()
        told, self._told = sorted(self._told), set()
        for start in range(0, len(told), CHUNK_ROWS):
            states = self._catalog.read(partial(segments.existing, ids=told[start : start + CHUNK_ROWS]))
            self._told |= {id_ for id_, state in states.items() if state == "spooled"}
        self.counters.corrupt = len(self._told)
        long_ago_ns = self._clock.monotonic_ns() - LEFTOVERS_EVERY_S * 1_000_000_000
        self._waits = {id_: wait for id_, wait in self._waits.items() if wait.until_ns > long_ago_ns}  # others ended
        for volume in self._present:
            self._free_leftovers(volume)
        self._look_elsewhere()

    def _free_leftovers(self, volume: str) -> None:
        after = ""
        while True:
            page = partial(segments.beyond_spool_on, volume=volume, after_id=after, limit=BATCH_ROWS)
            left = self._catalog.read(page)
            if not left:
                return
            after = left[-1].id
            # A deletion that was decided takes the copy too; else the store must still have the object, for what it has
            # instead the scrub puts right from this copy.
            self._free([row for row in left if row.state in ("deleting", "deleted") or self._has(row)])

    def _look_elsewhere(self) -> None:
        """Of a volume that is not there nothing is judged, but the store may have it: a restored catalog says so."""
        after, there = "", list(self._present)
        while True:
            page = partial(segments.spooled_elsewhere, volumes=there, after_id=after, limit=BATCH_ROWS)
            waiting = self._catalog.read(page)
            if not waiting:
                return
            after = waiting[-1].id
            try:
                self._mark([row for row in waiting if self._has_whole(row)])
            except TiergateError:
                return  # the store is away; the next look is early enough

    def _has(self, row: SegmentRow) -> bool:
        try:
            return self._has_whole(row)
        except TiergateError:
            return False

    def _jittered(self, seconds: float) -> float:
        return seconds * self._jitter.uniform(0.5, 1.5)


def _allowed_s(row: SegmentRow) -> float:
    """Longer than a store that trickles is given: beside uploads that share a thin line others would share it too."""
    return lanes.HANGS_S + row.bytes / SLOWEST_BYTES_PER_S


def _stored(connection: Connection, ids: Sequence[str], now_ms: int) -> list[str]:
    """What was marked as damaged and is whole after all is so no longer."""
    moved = segments.mark_stored(connection, ids, now_ms)
    for id_ in moved:
        damage.unmark(connection, id_, now_ms)
    return moved


def _mark_copies(connection: Connection, rows: Sequence[SegmentRow], now_ms: int) -> None:
    for row in rows:
        damage.mark_copy(connection, row, ACTOR, now_ms)
