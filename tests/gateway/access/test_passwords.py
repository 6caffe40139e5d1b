"""Passwords of people: the same work whether a login exists or not, and never more of it at once (FAULTS S22)."""

from __future__ import annotations

import asyncio
import threading

import pytest
from argon2 import PasswordHasher

from config.redact import Secret
from gateway.access.passwords import AT_ONCE, Passwords


class Counting(PasswordHasher):
    """argon2id, a quarter of the real one, that counts what it verified and how much of it at once."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=16_384, parallelism=1)  # long enough for others to come in
        self.hashes: list[str] = []
        self.most = self._now = 0
        self._lock = threading.Lock()

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]  # as the library names it
        with self._lock:
            self.hashes.append(str(hash))
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            return super().verify(hash, password)
        finally:
            with self._lock:
                self._now -= 1


def _cost(digest: str) -> list[str]:
    return digest.split("$")[1:4]  # algorithm, version, and memory, time and lanes


@pytest.mark.fault("S22")
async def test_a_login_that_does_not_exist_costs_the_same_work() -> None:
    hasher = Counting()
    passwords = Passwords(hasher)
    stored = passwords.hash_now(Secret("a good password 1"))
    assert not await passwords.verify(stored, Secret("wrong"))
    assert not await passwords.verify(None, Secret("wrong"))
    known, unknown = hasher.hashes
    assert known == stored and known != unknown and _cost(known) == _cost(unknown)
    assert not await passwords.verify(None, Secret("a password that nobody has"))
    assert await passwords.verify(stored, Secret("a good password 1"))


@pytest.mark.fault("S22")
async def test_a_flood_of_sign_ins_is_worked_off_two_at_a_time() -> None:
    hasher = Counting()
    passwords = Passwords(hasher)
    stored = passwords.hash_now(Secret("a good password 1"))
    found = await asyncio.gather(*(passwords.verify(stored, Secret(f"wrong {n}")) for n in range(40)))
    assert not any(found) and len(hasher.hashes) == 40
    assert 1 <= hasher.most <= AT_ONCE
