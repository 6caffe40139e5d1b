"""All streams of one recorder: what the register wants against what runs.

Belongs here: which tasks exist and run, and why (recorded, warm, watched). Does not belong here: a stream's life
(`gateway.ingest.supervision`), the process (`gateway.processes.recorder`).

A stream runs when it is recorded, kept warm, or watched; a disabled camera has none, and one outside its week's windows
is recorded only in name. Everything here is called from the recorder's loop, except `tick`, which has a thread of its
own so that a busy loop delays no fragment. Whatever fails for one camera fails for that camera alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from config.errors import Kind, TiergateError
from config.reasons import Reason
from gateway.ingest.coverage import Coverage
from gateway.ingest.recording import Recording
from gateway.ingest.source import GapCause
from gateway.ingest.supervision import CameraTask, TaskTools, clock_ms
from gateway.ingest.volumes import Volumes
from gateway.live.feed import LiveFeed
from storage.catalog.status import Past, StatusRow, StreamDuty, drop_status
from storage.segmenter import SegmenterPolicy, SegmentLabels

_log = logging.getLogger(__name__)

StreamKey = tuple[str, str]

_DOWN = (GapCause.RECORDER_DOWN, Reason("recorder.was_down"))
_DISABLED = (GapCause.DISABLED, Reason("camera.disabled"))
_OUTSIDE = (GapCause.DISABLED, Reason("camera.outside_schedule"))
_OWNER = (GapCause.DISABLED, Reason("camera.owner_records"))


@dataclass(frozen=True, slots=True)
class FleetTools:
    """What a fleet is built from; `tasks` is shared by all its streams."""

    tasks: TaskTools
    volumes: Volumes
    ids: Callable[[], str]
    node_id: str
    segment_ms: int
    fragment_ms: int
    linger_s: float


class Fleet:
    def __init__(self, tools: FleetTools, loop: asyncio.AbstractEventLoop) -> None:
        self._tools = tools
        self._loop = loop
        self._tasks: dict[StreamKey, CameraTask] = {}
        self._watchers: dict[StreamKey, int] = {}
        self._lingering: dict[StreamKey, asyncio.TimerHandle] = {}
        self._stopped = False
        self._restarts: Counter[str] = Counter()  #: of tasks that are no more, and of this object's own
        self.incomplete = False  #: something that should run could not be begun: `apply` is worth another try

    @property
    def tasks(self) -> list[CameraTask]:
        return list(self._tasks.values())

    # -- the register ------------------------------------------------------------------------------------------------

    def apply(self, duties: list[StreamDuty], past_of: dict[StreamKey, Past]) -> None:
        """Makes what runs equal to `duties`. `past_of` holds the account of every recorded stream that is new here."""
        if self._stopped:
            return
        self.incomplete = False
        wanted = {(duty.camera_id, duty.stream): duty for duty in duties}
        for key in [key for key in self._tasks if key not in wanted]:
            with self._alone(key):
                self._remove(key)
        for key, duty in wanted.items():
            with self._alone(key):
                task = self._tasks.get(key)
                if task is not None and (task.recording is not None) != duty.recorded:
                    self._remove(key, behind=None if duty.recorded else _OWNER)
                    task = None
                if task is None:
                    task = self._tasks[key] = self._make(duty, past_of.get(key))
                self._settle(key, task, duty)

    @contextlib.contextmanager
    def _alone(self, key: StreamKey) -> Iterator[None]:
        """What fails for this stream fails for no other."""
        try:
            yield
        except Exception:
            self.incomplete = True
            _log.exception("a stream is in trouble", extra={"camera": key[0], "stream": key[1]})

    def prepare(self, duties: list[StreamDuty]) -> None:
        """Connects to what is recorded, and writes nothing: another process still does (`take_over`)."""
        for duty in duties:
            if duty.recorded and duty.enabled and duty.scheduled:
                task = self._tasks[duty.camera_id, duty.stream] = self._make(duty, None, waiting=True)
                task.start()

    @property
    def prepared(self) -> bool:
        """Every prepared stream has a picture to go on from."""
        return all(task.recording is None or task.recording.prepared for task in self.tasks)

    def take_over(self, past_of: dict[StreamKey, Past]) -> None:
        """The other process has ended."""
        for key, task in self._tasks.items():
            task.take_over(past_of[key])

    @property
    def recorded(self) -> list[StreamKey]:
        return [key for key, task in self._tasks.items() if task.recording is not None]

    def new_recorded(self, duties: list[StreamDuty]) -> list[StreamKey]:
        """Streams of `duties` whose past is needed by `apply`."""
        return [
            (d.camera_id, d.stream)
            for d in duties
            if d.recorded and ((t := self._tasks.get((d.camera_id, d.stream))) is None or t.recording is None)
        ]

    def _make(self, duty: StreamDuty, past: Past | None, *, waiting: bool = False) -> CameraTask:
        tools = self._tools
        recording: Recording | None = None
        if duty.recorded:
            coverage = Coverage(duty.camera_id, duty.stream, tools.tasks.ledger, tools.ids, duty.changed_ms)
            if past is not None:
                coverage.resume(past, clock_ms(tools.tasks.clock))
            policy = SegmenterPolicy(
                fragment_ms=tools.fragment_ms, segment_ms=tools.segment_ms,
                segment_max_ms=max(600_000, tools.segment_ms), phase=int(duty.camera_id[-6:]) % 97 / 97,
            )  # fmt: skip
            recording = Recording(
                self._labels(duty), policy, tools.volumes, tools.tasks.ledger, coverage, tools.tasks.clock, tools.ids,
            )  # fmt: skip
            if waiting:
                recording.wait()
        return CameraTask(duty, tools.tasks, recording, LiveFeed(self._loop, keep_gop=recording is None))

    def _labels(self, duty: StreamDuty) -> SegmentLabels:
        trust = self._tools.tasks.clock.now.trust
        return SegmentLabels(
            self._tools.node_id, duty.camera_id, duty.stream, duty.retention_class, time_trust=trust
        )  # fmt: skip

    def _settle(self, key: StreamKey, task: CameraTask, duty: StreamDuty) -> None:
        before = task.duty
        task.update(duty)
        if task.recording is not None:
            task.recording.held = duty.held
            labels = self._labels(duty)
            if labels != task.recording.labels:
                with task.lock:
                    task.recording.relabel(labels)
            if duty.enabled:
                with task.lock:
                    task.recording.switch(None if duty.scheduled else _OUTSIDE)
        wanted = self._wanted(key, duty)
        if wanted and not task.running:
            task.start()
            return
        outside = duty.enabled and duty.recorded and not duty.scheduled
        if not wanted and outside and (task.running or task.cause is not GapCause.DISABLED):
            task.stop("schedule", _OUTSIDE)
        elif not wanted and (task.running or (not duty.enabled and (before.enabled or task.state != "offline"))):
            if duty.enabled:
                task.stop("unwatched")
            else:
                task.stop("disabled", _DISABLED, "offline")

    def _wanted(self, key: StreamKey, duty: StreamDuty) -> bool:
        recorded = duty.recorded and duty.scheduled
        return duty.enabled and (recorded or duty.warm or self._watchers.get(key, 0) > 0 or key in self._lingering)

    def _remove(self, key: StreamKey, behind: tuple[GapCause, Reason] | None = None) -> None:
        """`behind`: why nothing is recorded from here on, of a camera that stays."""
        task = self._tasks.pop(key)
        self._restarts.update(task.restarts)
        task.stop("removed")
        if task.recording is not None:
            now_ms = clock_ms(self._tools.tasks.clock)
            with task.lock:
                if behind is not None:
                    task.recording.lost(*behind, now_ms)
                else:
                    task.recording.coverage.close(now_ms)
        camera_id, stream = key
        self._tools.tasks.ledger.put(lambda connection: drop_status(connection, camera_id, stream))

    # -- watchers ----------------------------------------------------------------------------------------------------

    def watch(self, camera_id: str, stream: str) -> CameraTask:
        """Counts a watcher and opens the stream for it. Raises camera.not_here, camera.no_stream, camera.disabled."""
        key = (camera_id, stream)
        task = self._tasks.get(key)
        if task is None:
            if any(camera == camera_id for camera, _ in self._tasks):
                raise TiergateError(Kind.NOT_FOUND, "camera.no_stream", stream=stream)
            raise TiergateError(Kind.NOT_FOUND, "camera.not_here")
        if not task.duty.enabled:
            raise TiergateError(Kind.UNAVAILABLE, "camera.disabled")
        self._watchers[key] = self._watchers.get(key, 0) + 1
        timer = self._lingering.pop(key, None)
        if timer is not None:
            timer.cancel()
        task.start()
        return task

    def unwatch(self, camera_id: str, stream: str) -> None:
        """The stream stays open a little: people go back and forth between pages."""
        key = (camera_id, stream)
        left = self._watchers[key] - 1
        self._watchers[key] = left
        if left == 0 and not self._stopped:
            del self._watchers[key]
            self._lingering[key] = self._loop.call_later(self._tools.linger_s, self._lingered, key)

    def _lingered(self, key: StreamKey) -> None:
        self._lingering.pop(key, None)
        task = self._tasks.get(key)
        if task is not None and not self._stopped:
            self._settle(key, task, task.duty)

    # -- rounds ------------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        self._tools.tasks.clock.look()
        for key, task in list(self._tasks.items()):
            with self._alone(key):
                task.tick()

    def watchdog(self) -> None:
        """What should run against what does."""
        for key, task in list(self._tasks.items()):
            with self._alone(key):
                if self._wanted(key, task.duty) and not task.running and not self._stopped:
                    self._restarts["missing"] += 1
                    task.start()
                task.watchdog()

    def restarts(self) -> dict[str, int]:
        """Sessions begun anew by the watchdog, by what it found."""
        return dict(sum((task.restarts for task in self.tasks), self._restarts))

    def hung(self) -> int:
        return sum(task.hung for task in self.tasks)

    def reports(self) -> list[StatusRow]:
        return [row for task in self.tasks if (row := task.report()) is not None]

    def stop(self, reason: str) -> None:
        """Ends every stream; what it gave is on its way to the disk. From here on the recorder is what is missing."""
        self._stopped = True
        for timer in self._lingering.values():
            timer.cancel()
        self._lingering.clear()
        for key, task in list(self._tasks.items()):
            if task.running:
                with self._alone(key):
                    task.stop(reason, _DOWN, "offline")
