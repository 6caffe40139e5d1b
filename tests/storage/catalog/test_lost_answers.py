"""PostgreSQL's connection cut around COMMIT: what was asked for stands once, whether the request or the answer was
lost. The mutants, which do not ask or do not know their rows, are caught by the same count. (FAULTS B33)"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import Connection, func, insert, select
from sqlalchemy.exc import DBAPIError

from gateway.ingest.ledger import Ledger
from storage.audit import log as audit
from storage.catalog import facts, gaps, postgres, segments
from storage.catalog.engine import Catalog
from storage.catalog.gaps import GapRow
from storage.catalog.postgres import Outcome
from storage.catalog.segments import RunRow
from storage.catalog.tables import gap, run, segment
from tests.parts.postgres import CommitCutter, Postgres
from tests.parts.wait import until
from tests.storage.catalog.test_footage_rows import T0, row
from tests.storage.footage import CAMERA, new_id

EVERY = 4  #: the COMMIT of one write in so many is cut

pytestmark = pytest.mark.real


@pytest.fixture(params=["request", "answer"])
def cutter(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[CommitCutter]:
    """A relay that cuts the connection before the server hears COMMIT, or after it has answered."""
    with CommitCutter(postgres.port, request.param) as relay:
        yield relay


@pytest.fixture
def through(postgres: Postgres, cutter: CommitCutter) -> Iterator[Catalog]:
    catalog = Catalog(postgres.through(postgres.fresh_catalog(), cutter.port))
    yield catalog
    cutter.armed = False
    catalog.close()


def _entry(number: int) -> Callable[[Connection], int]:
    """A change that has no id of its own: done twice, it stands twice."""
    return partial(audit.append, now_ms=number, actor="os:test", action="test.act", subject=str(number), details={})


def _subjects(catalog: Catalog) -> list[str]:
    return [entry.subject for entry in catalog.read(partial(audit.entries, limit=1000))]


@pytest.mark.fault("B33")
def test_a_change_without_ids_stands_exactly_once(through: Catalog, cutter: CommitCutter) -> None:
    for number in range(60):
        cutter.armed = number % EVERY == 0
        through.write(_entry(number))
    assert cutter.hits["commit"] == 60 // EVERY
    assert _subjects(through) == [str(number) for number in range(60)]
    assert through.read(audit.verify_catalog) is None


@pytest.mark.parametrize("belief", [Outcome.ABORTED, Outcome.COMMITTED])
def test_mutants_that_guess_the_outcome_are_caught(
    through: Catalog, cutter: CommitCutter, monkeypatch: pytest.MonkeyPatch, belief: Outcome
) -> None:
    """Trying again blindly writes twice, taking it for done loses: one of both per kind of cut."""
    monkeypatch.setattr(postgres, "_outcome", lambda *_: belief)
    for number in range(20):
        cutter.armed = number % EVERY == 0
        through.write(_entry(number))
    found = _subjects(through)
    double, lost = len(found) - len(set(found)), 20 - len(set(found))
    wrong = (cutter.kind, belief) in (("answer", Outcome.ABORTED), ("request", Outcome.COMMITTED))
    assert (double + lost > 0) == wrong
    assert cutter.hits["commit"] == 20 // EVERY


def _footage(connection: Connection, number: int, id_: str, careful: bool) -> None:
    """What a recorder puts into its ledger for one segment: run, segment, a gap that opens and closes."""
    one = row(T0 + number * 60_000, "spooled")
    values = RunRow(id_, CAMERA, "main", number, "avc1.640028", 1, 1, None, b"init")
    if careful:
        segments.insert_run(connection, values)
    else:
        connection.execute(insert(run).values(id=id_, camera_id=CAMERA, stream="main", started_ms=number, codec="x",
                                              width=1, height=1, init=b"x"))  # fmt: skip
    segments.insert_segments(connection, [replace(one, id=id_, object_key=id_)])
    gaps.open_gap(connection, GapRow(id_, CAMERA, "main", "network", T0 + number, None, T0))
    gaps.close_gap(connection, id_, T0 + number + 1)


def _through_ledger(catalog: Catalog, cutter: CommitCutter, count: int, careful: bool) -> list[str]:
    ids = [new_id(T0 + number) for number in range(count)]
    ledger = Ledger(catalog, 0.01)
    for number, id_ in enumerate(ids):
        ledger.put(partial(_footage, number=number, id_=id_, careful=careful))
        cutter.armed = number % EVERY == 0
        ledger.flush(0.05)
    assert ledger.flush(60)
    ledger.close()
    return ids


@pytest.mark.fault("B33")
def test_where_nobody_knows_the_outcome_rows_are_written_again_by_their_ids(
    through: Catalog, cutter: CommitCutter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A standby took over and cannot say what became of a transaction of its predecessor."""
    monkeypatch.setattr(postgres, "_outcome", lambda *_: None)
    monkeypatch.setattr("gateway.ingest.ledger._RETRY_S", 0.02)
    ids = _through_ledger(through, cutter, 40, careful=True)
    cutter.armed = False
    assert cutter.hits["commit"] >= 3
    for table in (run, segment, gap):
        found = list(through.read(lambda c, t=table: c.execute(select(t.c.id)).scalars().all()))  # type: ignore[misc]  # a bound default
        assert sorted(found) == sorted(ids)
    assert through.read(gaps.open_gaps) == []
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_mutant_that_does_not_know_its_rows_is_caught(
    through: Catalog, cutter: CommitCutter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(postgres, "_outcome", lambda *_: None)
    monkeypatch.setattr("gateway.ingest.ledger._RETRY_S", 0.02)
    _through_ledger(through, cutter, 12, careful=False)
    cutter.armed = False
    failed = [r for r in caplog.records if "does not fit" in r.getMessage()]
    assert bool(failed) == (cutter.kind == "answer")
    assert cutter.hits["commit"] > 0


@pytest.mark.fault("B33")
def test_a_server_that_is_killed_under_the_ledger_loses_nothing(
    postgres_factory: Callable[[], Postgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.ingest.ledger._RETRY_S", 0.05)
    server = postgres_factory()
    catalog = Catalog(server.fresh_catalog())
    acknowledged: list[int] = []
    ledger = Ledger(catalog, 0.01)
    for number in range(300):
        ledger.put(partial(_footage, number=number, id_=new_id(T0 + number), careful=True),
                   partial(acknowledged.append, number))  # fmt: skip
        if number in (100, 200):
            until(lambda: len(acknowledged) > 50, 30, "some are acknowledged")
            server.kill()
            server.start()
    assert ledger.flush(60)
    assert acknowledged == list(range(300))
    assert catalog.read(lambda c: c.execute(select(func.count()).select_from(segment)).scalar_one()) == 300
    ledger.close()
    catalog.close()


async def test_what_was_missed_while_the_connection_was_lost_counts_as_a_change(
    through: Catalog, cutter: CommitCutter, postgres: Postgres
) -> None:
    seen = await through.aversion()
    other = Catalog(through._engine.url.set(port=postgres.port).render_as_string(hide_password=False))
    cutter.reset()
    await other.awrite(partial(facts.set, key="a", value=1))
    await asyncio.to_thread(other.close)
    assert await through.aversion() != seen


def test_a_server_that_is_away_is_an_error_that_says_so(through: Catalog, cutter: CommitCutter) -> None:
    through.write(_entry(1))
    cutter.refusing = True
    cutter.reset()
    for work in (through.read, through.write):
        with pytest.raises(DBAPIError):
            work(_entry(2))
    cutter.refusing = False
    through.write(_entry(2))
    assert _subjects(through) == ["1", "2"]
