"""Streams from lower nodes: one upstream per (lease, camera, stream), fanned out to all who watch on this node.

Belongs here: the upstream's life (open at the first watcher, 10 s linger, retry while the peer is away), the pictures
since the last key frame in memory for late joiners, bounded queues. Live pulls never touch a disk. Does not belong
here: the socket (`gateway.relay.live_socket`), permission of the people who watch (web's `Look`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable

from config.errors import Kind, TiergateError
from config.reasons import Reason
from gateway.live.wire import Config, encode_config, encode_event, encode_unit
from storage.catalog.engine import UNAVAILABLE
from storage.media.access_unit import AccessUnit, StreamConfig
from tiering.cmaf import Notice

_log = logging.getLogger(__name__)

Key = tuple[str, str, str]  #: lease, camera, stream
Open = Callable[[str, str, str], AsyncGenerator[StreamConfig | AccessUnit | Notice, None]]
Check = Callable[[str, str, str], Awaitable[Reason | None]]  #: why it must stop

GOP_BYTES = 16 << 20
QUEUE_BYTES = 8 << 20
RETRY_S = (0.5, 1.0, 2.0, 5.0)
#: Of responses that ended: the next one may be better. The lower node's catalog or recorder is away, or a camera is on
#: its way from one recorder to another.
PASSING = frozenset(("tier.stream_ended", "tier.live_away", "camera.not_here", "access.register_away"))
AWAY = (Kind.UNAVAILABLE, Kind.ENVIRONMENT)
LINGER_S = 10.0
CHECK_S = 2.0


class Watcher:
    """One connection's bounded queue of wire messages; one that falls behind jumps to the next key frame."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._bytes = 0
        self._moved = asyncio.Event()
        self._want_key = True
        self.closed = False

    def push(self, message: bytes, media: bool, key: bool) -> None:
        if media:
            if self._want_key and not key:
                return
            if self._bytes + len(message) > QUEUE_BYTES:
                self._messages = deque(m for m in self._messages if m[4] != 2)  # keep configs and events
                self._bytes = sum(map(len, self._messages))
                self._want_key = not key
                if not key:
                    return
            self._want_key = False
        self._messages.append(message)
        self._bytes += len(message)
        self._moved.set()

    def close(self) -> None:
        self.closed = True
        self._moved.set()

    async def take(self) -> bytes | None:
        """The next message; None when the stream is over and everything was taken."""
        while not self._messages:
            if self.closed:
                return None
            self._moved.clear()
            await self._moved.wait()
        message = self._messages.popleft()
        self._bytes -= len(message)
        return message


