"""Power loss at every call of the commit path: what was acknowledged is whole, what was synced is kept. (I1, I2; B2)

`tests.torture.power` says which states a disk may be found in. Recovery runs on each of them as a recorder's start
does it, then everything is uploaded, and the same eyes look as after a kill. `scripts/torture recording` looks at ten
thousand states, the suite at some hundreds. The twins leave out a sync, of files or of folders, and must be caught.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from config.clock import ManualClock
from storage.media.boxes import salvage
from storage.objects.folder import FolderStore
from storage.salvage import recover
from storage.spool import Spool
from tests.media import WALL_NS
from tests.torture.commit_path import (
    CAMERA,
    LIFE_S,
    NODE,
    NOT_BEGUN,
    Life,
    one_thread_catalog,
    one_thread_uploader,
    prepare,
)
from tests.torture.eyes import Disk, judge
from tests.torture.power import World
from tests.torture.stage import Injection, Stage


@dataclass
class Seen:
    states: int = 0
    calls: Counter[str] = field(default_factory=Counter)  #: after which the power went
    acknowledged: int = 0  #: over all states
    synced: int = 0  #: open parts with durable fragments, over all states
    failed_syncs: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def proves_something(self) -> bool:
        return self.acknowledged > self.states and self.synced > 0

    def __str__(self) -> str:
        return (
            f"states {self.states} after {dict(self.calls)}; acknowledged segments looked at {self.acknowledged}, "
            f"parts with durable fragments {self.synced}, syncs that failed {self.failed_syncs}; "
            f"faults {len(self.faults)}"
        )


class Morning:
    """The start after a power loss, again and again in one folder and with one engine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._clock = ManualClock(WALL_NS + 10 * LIFE_S * 10**9)
        self._catalog = one_thread_catalog(folder)

    def look(self, world: World, dice: random.Random, where: str, seen: Seen) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        world.lose_power(self.folder, dice)
        seen.states += 1
        seen.acknowledged += len(world.told)
        try:
            self._recover()
            faults = self._faults(world, seen)
        except Exception as error:
            faults = [f"{type(error).__name__}: {error}"]
        seen.faults += [f"{where}: {fault}" for fault in faults]

    def _recover(self) -> None:
        catalog, clock = self._catalog, self._clock
        spool, store = Spool(self.folder / "spool", clock, NODE), FolderStore(self.folder / "objects")
        recover(catalog, spool, spool.cameras())
        store.ensure()
        uploader = one_thread_uploader(catalog, store, spool, clock)
        while uploader.run_once().stored:
            pass
        catalog._engine.dispose()

    def _faults(self, world: World, seen: Seen) -> list[str]:
        disk = Disk(self.folder)
        rows = {row.id: row for row in disk.rows()}
        verdict = judge(disk, world.told, [], decode=False)
        faults = [f"{kind} {found}" for kind, found in verdict.faults.items()]
        faults += [f"{row.id} is still {row.state}" for row in rows.values() if row.state != "stored"]
        with closing(sqlite3.connect(self.folder / "catalog" / "catalog.db")) as connection:
            if (said := connection.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
                faults.append(f"the catalog is damaged: {said}")
        for name, data in world.durable_files("spool", CAMERA).items():
            whole = _whole_part(data)
            if not whole:
                continue
            seen.synced += name.endswith(".part")
            row = rows.get(name.split(".")[0])
            if row is None or (disk.bytes_of(row) or b"")[: len(whole)] != whole:
                faults.append(f"synced fragments of {name} are gone")
        return faults


def _whole_part(data: bytes) -> bytes:
    """Up to the last whole fragment; nothing when there is none."""
    found = salvage(lambda offset, count: data[offset : offset + count], len(data))
    return data[: found.good_length] if found.fragments else b""


class Nights:
    """Lives that are recorded once and lose their power many times."""

    def __init__(self, folder: Path, seed: int, enough: int | None = None) -> None:
        """`enough` faults end it."""
        self._folder = folder
        self._enough = enough
        self._dice = random.Random(seed)
        self._morning = Morning(folder / "morning")
        self.seen = Seen()
        prepare(folder / "base")

    def lose(self, stage: Stage, times: int, *injections: Injection, order: str = "right", torn: bool = False) -> None:
        """A life in full, and `times` states of each of its calls. `torn`: it begins with what a killed one left."""
        base, life = self._folder / "base", Life(str(self._folder / "life"), order, 1, 4.0)
        shutil.rmtree(life.folder, ignore_errors=True)
        shutil.copytree(base, life.folder)
        if torn:
            stage.live(life, Injection("rename", "KILL", 2))
            base, life = self._folder / "torn", Life(life.folder, order, 2, 1.0)
            shutil.rmtree(base, ignore_errors=True)
            shutil.copytree(life.folder, base)
        ended = stage.record(life, *injections)
        assert ended.code in (0, NOT_BEGUN), f"{ended} {injections}"
        assert ended.hits == len(injections)
        world = World(base, life.folder)
        for index, call in enumerate(world.replay(ended.log)):
            for _ in range(times):
                if self._enough is not None and len(self.seen.faults) >= self._enough:
                    return
                self._morning.look(world, self._dice, f"{order}, {injections}, call {index} {call}", self.seen)
            self.seen.calls[call] += times
        self.seen.failed_syncs += world.failed_syncs


#: How often the power goes in the torture run.
MANY = int(os.environ.get("TIERGATE_TORTURE_POINTS", "1000" if "TIERGATE_TORTURE_QUICK" in os.environ else "10000"))
#: Calls that make durable, in a life: each of them fails once.
SYNCS_OF_A_LIFE = {"fsync": 24, "fdatasync": 20}
#: Of a name, whose failure is easily passed over: SQLite's own of the folder in which it has made its log, and the
#: store's of the folder into which the first segment was linked, tried again with the link there already.
OF_NAMES = (Injection("fdatasync", "EIO", 2), Injection("fsync", "EIO", 13))


@pytest.mark.fault("B2")
@pytest.mark.parametrize(
    "many",
    [pytest.param(False, marks=pytest.mark.real, id="few"), pytest.param(True, marks=pytest.mark.torture, id="many")],
)
def test_nothing_acknowledged_or_synced_is_lost_with_the_page_cache(
    memory_folder: Path, many: bool, counted: Callable[[object], None]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    nights = Nights(memory_folder, seed)
    failing = [Injection(call, "EIO", n) for call, count in SYNCS_OF_A_LIFE.items() for n in range(1, count + 1)]
    with Stage(memory_folder / "strace.log") as stage:
        nights.lose(stage, 1)
        nights.lose(stage, 1, torn=True)
        for injection in OF_NAMES:
            nights.lose(stage, 1, injection)
        # The power goes after a disk has failed to sync: what it failed to sync must be somewhere else by then.
        for injection in random.Random(seed).sample(failing, len(failing) if many else 1):
            if not many or nights.seen.states < MANY:
                nights.lose(stage, 1, injection)
        while many and nights.seen.states < MANY:
            nights.lose(stage, 2)
            nights.lose(stage, 2, torn=True)
    counted(f"seed {seed}; {nights.seen}")
    assert nights.seen.faults == [], f"seed {seed}: {nights.seen.faults[:20]}"
    assert nights.seen.proves_something, f"seed {seed}: {nights.seen}"
    assert nights.seen.failed_syncs > 0


@pytest.mark.real
@pytest.mark.parametrize("order", ["no_file_sync", "no_folder_sync"])
def test_the_same_eyes_catch_a_missing_sync(memory_folder: Path, order: str, counted: Callable[[object], None]) -> None:
    nights = Nights(memory_folder, 1, enough=1)
    with Stage(memory_folder / "strace.log") as stage:
        nights.lose(stage, 1, order=order)
    counted(f"{order} caught after {nights.seen.states} states: {nights.seen.faults}")
    assert "row without its bytes" in nights.seen.faults[0]


def test_a_night_without_acknowledgements_proves_nothing() -> None:
    assert not Seen().proves_something
    assert Seen(states=10, acknowledged=11, synced=1).proves_something
    assert not Seen(states=10, acknowledged=11).proves_something
