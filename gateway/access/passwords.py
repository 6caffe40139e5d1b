"""Passwords of people: argon2id, two at a time, and the same time for a login that does not exist (FAULTS S22)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from config.clock import Clock
from config.errors import Kind, TiergateError
from config.redact import Secret

LEAST_CHARACTERS = 10
_COMMON = frozenset(
    {"password12", "password123", "1234567890", "12345678910", "qwertyuiop", "administrator", "tiergate123"}
)
AT_ONCE = 2  #: 64 MiB each: more at once would let a flood of sign-ins take the machine's memory


class Passwords:
    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._nobody = self._hasher.hash("a password that nobody has")

    def hash_now(self, password: Secret) -> str:
        """For the command line; blocks for about 50 ms."""
        return self._hasher.hash(password.reveal())

    async def hash(self, password: Secret) -> str:
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password.reveal())

    async def verify(self, stored: str | None, password: Secret) -> bool:
        """False for None, after the same work as for a wrong password."""
        async with self._slots:
            right = await asyncio.to_thread(self._matches, stored or self._nobody, password)
        return right and stored is not None

    def _matches(self, stored: str, password: Secret) -> bool:
        with contextlib.suppress(VerificationError, InvalidHashError):
            return self._hasher.verify(stored, password.reveal())
        return False


def check_strength(password: Secret, login: str) -> None:
    """Raises access.password_weak. Length counts; no rules about kinds of characters (NIST SP 800-63B)."""
    value = password.reveal()
    weak = len(value) < LEAST_CHARACTERS or value.lower() in _COMMON or len(set(value)) < 4
    if weak or value.lower() == login.lower() or len(value) > 256:
        raise TiergateError(Kind.INVALID, "access.password_weak", least=LEAST_CHARACTERS)


class LoginLimit:
    """At most `most` failed tries a minute from one client. Nobody is locked out by name (FAULTS S22)."""

    WINDOW_S = 60
    CLIENTS = 10_000

    def __init__(self, clock: Clock, most: int = 10) -> None:
        self._clock = clock
        self._most = most
        self._tries: dict[str, deque[float]] = {}

    def check(self, client: str) -> None:
        """Raises access.too_many_tries."""
        tries, now_s = self._recent(client), self._now_s()
        if len(tries) >= self._most:
            seconds = max(1, round(tries[0] + self.WINDOW_S - now_s))
            raise TiergateError(Kind.RATE_LIMITED, "access.too_many_tries", seconds=seconds)

    def count(self, client: str) -> None:
        """One try begins. Counted before the password is looked at, so that tries in parallel do not slip through."""
        if len(self._tries) >= self.CLIENTS:
            self._tries = {c: t for c, t in self._tries.items() if t and t[-1] > self._now_s() - self.WINDOW_S}
        self._tries.setdefault(client, deque(maxlen=self._most)).append(self._now_s())

    def forget(self, client: str) -> None:
        """The try was right."""
        tries = self._tries.get(client)
        if tries:
            tries.pop()

    def _recent(self, client: str) -> deque[float]:
        tries = self._tries.get(client, deque())
        while tries and tries[0] <= self._now_s() - self.WINDOW_S:
            tries.popleft()
        return tries

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9
