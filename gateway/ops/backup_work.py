"""Backup, restore and upgrade of a whole node. From the command line they are audited as ``os:<login>``.

Belongs here: which files, in which order, and that half a node is never taken for a whole one. Does not belong here:
the format (`storage.backup`), agreeing with the store (`storage.restore`), what is printed (``gateway/cli``).
"""

from __future__ import annotations

import contextlib
import os
import tomllib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from config.clock import make_clock, wall_ms
from config.errors import Kind, TiergateError
from config.load import load, toml
from config.redact import Secret
from config.settings import Settings
from config.units import SHANGHAI
from gateway import __version__
from gateway.access.keys import NodeKeys, load_keys
from gateway.ops import own_catalog
from gateway.ops.locks import KEYS_LOCK, is_held, together
from gateway.ops.store_work import open_catalog
from storage import backup, class_changes, restore, volume
from storage.audit import log as audit
from storage.audit import signed
from storage.backup import Contents
from storage.catalog import facts, migrate
from storage.catalog import node as owner
from storage.class_changes import Change
from storage.objects import make_store
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore
from storage.restore import Reconciled
from storage.spools import make_spools
from storage.volume import fsync_folder, write_synced

PASSPHRASE_LENGTH = 12
_STAMP = "%Y%m%dT%H%M%SZ"


def check_passphrase(passphrase: Secret) -> None:
    """Raises backup.passphrase_short."""
    if len(passphrase.reveal()) < PASSPHRASE_LENGTH:
        raise TiergateError(Kind.INVALID, "backup.passphrase_short", length=PASSPHRASE_LENGTH)


# --- backup ---


def back_up(settings: Settings, settings_file: Path, target: Path, passphrase: Secret, actor: str) -> Contents:
    """A backup of the node as it is now; it may run meanwhile."""
    check_passphrase(passphrase)
    keys, now_ms = load_keys(settings), wall_ms(make_clock(settings))
    source = backup.Source(keys.node_id, keys.node, __version__, settings_file, settings.paths.keys_dir)
    with together(settings.paths.run_dir / KEYS_LOCK), open_catalog(settings) as catalog:
        made = backup.make(catalog, source, target, passphrase, now_ms)
        details = {"audit_seq": made.audit_seq, "rows": sum(made.rows.values())}
        catalog.write(lambda c: audit.append(c, now_ms, actor, "node.backup", target.name, details))
    return made


def nightly(settings: Settings, settings_file: Path, now_ms: int) -> Path | None:
    """The backup of the night, unless there is one; older ones beyond `backup.keep` go. None: nothing was due."""
    chosen = settings.backup
    if chosen.folder is None:
        return None
    node_id = load_keys(settings).node_id
    chosen.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    due = backup.file_name(node_id, _due(now_ms, chosen.hour).strftime(_STAMP))
    now = backup.file_name(node_id, datetime.fromtimestamp(now_ms / 1000, UTC).strftime(_STAMP))
    # One from the future, of a clock that was wrong, stands for no night.
    if any(due <= path.name <= now for path in chosen.folder.glob(backup.file_name(node_id, "[0-9]*"))):
        return None
    target = chosen.folder / now
    back_up(settings, settings_file, target, chosen.passphrase, "system:keeper")
    backup.rotate(chosen.folder, node_id, chosen.keep)
    return target


def _due(now_ms: int, hour: int) -> datetime:
    """The last moment at which a nightly backup was due, in UTC."""
    local = datetime.fromtimestamp(now_ms / 1000, SHANGHAI)
    due = local.replace(hour=hour, minute=0, second=0, microsecond=0)
    return (due if due <= local else due - timedelta(days=1)).astimezone(UTC)


# --- restore ---


@dataclass(frozen=True, slots=True)
class Restored:
    contents: Contents
    settings: Settings
    aside: list[str]  #: what was moved out of the way
    agreed: Reconciled | None  #: None: without the store
    dropped: tuple[Change, ...]  #: changes of classes that waited at the backup and wait no more

    def as_json(self) -> dict[str, Any]:
        return {
            **self.contents.as_json(),
            "data": str(self.settings.paths.data),
            "put_aside": self.aside,
            "store": self.agreed and self.agreed.as_json(),
            "ask_again": [
                {"class": change.class_name, "months": change.months, "effective_ms": change.effective_ms}
                for change in self.dropped
            ],
        }


