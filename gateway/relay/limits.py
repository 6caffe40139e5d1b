"""How often a linked node may call (FAULTS S15, S23): a signature says who asks, not that it means well.

Each link has a bucket for each kind of call, the same arithmetic as of people and tokens (`gateway.buckets`). What
an honest node does stays far below. Belongs here: the kinds and their bounds. Does not belong here: how many bytes go
(`tiering.quota`, `tiering.lines`), how many leases (`tiering.lease`).
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from config.clock import Clock
from config.errors import Kind, TiergateError
from gateway.access.networks import network_of
from gateway.buckets import Buckets
from storage.catalog.links import LinkRow

CALLERS = 10_000

#: `written`: leaves an entry in the audit log, granted or refused: leases, notices, purge statements, certificates.
#: `heads`: the same, and the store is asked what was signed last. `asked`: all others but pictures, which are paced.
#: `pairing`: an invitation, by a stranger.
Of = Literal["heads", "written", "asked", "pairing"]

HEADS_PER_S, HEADS_BURST_S = 1 / 60, 1200.0  #: 20 at once; once an hour; each minute as long as it does not succeed
WRITTEN_PER_S, WRITTEN_BURST_S = 0.5, 240.0  #: 120 at once: all purge statements of a day, an emergency's many leases
ASKED_PER_S, ASKED_BURST_S = 50.0, 20.0
PAIRING_PER_S, PAIRING_BURST_S = 0.2, 100.0  #: 20 at once: all nodes below a city may come from one address


class LinkLimits:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[Of, Buckets] = {
            "heads": Buckets(HEADS_PER_S, HEADS_BURST_S, CALLERS),
            "written": Buckets(WRITTEN_PER_S, WRITTEN_BURST_S, CALLERS),
            "asked": Buckets(ASKED_PER_S, ASKED_BURST_S, CALLERS),
            "pairing": Buckets(PAIRING_PER_S, PAIRING_BURST_S, CALLERS),
        }
        self.refused = Counter[str](dict.fromkeys(map(label, self._buckets), 0))  #: since the process began

    def call(self, of: Of, link: LinkRow) -> None:
        """One call over `link`. Raises web.too_many_requests."""
        self._take(of, link.id)

    def stranger(self, host: str) -> None:
        """One call to redeem an invitation. Raises web.too_many_requests."""
        self._take("pairing", network_of(host))

    def _take(self, of: Of, caller: str) -> None:
        wait_ns = self._buckets[of].take(caller, self._clock.monotonic_ns())
        if wait_ns:
            self.refused[label(of)] += 1
            raise TiergateError(Kind.RATE_LIMITED, "web.too_many_requests", seconds=-(-wait_ns // 1_000_000_000))


def label(of: Of) -> str:
    """In the metric of refused requests, beside those of people and tokens."""
    return f"node_{of}"
