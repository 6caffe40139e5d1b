"""What people decided after a backup holds after its restore: the journal beside the footage knows it. (FAULTS B31)"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from config.errors import TiergateError
from config.units import DAY_MS
from storage import approvals, class_changes, journal, patience, restore
from storage.approval_rules import HOLD_WAIT_MS, Approval
from storage.audit import log as audit
from storage.catalog import approvals as approval_rows
from storage.catalog import facts, places, retention_rows, segments
from storage.catalog.engine import Catalog
from storage.catalog.places import Area
from storage.catalog.tables import segment
from storage.objects import base
from tests.parts.catalog import new_catalog
from tests.storage.footage import insert, make_spool, record
from tests.storage.sick import SickStore
from tests.storage.sweep_place import CAMERA, DAY_S, Place, due_footage
from tests.storage.test_approvals import request
from tests.storage.test_journal import as_before, register_camera

NODE = "node"


class Machine(Place):
    """A place whose catalog dies and comes back from its backup."""

    def __init__(self, folder: Path) -> None:
        self.file, self.copy = folder / "catalog.db", folder / "backup.db"
        self.url = f"sqlite:///{self.file}"
        new_catalog(self.url)
        super().__init__(folder, self.url)
        self.catalog.write(lambda c: register_camera(c, self.now_ms))

    def journal(self, earlier: bool = False) -> None:
        """`earlier`: as an earlier version wrote it."""
        if earlier:
            as_before(self, 10)
        else:
            journal.write(self.catalog, self.store, NODE, self.now_ms)

    def back_up(self) -> None:
        self.catalog.close()
        shutil.copy(self.file, self.copy)
        self.catalog = Catalog(self.url)

    def put_back(self) -> None:
        self.catalog.close()
        for file in self.file.parent.glob("catalog.db*"):
            file.unlink()
        shutil.copy(self.copy, self.file)
        self.catalog = Catalog(self.url)
        self.catalog.write(lambda c: restore.take_over(c, self.now_ms, "os:x", NODE, {}))

    def restore(self) -> restore.Reconciled:
        self.put_back()
        return restore.reconcile(self.catalog, self.store, None, NODE, self.now_ms, "os:x")

    def days(self, count: int) -> None:
        for _ in range(count):
            self.clock.advance(DAY_S + 60)
            assert self.sweep().refused is None

    def months(self) -> int | None:
        return self.catalog.read(retention_rows.classes)["key"].months

    def waiting(self) -> dict[str, int]:
        return {name: change.months for name, change in self.catalog.read(class_changes.pending).items()}

    def key_area(self, to_ms: int | None = None) -> None:
        row = Area("A", "学校", "key", "文 1", self.now_ms, to_ms, (CAMERA,))
        self.catalog.write(lambda c: places.add_area(c, row))
        self.journal()

    def end_area(self, to_ms: int | None) -> None:
        self.catalog.write(lambda c: places.set_area_end(c, "A", to_ms, self.now_ms))

    def area_ends_ms(self) -> int | None:
        (stretch,) = self.catalog.read(retention_rows.memberships)[CAMERA]
        return stretch.to_ms

    def ask(self, months: int) -> None:
        self.catalog.write(lambda c: class_changes.ask(c, "key", months, self.now_ms, "user:a", "a law"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.catalog.close()


def ask_for_hold(machine: Machine, hold: str) -> Approval:
    now_ms = machine.now_ms
    asked = replace(request(action="hold.add", subject=hold), requested_ms=now_ms, expires_ms=now_ms + HOLD_WAIT_MS)
    return machine.catalog.write(lambda c: approvals.ask(c, asked))


@pytest.mark.fault("B31")
@pytest.mark.parametrize("earlier", [False, True])
def test_a_hold_that_was_approved_after_the_backup_does_not_lapse(machine: Machine, earlier: bool) -> None:
    (old,) = due_footage(machine)
    hold = machine.hold(old.start_ms, old.end_ms)
    asked = ask_for_hold(machine, hold)
    machine.sweep()
    machine.journal()
    machine.back_up()
    machine.clock.advance(3600)

    def give(c: Connection) -> None:
        given = approvals.decide(c, asked, "given", "user:boss", "Boss", "", machine.now_ms)
        retention_rows.approve_hold(c, hold, "Boss")
        approvals.used(c, given, machine.now_ms)

    machine.catalog.write(give)
    machine.journal(earlier)
    done = machine.restore()
    assert (done.ended, done.journal.changed) == (1, 1)
    (found,) = machine.catalog.read(retention_rows.holds)
    assert found.approver == "Boss"
    known = machine.catalog.read(lambda c: approval_rows.find(c, asked.id))
    assert known is not None and known.state == "used"
    machine.days(5)
    assert machine.has_bytes(old)
    assert machine.catalog.read(retention_rows.holds) == [found]


@pytest.mark.fault("B31")
def test_what_became_of_a_request_is_known_from_the_journal(machine: Machine) -> None:
    asked = machine.catalog.write(lambda c: approvals.ask(c, request()))
    machine.journal()
    machine.back_up()
    machine.catalog.write(
        lambda c: approvals.decide(c, asked, "refused", "user:boss", "Boss", "no", asked.requested_ms)
    )
    machine.journal()
    assert machine.restore().ended == 1
    found = machine.catalog.read(lambda c: approval_rows.find(c, asked.id))
    assert found is not None and found.state == "refused"


@pytest.mark.fault("B31")
def test_a_hold_that_was_released_after_the_backup_does_not_stand_again(machine: Machine) -> None:
    hold = machine.hold(machine.now_ms - DAY_MS, machine.now_ms)
    machine.journal()
    machine.back_up()
    machine.catalog.write(lambda c: retention_rows.release_hold(c, hold, "user:a", machine.now_ms))
    machine.journal()
    machine.restore()
    assert machine.catalog.read(retention_rows.holds) == []


def key_footage(machine: Machine) -> list[str]:
    """The class keeps six months, and there is footage of it that three would let go."""
    machine.ask(6)
    machine.days(8)
    made = [machine.footage(machine.now_ms - days * DAY_MS) for days in (100, 110, 120)]
    machine.catalog.write(lambda c: c.execute(update(segment).values(class_="key")))
    machine.sweep()
    assert machine.months() == 6
    return [row.id for row in made]


@pytest.mark.fault("B31")
@pytest.mark.parametrize("told", ["journal", "earlier version", "nothing"])
def test_a_shortening_that_was_taken_back_after_the_backup_waits_no_more(machine: Machine, told: str) -> None:
    """What the journal does not say is still wanted must be asked for again."""
    key_footage(machine)
    if told != "nothing":
        machine.ask(3)
        machine.journal()
        machine.back_up()
        machine.clock.advance(3600)
        machine.ask(6)
    else:  # in the minute before the journal's next look
        machine.journal()
        machine.ask(3)
        machine.back_up()
    if told == "journal":
        machine.journal()
    elif told == "earlier version":
        as_before(machine, 1_000)
    done = machine.restore()
    assert machine.waiting() == ({"key": 6} if told == "journal" else {})
    assert [change.months for change in done.dropped] == ([] if told == "journal" else [3])
    machine.days(9)
    assert machine.months() == 6


@pytest.mark.fault("B31")
def test_a_change_that_the_journal_says_still_waits_goes_on_waiting(machine: Machine) -> None:
    machine.ask(6)
    machine.journal()
    machine.back_up()
    done = machine.restore()
    assert machine.waiting() == {"key": 6} and done.dropped == ()
    machine.journal()
    machine.days(8)
    assert machine.months() == 6


@pytest.mark.fault("B31")
@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("later", [None, 400])
def test_an_area_that_was_extended_after_the_backup_stays_extended(
    machine: Machine, later: int | None, earlier: bool
) -> None:
    extended_ms = None if later is None else machine.now_ms + later * DAY_MS
    machine.key_area(machine.now_ms + 10 * DAY_MS)
    machine.back_up()
    machine.end_area(extended_ms)
    machine.journal(earlier)
    machine.restore()
    assert machine.area_ends_ms() == extended_ms


@pytest.mark.fault("B31")
@pytest.mark.parametrize("earlier", [False, True])
def test_an_area_that_ended_after_the_backup_ends_and_in_doubt_goes_on(machine: Machine, earlier: bool) -> None:
    """An earlier version's journal does not say whether it is newer than the backup."""
    machine.key_area()
    machine.back_up()
    machine.clock.advance(60)
    ended_ms = machine.now_ms
    machine.catalog.write(lambda c: places.set_area_cameras(c, "A", (), ended_ms))
    machine.journal(earlier)
    machine.restore()
    assert machine.area_ends_ms() == (None if earlier else ended_ms)


