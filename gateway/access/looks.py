"""A look: one person, one camera, one function, from the decision to the closed register row (invariant I7).

``async with looks.open(principal, Function.LIVE, camera_id, …) as look`` decides, writes the register row before it
returns, re-decides whenever the catalog moves and at least each 5 s, and closes the row at the end. Whoever sends bytes
races its own waiting against `look.ended` and stops when it is set. Every byte of media that leaves passes under one.
A right that is gone ends what runs on it within `RELOAD_S`, even where no notice of the change comes: rights are read
anew so early that a reading of `REVIEW_S` is over by then. A catalog that takes longer delays what is new in it alone;
by what is known looks are decided at each tick meanwhile.
Where the grant allows only so many pictures at once, they are counted in the transaction that writes the row.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypedDict, TypeVar, Unpack

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from config.clock import Clock, wall_ms
from config.errors import Kind, TiergateError
from config.reasons import Reason
from gateway.access import resources
from gateway.access.principals import Principals, key_of
from gateway.access.purposes import REASON_MINIMUM
from gateway.access.register import Entry, Registers, under_lease
from gateway.access.watch import CatalogWatch
from gateway.ops.tasks import alongside
from storage.audit import log as audit
from storage.catalog.engine import Catalog
from storage.use_view import REFUSED
from tiering.access import MEDIA, CameraResource, Decision, Facts, Function, Principal, Stream, decide

TICK_S = 1.0
PAUSE_S = TICK_S / 4  #: a busy catalog moves all the time: not more than four reviews a second
RELOAD_S = 5.0  #: rights that are gone, moved stamp or not, have ended their looks within this (I7)
REVIEW_S = 1.0  #: what reading and deciding may take for that
_READ_AGAIN_S = RELOAD_S - REVIEW_S - PAUSE_S  #: from one reading's begin to the next's
REFUSED_S = 60.0  #: the same person, camera and function refused again within this long is no new entry
MOST_REFUSED = 10_000
BLIND_S = 60.0  #: looks go on this long on what was last known while the catalog cannot be read
_log = logging.getLogger(__name__)

T = TypeVar("T")


def refuse(decision: Decision) -> TiergateError:
    """404 for what is not in the caller's catalogue, 403 with the reason for what is, 429 for one picture too many."""
    kind = Kind.RATE_LIMITED if decision.too_many else Kind.FORBIDDEN if decision.visible else Kind.NOT_FOUND
    return TiergateError(kind, decision.reason.code, **decision.reason.params)


class Asked(TypedDict, total=False):
    """What a caller says of a look besides whom, what and which camera."""

    stream: Stream
    from_ms: int | None
    to_ms: int | None
    purpose: str
    reason: str
    case_no: str | None
    client: str | None
    watermark: bool | None
    unmarked: bool
    lease_id: str | None


class Look:
    """One running look. `ended` is set when it must stop; `end_reason` says why: ended, expired, revoked, error."""

    def __init__(
        self, principal: Principal, function: Function, camera: CameraResource, facts: Facts, constraints: Decision
    ) -> None:
        self.principal = principal
        self.function = function
        self.camera = camera
        self.facts = facts
        self.constraints = constraints  #: max_stream, until_ms, lease_id of the latest decision
        self.register_id = ""
        self.bytes_sent = 0
        self.ended = asyncio.Event()
        self.end_reason: str | None = None
        self.reason: Reason | None = None  #: words for the viewer when it was cut

    def add_bytes(self, count: int) -> None:
        self.bytes_sent += count

    def end(self, why: str, reason: Reason | None = None) -> None:
        """The first reason stays."""
        if self.end_reason is None:
            self.end_reason, self.reason = why, reason
        self.ended.set()


