"""Token buckets, one per caller, bounded in number. (pure)

A bucket is kept as the moment at which it will be full again (GCRA): one number, no timer, and a caller who has been
quiet long enough looks like one who never came. Belongs here: the arithmetic. Does not belong here: who counts as a
caller and how much one may ask (`gateway.web.limits`, `gateway.relay.limits`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable


class Buckets:
    """`per_s` requests a second of each caller, and so many at once as would come in `burst_s` seconds.

    At most `most` callers are remembered. Beyond, the one that was quiet longest is forgotten, which gives him at most
    one full bucket.
    """

    def __init__(self, per_s: float, burst_s: float, most: int) -> None:
        self._cost_ns = round(1e9 / per_s)
        self._burst_ns = round(burst_s * 1e9)
        self._most = most
        self._full_ns: OrderedDict[Hashable, int] = OrderedDict()  #: in order of the last request

    def __len__(self) -> int:
        return len(self._full_ns)

    def take(self, caller: Hashable, now_ns: int) -> int:
        """0 when the request may pass; else how many ns the caller has to wait until one would."""
        full_ns = max(self._full_ns.get(caller, now_ns), now_ns)
        wait_ns = full_ns + self._cost_ns - now_ns - self._burst_ns
        if wait_ns <= 0:
            full_ns += self._cost_ns
        self._full_ns[caller] = full_ns
        self._full_ns.move_to_end(caller)
        if len(self._full_ns) > self._most:
            self._full_ns.popitem(last=False)
        return max(0, wait_ns)
