"""Work on a whole store from the command line: check, repair, tier scope, rebuild. Each is audited as ``os:<login>``.

Belongs here: opening the node's parts for it, and the order of a rebuild. Does not belong here: what is compared and
mended (`storage.check`, `tiering.cache`), moving to another store (`gateway.ops.store_move`), what is printed
(`gateway.cli.store`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection

from config.clock import make_clock, wall_ms
from config.errors import Kind, TiergateError
from config.settings import Settings
from gateway.access.keys import load_keys
from gateway.ops import own_catalog
from gateway.ops.actor import operator
from storage import check, journal, rebuild
from storage.audit import log as audit
from storage.catalog import facts, node
from storage.catalog.engine import Catalog
from storage.catalog.migrate import migrate
from storage.check import CheckReport, Level, Repairer, RepairReport
from storage.objects import make_evidence_store, make_store
from storage.objects.base import ObjectStore
from storage.objects.evidence import EvidenceStore
from storage.objects.folder import FolderStore
from storage.rebuild import RebuildReport
from storage.spools import make_spools
from tiering.cache import tier_scope_check

Purpose = Literal["video", "evidence", "cache"]
_Store = TypeVar("_Store", bound=ObjectStore)
_PURPOSES: tuple[Purpose, ...] = ("video", "evidence", "cache")
_NO_BUCKET = "NoSuchBucket"
_UNFINISHED = "rebuild.unfinished"  #: fact, while a rebuild runs


@contextlib.contextmanager
def open_catalog(settings: Settings, unfinished: bool = False) -> Iterator[Catalog]:
    """`unfinished`: also one that is nobody's yet. Raises ops.catalog_missing else."""
    if not unfinished:
        own_catalog.require(settings)
    catalog = Catalog(settings.catalog_url)
    try:
        yield catalog
    finally:
        catalog.close()


def record(catalog: Catalog, now_ms: int, action: str, subject: str, details: dict[str, Any]) -> None:
    catalog.write(lambda c: audit.append(c, now_ms, operator(), action, subject, details))


def existing_store(settings: Settings, purpose: Purpose) -> ObjectStore | None:
    """A store of the node, if it was ever made. Nothing is made by asking."""
    return _if_made(make_store(settings, purpose), purpose)


def existing_evidence(settings: Settings) -> EvidenceStore | None:
    """As `existing_store`."""
    return _if_made(make_evidence_store(settings), "evidence")


def _if_made(store: _Store, purpose: Purpose) -> _Store | None:
    if isinstance(store, FolderStore):
        return store if store.root.exists() or purpose == "video" else None
    try:
        next(iter(store.list("none/")), None)  # HEAD answers 404 for a missing bucket and a missing object alike
    except TiergateError as error:
        missing = error.reason.code == "media.object_missing" or error.reason.params.get("problem") == _NO_BUCKET
        if purpose == "video" or not missing:
            raise
        return None
    return store


def existing_stores(settings: Settings) -> list[ObjectStore]:
    """Footage, evidence, cache."""
    return [store for purpose in _PURPOSES if (store := existing_store(settings, purpose)) is not None]


def tier_scope(settings: Settings) -> dict[str, Any]:
    """I6 over every object of every store."""
    node_id, now_ms = load_keys(settings).node_id, wall_ms(make_clock(settings))
    with open_catalog(settings) as catalog:
        report = tier_scope_check(catalog, existing_stores(settings), node_id, now_ms)
        outside = [finding.as_json() for finding in report.findings]
        answer = {"objects": report.objects, "lower_objects": report.cached + len(outside), "violations": outside}
        details = {"objects": report.objects, "lower_objects": answer["lower_objects"], "violations": len(outside)}
        record(catalog, now_ms, "store.check", "tier scope", details)
    return answer


def check_store(
    settings: Settings, level: str, repair: bool = False, confirmed_lost: int = 0
) -> tuple[CheckReport, RepairReport | None]:
    """What does not fit together; with `repair` also what was done about it."""
    try:
        wanted = Level[level.upper()]
    except KeyError:
        raise TiergateError(Kind.INVALID, "ops.store_level", level=level[:20]) from None
    clock = make_clock(settings)
    with open_catalog(settings) as catalog:
        spools = make_spools(settings, clock, load_keys(settings).node_id)
        store = make_store(settings)
        report = check.check(catalog, store, spools, wall_ms(clock), wanted)
        details = {
            "rows": report.rows, "objects": report.objects, "findings": len(report.findings),
            "unreadable": len(report.unreadable), "level": level,
        }  # fmt: skip
        record(catalog, wall_ms(clock), "store.check", "store", details)
        if not repair:
            return report, None
        evidence = existing_evidence(settings)
        copies = [evidence] if evidence is not None else []
        repairer = Repairer(catalog, store, spools, operator(), copies)
        return report, repairer.repair(report, confirmed_lost, wall_ms(clock))


def rebuild_store(settings: Settings, progress: Callable[[RebuildReport], None] | None = None) -> dict[str, Any]:
    """Holds, classes and areas first: footage must not be known for a moment without them; tombstones last. The catalog
    is the node's, and `serve` starts with it, when all of it is there."""
    node_id, clock = load_keys(settings).node_id, make_clock(settings)
    migrate(settings.catalog_url)
    store = make_store(settings)
    with open_catalog(settings, unfinished=True) as catalog:
        remembered = journal.read(store, node_id)
        policy = journal.restore_policy(catalog, remembered, wall_ms(clock))
        unfinished = catalog.read(lambda c: facts.get(c, _UNFINISHED))  # of a run that was killed
        catalog.write(lambda c: facts.set(c, _UNFINISHED, True))
        report = rebuild.rebuild(catalog, store, node_id, wall_ms(clock), operator(), progress)
        if report.added or unfinished:
            policy.kept = journal.restore_kept(catalog, store, remembered)
        policy.restamped = journal.restore_restamps(catalog, remembered)
        policy.tombstones = journal.restore_tombstones(catalog, remembered)
        catalog.write(partial(_finish, node_id=node_id))
        if policy != journal.Restored() or remembered.unreadable:
            details = {**asdict(policy), "unreadable": remembered.unreadable}
            record(catalog, wall_ms(clock), "store.restore", "journal", details)
    return {
        "objects": report.objects,
        "added": report.added,
        "known": report.known,
        "bytes": report.bytes,
        "foreign": report.foreign,
        "unreadable": report.unreadable,
        "journal": {"objects": remembered.objects, "unreadable": remembered.unreadable, **asdict(policy)},
    }


def _finish(connection: Connection, node_id: str) -> None:
    facts.forget(connection, _UNFINISHED)
    node.own(connection, node_id)
