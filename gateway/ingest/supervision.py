"""One `CameraTask` per camera stream: connects, reconnects, notices silence, tells why a stream is away.

Belongs here: a stream's life. Does not belong here: which streams there are (`gateway.ingest.fleet`), footage
(`gateway.ingest.recording`), sockets of watchers (`gateway.live.server`).

Each task has a thread of its own, so that nothing a camera does reaches another. A thread that is not wanted any more
ends by itself at the next picture; one that hangs is cut off from its camera, and whatever it still says is not heard.
At most `HUNG_MAX` that even then do not end are left per stream.

`watchdog` compares what should be with what is: a thread that has died, a camera that is silent, one whose pictures
never become footage. Each is begun anew and counted.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from config.clock import Clock
from config.errors import TiergateError
from config.reasons import Reason
from config.redact import Secret
from gateway.ingest.backoff import REFUSED_PAUSE_S, Backoff, Openings
from gateway.ingest.ledger import Ledger
from gateway.ingest.logins import Account, Logins, account_of
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
#: A session that is not wanted any more may say goodbye for so long; then it is cut.
_POLITE_NS = 2_000_000_000
#: Pictures that become no footage for so long are worth a new session: many cameras begin one with a key frame. Doubled
#: each time, because others send one every few minutes and would never come to it (A16).
_USELESS_NS, _USELESS_LONGEST_NS = 30_000_000_000, 480_000_000_000

OpenCredential = Callable[[CredentialRow], Secret]


@dataclass(frozen=True, slots=True)
class TaskTools:
    """What all tasks of a recorder share."""

    sources: SourceFactory
    open_credential: OpenCredential
    ledger: Ledger
    clock: RecordedTime
    media_timeout_s: float
    logins: Logins
    openings: Openings
    enter_thread: Callable[[str], None]  #: told in each camera's thread whose it is
    openings_lock: threading.Lock = field(default_factory=threading.Lock)

    def opening_wait_s(self) -> float:
        with self.openings_lock:
            return self.openings.wait_s(self.clock.monotonic_ns() / 1e9)


@dataclass(eq=False, slots=True)
class _Session:
    """One thread's life with a camera: one source after another until it is not wanted any more."""

    wake: threading.Event
    thread: threading.Thread
    source: Source | None = None
    over_ns: int = 0  #: since when it is not wanted


