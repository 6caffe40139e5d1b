"""The lines upward as they are used now: which live streams go up each link, and pacing of recorded bytes beside them.

Plain memory of one process (the relay), rebuilt by nothing: after a restart no stream runs.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from config.errors import Kind, TiergateError
from config.reasons import Reason
from storage.catalog.links import LinkRow
from tiering.budget import Admission, Line, admit, fits, range_rate_bps

PIECE_BYTES = 64 * 1024
#: Bytes that go before a reader's may take this long and no longer. Whoever reads gives up after 30 s: a place further
#: behind would be held for somebody who has gone and comes again, and in the end the line would carry nothing else.
QUEUE_MAX_S = 20.0


@dataclass(eq=False, slots=True)
class Flow:
    """One live stream on a line."""

    lease_id: str
    camera: str
    stream: str


@dataclass(slots=True)
class _Use:
    flows: list[Flow] = field(default_factory=list)
    free_at_s: float = 0.0  #: when the bytes that may go already will have left at the permitted rate
    going_bytes: int = 0  #: those
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  #: whose bytes go next; who waits stands in order
    waiting_bytes: int = 0


class Lines:
    def __init__(self, max_main: int, max_sub: int) -> None:
        self._caps = (max_main, max_sub)
        self._uses: dict[str, _Use] = {}

    def line(self, link: LinkRow) -> Line:
        return Line(link.capacity_bps, link.kind, *self._caps)

    def flows(self, link_id: str) -> tuple[Flow, ...]:
        return tuple(self._use(link_id).flows)

    def _use(self, link_id: str) -> _Use:
        return self._uses.setdefault(link_id, _Use())

    def enter(self, link: LinkRow, lease_id: str, camera: str, wanted: str) -> tuple[Flow, Reason | None]:
        """Takes a place; the reason says why it is a lesser one. Raises tier.line_full."""
        use = self._use(link.id)
        admission: Admission = admit(self.line(link), [f.stream for f in use.flows], wanted)
        if admission.stream is None:
            reason = admission.reason
            params = dict(reason.params) if reason is not None else {}
            raise TiergateError(Kind.RATE_LIMITED, "tier.line_full", **params)
        flow = Flow(lease_id, camera, admission.stream)
        use.flows.append(flow)
        return flow, admission.reason

    def leave(self, link: LinkRow, flow: Flow) -> None:
        flows = self._use(link.id).flows
        if flow in flows:
            flows.remove(flow)

    def reduce(self, flow: Flow) -> None:
        """A running main becomes sub: it needs less than it has."""
        flow.stream = "sub"

    def widen(self, link: LinkRow, flow: Flow) -> bool:
        """A running sub becomes main again, where the line has room for it."""
        others = [f.stream for f in self._use(link.id).flows if f is not flow]
        if not fits(self.line(link), [*others, "main"]):
            return False
        flow.stream = "main"
        return True

    def within_cap(self, link: LinkRow) -> bool:
        return fits(self.line(link), [f.stream for f in self._use(link.id).flows])

    def surplus(self, link: LinkRow, flow: Flow) -> Reason | None:
        """Why a running stream must go from a line that was made narrower: it came last, and all are small already."""
        streams = [f.stream for f in self._use(link.id).flows]
        if self._use(link.id).flows[-1:] != [flow] or "main" in streams or fits(self.line(link), streams):
            return None
        return admit(self.line(link), streams[:-1], "sub").reason

    def _range_rate_bps(self, link: LinkRow) -> int:
        return range_rate_bps(self.line(link), [f.stream for f in self._use(link.id).flows])

    def queue_s(self, link: LinkRow) -> float:
        """How long recorded bytes that come now wait for those before them, as the line is used now."""
        use, rate_bps = self._use(link.id), self._range_rate_bps(link)
        if rate_bps <= 0:
            return math.inf
        now_s = asyncio.get_running_loop().time()
        # However slow the line was when they were let go: at its rate of now they take no longer than this.
        use.free_at_s = min(use.free_at_s, now_s + use.going_bytes * 8 / rate_bps)
        return max(0.0, use.free_at_s - now_s) + use.waiting_bytes * 8 / rate_bps

    async def pace(self, link: LinkRow, count: int) -> bool:
        """Returns when `count` more recorded bytes may go: first come, first served, at the rate that live streams
        leave. Whether they had to wait. A reader that is cancelled gives its place to those behind.

        Raises tier.line_busy, saying when to come again, where `QUEUE_MAX_S` would not be enough, and tier.line_full
        where the line carries nothing upward.
        """
        over_s = self.queue_s(link) - QUEUE_MAX_S
        if over_s == math.inf:
            raise TiergateError(Kind.RATE_LIMITED, "tier.line_full", needed_kbps=1, available_kbps=0)
        if over_s > 0:
            raise TiergateError(Kind.RATE_LIMITED, "tier.line_busy", seconds=math.ceil(over_s))
        use, loop = self._use(link.id), asyncio.get_running_loop()
        waits = use.turn.locked() or use.free_at_s > loop.time()
        use.waiting_bytes += count
        try:
            async with use.turn:
                begin_s = max(loop.time(), use.free_at_s)
                if begin_s > loop.time():
                    await asyncio.sleep(begin_s - loop.time())
                use.free_at_s = begin_s + count * 8 / max(1, self._range_rate_bps(link))
                use.going_bytes = count
        finally:
            use.waiting_bytes -= count
        return waits
