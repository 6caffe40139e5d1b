"""How much one caller may ask of this web process (FAULTS S23): the limits that stand whatever the caller may see.

Three kinds of request have buckets of their own: those of a person or token (all its sign-ins together), the pieces
that a player fetches under a session path, and those of an address from which nobody is known. Sizes of bodies are in
`gateway.web.middleware`, heads of requests in `gateway.web.http`, wrong passwords in `gateway.access.passwords`, and
how many pictures are open at once is the grant's matter (`tiering.grants`).
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from config.clock import Clock
from config.errors import Kind, TiergateError
from config.settings import Web
from gateway.access.networks import network_of
from gateway.buckets import Buckets
from tiering.access import Principal

CALLERS = 10_000  #: of each kind; about 200 bytes each
BURST_S = 20.0  #: a page that is opened and a command with many rows ask a great deal at once

Of = Literal["request", "media", "anonymous"]


class RateLimits:
    def __init__(self, settings: Web, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[Of, Buckets] = {
            "request": Buckets(settings.requests_per_s, BURST_S, CALLERS),
            "media": Buckets(settings.media_requests_per_s, BURST_S, CALLERS),
            "anonymous": Buckets(settings.anonymous_requests_per_s, BURST_S, CALLERS),
        }
        self.refused = Counter[str](dict.fromkeys(self._buckets, 0))  #: since the process began, for the metric

    def request(self, principal: Principal | None, address: str) -> None:
        """One request. Raises web.too_many_requests."""
        self._take("request", principal, address)

    def piece(self, holder: Principal | None, address: str) -> None:
        """One piece under a session path of `holder`, None for a path that is not known. Raises as `request`."""
        self._take("media", holder, address)

    def _take(self, of: Of, principal: Principal | None, address: str) -> None:
        if principal is None:
            of, caller = "anonymous", network_of(address)
        else:
            caller = f"{principal.kind}:{principal.id}"  # signing in once more gives no second bucket
        wait_ns = self._buckets[of].take(caller, self._clock.monotonic_ns())
        if wait_ns:
            self.refused[of] += 1
            raise TiergateError(Kind.RATE_LIMITED, "web.too_many_requests", seconds=-(-wait_ns // 1_000_000_000))