class Looks:
    """All looks of this process."""

    def __init__(
        self, catalog: Catalog, clock: Clock, principals: Principals, registers: Registers, watch: CatalogWatch
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._principals = principals
        self._registers = registers
        self._watch = watch
        self._open: set[Look] = set()
        self._unread: set[Look] = set()  #: came since rights were last read: what they rest on may be older
        self._refused_ns: dict[tuple[str, Function, str], int] = {}
        self._loaded_ns = 0
        self._stamp = -1

    @property
    def running(self) -> frozenset[Look]:
        return frozenset(self._open)

    async def decide(
        self,
        principal: Principal,
        function: Function,
        camera_id: str,
        *,
        stream: Stream | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
        purpose: str = "daily_watch",
        client: str | None = None,
        opened_ms: int | None = None,
        original: bool = False,
        unmarked: bool = False,
        lease_id: str | None = None,
    ) -> tuple[CameraResource, Decision]:
        """The decision alone, without a register row. Raises NOT_FOUND or FORBIDDEN with the reason; that somebody
        asked for pictures and was refused stands in the audit log."""
        facts = Facts(
            stream, from_ms, to_ms, purpose, client, opened_ms, original=original, unmarked=unmarked, lease_id=lease_id
        )
        now_ms = wall_ms(self._clock)
        found = await self._catalog.aread(lambda c: resources.load(c, [camera_id], now_ms))
        camera = found.get(camera_id)
        decision = decide(principal, function, camera, now_ms, facts)
        if camera is None or not decision.allow:
            if camera is not None and function in MEDIA:
                await self._note_refused(principal, function, camera, decision, purpose, now_ms)
            raise refuse(decision)
        return camera, decision

    async def _note_refused(
        self,
        principal: Principal,
        function: Function,
        camera: CameraResource,
        decision: Decision,
        purpose: str,
        now_ms: int,
    ) -> None:
        """Once a minute for the same, so that no client fills the log; without a catalog the refusal stands alone."""
        key, now_ns = (principal.actor, function, camera.id), self._clock.monotonic_ns()
        if now_ns - self._refused_ns.get(key, -(1 << 62)) < REFUSED_S * 1e9:
            return
        if len(self._refused_ns) >= MOST_REFUSED:
            self._refused_ns.clear()
        self._refused_ns[key] = now_ns
        details = {
            "unit": principal.unit,
            "person": principal.name,
            "viewer": principal.kind if principal.wall is None else "wall",
            "pictures": camera.origin,
            "purpose": purpose[:30],
            "function": function.value,
            "code": decision.reason.code,
        }
        try:
            await self._catalog.awrite(lambda c: audit.append(c, now_ms, principal.actor, REFUSED, camera.id, details))
        except SQLAlchemyError:
            _log.warning("a refusal cannot be written down", extra={"code": decision.reason.code})

    async def require_visible(self, principal: Principal, camera_id: str) -> CameraResource:
        """The camera, when it is in the caller's catalogue for whatever function. Raises NOT_FOUND."""
        now_ms = wall_ms(self._clock)
        camera = (await self._catalog.aread(lambda c: resources.load(c, [camera_id], now_ms))).get(camera_id)
        decision = decide(principal, Function.CATALOG, camera, now_ms)
        if camera is None or not decision.visible:
            raise refuse(decision)
        return camera

    async def begin(
        self,
        principal: Principal,
        function: Function,
        camera_id: str,
        *,
        stream: Stream = "main",
        from_ms: int | None = None,
        to_ms: int | None = None,
        purpose: str = "daily_watch",
        reason: str = "",
        case_no: str | None = None,
        client: str | None = None,
        watermark: bool | None = None,
        unmarked: bool = False,
        lease_id: str | None = None,
    ) -> Look:
        """A look whose register row stands. Whoever begins one reviews it and closes the row: `open`, a session path.

        `watermark` of an export: whether the person's name is burnt in. `unmarked`: nobody's name will be laid over the
        live picture. `lease_id` of a node: the lease under which it asks. Raises NOT_FOUND, FORBIDDEN, RATE_LIMITED
        when as many pictures are open as the grant allows at once, or UNAVAILABLE when the register cannot be written:
        then there is no picture. Raises INVALID when footage is shown to a person concerned without the number and
        words of their request (Order 799 art. 21).
        """
        opened_ms, original = wall_ms(self._clock), watermark is False
        camera, decision = await self.decide(
            principal, function, camera_id, stream=stream, from_ms=from_ms, to_ms=to_ms, purpose=purpose,
            client=client, opened_ms=opened_ms, original=original, unmarked=unmarked, lease_id=lease_id,
        )  # fmt: skip
        if purpose == "person_request" and (not case_no or len(reason.strip()) < REASON_MINIMUM):
            raise TiergateError(Kind.INVALID, "access.request_record", minimum=REASON_MINIMUM)
        facts = Facts(
            stream, from_ms, to_ms, purpose, client, opened_ms, original=original, unmarked=unmarked, lease_id=lease_id
        )
        look = Look(principal, function, camera, facts, decision)
        entry = Entry(
            principal=principal,
            camera_id=camera_id,
            stream=stream,
            function=function,
            from_ms=from_ms,
            to_ms=to_ms,
            purpose=purpose,
            reason=reason,
            case_no=case_no,
            client=client,
            watermark=watermark,
        )

        def admit(open_looks: Mapping[str, int]) -> tuple[str, ...]:
            again = decide(principal, function, camera, opened_ms, replace(facts, open_looks=open_looks))
            if not again.allow:
                raise refuse(again)
            return again.counted_under

        look.register_id = await self._registers.open(
            under_lease(entry, camera.lease(decision.lease_id)), admit if decision.counted_under else None
        )
        return look

    @contextlib.asynccontextmanager
    async def open(
        self,
        principal: Principal,
        function: Function,
        camera_id: str,
        **asked: Unpack[Asked],
    ) -> AsyncIterator[Look]:
        """A look that is re-decided while it lasts; its row is closed at the end. Raises as `begin`."""
        look = await self.begin(principal, function, camera_id, **asked)
        self.attach(look)
        try:
            yield look
        except asyncio.CancelledError:
            look.end("ended")
            raise
        except BaseException:
            look.end("error")
            raise
        finally:
            look.end("ended")
            self.detach(look)
            await asyncio.shield(self._registers.close(look.register_id, look.end_reason or "ended", look.bytes_sent))

    def attach(self, look: Look) -> None:
        """From now on reviewed by the shared task. For looks whose register row is kept elsewhere (session paths)."""
        self._open.add(look)
        self._unread.add(look)

    def detach(self, look: Look) -> None:
        self._open.discard(look)
        self._unread.discard(look)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Runs the shared task that ends looks; wraps the life of the process."""
        async with alongside(self._run(), "looks"):
            try:
                yield
            finally:
                for look in self.running:
                    look.end("ended")

    async def _run(self) -> None:
        while True:
            await self._watch.wait(self._stamp, min(TICK_S, self._read_again_in_s()))
            try:
                await self.review()
            except Exception:
                _log.exception("running looks cannot be re-decided")
                self._end_when_blind()
            await asyncio.sleep(PAUSE_S)

    def _read_again_in_s(self) -> float:
        return max(0.0, _READ_AGAIN_S - (self._clock.monotonic_ns() - self._loaded_ns) / 1e9)

    async def review(self) -> None:
        """Re-decides every running look; rights are read again when the catalog moved, when a look came, and before
        those that were read are 5 s old."""
        now_ns, stamp, open_looks = self._clock.monotonic_ns(), self._watch.stamp, list(self._open)
        if not open_looks:
            self._stamp, self._loaded_ns = stamp, now_ns
            return
        if stamp != self._stamp or self._unread or self._read_again_in_s() == 0:
            now_ms = wall_ms(self._clock)
            wanted = list({key_of(look.principal): look.principal for look in open_looks}.values())
            cameras = sorted({look.camera.id for look in open_looks})
            principals, found = await self._read(
                lambda c: (self._principals.reload(c, wanted, now_ms), resources.load(c, cameras, now_ms))
            )
            self._stamp, self._loaded_ns = stamp, now_ns
            self._unread.difference_update(open_looks)
            for look in open_looks:
                fresh, camera = principals.get(key_of(look.principal)), found.get(look.camera.id)
                if fresh is None or camera is None:
                    _cut(look, wall_ms(self._clock))
                    continue
                look.principal, look.camera = fresh, camera
        self._decide_again(open_looks)

    async def _read(self, query: Callable[[Connection], T]) -> T:
        """While the catalog takes its time, looks are decided by what is known: no expiry waits for it."""
        reading = asyncio.ensure_future(self._catalog.aread(query))
        try:
            while not (await asyncio.wait({reading}, timeout=TICK_S))[0]:
                self._end_when_blind()
            return reading.result()
        finally:
            reading.cancel()

    def _decide_again(self, looks: Iterable[Look]) -> None:
        now_ms = wall_ms(self._clock)
        for look in looks:
            if not look.ended.is_set():
                self._review_one(look, now_ms)

    def _review_one(self, look: Look, now_ms: int) -> None:
        decision = decide(look.principal, look.function, look.camera, now_ms, look.facts)
        if decision.allow:
            look.constraints = decision
        else:
            _cut(look, now_ms)

    def _end_when_blind(self) -> None:
        if self._clock.monotonic_ns() - self._loaded_ns < BLIND_S * 1e9:
            self._decide_again(self.running)
            return
        for look in self.running:
            look.end("error", Reason("access.register_away"))


def _cut(look: Look, now_ms: int) -> None:
    until_ms = look.constraints.until_ms
    why = "revoked" if until_ms is None or now_ms < until_ms else "expired"
    look.end(why, Reason(f"access.{why}"))
