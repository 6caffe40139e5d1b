"""Random divergence between spool, catalog and store: the reconciler mends it in two passes and destroys nothing.

Each world gives four real segments a row in some state, an object and a spool copy (none, whole, flipped, cut), hides
some objects during the first look as a share does that is not mounted, and lets strangers' files lie about. The suite
looks at 10^3 worlds, ``scripts/torture store`` at 10^4. The mutants show that the eyes would see.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from config.units import HOUR_MS
from storage import check as checking
from storage import damage
from storage.catalog import segments
from storage.catalog.engine import Catalog
from storage.catalog.tables import fact, gap, run, segment
from storage.check import Level, Repairer, RepairReport, check
from storage.objects.folder import FolderStore
from storage.spool import Spool
from tests.media import WALL_NS
from tests.storage.footage import Recorded, make_catalog, make_spool, record

NOW_MS = WALL_NS // 1_000_000 + 5 * HOUR_MS
FEW = 1_000
STATES = ("none", "spooled", "stored", "condemned", "deleting", "deleted", "lost")
BYTES = ("none", "whole", "flipped", "cut")


@dataclass(frozen=True, slots=True)
class Fate:
    """One segment of a world."""

    state: str
    stored: str
    spooled: str
    hidden: bool  #: its object cannot be seen during the first look


FATES = st.builds(Fate, st.sampled_from(STATES), st.sampled_from(BYTES), st.sampled_from(BYTES), st.booleans())
WORLDS = st.lists(FATES, min_size=4, max_size=4)


def spoiled(data: bytes, how: str) -> bytes:
    if how == "flipped":
        return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    return data[:-40] if how == "cut" else data


class Universe:
    """Where worlds are made, one after another."""

    def __init__(self, folder: Path) -> None:
        self.catalog: Catalog = make_catalog(folder)
        self.spool: Spool = make_spool(folder)
        self.store = FolderStore(folder / "objects")
        self.store.ensure()
        self._aside = folder / "aside"
        recorded: list[Recorded] = [
            one for number in range(4) for one in record(self.spool, 0.2, wall_ns=WALL_NS + number * 10**11)[:1]
        ]
        self.segments = [(one, one.path.read_bytes()) for one in recorded]
        self.worlds = 0
        self.seen: Counter[str] = Counter()

    def clear(self) -> None:
        for root in (self.store.root, self.spool.root):
            for entry in root.iterdir():
                if entry.is_dir() and not entry.name.startswith("."):
                    shutil.rmtree(entry)
        shutil.rmtree(self._aside, ignore_errors=True)

        def forget(connection: object) -> None:
            for table in (segment, run, gap, fact):
                connection.execute(delete(table))  # type: ignore[attr-defined]  # a connection of SQLAlchemy

        self.catalog.write(forget)

    def make(self, fates: list[Fate]) -> list[Path]:
        """The world; the objects that are hidden at first."""
        self.clear()
        rows, hidden = [], []
        for fate, (one, data) in zip(fates, self.segments, strict=True):
            if fate.state != "none":
                volume = self.spool.volume_id if fate.spooled != "none" else None
                rows.append(replace(one.segment, state=fate.state, volume=volume))
            for root, where, how in (
                (self.store.root, one.segment.object_key, fate.stored),
                (self.spool.root, f"{one.segment.camera_id}/{one.segment.id}.mp4", fate.spooled),
            ):
                if how == "none":
                    continue
                path = root / where
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(spoiled(data, how))
                if root == self.store.root and fate.hidden:
                    hidden.append(path)
        stray = self.store.root / "somebody" / "holiday.jpg"
        stray.parent.mkdir(parents=True)
        stray.write_bytes(b"mine")
        self.catalog.write(lambda c: segments.insert_runs(c, [self.segments[0][0].run]))
        self.catalog.write(lambda c: segments.insert_segments(c, rows))
        return hidden

    def contents(self) -> Counter[bytes]:
        """Every content that lies anywhere."""
        roots = (self.store.root, self.spool.root)
        paths = [p for root in roots for p in root.rglob("*") if p.is_file() and not p.name.startswith(".")]
        return Counter(hashlib.sha256(path.read_bytes()).digest() for path in paths)

    def states(self) -> dict[str, str]:
        ids = [one.segment.id for one, _ in self.segments]
        return self.catalog.read(lambda c: segments.existing(c, ids))

    def whole_somewhere(self) -> set[str]:
        found = set()
        for one, _ in self.segments:
            in_store = damage.digest_of(self.store, one.segment.object_key)
            in_spool = damage.digest_of_file(self.spool.path_of(one.segment.camera_id, one.segment.id))
            if one.segment.sha256 in (in_store, in_spool):
                found.add(one.segment.id)
        return found

    def nothing_given_up(self, live: set[str]) -> None:
        states = self.states()
        assert {id_ for id_ in live if states[id_] not in segments.READABLE} == set()

    def pass_over(self, now_ms: int) -> RepairReport:
        report = check(self.catalog, self.store, self.spool, now_ms, Level.HASH)
        self.seen.update(finding.kind for finding in report.findings)
        return Repairer(self.catalog, self.store, self.spool, "os:test").repair(report)


def judge(universe: Universe, fates: list[Fate]) -> None:
    hidden = universe.make(fates)
    universe.worlds += 1
    before, live = universe.contents(), universe.whole_somewhere()
    readable = {id_ for id_, state in universe.states().items() if state in segments.READABLE}
    asides = [(path, universe.store.root.parent / "aside" / path.name) for path in hidden]
    for path, aside in asides:
        aside.parent.mkdir(exist_ok=True)
        os.rename(path, aside)
    universe.pass_over(NOW_MS)
    universe.nothing_given_up(readable & live)  # not even for an hour
    for path, aside in asides:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.rename(aside, path)
    for hours in (1, 2):  # what was hidden during the first pass is seen twice only in the third
        universe.pass_over(NOW_MS + hours * HOUR_MS)
        universe.nothing_given_up(readable & live)
    # nothing that lay anywhere is gone
    assert before - universe.contents() == Counter()
    # and there is nothing left to do
    last = check(universe.catalog, universe.store, universe.spool, NOW_MS + 3 * HOUR_MS, Level.HASH)
    kinds = {finding.kind for finding in last.findings}
    assert kinds <= {"size", "hash", "orphan", "missing", "unspooled", "found"}, kinds
    for finding in last.findings:
        row = universe.catalog.read(lambda c, id_=finding.segment_id: segments.segment_of(c, id_))  # type: ignore[misc]  # a bound default
        if finding.kind in ("size", "hash"):
            assert row is not None
            assert universe.catalog.read(lambda c, id_=finding.segment_id: damage.is_marked(c, id_))  # type: ignore[misc]  # as above
        elif finding.kind in ("missing", "unspooled"):  # a torn file in the spool may still be of use to somebody
            assert row is not None and universe.spool.find(row.camera_id, row.id) is not None
        else:  # not what the row says, or no whole segment: left alone
            (sha256,) = [one.segment.sha256 for one, _ in universe.segments if one.segment.id == finding.segment_id]
            assert damage.digest_of(universe.store, finding.key) != sha256
    assert not Repairer(universe.catalog, universe.store, universe.spool, "os:test").repair(last).changed


@pytest.fixture
def universe() -> Iterator[Universe]:
    """In memory where that is possible: a thousand worlds must not wait for a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        made = Universe(Path(folder))
        yield made
        made.catalog.close()


