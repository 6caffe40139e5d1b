"""Whose fault it is that an object cannot be read: its own only while the store gives others."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from config.errors import TiergateError
from storage import patience
from storage.patience import Patience, is_unreadable
from tests.storage.sick import SickStore

KEYS = [f"node/{number:03d}" for number in range(30)]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SickStore:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    store = SickStore(tmp_path / "objects")
    store.ensure()
    for key in KEYS:
        store.put_bytes(key, b"x")
    return store


def failure(store: SickStore, key: str, ahead: list[str]) -> TiergateError:
    asked = Patience(store)
    asked.expect(ahead)
    with pytest.raises(TiergateError) as caught:
        asked.ask(key, partial(store.read, key))
    return caught.value


@pytest.mark.fault("B30")
@pytest.mark.parametrize(("problem", "tries"), [("EIO", 1), ("InternalError", 3)])
def test_one_that_fails_each_time_while_others_are_given_is_unreadable(
    store: SickStore, problem: str, tries: int
) -> None:
    store.sick, store.problem = {KEYS[7]}, problem
    for ahead in (KEYS, []):
        store.tries.clear()
        found = failure(store, KEYS[7], ahead)
        assert is_unreadable(found) and found.reason.params == {"key": KEYS[7], "problem": problem}
        assert store.tries == {KEYS[7]: tries}


@pytest.mark.fault("B30")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_nothing_is_unreadable_while_the_store_is_away(store: SickStore, problem: str) -> None:
    store.away, store.problem = True, problem
    for ahead in (KEYS, []):
        assert failure(store, KEYS[7], ahead).reason.code == "media.store_unavailable"


@pytest.mark.fault("B30")
def test_what_was_read_before_says_nothing_of_a_store_that_gives_nothing_new(store: SickStore) -> None:
    """A disk that is gone still gives out of memory what was read a moment ago."""
    store.sick = set(KEYS[7:])
    assert failure(store, KEYS[7], KEYS[7:]).reason.code == "media.store_unavailable"


def test_an_error_that_passes_is_nobodys_fault(store: SickStore) -> None:
    store.sick, store.problem = {KEYS[0]}, "SlowDown"

    def read() -> bytes:
        if store.tries[KEYS[0]] == 2:
            store.sick.clear()
        return store.read(KEYS[0])

    assert Patience(store).ask(KEYS[0], read) == b"x"


def test_the_only_object_of_a_store_is_not_judged(store: SickStore) -> None:
    for key in KEYS[1:]:
        store.delete(key)
    store.sick = {KEYS[0]}
    assert failure(store, KEYS[0], KEYS[:1]).reason.code == "media.store_unavailable"


def test_an_object_that_is_missing_or_refused_is_asked_for_once(store: SickStore) -> None:
    store.delete(KEYS[3])
    assert failure(store, KEYS[3], KEYS).reason.code == "media.object_missing"
