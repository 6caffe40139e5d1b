"""Passwords of people: argon2id, two at a time, and the same time for a login that does not exist (FAULTS S22)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from config.clock import Clock
from config.errors import Kind, TiergateError
from config.redact import Secret
from gateway.access.networks import network_of

T = TypeVar("T")

LEAST_CHARACTERS = 10
_COMMON = frozenset(
    {"password12", "password123", "1234567890", "12345678910", "qwertyuiop", "administrator", "tiergate123"}
)
LOGIN_MOST = 60  #: characters of a login; a name that is longer is nobody's
AT_ONCE = 2  #: 64 MiB each: more at once would let a flood of sign-ins take the machine's memory


class Passwords:
    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        #: Of their own: whatever keeps the process's other threads, nobody is kept from signing in.
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="passwords")
        self._nobody = self._hasher.hash("a password that nobody has")

    def hash_now(self, password: Secret) -> str:
        """For the command line; blocks for about 50 ms."""
        return self._hasher.hash(password.reveal())

    async def hash(self, password: Secret) -> str:
        return await self._in_thread(partial(self._hasher.hash, password.reveal()))

    async def verify(self, stored: str | None, password: Secret) -> bool:
        """False for None, after the same work as for a wrong password."""
        right = await self._in_thread(partial(self._matches, stored or self._nobody, password))
        return right and stored is not None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

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
    """Failed tries of the last minute: at most `most` from one network, and at one account at most `ELSEWHERE` times as
    many from all those networks together from which nobody signed in to it.

    Where somebody signed in to an account since this process began, what others try elsewhere does not count: nobody
    is locked out of their own place by name (FAULTS S22). Accounts that do not exist are counted alike, so that the
    answer tells nothing.
    """

    WINDOW_S = 60
    ELSEWHERE = 10
    KEPT = 10_000  #: networks, accounts, and pairs of both; with ten tries each about 10 MB

    def __init__(self, clock: Clock, most: int = 10) -> None:
        self._clock = clock
        self._most = most
        self._networks = _Tries(self.KEPT)
        self._accounts = _Tries(self.KEPT)
        self._at_home: OrderedDict[tuple[str, str], None] = OrderedDict()  #: in order of the last sign-in

    def begin(self, client: str, account: str | None = None) -> Try:
        """One try begins. Counted before the password is looked at, so that tries in parallel do not slip through.

        `account`: the name that is tried, where one is. Raises access.too_many_tries, access.too_many_tries_account.
        """
        network, now_s = network_of(client), self._clock.monotonic_ns() / 1e9
        name = None if account is None else account[:LOGIN_MOST]
        counted = [(self._networks, network, self._most, "access.too_many_tries")]
        if name is not None and (name, network) not in self._at_home:
            most = self._most * self.ELSEWHERE
            counted.append((self._accounts, name, most, "access.too_many_tries_account"))
        for tries, key, most, code in counted:
            recent = tries.since(key, now_s - self.WINDOW_S)
            if len(recent) >= most:
                seconds = max(1, round(recent[0] + self.WINDOW_S - now_s))
                raise TiergateError(Kind.RATE_LIMITED, code, seconds=seconds)
        for tries, key, _, _ in counted:
            tries.add(key, now_s, now_s - self.WINDOW_S)
        return Try(self, network, name, tuple((tries, key, now_s) for tries, key, _, _ in counted))

    def _signed_in(self, network: str, name: str) -> None:
        self._at_home[name, network] = None
        self._at_home.move_to_end((name, network))
        if len(self._at_home) > self.KEPT:
            self._at_home.popitem(last=False)


class Try:
    """One that was begun. Left alone it stays counted: it failed."""

    def __init__(
        self, limit: LoginLimit, network: str, name: str | None, counted: tuple[tuple[_Tries, str, float], ...]
    ) -> None:
        self._limit = limit
        self._network = network
        self._name = name
        self._counted = counted

    def forget(self) -> None:
        """It said nothing about a password."""
        for tries, key, at_s in self._counted:
            tries.remove(key, at_s)

    def right(self) -> None:
        """It was the right password: forgotten, and from now on the account is at home in that network."""
        self.forget()
        if self._name is not None:
            self._limit._signed_in(self._network, self._name)


class _Tries:
    """When each of at most `kept` keys was tried, within the window.

    One that is too many takes the place of the key that was tried least, the longest ago of those: who tries a great
    many names, or from a great many networks, does not make it forget where the tries are.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._at_s: OrderedDict[str, deque[float]] = OrderedDict()  #: in order of the last try

    def __len__(self) -> int:
        return len(self._at_s)

    def since(self, key: str, from_s: float) -> deque[float]:
        """The tries after `from_s`, oldest first."""
        tries = self._at_s.get(key, deque())
        while tries and tries[0] <= from_s:
            tries.popleft()
        return tries

    def add(self, key: str, now_s: float, from_s: float) -> None:
        tries = self._at_s.pop(key, None)
        while self._at_s and (not (oldest := next(iter(self._at_s.values()))) or oldest[-1] <= from_s):
            self._at_s.popitem(last=False)
        if len(self._at_s) >= self._kept:
            del self._at_s[min(self._at_s, key=lambda k: len(self._at_s[k]))]
        self._at_s[key] = deque() if tries is None else tries
        self._at_s[key].append(now_s)

    def remove(self, key: str, at_s: float) -> None:
        with contextlib.suppress(ValueError):
            self._at_s.get(key, deque()).remove(at_s)
