"""A machine that lives through holds, policies, areas, sweeps, crashes, wrong clocks, store faults, restores, rebuilds.

The product is the real sweeper on a real SQLite catalog, with the real journal, restore and rebuild; the oracle
(`tests.storage.retention_law`) states the law in its own words and looks at each deletion at the moment when it
happens: nothing held, nothing unexpired (I3). After each sweep that was not refused nothing may stand whose time had
ended a grace ago (I4). `true_ms` is the time of the world, which the node's clock may miss by ten years.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
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
from storage import approvals, class_changes, journal, restore
from storage.approval_rules import ACTIONS, Approval, State
from storage.catalog import node, retention_rows, segments
from storage.catalog.engine import Catalog
from storage.catalog.migrate import migrate
from storage.catalog.retention_rows import HoldRow
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import area, area_camera, camera, region
from storage.clock_trust import ClockEvidence
from storage.keys import segment_key
from storage.media.boxes import Identity
from storage.sweeper import Sweeper
from tests.storage.machine_stores import (
    LENGTH_MS,
    Crash,
    DiskStore,
    DyingCatalog,
    MemoryStore,
    Witnessed,
    segment_bytes,
)
from tests.storage.rebuilding import rebuilt
from tests.storage.retention_law import CAMERAS, Law

T = TypeVar("T")
START_MS = parse_time_ms("2027-01-20T08:00:00+08:00")
GRACE_MS = DAY_MS
NODE, ACTOR = "node", "os:x"
TEN_YEARS_S = 315_360_000
_RUNS = dict(zip(CAMERAS, ("1" * 26, "2" * 26), strict=True))
_AREA = "A" * 26


# --- the world ---


@dataclass(frozen=True)
class Footage:
    """With its true times, whatever its row says."""

    id: str
    camera: str
    start_ms: int
    end_ms: int
    key: str
    dated: bool  #: False: nobody vouches for the dates of its row


STEPS = {
    "steps": 0, "sweeps": 0, "refused": 0, "crashes": 0, "deleted": 0, "restores": 0, "jumps": 0, "replayed": 0,
    "decided": 0, "rebuilt": 0,
}  # fmt: skip


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
        self.forgotten: set[str] = set()  #: holds whose request for a second person nobody knows any more
        self.told: set[str] = set()  #: stories of many days in one step, which are dear: each is told once
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
        if self.held(found.camera, found.start_ms, found.end_ms):
            self.violations.append(f"held footage deleted: {found}")
        ends_ms = self.law.ends_ms(found.camera, found.start_ms, found.end_ms, now_ms)
        if now_ms < ends_ms:
            self.violations.append(f"deleted {(ends_ms - now_ms) / HOUR_MS:.1f} h early: {found}")

    def held(self, camera: str, start_ms: int, end_ms: int) -> bool:
        return self.law.held(camera, start_ms, end_ms, self.true_ms)

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
        start_ms = end_ms - LENGTH_MS
        id_ = ulid(start_ms, self._made.to_bytes(10, "big"))
        believed_ms = start_ms if dated else start_ms + wrong_by_days * DAY_MS
        key = segment_key(NODE, camera, believed_ms, id_)
        found = Footage(id_, camera, start_ms, end_ms, key, dated)
        said = Identity(
            NODE, camera, "main", _RUNS[camera], id_, "default", "own", believed_ms * 1_000_000,
            "synchronised" if dated else "unknown",
        )  # fmt: skip
        data = segment_bytes(said)
        self.inner_store.put_bytes(key, data)
        self.footage[key] = found
        row = SegmentRow(
            id=id_, camera_id=camera, stream=said.stream, run_id=said.run, kind="own",
            state="stored" if stored else "spooled", start_ms=believed_ms, end_ms=believed_ms + LENGTH_MS,
            start_wall_ns=said.wall_start_ns, time_trust=said.time_trust,
            bytes=len(data), sha256=hashlib.sha256(data).digest(), init_bytes=0, fragments=b"", object_key=key,
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

    @rule(camera=st.sampled_from(CAMERAS), hours_ago=st.integers(-100, 24 * 120), hours=st.integers(1, 24 * 200))
    def ask_for_a_hold(self, camera: str, hours_ago: int, hours: int) -> None:
        """It stands at once, and lapses unless a second person approves it in time."""
        from_ms = self.true_ms - hours_ago * HOUR_MS
        self._ask_for(self._hold(camera, from_ms, from_ms + hours * HOUR_MS))

    def _ask_for(self, hold_id: str) -> None:
        (camera, from_ms, to_ms), now_ms = self.law.holds[hold_id], self.true_ms
        shown = {"cameras": [camera], "from_ms": from_ms, "to_ms": to_ms, "case_no": "case", "class": "3_months"}
        asked = Approval(
            hold_id, "hold.add", hold_id, shown, "why", "U", "u", "U", "", now_ms, now_ms + ACTIONS["hold.add"].wait_ms
        )
        self.inner_catalog.write(lambda c: approvals.ask(c, asked))
        self.law.asked[hold_id] = asked

    @precondition(lambda self: self.law.asked)
    @rule(data=st.data(), give=st.booleans())
    def a_second_person_decides(self, data: st.DataObject, give: bool) -> None:
        self._decide(data.draw(st.sampled_from(sorted(self.law.asked))), give)

    def _decide(self, hold_id: str, give: bool) -> None:
        asked, now_ms = self.law.asked[hold_id], self.true_ms
        to: State = "given" if give else "refused"

        def write(c: Connection) -> None:
            decided = approvals.decide(c, asked, to, "user:boss", "Boss", "", now_ms)
            if give:
                assert retention_rows.approve_hold(c, hold_id, "Boss")
                approvals.used(c, decided, now_ms)

        try:
            self.inner_catalog.write(write)
        except TiergateError:
            assert now_ms >= asked.expires_ms, "a decision in time was refused"
            return
        assert now_ms < asked.expires_ms, "a decision came too late and was taken"
        STEPS["decided"] += 1
        if give:
            del self.law.asked[hold_id]
        else:
            self.law.end_hold(hold_id)

    def _hold(self, camera: str, from_ms: int, to_ms: int) -> str:
        self._made += 1
        id_ = ulid(self.true_ms, self._made.to_bytes(10, "big"))
        row = HoldRow(
            id_, (camera,), from_ms, to_ms, "owner", "why", "case", None, "3_months",
            self.true_ms + 90 * DAY_MS, self.true_ms, None, None,
        )  # fmt: skip
        self.inner_catalog.write(lambda c: retention_rows.add_hold(c, row))
        self.law.holds[id_] = (camera, row.from_ms, row.to_ms)
        for key, found in self.footage.items():  # what it rescues is not due again before a sweep says so
            if self.held(found.camera, *self.span_of(found)):
                self.due_since.pop(key, None)
        return id_

    @precondition(lambda self: self.law.holds)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.release_one(data.draw(st.sampled_from(sorted(self.law.holds))))

    def release_one(self, id_: str) -> None:
        self.inner_catalog.write(lambda c: retention_rows.release_hold(c, id_, "somebody", self.true_ms))
        self.law.end_hold(id_)

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

    @rule(seconds=st.sampled_from([-TEN_YEARS_S, -86_400 * 31, -3600, 3600, 86_400, 86_400 * 31, TEN_YEARS_S]))
    def the_clock_jumps(self, seconds: int) -> None:
        if wall_ms(self.clock) + seconds * 1000 < 0:
            return  # no machine's clock says a time before 1970
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
            if state in (None, "spooled") or not ended or self.held(found.camera, start_ms, end_ms):
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
            self._learn_what_was_settled()
        finally:
            self.catalog.dies_in = self.store.dies_in = None

    def _learn_what_was_settled(self) -> None:
        """A change whose time had come was made before the crash or was not: a backup made now has it or loses it."""
        waiting, now_ms = self.inner_catalog.read(class_changes.pending), self.true_ms
        for class_name, (effective_ms, months) in list(self.law.pending.items()):
            if effective_ms <= now_ms and class_name not in waiting:
                self.law.months[class_name] = months
                del self.law.pending[class_name]

    @rule(denies=st.booleans())
    def the_store_denies_deletes(self, denies: bool) -> None:
        self.store.denies = denies

    # --- backup, restore, rebuild ---

    @rule()
    def the_journal_is_written(self) -> None:
        journal.write(self.inner_catalog, self.inner_store.objects, NODE, wall_ms(self.clock))

    @rule()
    def back_up(self) -> None:
        self.the_journal_is_written()
        image = self.inner_catalog.read(dump)
        self.backup = (image, deepcopy(self.law), dict(self.footage), dict(self.seen_ms))

    def _put_back(self, image: bytes) -> None:
        self.inner_catalog.read(lambda c: load(c, image))
        self.inner_catalog.write(lambda c: restore.take_over(c, wall_ms(self.clock), ACTOR, NODE, {}))

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore(self) -> None:
        """The store was lost as well: what came after the backup, the journal with it."""
        assert self.backup is not None
        STEPS["restores"] += 1
        image, law, known, seen_ms = self.backup
        for info in list(self.inner_store.objects.list()):
            if info.key not in known:
                self.inner_store.delete(info.key)
        self._put_back(image)
        self.inner_catalog.write(lambda c: class_changes.drop(c, (), self.true_ms, ACTOR))
        self.law, self.seen_ms = replace(deepcopy(law), pending={}), dict(seen_ms)
        self.forgotten.clear()
        self.due_since = {}
        self.footage = {key: found for key, found in self.footage.items() if key in known}

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore_and_replay(self) -> None:
        """The store went on: whatever was ordered after the backup holds, and all footage is known."""
        assert self.backup is not None
        STEPS["replayed"] += 1
        image, law, _, seen_ms = self.backup
        self.the_journal_is_written()
        self._put_back(image)
        restore.reconcile(self.inner_catalog, self.inner_store.objects, None, NODE, wall_ms(self.clock), ACTOR)
        self._came_back(law, {key: seen for key, seen in seen_ms.items() if key in self.footage})

    @rule(seconds=st.sampled_from([-TEN_YEARS_S, -86_400 * 31, -3600, 0, 3600, 86_400 * 31, TEN_YEARS_S]))
    def lose_the_catalog(self, seconds: int) -> None:
        """It is made anew from the objects, while the clock is wrong by up to ten years."""
        STEPS["rebuilt"] += 1
        self.the_journal_is_written()
        self.the_clock_is_put_right()
        self.the_clock_jumps(seconds)
        self.inner_catalog.read(lambda c: load(c, migrated()))
        rebuilt(self.inner_catalog, self.inner_store.objects, NODE, wall_ms(self.clock), ACTOR)
        self._came_back(Law(), {})

    @precondition(lambda self: "decide" not in self.told)
    @rule(which=st.integers(0, 7), give=st.booleans())
    def decide_after_the_backup(self, which: int, give: bool) -> None:
        """On a hold that then would lapse."""
        self.told.add("decide")
        found = list(self.footage.values())[which % len(self.footage)]
        id_ = self._hold(found.camera, found.start_ms, found.end_ms)
        self._ask_for(id_)
        self.back_up()
        self._decide(id_, give)
        self.restore_and_replay()
        self.quiet_days(4)

    @precondition(lambda self: "change" not in self.told)
    @rule(class_name=st.sampled_from(["default", "key"]), before=st.integers(0, 6), after=st.integers(0, 6))
    def change_a_class_after_the_backup(self, class_name: str, before: int, after: int) -> None:
        """Another change, perhaps a shorter one, waits at the backup."""
        self.told.add("change")
        self.the_clock_is_put_right()
        self.set_months(class_name, before, True)
        self.back_up()
        self.set_months(class_name, after, True)
        self.restore_and_replay()
        self.quiet_days(8)

    def _came_back(self, law: Law, seen_ms: dict[str, int]) -> None:
        """`law`: as it was at the backup. Whoever was to decide on a hold that was asked for later is not asked any
        more, so it stands until somebody releases it; what then lapses has perhaps lapsed before. A backup that still
        knows the request has him asked again."""
        for id_, asked in list(self.law.asked.items()):
            if id_ in law.asked:
                continue
            if self.true_ms >= asked.expires_ms:
                self.release_one(id_)
            else:
                del self.law.asked[id_]
                self.forgotten.add(id_)
        for id_ in self.forgotten & law.asked.keys() & self.law.holds.keys():
            self.law.asked[id_] = law.asked[id_]
            self.forgotten.discard(id_)
        self.seen_ms, self.due_since = seen_ms, {}

    # --- what must hold ---

    @invariant()
    def the_law_is_kept(self) -> None:
        STEPS["steps"] += 1
        assert not self.violations, self.violations

    def teardown(self) -> None:
        self.inner_catalog.close()


# --- catalogs that begin as a prepared image ---


@cache
def migrated() -> bytes:
    """An empty catalog that is nobody's, made once."""
    return _image(lambda _: None)


@cache
def prepared() -> bytes:
    """A migrated catalog with two cameras and a key area, made once."""
    return _image(furnish)


def _image(furnish: Callable[[Connection], None]) -> bytes:
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'catalog.db'}"
        migrate(url)
        catalog = Catalog(url)
        catalog.write(furnish)
        image = catalog.read(dump)
        catalog.close()
    return image


def furnish(connection: Connection) -> None:
    node.own(connection, NODE)
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
