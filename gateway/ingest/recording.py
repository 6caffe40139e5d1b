"""From access units to rows: segmenter, writer lane, spool, ledger, account of gaps. One `Recording` per recorded
stream.

Belongs here: carrying out the segmenter's commands, what happens when the disk does not, and moving to another volume.
Does not belong here: where segments end (`storage.segmenter`), files (`storage.spool`), which volume is well
(`gateway.ingest.volumes`), cameras (`gateway.ingest.supervision`).

Every method is called under the sink's lock, except those named `_write_…`, which run in one of the stream's writer
lanes: it has one on each volume that it was ever written to, and a run never leaves its volume. The two sides share
`Lane.pending_bytes` and `_failed`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import Connection

from config.clock import Clock
from config.errors import TiergateError
from config.reasons import Reason
from gateway.ingest.admission import ORDINARY_CLASS
from gateway.ingest.coverage import Coverage
from gateway.ingest.early import EarlyUnits
from gateway.ingest.ledger import Ledger
from gateway.ingest.source import GapCause
from gateway.ingest.spooling import Writing
from gateway.ingest.timekeeping import SYNCHRONISED, Change, Correction, Era
from gateway.ingest.volumes import Trouble, Volume, Volumes
from gateway.ingest.writer import Lane
from gateway.live.replay import ReplayClock
from storage.catalog.gaps import give_back
from storage.catalog.segments import SegmentRow, end_run, insert_run, insert_segments
from storage.catalog.status import Past
from storage.media.access_unit import AccessUnit, StreamConfig, Track
from storage.media.fragment_index import FragmentEntry
from storage.restamp import restamp
from storage.rows import run_row
from storage.segmenter import (
    CloseSegment,
    Command,
    EndRun,
    OpenSegment,
    Segmenter,
    SegmenterPolicy,
    SegmentLabels,
    Write,
)

_log = logging.getLogger(__name__)

#: Bytes of one stream that may wait for the disk: 16 s of a 4 Mbit/s camera. More is footage given up by name.
PENDING_MAX_BYTES = 8 << 20
_NS_PER_MS = 1_000_000
_DISK_CAUSES = (GapCause.DISK_FULL, GapCause.DISK_SLOW, GapCause.UNKNOWN)
#: Between two attempts of a stream whose disk failed: doubled up to the longest, which with the wait for a key frame
#: stays within 10 s.
_RETRY_NS, _RETRY_LONGEST_NS = 1_000_000_000, 6_000_000_000


@dataclass(slots=True)
class _Open:
    """The segment being written, seen from the receiving side."""

    writing: Writing
    command: OpenSegment
    origin: int  #: live dts at decode time 0 of the run
    epoch: int


@dataclass(frozen=True, slots=True)
class _Failure:
    """A file that took no more."""

    error: TiergateError
    writing: Writing


@dataclass(frozen=True, slots=True)
class Recent:
    """What exists since the last key frame: fragments in the open part file, and units not yet written."""

    writing: Writing
    entries: tuple[FragmentEntry, ...]
    clock: ReplayClock
    pending: tuple[AccessUnit, ...]


class Recording:
    def __init__(
        self,
        labels: SegmentLabels,
        policy: SegmenterPolicy,
        volumes: Volumes,
        ledger: Ledger,
        coverage: Coverage,
        clock: Clock,
        ids: Callable[[], str],
    ) -> None:
        self._labels = labels
        self._segmenter = Segmenter(policy, ids)
        if coverage.footage_end_ms is not None:
            self._segmenter.not_before(coverage.footage_end_ms * _NS_PER_MS)
        self._places = volumes.ranked(labels.camera)
        self._volume = self._places[0]
        self._lanes: dict[Volume, Lane] = {self._volume: self._volume.lane()}
        self._ledger = ledger
        self.coverage = coverage
        self.held = False  #: a hold covers what the camera shows now
        self._clock = clock
        self._ids = ids
        self._config: StreamConfig | None = None
        self._open: _Open | None = None
        self._origin = 0
        self._unit: AccessUnit | None = None  #: the one being pushed
        self._refusal: GapCause | None = None  #: why units are not recorded now
        self._retry_ns = 0
        self._retry_step_ns = _RETRY_NS
        self._proving_ms: int | None = None  #: start of a segment that must show that the disk takes footage again
        self._failed: deque[_Failure] = deque()  #: filled by lanes, taken by the receiving side
        #: Files to be made whole when their disk is well again. Each list is its lane's.
        self._abandoned: dict[Volume, list[Writing]] = {}
        self._off: Trouble | None = None  #: why nothing is to be recorded although there are pictures
        self.footage_ns = 0  #: monotonic, when pictures last went to the disk
        self._since_key: list[FragmentEntry] = []
        self._pending: list[AccessUnit] = []
        self._era: Era | None = None
        self._early: EarlyUnits | None = None  #: while another process still records the stream
        self._entered: list[tuple[int, int]] = []  #: (start of an era, when this stream went over to it)
        self._doubtful: list[tuple[str, int]] = []  #: (run, start of its era) of runs whose time may yet be put right

    def lost(self, cause: GapCause, reason: Reason, now_ms: int) -> None:
        """Footage is missing. Outside its week's windows a camera misses nothing, whatever becomes of it."""
        if self._off is None or cause is GapCause.DISABLED:
            self.coverage.lost(cause, reason, now_ms)

    @property
    def refused(self) -> bool:
        """Whether footage is given up by name now: the disk's fault, not the camera's."""
        return self._refusal is not None

    @property
    def labels(self) -> SegmentLabels:
        return self._labels

    @property
    def lane(self) -> Lane:
        return self._lanes[self._volume]

    @property
    def volume(self) -> Volume:
        """Where its footage goes now, or went last."""
        return self._volume

    # -- events ------------------------------------------------------------------------------------------------------

    def relabel(self, labels: SegmentLabels) -> None:
        """Segments opened from now on carry `labels` (another retention class, another trust in the clock)."""
        self._labels = labels
        if self._config is not None and self._early is None:
            self._segmenter.relabel(labels)

    def switch(self, off: tuple[GapCause, Reason] | None) -> None:
        """Units that come are recorded (None), or not for this reason: somebody only watches."""
        self._off = None if off is None else Trouble(*off)
        if off is not None and self._refusal is None:
            self._give_up(*off, keep=True)

    # -- taking over from another process ----------------------------------------------------------------------------

    def wait(self) -> None:
        """Nothing is written until `take_over`; the newest pictures are kept."""
        self._early = EarlyUnits()
        self.coverage.wait()

    @property
    def waiting(self) -> bool:
        return self._early is not None

    @property
    def prepared(self) -> bool:
        """Whether recording can go on at once."""
        return bool(self._early)

    def take_over(self, past: Past, now_ms: int) -> None:
        """The predecessor has written its last row: goes on at the first key frame that it does not have."""
        early, self._early = self._early or EarlyUnits(), None
        self.coverage.resume(past, now_ms)
        if self.coverage.footage_end_ms is not None:
            self._segmenter.not_before(self.coverage.footage_end_ms * _NS_PER_MS)
        if self._config is not None:
            self._carry_out(self._segmenter.begin(self._config, self._labels))
        for unit in early.since(past.accounted_ms or 0):
            self.push(unit)

    @property
    def between_runs(self) -> bool:
        return self._open is None

    def enter(self, era: Era, at_ns: int, trust: str, changes: tuple[Change, ...] = ()) -> None:
        """From `at_ns` on times are those of `era`; `changes` have led to it since the one before.

        Call it before a key frame, or between runs: then no picture is lost.
        """
        if self._era is not None:
            self.end("clock")
        self._era = era
        if self._early is not None:
            changes = ()
        for change in changes:
            if change.correction is not None:
                self._restamp(change.correction)
            if change.jumped_ns:
                self.coverage.jumped(self._clock.wall_ns() // _NS_PER_MS)
        self._entered.append((era.from_ns, at_ns))
        self.believe(trust)

    def believe(self, trust: str) -> None:
        """Segments opened from now on say so."""
        if trust != self._labels.time_trust:
            self.relabel(replace(self._labels, time_trust=trust))

    def begin(self, config: StreamConfig) -> None:
        if self._early is not None:
            if config != self._config:
                self._early.clear()
            self._config = config
            return
        self._config = config
        self._carry_out(self._segmenter.begin(config, self._labels))

    def push(self, unit: AccessUnit) -> None:
        if self._early is not None:
            if self._early.keep(unit):
                self.coverage.well()
            return
        if self._failed or self.lane.pending_bytes > PENDING_MAX_BYTES or self._refusal is not None:
            self._consider(unit)
            if self._refusal is not None:
                return
        elif len(self._places) > 1 and unit.opens_group:
            placed = self._place()
            if isinstance(placed, Volume) and placed is not self._volume:
                self._carry_out(self._segmenter.end("moved"))
                self._move(placed)
        self._unit = unit
        commands = self._segmenter.push(unit)
        if commands:
            self._carry_out(commands)
        if unit.track is Track.VIDEO:
            if unit.key:
                self._since_key = []
                self._pending = [unit]
            else:
                self._pending.append(unit)

    def tick(self, now_ns: int) -> None:
        """Every 0.2 s: what has waited for its fragment is written, key frame or not."""
        if self._early is not None:
            return
        self._face_failures()
        commands = self._segmenter.flush(now_ns)
        if commands:
            self._carry_out(commands)
        self._prove()
        if self._refusal is None:
            placed = self._place()
            if isinstance(placed, Trouble):
                self._give_up(placed.cause, placed.reason, keep=True)

    def end(self, reason: str) -> None:
        """The source is gone; all it gave is written."""
        if self._early is not None:
            self._early.clear()
            return
        self._carry_out(self._segmenter.end(reason))
        self._since_key, self._pending = [], []

    def recent(self) -> Recent | None:
        """For a late joiner; read `writing` in the lane, after what waits there."""
        if self._open is None or (not self._since_key and not self._pending):
            return None
        opened, command = self._open, self._open.command
        clock = ReplayClock(
            opened.origin, command.media_start, command.wall_start_ns, command.config.video.timescale, opened.epoch
        )  # fmt: skip
        return Recent(self._open.writing, tuple(self._since_key), clock, tuple(self._pending))

    def in_lane(self, job: Callable[[], None]) -> None:
        """`job` runs after everything of this stream that waits to be written."""
        self.lane.put(job)

    @property
    def idle(self) -> bool:
        return all(lane.idle for lane in self._lanes.values())

    @property
    def pending_bytes(self) -> int:
        """What waits for disks."""
        return sum(lane.pending_bytes for lane in self._lanes.values())

    # -- giving up and coming back -----------------------------------------------------------------------------------

    def _consider(self, unit: AccessUnit) -> None:
        """Trouble, or the end of it."""
        self._face_failures()
        if self._refusal is None and self.lane.pending_bytes > PENDING_MAX_BYTES:
            self._give_up(GapCause.DISK_SLOW, Reason("recorder.disk_slow"), keep=True)
        if self._refusal is not None and unit.opens_group:
            placed = self._place()
            if isinstance(placed, Trouble):
                self._lose(placed.cause, placed.reason)
            elif placed is not self._volume:
                self._refusal = None
                self._move(placed)
            elif self.lane.pending_bytes < PENDING_MAX_BYTES // 4 and self._clock.monotonic_ns() >= self._retry_ns:
                self._refusal = None

    def _face_failures(self) -> None:
        """A file that took no more ends the run if it is the open one; else its own time is what is missing."""
        while self._failed:
            failed = self._failed.popleft()
            cause, reason = self._cause(failed.error)
            if self._open is not None and self._open.writing is failed.writing:
                self._give_up(cause, reason, keep=False)
            elif failed.writing.end_ms is not None:
                start_ms, end_ms = failed.writing.start_ms, failed.writing.end_ms
                self.coverage.lost_span(cause, reason, start_ms, end_ms, self._clock.wall_ns() // _NS_PER_MS)

    def _place(self) -> Volume | Trouble:
        return self._off or Volumes.place(self._places, self.held or self._labels.retention_class != ORDINARY_CLASS)

    def _move(self, volume: Volume) -> None:
        _log.warning(
            "footage goes to another volume",
            extra={"camera": self._labels.camera, "from": self._volume.name, "to": volume.name},
        )
        self._volume = volume
        self._lanes.setdefault(volume, volume.lane())

    def _give_up(self, cause: GapCause, reason: Reason, *, keep: bool) -> None:
        """Ends the run here; units are dropped until a key frame finds a disk well. `keep`: what waits is written."""
        commands = self._segmenter.end(cause.value)
        if keep:
            self._carry_out(commands)
        elif self._open is not None:
            if self._proving_ms is None:
                self.coverage.lost_segment(self._open.writing.start_ms)
            self._abandon(self._open.writing)
            for command in commands:
                if isinstance(command, EndRun):
                    self._end_run(command)
        self._open = None
        self._since_key, self._pending = [], []
        self._proving_ms = None
        self._retry_ns = self._clock.monotonic_ns() + self._retry_step_ns
        self._retry_step_ns = min(2 * self._retry_step_ns, _RETRY_LONGEST_NS)
        self._lose(cause, reason)

    def _lose(self, cause: GapCause, reason: Reason) -> None:
        if self._refusal is not cause and cause is not GapCause.DISABLED:
            _log.warning("footage is not recorded", extra={"camera": self._labels.camera, "cause": cause.value})
        self._refusal = cause
        self.coverage.lost(cause, reason, self._clock.wall_ns() // _NS_PER_MS)

    @staticmethod
    def _cause(error: TiergateError) -> tuple[GapCause, Reason]:
        """What a lane's failure means for the account."""
        problem = error.reason.params.get("problem")
        if problem in ("ENOSPC", "EDQUOT"):
            return GapCause.DISK_FULL, Reason("recorder.disk_full")
        if problem is None:
            return GapCause.UNKNOWN, error.reason
        return GapCause.UNKNOWN, Reason("recorder.disk_broken", {"problem": problem})

    # -- commands ----------------------------------------------------------------------------------------------------

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Write():
                    self._append(command)
                case OpenSegment():
                    self._open_segment(command)
                case CloseSegment():
                    self._close_segment(command)
                case EndRun():
                    self._end_run(command)

    def _open_segment(self, command: OpenSegment) -> None:
        unit = self._unit
        if unit is None:
            raise RuntimeError("a segment without a unit")
        if command.starts_run:
            self._origin = unit.dts
            if self._era is not None and self._labels.time_trust != SYNCHRONISED:
                self._doubtful.append((command.run_id, self._era.from_ns))
        # After a failure of the disk a gap ends with the first fragment that it took, not with an attempt.
        self._proving_ms = command.wall_start_ns // _NS_PER_MS
        if self.coverage.open_cause not in _DISK_CAUSES:
            self._prove(True)
        volume = self._volume
        writing = volume.begin(command)
        self._open = _Open(writing, command, self._origin, unit.epoch)

        def create() -> None:
            writing.create()
            if command.starts_run:
                row = run_row(command)
                self._ledger.put(lambda connection: insert_run(connection, row))

        self.lane.put(lambda: self._write_guarded(volume, writing, create), len(command.init))

    def _append(self, command: Write) -> None:
        opened = self._open
        if opened is None:
            return
        if command.entry.track is Track.VIDEO:
            self.footage_ns = self._clock.monotonic_ns()
            if command.entry.key:
                self._since_key = [command.entry]
            else:
                self._since_key.append(command.entry)
            self._pending = []
        volume, writing, data = self._volume, opened.writing, command.data
        self.lane.put(lambda: self._write_guarded(volume, writing, lambda: writing.append(data)), len(data))

    def _close_segment(self, command: CloseSegment) -> None:
        opened = self._open
        self._since_key = []
        if opened is None:
            return
        self._prove(True)
        self._open = None
        volume, writing = self._volume, opened.writing
        writing.end_ms = command.end_wall_ns // _NS_PER_MS
        self.coverage.ended(writing.end_ms)

        def seal() -> None:
            self._ledger.put(partial(_insert_segment, writing.seal(command)))

        self.lane.put(lambda: self._write_guarded(volume, writing, seal), len(command.index))

    def _abandon(self, writing: Writing) -> None:
        volume = self._volume
        self.lane.put(lambda: self._write_abandoned(volume, writing))

    def _end_run(self, command: EndRun) -> None:
        end_ms, reason = command.end_wall_ns // _NS_PER_MS, command.reason[:40]
        # Through the lane, so that it follows the row of the run and those of its segments.
        self.lane.put(lambda: self._ledger.put(lambda connection: end_run(connection, command.run_id, end_ms, reason)))

    def _restamp(self, correction: Correction) -> None:
        """The rows of what was recorded under a wrong clock are moved, after those that are still on their way."""
        camera_id, stream = self._labels.camera, self._labels.stream
        added_ns = dict(correction.pieces)
        runs = {run: added_ns[start] // _NS_PER_MS for run, start in self._doubtful if start in added_ns}
        # This stream went over to each era at a key frame of its own, a little after the clock did.
        pieces = tuple((at_ns, added_ns[start]) for start, at_ns in self._entered if start in added_ns)
        self._doubtful, self._entered = [], []
        if not pieces:
            return
        own = Correction(pieces[0][0], pieces)
        from_ms, now_ms, gap_id = own.from_ns // _NS_PER_MS, self._clock.wall_ns() // _NS_PER_MS, self._ids()

        def moved_ms(time_ms: int) -> int:
            return own.moved_ns(time_ms * _NS_PER_MS + _NS_PER_MS - 1) // _NS_PER_MS

        self.coverage.moved(moved_ms)
        change = partial(
            restamp, camera_id=camera_id, stream=stream, from_ms=from_ms, runs=runs, moved_ms=moved_ms, now_ms=now_ms,
            gap_id=gap_id,
        )  # fmt: skip
        self.lane.put(lambda: self._ledger.put(change))

    def _prove(self, believed: bool = False) -> None:
        """The account learns of the segment that is being written."""
        if self._proving_ms is None or (self._open is None and not believed):
            return
        if believed or (self._open is not None and self._open.writing.proven):
            self.coverage.footage(self._proving_ms, self._clock.wall_ns() // _NS_PER_MS)
            self._proving_ms = None
            self._retry_step_ns = _RETRY_NS
            if self._open is not None and self._open.writing.proven:
                self._volume.proven()
            self._rescue()

    def _rescue(self) -> None:
        """What was written before a disk failed becomes footage after all, once that disk is well."""
        for volume, waiting in list(self._abandoned.items()):
            if waiting and not volume.failing and not volume.slow and volume.refuses(precious=True) is None:
                self._lanes[volume].put(partial(self._write_salvage, waiting))

    # -- in the lane -------------------------------------------------------------------------------------------------

    def _write_guarded(self, volume: Volume, writing: Writing, work: Callable[[], None]) -> None:
        """A disk that fails fails one segment: the rest of its jobs are passed over, and the receiving side hears."""
        if writing.broken:
            return
        try:
            work()
        except TiergateError as error:
            self._write_abandoned(volume, writing)
            volume.failed(error)
            self._failed.append(_Failure(error, writing))

    def _write_abandoned(self, volume: Volume, writing: Writing) -> None:
        waiting = self._abandoned.setdefault(volume, [])
        if writing not in waiting:
            writing.abandon()
            waiting.append(writing)

    def _write_salvage(self, waiting: list[Writing]) -> None:
        for writing in list(waiting):
            try:
                found = writing.salvage()
            except (OSError, TiergateError) as error:
                _log.warning("an unfinished file waits for its disk", extra={"problem": type(error).__name__})
                return
            except Exception:
                # A file that nobody understands is the next start's; those behind it are not sick.
                _log.exception("an unfinished file cannot be salvaged")
                found = None
            waiting.remove(writing)
            if found is not None:
                self._ledger.put(partial(_insert_rescued, found.segment))


def _insert_segment(row: SegmentRow, connection: Connection) -> None:
    insert_segments(connection, [row])


def _insert_rescued(row: SegmentRow, connection: Connection) -> None:
    insert_segments(connection, [row])
    give_back(connection, row.camera_id, row.stream, row.start_ms, row.end_ms, head_id=row.id)
