"""Rows that are moved to their true time: what moves, what stays readable, and that a rebuild moves them again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from storage import journal, rebuild, restore
from storage.audit import log as audit
from storage.catalog.engine import Catalog
from storage.catalog.gaps import GapRow, gaps_between, insert_gap
from storage.catalog.segments import end_run, mark_stored
from storage.catalog.tables import run, segment
from storage.objects.folder import FolderStore
from storage.restamp import ACTION, move_again, restamp
from tests.storage.footage import CAMERA, NODE, Recorded, insert, make_catalog, make_spool, new_id, record

START_MS = 120_000  #: two minutes after 1970 began
ADD_MS = 1_790_000_000_000


@dataclass
class Place:
    catalog: Catalog
    store: FolderStore
    made: list[Recorded]

    def segments(self) -> list[dict[str, Any]]:
        query = select(segment).order_by(segment.c.start_ms)
        return [dict(row._mapping) for row in self.catalog.read(lambda c: c.execute(query).all())]

    def runs(self) -> list[dict[str, Any]]:
        return [dict(row._mapping) for row in self.catalog.read(lambda c: c.execute(select(run)).all())]

    def gaps(self) -> list[tuple[str, int, int | None]]:
        found = self.catalog.read(lambda c: gaps_between(c, CAMERA, "main", -1, 10**15))
        return [(row.cause, row.from_ms, row.to_ms) for row in found]

    def restamp(self, add_ms: int = ADD_MS, from_ms: int = START_MS) -> int:
        runs = {self.made[0].run.id: add_ms}
        return self.catalog.write(
            lambda c: restamp(
                c, CAMERA, "main", from_ms, runs, lambda t: t + add_ms if t >= from_ms else t, ADD_MS, new_id()
            )
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Footage of 1970 in the spool and in the store, with rows."""
    catalog, spool, store = make_catalog(tmp_path), make_spool(tmp_path), FolderStore(tmp_path / "objects")
    store.ensure()
    made = [
        Recorded(one.run, replace(one.segment, time_trust="unknown"), one.path)
        for one in record(spool, 3.0, wall_ns=START_MS * 1_000_000)
    ]
    insert(catalog, made)
    catalog.write(lambda c: end_run(c, made[0].run.id, made[-1].segment.end_ms, "clock"))
    for one in made:
        store.put_file(one.segment.object_key, one.path, one.segment.sha256, one.segment.bytes)
    yield Place(catalog, store, made)
    catalog.close()


@pytest.mark.fault("A25")
def test_moved_footage_keeps_what_was_believed_first(place: Place) -> None:
    before, run_before = place.segments(), place.runs()[0]
    assert place.restamp() == len(before) >= 2
    for old, new in zip(before, place.segments(), strict=True):
        changed = {key: value for key, value in new.items() if value != old[key]}
        moved = {"start_ms": old["start_ms"] + ADD_MS, "end_ms": old["end_ms"] + ADD_MS, "time_trust": "restamped"}
        assert changed == moved
    run_after = place.runs()[0]
    assert run_after["started_ms"] - run_before["started_ms"] == ADD_MS
    assert run_after["ended_ms"] - run_before["ended_ms"] == ADD_MS
    (entry,) = place.catalog.read(lambda c: audit.entries(c, action=ACTION))
    assert entry.details == {"stream": "main", "runs": {run_before["id"]: ADD_MS}}
    assert place.restamp() == 0, "nothing moves twice"


def test_gaps_move_with_their_footage_and_a_jump_vanishes(place: Place) -> None:
    end_ms = place.made[-1].segment.end_ms
    rows = [("network", START_MS + 1_000, START_MS + 2_000), ("clock", end_ms, end_ms + 1), ("disabled", end_ms, None)]
    for cause, from_ms, to_ms in rows:
        gap = GapRow(new_id(), CAMERA, "main", cause, from_ms, to_ms, from_ms)
        place.catalog.write(lambda c, gap=gap: insert_gap(c, gap))  # type: ignore[misc]  # a bound default
    for _ in range(2):  # whoever does not know whether it was done does it again
        place.restamp()
    moved: list[tuple[str, int, int | None]] = [("network", START_MS + 1_000 + ADD_MS, START_MS + 2_000 + ADD_MS)]
    moved += [("clock", end_ms + ADD_MS, end_ms + ADD_MS), ("disabled", end_ms + ADD_MS, None)]
    assert sorted(place.gaps()) == sorted(moved)


