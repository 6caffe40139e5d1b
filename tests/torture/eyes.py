"""What an outsider sees of a node's recording: rows, gaps and bytes, read past the node's own code with sqlite3.

`Witness` writes down what the catalog acknowledged, while the node runs and is killed; `judge` says at the end what was
lost. The same eyes look at the node and at its known-bad twin.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.media import decode_mp4

#: Less than this between two segments is the jitter of arrival.
TOLERANCE_MS = 250
#: Footage that stands twice: more than a picture at 25 pictures a second.
_OVERLAP_MS = 45
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ACKNOWLEDGED = "state IN ('spooled','stored','condemned')"


@dataclass(frozen=True, slots=True)
class Row:
    """One acknowledged segment."""

    id: str
    camera: str
    stream: str
    run: str
    state: str
    start_ms: int
    end_ms: int
    size: int
    sha256: bytes
    key: str
    salvaged: bool


@dataclass(frozen=True, slots=True)
class Gap:
    camera: str
    cause: str
    from_ms: int
    to_ms: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A segment that was open when somebody was killed."""

    id: str
    camera: str
    size: int


def born_ms(ulid: str) -> int:
    """When a ULID was made."""
    value = 0
    for letter in ulid[:10]:
        value = value * 32 + _CROCKFORD.index(letter)
    return value


class Disk:
    """Catalog, spool and store folder of a node, as files."""

    def __init__(self, data: Path, read_object: Callable[[str], bytes | None] | None = None) -> None:
        """`read_object` reads a key of the store; by default from the node's own store folder."""
        self._database = data / "catalog" / "catalog.db"
        self._spool = data / "spool"
        self._objects = data / "objects"
        self._read_object = read_object or self._from_folder

    def _ask(self, query: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query).fetchall()

    def acknowledged(self) -> dict[str, str]:
        """Segment → SHA-256 of everything whose row says `spooled` or later."""
        return {str(a): str(b) for a, b in self._ask(f"SELECT id, hex(sha256) FROM segment WHERE {_ACKNOWLEDGED}")}

    def rows(self) -> list[Row]:
        columns = "id, camera_id, stream, run_id, state, start_ms, end_ms, bytes, sha256, object_key, salvaged"
        found = self._ask(f"SELECT {columns} FROM segment WHERE {_ACKNOWLEDGED} ORDER BY camera_id, stream, start_ms")
        return [Row(*values) for values in found]  # type: ignore[arg-type]  # the columns' types are the schema's

    def gaps(self) -> list[Gap]:
        """But for the time from the registration to the first picture, which every camera has."""
        found = self._ask(
            "SELECT camera_id, cause, from_ms, to_ms FROM gap WHERE stream = 'main' "
            "AND COALESCE(reason->>'$.code', '') <> 'recorder.first_picture' ORDER BY from_ms"
        )
        return [Gap(*values) for values in found]  # type: ignore[arg-type]  # the columns' types are the schema's

    def parts(self) -> list[Part]:
        found = []
        for path in self._spool.glob("*/*.part"):
            try:
                found.append(Part(path.stem, path.parent.name, path.stat().st_size))
            except FileNotFoundError:
                continue  # sealed this moment
        return found

    def spool_files(self) -> int:
        return sum(1 for _ in self._spool.glob("[0-9]*/*.mp4"))

    def quarantined(self) -> list[Path]:
        return sorted((self._spool / "quarantine").glob("*"))

    def growing_since(self, camera: str, moment_ns: int) -> bool:
        """Whether footage of the camera was written after `moment_ns` (wall clock): more than a file's beginning."""
        for path in (self._spool / camera).glob("*.part"):
            found = path.stat()
            if found.st_mtime_ns > moment_ns and found.st_size > 4096:
                return True
        return False

    def bytes_of(self, row: Row) -> bytes | None:
        """From the spool while the row says so or the copy is still there, else from the store."""
        try:
            return (self._spool / row.camera / f"{row.id}.mp4").read_bytes()
        except FileNotFoundError:
            return None if row.state == "spooled" else self._read_object(row.key)

    def stored_bytes_of(self, row: Row) -> bytes | None:
        return self._read_object(row.key)

    def _from_folder(self, key: str) -> bytes | None:
        path = self._objects / key
        return path.read_bytes() if path.exists() else None


class Witness:
    """Reads the catalog all the time and writes what it acknowledged to a file of its own, synced line by line."""

    def __init__(self, disk: Disk, manifest: Path) -> None:
        self._disk, self._manifest = disk, manifest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness", daemon=True)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seen: set[str] = set()
        with self._manifest.open("a") as file:
            while not self._stop.wait(0.05):
                try:
                    now = self._disk.acknowledged()
                except sqlite3.OperationalError:
                    continue  # no catalog yet, or its writer is in the way
                fresh = [f"{segment} {digest}\n" for segment, digest in now.items() if segment not in seen]
                if fresh:
                    file.write("".join(fresh))
                    file.flush()
                    os.fsync(file.fileno())
                    seen |= now.keys()

    def told(self) -> dict[str, str]:
        lines = self._manifest.read_text().split("\n")[:-1] if self._manifest.exists() else []
        return {segment: digest for segment, digest in (line.split(" ") for line in lines)}


