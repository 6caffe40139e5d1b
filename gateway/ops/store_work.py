"""Work on a whole store from the command line: check, tier scope, rebuild. Each is audited as ``os:<login>``.

Belongs here: opening the node's parts for it, and the order of a rebuild. Does not belong here: what is compared
(`storage.rebuild`, `tiering.cache`), what is printed (`gateway.cli.store`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Literal

from config.clock import make_clock, wall_ms
from config.errors import Kind, TiergateError
from config.settings import Settings
from gateway.access.keys import load_keys
from gateway.cli.offline import operator
from storage import journal, rebuild
from storage.audit import log as audit
from storage.catalog.engine import Catalog
from storage.catalog.migrate import migrate
from storage.objects import make_store
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore
from storage.rebuild import CheckReport, Level
from storage.spool import Spool
from tiering.cache import tier_scope_check

_PURPOSES: tuple[Literal["video", "evidence", "cache"], ...] = ("video", "evidence", "cache")
_NO_BUCKET = "NoSuchBucket"


@contextlib.contextmanager
def _catalog(settings: Settings) -> Iterator[Catalog]:
    catalog = Catalog(settings.catalog_url)
    try:
        yield catalog
    finally:
        catalog.close()


def _record(catalog: Catalog, now_ms: int, action: str, subject: str, details: dict[str, Any]) -> None:
    catalog.write(lambda c: audit.append(c, now_ms, operator(), action, subject, details))


def existing_stores(settings: Settings) -> list[ObjectStore]:
    """Those of the node's stores that were ever made: footage, evidence, cache. Nothing is made by asking."""
    found: list[ObjectStore] = []
    for purpose in _PURPOSES:
        store = make_store(settings, purpose)
        if isinstance(store, FolderStore):
            if store.root.exists() or purpose == "video":
                found.append(store)
            continue
        try:
            next(iter(store.list("none/")), None)  # HEAD answers 404 for a missing bucket and a missing object alike
            found.append(store)
        except TiergateError as error:
            missing = error.reason.code == "media.object_missing" or error.reason.params.get("problem") == _NO_BUCKET
            if purpose == "video" or not missing:
                raise
    return found


def tier_scope(settings: Settings) -> dict[str, Any]:
    """I6 over every object of every store."""
    node_id, now_ms = load_keys(settings).node_id, wall_ms(make_clock(settings))
    with _catalog(settings) as catalog:
        report = tier_scope_check(catalog, existing_stores(settings), node_id, now_ms)
        outside = [finding.as_json() for finding in report.findings]
        answer = {"objects": report.objects, "lower_objects": report.cached + len(outside), "violations": outside}
        details = {"objects": report.objects, "lower_objects": answer["lower_objects"], "violations": len(outside)}
        _record(catalog, now_ms, "store.check", "tier scope", details)
    return answer


def check_store(settings: Settings, level: str) -> CheckReport:
    try:
        wanted = Level[level.upper()]
    except KeyError:
        raise TiergateError(Kind.INVALID, "ops.store_level", level=level[:20]) from None
    clock = make_clock(settings)
    with _catalog(settings) as catalog:
        spool = Spool(settings.paths.spool_dir, clock, load_keys(settings).node_id)
        report = rebuild.check(catalog, make_store(settings), spool, wall_ms(clock), wanted)
        details = {"rows": report.rows, "objects": report.objects, "findings": len(report.findings), "level": level}
        _record(catalog, wall_ms(clock), "store.check", "store", details)
    return report


def rebuild_store(settings: Settings) -> dict[str, Any]:
    """Holds, classes and areas first: footage must not be known for a moment without them; tombstones last."""
    migrate(settings.catalog_url)
    node_id, clock = load_keys(settings).node_id, make_clock(settings)
    store = make_store(settings)
    with _catalog(settings) as catalog:
        remembered = journal.read(store, node_id)
        policy = journal.restore_policy(catalog, remembered, wall_ms(clock))
        report = rebuild.rebuild(catalog, store, wall_ms(clock), operator())
        policy.restamped = journal.restore_restamps(catalog, remembered)
        policy.tombstones = journal.restore_tombstones(catalog, remembered)
        if policy != journal.Restored():
            _record(catalog, wall_ms(clock), "store.restore", "journal", asdict(policy))
    return {
        "objects": report.objects,
        "added": report.added,
        "known": report.known,
        "unreadable": report.unreadable,
        "journal": {"objects": remembered.objects, "unreadable": remembered.unreadable, **asdict(policy)},
    }
