"""Many real segments at little cost: one recorded run whose files get other names of the same length, again and again.

Every file is a whole segment with its own identity, digest and row, as the recorder and the uploader would have left
them: rows end by the wall clock and not by their pictures, some were salvaged, runs have their ends and reasons.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from config.ids import ulid
from storage.catalog import segments
from storage.catalog.engine import CHUNK_ROWS, Catalog
from storage.catalog.segments import RunRow, SegmentRow
from storage.keys import segment_key
from tests.media import WALL_NS
from tests.storage.footage import Recorded, make_spool, record

RUN_SEGMENTS = 10
_REASONS = ("network", "stop", "config", "crash")


def camera_id(number: int) -> str:
    return f"2102110001132699{number:04d}"


@dataclass(frozen=True, slots=True)
class Tree:
    """One run: its row and its segments with their bytes."""

    run: RunRow
    segments: list[tuple[SegmentRow, bytes]]


class Forest:
    """`trees(n)`: the same for the same seed."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self._dice = random.Random(seed)
        self._template = self._record(folder)
        self._made = 0

    def _record(self, folder: Path) -> list[tuple[Recorded, bytes]]:
        folder.mkdir(parents=True, exist_ok=True)
        recorded = record(make_spool(folder), float(RUN_SEGMENTS))
        assert len(recorded) == RUN_SEGMENTS
        return [(one, one.path.read_bytes()) for one in sorted(recorded, key=lambda r: r.segment.start_wall_ns)]

    def _id(self, at_ms: int) -> str:
        self._made += 1
        return ulid(at_ms, self._made.to_bytes(10, "big"))

    def trees(self, objects: int, cameras: int = 20, start_ns: int = WALL_NS) -> Iterator[Tree]:
        """`objects` segments; the runs of a camera follow each other."""
        runs = -(-objects // RUN_SEGMENTS)
        for number in range(runs):
            left = objects - number * RUN_SEGMENTS
            yield self._tree(
                camera_id(number % cameras), start_ns + number // cameras * 60 * 10**9, min(left, RUN_SEGMENTS)
            )

    def _tree(self, camera: str, start_ns: int, count: int) -> Tree:
        old_run = self._template[0][0].run
        moved_ns = start_ns - self._template[0][0].segment.start_wall_ns
        run_id = self._id(start_ns // 10**6)
        made = []
        for one, data in self._template[:count]:
            made.append(self._clone(one.segment, data, camera, run_id, moved_ns))
        last = made[-1][0]
        run = replace(
            old_run, id=run_id, camera_id=camera, started_ms=start_ns // 10**6, ended_ms=last.end_ms,
            end_reason=self._dice.choice(_REASONS),
        )  # fmt: skip
        return Tree(run, made)

    def _clone(self, row: SegmentRow, data: bytes, camera: str, run_id: str, moved_ns: int) -> tuple[SegmentRow, bytes]:
        wall_ns = row.start_wall_ns + moved_ns
        start_ms = wall_ns // 10**6
        id_ = self._id(start_ms)
        for old, new in (
            (row.id, id_), (row.run_id, run_id), (row.camera_id, camera), (str(row.start_wall_ns), str(wall_ns)),
        ):  # fmt: skip
            assert len(old) == len(new) and data.count(old.encode()) == 1
            data = data.replace(old.encode(), new.encode())
        # The wall clock says when a segment ends, and it is never quite what its pictures say.
        end_ms = row.end_ms + moved_ns // 10**6 + self._dice.randrange(-40, 40)
        node = row.object_key.split("/")[0]
        clone = replace(
            row, id=id_, camera_id=camera, run_id=run_id, state="stored", start_ms=start_ms, end_ms=end_ms,
            start_wall_ns=wall_ns, sha256=hashlib.sha256(data).digest(), volume=None, created_ms=end_ms + 7,
            stored_ms=end_ms + self._dice.randrange(500, 5_000), salvaged=self._dice.random() < 0.02,
            object_key=segment_key(node, camera, start_ms, id_),
        )  # fmt: skip
        return clone, data


Put = Callable[[str, bytes], object]


def plant(catalog: Catalog, trees: Iterator[Tree], put: Put | None = None) -> int:
    """Rows of the trees, and their objects through ``put(key, data)``; how many segments."""
    count = 0
    runs: list[RunRow] = []
    rows: list[SegmentRow] = []

    def commit() -> None:
        catalog.write(lambda c: segments.insert_runs(c, runs))
        catalog.write(lambda c: segments.insert_segments(c, rows))
        runs.clear()
        rows.clear()

    for tree in trees:
        runs.append(tree.run)
        for row, data in tree.segments:
            rows.append(row)
            if put is not None:
                put(row.object_key, data)
            count += 1
        if len(rows) >= CHUNK_ROWS:
            commit()
    commit()
    return count


def into_folder(root: Path) -> Put:
    """`put` of a folder store without its syncs: a crash of this machine is not what is tested with it."""

    def put(key: str, data: bytes) -> None:
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return put
