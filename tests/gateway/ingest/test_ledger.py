"""Rows go together, in order, and one bad row takes no other with it."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError

from config.reasons import Reason
from gateway.ingest.coverage import Coverage
from gateway.ingest.ledger import Ledger
from gateway.ingest.source import GapCause
from storage.catalog import facts, gaps
from storage.catalog.engine import UNAVAILABLE, Catalog
from storage.catalog.gaps import GapRow
from storage.catalog.status import past
from tests.parts.catalog import new_catalog
from tests.parts.postgres import Postgres
from tests.storage.footage import CAMERA, new_id


@pytest.fixture
def catalog(catalog_url: str) -> Catalog:
    return Catalog(catalog_url)


def test_changes_are_committed_in_order_and_acknowledged_after_the_commit(catalog: Catalog) -> None:
    ledger = Ledger(catalog, 0.01)
    acknowledged: list[int] = []
    for number in range(1200):
        ledger.put(partial(facts.set, key="last", value=number), partial(acknowledged.append, number))
    assert ledger.flush(20)
    assert acknowledged == list(range(1200))
    assert catalog.read(lambda c: facts.get(c, "last")) == 1199
    assert ledger.close()
    catalog.close()


def test_a_change_that_fails_takes_no_other_with_it(catalog: Catalog) -> None:
    ledger = Ledger(catalog, 0.01)

    def bad(_: object) -> None:
        raise ValueError("does not fit")

    ledger.put(partial(facts.set, key="before", value=1))
    ledger.put(bad)
    ledger.put(partial(facts.set, key="after", value=2))
    assert ledger.flush(10)
    assert catalog.read(lambda c: (facts.get(c, "before"), facts.get(c, "after"))) == (1, 2)
    ledger.close()
    catalog.close()


def test_what_is_dropped_is_counted(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ingest.ledger._RETRY_S", 0.02)
    monkeypatch.setattr("gateway.ingest.ledger._WAITING_MAX", 3)
    ledger = Ledger(catalog, 0.01)
    away = threading.Event()

    def bad(_: object) -> None:
        raise ValueError("does not fit")

    def waits(_: object) -> None:
        if not away.is_set():
            raise OperationalError("", {}, sqlite3.OperationalError("unable to open database file"))

    ledger.put(bad)
    assert ledger.flush(10) and ledger.dropped == 1
    for number in range(6):
        ledger.put(waits)
        ledger.put(partial(facts.set, key=f"n{number}", value=number))
    assert ledger.dropped > 1
    away.set()
    assert ledger.flush(20)
    assert catalog.read(lambda c: facts.get(c, "n5")) == 5, "the newest are kept"
    ledger.close()
    catalog.close()


@pytest.mark.fault("B33")
def test_a_server_that_is_read_only_for_a_while_is_waited_for(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby that is not promoted yet, or a server that its guard stopped before the disk was full."""
    monkeypatch.setattr("gateway.ingest.ledger._RETRY_S", 0.02)
    url = postgres.fresh_catalog()
    catalog = Catalog(url)
    ledger = Ledger(catalog, 0.01)
    acknowledged: list[str] = []
    ledger.put(partial(facts.set, key="a", value=1), partial(acknowledged.append, "a"))
    assert ledger.flush(10)
    server, database = postgres.url("postgres"), url.rpartition("/")[2]
    postgres.query(server, f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    try:
        catalog.write(lambda c: c.execute(text("SET default_transaction_read_only = on")))
        with pytest.raises(UNAVAILABLE):
            catalog.write(partial(facts.set, key="x", value=1))
        for key in "bc":
            ledger.put(partial(facts.set, key=key, value=1), partial(acknowledged.append, key))
        assert not ledger.flush(0.3)
        assert acknowledged == ["a"]
    finally:
        # The setting is read when a connection begins: who kept the old one would be told "read-only" for ever.
        postgres.query(server, f"ALTER DATABASE {database} RESET default_transaction_read_only")
    assert ledger.flush(20)
    assert acknowledged == ["a", "b", "c"]
    assert catalog.read(lambda c: [facts.get(c, key) for key in "abcx"]) == [1, 1, 1, None]
    ledger.close()
    catalog.close()


def _fails_at_first(error: Exception) -> Callable[[Connection], None]:
    left = [error]

    def change(_: Connection) -> None:
        if left:
            raise left.pop()

    return change


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("x", None, sqlite3.OperationalError("database is locked")),
        DatabaseError("x", None, sqlite3.DatabaseError("database disk image is malformed")),
    ],
)
def test_who_waits_in_the_middle_is_not_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: DBAPIError
) -> None:
    """One change does not fit, so that each goes alone; and then the catalog takes no more."""
    monkeypatch.setattr("gateway.ingest.ledger._RETRY_S", 0.02)
    new_catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    ledger = Ledger(catalog, 0.3)
    order: list[str] = []

    def bad(_: Connection) -> None:
        raise ValueError("does not fit")

    def count(connection: Connection) -> None:
        facts.set(connection, "count", (facts.get(connection, "count") or 0) + 1)

    ledger.put(bad)
    ledger.put(count, partial(order.append, "count"))
    ledger.put(_fails_at_first(error), partial(order.append, "waited"))
    ledger.put(partial(facts.set, key="after", value=1), partial(order.append, "after"))
    assert ledger.flush(10)
    assert catalog.read(lambda c: (facts.get(c, "count"), facts.get(c, "after"))) == (1, 1)
    assert order == ["count", "waited", "after"]
    ledger.close()
    catalog.close()


