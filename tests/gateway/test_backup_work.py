"""Restore on real files and stores: what came after the backup is in the store, and half a node never starts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from config.clock import SystemClock
from config.errors import TiergateError
from config.load import load, toml
from config.redact import Secret
from config.settings import Settings, build
from config.units import DAY_MS, HOUR_MS, SHANGHAI
from gateway.access.keys import ensure_keys
from gateway.ops import backup_work
from gateway.ops.backup_work import Restored, back_up, restore_node
from gateway.ops.locks import alone
from storage import class_changes, journal, restore, sealed_file, volume
from storage.audit import log as audit
from storage.audit import signed
from storage.audit.signed import Signer
from storage.catalog import facts, migrate, retention_rows, segments
from storage.catalog.engine import Catalog
from storage.catalog.retention_rows import HoldRow
from storage.catalog.tables import audit as audit_table
from storage.objects import make_store
from storage.objects.base import ObjectStore
from storage.spool import Spool
from storage.uploader import Uploader
from tests.parts.catalog import new_catalog
from tests.storage.footage import Recorded, insert, record

PASSPHRASE = Secret("correct horse battery")
NOW_MS = SystemClock().wall_ns() // 1_000_000


class Machine:
    """A node's files with a catalog, a spool and a store that lies elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.config, self.store_folder = folder, folder / "tiergate.toml", folder.parent / "store"
        self.tables: dict[str, Any] = {
            "paths": {"data": str(folder / "data")},
            "store": {"folder": str(self.store_folder)},
        }
        folder.mkdir()
        self.config.write_text(toml(self.tables))
        self.settings: Settings = load(self.config, {})
        self.keys = ensure_keys(self.settings)
        new_catalog(self.settings.catalog_url)
        self.catalog = Catalog(self.settings.catalog_url)
        self.store: ObjectStore = make_store(self.settings)
        self.store.ensure()
        self.catalog.write(lambda c: volume.recognise(c, "store", volume.read_identity(self.store_folder, "store")))
        self.spool = Spool(self.settings.paths.spool_dir, SystemClock(), self.keys.node_id)
        self.spool.claim(self.catalog)
        self.catalog.write(lambda c: audit.append(c, NOW_MS, "os:test", "node.init", self.keys.node_id, {}))

    def recorded(self, stored: bool = True, camera: str = "21021100011326000001") -> list[Recorded]:
        made = record(self.spool, camera=camera, node=self.keys.node_id)
        insert(self.catalog, made)
        if stored:
            self.upload()
        return made

    def upload(self) -> None:
        uploader = Uploader(self.catalog, self.store, self.spool, SystemClock())
        uploader.run_once()
        uploader.close()

    def back_up(self) -> Path:
        file = self.folder.parent / "node.backup"
        back_up(self.settings, self.config, file, PASSPHRASE, "os:test")
        return file

    def sign_head(self) -> None:
        Signer(self.catalog, self.store, self.keys.node_id, self.keys.node).write(NOW_MS + HOUR_MS)

    def hold(self, id_: str, camera: str) -> None:
        row = HoldRow(id_, (camera,), 1, NOW_MS, "o", "r", "case", None, "permanent", NOW_MS, NOW_MS, None, None)
        self.catalog.write(lambda c: retention_rows.add_hold(c, row))

    def destroy(self) -> None:
        self.catalog.close()
        shutil.rmtree(self.folder)


@pytest.fixture(autouse=True)
def quick_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_file, "_KDF", {**sealed_file._KDF, "memory_kib": 1024, "passes": 1})


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path / "old")
    yield made
    made.catalog.close()


def restored(machine: Machine, file: Path, **more: Any) -> tuple[Restored, Catalog]:
    """On a new machine in a folder beside the old one."""
    new = machine.folder.parent / "new"
    done = restore_node(new / "tiergate.toml", file, PASSPHRASE, "os:test", data=new / "data", **more)
    return done, Catalog(done.settings.catalog_url)


def states(catalog: Catalog, made: list[Recorded]) -> list[str]:
    found = catalog.read(lambda c: segments.existing(c, [one.segment.id for one in made]))
    return [found[one.segment.id] for one in made]


