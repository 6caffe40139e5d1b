"""The segmenter: access units in, commands for a file writer out. (pure)

Belongs here: where runs, segments and fragments begin and end, and what a misbehaving clock does to them.
Does not belong here: files, hashing, rows (`storage.spool`), sources and their reconnects (`gateway.ingest`), the cause
of a gap (the recorder knows it).

Events: `begin` (a config), `push` (an access unit), `flush` (time passes), `end` (the source is gone). Each returns
commands: `OpenSegment`, `Write`, `CloseSegment`, `EndRun`, in the order in which they must be carried out.

Rules:
1. A segment begins on a key frame and with video. Units before one are dropped and counted (A17).
2. A fragment is cut when the next unit shows that it is time: before each key frame and at `fragment_ms` of media. Then
   every duration in it is exact. When no unit comes, `flush` cuts by the clock, with the source's estimate for the last
   duration; the next `tfdt` is the truth. So fragments end in time even when no key frame comes for minutes (A16).
3. A segment ends at the first key frame after its boundary. Boundaries lie on a grid of `segment_ms` moved by `phase`,
   so that cameras that came back together do not seal together; the first segment of a run has 0.5-1.5 of the target.
4. Without a key frame a segment goes on to `segment_max_ms`; then the run ends and waits for one.
5. Inside a run a segment ends where the next starts, whatever frame rate was declared (A22). A run that begins a little
   before the footage that exists ends (a pre-roll, sent again after a reconnect) is dated from that end (A24).
6. Equal or slightly backward times are repaired and counted (A4). A jump, a pause or a wall clock that left the media
   clock ends the run (A5, A21, A25): a new run has the new truth. A new epoch or config does the same.
7. `tfdt` counts from the start of the run (see `storage.media.fmp4`); `FragmentEntry.start` from that of the segment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from storage.media.access_unit import AccessUnit, StreamConfig, Track
from storage.media.boxes import Identity, rescale
from storage.media.fmp4 import Sample, fragment, init_segment, random_access_index
from storage.media.fragment_index import FragmentEntry

_NS = 1_000_000_000
_NS_PER_MS = 1_000_000

#: Between audio and video time: within it the source has aligned the clocks (RTCP SR, one container); beyond it the
#: camera's two clocks are unrelated and arrival is the better guess.
_AUDIO_ANCHOR_NS = 1 * _NS
#: A run that begins so little before the end of the last one is a pre-roll: no second is footage twice. Less than the
#: skew that ends a run; more is a clock that was set.
SEAM_NS = 8 * _NS


@dataclass(frozen=True, slots=True)
class SegmenterPolicy:
    fragment_ms: int = 680  #: with a sync each 0.8 s and a tick of 0.2 s a crash costs ≤ 2 s (I2)
    segment_ms: int = 60_000
    segment_max_ms: int = 600_000
    phase: float = 0.0  #: in [0, 1): this camera's place on the grid of boundaries
    pause_ms: int = 5_000  #: silence that is not one frame shown for long but footage that is missing
    backward_ms: int = 1_000  #: further back than this is a new clock, not a disorder
    skew_ms: int = 10_000  #: media clock against wall clock within one segment
    fragment_max_bytes: int = 16 << 20  #: bounds what one camera holds in memory
    segment_max_bytes: int = 4 << 30  #: a PUT is ≤ 5 GiB

    def __post_init__(self) -> None:
        if not 0 <= self.phase < 1 or not 0 < self.fragment_ms <= self.segment_ms <= self.segment_max_ms:
            raise ValueError("segmenter policy is contradictory")


@dataclass(frozen=True, slots=True)
class SegmentLabels:
    """What the segmenter copies into each identity box without understanding it."""

    node: str
    camera: str
    stream: str = "main"
    retention_class: str = "default"
    kind: str = "own"
    time_trust: str = "unknown"


@dataclass(slots=True)
class SegmenterCounters:
    leading_dropped: int = 0  #: video units before a key frame
    audio_dropped: int = 0  #: audio without a segment, or from before its run
    repaired: int = 0  #: equal or backward decode times
    breaks: int = 0  #: runs ended by a rule of this module


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """Create the file and write `init`."""

    run_id: str
    segment_id: str
    starts_run: bool
    wall_start_ns: int
    media_start: int  #: video ticks since the start of the run
    init: bytes
    config: StreamConfig
    labels: SegmentLabels


@dataclass(frozen=True, slots=True)
class Write:
    """Append `data`; it lies at ``entry.offset``."""

    data: bytes
    entry: FragmentEntry


@dataclass(frozen=True, slots=True)
class CloseSegment:
    """Append `index`, seal the file, insert the row."""

    run_id: str
    segment_id: str
    wall_start_ns: int
    end_wall_ns: int
    media_start: int
    duration: int  #: video ticks
    fragments: tuple[FragmentEntry, ...]
    index: bytes  #: closing mfra


@dataclass(frozen=True, slots=True)
class EndRun:
    run_id: str
    end_wall_ns: int
    reason: str  #: the caller's of `end`, or `config epoch backward jump pause clock no_key_frame`


Command = OpenSegment | Write | CloseSegment | EndRun


class _Segment:
    __slots__ = ("entries", "id", "length", "media_start", "rotate_at", "wall_start_ns")

    def __init__(self, segment_id: str, wall_start_ns: int, media_start: int, rotate_at: int, length: int) -> None:
        self.id = segment_id
        self.wall_start_ns = wall_start_ns
        self.media_start = media_start
        self.rotate_at = rotate_at  #: run ticks
        self.length = length  #: bytes so far
        self.entries: list[FragmentEntry] = []


class _Run:
    """A run and its open segment: a run has always one."""

    __slots__ = (
        "audio_last", "audio_offset", "config", "epoch", "id", "last", "last_dts", "origin", "segment", "sequence",
        "wall_start_ns",
    )  # fmt: skip

    def __init__(self, run_id: str, config: StreamConfig, first: AccessUnit, segment: _Segment) -> None:
        self.id = run_id
        self.config = config
        self.epoch = first.epoch
        self.origin = first.dts
        self.wall_start_ns = first.wall_ns
        self.segment = segment
        self.last = first  #: newest picture
        self.last_dts = -1  #: its time since origin
        self.sequence = 0
        self.audio_offset: int | None = None  #: audio ticks to add to a unit's dts
        self.audio_last = -1

    @property
    def scale(self) -> int:
        return self.config.video.timescale

    def audio_time(self, video_time: int) -> int:
        rate = self.config.audio.timescale if self.config.audio else self.scale
        return rescale(video_time, self.scale, rate)


class Segmenter:
    """State of one camera stream. `ids` gives a new ULID at each call (run and segment names)."""

    def __init__(self, policy: SegmenterPolicy, ids: Callable[[], str]) -> None:
        self._policy = policy
        self._ids = ids
        self._begun: tuple[StreamConfig, SegmentLabels] | None = None
        self._run: _Run | None = None
        self._video: list[tuple[int, AccessUnit]] = []  #: (run ticks, unit), not yet written
        self._audio: list[tuple[int, AccessUnit]] = []
        self._video_bytes = 0
        self._floor_ns = 0  #: wall end of the footage before the run
        self.counters = SegmenterCounters()

    @property
    def config(self) -> StreamConfig | None:
        return self._begun[0] if self._begun else None

    @property
    def run_id(self) -> str | None:
        return self._run.id if self._run else None

    @property
    def segment_id(self) -> str | None:
        return self._run.segment.id if self._run else None

    # -- events ------------------------------------------------------------------------------------------------------

    def not_before(self, wall_ns: int) -> None:
        """Footage up to here exists: a run that begins a little earlier (a pre-roll) is dated from here."""
        self._floor_ns = wall_ns

    def begin(self, config: StreamConfig, labels: SegmentLabels) -> list[Command]:
        """The stream has `config` from the next unit on. The same config again changes nothing but the labels (A14)."""
        commands = self._finish(self._run, "config") if self._run and config != self._run.config else []
        self._begun = (config, labels)
        return commands

    def relabel(self, labels: SegmentLabels) -> None:
        """Segments opened from now on carry `labels`."""
        if self._begun is None:
            raise ValueError("relabel before begin")
        self._begun = (self._begun[0], labels)

    def push(self, unit: AccessUnit) -> list[Command]:
        if self._begun is None:
            raise ValueError("push before begin")
        if unit.track is Track.AUDIO:
            return self._push_audio(unit)
        commands: list[Command] = []
        run = self._run
        if run is not None:
            reason = self._break_reason(run, unit)
            if reason is not None:
                self.counters.breaks += 1
                commands += self._finish(run, reason)
                run = None
        if run is None:
            if not unit.key:
                self.counters.leading_dropped += 1
                return commands
            run_id = self._ids()
            wall_ns = unit.wall_ns
            if 0 < self._floor_ns - wall_ns <= SEAM_NS:
                wall_ns = self._floor_ns
            segment, opened = self._open(run_id, wall_ns, 0)
            run = self._run = _Run(run_id, self._begun[0], unit, segment)
            commands.append(opened)
        time = unit.dts - run.origin
        if time <= run.last_dts:
            time = run.last_dts + 1
            self.counters.repaired += 1
        run.last_dts = time
        if unit.key and self._is_due(run.segment, time):
            commands += self._rotate(run, unit, time)
        elif self._video and (unit.key or self._is_full(run, time)):
            commands += self._cut(run, time)
        self._video.append((time, unit))
        self._video_bytes += len(unit.data)
        run.last = unit
        return commands

    def flush(self, now_ns: int) -> list[Command]:
        """Write what has waited for `fragment_ms`. Call it every tick."""
        limit = now_ns - self._policy.fragment_ms * _NS_PER_MS
        if self._run is None:
            return []
        if self._video and self._video[0][1].wall_ns <= limit:
            return self._cut(self._run, None)
        if self._audio and self._audio[0][1].wall_ns <= limit:
            return self._cut_audio(self._run, None)
        return []

    def end(self, reason: str) -> list[Command]:
        """The source has ended; nothing is lost of what was pushed."""
        return self._finish(self._run, reason) if self._run is not None else []

    # -- decisions ---------------------------------------------------------------------------------------------------

    def _break_reason(self, run: _Run, unit: AccessUnit) -> str | None:
        if unit.epoch != run.epoch:
            return "epoch"
        policy, segment = self._policy, run.segment
        time = unit.dts - run.origin
        step_ms = (time - run.last_dts) * 1000 // run.scale
        if step_ms < -policy.backward_ms:
            return "backward"
        if step_ms > policy.pause_ms:
            wall_ms = (unit.wall_ns - run.last.wall_ns) // _NS_PER_MS
            return "pause" if 2 * wall_ms > step_ms else "jump"
        media_ns = (time - segment.media_start) * _NS // run.scale
        if abs(unit.wall_ns - segment.wall_start_ns - media_ns) > policy.skew_ms * _NS_PER_MS:
            return "clock"
        if not unit.key and (
            media_ns >= policy.segment_max_ms * _NS_PER_MS
            or segment.length + self._video_bytes > policy.segment_max_bytes
        ):
            return "no_key_frame"
        return None

    def _is_due(self, segment: _Segment, time: int) -> bool:
        if time <= segment.media_start:
            return False
        return time >= segment.rotate_at or segment.length + self._video_bytes > self._policy.segment_max_bytes // 2

    def _is_full(self, run: _Run, time: int) -> bool:
        limit = self._policy.fragment_ms * run.scale // 1000
        return time - self._video[0][0] >= limit or self._video_bytes >= self._policy.fragment_max_bytes

    def _boundary_ns(self, wall_ns: int) -> int:
        """The first boundary of the grid that leaves at least half a segment."""
        step = self._policy.segment_ms * _NS_PER_MS
        phase = round(self._policy.phase * step)
        return ((wall_ns + step // 2 - phase) // step + 1) * step + phase

    # -- actions -----------------------------------------------------------------------------------------------------

    def _open(self, run_id: str, wall_ns: int, media_start: int) -> tuple[_Segment, OpenSegment]:
        if self._begun is None:
            raise ValueError("a segment before begin")
        config, labels = self._begun
        identity = Identity(
            node=labels.node, camera=labels.camera, stream=labels.stream, run=run_id, segment=self._ids(),
            retention_class=labels.retention_class, kind=labels.kind, wall_start_ns=wall_ns,
            time_trust=labels.time_trust,
        )  # fmt: skip
        init = init_segment(config, identity=identity)
        ticks = (self._boundary_ns(wall_ns) - wall_ns) * config.video.timescale // _NS
        segment = _Segment(identity.segment, wall_ns, media_start, media_start + ticks, len(init))
        return segment, OpenSegment(
            run_id, segment.id, media_start == 0, wall_ns, media_start, init, config, labels
        )  # fmt: skip

    def _rotate(self, run: _Run, unit: AccessUnit, time: int) -> list[Command]:
        commands = self._cut(run, time, audio_before=time)
        before = run.segment
        # A wall clock that did not advance (a burst) must not give an empty or backward segment.
        wall_ns = unit.wall_ns
        if wall_ns < before.wall_start_ns + _NS_PER_MS:
            wall_ns = before.wall_start_ns + (time - before.media_start) * _NS // run.scale
        commands.append(self._close(run, wall_ns, time))
        run.segment, opened = self._open(run.id, wall_ns, time)
        commands.append(opened)
        return commands

    def _finish(self, run: _Run, reason: str) -> list[Command]:
        commands = self._cut(run, None)
        segment, last = run.segment, run.last
        end = run.last_dts + max(last.duration, 1)
        # By arrival, as every other boundary: a run whose first picture was dated late must not reach into the next.
        end_wall_ns = max(last.wall_ns + last.duration * _NS // run.scale, segment.wall_start_ns + _NS_PER_MS)
        self._floor_ns = end_wall_ns
        commands.append(self._close(run, end_wall_ns, end))
        commands.append(EndRun(run.id, end_wall_ns, reason))
        self._run = None
        return commands

    def _close(self, run: _Run, end_wall_ns: int, end: int) -> CloseSegment:
        segment = run.segment
        index = random_access_index(segment.entries, segment.media_start)
        return CloseSegment(
            run.id, segment.id, segment.wall_start_ns, end_wall_ns, segment.media_start, end - segment.media_start,
            tuple(segment.entries), index,
        )  # fmt: skip

    def _cut(self, run: _Run, next_time: int | None, audio_before: int | None = None) -> list[Command]:
        """Write the waiting pictures as one fragment, then the audio that waited with them."""
        commands: list[Command] = []
        if self._video:
            pending, self._video, self._video_bytes = self._video, [], 0
            times = [time for time, _ in pending]
            end = times[-1] + max(pending[-1][1].duration, 1) if next_time is None else next_time
            commands.append(self._write(run, Track.VIDEO, pending, [*times[1:], end]))
        return commands + self._cut_audio(run, audio_before)

    def _cut_audio(self, run: _Run, before: int | None) -> list[Command]:
        """`before` in video ticks: later audio belongs to the next segment."""
        split = len(self._audio)
        if before is not None:
            limit = run.audio_time(before)
            split = sum(time < limit for time, _ in self._audio)
        pending, self._audio = self._audio[:split], self._audio[split:]
        if not pending:
            return []
        ends = [time for time, _ in pending[1:]]
        ends.append(pending[-1][0] + max(pending[-1][1].duration, 1))
        return [self._write(run, Track.AUDIO, pending, ends)]

    def _write(self, run: _Run, track: Track, pending: list[tuple[int, AccessUnit]], ends: list[int]) -> Write:
        segment = run.segment
        run.sequence += 1
        start = pending[0][0]
        samples = [
            Sample(unit.data, end - time, unit.key, unit.pts - unit.dts)
            for (time, unit), end in zip(pending, ends, strict=True)
        ]
        data = fragment(track, run.sequence, start, samples)
        zero = run.audio_time(segment.media_start) if track is Track.AUDIO else segment.media_start
        entry = FragmentEntry(
            segment.length, len(data), track, start - zero, ends[-1] - start, pending[0][1].key, len(samples)
        )
        segment.length += len(data)
        segment.entries.append(entry)
        return Write(data, entry)

    # -- audio -------------------------------------------------------------------------------------------------------

    def _push_audio(self, unit: AccessUnit) -> list[Command]:
        run = self._run
        if run is None or run.config.audio is None or unit.epoch != run.epoch:
            self.counters.audio_dropped += 1
            return []
        rate = run.config.audio.timescale
        wall_time = (unit.wall_ns - run.wall_start_ns) * rate // _NS
        if run.audio_offset is None:
            run.audio_offset = -run.audio_time(run.origin)
            if abs(unit.dts + run.audio_offset - wall_time) * _NS > _AUDIO_ANCHOR_NS * rate:
                run.audio_offset = wall_time - unit.dts
        time = unit.dts + run.audio_offset
        step = time - run.audio_last
        policy = self._policy
        if run.audio_last >= 0 and not -policy.backward_ms * rate <= step * 1000 <= policy.pause_ms * rate:
            run.audio_offset = wall_time - unit.dts  # audio jumped alone: the picture goes on, audio is anchored anew
            time = wall_time
        if time < 0:
            self.counters.audio_dropped += 1
            return []
        if time <= run.audio_last:
            time = run.audio_last + 1
            self.counters.repaired += 1
        run.audio_last = time
        commands: list[Command] = []
        if self._audio and time - self._audio[0][0] >= rate and not self._video:
            commands = self._cut_audio(run, None)
        self._audio.append((time, unit))
        return commands
