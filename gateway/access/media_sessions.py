"""Session paths ``/m/<128 bit>/…``: the one way by which a URL carries a right (FAULTS S3).

A path opens one camera, one function, one window, for one principal; it is a look with one register row, whichever
web process serves its pieces. `check` before every answer; a long answer also races `look.ended`. Idle, it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
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
    known_bytes: int | None = None  #: in the register, of all processes, as far as this one knows
    over: bool = False  #: the viewer said so, which is true of the whole path whoever heard it
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)


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
            await asyncio.shield(self._registers.close(look.register_id, "error", 0))
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
        """The viewer is done: row and path are closed, whichever process made them. Another one that serves the path
        hears it at its next `tend`."""
        held = self._held.get(hash_of(secret))
        if held is not None:
            held.over = True
            held.look.end("ended")
            await asyncio.shield(self._settle(held))

    @contextlib.asynccontextmanager
    async def tending(self) -> AsyncIterator[None]:
        try:
            async with alongside(self._run(), "media-sessions"):
                yield
        finally:
            for held in self._held.values():
                held.look.end("ended")
            await self._tend_once()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            await self._tend_once()

    async def _tend_once(self) -> None:
        try:
            await self.tend()
        except Exception:
            _log.exception("session paths cannot be tended")

    async def tend(self) -> None:
        """Writes bytes down; ends what is idle, expired, cut, or over by the word of another process."""
        now_ns, now_ms = self._clock.monotonic_ns(), wall_ms(self._clock)
        for held in self._held.values():
            if now_ms >= held.row.expires_ms:
                held.look.end("expired")
        await self._hear(now_ns)
        for held in list(self._held.values()):
            if now_ns - held.used_ns >= IDLE_S * 1e9:
                held.look.end("ended")
            await self._settle(held)

    async def _hear(self, now_ns: int) -> None:
        """What other processes say of the paths: ended, or in use, for whoever opened one may serve none of it."""
        hashes = list(self._held)
        if not hashes:
            return
        for id_hash, (ended_ms, sent_bytes) in (
            await self._catalog.aread(lambda c: sessions.media_progress(c, hashes))
        ).items():
            held = self._held.get(id_hash)
            if held is None:
                continue
            if ended_ms is not None:
                held.look.end("ended")
            if held.known_bytes not in (None, sent_bytes):
                held.used_ns = now_ns
            held.known_bytes = sent_bytes

    async def _settle(self, held: _Held) -> None:
        """Bytes and end of one path in one transaction; one settling at a time, so that nothing is counted twice."""
        async with held.settling:
            look = held.look
            if self._held.get(held.row.id_hash) is not held or self._registers.waits(held.row.register_id):
                return
            fresh, ended = look.bytes_sent - held.flushed_bytes, look.ended.is_set()
            if fresh or ended:
                await self._catalog.awrite(_change(held, fresh, ended, wall_ms(self._clock)))
            held.flushed_bytes += fresh
            held.known_bytes = (held.known_bytes or 0) + fresh
            if ended:
                self._looks.detach(look)
                del self._held[held.row.id_hash]


def _change(held: _Held, fresh_bytes: int, ended: bool, now_ms: int) -> Callable[[Connection], None]:
    """The opener closes the row; another one only what is over for the whole path: cut, or the viewer is done."""
    result = held.look.end_reason or "ended"
    closes = ended and (held.opener or held.over or result != "ended")

    def change(connection: Connection) -> None:
        if fresh_bytes:
            register.add_bytes(connection, held.row.register_id, fresh_bytes)
        if closes:
            register.finish(connection, held.row.register_id, now_ms, result)
            sessions.end_media_session(connection, held.row.id_hash, now_ms)

    return change
