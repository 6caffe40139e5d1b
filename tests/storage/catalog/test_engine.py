"""The rules that every statement relies on, on both databases: one writer, one moment per read, notices, bounded waits.

A catalog that is locked or away is an error that says so, within the time-out, and is taken up again afterwards.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from storage.catalog import engine as engines
from storage.catalog import facts
from storage.catalog.engine import UNAVAILABLE, Catalog, make_engine, writing
from storage.catalog.migrate import migrate
from tests.parts.wait import until


@pytest.fixture
def two(catalog_url: str) -> Iterator[tuple[Catalog, Catalog]]:
    pair = Catalog(catalog_url), Catalog(catalog_url)
    yield pair
    for catalog in pair:
        catalog.close()


def _count(connection: Connection) -> None:
    facts.set(connection, "count", (facts.get(connection, "count") or 0) + 1)


def test_writers_come_one_after_the_other(two: tuple[Catalog, Catalog]) -> None:
    """Look, then write: with two writers at once some of these would be lost."""
    threads = [threading.Thread(target=lambda c=c: [c.write(_count) for _ in range(60)]) for c in two]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert two[0].read(lambda c: facts.get(c, "count")) == 120


def test_a_read_sees_one_moment(two: tuple[Catalog, Catalog]) -> None:
    reader, writer = two
    writer.write(partial(facts.set, key="a", value=1))

    def look(connection: Connection) -> tuple[object, object]:
        before = facts.get(connection, "a")
        writer.write(partial(facts.set, key="a", value=2))
        return before, facts.get(connection, "a")

    assert reader.read(look) == (1, 1)
    assert reader.read(lambda c: facts.get(c, "a")) == 2


def test_the_version_moves_when_another_commits(two: tuple[Catalog, Catalog]) -> None:
    one, other = two
    seen = one.version()
    other.write(partial(facts.set, key="a", value=1))
    until(lambda: one.version() != seen, 5, "the other's commit shows")
    seen = one.version()
    one.write(partial(facts.set, key="a", value=2))
    other.write(lambda c: facts.get(c, "a"))  # changes nothing
    with pytest.raises(ZeroDivisionError):
        other.write(_change_and_fail)
    assert one.version() == seen
    other.write(partial(facts.set, key="b", value=1))
    until(lambda: one.version() != seen, 5, "and the next one")


def _change_and_fail(connection: Connection) -> None:
    facts.set(connection, "a", 3)
    raise ZeroDivisionError


@pytest.mark.fault("B32")
def test_a_locked_catalog_is_a_bounded_wait_and_then_an_error_that_says_so(
    catalog_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_MS", 200)
    catalog = Catalog(catalog_url)
    foreign = make_engine(catalog_url)
    with writing(foreign):
        for _ in range(2):
            with pytest.raises(UNAVAILABLE):
                catalog.write(partial(facts.set, key="a", value=1))
        assert catalog.read(lambda c: facts.get(c, "a")) is None  # readers wait for no writer
    catalog.write(partial(facts.set, key="a", value=1))
    assert catalog.read(lambda c: facts.get(c, "a")) == 1
    foreign.dispose()
    catalog.close()


@pytest.mark.fault("B32")
def test_the_write_ahead_log_is_cut_and_a_long_reader_only_delays_it(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    migrate(f"sqlite:///{path}")
    catalog, log = Catalog(f"sqlite:///{path}"), path.with_name("catalog.db-wal")

    def fill(letter: str) -> None:
        for number in range(40):
            catalog.write(partial(facts.set, key=f"k{number}", value=letter * 50_000))

    fill("a")
    assert log.stat().st_size > 2_000_000
    assert catalog.checkpoint()
    assert log.stat().st_size == 0
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM fact").fetchone()
    fill("b")
    assert not catalog.checkpoint()  # at once: it waits for nobody
    catalog.write(partial(facts.set, key="during", value=1))
    reader.close()
    assert catalog.checkpoint()
    assert log.stat().st_size == 0
    catalog.close()


@pytest.mark.parametrize("catalog_url", [pytest.param("postgresql", marks=pytest.mark.real)], indirect=True)
def test_a_read_cannot_write_on_postgresql(catalog_url: str) -> None:
    catalog = Catalog(catalog_url)
    with pytest.raises(DBAPIError, match="read-only"):
        catalog.read(lambda c: c.execute(text("DELETE FROM fact")))
    catalog.close()