@pytest.mark.fault("B31")
def test_what_was_changed_backed_up_and_changed_back_between_two_looks_keeps_longer(machine: Machine) -> None:
    machine.key_area()
    machine.end_area(machine.now_ms + 1)
    machine.back_up()
    machine.end_area(None)
    machine.journal()
    machine.restore()
    assert machine.area_ends_ms() is None


@pytest.mark.fault("B31")
def test_a_hold_that_was_released_just_before_the_backup_does_not_stand_again(machine: Machine) -> None:
    hold = machine.hold(machine.now_ms - DAY_MS, machine.now_ms)
    machine.journal()
    machine.catalog.write(lambda c: retention_rows.release_hold(c, hold, "user:a", machine.now_ms))
    machine.back_up()
    machine.restore()
    assert machine.catalog.read(retention_rows.holds) == []


@pytest.mark.fault("B31")
def test_no_footage_is_known_for_a_moment_without_what_was_decided_about_it(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store goes away when the restore asks for the first of what the backup does not know."""
    asked = machine.catalog.write(lambda c: approvals.ask(c, request()))
    machine.journal()
    machine.back_up()
    machine.catalog.write(
        lambda c: approvals.decide(c, asked, "refused", "user:boss", "Boss", "no", asked.requested_ms)
    )
    (old,) = due_footage(machine)
    hold = machine.hold(old.start_ms, old.end_ms)
    machine.journal()

    def away(_key: str) -> tuple[base.ObjectInfo, Iterator[bytes]]:
        raise base.unavailable("away")

    monkeypatch.setattr(machine.store, "fetch", away)
    with pytest.raises(TiergateError) as caught:
        machine.restore()
    assert caught.value.reason.code == "media.store_unavailable"
    assert [row.id for row in machine.catalog.read(retention_rows.holds)] == [hold]
    found = machine.catalog.read(lambda c: approval_rows.find(c, asked.id))
    assert found is not None and found.state == "refused"


@pytest.mark.fault("B31")
def test_footage_that_was_to_be_deleted_and_is_still_there_is_footage(machine: Machine, tmp_path: Path) -> None:
    """The journal has its tombstone already; marked as deleted it would stay for ever."""
    machine.back_up()
    made = record(make_spool(tmp_path), camera=CAMERA, node=NODE)
    insert(machine.catalog, made)
    for one in made:
        machine.store.put_file(one.segment.object_key, one.path, one.segment.sha256, one.segment.bytes)
    ids = [one.segment.id for one in made]

    def decide(c: Connection) -> None:
        segments.set_state(c, ids, ["spooled"], "deleting")
        audit.append(c, machine.now_ms, "system:keeper", "segment.delete", "some", {"ids": ids})

    machine.catalog.write(decide)
    machine.journal()
    assert machine.restore().rebuilt.added == len(ids)
    assert machine.catalog.read(lambda c: segments.existing(c, ids)) == dict.fromkeys(ids, "stored")


@pytest.mark.fault("B30", "B31")
@pytest.mark.parametrize("problem", ["EIO", "InternalError"])
def test_objects_that_cannot_be_read_stop_no_restore_and_are_named(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    """One that the backup does not know, one of the journal, one whose row was spooled at the backup, and one whose
    deletion had begun: of the last two nothing is changed, for the store does not say whether they are there."""
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    spool = make_spool(tmp_path)
    spooled, doomed, arrived, fresh, other = record(spool, 5.0, camera=CAMERA, node=NODE)
    insert(machine.catalog, [spooled, doomed, arrived])
    machine.catalog.write(lambda c: segments.set_state(c, [doomed.segment.id], ["spooled"], "stored"))
    machine.back_up()
    insert(machine.catalog, [fresh, other])
    for one in (spooled, doomed, arrived, fresh, other):
        machine.store.put_file(one.segment.object_key, one.path, one.segment.sha256, one.segment.bytes)

    def decide(c: Connection) -> None:
        segments.set_state(c, [doomed.segment.id], ["stored"], "deleting")
        details = {"ids": [doomed.segment.id]}
        audit.append(c, machine.now_ms, "system:keeper", "segment.delete", "some", details)

    machine.catalog.write(decide)
    machine.journal()
    machine.hold(machine.now_ms - DAY_MS, machine.now_ms)
    lost = journal.write(machine.catalog, machine.store, NODE, machine.now_ms)
    assert lost is not None
    machine.put_back()
    sick = SickStore(machine.store.root, problem)
    sick.sick, sick.blind = {fresh.segment.object_key, lost}, {spooled.segment.object_key, doomed.segment.object_key}
    done = restore.reconcile(machine.catalog, sick, None, NODE, machine.now_ms, "os:x")
    assert (done.rebuilt.added, done.rebuilt.unreadable) == (1, [fresh.segment.object_key])
    assert done.as_json()["journal_unreadable"] == (lost,)
    assert (done.arrived, done.deleted) == (1, 0)
    ids = [one.segment.id for one in (spooled, doomed, arrived)]
    states = machine.catalog.read(lambda c: segments.existing(c, ids))
    assert [states[id_] for id_ in ids] == ["spooled", "stored", "stored"]
    assert [f.key for f in done.check.of("orphan")] == [fresh.segment.object_key]


@pytest.mark.fault("B31")
def test_a_backup_that_is_newer_than_the_journal_has_the_last_word(machine: Machine) -> None:
    machine.hold(machine.now_ms - DAY_MS, machine.now_ms)
    machine.journal()
    machine.catalog.write(lambda c: retention_rows.set_class_months(c, "key", 5, 150, machine.now_ms))
    machine.back_up()
    done = machine.restore()
    assert machine.months() == 5 and done.journal == journal.Restored()
    machine.journal()
    classes = {row["name"]: row["months"] for row in journal.read(machine.store, NODE).policy["classes"]}
    assert classes["key"] == 5


@pytest.mark.fault("B31")
def test_a_node_that_was_restored_without_its_store_journals_behind_what_was_lost(machine: Machine) -> None:
    machine.journal()
    machine.back_up()
    held = machine.hold(machine.now_ms - DAY_MS, machine.now_ms)
    machine.catalog.write(lambda c: retention_rows.set_class_months(c, "key", 5, 150, machine.now_ms))
    machine.journal()
    machine.put_back()
    assert machine.catalog.read(lambda c: facts.get(c, journal.NUMBER)) is None
    machine.clock.step_wall(-DAY_S)
    machine.journal()
    found = journal.read(machine.store, NODE)
    assert {row["name"]: row["months"] for row in found.policy["classes"]}["key"] == 3
    assert [row["id"] for (name, _), row in found.holds.items() if name == "holds"] == [held], (
        "what was held once stays"
    )


@pytest.mark.fault("B31")
def test_a_node_that_was_restored_with_an_empty_store_journals_behind_its_backup(machine: Machine) -> None:
    """Else the same backup, put back once more, is the newer of the two, and what was decided since is forgotten."""
    for months in (4, 5):
        machine.catalog.write(lambda c, n=months: retention_rows.set_class_months(c, "key", n, 30 * n, machine.now_ms))  # type: ignore[misc]  # a bound default
        machine.journal()
    hold = machine.hold(machine.now_ms - DAY_MS, machine.now_ms)
    machine.journal()
    machine.back_up()
    for found in list(machine.store.list()):
        machine.store.delete(found.key)
    machine.put_back()
    machine.ask(6)
    machine.catalog.write(lambda c: retention_rows.release_hold(c, hold, "user:a", machine.now_ms))
    machine.journal()
    machine.restore()
    assert machine.waiting() == {"key": 6}
    assert machine.catalog.read(retention_rows.holds) == []
