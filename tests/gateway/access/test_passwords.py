"""Passwords of people: the same work whether a login exists or not, and never more of it at once; tries are counted
(FAULTS S22).
"""

from __future__ import annotations

import asyncio
import threading

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from config.clock import ManualClock
from config.errors import TiergateError
from config.redact import Secret
from gateway.access.networks import network_of
from gateway.access.passwords import AT_ONCE, LoginLimit, Passwords


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


# --- how often one may try -------------------------------------------------------------------------------------------


def tried(limit: LoginLimit, client: str, account: str | None = None) -> str:
    """What becomes of a wrong try."""
    try:
        limit.begin(client, account)
    except TiergateError as refused:
        return refused.reason.code.removeprefix("access.")
    return "looked at"


@pytest.mark.fault("S22")
def test_whatever_addresses_a_household_takes_it_is_one_that_tries() -> None:
    limit = LoginLimit(ManualClock())
    found = [tried(limit, f"2001:db8:0:1::{n:x}") for n in range(1_000)]
    assert found == ["looked at"] * 10 + ["too_many_tries"] * 990
    assert tried(limit, "2001:db8:0:2::1") == "looked at"
    assert [tried(limit, a) for a in ("10.0.0.1", "::ffff:10.0.0.1") * 6].count("looked at") == 10
    assert tried(limit, "10.0.0.2") == "looked at"


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**64 - 1))
def test_an_address_counts_as_its_network_alone(address: int, host: int) -> None:
    from ipaddress import IPv6Address, IPv6Network

    there = IPv6Address(address)
    same = IPv6Address(address >> 64 << 64 | host)
    if there.ipv4_mapped is None and same.ipv4_mapped is None:
        assert network_of(str(there)) == network_of(str(same)) == str(IPv6Network((address >> 64 << 64, 64)))
    assert network_of("local") == "local"


@pytest.mark.fault("S22")
def test_an_account_that_is_guessed_from_everywhere_is_closed_there_and_open_where_it_is_at_home() -> None:
    clock = ManualClock()
    limit = LoginLimit(clock)
    limit.begin("10.1.1.1", "li").right()
    found = [tried(limit, f"10.9.{n}.1", "li") for n in range(200)]
    assert found == ["looked at"] * 100 + ["too_many_tries_account"] * 100
    assert tried(limit, "10.9.0.1", "nobody") == "looked at"
    assert tried(limit, "10.9.0.1") == "looked at", "a token names no account"
    assert [tried(limit, "10.1.1.1", "li") for _ in range(11)] == ["looked at"] * 10 + ["too_many_tries"]
    assert tried(limit, "10.2.2.2", "li") == "too_many_tries_account"
    clock.advance(59)
    assert tried(limit, "10.2.2.2", "li") == "too_many_tries_account"
    clock.advance(1)
    assert tried(limit, "10.2.2.2", "li") == "looked at"


def test_a_try_that_was_right_or_said_nothing_of_a_password_is_forgotten() -> None:
    limit = LoginLimit(ManualClock())
    for _ in range(200):
        limit.begin("10.1.1.1", "li").right()
        limit.begin("10.1.1.1", "li").forget()
        limit.begin("10.2.2.2", "wang").forget()
    for n in range(100):
        assert tried(limit, f"10.9.{n}.1", "li") == tried(limit, f"10.9.{n}.1", "wang") == "looked at"
    assert tried(limit, "10.1.1.1", "li") == "looked at"
    assert tried(limit, "10.2.2.2", "wang") == "too_many_tries_account", "forgotten is not signed in"


class Small(LoginLimit):
    KEPT = 50


@pytest.mark.fault("S22")
def test_a_flood_of_networks_and_names_neither_grows_it_nor_makes_it_forget() -> None:
    limit = Small(ManualClock())
    for n in range(100):
        assert tried(limit, f"10.9.{n % 10}.1", "li") == "looked at"
    for n in range(5_000):
        assert tried(limit, f"2001:db8:{n:x}::1", f"name {n}" + "x" * 100) == "looked at"
        limit.begin(f"2001:db8:{n:x}::2", f"home {n}").right()
    kept = (len(limit._networks), len(limit._accounts), len(limit._at_home))
    assert max(kept) <= 50 and all(len(name) <= 60 for name in limit._accounts._at_s)
    assert [tried(limit, f"10.9.{n}.1", "wang") for n in range(10)] == ["too_many_tries"] * 10
    assert tried(limit, "10.8.8.8", "li") == "too_many_tries_account"


@pytest.mark.fault("S22")
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["li", "wang"]), st.integers(0, 40), st.booleans()),
        max_size=60,
    )
)
def test_no_minute_has_more_wrong_tries_than_it_may(tries: list[tuple[str, str, int, bool]]) -> None:
    """Against a list of all tries."""
    clock, wrong, home = ManualClock(), list[tuple[int, str, str]](), set[tuple[str, str]]()
    limit = LoginLimit(clock, most=2)
    limit.ELSEWHERE = 1  # from two networks together no more than from one
    now_s = 0
    for client, account, wait_s, right in tries:
        clock.advance(wait_s)
        now_s += wait_s
        recent = [one for one in wrong if one[0] > now_s - limit.WINDOW_S]
        of_client = sum(one[1] == client for one in recent)
        elsewhere = sum(one[2] == account for one in recent)
        if of_client >= 2:
            assert tried(limit, client, account) == "too_many_tries"
        elif (client, account) not in home and elsewhere >= 2:
            assert tried(limit, client, account) == "too_many_tries_account"
        elif right:
            limit.begin(client, account).right()
            home.add((client, account))
        else:
            assert tried(limit, client, account) == "looked at"
            wrong.append((now_s, client, account if (client, account) not in home else ""))