@dataclass(frozen=True, slots=True)
class Kill:
    who: str
    at_ms: int
    parts: tuple[Part, ...]  #: open at that moment


@dataclass
class Verdict:
    acknowledged: int = 0
    segments: int = 0
    salvaged: int = 0
    pictures: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    parts_hit: int = 0
    most_lost_ms: int = 0  #: of an open segment, from its last kept picture to the kill
    faults: dict[str, list[str]] = field(default_factory=dict)

    def fault(self, kind: str, what: str) -> None:
        self.faults.setdefault(kind, []).append(what)

    @property
    def proves_something(self) -> bool:
        """A run in which nothing was acknowledged, or nothing open was hit, has found no fault by not looking."""
        return self.acknowledged > 0 and self.segments > 0 and self.parts_hit > 0 and sum(self.kills.values()) > 0

    def __str__(self) -> str:
        kills = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        faults = ", ".join(f"{kind} {len(found)}" for kind, found in self.faults.items()) or "none"
        return (
            f"kills: {kills}; acknowledged {self.acknowledged}, segments {self.segments} {dict(self.states)}, salvaged "
            f"{self.salvaged}, pictures decoded {self.pictures}, open parts hit {self.parts_hit}, most lost of one "
            f"{self.most_lost_ms} ms; gaps {dict(self.causes)}; faults: {faults}"
        )


MOST_LOST_MS = 2_000  #: I2


def judge(disk: Disk, told: dict[str, str], kills: Iterable[Kill], decode: bool = True) -> Verdict:
    """Everything that can be seen of a node at rest."""
    rows, gaps = disk.rows(), disk.gaps()
    known = {row.id: row for row in rows}
    verdict = Verdict(acknowledged=len(told), segments=len(rows), salvaged=sum(row.salvaged for row in rows))
    verdict.states.update(row.state for row in rows)
    verdict.causes.update(gap.cause for gap in gaps)
    for segment, digest in told.items():
        if segment not in known:
            verdict.fault("acknowledged, then lost", segment)
        elif known[segment].sha256.hex().upper() != digest:
            verdict.fault("acknowledged, then another", segment)
    for row in rows:
        data = disk.bytes_of(row)
        if data is None or len(data) != row.size or hashlib.sha256(data).digest() != row.sha256:
            verdict.fault("row without its bytes", f"{row.id} {row.state}")
        elif decode:
            verdict.pictures += _look_at(row, data, verdict)
    _account(rows, gaps, verdict)
    struck: set[str] = set()
    for kill in kills:
        verdict.kills[kill.who] += 1
        for part in kill.parts:
            # Its writer died by the first kill that found it open. Whoever is killed again while a successor still
            # starts finds the same file, and takes nothing from it.
            if part.id in struck:
                continue
            struck.add(part.id)
            verdict.parts_hit += 1
            end_ms = known[part.id].end_ms if part.id in known else born_ms(part.id)
            lost_ms = kill.at_ms - end_ms
            verdict.most_lost_ms = max(verdict.most_lost_ms, lost_ms)
            if lost_ms > MOST_LOST_MS:
                verdict.fault("too much of an open segment lost", f"{part.id} {lost_ms} ms by {kill.who}")
    return verdict


def _look_at(row: Row, data: bytes, verdict: Verdict) -> int:
    """The file decodes, and has the pictures that its row's time says (25 a second)."""
    try:
        pictures = decode_mp4(data).pictures
    except Exception as error:
        verdict.fault("does not decode", f"{row.id} {type(error).__name__}")
        return 0
    expected = (row.end_ms - row.start_ms) / 40
    # A run's first moments may be dated late: its first picture waits for the connection to settle.
    if not -3 <= pictures - expected <= 10:
        verdict.fault("time without pictures", f"{row.id}: {pictures} for {expected:.0f}")
    return pictures


def _account(rows: list[Row], gaps: list[Gap], verdict: Verdict) -> None:
    """Every second is footage or a closed gap with a cause, no second is footage twice. (I5)"""
    for camera in sorted({row.camera for row in rows}):
        own = [row for row in rows if row.camera == camera and row.stream == "main"]
        for first, second in pairwise(own):
            if first.end_ms - second.start_ms > _OVERLAP_MS:
                verdict.fault("footage twice", f"{first.id} {second.id} {first.end_ms - second.start_ms} ms")
        absent = [gap for gap in gaps if gap.camera == camera]
        spans = [(row.start_ms, row.end_ms, "footage") for row in own]
        # One without length is what is left of a gap that footage put to its true time has filled.
        closed = [(gap.from_ms, gap.to_ms, gap.cause) for gap in absent if gap.to_ms is not None]
        spans += [(start, stop, cause) for start, stop, cause in closed if stop > start]
        spans.sort()
        end = spans[0][0]
        for start, stop, what in spans:
            if start - end > TOLERANCE_MS:
                verdict.fault("unaccounted for", f"{camera} {start - end} ms before {what} at {start}")
            if what != "footage" and end - start > TOLERANCE_MS:
                verdict.fault("a gap over footage or gap", f"{camera} {what} at {start}, {end - start} ms")
            end = max(end, stop)
        verdict.causes["open"] += sum(gap.to_ms is None for gap in absent)


def now_ms() -> int:
    return time.time_ns() // 1_000_000