@pytest.mark.fault("B31")
def test_a_new_machine_is_the_old_node_and_knows_what_came_after_the_backup(machine: Machine) -> None:
    before = machine.recorded()
    waiting = machine.recorded(stored=False, camera="21021100011326000002")
    machine.hold("H1", before[0].segment.camera_id)
    file = machine.back_up()
    seq_at_backup = machine.catalog.read(audit.head)[0] - 1  # the backup's own entry came after it
    machine.upload()
    after = machine.recorded(camera="21021100011326000003")
    machine.hold("H2", after[0].segment.camera_id)
    gone = before[0].segment
    machine.catalog.write(
        lambda c: (
            segments.set_state(c, [gone.id], ["stored"], "deleted", deleted_ms=NOW_MS, delete_reason={"code": "x"}),
            audit.append(c, NOW_MS, "system:keeper", "segment.delete", "1", {"ids": [gone.id]}),
        )
    )
    machine.store.delete(gone.object_key)
    journal.write(machine.catalog, machine.store, machine.keys.node_id, NOW_MS)
    machine.sign_head()
    lost_head = machine.catalog.read(audit.head)
    machine.destroy()

    done, catalog = restored(machine, file)
    assert done.contents.node_id == machine.keys.node_id
    assert done.agreed is not None
    told = done.agreed.as_json()
    assert told.pop("journal")["holds"] == 1
    assert told == {
        "objects": len(before) - 1 + len(waiting) + len(after), "adopted": len(after), "unreadable": 0,
        "deleted_since": 1, "arrived_since": len(waiting), "missing": 0, "approvals_ended": 0,
        "journal_unreadable": (),
    }  # fmt: skip
    assert states(catalog, before) == ["deleted", *["stored"] * (len(before) - 1)]
    assert set(states(catalog, waiting)) == set(states(catalog, after)) == {"stored"}
    assert {hold.id for hold in catalog.read(retention_rows.holds)} == {"H1", "H2"}
    assert catalog.read(audit.verify_catalog) is None
    (entry,) = catalog.read(lambda c: audit.entries(c, action="node.restore"))
    assert entry.seq == seq_at_backup + 1
    assert (entry.details["audit_seq"], entry.details["last_signed"]["seq"]) == (seq_at_backup, lost_head[0])
    assert entry.details["last_signed"]["digest"] == lost_head[1].hex()
    old_spool = str(machine.settings.paths.spool_dir)
    assert catalog.read(lambda c: volume.known_id(c, old_spool)) is None
    assert catalog.read(lambda c: volume.known_id(c, str(done.settings.paths.spool_dir))) is not None
    catalog.close()
    assert (done.settings.paths.keys_dir / "node.key").stat().st_mode & 0o077 == 0


def standing(settings: Settings, catalog: Catalog, now_ms: int) -> signed.Standing:
    keys, store = ensure_keys(settings), make_store(settings)
    return signed.judge(catalog.read, store, keys.node_id, keys.node_public, now_ms)


@pytest.mark.fault("B31", "S18")
@pytest.mark.parametrize("away_ms", [0, 30 * DAY_MS], ids=["at once", "after a month"])
@pytest.mark.parametrize("with_store", [True, False], ids=["with the store", "without it"])
def test_a_restored_log_that_is_behind_what_was_signed_is_taken_and_cut_again_it_is_not(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, away_ms: int, with_store: bool
) -> None:
    now_ms = NOW_MS + 3 * HOUR_MS + away_ms
    monkeypatch.setattr(backup_work, "wall_ms", lambda clock: now_ms)
    keys, hand = machine.keys, Signer(machine.catalog, machine.store, machine.keys.node_id, machine.keys.node)
    assert hand.write(NOW_MS) is not None
    file = machine.back_up()
    for number in range(10):
        machine.catalog.write(lambda c: audit.append(c, NOW_MS, "user:li", "look.at", "东门", {}))
        assert hand.write(NOW_MS + number * 60_000 + 1) is not None
    machine.destroy()
    done, catalog = restored(machine, file, with_store=with_store)
    assert standing(done.settings, catalog, now_ms).cut is None  # before the first start
    for turn in (1, 2):  # a keeper, and another one
        catalog.write(lambda c: audit.append(c, now_ms, "user:li", "look.at", "西门", {}))
        fresh = Signer(catalog, machine.store, keys.node_id, keys.node)
        assert fresh.write(now_ms + turn * 60_000) is not None
        assert standing(done.settings, catalog, now_ms + turn * 60_000).cut is None
    (entry,) = catalog.read(lambda c: audit.entries(c, action="node.restore"))
    catalog.write(lambda c: c.execute(delete(audit_table).where(audit_table.c.seq > entry.seq)))
    assert Signer(catalog, machine.store, keys.node_id, keys.node).write(now_ms + 180_000) is None
    assert standing(done.settings, catalog, now_ms + 180_000).cut is not None
    catalog.close()


