"""The sweep on a real SQLite catalog and a real folder store, and what goes wrong while it deletes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from sqlalchemy import Connection, update

from config.errors import TiergateError
from config.ids import ulid
from config.reasons import Reason
from config.units import DAY_MS, HOUR_MS
from storage import approvals, class_changes, sweeper
from storage.approval_rules import Approval
from storage.audit import log as audit
from storage.catalog import places, retention_rows, segments
from storage.catalog.cameras import NewCamera, change_camera, create_camera, remove_camera
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import segment
from storage.classes import RetentionClass, keep_until_ms
from storage.clock_trust import ClockEvidence
from storage.objects import base
from storage.objects.folder import FolderStore
from storage.sweeper import Policies, Sweeper, SweepReport
from tests.storage.sweep_place import (
    CAMERA,
    DAY_S,
    OTHER,
    START_MS,
    Place,
    due_footage,
    on_each_chunk,
    place,
    sqlite_alone,
)

__all__ = ["place"]  # fixture


def test_condemned_then_grace_then_gone_and_the_row_stays(place: Place) -> None:
    (old,), young = due_footage(place), place.footage(place.now_ms - 5 * DAY_MS)
    assert len(place.sweep().condemned) == 1
    assert place.state(old) == "condemned"
    assert place.has_bytes(old)

    place.clock.advance(DAY_S - 60)
    assert place.sweep().deleted == []
    assert place.has_bytes(old)

    place.clock.advance(120)
    assert place.sweep().deleted == [old.id]
    assert place.state(old) == "deleted"  # the manifest outlives the bytes
    assert not place.has_bytes(old)
    assert place.state(young) == "stored"
    assert place.has_bytes(young)


@pytest.mark.fault("B22")
def test_footage_of_a_camera_that_is_removed_or_switched_off_goes_in_its_time(place: Place) -> None:
    region = "210211001003"
    place.catalog.write(lambda c: places.seed_regions(c, region, "community", "社区", place.now_ms))
    new = NewCamera("门", region, (("main", "rtsp://10.0.0.1/a", None),))
    own = place.catalog.write(lambda c: create_camera(c, new, "community", 32, place.now_ms)).id
    first, second, kept = (place.footage(place.now_ms - days * DAY_MS, own) for days in (41, 40, 5))
    place.catalog.write(lambda c: change_camera(c, own, {"enabled": False}, place.now_ms))
    place.sweep()
    place.catalog.write(lambda c: remove_camera(c, own, place.now_ms))
    place.clock.advance(DAY_S + 60)
    assert sorted(place.sweep().deleted) == sorted([first.id, second.id])
    assert place.has_bytes(kept)
    place.clock.advance(40 * DAY_S)
    for _ in range(3):
        place.sweeper().sweep(confirmed_due=10_000)
        place.clock.advance(DAY_S)
    assert not place.has_bytes(kept) and place.state(kept) == "deleted"


@sqlite_alone
def test_all_is_gone_within_72_hours_after_its_time(place: Place) -> None:
    """I4 with a sweep each hour: condemned at once, a day of grace, gone."""
    row = place.footage(place.now_ms - 20 * DAY_MS)
    until_ms = row.end_ms + 31 * DAY_MS  # May has 31 days
    while place.has_bytes(row):
        place.sweep()
        place.clock.advance(3600)
        assert place.now_ms < until_ms + 72 * HOUR_MS
    assert place.now_ms > until_ms


def test_a_dry_run_says_the_same_and_changes_nothing(place: Place) -> None:
    rows = due_footage(place, 3)
    report = place.sweep(dry_run=True)
    assert report.as_json()["condemned"] == 3
    assert report.as_json()["condemned_bytes"] == 3 * 34
    assert {place.state(row) for row in rows} == {"stored"}
    assert place.fact(sweeper.LAST_SUCCESS) is None


def test_a_dry_run_says_what_the_sweep_will_do_of_announced_changes_and_of_what_was_condemned(place: Place) -> None:
    place.catalog.write(lambda c: class_changes.ask(c, "default", 3, place.now_ms, "user:a", "basis"))
    place.clock.advance(8 * DAY_S)
    place.sweep()
    due_footage(place, 30)
    place.catalog.write(lambda c: class_changes.ask(c, "default", 1, place.now_ms, "user:a"))
    place.clock.advance(7 * DAY_S + 60)
    dry, done = (place.sweep(dry_run).as_json() for dry_run in (True, False))
    assert dry | {"dry_run": False} == done
    assert (done["condemned"], done["refused"]) == (30, None)
    old = place.footage(place.now_ms - 40 * DAY_MS, time_trust="unknown")
    place.catalog.write(lambda c: c.execute(update(segment).values(aged_from_ms=old.end_ms)))
    place.clock.advance(DAY_S + 60)
    place.hold(0, place.now_ms, OTHER)
    kept = place.footage(place.now_ms - 40 * DAY_MS, OTHER)
    dry, done = (place.sweep(dry_run).as_json() for dry_run in (True, False))
    assert dry | {"dry_run": False} == done
    assert (done["condemned"], done["deleted"], done["kept_by_hold"], place.state(kept)) == (1, 30, 1, "stored")
    place.clock.advance(DAY_S + 60)
    dry, done = (place.sweep(dry_run).as_json() for dry_run in (True, False))
    assert dry["deleted"] == done["deleted"] == 1


def test_a_dry_run_without_grace_and_with_tombstones_says_what_goes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_once(dry_run: bool) -> SweepReport:
        return Sweeper(place.catalog, place.store, place.clock, place.evidence, 0, 7).sweep(dry_run)

    old = due_footage(place, 9)
    assert sorted(at_once(dry_run=True).deleted) == [row.id for row in old]
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "delete_many", lambda _store, keys: {key: OSError() for key in keys})
        assert at_once(dry_run=False).failed == 9
    assert sorted(at_once(dry_run=True).deleted) == [row.id for row in old]
    place.hold(old[0].start_ms, old[3].start_ms - 1)
    assert sorted(at_once(dry_run=True).deleted) == sorted(at_once(dry_run=False).deleted)


def test_a_dry_run_counts_a_provisional_hold_whose_time_is_over_as_lapsed(place: Place) -> None:
    place.sweep()
    (old,) = due_footage(place)
    hold = place.hold(old.start_ms, old.end_ms)
    asked = Approval(
        ulid(place.now_ms, bytes(10)), "hold.add", hold, {}, "why", "U", "u", "U", "127.0.0.1", place.now_ms,
        place.now_ms + DAY_MS,
    )  # fmt: skip
    place.catalog.write(lambda c: approvals.ask(c, asked))
    assert place.sweep(dry_run=True).condemned == [] == place.sweep().condemned
    foreseen = place.catalog.read(lambda c: Policies.foreseen(c, place.now_ms + DAY_MS))
    assert (len(foreseen.holds), len(place.catalog.read(Policies.read).holds)) == (0, 1)
    place.clock.advance(DAY_S)
    dry, done = (place.sweep(dry_run).as_json() for dry_run in (True, False))
    assert dry | {"dry_run": False} == done and done["condemned"] == 1


def test_a_hold_within_the_grace_rescues(place: Place) -> None:
    (old,) = due_footage(place)
    place.sweep()
    place.clock.advance(DAY_S / 2)
    place.hold(old.start_ms, old.end_ms)
    assert place.state(old) == "stored"
    place.clock.advance(DAY_S)
    report = place.sweep()
    assert report.kept_by_hold == 1
    assert place.has_bytes(old)


def test_a_hold_rescues_footage_of_unknown_date_by_when_it_was_first_seen(place: Place) -> None:
    """Its row says a day that is still to come; nothing that is recorded then can be meant."""
    false_ms = place.now_ms + 365 * DAY_MS
    old = place.footage(false_ms, time_trust="unknown")
    place.sweep()
    seen_ms = place.now_ms
    for _ in range(32):
        place.clock.advance(DAY_S)
        place.sweep()
        if place.state(old) == "condemned":
            break
    assert place.state(old) == "condemned"
    place.hold(false_ms - DAY_MS, false_ms + DAY_MS)
    assert place.state(old) == "condemned"
    place.hold(seen_ms - DAY_MS, seen_ms - HOUR_MS)
    assert place.state(old) == "stored"


def test_two_holds_on_one_footage_are_counted(place: Place) -> None:
    (old,) = due_footage(place)
    first = place.hold(old.start_ms, old.end_ms)
    place.hold(old.start_ms - HOUR_MS, old.end_ms, CAMERA, OTHER)
    place.catalog.write(lambda c: retention_rows.release_hold(c, first, "user:x", place.now_ms))
    for _ in range(3):
        place.sweep()
        place.clock.advance(DAY_S)
    assert place.has_bytes(old)


def hold_in_flight(place: Place, row: SegmentRow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold commits after the sweep has read its plan and before it marks `deleting`, without touching the rows:
    the worst order that a second process can bring about."""
    delete = Sweeper._delete

    def held_between(self: Sweeper, report: SweepReport, evidence: ClockEvidence) -> Reason | None:
        with monkeypatch.context() as patch:
            patch.setattr(retention_rows, "_rescue", lambda _connection, _row: None)
            place.hold(row.start_ms, row.end_ms)
        return delete(self, report, evidence)

    monkeypatch.setattr(Sweeper, "_delete", held_between)