class Upstream:
    """The one stream of a key."""

    def __init__(
        self, key: Key, open_: Open, check: Check, linger_s: float, gone: Callable[[Key, Upstream], None]
    ) -> None:
        self._key = key
        self._open = open_
        self._check = check
        self._linger_s = linger_s
        self._gone = gone
        self._watchers: set[Watcher] = set()
        self._config: bytes | None = None
        self._stream: bytes | None = None  #: which one the lower node gives and why, for joiners
        self._state: bytes | None = None  #: the last other event since then, for joiners
        self._gop: list[tuple[bytes, bool]] = []
        self._gop_bytes = 0
        self._epoch = 0
        self._has_unit = False  #: of the response that runs, or was the last
        self._idle: asyncio.TimerHandle | None = None
        self.over = False
        self._task = asyncio.create_task(self._run(), name=f"upstream-{key[1]}")

    def join(self) -> Watcher:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        watcher = Watcher()
        if self._stream is not None:
            watcher.push(self._stream, False, False)
        if self._state is not None:
            watcher.push(self._state, False, False)
        if self._config is not None:
            watcher.push(self._config, False, False)
        for message, key in self._gop:
            watcher.push(message, True, key)
        self._watchers.add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)
        if not self._watchers and self._idle is None and not self.over:
            # Who comes while this one closes gets another.
            self._idle = asyncio.get_running_loop().call_later(self._linger_s, self.end, Reason("tier.stream_ended"))

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def end(self, reason: Reason) -> None:
        """Tells everybody why and stops."""
        self._finish(reason)
        self._task.cancel()

    def _finish(self, reason: Reason | dict[str, object] | None) -> None:
        if self.over:
            return
        self.over = True
        self._gone(self._key, self)
        if self._idle is not None:
            self._idle.cancel()
        words = reason.as_json() if isinstance(reason, Reason) else reason
        for watcher in self._watchers:
            watcher.push(encode_event("ended", words), False, False)
            watcher.close()
        self._gop, self._config = [], None

    def _tell(self, message: bytes, media: bool = False, key: bool = False) -> None:
        for watcher in self._watchers:
            watcher.push(message, media, key)

    async def _run(self) -> None:
        failures = 0
        last: Reason | dict[str, object] | None = None
        checker = asyncio.create_task(self._watch_lease())
        try:
            while True:
                try:
                    ended = await self._one_response()
                    last = ended
                    if ended is not None and ended.get("code") not in PASSING:
                        return
                    if ended is not None and ended["code"] != "tier.stream_ended":
                        self._announce("offline", ended)
                except TiergateError as exc:
                    last = exc.reason
                    if exc.kind not in AWAY:
                        return
                    self._announce("offline", exc.reason.as_json())
                except UNAVAILABLE as exc:
                    last = Reason("ops.catalog_away", {"problem": type(exc).__name__})
                    self._announce("offline", last.as_json())
                failures = 1 if self._has_unit else failures + 1
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S)) - 1])
        except asyncio.CancelledError:
            last = last or Reason("tier.stream_ended")
        except Exception:
            _log.exception("an upstream failed")
            last = Reason("tier.stream_ended")
        finally:
            checker.cancel()
            self._finish(last)

    def _announce(self, state: str, reason: dict[str, object] | None) -> None:
        if state != "online":
            self._gop, self._gop_bytes = [], 0  # joiners would take the last picture for one of now
        self._state = encode_event(state, reason)
        self._tell(self._state)

    async def _watch_lease(self) -> None:
        """Our own side of the lease: it ends here by our clock and rows even if the lower node is silent."""
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                reason = await self._check(*self._key)
            except Exception:
                _log.exception("a lease cannot be looked at", extra={"lease": self._key[0], "camera": self._key[1]})
                continue
            if reason is not None:
                self.end(reason)
                return

    async def _one_response(self) -> dict[str, object] | None:
        """Carries one response; the reason with which the lower node ended it."""
        self._has_unit = False
        async with contextlib.aclosing(self._open(*self._key)) as items:
            async for item in items:
                if isinstance(item, AccessUnit):
                    self._unit(item)
                elif isinstance(item, StreamConfig):
                    self._epoch += 1
                    self._config = encode_config(Config(self._epoch, item))
                    self._gop, self._gop_bytes = [], 0
                    self._tell(self._config)
                elif item.state == "ended":
                    return item.reason
                elif item.state == "stream":
                    self._stream, self._state = encode_event(item.state, _with_stream(item)), None
                    self._tell(self._stream)
                elif item.state != "alive":
                    self._announce(item.state, _with_stream(item))
        raise TiergateError(Kind.UNAVAILABLE, "tier.peer_away", problem="closed")

    def _unit(self, unit: AccessUnit) -> None:
        unit.epoch = self._epoch
        self._has_unit = True
        key = unit.opens_group
        message = encode_unit(unit)
        if key:
            self._gop, self._gop_bytes = [], 0
        if self._gop_bytes + len(message) <= GOP_BYTES and (key or self._gop):
            replay = encode_unit(unit, replay=True)
            self._gop.append((replay, key))
            self._gop_bytes += len(replay)
        elif self._gop:
            self._gop, self._gop_bytes = [], 0  # a longer one is not kept: joiners wait for its end
        self._tell(message, True, key)


def _with_stream(notice: Notice) -> dict[str, object] | None:
    if notice.stream is None:
        return notice.reason
    return {**(notice.reason or {}), "stream": notice.stream}


class Upstreams:
    """All upstreams of the relay."""

    def __init__(self, open_: Open, check: Check, linger_s: float = LINGER_S) -> None:
        self._open = open_
        self._check = check
        self._linger_s = linger_s
        self._running: dict[Key, Upstream] = {}

    def __len__(self) -> int:
        return len(self._running)

    async def join(self, lease: str, camera: str, stream: str) -> tuple[Upstream, Watcher]:
        """Raises with the reason when our own side of the lease does not allow it."""
        reason = await self._check(lease, camera, stream)
        if reason is not None:
            raise TiergateError(Kind.FORBIDDEN, reason.code, **reason.params)
        key = (lease, camera, stream)
        found = self._running.get(key)
        if found is None or found.over:
            found = self._running[key] = Upstream(key, self._open, self._check, self._linger_s, self._forget)
        return found, found.join()

    def _forget(self, key: Key, upstream: Upstream) -> None:
        if self._running.get(key) is upstream:
            del self._running[key]

    def end_lease(self, lease: str, reason: Reason) -> None:
        for key, upstream in list(self._running.items()):
            if key[0] == lease:
                upstream.end(reason)

    async def stop(self) -> None:
        for upstream in list(self._running.values()):
            await upstream.stop()
