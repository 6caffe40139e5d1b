"""One subscription per watched stream and process, fanned out to any number of viewers.

Belongs here: subscribing to the live socket, the shared forms of each access unit, bounded queues, the burst on join,
linger, reconnecting. Does not belong here: permission (`gateway.access.looks`), protocols (`gateway.web.routers.live`,
`gateway.live.whep`), the choice of a stream (`gateway.live.choice`).

A unit is muxed once (or packetised once) when the first viewer needs that form and the same bytes object goes to all. A
viewer that falls behind is dropped forward to the next key frame and counted; nothing here grows without bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from config.reasons import Reason
from gateway.live import fmp4_stream, rtp
from gateway.live.fmp4_stream import Place
from gateway.live.frames import binary_frame
from gateway.live.wire import Config, Event, Unit
from storage.catalog.engine import UNAVAILABLE
from storage.media.access_unit import AccessUnit, StreamConfig, Track

_log = logging.getLogger(__name__)

GOP_BYTES = 8 * 1024 * 1024  #: cached since the last key frame; a longer GOP is not cached and joiners wait for its end
QUEUE_UNITS = 200  #: 8 s at 25 pictures a second, beyond the burst of a join
QUEUE_BYTES = 16 * 1024 * 1024
RETRY_S = (0.25, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class StreamKey:
    """What one subscription carries."""

    camera: str
    stream: str
    lease: str | None = None
    transcoded: bool = False  #: H.264 made by the worker from an H.265 stream


#: Opens one subscription; closed when it is no longer wanted, ends or raises OSError, EOFError or one of `UNAVAILABLE`
#: when it breaks.
Watch = Callable[[StreamKey], AsyncGenerator[Config | Unit | Event, None]]


@dataclass(frozen=True, slots=True)
class Granted:
    """What a lower tier gives of the stream that was asked for, which its line, mechanism or a lease that nobody
    confirmed may reduce while it runs."""

    stream: str | None = None  #: None: nothing was said, it is the one that was asked for
    note: dict[str, object] | None = None  #: why it is less, as a reason's JSON

    @classmethod
    def of(cls, reason: Mapping[str, object] | None) -> Granted:
        """Of a `stream` event, whose reason is ``{"stream"}``, with a reason's own keys when there is one."""
        said = dict(reason or {})
        stream = said.pop("stream", None)
        return cls(stream if stream in ("main", "sub") else None, said if "code" in said else None)

    def as_event(self) -> Event:
        """What `of` was made of."""
        return Event("stream", {**(self.note or {}), **({} if self.stream is None else {"stream": self.stream})})


@dataclass(frozen=True, slots=True)
class Started:
    """Parameters of what follows: the viewer needs a new init segment."""

    config: StreamConfig
    epoch: int
    sets: tuple[bytes, ...]  #: parameter sets for RTP
    granted: Granted = Granted()

    @classmethod
    def of(cls, config: Config, granted: Granted) -> Started:
        return cls(config.stream, config.epoch, rtp.parameter_sets(config.stream), granted)


@dataclass(frozen=True, slots=True)
class Notice:
    """`offline`, `online` or `ended`, with the reason's JSON; or `stream`: what is given changes (`Granted`)."""

    state: str
    reason: dict[str, object] | None


class Picture:
    """One access unit (audio too) and its forms, each made when first asked for."""

    __slots__ = ("_fragment", "_framed", "_payloads", "key", "place", "replay", "started", "unit", "video")

    def __init__(self, unit: AccessUnit, place: Place, started: Started, replay: bool) -> None:
        self.unit = unit
        self.place = place
        self.started = started
        self.replay = replay
        self.video = unit.track is Track.VIDEO
        self.key = unit.key and self.video
        self._fragment: bytes | None = None
        self._framed: bytes | None = None
        self._payloads: list[bytes] | None = None

    @property
    def fragment(self) -> bytes:
        if self._fragment is None:
            self._fragment = fmp4_stream.mux(self.unit, self.place)
        return self._fragment

    @property
    def framed(self) -> bytes:
        """The fragment inside a WebSocket frame."""
        if self._framed is None:
            self._framed = binary_frame(self.fragment)
        return self._framed

    @property
    def payloads(self) -> list[bytes]:
        """RTP payloads of a picture."""
        if self._payloads is None:
            h264 = self.started.config.video.codec == "h264"
            packetise = rtp.h264_payloads if h264 else rtp.h265_payloads
            self._payloads = packetise(self.unit.data, self.key, self.started.sets)
        return self._payloads

    @property
    def presentation_time(self) -> int:
        return self.place.decode_time + self.unit.pts - self.unit.dts


Entry = Started | Picture | Notice