def restore_node(
    settings_file: Path, file: Path, passphrase: Secret, actor: str, *, data: Path | None = None,
    replace: bool = False, with_store: bool = True,
) -> Restored:  # fmt: skip
    """Makes the node of the backup here. Its settings file appears last: before that nothing can be started, and a
    restore that failed is done again with `replace`. Nothing is touched by a file that is not whole.

    `data`: the node's folder on this machine, where it is another than it was. Raises backup.node_there,
    process.lock_held, and what `storage.backup` and the store raise.
    """
    contents = backup.verify(file, passphrase)
    text, keys = backup.read_files(file, passphrase)
    settings_file.parent.mkdir(parents=True, exist_ok=True)
    fresh = settings_file.with_name(settings_file.name + ".restoring")
    try:
        write_synced(fresh, text if data is None else _moved(text, data))
        settings = load(fresh)
        now_ms = wall_ms(make_clock(settings))
        store = _store(settings) if with_store else None  # before anything that is here is touched
        aside = _make_room(settings, settings_file, now_ms, replace)
        node = _lay_out(settings, keys)
        details = _lineage(contents, node, store, now_ms)

        def take_over(connection: Connection) -> None:
            owner.own(connection, node.node_id)
            restore.take_over(connection, now_ms, actor, node.node_id, details)

        backup.load_catalog(file, passphrase, settings.catalog_url, take_over)
        agreed, dropped = _agree(settings, store, node.node_id, now_ms, actor)
        os.replace(fresh, settings_file)
    finally:
        fresh.unlink(missing_ok=True)
    fsync_folder(settings_file.parent)
    return Restored(contents, settings, aside, agreed, dropped)


def _lay_out(settings: Settings, keys: dict[str, bytes]) -> NodeKeys:
    """Folders and keys."""
    paths = settings.paths
    for folder in (paths.data, paths.spool_dir, paths.catalog_dir, paths.keys_dir, paths.run_dir):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, value in keys.items():
        write_synced(paths.keys_dir / name, value)
    fsync_folder(paths.keys_dir)
    return load_keys(settings)


def _moved(text: bytes, data: Path) -> bytes:
    """The settings with everything that lay in the old data folder in the new one. Comments are not kept."""
    tables: dict[str, dict[str, Any]] = tomllib.loads(text.decode())
    old = str(tables.get("paths", {}).get("data", "/var/lib/tiergate"))
    new = str(data.absolute())
    for values in tables.values():
        for key, value in values.items():
            if isinstance(value, str) and (value == old or f"{old}/" in value):
                values[key] = value.replace(old, new, 1)
    tables.setdefault("paths", {})["data"] = new
    return toml(tables).encode()


def _make_room(settings: Settings, settings_file: Path, now_ms: int, replace: bool) -> list[str]:
    """Whatever of a node is here already goes aside; nothing is deleted. Raises backup.node_there."""
    runs = [settings.paths.run_dir]
    if settings_file.exists():
        with contextlib.suppress(TiergateError):  # broken settings run no node
            runs.append(load(settings_file).paths.run_dir)
    if any(is_held(run / "node.lock") for run in runs):
        raise TiergateError(Kind.CONFLICT, "process.lock_held", lock="node.lock")
    keys, catalog = settings.paths.keys_dir, settings.paths.catalog_dir
    url = settings.catalog_url
    there = [path for path in (settings_file, keys / "node.key") if path.exists()]
    has_catalog = migrate.current(url) is not None
    if not there and not has_catalog:
        return []
    if not replace:
        what = there[0].name if there else "catalog"
        raise TiergateError(Kind.CONFLICT, "backup.node_there", what=what)
    stamp = f"before-restore-{now_ms}"
    moved = [path for path in (settings_file, keys, catalog) if path.exists()]
    for path in moved:
        path.rename(path.with_name(f"{path.name}.{stamp}"))
    if (leases := keys.with_name(f"{keys.name}.{stamp}") / "leases").exists():
        # Their end is their destruction: a copy put aside would outlive the cache that they open.
        keys.mkdir(mode=0o700)
        leases.rename(keys / "leases")
    if migrate.sqlite_path(url) is None and has_catalog:
        migrate.put_aside(url, stamp.replace("-", "_"))
    return [f"{path.name}.{stamp}" for path in moved]