@pytest.mark.fault("B13")
def test_what_died_with_the_machine_is_reported_and_never_marked_at_first_sight(machine: Machine) -> None:
    waiting = machine.recorded(stored=False)
    file = machine.back_up()
    machine.destroy()
    done, catalog = restored(machine, file)
    assert done.agreed is not None
    assert done.agreed.as_json()["missing"] == len(waiting)
    assert set(states(catalog, waiting)) == {"spooled"}
    catalog.close()


@pytest.mark.fault("B31")
@pytest.mark.parametrize("with_store", [True, False])
def test_a_change_that_waited_at_the_backup_is_named_and_asked_for_again(machine: Machine, with_store: bool) -> None:
    """It may have been taken back; the journal, if it is there, was not written since it was asked for."""
    machine.catalog.write(lambda c: class_changes.ask(c, "key", 6, NOW_MS, "user:a", "a law"))
    file = machine.back_up()
    machine.destroy()
    done, catalog = restored(machine, file, with_store=with_store)
    assert [(one["class"], one["months"]) for one in done.as_json()["ask_again"]] == [("key", 6)]
    assert catalog.read(class_changes.pending) == {}
    (entry,) = catalog.read(lambda c: audit.entries(c, action="retention.drop"))
    assert (entry.actor, entry.subject) == ("os:test", "key")
    catalog.close()


def code_of(call: Any, *args: Any, **more: Any) -> str:
    with pytest.raises(TiergateError) as caught:
        call(*args, **more)
    return caught.value.reason.code


def test_a_node_that_is_here_is_not_overwritten_unless_told_and_then_put_aside(machine: Machine) -> None:
    file = machine.back_up()
    before = machine.settings.paths.keys_dir / "node.key"
    leases = machine.settings.paths.keys_dir / "leases"
    leases.mkdir()
    (leases / "L1").write_bytes(b"key")
    assert code_of(restore_node, machine.config, file, PASSPHRASE, "os:test") == "backup.node_there"
    with alone(machine.settings.paths.run_dir / "node.lock", "process.lock_held"):
        # Wherever the restored node would lie: the one that runs has these settings.
        for data in (None, machine.folder / "elsewhere"):
            running = code_of(restore_node, machine.config, file, PASSPHRASE, "os:test", replace=True, data=data)
            assert running == "process.lock_held"
    assert before.exists() and machine.config.exists()
    done = restore_node(machine.config, file, PASSPHRASE, "os:test", replace=True)
    assert len(done.aside) == 3
    assert all(list(machine.folder.rglob(name)) for name in done.aside)
    assert (leases / "L1").exists() and len(list(machine.folder.rglob("L1"))) == 1
    assert before.read_bytes() == machine.keys.node


def test_a_restore_that_cannot_see_the_store_makes_no_node(machine: Machine) -> None:
    made = machine.recorded()
    file = machine.back_up()
    machine.destroy()
    store = machine.store_folder
    store.rename(store.with_name("away"))
    new = machine.folder.parent / "new"
    assert code_of(restored, machine, file) == "media.volume_missing"
    assert list(new.iterdir()) == []
    store.mkdir()
    volume.prepare(store, "store")  # another store in its place
    assert code_of(restored, machine, file, replace=True) == "media.volume_swapped"
    assert not (new / "tiergate.toml").exists()
    shutil.rmtree(store)
    store.with_name("away").rename(store)
    done, catalog = restored(machine, file, replace=True)
    assert done.agreed is not None and (new / "tiergate.toml").exists()
    assert set(states(catalog, made)) == {"stored"}
    catalog.close()


