"""The day's quota of a link: how many bytes of our pictures an upper node may be given in any 24 hours. (S15)

A lease bounds who sees what for how long, and the line budget how much at once; this bounds the sum, so that an upper
node in wrong hands cannot carry a town away one lawful lease after the other. It counts live and recorded bytes alike,
by the hour, in the catalog.

A byte is counted before it is sent: pieces of `AHEAD_BYTES` are taken from the quota, and what is sent comes out of the
piece in hand. A node that is killed has counted what it did not send, never the other way round. But live pictures do
not stop for a catalog that is away for a moment: they are owed, and counted as soon as it answers.

Belongs here: the count and the refusal. Does not belong here: how fast bytes go (`tiering.lines`), who may see which
camera (`tiering.lease`), the alarm (`gateway.ops.checks_catalog`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.units import DAY_MS, HOUR_MS, format_time_ms
from storage.audit import log as audit
from storage.catalog import links
from storage.catalog.engine import UNAVAILABLE, Catalog
from storage.catalog.links import LinkRow

AHEAD_BYTES = 16 << 20  #: 13 s of a whole 10 Mbit/s line: one commit for so much
FULL_BYTES = 1 << 20  #: with less than this left, the next picture may be refused
WAIT_S = 1.0  #: for the catalog, before live pictures are owed
AGAIN_S = 2.0  #: after which a catalog that did not take a piece is asked again
KEPT_MS = 35 * DAY_MS


def hour_of(now_ms: int) -> int:
    return now_ms // HOUR_MS * HOUR_MS


def counted(now_ms: int) -> tuple[int, int]:
    """Hours that begin between the two (exclusive) count at `now_ms`: each of which any part lies in the last 24 hours.

    Hours ahead count too, a day far: the clock may have been set back since.
    """
    return now_ms - DAY_MS - HOUR_MS, now_ms + DAY_MS + HOUR_MS


def room_again_ms(hours: Mapping[int, int]) -> int | None:
    """When the oldest of the counted bytes stop counting; None: none are counted, the quota itself is too small."""
    used = [hour_ms for hour_ms, count in hours.items() if count > 0]
    return min(used) + HOUR_MS + DAY_MS if used else None


def left(connection: Connection, link: LinkRow, now_ms: int) -> int:
    """Bytes that may still be given at `now_ms`; what a running relay has in hand counts as given."""
    return max(0, link.bytes_per_day - sum(links.carried(connection, link.id, *counted(now_ms)).values()))


@dataclass(slots=True)
class _InHand:
    hour_ms: int
    bytes: int


@dataclass(slots=True)
class _Filling:
    """A piece that is being taken, for as long as the catalog needs. Answers the refusal."""

    task: asyncio.Task[TiergateError | None]
    began_s: float


class Quota:
    def __init__(self, catalog: Catalog, now_ms: Callable[[], int]) -> None:
        self._catalog = catalog
        self._now_ms = now_ms
        self._in_hand: dict[str, _InHand] = {}
        self._owed: dict[str, int] = {}  #: link -> bytes that were sent and are not counted yet
        self._told: dict[str, int] = {}  #: link -> hour in which the audit log was told that it is full
        self._taking = asyncio.Lock()
        self._filling: dict[str, _Filling] = {}

    async def take(self, link: LinkRow, count: int) -> None:
        """Counts `count` bytes that are about to be sent; 0 asks whether any may be. Raises tier.day_full."""
        while not self._from_hand(link, count):
            await self._fill(link, count)

    async def take_or_owe(self, link: LinkRow, count: int, owing_s: float) -> None:
        """As `take`, for what must not wait: while the catalog does not answer it is owed. Raises access.register_away
        when that has lasted for `owing_s`."""
        loop = asyncio.get_running_loop()
        while not self._from_hand(link, count):
            filling = self._filling.get(link.id)
            if filling is None:
                task = asyncio.create_task(self._fill_in_time(link, count), name=f"quota-{link.id}")
                filling = self._filling[link.id] = _Filling(task, loop.time())
                await asyncio.wait({task}, timeout=WAIT_S)
            if not filling.task.done():
                if loop.time() - filling.began_s >= owing_s:
                    raise TiergateError(Kind.UNAVAILABLE, "access.register_away")
                self._owed[link.id] = self._owed.get(link.id, 0) + count
                return
            full = filling.task.result()
            if full is not None:
                raise full

    async def _fill_in_time(self, link: LinkRow, count: int) -> TiergateError | None:
        try:
            while True:
                try:
                    await self._fill(link, count)
                    return None
                except TiergateError as exc:
                    return exc
                except UNAVAILABLE:
                    await asyncio.sleep(AGAIN_S)
        finally:
            del self._filling[link.id]

    async def _fill(self, link: LinkRow, count: int) -> None:
        """Takes a piece in hand out of which `count` bytes can be sent. Raises tier.day_full."""
        async with self._taking:
            if self._holds(link, count):
                return
            now_ms = self._now_ms()
            rest, owed = self._in_hand.pop(link.id, None), self._owed.pop(link.id, 0)
            try:
                got = await self._catalog.awrite(lambda c: self._piece(c, link, count, rest, owed, now_ms))
            except UNAVAILABLE:
                if rest is not None:
                    self._in_hand[link.id] = rest
                self._owed[link.id] = self._owed.get(link.id, 0) + owed
                raise
            if isinstance(got, TiergateError):
                raise got
            self._in_hand[link.id] = _InHand(hour_of(now_ms), got)

    def _holds(self, link: LinkRow, count: int) -> bool:
        """What was taken in an hour that is over is not sent any more: it would count for less than a day."""
        hand = self._in_hand.get(link.id)
        return hand is not None and hand.hour_ms == hour_of(self._now_ms()) and hand.bytes >= max(count, 1)

    def _from_hand(self, link: LinkRow, count: int) -> bool:
        if not self._holds(link, count):
            return False
        self._in_hand[link.id].bytes -= count
        return True

    def _piece(
        self, connection: Connection, link: LinkRow, count: int, rest: _InHand | None, owed: int, now_ms: int
    ) -> int | TiergateError:
        """The refusal is a value: its line in the audit log, what was owed and the returned rest are committed."""
        if owed:
            links.carry(connection, link.id, hour_of(now_ms), owed)
        if rest is not None and rest.bytes:
            links.carry(connection, link.id, rest.hour_ms, -rest.bytes)
        fresh = links.get(connection, link.id) or link  # the limit as it is now
        room = left(connection, fresh, now_ms)
        if room < max(count, 1):
            return self._full(connection, fresh, now_ms)
        got = min(room, max(count, AHEAD_BYTES))
        links.carry(connection, link.id, hour_of(now_ms), got)
        links.forget_carried(connection, link.id, now_ms - KEPT_MS)
        return got

    def _full(self, connection: Connection, link: LinkRow, now_ms: int) -> TiergateError:
        again_ms = room_again_ms(links.carried(connection, link.id, *counted(now_ms)))
        if self._told.get(link.id) != hour_of(now_ms):
            self._told[link.id] = hour_of(now_ms)
            details = {"peer": link.peer_name, "bytes_per_day": link.bytes_per_day}
            audit.append(connection, now_ms, "system:relay", "link.quota_full", link.id, details)
        at = format_time_ms(again_ms, local=True) if again_ms is not None else "–"
        return TiergateError(Kind.RATE_LIMITED, "tier.day_full", limit_mb=link.bytes_per_day // 1_000_000, at=at)

    async def give_back(self) -> None:
        """What is in hand was not sent, and what is owed was; for the end of the process."""
        filling = [one.task for one in self._filling.values()]
        for task in filling:
            task.cancel()
        await asyncio.gather(*filling, return_exceptions=True)
        hands, self._in_hand = self._in_hand, {}
        owed, self._owed = self._owed, {}
        hour_ms = hour_of(self._now_ms())

        def change(connection: Connection) -> None:
            for link_id, hand in hands.items():
                links.carry(connection, link_id, hand.hour_ms, -hand.bytes)
            for link_id, count in owed.items():
                links.carry(connection, link_id, hour_ms, count)

        if hands or owed:
            await self._catalog.awrite(change)