def look_at(universe: Universe, worlds: int, phases: Sequence[Phase] = tuple(Phase)) -> None:
    @settings(
        max_examples=worlds,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    @given(fates=WORLDS)
    def every(fates: list[Fate]) -> None:
        judge(universe, fates)

    every()


@pytest.mark.fault("B13")
@pytest.mark.real
def test_every_world_is_mended_and_nothing_live_destroyed(universe: Universe) -> None:
    print(all_mended(universe, FEW))


def all_mended(universe: Universe, worlds: int) -> str:
    look_at(universe, worlds)
    assert universe.worlds >= worlds
    assert set(universe.seen) == set(checking.KINDS)  # each kind of divergence was there
    return f"worlds {universe.worlds}, live bytes destroyed 0, findings {dict(universe.seen)}"


def _no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "OBSERVATIONS_APART_MS", 0)


def _no_quarantine(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: damage.Mender, row: segments.SegmentRow, now_ms: int) -> bool:
        self._store.delete(row.object_key)
        return True

    monkeypatch.setattr(damage.Mender, "_put_aside", gone)


def _blind_trust_in_spool_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    def sizes_only(self: Repairer, finding: checking.Finding, now_ms: int, done: RepairReport) -> object:
        row = self._row(finding, segments.READABLE)
        return row  # never asks the spool at all

    monkeypatch.setattr(Repairer, "_without_bytes", sizes_only)


@pytest.mark.parametrize("mutant", [_no_second_look, _no_quarantine, _blind_trust_in_spool_copies])
def test_a_reconciler_without_one_of_its_belts_is_caught(
    universe: Universe, monkeypatch: pytest.MonkeyPatch, mutant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    mutant(monkeypatch)
    with pytest.raises(AssertionError):
        look_at(universe, 3_000, [Phase.generate])  # the first world that shows it is enough, however large
