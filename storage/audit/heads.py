"""Signed heads of neighbour nodes' logs, kept as entries of our own: neither node can rewrite its past unseen.

Whoever owns a machine can write its log anew from the first entry on. What left it they cannot change: each hour linked
nodes give each other the signed head of their logs, and the entry that keeps it is covered by the next head that we
give away ourselves.

Belongs here: keeping, and finding again in an export. Does not belong here: the exchange (`gateway.relay.keeping`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from storage.audit import log
from storage.audit.log import Checkpoint
from storage.catalog import facts

KEPT, WENT_BACK = "audit.head", "audit.head_back"  #: actions of the audit log


@dataclass(frozen=True, slots=True)
class Seen:
    """The newest head that a node gave us."""

    seq: int
    digest: str
    at_ms: int  #: ours, when it was given
    back_ms: int | None = None  #: when its log was last found to end earlier, or otherwise, than it had


def seen(connection: Connection, node: str) -> Seen | None:
    value = facts.get(connection, _fact(node))
    return None if value is None else Seen(**value)


def keep(connection: Connection, node: str, public_key: bytes, made: Checkpoint, now_ms: int) -> bool:
    """False when the node's log ends before the head that it gave us last, or has another entry there.

    Raises ValueError for a head that the key did not sign.
    """
    if not log.signature_holds(made, public_key) or made.public_key != public_key:
        raise ValueError("not signed by this node")
    last, digest = seen(connection, node), made.digest.hex()
    back = last is not None and (made.seq < last.seq or (made.seq == last.seq and digest != last.digest))
    details: dict[str, Any] = {"checkpoint": made.as_json()}
    if back and last is not None:
        details["before"] = {"seq": last.seq, "digest": last.digest}
    log.append(connection, now_ms, f"node:{node}", WENT_BACK if back else KEPT, node, details)
    back_ms = now_ms if back else last.back_ms if last is not None else None
    value = {"seq": made.seq, "digest": digest, "at_ms": now_ms, "back_ms": back_ms}
    facts.set(connection, _fact(node), value)
    return not back


def read_heads(lines: Iterable[str], public_key: bytes) -> list[Checkpoint]:
    """The heads that the node of `public_key` gave to the node whose export this is. Raises ValueError when there is
    none, or on a line that is no JSON."""
    found: list[Checkpoint] = []
    for line in lines:
        value = json.loads(line) if line.strip() else None
        if isinstance(value, dict) and value.get("kind") == "entry" and value.get("action") in (KEPT, WENT_BACK):
            details = value.get("details")
            made = Checkpoint.from_json(details.get("checkpoint") if isinstance(details, dict) else None)
            if made.public_key == public_key:
                found.append(made)
    if not found:
        raise ValueError("no head of this node")
    return found


def _fact(node: str) -> str:
    return f"audit.head.{node}"
