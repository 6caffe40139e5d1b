"""A stream's live side inside the recorder: from the thread that receives to the loop that serves watchers.

Belongs here: who listens to a stream, what has been said to them, what a late joiner gets. Does not belong here:
sockets (`gateway.live.server`), footage (`gateway.ingest.recording`, which lends the bytes since the last key frame).

While nobody watches, a unit costs one comparison. While somebody does, it is encoded once and handed to the loop once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from config.reasons import Reason
from gateway.live.wire import Config, encode_config, encode_event, encode_unit
from storage.media.access_unit import AccessUnit, StreamConfig, Track

#: What a stream that is not recorded keeps since its last key frame, at most.
GOP_MAX_BYTES = 2 * 1024 * 1024


class Watcher(Protocol):
    """One subscriber, living in the loop."""

    def deliver(self, sequence: int, message: bytes, key: bool, video: bool) -> None:
        """A unit. `sequence` grows by one with each unit of the feed."""
        ...

    def announce(self, sequence: int, message: bytes) -> None:
        """A config or an event, never dropped."""
        ...


class LiveFeed:
    """`configure`, `push`, `event` come from the receiving thread, under the lock of the stream's sink; `join` and
    `leave` under the same lock, from the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, keep_gop: bool) -> None:
        self._loop = loop
        self._keep_gop = keep_gop
        self._watchers: tuple[Watcher, ...] = ()
        self._config: StreamConfig | None = None
        self._config_epoch = -1
        self._announced: bytes | None = None
        self._gop: list[AccessUnit] = []
        self._gop_bytes = 0
        self._last_event: bytes | None = None
        self.sequence = 0

    @property
    def watched(self) -> bool:
        return bool(self._watchers)

    @property
    def config_message(self) -> bytes | None:
        return self._announced

    @property
    def last_event(self) -> bytes | None:
        """While the stream is away: why."""
        return self._last_event

    @property
    def gop(self) -> list[AccessUnit]:
        return list(self._gop)

    def configure(self, config: StreamConfig) -> None:
        self._config = config
        self._config_epoch = -1

    def push(self, unit: AccessUnit) -> None:
        self.sequence += 1
        if unit.epoch != self._config_epoch and self._config is not None:
            self._config_epoch = unit.epoch
            self._announced = encode_config(Config(unit.epoch, self._config))
            self._last_event = None
            self._gop, self._gop_bytes = [], 0
            if self._watchers:
                self._call(self._watchers, _announce, self.sequence, self._announced)
        if self._keep_gop:
            self._keep(unit)
        if self._watchers:
            self._loop.call_soon_threadsafe(
                _deliver, self._watchers, self.sequence, encode_unit(unit), unit.key, unit.track is Track.VIDEO
            )  # fmt: skip

    def event(self, state: str, reason: Reason | None) -> None:
        self.sequence += 1
        message = encode_event(state, reason.as_json() if reason is not None else None)
        self._last_event = message if state != "online" else None
        if state != "online":
            self._gop, self._gop_bytes = [], 0
            self._config_epoch = -1  # the next unit is preceded by its config again
            self._announced = None
        if self._watchers:
            self._call(self._watchers, _announce, self.sequence, message)

    def join(self, watcher: Watcher) -> None:
        self._watchers = (*self._watchers, watcher)

    def leave(self, watcher: Watcher) -> None:
        self._watchers = tuple(w for w in self._watchers if w is not watcher)

    def _keep(self, unit: AccessUnit) -> None:
        if unit.opens_group:
            self._gop, self._gop_bytes = [], 0
        elif not self._gop:
            return
        self._gop_bytes += len(unit.data)
        if self._gop_bytes > GOP_MAX_BYTES:
            self._gop, self._gop_bytes = [], 0
            return
        self._gop.append(unit)

    def _call(
        self, watchers: tuple[Watcher, ...], what: Callable[[tuple[Watcher, ...], int, bytes], None],
        sequence: int, message: bytes,
    ) -> None:  # fmt: skip
        self._loop.call_soon_threadsafe(what, watchers, sequence, message)


def _deliver(watchers: tuple[Watcher, ...], sequence: int, message: bytes, key: bool, video: bool) -> None:
    for watcher in watchers:
        watcher.deliver(sequence, message, key, video)


def _announce(watchers: tuple[Watcher, ...], sequence: int, message: bytes) -> None:
    for watcher in watchers:
        watcher.announce(sequence, message)
