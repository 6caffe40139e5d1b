"""Whether the evidence store really refuses to delete what is locked: tried, not believed. (FAULTS B27)

A small object is locked for a day and its version is told to go, without the right to bypass. A store that lets it go
lies about every lock it has; one without locks is no liar, and is said to have none.

Belongs here: the trial and its memory. Does not belong here: what follows from it (`storage.evidence_rules`, `doctor`).
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from config.errors import TiergateError
from config.units import DAY_MS
from storage.audit import log as audit
from storage.catalog import facts
from storage.catalog.engine import Catalog
from storage.evidence_rules import LockProof
from storage.keys import CANARY_FOLDER
from storage.objects.evidence import EvidenceStore, Lock

logger = logging.getLogger(__name__)

EVERY_MS = DAY_MS
ACTOR = "system:keeper"
_FACT = "evidence.canary"


@dataclass(frozen=True, slots=True)
class Canary:
    """What the last trial showed."""

    at_ms: int
    proof: LockProof


def last(connection: Connection) -> Canary | None:
    found = facts.get(connection, _FACT)
    return None if found is None else Canary(**found)


def proof(connection: Connection) -> LockProof:
    found = last(connection)
    return "unknown" if found is None else found.proof


def try_lock(evidence: EvidenceStore, node_id: str, now_ms: int) -> LockProof:
    """Raises media.store_unavailable: then nothing is known that was not known before."""
    if not evidence.can_lock():
        return "absent"
    store_ms = evidence.server_time() or now_ms  # the lock runs by the store's clock
    key = f"{node_id}/{CANARY_FOLDER}/{now_ms}-{secrets.token_hex(6)}"
    data = secrets.token_bytes(64)
    version_id = evidence.put_locked(key, data, Lock(store_ms + DAY_MS))
    try:
        evidence.delete_version(key, version_id)
    except TiergateError as exc:
        if exc.reason.code != "media.store_refused":
            raise
    return "proven" if evidence.has_version(key, version_id, len(data)) else "lies"


def remove_old(evidence: EvidenceStore, node_id: str, now_ms: int) -> None:
    """Those of earlier days, whose locks have run out by now."""
    for info in evidence.list(f"{node_id}/{CANARY_FOLDER}/"):
        made = info.key.rpartition("/")[2].partition("-")[0]
        if not made.isdigit() or now_ms - int(made) < 2 * DAY_MS:
            continue
        try:
            for version_id in evidence.versions(info.key):
                evidence.delete_version(info.key, version_id)
        except TiergateError as exc:
            logger.info("an old canary stays", extra={"key": info.key, "reason": str(exc)})


def run(catalog: Catalog, evidence: EvidenceStore, node_id: str, now_ms: int) -> LockProof:
    """The trial, remembered; a turn for better or worse is audited."""
    found = try_lock(evidence, node_id, now_ms)

    def write(connection: Connection) -> bool:
        before = proof(connection)
        facts.set(connection, _FACT, asdict(Canary(now_ms, found)))
        if before == found:
            return False
        audit.append(connection, now_ms, ACTOR, "evidence.lock", "evidence store", {"before": before, "now": found})
        return True

    if catalog.write(write):
        logger.log(
            logging.ERROR if found == "lies" else logging.INFO, "evidence lock", extra={"proof": found}
        )  # fmt: skip
    remove_old(evidence, node_id, now_ms)
    return found
