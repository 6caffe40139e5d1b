"""The clock of the relay goes back when the machine's was ahead and is right again; leases that would gain by it end.

A lease is dated by the clock of who grants it. What was dated while that was ahead would last so much longer, once it
goes back: it ends then, on either side, cache and all. It is the same for leases dated ahead of now that a relay finds,
which did not run when its machine's clock was set back. Nothing goes back on the word of a clock alone: the kernel, the
store or a linked node must vouch for it (`storage.clock_trust`). Until then this node is early with every end, and
never late.

Belongs here: the order of steps and the rows. Does not belong here: the clock (`tiering.steady`), the evidence
(`gateway.ops.clock_evidence`), telling the other node (`gateway.relay.keeping`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection

from config.errors import TiergateError
from config.reasons import Reason
from storage.audit import log as audit
from storage.catalog import leases
from storage.catalog.engine import Catalog
from storage.catalog.leases import LeaseRow
from storage.clock_trust import ClockEvidence, judge_clock
from tiering.lease import from_document
from tiering.signing import SKEW_MS
from tiering.steady import SetBack, SteadyClock

WHY = "clock_set_back"
AHEAD_MS = 2 * SKEW_MS  #: of now: further apart two nodes do not understand each other
_log = logging.getLogger(__name__)


class SettingBack:
    """`ended` hears of each held lease that ends."""

    def __init__(
        self,
        catalog: Catalog,
        clock: SteadyClock,
        evidence: Callable[[], ClockEvidence],
        ended: Callable[[str, Reason], None],
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._evidence = evidence
        self._ended = ended
        self._refused: str | None = None  #: why it did not go back when last it could have

    async def look(self) -> None:
        """Goes back, if it has to and may, and ends what is dated ahead of now."""
        back = self._clock.set_back()
        if back is None:
            await self._end_dated_ahead()
        elif await self._is_right():
            await self._end(back)
            self._clock.follow(back)  # what was being written meanwhile is dated ahead now: the next look ends it
            _log.warning("the clock went back", extra={"from_ms": back.from_ms, "to_ms": back.to_ms})

    async def _end_dated_ahead(self) -> None:
        now_ms = self._clock.now_ms()
        ahead = SetBack(now_ms, now_ms, now_ms + AHEAD_MS, 0)
        if await self._catalog.aread(partial(_outliving, back=ahead)) and await self._is_right():
            await self._end(ahead)

    async def _is_right(self) -> bool:
        trust = judge_clock(await asyncio.to_thread(self._evidence), None, None)
        refused = None if trust.trusted else trust.reason.code
        if refused is not None and refused != self._refused:
            _log.warning("the clock was set back, and nobody says that it is right", extra={"code": refused})
        self._refused = refused
        return trust.trusted

    async def _end(self, back: SetBack) -> None:
        for row in await self._catalog.awrite(partial(_end, back=back)):
            if row.side == "held":
                self._ended(row.id, Reason("tier.lease_ended"))


def _outliving(connection: Connection, back: SetBack) -> list[LeaseRow]:
    return [row for row in leases.open_(connection, back.to_ms) if back.outlives(_issued_ms(row))]


def _issued_ms(row: LeaseRow) -> int:
    """A renewal has a document of its own."""
    try:
        return max(row.issued_ms, from_document(row.document).issued_ms)
    except TiergateError:
        return row.issued_ms  # it was altered, and is no lease


def _end(connection: Connection, back: SetBack) -> list[LeaseRow]:
    """Them, as they were."""
    found = _outliving(connection, back)
    for row in found:
        leases.end(connection, row.id, row.side, back.to_ms, WHY, back.to_ms)
        details = {"reason": WHY, "side": row.side, "from_ms": back.from_ms, "to_ms": back.to_ms}
        audit.append(connection, back.to_ms, "system:relay", "lease.end", row.id, details)
    return found
