"""Live pictures to the upper node: one session per request, as bytes of chunked CMAF.

A session asks again each second whether its lease still holds, and the register's look may end it at any moment:
expiry, release, revocation and a suspended link stop it within 5 s (I7), also where the peer has stopped reading and
nothing can be said to it (`overstayed`). A lease that nobody confirmed in time, and a line that became too thin, switch
it to `sub` in-band: new init, same response; a late confirmation switches it back. Where a line is too thin for small
streams even, the newest ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from config.errors import TiergateError
from config.reasons import Reason
from storage.catalog.engine import UNAVAILABLE
from storage.catalog.links import LinkRow
from storage.media.access_unit import AccessUnit, StreamConfig
from tiering.budget import REDUCED
from tiering.cmaf import CmafWriter, Notice
from tiering.lease import Permit
from tiering.lines import Flow
from tiering.ports import LiveFrames, OpenLook
from tiering.server import TierServer, refused

CHECK_S = 1.0
GIVE_WAY_S = 3.0
BLIND_S = 60.0  #: while the catalog does not answer a session goes on as allowed so long, as the node's own viewers do
ALIVE_S = 5.0  #: a stream without pictures says that it lives: silence means a dead line


class LiveSession:
    """`start` refuses or takes a place on the line and opens the register; then iterate `chunks`; `close` always."""

    def __init__(
        self, server: TierServer, frames: LiveFrames, link: LinkRow, lease_id: str, camera: str, wanted: str
    ) -> None:
        self._server = server
        self._frames = frames
        self._link = link
        self._lease_id = lease_id
        self._camera = camera
        self._wanted = wanted
        self._stack = AsyncExitStack()
        self._flow: Flow | None = None
        self._look: OpenLook | None = None
        self._first: Notice | None = None
        self._told: Reason | None = None  #: why the stream is less than was asked for, as the peer knows it
        self._writer = CmafWriter()
        self._allowed = Permit(None)
        self._asked_s = 0.0  #: when that was read
        self._sent_on_s = 0.0  #: when `chunks` last looked whether it may go on
        self._given_way = asyncio.Event()
        self._closed = asyncio.Event()

    @property
    def stream(self) -> str:
        return self._flow.stream if self._flow is not None else self._wanted

    async def start(self) -> None:
        """Raises with the reason when not one byte may leave."""
        allowed = await self._permit()
        if allowed.stream is None:
            raise refused(allowed.reason)
        await self._server.quota.take(self._link, 0)
        self._flow, reduced = self._server.lines.enter(self._link, self._lease_id, self._camera, allowed.stream)
        try:
            await self._open_look()
        except BaseException:
            await self.close()
            raise
        self._told = reduced or allowed.reason
        self._first = Notice("stream", _json(self._told), self.stream)

    async def _permit(self) -> Permit:
        self._allowed, self._link, self._terms = await self._server.permit(
            self._link, self._lease_id, self._camera, "live", self._wanted
        )
        self._asked_s = asyncio.get_running_loop().time()
        return self._allowed

    async def _permit_now(self) -> Permit:
        """As it is, or as it was while the catalog cannot be read; what a refusal says is in it."""
        try:
            return await self._permit()
        except TiergateError as exc:
            return Permit(None, exc.reason)
        except UNAVAILABLE:
            if asyncio.get_running_loop().time() - self._asked_s < BLIND_S:
                return self._allowed
            return Permit(None, Reason("access.register_away"))

    async def _open_look(self) -> None:
        self._look = None
        await self._stack.aclose()
        self._stack = AsyncExitStack()
        opened = self._server.register.open(self._link, self._terms, self._camera, "live", self.stream)
        self._look = await self._stack.enter_async_context(opened)

    async def close(self) -> None:
        """Gives the place back and closes the register row."""
        if self._flow is not None:
            self._server.lines.leave(self._link, self._flow)
        try:
            await self._stack.aclose()
        finally:
            self._closed.set()

    async def overstayed(self) -> None:
        """Returns when the session must be over and `chunks` does not see it, because the peer takes nothing."""
        loop = asyncio.get_running_loop()
        self._sent_on_s = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._given_way.wait()
                    return
            if loop.time() - self._sent_on_s < 2 * CHECK_S:
                continue
            look = self._look
            if (look is not None and look.ended.is_set()) or (await self._permit_now()).stream is None:
                return

    async def give_way(self) -> None:
        """The peer asks for the same again: to it this session is dead. Returns when it has left the line, or in vain
        after `GIVE_WAY_S`."""
        self._given_way.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GIVE_WAY_S):
                await self._closed.wait()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Bytes until the lease, the look or the camera's source ends; the last box says why."""
        if self._look is None:
            raise RuntimeError("not started")
        if self._first is not None:
            yield self._writer.notice(self._first)
        ended: Reason | None = None
        while ended is None:
            ended = Reason("tier.stream_ended")
            frames = self._frames.watch(self._camera, self.stream)
            try:
                async with contextlib.aclosing(self._until_told(frames)) as items:
                    async for item in items:
                        if isinstance(item, Permit):
                            ended = None
                            if item.stream is None:
                                ended = item.reason or Reason("tier.lease_ended")
                            else:
                                yield self._writer.notice(Notice("stream", _json(item.reason), item.stream))
                            break
                        data = self._encode(item)
                        await self._server.quota.take_or_owe(self._link, len(data), BLIND_S)
                        self._look.add_bytes(len(data))
                        yield data
            except TiergateError as exc:
                ended = exc.reason
            finally:
                await frames.aclose()
        yield self._writer.notice(Notice("ended", ended.as_json()))

    def _encode(self, item: StreamConfig | AccessUnit | Notice) -> bytes:
        if isinstance(item, StreamConfig):
            return self._writer.config(item)
        if isinstance(item, AccessUnit):
            return self._writer.unit(item)
        return self._writer.notice(item)

    async def _until_told(
        self, frames: AsyncGenerator[StreamConfig | AccessUnit | Notice, None]
    ) -> AsyncGenerator[StreamConfig | AccessUnit | Notice | Permit, None]:
        """Frames, and signs of life while there are none; at last a `Permit` when something has changed."""
        loop = asyncio.get_running_loop()
        checked_s = spoken_s = self._sent_on_s = loop.time()
        pending = asyncio.ensure_future(anext(frames))
        try:
            while True:
                if self._look is None:
                    return
                ended = asyncio.ensure_future(self._look.ended.wait())
                try:
                    await asyncio.wait({pending, ended}, timeout=CHECK_S, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    ended.cancel()
                now_s = self._sent_on_s = loop.time()
                if self._look.ended.is_set() or now_s - checked_s >= CHECK_S:
                    checked_s = now_s
                    changed = await self._changed()
                    if changed is not None:
                        yield changed
                        return
                if pending.done():
                    try:
                        item = pending.result()
                    except StopAsyncIteration:
                        return
                    pending = asyncio.ensure_future(anext(frames))
                    spoken_s = now_s
                    yield item
                elif now_s - spoken_s >= ALIVE_S:
                    spoken_s = now_s
                    yield Notice("alive")
        finally:
            pending.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, TiergateError):
                await pending

    async def _changed(self) -> Permit | None:
        """None: go on. Else what is given from now on, and why; another stream has its place and its register row
        already."""
        allowed = await self._permit_now()
        if allowed.stream is None:
            return allowed
        look, flow = self._look, self._flow
        if flow is None or look is None:
            return Permit(None)
        surplus = self._server.lines.surplus(self._link, flow)
        if surplus is not None:
            return Permit(None, surplus)
        before = flow.stream
        given = self._on_line(allowed, flow)
        if given.stream == before:
            if not look.ended.is_set():
                if given.reason == self._told:
                    return None
                self._told = given.reason
                return given
            if look.reason is not None:
                return Permit(None, look.reason)
        try:
            await self._open_look()
        except TiergateError as exc:
            return Permit(None, exc.reason)
        except UNAVAILABLE:
            return Permit(None, Reason("access.register_away"))
        self._told = given.reason
        return given

    def _on_line(self, allowed: Permit, flow: Flow) -> Permit:
        """What the line carries of it as it is now; takes the place."""
        lines = self._server.lines
        if allowed.stream == "main":
            if flow.stream == "main" and lines.within_cap(self._link):
                return allowed
            # What the line has made small stays so: as others come and go it would change with each of them.
            if flow.stream == "sub" and self._told != REDUCED and lines.widen(self._link, flow):
                return allowed
            allowed = Permit("sub", REDUCED)
        lines.reduce(flow)
        return allowed


def _json(reason: Reason | None) -> dict[str, object] | None:
    return reason.as_json() if reason is not None else None