def test_what_was_there_before_stays_and_the_time_between_gets_a_name(place: Place) -> None:
    gap = GapRow(new_id(), CAMERA, "main", "network", START_MS - 5_000, START_MS - 1_000, 0)
    place.catalog.write(lambda c: insert_gap(c, gap))
    place.restamp()
    assert place.gaps() == [
        ("network", START_MS - 5_000, START_MS - 1_000),
        ("clock", START_MS - 1_000, START_MS + ADD_MS),
    ]


@pytest.mark.fault("A25")
def test_a_rebuild_moves_the_same_rows_again(place: Place, tmp_path: Path) -> None:
    place.restamp()
    assert journal.write(place.catalog, place.store, NODE, ADD_MS) is not None
    wanted = {row["id"]: (row["start_ms"], row["end_ms"], row["time_trust"]) for row in place.segments()}
    (tmp_path / "fresh").mkdir()
    fresh = make_catalog(tmp_path / "fresh")
    remembered = journal.read(place.store, NODE)
    assert remembered.restamps == {place.made[0].run.id: ADD_MS}
    rebuild.rebuild(fresh, place.store, NODE, ADD_MS, "test")
    again = Place(fresh, place.store, place.made)
    assert {row["start_ms"] for row in again.segments()} != {start for start, _, _ in wanted.values()}
    for count in (len(wanted), 0):
        assert journal.restore_restamps(fresh, remembered) == count
        found = {row["id"]: (row["start_ms"], row["end_ms"], row["time_trust"]) for row in again.segments()}
        assert found == wanted
    assert again.runs()[0]["started_ms"] == place.runs()[0]["started_ms"]
    fresh.close()


@pytest.mark.fault("A25", "B31")
def test_a_restore_moves_what_was_moved_after_the_backup(place: Place, tmp_path: Path) -> None:
    """Both what the backup has and what it does not know yet."""
    (tmp_path / "backup").mkdir()
    backup = make_catalog(tmp_path / "backup")
    insert(backup, place.made[:1])
    place.restamp()
    journal.write(place.catalog, place.store, NODE, ADD_MS)
    wanted = {row["id"]: (row["start_ms"], row["end_ms"], row["time_trust"]) for row in place.segments()}
    done = restore.reconcile(backup, place.store, None, NODE, ADD_MS, "test")
    assert (done.rebuilt.added, done.journal.restamped) == (len(wanted) - 1, len(wanted))
    again = Place(backup, place.store, place.made)
    assert {row["id"]: (row["start_ms"], row["end_ms"], row["time_trust"]) for row in again.segments()} == wanted
    backup.close()


def test_a_rebuild_after_the_journal_told_of_a_moved_run_moves_its_segments(place: Place) -> None:
    """The run comes back where it was moved to, its segments from their files where they were believed to be."""
    run_id = place.made[0].run.id
    place.catalog.write(
        lambda c: c.execute(update(run).where(run.c.id == run_id).values(started_ms=run.c.started_ms + ADD_MS))
    )
    told_ms, before = place.runs()[0]["started_ms"], [row["start_ms"] for row in place.segments()]
    assert place.catalog.write(lambda c: move_again(c, {run_id: ADD_MS})) == len(before)
    assert [row["start_ms"] for row in place.segments()] == [start + ADD_MS for start in before]
    assert place.runs()[0]["started_ms"] == told_ms


@pytest.mark.fault("A25")
@pytest.mark.parametrize("add_ms", [ADD_MS, -START_MS // 2])
def test_what_the_journal_keeps_of_moved_segments_moves_with_them(place: Place, tmp_path: Path, add_ms: int) -> None:
    """It tells where they ended by the clock that was wrong, behind or ahead; the rows may have been moved before."""
    ids = [one.segment.id for one in place.made]
    place.catalog.write(lambda c: mark_stored(c, ids, ADD_MS))
    place.restamp(add_ms)
    late_ms = 2 * ADD_MS
    journal.write(place.catalog, place.store, NODE, late_ms)
    remembered = journal.read(place.store, NODE)
    assert remembered.kept

    def times(of: Place) -> list[tuple[int, int, str]]:
        return [(row["start_ms"], row["end_ms"], row["time_trust"]) for row in of.segments()]

    wanted = times(place)
    assert journal.restore_kept(place.catalog, place.store, remembered) == len(wanted)
    assert times(place) == wanted
    (tmp_path / "fresh").mkdir()
    fresh = Place(make_catalog(tmp_path / "fresh"), place.store, place.made)
    rebuild.rebuild(fresh.catalog, place.store, NODE, late_ms, "test")
    for _ in range(2):
        assert journal.restore_kept(fresh.catalog, place.store, remembered) == len(wanted)
        journal.restore_restamps(fresh.catalog, remembered)
        assert times(fresh) == wanted
    fresh.catalog.close()
