"""What the recorders say of the spool volumes: facts, one per recorder.

Belongs here: the memory. Does not belong here: judging a volume (`gateway.ingest.volumes`), its identity
(`storage.volume`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from storage.catalog import facts
from storage.catalog.tables import fact

_PREFIX = "recorder.volumes."


def put(connection: Connection, shard: int, state: Mapping[str, dict[str, Any] | None]) -> None:
    """`state`: volume name → what is wrong with it as a reason, or None."""
    facts.set(connection, f"{_PREFIX}{shard}", dict(state))


def read(connection: Connection) -> dict[str, dict[str, Any] | None]:
    """Volume name → what a recorder says is wrong with it; None when none complains."""
    found: dict[str, dict[str, Any] | None] = {}
    query = select(fact.c.value).where(fact.c.key.startswith(_PREFIX, autoescape=True)).order_by(fact.c.key)
    for state in connection.execute(query).scalars():
        for name, reason in state.items():
            found[name] = found.get(name) or reason
    return found
