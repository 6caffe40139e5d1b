"""The node's footage moved to another store: `tiergate store migrate`. Audited as ``os:<login>``.

Copying runs beside the node. The switch needs the node stopped: it copies the rest, compares every row, and only then
writes the new ``[store]`` table into the settings file; the old table is kept beside it, the old stores untouched.
Second copies of held footage are made anew by the keeper, where the evidence store becomes another.

Belongs here: the two stores, locks, the settings file. Does not belong here: copying (`storage.moving`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from config.clock import make_clock, wall_ms
from config.errors import Kind, TiergateError
from config.load import load
from config.settings import Settings
from gateway.ops.actor import operator
from gateway.ops.locks import KEEPER_LOCK, NODE_LOCK, alone
from gateway.ops.store_work import existing_evidence, existing_store, open_catalog, record
from storage import volume
from storage.catalog import evidence_rows, facts
from storage.moving import Mover, MoveReport
from storage.objects import make_evidence_store, make_store
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore

_SCRATCH = "migrate"


def move_store(
    settings: Settings,
    settings_file: Path,
    to: Path,
    *,
    switch: bool = False,
    verify: bool = False,
    leave_unreadable: bool = False,
) -> dict[str, Any]:
    """Raises ops.move_same, ops.move_cache, ops.move_running, ops.move_wrong, ops.move_unreadable."""
    # The environment is this node's; it must not turn the new store into the old one.
    target = settings.model_copy(update={"store": load(to, {}).store})
    old, new = make_store(settings), make_store(target)
    if _one_place(settings, target):
        raise TiergateError(Kind.INVALID, "ops.move_same")
    new.ensure()
    with contextlib.ExitStack() as stack:
        if switch:
            for lock in (NODE_LOCK, KEEPER_LOCK):
                stack.enter_context(alone(settings.paths.run_dir / lock, "ops.move_running"))
            _require_no_cache(settings)
        scratch = settings.paths.run_dir / _SCRATCH
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        catalog = stack.enter_context(open_catalog(settings))
        now_ms = wall_ms(make_clock(settings))
        mover = Mover(catalog, old, new, scratch, evidence=existing_evidence(settings))
        report = mover.copy(verify)
        mover.compare(report)
        answer: dict[str, Any] = report.as_json() | {"switched": False}
        if switch:
            if not report.whole:
                raise TiergateError(Kind.CONFLICT, "ops.move_wrong", count=len(report.wrong), key=report.wrong[0])
            if (left := report.unreadable) and not leave_unreadable:
                raise TiergateError(Kind.CONFLICT, "ops.move_unreadable", count=len(left), key=left[0])
            if (before := _evidence_at(settings)) != _evidence_at(target):
                # Before the settings: killed in between, the keeper finds the copies where they are.
                answer["copies_wanted"] = catalog.write(partial(_begin_evidence_anew, now_ms=now_ms))
                answer["old_evidence"] = before
            answer["condemned_again"] = mover.left_over(now_ms, operator())
            _remember_volume(catalog, new)
            answer["kept_settings"] = str(_write_settings(settings_file, to))
            answer["switched"] = True
        record(catalog, now_ms, "store.migrate", str(to), _counts(report) | {"switched": switch})
    return answer


def _one_place(a: Settings, b: Settings) -> bool:
    """Whether one store is, or lies inside, the other."""
    if a.store.kind != b.store.kind:
        return False
    if a.store.kind == "s3":
        return (a.store.endpoint, a.store.bucket) == (b.store.endpoint, b.store.bucket)
    first, second = a.store_folder.resolve(), b.store_folder.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)


def _begin_evidence_anew(connection: Connection, now_ms: int) -> int:
    """How many copies are made anew; the keeper refuses an evidence folder that is not the one it knew."""
    facts.forget(connection, "volume.evidence")
    return evidence_rows.want_all_anew(connection, now_ms)


def _evidence_at(settings: Settings) -> str:
    store = make_evidence_store(settings)
    return (
        str(store.root.resolve())
        if isinstance(store, FolderStore)
        else f"{settings.store.endpoint}/{settings.store.evidence_bucket}"
    )


def _counts(report: MoveReport) -> dict[str, Any]:
    lists = {"wrong": len(report.wrong), "unreadable": len(report.unreadable)}
    return {"objects": report.objects, "copied": report.copied, "there": report.there} | lists


def _require_no_cache(settings: Settings) -> None:
    """Footage of lower tiers is not moved: it ends where it lies, and a store nobody looks into would keep it."""
    cache = existing_store(settings, "cache")
    count = sum(1 for _ in cache.list()) if cache is not None else 0
    if count:
        raise TiergateError(Kind.CONFLICT, "ops.move_cache", count=count)


def _remember_volume(catalog: Any, new: ObjectStore) -> None:
    """The keeper refuses a folder that is not the one it knew; from now on this one is."""
    volume_id = new.volume_id if isinstance(new, FolderStore) else None

    def write(connection: Any) -> None:
        facts.forget(connection, "volume.store")
        if volume_id is not None:
            volume.recognise(connection, "store", volume_id)

    catalog.write(write)


def _write_settings(settings_file: Path, to: Path) -> Path:
    """The file with the new ``[store]`` table, whole or not at all; where the old one is kept."""
    text = settings_file.read_text(encoding="utf-8")
    table = tomllib.loads(to.read_text(encoding="utf-8")).get("store", {})
    for key in ("folder", "ca_file"):
        if isinstance(table.get(key), str):
            table[key] = str(to.resolve().parent / table[key])
    lines = ["[store]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()), ""]
    changed = _without_store(text).rstrip("\n") + "\n\n" + "\n".join(lines)
    kept = settings_file.with_name(settings_file.name + ".before-migrate")
    volume.write_synced(kept, text.encode())
    fresh = settings_file.with_name(settings_file.name + ".new")
    volume.write_synced(fresh, changed.encode())
    load(fresh, {})  # what would not load is not put in place
    os.replace(fresh, settings_file)
    volume.fsync_folder(settings_file.parent)
    return kept


def _without_store(text: str) -> str:
    """The file without its ``[store]`` table; everything else stays as a person wrote it."""
    kept: list[str] = []
    inside = False
    for line in text.splitlines():
        header = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(#.*)?$", line)
        if header is not None:
            inside = header[1] == "store"
        if not inside:
            kept.append(line)
    return "\n".join(kept)
