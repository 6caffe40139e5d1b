"""kill -9 at random instants of the storage side: nothing acknowledged is lost, no row is without its bytes, no segment
stands twice. (I1)

``scripts/torture recording [--points N]`` does it two thousand times, the suite a few times (TIERGATE_TORTURE_KILLS).
The known-bad twin runs through the same eyes: if they do not catch it, they would not catch anything.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path

import pytest

from config.clock import SystemClock
from storage.catalog import segments
from storage.catalog.engine import Catalog
from storage.catalog.segments import SegmentRow
from storage.objects.folder import FolderStore
from storage.salvage import recover
from storage.spool import PART, Spool
from storage.uploader import Uploader
from tests.media import decode_mp4
from tests.parts.wait import until
from tests.storage.footage import NODE, make_catalog, make_spool

KILLS = int(os.environ.get("TIERGATE_TORTURE_KILLS", "20"))
POINTS = int(os.environ.get("TIERGATE_TORTURE_POINTS", "200" if "TIERGATE_TORTURE_QUICK" in os.environ else "2000"))
#: Kills of one folder: its rows are all looked at after each kill.
OF_A_FOLDER = 100
ROOT = Path(__file__).parents[2]


@dataclass
class Seen:
    """What the eyes saw over all kills."""

    kills: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)  #: acknowledged, but no row
    without_bytes: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    torn: int = 0  #: kills that left an open part

    @property
    def faults(self) -> list[str]:
        return self.lost + self.without_bytes + self.twice

    def __add__(self, other: Seen) -> Seen:
        return Seen(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Seen)))

    def __str__(self) -> str:
        return (
            f"kills {self.kills}, acknowledged {self.acknowledged}, open parts hit {self.torn}, lost {len(self.lost)}, "
            f"rows without bytes {len(self.without_bytes)}, double {len(self.twice)}, {dict(self.states)}"
        )


def proves_something(seen: Seen) -> bool:
    """A run in which nothing was acknowledged, or nothing torn, has found no fault because it has not looked."""
    return seen.acknowledged > seen.kills // 4 and seen.kills > 0 and seen.torn > 0


def acknowledgements(folder: Path) -> list[str]:
    path = folder / "acknowledged"
    if not path.exists():
        return []
    # the last line may be torn; it was then not acknowledged
    return [line for line in path.read_text().split("\n")[:-1] if len(line) == 26]


def bytes_of(row: SegmentRow, spool: Spool, store: FolderStore) -> bytes | None:
    if row.state == "spooled":
        path = spool.path_of(row.camera_id, row.id)
        if path.exists():
            return path.read_bytes()
    return store.read(row.object_key) if store.head(row.object_key) is not None else None


def look(folder: Path, seen: Seen, checked: set[str]) -> None:
    """Judges catalog, spool and store as the killed process left them."""
    spool = Spool(folder / "spool", SystemClock(), NODE)
    store = FolderStore(folder / "objects")
    catalog = Catalog(f"sqlite:///{folder / 'catalog.db'}")
    try:
        rows = catalog.read(partial(segments.all_segments, states=("spooled", "stored")))
    finally:
        catalog.close()
    acknowledged = acknowledgements(folder)
    seen.acknowledged = len(acknowledged)
    seen.lost += sorted(set(acknowledged) - {row.id for row in rows})
    seen.states = Counter(row.state for row in rows)
    seen.torn += any(spool.open_parts(camera) for camera in spool.cameras())
    begun = Counter(row.start_wall_ns for row in rows)
    seen.twice += [row.id for row in rows if begun[row.start_wall_ns] > 1]
    for row in rows:
        if row.state == "stored" and row.id in checked:
            continue
        data = bytes_of(row, spool, store)
        if data is None or hashlib.sha256(data).digest() != row.sha256:
            seen.without_bytes.append(row.id)
        elif row.state == "stored":
            checked.add(row.id)


def torture(folder: Path, order: str, kills: int, seed: int, enough: Callable[[Seen], bool] = lambda _: False) -> Seen:
    dice = random.Random(seed)
    make_catalog(folder).close()
    make_spool(folder)
    FolderStore(folder / "objects").ensure()
    argv = [sys.executable, "-m", "tests.torture.crash_writer", str(folder), order]
    seen = Seen()
    checked: set[str] = set()
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as zygote:
        assert zygote.stdin is not None and zygote.stdout is not None
        for number in range(kills):
            before = len(acknowledgements(folder))
            print("start", file=zygote.stdin, flush=True)
            pid = int(zygote.stdout.readline())
            # Every other one dies at some instant of its start and salvage, the rest in full work: of these every other
            # one with a part open, which on a quick disk is too short a time to be met by luck.
            working, aimed = number % 2 == 1, number % 4 == 3
            if working:
                until(partial(_more_than, folder, before), 30, "a writer acknowledges", every_s=0.005)
            time.sleep(dice.uniform(0, 0.15))  # the instant of the kill, not a wait for anything
            if aimed:
                until(partial(_stopped_with_an_open_part, pid, folder), 30, "a part is open", every_s=0.001)
            os.kill(pid, signal.SIGKILL)
            until(partial(_gone, pid), 10, "the killed writer is gone", every_s=0.002)
            seen.kills += 1
            look(folder, seen, checked)
            if enough(seen):
                break
        zygote.stdin.close()
    return seen


def _more_than(folder: Path, count: int) -> bool:
    return len(acknowledgements(folder)) > count


def _stopped_with_an_open_part(pid: int, folder: Path) -> bool:
    def some_open() -> bool:
        return any((folder / "spool").glob(f"*/*{PART}"))

    if not some_open():
        return False
    os.kill(pid, signal.SIGSTOP)
    until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", 10, "it has stopped")
    if some_open():
        return True
    os.kill(pid, signal.SIGCONT)
    return False


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.fault("B1")
@pytest.mark.real
def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path, counted: Callable[[object], None]) -> None:
    seed = random.SystemRandom().randrange(2**32)
    seen = kill_and_look(tmp_path, KILLS, seed)
    counted(f"seed {seed}; {seen}")
    assert proves_something(seen), f"seed {seed}: {seen}"
    assert seen.kills == KILLS


@pytest.mark.fault("B1")
@pytest.mark.torture
def test_nothing_acknowledged_is_lost_by_thousands_of_kills(
    memory_folder: Path, counted: Callable[[object], None]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    whole = Seen()
    while whole.kills < POINTS:
        folder = memory_folder / str(whole.kills)
        folder.mkdir()
        whole += kill_and_look(folder, min(OF_A_FOLDER, POINTS - whole.kills), seed + whole.kills)
        shutil.rmtree(folder)
    counted(f"seed {seed}; {whole}")
    assert proves_something(whole), f"seed {seed}: {whole}"


def kill_and_look(folder: Path, kills: int, seed: int) -> Seen:
    seen = torture(folder, "right", kills, seed)
    assert seen.faults == [], f"seed {seed}: {seen.faults}"
    # and what was torn becomes whole footage in the store
    catalog = Catalog(f"sqlite:///{folder / 'catalog.db'}")
    spool, store = Spool(folder / "spool", SystemClock(), NODE), FolderStore(folder / "objects")
    recover(catalog, spool, spool.cameras())
    uploader = Uploader(catalog, store, spool, SystemClock())
    while uploader.run_once().stored:
        pass
    uploader.close()
    rows = catalog.read(partial(segments.all_segments, states=("spooled", "stored")))
    catalog.close()
    assert {row.state for row in rows} == {"stored"}
    assert set(acknowledgements(folder)) <= {row.id for row in rows}
    for row in [row for row in rows if row.salvaged][:5]:
        assert decode_mp4(store.read(row.object_key)).pictures > 0
    assert [p for camera in spool.cameras() for p in spool.root.glob(f"{camera}/*{PART}")] == []
    return seen


@pytest.mark.parametrize(
    "", [pytest.param(marks=pytest.mark.real, id="few"), pytest.param(marks=pytest.mark.torture, id="many")]
)
def test_the_same_eyes_catch_a_row_before_its_bytes(tmp_path: Path) -> None:
    seen = torture(tmp_path, "row_first", 60, 1, enough=lambda seen: bool(seen.faults))
    assert seen.without_bytes != []


def test_a_run_without_acknowledgements_proves_nothing() -> None:
    assert not proves_something(Seen())
    assert not proves_something(Seen(kills=20, acknowledged=0, torn=5))
    assert not proves_something(Seen(kills=20, acknowledged=100, torn=0))
    assert proves_something(Seen(kills=20, acknowledged=100, torn=5))
