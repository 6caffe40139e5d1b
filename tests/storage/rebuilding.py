"""A lost catalog made anew, as `tiergate store rebuild` does it."""

from __future__ import annotations

from functools import partial

from storage import journal, rebuild
from storage.catalog import node
from storage.catalog.engine import Catalog
from storage.objects.base import ObjectStore


def rebuilt(catalog: Catalog, store: ObjectStore, node_id: str, now_ms: int, actor: str) -> rebuild.RebuildReport:
    found = journal.read(store, node_id)
    journal.restore_policy(catalog, found, now_ms)
    report = rebuild.rebuild(catalog, store, node_id, now_ms, actor)
    journal.restore_kept(catalog, store, found)
    journal.restore_restamps(catalog, found)
    journal.restore_tombstones(catalog, found)
    catalog.write(partial(node.own, node_id=node_id))
    return report
