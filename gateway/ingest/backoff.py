"""When to knock at a camera again. (pure)

Reconnects wait with jitter between 0.25 s and 5 s, so that a hundred cameras behind one switch do not come back in one
instant, yet a rebooted camera loses seconds only. Three rules more:

- While nothing takes the connection a try costs the camera nothing: then a second is the longest pause, so that its
  footage is back within two seconds of its port (FAULTS A1).
- A camera that takes connections and gives no picture is tried at most twelve times a minute (C10).
- Logins are counted: cameras lock an account for half an hour after five failures (A28), so after three refused logins
  only a slow probe follows until the account changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

FIRST_S = 0.25
LONGEST_S = 5.0
LONGEST_UNANSWERED_S = 1.0
TRIES_PER_MINUTE = 12
#: A camera that has just started may refuse everybody for some seconds: tries are not spent on one moment.
REFUSED_PAUSE_S = 5.0
LOGIN_TRIES = 3
LOGIN_WINDOW_S = 600.0
LOGIN_PROBE_S = 300.0


class Backoff:
    """Jittered, doubling. `draw` in [0, 1) is the caller's randomness, `now_s` any steady clock."""

    def __init__(self) -> None:
        self._next_s = FIRST_S
        self._answered: bool | None = None
        self._fruitless_s: deque[float] = deque(maxlen=TRIES_PER_MINUTE)

    def reset(self) -> None:
        self._next_s = FIRST_S
        self._fruitless_s.clear()

    def wait_s(self, draw: float, now_s: float, *, answered: bool, fruitful: bool = False) -> float:
        """The pause after a try that ends now: between half and all of the current step. `answered`: something took the
        connection; `fruitful`: there was a picture."""
        if answered != self._answered:
            self._answered, self._next_s = answered, FIRST_S
        step_s = self._next_s
        self._next_s = min(step_s * 2, LONGEST_S if answered else LONGEST_UNANSWERED_S)
        pause_s = step_s * (0.5 + draw / 2)
        if answered and not fruitful:
            self._fruitless_s.append(now_s)
            if len(self._fruitless_s) == TRIES_PER_MINUTE:
                pause_s = max(pause_s, self._fruitless_s[0] + 60.0 - now_s)
        return pause_s


class Openings:
    """A token bucket: so many connections are begun at once, then so many in a second. After a failure of the network
    all cameras of a recorder are there again in one instant (A33)."""

    def __init__(self, per_s: float = 32.0, burst: int = 8) -> None:
        self._step_s = 1 / per_s
        self._burst_s = burst * self._step_s
        self._full_s = 0.0  #: when the bucket will be full again

    def wait_s(self, now_s: float) -> float:
        """Takes a token; how long to wait for it."""
        self._full_s = max(self._full_s, now_s) + self._step_s
        return max(0.0, self._full_s - now_s - self._burst_s)


def login_wait_s(refused_s: Sequence[float], now_s: float, under_way: int = 0) -> float:
    """How long not to sign in: `LOGIN_TRIES` refused logins (their times, oldest first) are the most in
    `LOGIN_WINDOW_S`, and after that many only a slow probe follows. Each try under way may be refused too."""
    last = refused_s[-LOGIN_TRIES:]
    if len(last) + under_way < LOGIN_TRIES:
        return 0.0
    if not last:
        return LOGIN_PROBE_S
    room_s = last[0] + LOGIN_WINDOW_S if len(last) == LOGIN_TRIES else 0.0
    return max(0.0, max(last[-1] + LOGIN_PROBE_S, room_s) - now_s)
