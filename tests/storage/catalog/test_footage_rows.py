"""Rows of segments, runs, gaps and facts: idempotent, by the index, and never backwards."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, select, text
from sqlalchemy.exc import OperationalError

from storage.catalog import facts, gaps, retention_rows, segments
from storage.catalog.engine import Catalog
from storage.catalog.gaps import GapRow
from storage.catalog.segments import RunRow, SegmentRow
from tests.storage.footage import CAMERA, make_catalog, new_id

T0 = 1_790_000_000_000


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    catalog = Catalog(catalog_url)
    yield catalog
    catalog.close()


def row(start_ms: int, state: str = "stored", length_ms: int = 60_000, camera: str = CAMERA) -> SegmentRow:
    id_ = new_id(start_ms)
    return SegmentRow(
        id=id_, camera_id=camera, stream="main", run_id="R", kind="own", state=state, start_ms=start_ms,
        end_ms=start_ms + length_ms, start_wall_ns=start_ms * 10**6, time_trust="synchronised", bytes=100,
        sha256=bytes(32), init_bytes=10, fragments=b"f" * 500, object_key=f"n/{id_}", volume="V", class_="default",
        created_ms=start_ms,
    )  # fmt: skip


def put(catalog: Catalog, rows: list[SegmentRow]) -> None:
    catalog.write(lambda c: segments.insert_segments(c, rows))


def test_a_segment_is_inserted_once_and_stays_as_it_became(catalog: Catalog) -> None:
    one = row(T0, "spooled")
    put(catalog, [one])
    assert catalog.read(lambda c: segments.segment_of(c, one.id)) == one
    assert catalog.write(lambda c: segments.mark_stored(c, [one.id], T0 + 5)) == [one.id]
    put(catalog, [one, row(T0 + 60_000, "spooled")])
    found = catalog.read(lambda c: segments.segment_of(c, one.id))
    assert found is not None
    assert (found.state, found.stored_ms, found.volume) == ("stored", T0 + 5, "V")
    assert catalog.write(lambda c: segments.mark_stored(c, [one.id], T0 + 9)) == []


def test_a_window_gives_what_touches_it(catalog: Catalog) -> None:
    rows = [row(T0 + n * 60_000) for n in range(10)]
    put(catalog, rows)
    put(catalog, [row(T0, camera="21010000011320000002"), replace(row(T0), stream="sub")])

    def window(from_ms: int, to_ms: int) -> list[SegmentRow]:
        return catalog.read(lambda c: segments.segments_between(c, CAMERA, "main", from_ms, to_ms))

    assert window(T0, T0 + 60_000) == rows[:1]
    assert window(T0 + 59_999, T0 + 60_001) == rows[:2]
    assert window(T0 - 1000, T0) == []
    assert window(T0 + 600_000, T0 + 10**9) == []
    assert window(0, T0 * 2) == rows


def test_the_longest_segment_is_not_overlooked(catalog: Catalog) -> None:
    long = row(T0, length_ms=600_000 + 1_000)
    put(catalog, [long])
    at_ms = T0 + 600_500
    assert catalog.read(lambda c: segments.segments_between(c, CAMERA, "main", at_ms, at_ms + 1)) == [long]


def test_the_timeline_reads_the_index_alone(catalog: Catalog) -> None:
    put(catalog, [row(T0 + n * 60_000) for n in range(100)])
    spans = catalog.read(lambda c: segments.spans_between(c, CAMERA, "main", T0, T0 + 86_400_000))
    assert len(spans) == 100

    def explain(connection: Connection) -> list[str]:
        query = segments._window(select(*segments._SPAN), CAMERA, "main", T0, T0 + 1)
        sql = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        if connection.dialect.name == "sqlite":
            return [r[3] for r in connection.execute(text("EXPLAIN QUERY PLAN " + sql))]
        connection.execute(text("SET LOCAL enable_seqscan = off"))  # a table this small is read whole
        return [r[0] for r in connection.execute(text("EXPLAIN " + sql))]

    plan = catalog.read(explain)
    wanted = ("USING COVERING INDEX ix_segment_timeline", "Index Only Scan using ix_segment_timeline")
    assert any(words in line for line in plan for words in wanted), plan
    assert not any(words in line for line in plan for words in ("TEMP B-TREE", "Sort")), plan


@pytest.mark.parametrize("after", [None, (T0 - 1_000, "01")])
@pytest.mark.parametrize("date_unknown", [False, True])
def test_the_sweep_reads_candidates_alone(catalog: Catalog, date_unknown: bool, after: tuple[int, str] | None) -> None:
    """Whatever else of the state there is: at 10^7 rows a walk through them all took seconds every ten minutes. And
    from where the page before ended: pages that each began at the oldest row took hours for two months of key areas."""
    put(catalog, [row(T0 + n * 60_000) for n in range(1_000)])
    asked: list[tuple[str, Any]] = []

    def explain(connection: Connection) -> list[str]:
        words = "EXPLAIN QUERY PLAN "
        if connection.dialect.name != "sqlite":
            connection.execute(text("SET LOCAL enable_seqscan = off"))  # a table this small is read whole
            words = "EXPLAIN "
        event.listen(connection, "before_cursor_execute", lambda *told: asked.append(told[2:4]))
        retention_rows.candidates(connection, "stored", T0, after, 500, date_unknown)
        (sql, values), *_ = asked
        return [str(found[-1]) for found in connection.exec_driver_sql(words + sql, values)]

    plan = "\n".join(catalog.read(explain))
    if date_unknown:
        assert "ix_segment_aged" in plan and "state_end" not in plan, plan
    else:
        assert re.search(r"ix_segment_state_end.*end_ms *<", plan, re.DOTALL), plan
    if after is not None:
        assert re.search(r"ix_segment_\w+.*(_ms *>|_ms, ?\(?id\)[^\n]*>)", plan, re.DOTALL), plan


def test_deleted_segments_stay_on_the_timeline_but_are_not_played(catalog: Catalog) -> None:
    put(catalog, [row(T0, "deleted"), row(T0 + 60_000)])
    assert len(catalog.read(lambda c: segments.spans_between(c, CAMERA, "main", T0, T0 + 10**6))) == 2
    assert len(catalog.read(lambda c: segments.segments_between(c, CAMERA, "main", T0, T0 + 10**6))) == 1


def test_the_backlog_is_counted_and_taken_from_both_ends(catalog: Catalog) -> None:
    rows = [row(T0 + n * 60_000, "spooled") for n in range(5)]
    put(catalog, [*rows, row(T0 + 10**7)])
    backlog = catalog.read(segments.spooled_bytes)
    assert (backlog.count, backlog.bytes, backlog.oldest_end_ms) == (5, 500, T0 + 60_000)
    assert [r.id for r in catalog.read(lambda c: segments.oldest_spooled(c, 2))] == [r.id for r in rows[:2]]
    many = {rows[0].id, *(f"{number:026d}" for number in range(2_000))}
    assert [r.id for r in catalog.read(lambda c: segments.oldest_spooled(c, 1, many))] == [rows[1].id]
    assert [r.id for r in catalog.read(lambda c: segments.newest_spooled(c, 1))] == [rows[4].id]
    assert [r.id for r in catalog.read(lambda c: segments.oldest_spooled(c, 1, {rows[0].id}))] == [rows[1].id]


def test_a_run_keeps_its_first_end(catalog: Catalog) -> None:
    run = RunRow(new_id(), CAMERA, "main", T0, "avc1.640028", 640, 360, None, b"init")
    for _ in range(2):
        catalog.write(lambda c: segments.insert_run(c, run))
    assert catalog.read(lambda c: segments.open_runs(c, CAMERA)) == [run]
    catalog.write(lambda c: segments.end_run(c, run.id, T0 + 5, "pause"))
    catalog.write(lambda c: segments.end_run(c, run.id, T0 + 9, "crash"))
    assert catalog.read(lambda c: segments.run_of(c, run.id)) == replace(run, ended_ms=T0 + 5, end_reason="pause")
    assert catalog.read(lambda c: segments.open_runs(c)) == []


def gap(from_ms: int, to_ms: int | None = None, cause: str = "network") -> GapRow:
    return GapRow(new_id(from_ms), CAMERA, "main", cause, from_ms, to_ms, from_ms)


def test_a_stream_has_one_open_gap_and_its_cause_may_change(catalog: Catalog) -> None:
    first = gap(T0)
    assert catalog.write(lambda c: gaps.open_gap(c, first)) == first.id
    assert catalog.write(lambda c: gaps.open_gap(c, gap(T0 + 5))) == first.id
    other = gap(T0 + 10, cause="credentials")
    assert catalog.write(lambda c: gaps.open_gap(c, other)) == other.id
    assert catalog.read(lambda c: gaps.open_gaps(c, CAMERA)) == [other]
    assert catalog.write(lambda c: gaps.close_gap(c, other.id, T0 + 20))
    assert not catalog.write(lambda c: gaps.close_gap(c, other.id, T0 + 30))
    found = catalog.read(lambda c: gaps.gaps_between(c, CAMERA, "main", T0, T0 + 100))
    assert [(g.cause, g.from_ms, g.to_ms) for g in found] == [
        ("network", T0, T0 + 10),
        ("credentials", T0 + 10, T0 + 20),
    ]


def test_gaps_of_a_window_include_the_open_one(catalog: Catalog) -> None:
    closed, standing = gap(T0, T0 + 10), gap(T0 + 50)
    for one in (closed, closed, standing):
        catalog.write(lambda c, one=one: gaps.insert_gap(c, one))  # type: ignore[misc]  # a bound default

    def between(from_ms: int, to_ms: int) -> list[GapRow]:
        return catalog.read(lambda c: gaps.gaps_between(c, CAMERA, "main", from_ms, to_ms))

    assert between(T0, T0 + 1000) == [closed, standing]
    assert between(T0 + 10, T0 + 50) == []
    assert between(T0 + 10**9, T0 + 10**9 + 1) == [standing]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((0, 10), []),
        ((-5, 15), [(-5, 15)]),  # closed around it: two accounts, and nobody knows which is right
        ((0, 15), [(10, 15)]),
        ((5, None), [(10, None)]),
        ((-5, 5), [(-5, 0)]),
        ((-5, None), [(-5, 0), (10, None)]),
        ((10, None), [(10, None)]),
    ],
)
def test_footage_found_later_takes_its_time_from_a_gap(
    catalog: Catalog, before: tuple[int, int | None], after: list[tuple[int, int | None]]
) -> None:
    start, end = before
    one = gap(T0 + start, None if end is None else T0 + end)
    catalog.write(lambda c: gaps.insert_gap(c, one))
    for _ in range(2):  # whoever does not know whether it was done does it again
        catalog.write(lambda c: gaps.give_back(c, CAMERA, "main", T0, T0 + 10, head_id="head"))
    found = catalog.read(lambda c: gaps.gaps_between(c, CAMERA, "main", T0 - 100, T0 + 100))
    assert [(g.from_ms - T0, None if g.to_ms is None else g.to_ms - T0) for g in found] == after
    assert [g.id for g in catalog.read(gaps.open_gaps)] == ([one.id] if end is None else [])


def test_a_clock_that_stepped_back_gives_no_negative_gap(catalog: Catalog) -> None:
    one = gap(T0)
    catalog.write(lambda c: gaps.open_gap(c, one))
    catalog.write(lambda c: gaps.close_gap(c, one.id, T0 - 500))
    assert catalog.read(lambda c: gaps.gaps_between(c, CAMERA, "main", T0 - 1, T0 + 1))[0].to_ms == T0
    with pytest.raises(ValueError, match="no cause"):
        catalog.write(lambda c: gaps.insert_gap(c, gap(T0, cause="bored")))


def test_facts_are_set_changed_and_forgotten(catalog: Catalog) -> None:
    assert catalog.read(lambda c: facts.get(c, "a.b")) is None
    for value in (1, {"x": [1, "二"]}, None, "text"):
        catalog.write(lambda c, value=value: facts.set(c, "a.b", value))  # type: ignore[misc]  # a bound default
        assert catalog.read(lambda c: facts.get(c, "a.b")) == value
    catalog.write(lambda c: facts.forget(c, "a.b"))
    assert catalog.read(lambda c: facts.get(c, "a.b")) is None


@pytest.mark.fault("B3")
def test_a_catalog_that_was_opened_for_reading_only_is_opened_anew(tmp_path: Path) -> None:
    """As SQLite does by itself, and without a word, when the open for writing fails once."""
    catalog = make_catalog(tmp_path)

    def read_only(*_: object) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{tmp_path / 'catalog.db'}?mode=ro", uri=True, check_same_thread=False)

    catalog._engine.dispose()
    event.listen(catalog._engine, "do_connect", read_only, once=True)
    with pytest.raises(OperationalError, match="readonly"):
        put(catalog, [row(T0)])
    put(catalog, [row(T0)])
    assert len(catalog.read(lambda c: segments.all_segments(c, ["stored"]))) == 1
    catalog.close()
