"""Every Nth system call of the commit path × {KILL, EIO, ENOSPC}: nothing acknowledged is lost. (I1, I5; B1, B3)

`scripts/torture recording` takes every N of every call, the suite a few of each and says which. The life that is hit
is judged as it was left, then another life of the same folder recovers, records and uploads, and is judged again. The
known-bad twin goes through the same sweep.
"""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.media import WALL_NS
from tests.torture.commit_path import LIFE_S, NOT_BEGUN, Life, prepare
from tests.torture.eyes import TOLERANCE_MS, Disk, judge
from tests.torture.stage import CHANGING, Ended, Injection, Stage, calls_of

SECONDS = 4.0
#: A fault that lasts: so many calls in a row fail.
STRETCH = 6
SYNCS = ("fsync", "fdatasync")


@dataclass
class Seen:
    points: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    went_on: int = 0  #: lives that went on to their end after an error
    came_back: int = 0  #: of those, hit early enough to be seen recording again before it
    not_begun: int = 0  #: lives that could not begin, as a recorder whose disk cannot be read
    salvaged: int = 0  #: segments that were made whole after a hit
    failed_syncs: int = 0  #: of part files
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"points {dict(self.points)}, hits {dict(self.hits)}; acknowledged {self.acknowledged}, went on after an "
            f"error {self.went_on}, seen recording again {self.came_back}, could not begin {self.not_begun}, salvaged "
            f"{self.salvaged}, part files whose sync failed {self.failed_syncs}; faults {len(self.faults)}"
        )

    @property
    def proves_something(self) -> bool:
        return (
            self.points == self.hits and self.acknowledged > 0 and self.salvaged > 0
            and (not self.went_on or self.came_back > 0)
        )  # fmt: skip


class Sweep:
    """A folder per point, copied from one that is ready."""

    def __init__(self, folder: Path, order: str, stage: Stage) -> None:
        self._folder, self._order, self._stage = folder, order, stage
        self._base = folder / "base"
        self._calls: Counter[str] = Counter()
        self.seen = Seen()
        prepare(self._base)

    def calls(self) -> Counter[str]:
        life = self._life()
        self._calls = self._stage.count(life)
        self._judge("untouched", self._told(), life)
        return self._calls

    def begin_torn(self) -> None:
        """From now on each point finds what a killed life left: an open part, a sealed file without a row."""
        life = self._life()
        self._stage.live(life, Injection("rename", "KILL", 2))
        torn = self._folder / "torn"
        shutil.copytree(life.folder, torn)
        shutil.copy(life.folder + ".manifest", str(torn) + ".manifest")
        self._base = torn

    def point(self, injection: Injection) -> None:
        seen = self.seen
        life = self._life()
        ended = self._stage.live(life, injection)
        seen.points[injection.what] += 1
        seen.hits[injection.what] += ended.hits > 0
        if not ended.hits:
            seen.faults.append(f"{injection} hit nothing")
            return
        where = f"{self._order}, {injection}, code {ended.code}: {hit_line(ended)}"
        told = self._told()
        seen.acknowledged += len(told)
        went_on = ended.code == 0
        early = went_on and not injection.last and injection.first <= self._calls[injection.call] // 3
        self._judge(where, told, life, accounted=went_on, to_its_end=early)
        if injection.what == "KILL":
            self._expect(ended.code == -9, where, "not killed")
        elif ended.code == NOT_BEGUN:
            seen.not_begun += 1
        else:
            seen.went_on += 1
            seen.came_back += early
            self._expect(went_on, where, "the recorder ended by itself")
        self._nobody_syncs_again(ended, where)
        second = Life(life.folder, "right", life.number + 1, 2.0)
        self._expect(self._stage.live(second).code == 0, where, "the next life did not go on")
        self._judge(where + ", next life", self._told(), second)
        self._expect(not Disk(self._here).parts(), where, "open parts are left")
        self._expect(
            all(row.state == "stored" for row in Disk(self._here).rows()), where, "not everything is in the store"
        )

    # --- looking ---

    def _judge(
        self, where: str, told: dict[str, str], life: Life, *, accounted: bool = True, to_its_end: bool = True
    ) -> None:
        """A life that was killed has said nothing yet of its last moments (not `accounted`)."""
        disk = Disk(self._here)
        verdict = judge(disk, told, [], decode=False)
        for kind, found in verdict.faults.items():
            if accounted or kind not in ("unaccounted for", "a gap over footage or gap"):
                self.seen.faults.append(f"{where}: {kind}: {found}")
        rows = disk.rows()
        starts = Counter((row.start_ms, row.end_ms) for row in rows)
        self._expect(max(starts.values(), default=1) == 1, where, "a segment twice")
        self.seen.salvaged += verdict.salvaged
        if to_its_end:
            end_ms = WALL_NS // 10**6 + round((life.number * LIFE_S + life.seconds) * 1000)
            missing_ms = end_ms - max((row.end_ms for row in rows), default=0)
            self._expect(abs(missing_ms) <= TOLERANCE_MS, where, f"footage ends {missing_ms} ms before the life")

    def _nobody_syncs_again(self, ended: Ended, where: str) -> None:
        """A part whose sync failed is never synced again, and is acknowledged only as a copy. (B3)"""
        lines = calls_of(ended.log)
        for index, line in enumerate(lines):
            if not (line.startswith(SYNCS) and "(INJECTED)" in line):
                continue
            found = re.search(r"/([0-9A-Z]{26})\.part>", line)
            if found is None:
                continue
            self.seen.failed_syncs += 1
            stem = found[1]
            again = [
                later for later in lines[index + 1 :]
                if later.startswith(SYNCS) and stem in later and not re.search(rf"{stem}\.copy|/objects/", later)
            ]  # fmt: skip
            self._expect(not again, where, f"synced again: {again}")
            row = next((row for row in Disk(self._here).rows() if row.id == stem), None)
            self._expect(row is None or row.salvaged, where, "acknowledged after a failed sync")

    def _expect(self, true: bool, where: str, what: str) -> None:
        if not true:
            self.seen.faults.append(f"{where}: {what}")

    # --- folders ---

    @property
    def _here(self) -> Path:
        return self._folder / "now"

    def _life(self) -> Life:
        shutil.rmtree(self._here, ignore_errors=True)
        shutil.copytree(self._base, self._here)
        manifest = Path(f"{self._here}.manifest")
        manifest.unlink(missing_ok=True)
        torn = Path(f"{self._base}.manifest")
        if torn.exists():
            shutil.copy(torn, manifest)
        return Life(str(self._here), self._order, 2 if torn.exists() else 1, SECONDS)

    def _told(self) -> dict[str, str]:
        manifest = Path(f"{self._here}.manifest")
        lines = manifest.read_text().splitlines() if manifest.exists() else []
        return {segment: digest for segment, digest in (line.split(" ") for line in lines)}