class Viewer:
    """One viewer's bounded queue. `take` until it answers an empty list; then `end_reason` says why."""

    def __init__(self, feed: _Feed, audio: bool) -> None:
        self._feed = feed
        self._audio = audio
        self._entries: deque[Entry] = deque()
        self._units = 0
        self._bytes = 0
        self._limit = QUEUE_UNITS
        self._waiting: asyncio.Future[None] | None = None
        #: Takes a picture's WebSocket frame at once, or says that it cannot now; asked only while nothing waits and
        #: `take` is awaited, so that order is kept.
        self.direct: Callable[[bytes], bool] | None = None
        self.fast: Callable[[bytes], bool] | None = None  #: `direct`, while it may be asked
        self.direct_bytes = 0  #: that went this way
        self._want_key = True  #: nothing is sent before a key frame
        self._ended = False
        self.end_reason: Reason | None = None
        self.jumps = 0  #: times it was dropped forward
        self.dropped = 0  #: pictures it did not get

    def offer(self, entry: Entry) -> None:
        if self._ended:
            return
        if type(entry) is Picture:
            if not entry.video:
                if not self._audio or self._want_key:
                    return
            elif self._want_key:
                if not entry.key:
                    self.dropped += 1
                    return
                self._want_key = False
            if self._units >= self._limit or self._bytes > QUEUE_BYTES:
                self._fall_forward(entry)
                return
            self._units += 1
            self._bytes += len(entry.unit.data)
        elif type(entry) is Started:
            self._want_key = True
        self.fast = None
        self._entries.append(entry)
        waiting = self._waiting
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _fall_forward(self, entry: Picture) -> None:
        """Too slow: forget the pictures that wait, keep what must be told, begin again at a key frame."""
        kept = [waiting for waiting in self._entries if type(waiting) is not Picture]
        self.dropped += sum(type(waiting) is Picture and waiting.video for waiting in self._entries)
        self.jumps += 1
        self._feed.hub.counters.jumps += 1
        self._entries = deque(kept)
        self._units = self._bytes = 0
        self._limit = QUEUE_UNITS
        self._want_key = True
        if entry.key:
            self.offer(entry)
        else:
            self.dropped += entry.video

    def burst(self, entries: Sequence[Entry]) -> None:
        self._limit = QUEUE_UNITS + len(entries)
        for entry in entries:
            self.offer(entry)

    async def take(self) -> list[Entry]:
        """All that waits, at least one entry; an empty list once the viewer has ended and everything was taken."""
        while not self._entries:
            if self._ended:
                return []
            self._waiting = asyncio.get_running_loop().create_future()
            self.fast = None if self._want_key else self.direct
            try:
                await self._waiting
            finally:
                self._waiting = None
                self.fast = None
        taken = list(self._entries)
        self._entries.clear()
        self._units = self._bytes = 0
        self._limit = QUEUE_UNITS
        return taken

    def end(self, reason: Reason | None = None) -> None:
        """Nothing more is offered. Whoever waits in `take` wakes up."""
        self.fast = None
        if not self._ended:
            self._ended = True
            self.end_reason = reason
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_result(None)

    def reburst(self) -> list[Picture]:
        """The cached pictures since the last key frame, for a decoder that asked for one."""
        return [picture for picture in self._feed.gop if picture.video]

    def joined(self, pictures: Sequence[Picture]) -> bytes:
        """The fragments of `pictures` in one bytes object, which viewers in step share."""
        if len(pictures) == 1:
            return pictures[0].fragment
        return self._feed.joined(pictures)

    def close(self) -> None:
        self.end()
        self._feed.leave(self)


@dataclass(slots=True)
class HubCounters:
    jumps: int = 0  #: viewers dropped forward to a key frame
    reconnects: int = 0  #: live sockets opened again


