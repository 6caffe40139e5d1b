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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.torture.commit_path import LIFE_S, NOT_BEGUN, Life, prepare
from tests.torture.eyes import TOLERANCE_MS, Disk, judge
from tests.torture.stage import CHANGING, Ended, Injection, Stage, calls_of
from tests.media import WALL_NS

SECONDS = 6.0
#: A fault that lasts: so many calls in a row fail.
STRETCH = 6
SYNCS = ("fsync", "fdatasync")


@dataclass
class Seen:
    points: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    missed: int = 0  #: points beyond the last call
    acknowledged: int = 0
    survived: int = 0  #: lives that went on to their end after an error
    not_begun: int = 0  #: lives that could not begin, as a recorder whose disk cannot be read
    recovered: int = 0  #: segments that the second life made whole
    failed_syncs: int = 0  #: of part files
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"points {dict(self.points)}, hits {dict(self.hits)}, missed {self.missed}; acknowledged "
            f"{self.acknowledged}, went on after an error {self.survived}, could not begin {self.not_begun}, salvaged "
            f"{self.recovered}, part files whose sync failed {self.failed_syncs}; faults {len(self.faults)}"
        )


class Sweep:
    """A folder per point, copied from one that is ready."""

    def __init__(self, folder: Path, order: str, stage: Stage) -> None:
        self._folder, self._order, self._stage = folder, order, stage
        self._base = folder / "base"
        self.seen = Seen()
        prepare(self._base)

    def calls(self) -> Counter[str]:
        counted = self._stage.count(self._life())
        self._judge("untouched", self._told())
        return counted

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
            seen.missed += 1
            return
        where = f"{self._order}, {injection}, code {ended.code}: {hit_line(ended)}"
        told = self._told()
        seen.acknowledged += len(told)
        self._judge(where, told, at_rest=False, accounted=ended.code == 0)
        if injection.what == "KILL":
            self._expect(ended.code == -9, where, "not killed")
        elif ended.code == NOT_BEGUN:
            seen.not_begun += 1
        else:
            seen.survived += 1
            self._expect(ended.code == 0, where, "the recorder ended by itself")
        self._nobody_syncs_again(ended, where)
        second = self._stage.live(Life(life.folder, "right", life.number + 1, 2.0))
        self._expect(second.code == 0, where, "the next life did not go on")
        self._judge(where + ", next life", self._told(), life.number + 1, 2.0)

    # --- looking ---

    def _judge(self, where: str, told: dict[str, str], number: int = 1, seconds: float = SECONDS, at_rest: bool = True, accounted: bool=True) -> None:
        disk = Disk(self._here)
        verdict = judge(disk, told, [], decode=False)
        for kind, found in verdict.faults.items():
            if accounted or kind not in ("unaccounted for", "a gap over footage or gap"):
                self.seen.faults.append(f"{where}: {kind}: {found}")
        starts = Counter((row.start_ms, row.end_ms) for row in disk.rows())
        self._expect(max(starts.values(), default=1) == 1, where, "a segment twice")
        if at_rest:
            end_ms = WALL_NS // 10**6 + int((number * LIFE_S + seconds) * 1000)
            last = max((row.end_ms for row in disk.rows()), default=0)
            self._expect(abs(end_ms - last) <= TOLERANCE_MS, where, f"footage ends {end_ms - last} ms before the life")
            self._expect(all(row.state == "stored" for row in disk.rows()), where, "not everything is in the store")
            self._expect(not disk.parts(), where, "open parts are left")
            self.seen.recovered += verdict.salvaged

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
                if later.startswith(SYNCS) and stem in later and f"{stem}.copy" not in later and "/objects/" not in later
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


