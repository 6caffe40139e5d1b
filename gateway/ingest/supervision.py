"""One `CameraTask` per camera stream: connects, reconnects, notices silence, tells why a stream is away.

Belongs here: a stream's life. Does not belong here: which streams there are (`gateway.ingest.fleet`), footage
(`gateway.ingest.recording`), sockets of watchers (`gateway.live.server`).

Each task has a thread of its own, so that nothing a camera does reaches another. A thread that hangs in a library is
given up by its number (`_session`): a new one takes its place, and whatever the old one still says is not heard. At
most `HUNG_MAX` of them are left hanging per stream.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

from config.clock import Clock
from config.errors import TiergateError
from config.reasons import Reason
from config.redact import Secret
from gateway.ingest.backoff import Backoff, LoginCare
from gateway.ingest.ledger import Ledger
from gateway.ingest.recorded_time import Now, RecordedTime
from gateway.ingest.recording import Recording
from gateway.ingest.source import GapCause, Source, SourceError, SourceFactory, StreamAddress
from gateway.ingest.statistics import StreamStatistics
from gateway.live.feed import LiveFeed
from storage.catalog.cameras import CredentialRow
from storage.catalog.status import Past, StatusRow, StreamDuty, put_status
from storage.media.access_unit import AccessUnit, StreamConfig, Track

_log = logging.getLogger(__name__)

HUNG_MAX = 3
#: A stream that has stood this long may fail once without waiting longer than the shortest pause.
_STEADY_NS = 10_000_000_000
_NS_PER_MS = 1_000_000

OpenCredential = Callable[[CredentialRow], Secret]


@dataclass(frozen=True, slots=True)
class TaskTools:
    """What all tasks of a recorder share."""

    sources: SourceFactory
    open_credential: OpenCredential
    ledger: Ledger
    clock: RecordedTime
    media_timeout_s: float


class CameraTask:
    """`start`, `stop`, `update`, `watchdog`, `statistics` from the recorder's loop; the rest in its own thread.

    `lock` guards everything that units pass through: the recording, the feed, the counters. Held for microseconds.
    """

    def __init__(self, duty: StreamDuty, tools: TaskTools, recording: Recording | None, feed: LiveFeed) -> None:
        self.duty = duty
        self.recording = recording
        self.feed = feed
        self.lock = threading.Lock()
        self._tools = tools
        self._clock = tools.clock
        now = tools.clock.now
        self._era = now.era
        self._changes = len(now.changes)  #: how many of them this stream has followed
        if recording is not None:
            recording.enter(now.era, tools.clock.wall_ns(), now.trust)
        self._session = 0  #: number of the thread that is heard; 0: none
        self._sessions = 0
        self._hung: list[threading.Thread] = []
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._source: Source | None = None
        self._care = LoginCare()
        self._backoff = Backoff()
        self._epoch_base = 0
        self._epoch_last = 0
        self._state = "idle"
        self._cause: GapCause | None = None
        self._reason: Reason | None = None
        self._since_ms = clock_ms(self._clock)
        self._progress_ns = 0  #: monotonic, of the newest media byte or the beginning of an attempt; 0: not connected
        self._connected_ns = 0
        self._config: StreamConfig | None = None
        self._statistics = StreamStatistics()

    # -- from the loop -----------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._session != 0

    @property
    def state(self) -> str:
        return self._state

    def start(self) -> None:
        if self._session == 0:
            self._begin_session()

    def stop(self, reason: str, end: tuple[GapCause, Reason] | None = None, state: str = "idle") -> None:
        """The stream is not wanted any more. Its thread ends by itself; nothing it says from now on is heard."""
        with self.lock:
            self._session = 0
            if self.recording is not None:
                self.recording.end(reason)
                if end is not None:
                    self.recording.coverage.lost(*end, clock_ms(self._clock))
            self.feed.event("ended", end[1] if end is not None else None)
            self._set_state(state, *(end or (None, None)))
        self._release()

    def take_over(self, past: Past) -> None:
        """The process that recorded this stream so far has ended."""
        with self.lock:
            if self.recording is not None:
                self.recording.take_over(past, clock_ms(self._clock))
            self._tell()

    def update(self, duty: StreamDuty) -> None:
        """The register changed. Another address, account or sound is a new session; the rest takes effect in place."""
        before, self.duty = self.duty, duty
        if self._session == 0:
            return
        if (duty.url, duty.audio, _account(duty)) != (before.url, before.audio, _account(before)):
            with self.lock:
                self._session = 0
                self._end_media("changed")
            self._backoff.reset()
            self._release()
            self._begin_session()

    def watchdog(self) -> None:
        """Media bytes, and nothing else, prove that a camera is there (FAULTS A2)."""
        limit_ns = int(self._tools.media_timeout_s * 1e9)
        with self.lock:
            silent_ns = self._clock.monotonic_ns() - self._progress_ns
            if self._session == 0 or self._progress_ns == 0 or silent_ns <= limit_ns:
                return
            self._session = 0
            self._end_media("silent")
            self._fail(SourceError(GapCause.NETWORK, "camera.silent", seconds=round(self._tools.media_timeout_s)))
        thread = self._thread
        self._release()
        if thread is not None:
            self._hung = [t for t in self._hung if t.is_alive()]
            self._hung.append(thread)
        self._begin_session(after_failure=True)

    def tick(self) -> None:
        clock = self._clock
        with self.lock:
            if self.recording is None:
                return
            now = clock.now
            if self._era is not now.era and self.recording.between_runs:
                self._follow(now, clock.wall_ns())
            if self._era is now.era:
                self.recording.believe(now.trust)
            self.recording.tick(clock.steady.wall_ns() + clock.shift_ns(self._era))

    def report(self) -> StatusRow | None:
        """What has changed in numbers since the last report; None when the stream is away."""
        with self.lock:
            if self._state != "online" or not self._statistics.measure(self._clock.monotonic_ns()):
                return None
            return self._row()

    def join(self, timeout_s: float) -> bool:
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
        return thread is None or not thread.is_alive()

    # -- sessions ----------------------------------------------------------------------------------------------------

    def _begin_session(self, after_failure: bool = False) -> None:
        self._sessions += 1
        session = self._session = self._sessions
        self._wake = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(session, self._wake, after_failure), daemon=True,
            name=f"{self.duty.camera_id[-6:]}-{self.duty.stream}-{session}",
        )  # fmt: skip
        self._thread.start()

    def _release(self) -> None:
        self._wake.set()
        source = self._source
        if source is not None:
            source.stop()

    def _run(self, session: int, wake: threading.Event, after_failure: bool) -> None:
        if after_failure:
            wake.wait(self._backoff.wait_s(random.random()))  # noqa: S311 (spreads reconnects, protects nothing)
            while len([t for t in self._hung if t.is_alive()]) >= HUNG_MAX and not wake.wait(1.0):
                pass
        while self._session == session:
            duty = self.duty
            self._care.account(_account(duty))
            wait_s = self._care.wait_s(self._clock.monotonic_ns() / 1e9)
            if wait_s > 0:
                wake.wait(min(wait_s, 60.0))
                continue
            error = self._session_once(session, duty)
            with self.lock:
                if self._session != session:
                    return
                if self._connected_ns and self._clock.monotonic_ns() - self._connected_ns > _STEADY_NS:
                    self._backoff.reset()
                self._end_media(error.reason.code.split(".")[-1])
                self._fail(error)
            wake.wait(self._backoff.wait_s(random.random()))  # noqa: S311 (as above)

    def _session_once(self, session: int, duty: StreamDuty) -> SourceError:
        source: Source | None = None
        try:
            with self.lock:
                if self._session != session:
                    return SourceError(GapCause.UNKNOWN, "camera.ended")
                self._progress_ns = self._clock.monotonic_ns()
                self._connected_ns = 0
                if self._state != "offline":
                    self._set_state("connecting", None, None)
            source = self._tools.sources(self._address(duty))
            self._source = source
            source.open()
            self._care.succeeded()
            self._connected_ns = self._clock.monotonic_ns()
            self._take_all(session, source)
            return SourceError(GapCause.CAMERA_OFFLINE, "camera.ended")
        except SourceError as error:
            if error.cause is GapCause.CREDENTIALS:
                self._care.failed(self._clock.monotonic_ns() / 1e9)
            return error
        except Exception as error:
            _log.exception("a source failed in a way it must not", extra={"camera": duty.camera_id})
            return SourceError(GapCause.UNKNOWN, "camera.failed", problem=type(error).__name__)
        finally:
            if source is not None:
                try:
                    source.close()
                except Exception:
                    _log.exception("closing a source", extra={"camera": duty.camera_id})
                if self._source is source:
                    self._source = None

    def _address(self, duty: StreamDuty) -> StreamAddress:
        if duty.credential is None:
            return StreamAddress(duty.url, audio=duty.audio)
        try:
            password = self._tools.open_credential(duty.credential)
        except TiergateError as error:
            raise SourceError(GapCause.CREDENTIALS, "camera.no_credential") from error
        return StreamAddress(duty.url, duty.credential.username, password, duty.audio)

    def _take_all(self, session: int, source: Source) -> None:
        """The hot loop: a few microseconds per picture besides the source's own."""
        lock, feed, statistics = self.lock, self.feed, self._statistics
        clock = self._clock
        monotonic_ns = clock.monotonic_ns
        recording = self.recording
        for item in source:
            with lock:
                if self._session != session:
                    return
                if isinstance(item, StreamConfig):
                    self._configure(item)
                    continue
                self._progress_ns = monotonic_ns()
                item.epoch += self._epoch_base
                if self._state != "online" or item.epoch != self._epoch_last:
                    self._begin_media(item)
                if self._era is not clock.now.era and item.key and item.track is Track.VIDEO:
                    now = clock.now
                    self._follow(now, item.wall_ns + clock.shift_ns(now.era))
                item.wall_ns += clock.shift_ns(self._era)
                if item.track is Track.VIDEO:
                    statistics.picture(item)
                else:
                    statistics.bytes += len(item.data)
                if recording is not None:
                    recording.push(item)
                feed.push(item)
                source.relaxed = not feed.watched

    # -- under the lock ----------------------------------------------------------------------------------------------

    def _follow(self, now: Now, at_ns: int) -> None:
        """The clock stepped. A key frame is next, or nothing is open: the run changes and no picture is lost."""
        changes = now.changes[self._changes :]
        self._era = now.era
        self._changes += len(changes)
        if self.recording is not None:
            self.recording.enter(now.era, at_ns, now.trust, changes)

    def _configure(self, config: StreamConfig) -> None:
        self._config = config
        self._statistics.b_frames = False
        if self.recording is not None:
            self.recording.begin(config)
        self.feed.configure(config)

    def _begin_media(self, unit: AccessUnit) -> None:
        self._epoch_last = unit.epoch
        if self._state != "online":
            self._statistics.restart(self._clock.monotonic_ns())
            self.feed.event("online", None)
            self._set_state("online", None, None)

    def _end_media(self, reason: str) -> None:
        """The session's units are over; the next session's epochs go on from here."""
        self._progress_ns = 0
        self._epoch_base = self._epoch_last + 1
        if self.recording is not None:
            self.recording.end(reason)

    def _fail(self, error: SourceError) -> None:
        if self._state == "online" or self._reason != error.reason:
            _log.info(
                "stream is away",
                extra={
                    "camera": self.duty.camera_id, "stream": self.duty.stream, "cause": error.cause.value,
                    "code": error.reason.code,
                },
            )  # fmt: skip
        if self.recording is not None:
            self.recording.coverage.lost(error.cause, error.reason, clock_ms(self._clock))
        if self._state != "offline" or self._reason != error.reason:
            self.feed.event("offline", error.reason)
            self._set_state("offline", error.cause, error.reason)

    def _set_state(self, state: str, cause: GapCause | None, reason: Reason | None) -> None:
        if state != self._state:
            self._since_ms = clock_ms(self._clock)
        self._state, self._cause, self._reason = state, cause, reason
        if self.recording is None or not self.recording.waiting:
            self._tell()

    def _tell(self) -> None:
        row = self._row()
        self._tools.ledger.put(lambda connection: put_status(connection, [row]))

    def _row(self) -> StatusRow:
        video = self._config.video if self._config is not None else None
        audio = self._config.audio if self._config is not None else None
        numbers = self._statistics
        last_ms = numbers.last_wall_ns // _NS_PER_MS if numbers.last_wall_ns else None
        return StatusRow(
            camera_id=self.duty.camera_id, stream=self.duty.stream, state=self._state, since_ms=self._since_ms,
            updated_ms=clock_ms(self._clock), cause=self._cause.value if self._cause is not None else None,
            reason=self._reason.as_json() if self._reason is not None else None, last_media_ms=last_ms,
            codec=video.rfc6381 if video is not None else None,
            audio_codec=audio.rfc6381 if audio is not None else None,
            width=video.width if video is not None else None, height=video.height if video is not None else None,
            fps=numbers.fps, bit_rate_bps=numbers.bit_rate_bps, gop_ms=numbers.gop_ms,
            b_frames=numbers.b_frames if video is not None else None,
        )  # fmt: skip


def _account(duty: StreamDuty) -> tuple[str, int] | None:
    return (duty.credential.id, duty.credential.version) if duty.credential is not None else None


def clock_ms(clock: Clock) -> int:
    return clock.wall_ns() // _NS_PER_MS
