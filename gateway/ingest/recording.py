"""From access units to rows: segmenter, writer lane, spool, ledger, account of gaps. One `Recording` per recorded
stream.

Belongs here: carrying out the segmenter's commands, and what happens when the disk does not. Does not belong here:
where segments end (`storage.segmenter`), files (`storage.spool`), cameras (`gateway.ingest.supervision`).

Every method is called under the sink's lock, except those named `_write_…`, which run in the stream's writer lane. The
two sides share `Lane.pending_bytes` and `_failed`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from config.clock import Clock
from config.errors import TiergateError
from config.reasons import Reason
from gateway.ingest.admission import Admission
from gateway.ingest.coverage import Coverage
from gateway.ingest.ledger import Ledger
from gateway.ingest.source import GapCause
from gateway.ingest.spooling import SpoolWriter, Writing
from gateway.ingest.writer import Lane
from gateway.live.replay import ReplayClock
from storage.catalog.gaps import give_back
from storage.catalog.segments import SegmentRow, end_run, insert_run, insert_segments
from storage.media.access_unit import AccessUnit, StreamConfig, Track
from storage.media.fragment_index import FragmentEntry
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
#: Between two attempts of a stream whose disk failed: doubled up to the longest.
_RETRY_NS, _RETRY_LONGEST_NS = 1_000_000_000, 16_000_000_000


@dataclass(slots=True)
class _Open:
    """The segment being written, seen from the receiving side."""

    writing: Writing
    command: OpenSegment
    origin: int  #: live dts at decode time 0 of the run
    epoch: int


@dataclass(frozen=True, slots=True)
class _Failure:
    """What the disk did not take. Often no longer the segment that is open: a seal fails behind the receiving side."""

    error: TiergateError
    start_ms: int  #: of the segment


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
        spool: SpoolWriter,
        lane: Lane,
        ledger: Ledger,
        coverage: Coverage,
        admission: Admission,
        clock: Clock,
        ids: Callable[[], str],
    ) -> None:
        self._labels = labels
        self._segmenter = Segmenter(policy, ids)
        if coverage.footage_end_ms is not None:
            self._segmenter.not_before(coverage.footage_end_ms * _NS_PER_MS)
        self._spool = spool
        self._lane = lane
        self._ledger = ledger
        self.coverage = coverage
        self._admission = admission
        self._clock = clock
        self._config: StreamConfig | None = None
        self._open: _Open | None = None
        self._origin = 0
        self._unit: AccessUnit | None = None  #: the one being pushed
        self._refusal: GapCause | None = None  #: why units are not recorded now
        self._retry_ns = 0
        self._retry_step_ns = _RETRY_NS
        self._proving_ms: int | None = None  #: start of a segment that must show that the disk takes footage again
        self._failed: _Failure | None = None  #: the first since the receiving side took one; set by the lane
        self._abandoned: list[Writing] = []  #: the lane's: files to be made whole when the disk is well again
        self._off: tuple[GapCause, Reason] | None = None  #: why nothing is to be recorded although there are pictures
        self.footage_ns = 0  #: monotonic, when pictures last went to the disk
        self._since_key: list[FragmentEntry] = []
        self._pending: list[AccessUnit] = []

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

    # -- events ------------------------------------------------------------------------------------------------------

    def relabel(self, labels: SegmentLabels) -> None:
        """Segments opened from now on carry `labels` (another retention class, another trust in the clock)."""
        self._labels = labels
        if self._config is not None:
            self._segmenter.relabel(labels)

    def switch(self, off: tuple[GapCause, Reason] | None) -> None:
        """Units that come are recorded (None), or not for this reason: somebody only watches."""
        self._off = off
        if off is not None and self._refusal is None:
            self._give_up(*off, keep=True)

    def begin(self, config: StreamConfig) -> None:
        self._config = config
        self._carry_out(self._segmenter.begin(config, self._labels))

    def push(self, unit: AccessUnit) -> None:
        if self._failed is not None or self._lane.pending_bytes > PENDING_MAX_BYTES or self._refusal is not None:
            self._consider(unit)
            if self._refusal is not None:
                return
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
        if self._failed is not None:
            self._give_up_failed(self._failed)
        commands = self._segmenter.flush(now_ns)
        if commands:
            self._carry_out(commands)
        self._prove()
        if self._refusal is None:
            refusal = self._refused_now()
            if refusal is not None:
                self._give_up(*refusal, keep=True)

    def end(self, reason: str) -> None:
        """The source is gone; all it gave is written."""
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
        self._lane.put(job)

    @property
    def idle(self) -> bool:
        return self._lane.idle

    # -- giving up and coming back -----------------------------------------------------------------------------------

    def _consider(self, unit: AccessUnit) -> None:
        """Trouble, or the end of it."""
        if self._failed is not None:
            self._give_up_failed(self._failed)
        elif self._refusal is None:
            self._give_up(GapCause.DISK_SLOW, Reason("recorder.disk_slow"), keep=True)
        elif unit.key and unit.track is Track.VIDEO:
            refusal = self._refused_now()
            if refusal is not None:
                self._lose(*refusal)
            elif self._lane.pending_bytes < PENDING_MAX_BYTES // 4 and self._clock.monotonic_ns() >= self._retry_ns:
                self._refusal = None
                self._lane.put(self._write_salvage)

    def _refused_now(self) -> tuple[GapCause, Reason] | None:
        return self._off or self._admission.refuses(self._labels.retention_class)

    def _give_up_failed(self, failure: _Failure) -> None:
        """A segment failed: its time, and that of the one opened behind it, is not accounted for after all."""
        self._failed = None
        starts_ms = [failure.start_ms]
        if self._open is not None and self._proving_ms is None:
            starts_ms.append(self._open.command.wall_start_ns // _NS_PER_MS)
        self.coverage.lost_segment(min(starts_ms))
        self._give_up(*_meaning(failure.error), keep=False)

    def _give_up(self, cause: GapCause, reason: Reason, *, keep: bool) -> None:
        """Ends the run here; units are dropped until a key frame finds the disk well. `keep`: what waits is written."""
        commands = self._segmenter.end(cause.value)
        if keep:
            self._carry_out(commands)
        else:
            if self._open is not None:
                self._abandon(self._open)
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
        # After a failure of the disk a gap ends with the first fragment that it took, not with an attempt.
        self._proving_ms = command.wall_start_ns // _NS_PER_MS
        if self.coverage.open_cause not in _DISK_CAUSES:
            self._prove(True)
        writing = self._spool.begin(command)
        self._open = _Open(writing, command, self._origin, unit.epoch)

        def create() -> None:
            writing.create()
            if command.starts_run:
                row = run_row(command)
                self._ledger.put(lambda connection: insert_run(connection, row))

        opened = self._open
        self._lane.put(lambda: self._write_guarded(opened, create), len(command.init))

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
        writing, data = opened.writing, command.data
        self._lane.put(lambda: self._write_guarded(opened, lambda: writing.append(data)), len(data))

    def _close_segment(self, command: CloseSegment) -> None:
        opened, self._open = self._open, None
        self._since_key = []
        if opened is None:
            return
        self._prove(True)
        self.coverage.ended(command.end_wall_ns // _NS_PER_MS)
        writing = opened.writing

        def seal() -> None:
            self._ledger.put(partial(_insert_segment, writing.seal(command)))

        self._lane.put(lambda: self._write_guarded(opened, seal), len(command.index))

    def _abandon(self, opened: _Open) -> None:
        self._lane.put(lambda: self._write_abandon(opened.writing))

    def _end_run(self, command: EndRun) -> None:
        end_ms, reason = command.end_wall_ns // _NS_PER_MS, command.reason[:40]
        # Through the lane, so that it follows the row of the run and those of its segments.
        self._lane.put(lambda: self._ledger.put(lambda connection: end_run(connection, command.run_id, end_ms, reason)))

    def _prove(self, believed: bool = False) -> None:
        """The account learns of the segment that is being written."""
        if self._proving_ms is None or (self._open is None and not believed):
            return
        if believed or (self._open is not None and self._open.writing.proven):
            self.coverage.footage(self._proving_ms, self._clock.wall_ns() // _NS_PER_MS)
            self._proving_ms = None
            self._retry_step_ns = _RETRY_NS

    # -- in the lane -------------------------------------------------------------------------------------------------

    def _write_guarded(self, opened: _Open, work: Callable[[], None]) -> None:
        """A disk that fails fails one segment: the rest of its jobs are passed over, and the receiving side hears."""
        if opened.writing.broken:
            return
        try:
            work()
        except TiergateError as error:
            self._write_abandon(opened.writing)
            if self._failed is None:
                self._failed = _Failure(error, opened.command.wall_start_ns // _NS_PER_MS)

    def _write_abandon(self, writing: Writing) -> None:
        if not writing.broken:
            writing.abandon()
            self._abandoned.append(writing)

    def _write_salvage(self) -> None:
        """What was written before the disk failed becomes footage after all."""
        waiting, self._abandoned = self._abandoned, []
        for writing in waiting:
            try:
                found = writing.salvage()
            except (OSError, TiergateError) as error:
                _log.warning("an unfinished file waits for the next start", extra={"problem": type(error).__name__})
                continue
            if found is not None:
                self._ledger.put(partial(_insert_salvaged, found.segment))


def _meaning(error: TiergateError) -> tuple[GapCause, Reason]:
    """What a failure of the disk means for the account."""
    problem = error.reason.params.get("problem", "?")
    if problem in ("ENOSPC", "EDQUOT"):
        return GapCause.DISK_FULL, Reason("recorder.disk_full")
    return GapCause.UNKNOWN, Reason("recorder.disk_broken", {"problem": problem})


def _insert_segment(row: SegmentRow, connection: Connection) -> None:
    insert_segments(connection, [row])


def _insert_salvaged(row: SegmentRow, connection: Connection) -> None:
    insert_segments(connection, [row])
    give_back(connection, row.camera_id, row.stream, row.start_ms, row.end_ms, rest_id=row.id)