def test_without_a_store_the_backup_is_taken_as_it_is(machine: Machine) -> None:
    made = machine.recorded()
    file = machine.back_up()
    machine.destroy()
    shutil.rmtree(machine.store_folder)
    done, catalog = restored(machine, file, with_store=False)
    assert done.agreed is None
    assert set(states(catalog, made)) == {"stored"}
    assert catalog.read(lambda c: facts.get(c, "volume.store")) is None
    catalog.close()


def test_a_wrong_passphrase_touches_nothing(machine: Machine) -> None:
    file = machine.back_up()
    new = machine.folder.parent / "new"
    found = code_of(restore_node, new / "tiergate.toml", file, Secret("wrong horse battery"), "os:test")
    assert found == "backup.passphrase"
    assert not new.exists()
    assert code_of(back_up, machine.settings, machine.config, file, Secret("short"), "os:test") == (
        "backup.passphrase_short"
    )


def test_mutants_of_the_agreement_are_caught(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of the three steps left out loses something that the check of the drill counts."""
    waiting = machine.recorded(stored=False)
    file = machine.back_up()
    machine.upload()
    machine.destroy()
    monkeypatch.setattr(restore, "_arrived", lambda *_: 0)
    _, catalog = restored(machine, file)
    assert set(states(catalog, waiting)) == {"spooled"}
    catalog.close()


def local_ms(day: int, hour: int) -> int:
    return int(datetime(2026, 11, day, hour, 30, tzinfo=SHANGHAI).timestamp() * 1000)


def test_a_night_has_one_backup_and_old_ones_go(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    nightly = {"folder": str(folder), "hour": 3, "keep": 2, "passphrase": PASSPHRASE.reveal()}
    settings = build({**machine.tables, "backup": nightly})

    def look(day: int, hour: int) -> str | None:
        made = backup_work.nightly(settings, machine.config, local_ms(day, hour))
        return made.name if made is not None else None

    first = look(10, 14)
    assert first is not None  # none of the night before is there
    assert look(10, 23) is None and look(11, 2) is None
    (folder / first.replace("-2026", "-2020")).touch()
    second, third = look(11, 3), look(12, 4)
    assert second and third and look(12, 5) is None
    assert sorted(path.name for path in folder.iterdir()) == [second, third]
    assert backup_work.nightly(build(machine.tables), machine.config, local_ms(13, 4)) is None


def test_an_upgrade_says_what_it_does_and_refuses_beside_a_running_node(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.storage.catalog import migration_kills
    from tests.storage.catalog.test_migrate import _next_revision

    settings, old = machine.settings, migrate.head()
    assert backup_work.upgrade(settings, "os:test", False)["steps"] == []
    monkeypatch.setattr(migrate, "_FOLDER", _next_revision(tmp_path / "next", migration_kills.UP))
    said = backup_work.upgrade(settings, "os:test", True)
    assert (said["from"], said["to"], said["done"]) == (old, migration_kills.NEW, False)
    assert [step["revision"] for step in said["steps"]] == [migration_kills.NEW]
    assert migrate.current(settings.catalog_url) == old
    with alone(settings.paths.run_dir / "node.lock", "process.lock_held"):
        assert code_of(backup_work.upgrade, settings, "os:test", False) == "process.lock_held"
    assert backup_work.upgrade(settings, "os:test", False)["done"]
    assert migrate.current(settings.catalog_url) == migration_kills.NEW
    assert Path(said["copy"]).exists()
    entries = machine.catalog.read(lambda c: audit.entries(c, action="node.upgrade"))
    assert [entry.details for entry in entries] == [{"from": old, "to": migration_kills.NEW}]
