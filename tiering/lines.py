"""The lines upward as they are used now: which live streams go up each link, and pacing of recorded bytes beside them.

Plain memory of one process (the relay), rebuilt by nothing: after a restart no stream runs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from config.errors import Kind, TiergateError
from config.reasons import Reason
from storage.catalog.links import LinkRow
from tiering.budget import Admission, Line, admit, fits, range_rate_bps

PIECE_BYTES = 64 * 1024


@dataclass(eq=False, slots=True)
class Flow:
    """One live stream on a line."""

    lease_id: str
    camera: str
    stream: str


@dataclass(slots=True)
class _Use:
    flows: list[Flow] = field(default_factory=list)
    free_at_s: float = 0.0  #: when the bytes sent so far will have left at the permitted rate


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

    def within_cap(self, link: LinkRow) -> bool:
        return fits(self.line(link), [f.stream for f in self._use(link.id).flows])

    async def pace(self, link: LinkRow, count: int) -> None:
        """Returns when `count` more recorded bytes may go. Concurrent readers share one account."""
        use = self._use(link.id)
        rate = max(1, range_rate_bps(self.line(link), [f.stream for f in use.flows]))
        now_s = asyncio.get_running_loop().time()
        begin_s = max(now_s, use.free_at_s)
        use.free_at_s = begin_s + count * 8 / rate
        if begin_s > now_s:
            await asyncio.sleep(begin_s - now_s)