class CameraTask:
    """`start`, `stop`, `update`, `watchdog`, `statistics` from the recorder's loop; the rest in its own thread.

    `lock` guards everything that units pass through: the recording, the feed, the counters. Held for microseconds.
    """

    def __init__(self, duty: StreamDuty, tools: TaskTools, recording: Recording | None, feed: LiveFeed) -> None:
        self.duty = duty
        self.recording = recording
        self.feed = feed
        self.lock = threading.Lock()
        self.restarts: Counter[str] = Counter()  #: by the watchdog: dead, silent, useless
        self._tools = tools
        self._clock = tools.clock
        self._session: _Session | None = None  #: the one that is heard
        now = tools.clock.now
        self._era = now.era
        self._changes = len(now.changes)  #: how many of them this stream has followed
        if recording is not None:
            recording.enter(now.era, tools.clock.wall_ns(), now.trust)
        self._sessions = 0
        self._over: list[_Session] = []
        self._backoff = Backoff()
        self._epoch_base = 0
        self._epoch_last = 0
        self._state = "idle"
        self._cause: GapCause | None = None
        self._reason: Reason | None = None
        self._since_ms = clock_ms(self._clock)
        #: Monotonic, of the newest picture, or of what is nearest to one while there is none; 0: not connected.
        self._progress_ns = 0
        self._connected_ns = 0
        self._pictured = False  #: the source that is open has given a picture
        self._useless_ns = _USELESS_NS
        self._config: StreamConfig | None = None
        self._statistics = StreamStatistics()

    # -- from the loop -----------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self._session is not None

    @property
    def state(self) -> str:
        return self._state

    @property
    def cause(self) -> GapCause | None:
        return self._cause

    @property
    def hung(self) -> int:
        """Threads that do not end although they were cut off."""
        limit_ns = self._clock.monotonic_ns() - 2 * _POLITE_NS
        return sum(session.thread.is_alive() and session.over_ns < limit_ns for session in self._over)

    def start(self) -> None:
        if self._session is None:
            self._begin_session()

    def stop(self, reason: str, end: tuple[GapCause, Reason] | None = None, state: str = "idle") -> None:
        """The stream is not wanted any more. Its thread ends by itself; nothing it says from now on is heard."""
        with self.lock:
            session, self._session = self._session, None
            self._end_media(reason)
            if self.recording is not None and end is not None:
                self.recording.lost(*end, clock_ms(self._clock))
            self.feed.event("ended", end[1] if end is not None else None)
            self._set_state(state, *(end or (None, None)))
        self._release(session)

    def take_over(self, past: Past) -> None:
        """The process that recorded this stream so far has ended."""
        with self.lock:
            if self.recording is not None:
                self.recording.take_over(past, clock_ms(self._clock))
            self._tell()

    def update(self, duty: StreamDuty) -> None:
        """The register changed. Another address, account or sound is a new session; the rest takes effect in place."""
        before, self.duty = self.duty, duty
        if self._session is None:
            return
        if (duty.url, duty.audio, _account(duty)) != (before.url, before.audio, _account(before)):
            with self.lock:
                session, self._session = self._session, None
                self._end_media("changed")
                if self.recording is not None:
                    self.recording.coverage.replaced(clock_ms(self._clock))
            self._backoff.reset()
            self._release(session)
            self._begin_session()

    def watchdog(self) -> None:
        """Pictures, and nothing else, prove that a camera is there (FAULTS A2)."""
        now_ns = self._clock.monotonic_ns()
        self._over = [session for session in self._over if session.thread.is_alive()]
        for over in self._over:
            source = over.source
            if now_ns - over.over_ns > _POLITE_NS and source is not None:
                source.cut()
        with self.lock:
            found = self._trouble(now_ns)
            if found is None:
                return
            why, error = found
            session, self._session = self._session, None
            self._end_media(error.reason.code.split(".")[-1])
            self._fail(error)
            self.restarts[why] += 1
        self._release(session, cut=True)
        self._begin_session(error)

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
        """Whether every thread of the stream has ended."""
        sessions = [*self._over, *([self._session] if self._session is not None else [])]
        for session in sessions:
            session.thread.join(timeout_s)
        return not any(session.thread.is_alive() for session in sessions)

    # -- sessions ----------------------------------------------------------------------------------------------------

    def _begin_session(self, after: SourceError | None = None) -> None:
        self._sessions += 1
        session = _Session(threading.Event(), threading.Thread())
        session.thread = threading.Thread(
            target=self._run, args=(session, after), daemon=True,
            name=f"{self.duty.camera_id[-6:]}-{self.duty.stream}-{self._sessions}",
        )  # fmt: skip
        self._session = session
        session.thread.start()

    def _release(self, session: _Session | None, *, cut: bool = False) -> None:
        """Its source may be made at this very moment and not be seen here: `watchdog` looks again."""
        if session is None:
            return
        session.over_ns = self._clock.monotonic_ns()
        self._over.append(session)
        session.wake.set()
        source = session.source
        if source is not None:
            if cut:
                source.cut()
            else:
                source.stop()

    def _trouble(self, now_ns: int) -> tuple[str, SourceError] | None:
        """(what the watchdog found, how it is told), under the lock."""
        session = self._session
        if session is None:
            return None
        if not session.thread.is_alive():
            _log.error("a stream's thread has died", extra={"camera": self.duty.camera_id})
            return "dead", SourceError(GapCause.UNKNOWN, "camera.failed", problem="thread")
        if self._progress_ns == 0:
            return None
        if now_ns - self._progress_ns > self._tools.media_timeout_s * 1e9:
            return "silent", self._silent()
        recording = self.recording
        if recording is not None and self._connected_ns and not recording.refused:
            footage_ns = max(recording.footage_ns, self._connected_ns)
            if recording.footage_ns > self._connected_ns:
                self._useless_ns = _USELESS_NS
            if now_ns - footage_ns > self._useless_ns:
                self._useless_ns = min(2 * self._useless_ns, _USELESS_LONGEST_NS)
                return "useless", SourceError(GapCause.CAMERA_OFFLINE, "recorder.stopped_sending")
        return None

    def _silent(self) -> SourceError:
        if not self._connected_ns:
            return SourceError(GapCause.NETWORK, "camera.timeout")
        return SourceError(GapCause.NETWORK, "camera.silent", seconds=round(self._tools.media_timeout_s))

    def _run(self, session: _Session, after: SourceError | None) -> None:
        """`after`: what the watchdog ended the session before for."""
        self._tools.enter_thread(self.duty.camera_id)
        if after is not None:
            session.wake.wait(self._pause_s(after))
            while self.hung >= HUNG_MAX and not session.wake.wait(1.0):
                pass
        while self._session is session:
            error = self._try(session, self.duty)
            if error is None:
                continue
            with self.lock:
                if self._session is not session:
                    return
                pause_s = self._pause_s(error)
                self._end_media(error.reason.code.split(".")[-1])
                self._fail(error)
            session.wake.wait(pause_s)

    def _pause_s(self, error: SourceError) -> float:
        draw = random.random()  # noqa: S311 (spreads reconnects, protects nothing)
        now_ns = self._clock.monotonic_ns()
        if self._pictured and now_ns - self._connected_ns > _STEADY_NS:
            self._backoff.reset()
        pause_s = self._backoff.wait_s(draw, now_ns / 1e9, answered=error.answered, fruitful=self._pictured)
        return max(pause_s, REFUSED_PAUSE_S) if error.cause is GapCause.CREDENTIALS else pause_s

    def _try(self, session: _Session, duty: StreamDuty) -> SourceError | None:
        """One session with the camera, for as long as it lasts. None: it is not time for one yet."""
        account: Account | None = None
        address = StreamAddress(duty.url, audio=duty.audio)
        if duty.credential is not None:
            try:
                password = self._tools.open_credential(duty.credential)
            except TiergateError:
                return SourceError(GapCause.CREDENTIALS, "camera.no_credential")
            username = duty.credential.username
            account = account_of(duty.url, username, password, duty.credential.changed_ms)
            wait_s = self._tools.logins.wait_s(account)
            if wait_s > 0:
                session.wake.wait(min(wait_s, 60.0))
                return None
            address = StreamAddress(duty.url, username, password, duty.audio)
        return self._session_once(session, address, account)

    def _session_once(self, session: _Session, address: StreamAddress, account: Account | None) -> SourceError:
        source: Source | None = None
        taken: bool | None = None  #: whether the device took the account
        try:
            session.wake.wait(self._tools.opening_wait_s())
            with self.lock:
                if self._session is not session:
                    return SourceError(GapCause.UNKNOWN, "camera.ended")
                self._progress_ns = self._clock.monotonic_ns()
                self._connected_ns = 0
                self._pictured = False
                if self._state != "offline":
                    self._set_state("connecting", None, None)
            source = session.source = self._tools.sources(address)
            source.open()
            if account is not None:
                self._tools.logins.told(account, True)
                account = None
            with self.lock:
                if self._session is not session:
                    return SourceError(GapCause.UNKNOWN, "camera.ended")
                # The first picture has half a time-out of its own, however long the opening took.
                now_ns = self._connected_ns = self._clock.monotonic_ns()
                half_ns = int(self._tools.media_timeout_s * 5e8)
                self._progress_ns = max(self._progress_ns, now_ns - half_ns)
            self._take_all(session, source)
            return SourceError(GapCause.CAMERA_OFFLINE, "camera.ended")
        except SourceError as error:
            if error.cause is GapCause.CREDENTIALS:
                taken = False
            return self._silent() if error.reason.code == "camera.timeout" else error
        except Exception as error:
            _log.exception("a source failed in a way it must not", extra={"camera": self.duty.camera_id})
            return SourceError(GapCause.UNKNOWN, "camera.failed", problem=type(error).__name__)
        finally:
            if account is not None:
                self._tools.logins.told(account, taken)
            if source is not None:
                try:
                    source.close()
                except Exception:
                    _log.exception("closing a source", extra={"camera": self.duty.camera_id})
                session.source = None

    def _take_all(self, session: _Session, source: Source) -> None:
        """The hot loop: a few microseconds per picture besides the source's own."""
        lock, feed, statistics = self.lock, self.feed, self._statistics
        clock = self._clock
        monotonic_ns = clock.monotonic_ns
        recording = self.recording
        for item in source:
            with lock:
                if self._session is not session:
                    return
                if isinstance(item, StreamConfig):
                    self._configure(item)
                    continue
                item.epoch += self._epoch_base
                if self._state != "online" or item.epoch != self._epoch_last:
                    self._begin_media(item)
                if self._era is not clock.now.era and item.opens_group:
                    now = clock.now
                    self._follow(now, item.wall_ns + clock.shift_ns(now.era))
                item.wall_ns += clock.shift_ns(self._era)
                if item.track is Track.VIDEO:
                    # Sound alone does not show that a camera sees anything.
                    self._progress_ns = monotonic_ns()
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
        self._pictured = True
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
        if self._state == "online" or self._cause is not error.cause:
            _log.info(
                "stream is away",
                extra={
                    "camera": self.duty.camera_id, "stream": self.duty.stream, "cause": error.cause.value,
                    "code": error.reason.code,
                },
            )  # fmt: skip
        if self.recording is not None:
            self.recording.lost(error.cause, error.reason, clock_ms(self._clock))
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
        reason = self._reason
        if reason is None and self._state == "online" and numbers.gop_is_long:
            reason = Reason("camera.gop_long", {"seconds": (numbers.gop_ms or 0) // 1000})
        return StatusRow(
            camera_id=self.duty.camera_id, stream=self.duty.stream, state=self._state, since_ms=self._since_ms,
            updated_ms=clock_ms(self._clock), cause=self._cause.value if self._cause is not None else None,
            reason=reason.as_json() if reason is not None else None, last_media_ms=last_ms,
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
