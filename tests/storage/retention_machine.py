"""A machine that lives through holds, policies, areas, sweeps, crashes, wrong clocks, store faults and restores.

The product is the real sweeper on a real SQLite catalog; the oracle below states the law in its own words and looks at
each deletion at the moment when it happens: nothing held, nothing unexpired (I3). After each sweep that was not refused
nothing may stand whose time had ended a grace ago (I4). `true_ms` is the time of the world, which the node's clock may
miss by ten years.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Connection, insert, update

from config.clock import ManualClock, wall_ms
from config.errors import TiergateError
from config.ids import ulid
from config.units import DAY_MS, HOUR_MS, parse_time_ms
from storage import class_changes
from storage.catalog import retention_rows, segments
from storage.catalog.engine import Catalog
from storage.catalog.migrate import migrate
from storage.catalog.retention_rows import HoldRow
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import area, area_camera, camera, region
from storage.clock_trust import ClockEvidence
from storage.keys import segment_key
from storage.objects import base
from storage.objects.folder import FolderStore
from storage.sweeper import Sweeper

T = TypeVar("T")
CAMERAS = ("21021100011326000001", "21021100011326000002")
START_MS = parse_time_ms("2027-01-20T08:00:00+08:00")
GRACE_MS = DAY_MS
_SHANGHAI = timezone(timedelta(hours=8))  # no summer time since 1991: an oracle needs no zone database
_AREA = "A" * 26


# --- the law, in its own words ---


@dataclass
class Law:
    """What was ordered. Copied whole for a backup, because a restored node knows no more than its backup."""

    months: dict[str, int] = field(default_factory=lambda: {"default": 1, "key": 3})
    pending: dict[str, tuple[int, int]] = field(default_factory=dict)  #: class → (effective, months)
    key_from: dict[str, list[list[int | None]]] = field(default_factory=lambda: {c: [] for c in CAMERAS})
    holds: dict[str, tuple[str, int, int]] = field(default_factory=dict)  #: standing: camera, from, to

    def months_of(self, class_name: str, now_ms: int) -> int:
        effective_ms, months = self.pending.get(class_name, (now_ms + 1, 0))
        return months if effective_ms <= now_ms else self.months[class_name]

    def settle(self, now_ms: int) -> None:
        for class_name, (effective_ms, months) in list(self.pending.items()):
            if effective_ms <= now_ms:
                self.months[class_name] = months
                del self.pending[class_name]

    def ends_ms(self, camera: str, start_ms: int, end_ms: int, now_ms: int) -> int:
        default_end = _after(end_ms, self.months_of("default", now_ms))
        for came, went in self.key_from[camera]:
            if came is None or came >= default_end or went == came:  # who left in the moment of coming was never there
                continue
            if went is None or went > start_ms:
                return max(default_end, _after(end_ms, self.months_of("key", now_ms)))
        return default_end

    def held(self, camera: str, start_ms: int, end_ms: int) -> bool:
        return any(c == camera and a <= end_ms and start_ms <= b for c, a, b in self.holds.values())


def _after(end_ms: int, months: int) -> int:
    """`months` calendar months of Shanghai, never less than 30 days each."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=end_ms)
    local = moment.astimezone(_SHANGHAI)
    first = local.replace(day=1)
    for _ in range(months):
        first = (first + timedelta(days=32)).replace(day=1)
    next_month = (first + timedelta(days=32)).replace(day=1)
    last_day = (next_month - timedelta(days=1)).day
    then = first.replace(day=min(local.day, last_day))
    calendar_ms = (then - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return max(calendar_ms, end_ms + months * 30 * DAY_MS)


# --- the world ---


class Crash(BaseException):
    """kill -9, as far as one process can play it."""


@dataclass(frozen=True)
class Footage:
    """With its true times, whatever its row says."""

    id: str
    camera: str
    start_ms: int
    end_ms: int
    key: str
    dated: bool  #: False: nobody vouches for the dates of its row


class DyingCatalog:
    """A catalog whose process dies before or after its nth write."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self.dies_in: int | None = None
        self.after_commit = False

    def read(self, query: Callable[[Connection], T]) -> T:
        return self._catalog.read(query)

    def write(self, change: Callable[[Connection], T]) -> T:
        if self.dies_in is None:
            return self._catalog.write(change)
        self.dies_in -= 1
        if self.dies_in < 0 and not self.after_commit:
            raise Crash
        done = self._catalog.write(change)
        if self.dies_in < 0:
            raise Crash
        return done


class MemoryStore:
    """Just what the sweeper asks of a store."""

    def __init__(self) -> None:
        self._keys: set[str] = set()

    def put(self, key: str) -> None:
        self._keys.add(key)

    def delete(self, key: str) -> None:
        self._keys.discard(key)

    def has(self, key: str) -> bool:
        return key in self._keys


class DiskStore:
    def __init__(self, folder: Path) -> None:
        self._store = FolderStore(folder)
        self._store.ensure()

    def put(self, key: str) -> None:
        path = self._store.root / key  # not through put_bytes: its fsyncs are not what is tested here
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"footage")

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def has(self, key: str) -> bool:
        return self._store.head(key) is not None


class Witnessed:
    """The store as the sweeper sees it: every deletion is judged, some fail, one may be the last of its process."""

    def __init__(self, inner: MemoryStore | DiskStore, judge: Callable[[str], None]) -> None:
        self._inner, self._judge = inner, judge
        self.denies = False
        self.dies_in: int | None = None

    def head(self, key: str) -> object | None:
        return key if self._inner.has(key) else None

    def delete(self, key: str, version_id: str | None = None) -> None:
        if self.denies:
            raise OSError("denied")
        if self._inner.has(key):
            self._judge(key)
            self._inner.delete(key)
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                raise Crash

    def delete_many(self, keys: Sequence[str]) -> dict[str, TiergateError]:
        return base.one_by_one(self.delete, keys)


STEPS = {"steps": 0, "sweeps": 0, "refused": 0, "crashes": 0, "deleted": 0, "restores": 0, "jumps": 0}


class RetentionMachine(RuleBasedStateMachine):
    """Subclasses say where catalog and store live."""

    undated_quarters = 1  #: of the footage, so many quarters have a date that nobody vouches for

    def open(self) -> tuple[Catalog, MemoryStore | DiskStore]:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.inner_catalog, self.inner_store = self.open()
        self.catalog = DyingCatalog(self.inner_catalog)
        self.store = Witnessed(self.inner_store, self.judge)
        self.clock = ManualClock(START_MS * 1_000_000)
        self.offset_ms = 0  #: the node's wall clock minus the world's
        self.kernel: bool | None = True
        self.server_tells = False
        self.boot = 0
        self.law = Law()
        self.footage: dict[str, Footage] = {}
        self.due_since: dict[str, int] = {}
        self.seen_ms: dict[str, int] = {}  #: of footage of unknown date: at the latest then a sweep had seen it
        self.violations: list[str] = []
        self.backup: tuple[Any, Law, dict[str, Footage], dict[str, int]] | None = None
        self._made = 0

    @property
    def true_ms(self) -> int:
        return wall_ms(self.clock) - self.offset_ms

    def evidence(self) -> ClockEvidence:
        honest = self.kernel if abs(self.offset_ms) < 1_000 else False
        return ClockEvidence(
            wall_ms(self.clock), self.clock.monotonic_ns() // 1_000_000, f"boot-{self.boot}", honest,
            self.true_ms if self.server_tells else None, None,
        )  # fmt: skip

    def judge(self, key: str) -> None:
        STEPS["deleted"] += 1
        found, now_ms = self.footage[key], self.true_ms
        if self.law.held(found.camera, found.start_ms, found.end_ms):
            self.violations.append(f"held footage deleted: {found}")
        ends_ms = self.law.ends_ms(found.camera, found.start_ms, found.end_ms, now_ms)
        if now_ms < ends_ms:
            self.violations.append(f"deleted {(ends_ms - now_ms) / HOUR_MS:.1f} h early: {found}")

    def span_of(self, found: Footage) -> tuple[int, int]:
        """Of unknown date: any time before it was seen."""
        if found.dated:
            return found.start_ms, found.end_ms
        return 0, self.seen_ms.get(found.key, self.true_ms)

    # --- footage ---

    @initialize()
    def some_footage(self) -> None:
        for which in CAMERAS:
            self.record(which, 0, True, 3, 0)

    @rule(
        camera=st.sampled_from(CAMERAS), minutes_ago=st.integers(0, 600), stored=st.booleans(),
        undated=st.integers(0, 3), wrong_by_days=st.sampled_from([-57 * 365, -40, 0, 40]),
    )  # fmt: skip
    def record(self, camera: str, minutes_ago: int, stored: bool, undated: int, wrong_by_days: int) -> None:
        self._made += 1
        dated = undated >= self.undated_quarters
        end_ms = self.true_ms - minutes_ago * 60_000
        id_ = ulid(end_ms - 60_000, self._made.to_bytes(10, "big"))
        key = segment_key("node", camera, end_ms - 60_000, id_)
        found = Footage(id_, camera, end_ms - 60_000, end_ms, key, dated)
        wrong_ms = 0 if dated else wrong_by_days * DAY_MS
        self.inner_store.put(found.key)
        self.footage[found.key] = found
        row = SegmentRow(
            id=id_, camera_id=camera, stream="main", run_id="R", kind="own", state="stored" if stored else "spooled",
            start_ms=found.start_ms + wrong_ms, end_ms=end_ms + wrong_ms,
            start_wall_ns=(found.start_ms + wrong_ms) * 1_000_000,
            time_trust="synchronised" if found.dated else "unknown",
            bytes=7, sha256=bytes(32), init_bytes=0, fragments=b"", object_key=found.key,
            volume=None, class_="default", created_ms=end_ms,
        )  # fmt: skip
        self.inner_catalog.write(lambda c: segments.insert_segments(c, [row]))

    @rule()
    def store_what_waits(self) -> None:
        def write(c: Connection) -> None:
            segments.mark_stored(c, [f.id for f in self.footage.values()], self.true_ms)

        self.inner_catalog.write(write)

    # --- orders ---

    @rule(camera=st.sampled_from(CAMERAS), hours_ago=st.integers(-100, 24 * 120), hours=st.integers(1, 24 * 200))
    def hold(self, camera: str, hours_ago: int, hours: int) -> None:
        from_ms = self.true_ms - hours_ago * HOUR_MS
        self._hold(camera, from_ms, from_ms + hours * HOUR_MS)

    def _hold(self, camera: str, from_ms: int, to_ms: int) -> None:
        self._made += 1
        id_ = ulid(self.true_ms, self._made.to_bytes(10, "big"))
        row = HoldRow(
            id_, (camera,), from_ms, to_ms, "owner", "why", "case", None, "3_months",
            self.true_ms + 90 * DAY_MS, self.true_ms, None, None,
        )  # fmt: skip
        self.inner_catalog.write(lambda c: retention_rows.add_hold(c, row))
        self.law.holds[id_] = (camera, row.from_ms, row.to_ms)
        for key, found in self.footage.items():  # what it rescues is not due again before a sweep says so
            if self.law.held(found.camera, *self.span_of(found)):
                self.due_since.pop(key, None)

    @precondition(lambda self: self.law.holds)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.release_one(data.draw(st.sampled_from(sorted(self.law.holds))))

    def release_one(self, id_: str) -> None:
        self.inner_catalog.write(lambda c: retention_rows.release_hold(c, id_, "somebody", self.true_ms))
        del self.law.holds[id_]

    @rule(camera=st.sampled_from(CAMERAS), comes=st.booleans())
    def key_area(self, camera: str, comes: bool) -> None:
        stays = self.law.key_from[camera]
        standing = bool(stays) and stays[-1][1] is None
        now_ms = self.true_ms
        if comes == standing or (comes and stays and stays[-1][1] == now_ms):
            return  # nobody comes back in the very millisecond in which they left
        if comes:
            row = {"area_id": _AREA, "camera_id": camera, "from_ms": now_ms}
            self.inner_catalog.write(lambda c: c.execute(insert(area_camera).values(**row)))
            stays.append([now_ms, None])
            return
        ours = (area_camera.c.camera_id == camera) & area_camera.c.to_ms.is_(None)
        self.inner_catalog.write(lambda c: c.execute(update(area_camera).where(ours).values(to_ms=now_ms)))
        stays[-1][1] = now_ms

    @precondition(lambda self: self.offset_ms == 0)
    @rule(class_name=st.sampled_from(["default", "key"]), months=st.integers(0, 6), basis=st.booleans())
    def set_months(self, class_name: str, months: int, basis: bool) -> None:
        now_ms, law = self.true_ms, self.law
        ceiling = {"default": 1, "key": 3}[class_name]

        def write(c: Connection) -> class_changes.Change:
            return class_changes.ask(c, class_name, months, now_ms, "somebody", "a law" if basis else None)

        try:
            self.inner_catalog.write(write)
        except TiergateError:
            assert months < ceiling or (months > ceiling and not basis), "a lawful change was refused"
            return
        assert months >= ceiling and (months == ceiling or basis), "an unlawful change was taken"
        effective_ms, due = law.pending.get(class_name, (now_ms + 1, 0))
        if effective_ms <= now_ms and due > law.months[class_name]:  # a longer promise, once made, is not lost
            law.months[class_name] = due
        waits = months < law.months[class_name] or months > ceiling
        law.pending.pop(class_name, None)
        if waits:
            law.pending[class_name] = (now_ms + 7 * DAY_MS, months)
        else:
            law.months[class_name] = months

    # --- time ---

    @rule(hours=st.sampled_from([1, 25, 24 * 8, 24 * 31, 24 * 31, 24 * 62]))
    def pass_time(self, hours: int) -> None:
        self.clock.advance(hours * 3600)

    @rule(seconds=st.sampled_from([-315_360_000, -86_400 * 31, -3600, 3600, 86_400, 86_400 * 31, 315_360_000]))
    def the_clock_jumps(self, seconds: int) -> None:
        STEPS["jumps"] += 1
        self.clock.step_wall(seconds)
        self.offset_ms += seconds * 1000

    @rule()
    def the_clock_is_put_right(self) -> None:
        self.clock.step_wall(-self.offset_ms / 1000)
        self.offset_ms = 0

    @rule(kernel=st.sampled_from([True, True, False, None]), server_tells=st.booleans())
    def who_knows_the_time(self, kernel: bool | None, server_tells: bool) -> None:
        self.kernel, self.server_tells = kernel, server_tells

    @rule()
    def reboot(self) -> None:
        self.boot += 1

    # --- the sweep ---

    def _sweep(self, confirmed: int | None = None) -> None:
        STEPS["sweeps"] += 1
        now_ms = self.true_ms
        sweeper = Sweeper(self.catalog, self.store, self.clock, self.evidence, GRACE_MS)  # type: ignore[arg-type]  # the two stand-ins are what it calls
        report = sweeper.sweep(confirmed_due=confirmed)
        if report.refused is not None:
            STEPS["refused"] += 1
            return
        if abs(self.offset_ms) > 60_000:
            self.violations.append(f"swept although the clock was off by {self.offset_ms / 1000} s")
        self.law.settle(now_ms)
        states = self.inner_catalog.read(lambda c: segments.existing(c, [f.id for f in self.footage.values()]))
        for key, found in self.footage.items():
            state = states.get(found.id)
            if not found.dated:
                self.seen_ms.setdefault(key, now_ms)
            start_ms, end_ms = self.span_of(found)
            ended = now_ms >= self.law.ends_ms(found.camera, start_ms, end_ms, now_ms)
            if state in (None, "spooled") or not ended or self.law.held(found.camera, start_ms, end_ms):
                self.due_since.pop(key, None)
                continue
            since_ms = self.due_since.setdefault(key, now_ms)
            if now_ms - since_ms >= GRACE_MS and self.inner_store.has(key) and not self.store.denies:
                self.violations.append(f"kept {(now_ms - since_ms) / HOUR_MS:.1f} h after a sweep saw it due: {found}")

    @rule()
    def sweep(self) -> None:
        self._sweep()

    @rule()
    def sweep_confirmed_by_a_person(self) -> None:
        self._sweep(confirmed=10_000)

    @rule(days=st.integers(1, 9))
    def quiet_days(self, days: int) -> None:
        """Everything is as it should be: what is due goes now if ever."""
        self.the_clock_is_put_right()
        self.kernel, self.server_tells, self.store.denies = True, True, False
        for _ in range(days):
            self.clock.advance(DAY_MS // 1000)
            self._sweep(confirmed=10_000)

    @rule(which=st.integers(0, 7), after_grace=st.booleans())
    def rescue_at_the_last_moment(self, which: int, after_grace: bool) -> None:
        """A hold on what is condemned, within its grace or after it, while the store refuses to delete."""
        self.quiet_days(1)
        if after_grace:
            self.store.denies = True
            self.clock.advance(DAY_MS // 1000)
            self._sweep(confirmed=10_000)
        condemned = [self.footage[key] for key in sorted(self.due_since) if self.inner_store.has(key)]
        if condemned:
            found = condemned[which % len(condemned)]
            self._hold(found.camera, found.start_ms, found.end_ms)
        self.quiet_days(2)

    @rule(writes=st.integers(0, 6), after_commit=st.booleans(), deletes=st.none() | st.integers(0, 2))
    def die_in_a_sweep(self, writes: int, after_commit: bool, deletes: int | None) -> None:
        self.catalog.dies_in, self.catalog.after_commit = writes, after_commit
        self.store.dies_in = deletes
        try:
            self._sweep(confirmed=10_000)
        except Crash:
            STEPS["crashes"] += 1
        finally:
            self.catalog.dies_in = self.store.dies_in = None

    @rule(denies=st.booleans())
    def the_store_denies_deletes(self, denies: bool) -> None:
        self.store.denies = denies

    # --- backup and restore ---

    @rule()
    def back_up(self) -> None:
        image = self.inner_catalog.read(dump)
        self.backup = (image, deepcopy(self.law), dict(self.footage), dict(self.seen_ms))

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore(self) -> None:
        assert self.backup is not None
        STEPS["restores"] += 1
        image, law, known, seen_ms = self.backup
        self.inner_catalog.read(lambda c: load(c, image))
        self.law, self.seen_ms = deepcopy(law), dict(seen_ms)
        self.due_since = {}
        self.footage = {key: found for key, found in self.footage.items() if key in known}

    # --- what must hold ---

    @invariant()
    def the_law_is_kept(self) -> None:
        STEPS["steps"] += 1
        assert not self.violations, self.violations

    def teardown(self) -> None:
        self.inner_catalog.close()


# --- catalogs that begin as a prepared image ---


@cache
def prepared() -> bytes:
    """A migrated catalog with two cameras and a key area, made once."""
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'catalog.db'}"
        migrate(url)
        catalog = Catalog(url)
        catalog.write(furnish)
        image = catalog.read(dump)
        catalog.close()
    return image


def furnish(connection: Connection) -> None:
    connection.execute(insert(region).values(code="21", name="省", tier="city", valid_from_ms=0))
    for id_ in CAMERAS:
        values = {"id": id_, "name": "门", "tier": "community", "region": "21", "created_ms": 0, "changed_ms": 0}
        connection.execute(insert(camera).values(**values, recorded_by="self", enabled=True))
    values = {"id": _AREA, "name": "学校周边", "class_": "key", "document_no": "1", "valid_from_ms": 0}
    connection.execute(insert(area).values(**values))


def _driver(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def dump(connection: Connection) -> bytes:
    """A backup: the catalog as it stands. A database in memory cannot be in WAL mode, so its header does not say so."""
    connection.exec_driver_sql("COMMIT")
    image = _driver(connection).serialize()
    connection.exec_driver_sql("BEGIN")
    return image[:18] + b"\x01\x01" + image[20:]


def load(connection: Connection, image: bytes) -> None:
    connection.exec_driver_sql("COMMIT")
    source = sqlite3.connect(":memory:")
    source.deserialize(image)
    source.backup(_driver(connection))
    source.close()
    connection.exec_driver_sql("BEGIN")


class Unthreaded(Catalog):
    """Runs where it is called: to change threads at every transaction is most of what a step in memory costs."""

    def read(self, query: Callable[[Connection], T]) -> T:
        return self._read(query)

    def write(self, change: Callable[[Connection], T]) -> T:
        return self._write(change)


class InMemory(RetentionMachine):
    def open(self) -> tuple[Catalog, MemoryStore | DiskStore]:
        catalog = Unthreaded("sqlite://")
        catalog.read(lambda c: load(c, prepared()))
        return catalog, MemoryStore()


class OnDisk(RetentionMachine):
    def open(self) -> tuple[Catalog, MemoryStore | DiskStore]:
        self._folder = TemporaryDirectory()
        folder = Path(self._folder.name)
        catalog = Catalog(f"sqlite:///{folder / 'catalog.db'}")
        catalog.read(lambda c: load(c, prepared()))
        return catalog, DiskStore(folder / "objects")

    def teardown(self) -> None:
        super().teardown()
        self._folder.cleanup()