class _Kept(list[Callable[[Connection], object]]):
    """Changes as a ledger takes them, for whoever wants to make them more than once."""

    def put(self, change: Callable[[Connection], object]) -> None:
        self.append(change)


_CAUSES = st.sampled_from([GapCause.NETWORK, GapCause.CAMERA_OFFLINE, GapCause.DISK_FULL])
_EVENTS = st.lists(st.one_of(_CAUSES, st.sampled_from(["footage", "restart"])), max_size=12)


@settings(max_examples=25)
@given(events=_EVENTS, cuts=st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_a_batch_whose_commit_had_no_answer_may_be_made_again(
    tmp_path_factory: pytest.TempPathFactory, events: list[GapCause | str], cuts: list[int]
) -> None:
    """The account of a stream is the same whether its changes are made once, or each batch twice."""
    kinds = []
    for times in (1, 2):
        folder = tmp_path_factory.mktemp("ledger")
        new_catalog(f"sqlite:///{folder / 'catalog.db'}")
        catalog = Catalog(f"sqlite:///{folder / 'catalog.db'}")
        changes, lengths = _Kept(), itertools.cycle(cuts)

        def make(catalog: Catalog = catalog, changes: _Kept = changes, times: int = times,
                 lengths: itertools.cycle[int] = lengths) -> None:  # fmt: skip
            while changes:
                batch = changes[: next(lengths)]
                del changes[: len(batch)]
                for _ in range(times):
                    catalog.write(lambda c, batch=batch: [change(c) for change in batch])  # type: ignore[misc]  # a bound default

        account = Coverage(CAMERA, "main", cast(Ledger, changes), new_id, since_ms=0)
        now_ms = 0
        for event in events:
            now_ms += 10_000
            if event == "footage":
                account.footage(now_ms, now_ms)
                account.ended(now_ms + 5_000)
            elif event == "restart":
                make()
                account = Coverage(CAMERA, "main", cast(Ledger, changes), new_id, since_ms=0)
                account.resume(catalog.read(partial(past, camera_id=CAMERA, stream="main")), now_ms)
            else:
                account.lost(GapCause(event), Reason("recorder.was_down"), now_ms)
        make()
        found = catalog.read(lambda c: gaps.gaps_between(c, CAMERA, "main", -1, 10**9))
        assert [g.cause for g in found if g.to_ms is None] == ([account.open_cause.value] if account.open_cause else [])
        kinds.append([(g.cause, g.from_ms, g.to_ms) for g in found])
        catalog.close()
    assert kinds[0] == kinds[1]


def test_a_gap_that_another_one_of_its_cause_has_taken_in_is_closed_with_it(tmp_path: Path) -> None:
    new_catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    catalog.write(partial(gaps.open_gap, row=GapRow("old", CAMERA, "main", "network", 1_000, None, 1_000)))
    ledger = Ledger(catalog, 0.01)
    account = Coverage(CAMERA, "main", ledger, new_id)
    account.lost(GapCause.NETWORK, Reason("recorder.was_down"), 2_000)
    account.footage(3_000, 3_000)
    assert ledger.flush(10)
    assert catalog.read(gaps.open_gaps) == []
    ledger.close()
    catalog.close()