def test_a_hold_in_flight_wins(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (old,) = due_footage(place)
    place.sweep()
    place.clock.advance(DAY_S + 1)
    hold_in_flight(place, old, monkeypatch)
    assert place.sweep().deleted == []
    assert place.has_bytes(old)
    assert place.state(old) == "stored"


def test_a_hold_that_comes_while_the_store_deletes_other_footage_wins(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next chunk is released meanwhile, but judged only when the store is free for it."""
    rows = due_footage(place, 14)
    late = rows[10]
    second_released = threading.Event()
    on_each_chunk(monkeypatch, lambda number: second_released.set() if number == 2 else None)

    class Slow(FolderStore):
        def delete_many(self, keys: Sequence[str]) -> dict[str, TiergateError]:
            if rows[0].object_key in keys:
                assert second_released.wait(30), "the catalog waits for the store"
                place.hold(late.start_ms + 1, late.end_ms - 1)
            return super().delete_many(keys)

    place.sweep()
    place.clock.advance(DAY_S + 1)
    place.store = Slow(place.store.root)
    assert len(place.sweep().deleted) == 13
    assert place.has_bytes(late) and place.state(late) == "stored"


@pytest.mark.fault("B19")
def test_footage_not_yet_stored_or_of_unknown_class_is_never_touched(place: Place) -> None:
    spooled = place.footage(place.now_ms - 60 * DAY_MS, state="spooled")
    odd = place.footage(place.now_ms - 60 * DAY_MS)
    place.catalog.write(lambda c: segments.set_state(c, [odd.id], ["stored"], "stored", class_="unheard_of"))
    for _ in range(3):
        place.sweep()
        place.clock.advance(DAY_S)
    assert place.has_bytes(spooled)
    assert place.has_bytes(odd)


# --- failures ---


def delete_by(patch: pytest.MonkeyPatch, delete: Callable[..., None]) -> None:
    patch.setattr(FolderStore, "delete", delete)
    patch.setattr(FolderStore, "delete_many", lambda self, keys: base.one_by_one(partial(delete, self), keys))


@pytest.mark.fault("B17")
def test_one_bad_object_does_not_stop_the_others(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = due_footage(place, 5)
    bad = rows[2]
    delete = FolderStore.delete

    def sometimes(self: FolderStore, key: str, version_id: str | None = None) -> None:
        if key == bad.object_key:
            raise OSError("a disk error")
        delete(self, key, version_id)

    place.sweep()
    place.clock.advance(DAY_S + 1)
    with monkeypatch.context() as patch:
        delete_by(patch, sometimes)
        report = place.sweep()
    assert report.failed == 1
    assert len(report.deleted) == 4
    assert place.state(bad) == "deleting"
    place.clock.advance(600)
    assert place.sweep().deleted == [bad.id]
    assert not place.has_bytes(bad)


@pytest.mark.fault("B17")
def test_a_row_that_breaks_the_request_for_many_does_not_stop_the_others(place: Place) -> None:
    """Whatever nobody foresaw of one key, in the answer for all of them."""

    class Breaking(FolderStore):
        def delete(self, key: str, version_id: str | None = None) -> None:
            if key == bad.object_key:
                raise RuntimeError("not foreseen")
            super().delete(key, version_id)

        def delete_many(self, keys: Sequence[str]) -> dict[str, TiergateError]:
            if bad.object_key in keys:
                raise RuntimeError("not foreseen")
            return super().delete_many(keys)

    rows = due_footage(place, 5)
    bad = rows[2]
    place.store = Breaking(place.store.root)
    place.sweep()
    place.clock.advance(DAY_S + 1)
    report = place.sweep()
    assert (report.failed, len(report.deleted)) == (1, 4)
    assert [row for row in rows if place.state(row) == "deleting"] == [bad]
    assert [row for row in rows if place.has_bytes(row)] == [bad]


@pytest.mark.fault("B15")
def test_a_hold_that_comes_while_the_store_refuses_to_delete_wins(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = due_footage(place, 2)
    place.sweep()
    place.clock.advance(DAY_S + 1)
    with monkeypatch.context() as patch:
        delete_by(patch, lambda *_: (_ for _ in ()).throw(OSError("denied")))
        assert place.sweep().failed == 2
    assert {place.state(kept), place.state(gone)} == {"deleting"}
    place.hold(kept.start_ms, kept.start_ms + 1)
    place.clock.advance(600)
    assert place.sweep().deleted == [gone.id]
    assert place.has_bytes(kept) and place.state(kept) == "stored"


class Crash(BaseException):
    """kill -9, as far as one process can play it."""


@pytest.mark.fault("B15")
def test_a_crash_between_deleting_and_deleted_is_resumed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = due_footage(place, 3)
    place.sweep()
    place.clock.advance(DAY_S + 1)
    delete = FolderStore.delete

    def die(self: FolderStore, key: str, version_id: str | None = None) -> None:
        delete(self, key, version_id)
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        delete_by(patch, die)
        place.sweep()
    assert {place.state(row) for row in rows} == {"deleting"}
    assert [place.has_bytes(row) for row in rows].count(False) == 1
    place.clock.advance(600)
    assert sorted(place.sweep().deleted) == sorted(row.id for row in rows)
    assert not any(place.has_bytes(row) for row in rows)


def test_condemning_and_deleting_stand_in_the_audit_log(place: Place) -> None:
    (old,) = due_footage(place)
    place.sweep()
    place.clock.advance(DAY_S + 1)
    place.sweep()

    def read(connection: Connection) -> list[audit.Entry]:
        return audit.entries(connection, action="segment.")

    assert [(e.action, e.details["ids"]) for e in place.catalog.read(read)] == [
        ("segment.condemn", [old.id]),
        ("segment.delete", [old.id]),
    ]
    assert place.catalog.read(audit.verify_catalog) is None


def test_mutant_without_asking_holds_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (old,) = due_footage(place)
    place.sweep()
    place.clock.advance(DAY_S + 1)
    hold_in_flight(place, old, monkeypatch)
    stale = place.catalog.read(sweeper.Policies.read)
    monkeypatch.setattr(sweeper.Policies, "read", classmethod(lambda _cls, _connection: stale))
    assert place.sweep().deleted == [old.id]


@pytest.mark.parametrize("months", [1, 2, 3, 12])
def test_what_the_sweep_does_not_look_at_cannot_be_due(months: int) -> None:
    """The bound by which the sweep leaves out most footage, against the calendar, over four years of days."""
    for min_days in (0, 30 * months):
        class_ = RetentionClass("default", 0, months, min_days, None, False)
        policies = sweeper.Policies({"default": class_}, {}, [])
        for day in range(4 * 366):
            end_ms = START_MS + day * DAY_MS + 12_345
            until_ms = keep_until_ms(end_ms, class_)
            assert until_ms is not None
            assert end_ms < policies.may_be_due_before_ms(until_ms)


class Denying(FolderStore):
    """A store whose account may not delete for a while; the folder itself cannot be told to refuse root."""

    denies = True
    hits = 0

    def delete(self, key: str, version_id: str | None = None) -> None:
        if self.denies:
            self.hits += 1
            raise base.refused("AccessDenied")
        super().delete(key, version_id)

    def delete_many(self, keys: Sequence[str]) -> dict[str, TiergateError]:
        return base.one_by_one(self.delete, keys)


@pytest.mark.fault("B15")
def test_a_deletion_that_the_store_refuses_is_tried_for_ever_and_its_age_is_told(place: Place) -> None:
    """DELETE is denied for longer than an hour: every sweep tries again, no row says `deleted` before its bytes are
    gone, and nothing is left over once it is allowed."""
    store = Denying(place.store.root)
    place.store = store
    gone = due_footage(place, 5)
    place.sweep()
    place.clock.advance(DAY_S + 1)
    for sweeps in range(1, 8):
        assert place.sweep().failed == len(gone)
        assert store.hits == sweeps * len(gone)
        place.clock.advance(600)
    assert {place.state(row) for row in gone} == {"deleting"}
    assert all(place.has_bytes(row) for row in gone)
    decided_ms = place.catalog.read(retention_rows.oldest_tombstone_ms)
    assert decided_ms is not None
    assert place.now_ms - decided_ms - DAY_MS > HOUR_MS
    store.denies = False
    assert sorted(place.sweep().deleted) == sorted(row.id for row in gone)
    assert not any(place.has_bytes(row) for row in gone)
    assert place.catalog.read(retention_rows.oldest_tombstone_ms) is None