def hit_line(ended: Ended) -> str:
    lines = calls_of(ended.log)
    hit = [line for line in lines if "(INJECTED)" in line] or [line for line in lines if "+++" not in line][-1:]
    return hit[0][:160] if hit else ""


KINDS = ("KILL", "EIO", "ENOSPC")


def every_point(calls: Counter[str]) -> list[Injection]:
    """Every N of every call × what is done to it; and errors that last for some calls."""
    found = [Injection(call, what, n) for call, count in calls.items() for what in KINDS for n in range(1, count + 1)]
    for call, count in calls.items():
        found += [
            Injection(call, what, n, n + STRETCH) for what in KINDS[1:] for n in range(1, count + 1, STRETCH // 2)
        ]
    return found


def some_points(calls: Counter[str], dice: random.Random) -> list[Injection]:
    """One N of each call × what is done to it, and an error that lasts."""
    found = [Injection(call, what, dice.randint(1, count)) for call, count in calls.items() for what in KINDS]
    call = dice.choice(("write", "fsync", "pwrite64"))
    return [*found, Injection(call, "ENOSPC", first := dice.randint(1, calls[call] // 2), first + STRETCH)]


few_or_every = pytest.mark.parametrize(
    "every",
    [pytest.param(False, marks=pytest.mark.real, id="few"), pytest.param(True, marks=pytest.mark.torture, id="every")],
)


@pytest.mark.fault("B1", "B3")
@few_or_every
def test_nothing_is_lost_at_any_call_of_the_commit_path(
    memory_folder: Path, every: bool, counted: Callable[[object], None]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    with Stage(memory_folder / "strace.log") as stage:
        sweep = Sweep(memory_folder, "right", stage)
        calls = sweep.calls()
        assert set(calls) >= set(CHANGING) - {"writev"}
        for injection in every_point(calls) if every else some_points(calls, random.Random(seed)):
            sweep.point(injection)
    counted(f"seed {seed}; calls {dict(calls)}; {sweep.seen}")
    assert sweep.seen.faults == [], f"seed {seed}: {sweep.seen.faults}"
    assert sweep.seen.proves_something, f"seed {seed}: {sweep.seen}"


@pytest.mark.fault("B1")
@few_or_every
def test_nothing_is_lost_at_any_call_of_a_recovery(
    memory_folder: Path, every: bool, counted: Callable[[object], None]
) -> None:
    seed = random.SystemRandom().randrange(2**32)
    with Stage(memory_folder / "strace.log") as stage:
        sweep = Sweep(memory_folder, "right", stage)
        sweep.begin_torn()
        calls = sweep.calls()
        points = every_point(calls)
        for injection in points if every else random.Random(seed).sample(points, 12):
            sweep.point(injection)
    counted(f"seed {seed}; calls {dict(calls)}; {sweep.seen}")
    assert sweep.seen.faults == [], f"seed {seed}: {sweep.seen.faults}"
    assert sweep.seen.points == sweep.seen.hits


@pytest.mark.parametrize(
    ("order", "injections", "kind"),
    [
        ("row_first", [Injection("rename", "KILL", 1), Injection("fsync", "KILL", 6)], "row without its bytes"),
        ("sync_again", [Injection("fdatasync", "EIO", n) for n in range(1, 12)], "synced again"),
    ],
)
@pytest.mark.real
def test_the_same_sweep_catches_a_wrong_order(
    memory_folder: Path, order: str, injections: list[Injection], kind: str, counted: Callable[[object], None]
) -> None:
    with Stage(memory_folder / "strace.log") as stage:
        sweep = Sweep(memory_folder, order, stage)
        for injection in injections:
            sweep.point(injection)
    caught = [fault for fault in sweep.seen.faults if kind in fault]
    counted(f"{order}: {kind} {len(caught)} times at {sum(sweep.seen.hits.values())} points")
    assert caught


def test_a_sweep_that_hit_nothing_proves_nothing() -> None:
    assert not Seen().proves_something
    good = Seen(Counter(EIO=3), Counter(EIO=3), acknowledged=9, went_on=3, came_back=1, salvaged=1)
    assert good.proves_something
    good.hits["EIO"] = 2
    assert not good.proves_something
