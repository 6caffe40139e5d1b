"""Session paths ``/m/<128 bit>/…``: the one way by which a URL carries a right (FAULTS S3).

A path opens one camera, one function, one window, for one principal; it is a look with one register row, whichever
web process serves its pieces. `check` before every answer; a long answer also races `look.ended`. Idle, it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Unpack

from sqlalchemy import Connection

from config.clock import Clock, wall_ms
from config.errors import Kind, TiergateError
from gateway.access import resources
from gateway.access.ids import fresh_secret, hash_of
from gateway.access.looks import Asked, Look, Looks, refuse
from gateway.access.principals import Principals
from gateway.access.register import Registers
from gateway.ops.tasks import alongside
from storage.catalog import register, sessions
from storage.catalog.engine import Catalog
from storage.catalog.sessions import MediaSessionRow
from tiering.access import Facts, Function, Principal, Stream, decide

LIFETIME_MS = 4 * 3_600_000
IDLE_S = 15 * 60
FLUSH_S = 5.0
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    look: Look
    row: MediaSessionRow
    used_ns: int
    opener: bool  #: this process made it and closes its register row
    flushed_bytes: int = 0


class MediaSessions:
    def __init__(
        self, catalog: Catalog, clock: Clock, principals: Principals, looks: Looks, registers: Registers
    ) -> None:
        self._principals = principals
        self._catalog = catalog
        self._clock = clock
        self._looks = looks
        self._registers = registers
        self._held: dict[bytes, _Held] = {}

    async def open(
        self,
        principal: Principal,
        function: Function,
        camera_id: str,
        **asked: Unpack[Asked],
    ) -> tuple[str, Look]:
        """(the path's secret, its look). Raises as `Looks.begin`."""
        look = await self._looks.begin(principal, function, camera_id, **asked)
        facts = look.facts
        # A rolling look-back counts from here in every process that takes the path up.
        now_ms = facts.opened_ms or wall_ms(self._clock)
        secret = fresh_secret(16)
        ends = [t for t in (principal.expires_ms, now_ms + LIFETIME_MS) if t is not None]
        row = MediaSessionRow(
            hash_of(secret), principal.as_json() | {"client": facts.client, "purpose": facts.purpose}, camera_id,
            facts.stream or "main", function.value, facts.from_ms, facts.to_ms, look.constraints.lease_id,
            look.register_id, now_ms, min(ends),
        )  # fmt: skip
        try:
            await self._catalog.awrite(lambda c: sessions.add_media_session(c, row))
        except BaseException:
            await self._registers.close(look.register_id, "error", 0)
            raise
        self._hold(row, look, opener=True)
        return secret, look

    def holder(self, secret: str) -> Principal | None:
        """For whom this process serves a path; None: it serves no such path yet."""
        held = self._held.get(hash_of(secret))
        return None if held is None else held.look.principal

    async def check(self, secret: str, client: str | None = None) -> Look:
        """The running look of a path. Raises NOT_FOUND for an unknown or ended one, else as the decision says.

        With `client`, a path that was opened from another address is unknown: a copied address opens nothing.
        """
        id_hash = hash_of(secret)
        held = self._held.get(id_hash)
        if held is None:
            held = await self._adopt(id_hash)
        if client is not None and held.row.principal.get("client") not in (None, client):
            raise TiergateError(Kind.NOT_FOUND, "access.not_found")
        now_ms = wall_ms(self._clock)
        if now_ms >= held.row.expires_ms:
            held.look.end("expired")
        if held.look.ended.is_set():
            why = held.look.end_reason
            raise TiergateError(Kind.UNAUTHENTICATED, "access.expired" if why == "expired" else "access.revoked")
        held.used_ns = self._clock.monotonic_ns()
        return held.look

    async def _adopt(self, id_hash: bytes) -> _Held:
        """A path that another process of this node opened."""
        now_ms = wall_ms(self._clock)
        row = await self._catalog.aread(lambda c: sessions.media_session_by_hash(c, id_hash))
        if row is None or row.ended_ms is not None or now_ms >= row.expires_ms:
            raise TiergateError(Kind.NOT_FOUND, "access.not_found")
        principal, found = await self._catalog.aread(
            lambda c: (self._principals.again(c, row.principal, now_ms), resources.load(c, [row.camera_id], now_ms))
        )
        stream: Stream = "main" if row.stream == "main" else "sub"
        purpose, client = row.principal["purpose"], row.principal["client"]
        facts = Facts(stream, row.from_ms, row.to_ms, purpose, client, row.created_ms)
        function, camera = Function(row.function), found.get(row.camera_id)
        decision = decide(principal, function, camera, now_ms, facts)
        if camera is None or not decision.allow:
            raise refuse(decision)
        look = Look(principal, function, camera, facts, decision)
        look.register_id = row.register_id
        return self._hold(row, look, opener=False)

    def _hold(self, row: MediaSessionRow, look: Look, opener: bool) -> _Held:
        held = self._held.setdefault(row.id_hash, _Held(look, row, self._clock.monotonic_ns(), opener))
        self._looks.attach(held.look)
        return held

    async def end(self, secret: str) -> None:
        """The viewer is done."""
        held = self._held.get(hash_of(secret))
        if held is not None:
            held.look.end("ended")
            await self.tend()

    @contextlib.asynccontextmanager
    async def tending(self) -> AsyncIterator[None]:
        try:
            async with alongside(self._run(), "media-sessions"):
                yield
        finally:
            for held in self._held.values():
                held.look.end("ended")
            with contextlib.suppress(Exception):
                await self.tend()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.tend()
            except Exception:
                _log.exception("session paths cannot be tended")

    async def tend(self) -> None:
        """Writes bytes down; ends what is idle, expired or cut."""
        now_ns, now_ms = self._clock.monotonic_ns(), wall_ms(self._clock)
        for id_hash, held in list(self._held.items()):
            look = held.look
            if now_ms >= held.row.expires_ms:
                look.end("expired")
            elif now_ns - held.used_ns >= IDLE_S * 1e9:
                look.end("ended")
            fresh = look.bytes_sent - held.flushed_bytes
            if fresh:
                await self._catalog.awrite(_add(held.row.register_id, fresh))
                held.flushed_bytes += fresh
            if look.ended.is_set():
                await self._catalog.awrite(_finish(held, now_ms))
                self._looks.detach(look)
                del self._held[id_hash]


def _add(register_id: str, count: int) -> Callable[[Connection], None]:
    return lambda connection: register.add_bytes(connection, register_id, count)


def _finish(held: _Held, now_ms: int) -> Callable[[Connection], None]:
    """The opener closes the row; another process closes only what was cut, for that is true of the whole path."""

    def change(connection: Connection) -> None:
        result = held.look.end_reason or "ended"
        if held.opener or result != "ended":
            register.finish(connection, held.row.register_id, now_ms, result)
            sessions.end_media_session(connection, held.row.id_hash, now_ms)

    return change