def _store(settings: Settings) -> ObjectStore:
    """The node's store, which must be there. Raises media.volume_missing, media.store_unavailable."""
    store = make_store(settings)
    if isinstance(store, FolderStore):
        _ = store.volume_id
    next(iter(store.list("none/")), None)
    return store


def _lineage(contents: Contents, node: NodeKeys, store: ObjectStore | None, now_ms: int) -> dict[str, Any]:
    """What the audit log says of the restore: where the log was, and how far the lost one is known to have come. What
    the lost one signed behind the backup is excused, under the node's key."""
    heads = signed.names(store, node.node_id) if store is not None else []
    last = signed.newest(store, heads, node.node_public) if store is not None else None
    furthest = None if store is None else max((name.seq for name in heads), default=0)
    until_ms = now_ms if last is None else max(now_ms, last.at_ms)
    excuse = signed.Excuse(contents.audit_seq, bytes.fromhex(contents.audit_digest), furthest, until_ms)
    return {
        "made_ms": contents.made_ms,
        "audit_seq": contents.audit_seq,
        "audit_digest": contents.audit_digest,
        "last_signed": last and {"seq": last.seq, "digest": last.digest.hex(), "at_ms": last.at_ms},
        "excuses": excuse.signed(node.node),
    }


def _agree(
    settings: Settings, store: ObjectStore | None, node_id: str, now_ms: int, actor: str
) -> tuple[Reconciled | None, tuple[Change, ...]]:
    with open_catalog(settings) as catalog:
        if store is None:
            catalog.write(partial(facts.forget, key="volume.store"))
            return None, tuple(catalog.write(lambda c: class_changes.drop(c, (), now_ms, actor)))
        if isinstance(store, FolderStore):
            catalog.write(partial(volume.recognise, name="store", volume_id=store.volume_id))
        spools = make_spools(settings, make_clock(settings), node_id)
        for spool in spools.volumes:
            spool.claim(catalog)
        agreed = restore.reconcile(catalog, store, spools, node_id, now_ms, actor)

        def record(connection: Connection) -> None:
            audit.append(connection, now_ms, actor, "store.reconcile", node_id, agreed.as_json())

        catalog.write(record)
        return agreed, agreed.dropped


# --- upgrade ---


def upgrade(settings: Settings, actor: str, dry_run: bool) -> dict[str, Any]:
    """What an upgrade of the catalog does, and unless `dry_run` does it. Killed at any moment it leaves the old catalog
    or the new one, and may be run again. Raises process.lock_held while the node runs, ops.catalog_missing."""
    url = settings.catalog_url
    own_catalog.require(settings)
    if not dry_run and is_held(settings.paths.run_dir / "node.lock"):
        raise TiergateError(Kind.CONFLICT, "process.lock_held", lock="node.lock")
    before = migrate.current(url)
    due = migrate.is_due(before)
    path = migrate.sqlite_path(url)
    answer: dict[str, Any] = {
        "from": before,
        "to": migrate.head(),
        "steps": [{"revision": revision, "what": what} for revision, what in migrate.steps(before)],
        "copy": str(migrate.backup_path(path, before)) if due and path is not None and before is not None else None,
        "done": False,
    }
    if due and not dry_run:
        answer["done"] = migrate.migrate(url)
        now_ms = wall_ms(make_clock(settings))
        details = {"from": before, "to": answer["to"]}
        with open_catalog(settings) as catalog:
            catalog.write(lambda c: audit.append(c, now_ms, actor, "node.upgrade", answer["to"], details))
    return answer
