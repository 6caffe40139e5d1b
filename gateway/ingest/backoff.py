"""When to knock at a camera again. (pure)

Two rules. Reconnects wait with jitter between 0.25 s and 5 s, so that a hundred cameras behind one switch do not come
back in one instant, yet a rebooted camera loses seconds only. Logins are counted: cameras lock an account for half an
hour after five failures (FAULTS A28), so after three refused logins only a slow probe follows until the account
changes.
"""

from __future__ import annotations

FIRST_S = 0.25
LONGEST_S = 5.0
LOGIN_TRIES = 3
LOGIN_WINDOW_S = 600.0
LOGIN_PROBE_S = 300.0


class Backoff:
    """Jittered, doubling. `draw` in [0, 1) is the caller's randomness."""

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._next_s = first_s

    def reset(self) -> None:
        self._next_s = self._first_s

    def wait_s(self, draw: float) -> float:
        """The next pause: between half and all of the current step, at most the longest."""
        step = self._next_s
        self._next_s = min(step * 2, self._longest_s)
        return step * (0.5 + draw / 2)


class LoginCare:
    """At most `LOGIN_TRIES` refused logins in `LOGIN_WINDOW_S` for one account version."""

    def __init__(self) -> None:
        self._version: object = None
        self._failures_s: list[float] = []  #: the last few, oldest first

    def account(self, version: object) -> None:
        """The account in use; another version starts with a clean record."""
        if version != self._version:
            self._version = version
            self._failures_s.clear()

    def failed(self, now_s: float) -> None:
        self._failures_s = [*self._failures_s[1 - LOGIN_TRIES :], now_s]

    def succeeded(self) -> None:
        self._failures_s.clear()

    def wait_s(self, now_s: float) -> float:
        """How long not to try: 0 while tries are left, then until the slow probe is due and the window has room."""
        if len(self._failures_s) < LOGIN_TRIES:
            return 0.0
        due_s = max(self._failures_s[-1] + LOGIN_PROBE_S, self._failures_s[0] + LOGIN_WINDOW_S)
        return max(0.0, due_s - now_s)