@dataclass(slots=True)
class _Feed:
    """One subscription and its viewers."""

    hub: Hub
    key: StreamKey
    viewers: dict[int, Viewer] = field(default_factory=dict)
    gop: list[Picture] = field(default_factory=list)
    gop_bytes: int = 0
    started: Started | None = None
    granted: Granted = Granted()
    notice: Notice | None = None  #: set while there is no picture
    timeline: fmp4_stream.Timeline = field(default_factory=fmp4_stream.Timeline)
    task: asyncio.Task[None] | None = None
    linger: asyncio.TimerHandle | None = None
    last_join: tuple[int, int, int, bytes] = (0, 0, 0, b"")

    # -- viewers -----------------------------------------------------------------------------------------------------

    def join(self, audio: bool) -> Viewer:
        if self.linger is not None:
            self.linger.cancel()
            self.linger = None
        viewer = Viewer(self, audio)
        entries: list[Entry] = []
        if self.notice is not None:
            entries.append(self.notice)
        if self.started is not None:
            entries.append(self.started)
            entries += self.gop
        viewer.burst(entries)
        self.viewers[id(viewer)] = viewer
        return viewer

    def leave(self, viewer: Viewer) -> None:
        if self.viewers.pop(id(viewer), None) is not None and not self.viewers and self.linger is None:
            self.linger = asyncio.get_running_loop().call_later(self.hub.linger_s, self.hub.drop, self)

    def joined(self, pictures: Sequence[Picture]) -> bytes:
        first, last, count = pictures[0].place.sequence, pictures[-1].place.sequence, len(pictures)
        if self.last_join[:3] != (first, last, count):
            self.last_join = (first, last, count, b"".join([picture.fragment for picture in pictures]))
        return self.last_join[3]

    def _offer(self, entry: Entry) -> None:
        for viewer in list(self.viewers.values()):
            viewer.offer(entry)

    # -- the subscription --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        attempt = 0
        while True:
            try:
                async with contextlib.aclosing(self.hub.watch(self.key)) as messages:
                    async for message in messages:
                        if type(message) is Unit:
                            attempt = 0
                            self._unit(message)
                        elif type(message) is Config:
                            self._config(message)
                        elif type(message) is Event:
                            self._event(message)
                            if message.state == "ended":
                                return
            except (OSError, EOFError) as exc:
                _log.info("live socket of %s %s: %s", self.key.camera, self.key.stream, exc)
            except UNAVAILABLE as exc:  # the catalog, which says where the socket is
                _log.info("live socket of %s %s: %s", self.key.camera, self.key.stream, type(exc).__name__)
            self._away()
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            attempt += 1
            self.hub.counters.reconnects += 1

    def _away(self) -> None:
        """The recorder's socket is gone; it may come back with a new process."""
        self._forget()
        self.started = None
        self.granted = Granted()
        if self.notice is None or self.notice.state != "offline":
            self.notice = Notice("offline", Reason("media.live_recorder_away").as_json())
            self._offer(self.notice)

    def _forget(self) -> None:
        self.gop = []
        self.gop_bytes = 0

    def _config(self, config: Config) -> None:
        self._forget()
        self.started = Started.of(config, self.granted)
        self.timeline.start(config.stream)
        self._offer(self.started)

    def _event(self, event: Event) -> None:
        notice = Notice(event.state, event.reason)
        if event.state == "stream":
            self.granted = Granted.of(event.reason)
            if self.started is not None:
                self.started = replace(self.started, granted=self.granted)
        elif event.state == "online":
            if self.notice is None:
                return  # nobody was told of anything else
            self.notice = None
        else:
            self.notice = notice
            self._forget()
        self._offer(notice)
        if event.state == "ended":
            for viewer in list(self.viewers.values()):
                viewer.end()

    def _unit(self, message: Unit) -> None:
        if self.started is None:
            return
        unit = message.unit
        place = self.timeline.place(unit)
        if place is None:
            return
        picture = Picture(unit, place, self.started, message.replay)
        if picture.key:
            self.gop = [picture]
            self.gop_bytes = len(unit.data)
            if self.notice is not None:
                self.notice = None
                self._offer(Notice("online", None))
        elif self.gop:
            self.gop_bytes += len(unit.data)
            if self.gop_bytes > GOP_BYTES:
                self._forget()
            else:
                self.gop.append(picture)
        # The path of nearly every picture to nearly every viewer: straight to the transport, no task wakes up.
        frame, size = b"", 0
        for viewer in self.viewers.values():
            fast = viewer.fast
            if fast is not None and picture.video:
                if not size:
                    frame = picture.framed
                    size = len(frame)
                if fast(frame):
                    viewer.direct_bytes += size
                    continue
            viewer.offer(picture)


class Hub:
    """All live streams that this process watches."""

    def __init__(self, watch: Watch, linger_s: float = 10.0) -> None:
        self.watch = watch
        self.linger_s = linger_s
        self.counters = HubCounters()
        self._feeds: dict[StreamKey, _Feed] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def join(self, key: StreamKey, audio: bool = False) -> Viewer:
        """A new viewer of `key`; close it when done. Opens the subscription when it is the first."""
        feed = self._feeds.get(key)
        if feed is None or feed.task is None or feed.task.done():
            feed = self._feeds[key] = _Feed(self, key)
            feed.task = asyncio.create_task(feed.run(), name=f"live {key.camera} {key.stream}")
            feed.task.add_done_callback(self._report)
        return feed.join(audio)

    @contextlib.asynccontextmanager
    async def viewer(self, key: StreamKey, audio: bool = False) -> AsyncIterator[Viewer]:
        viewer = self.join(key, audio)
        try:
            yield viewer
        finally:
            viewer.close()

    def drop(self, feed: _Feed) -> None:
        """Linger is over."""
        if feed.viewers:
            return
        if self._feeds.get(feed.key) is feed:
            del self._feeds[feed.key]
        if feed.task is not None:
            feed.task.cancel()
            self._ending.add(feed.task)
            feed.task.add_done_callback(self._ending.discard)

    def watched(self) -> dict[StreamKey, int]:
        """Streams open now and how many view each."""
        return {key: len(feed.viewers) for key, feed in self._feeds.items()}

    def _report(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("live feed failed", exc_info=error)
            for key, feed in list(self._feeds.items()):
                if feed.task is task:
                    del self._feeds[key]
                    for viewer in list(feed.viewers.values()):
                        viewer.end(Reason("media.live_recorder_away"))

    async def close(self) -> None:
        """Ends every viewer and subscription."""
        feeds, self._feeds = list(self._feeds.values()), {}
        tasks = set(self._ending)
        for feed in feeds:
            if feed.linger is not None:
                feed.linger.cancel()
            for viewer in list(feed.viewers.values()):
                viewer.end()
            if feed.task is not None:
                feed.task.cancel()
                tasks.add(feed.task)
        await asyncio.gather(*tasks, return_exceptions=True)
