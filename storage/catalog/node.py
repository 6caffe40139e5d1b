"""Whose catalog this is: `init` says so, `restore`, and a `store rebuild` that has come to its end. No migration does.

A catalog that is nobody's knows no hold, area or class: whoever took it for a node's would hold footage to be free.

Belongs here: the fact. Does not belong here: finding the catalog (`storage.catalog.migrate`), refusing
(`gateway.ops.own_catalog`).
"""

from __future__ import annotations

from sqlalchemy import Connection

from storage.catalog import facts

_KEY = "node.id"


def owner(connection: Connection) -> str | None:
    """The node's id; None for a catalog that is nobody's."""
    known = facts.get(connection, _KEY)
    return None if known is None else str(known)


def own(connection: Connection, node_id: str) -> None:
    facts.set(connection, _KEY, node_id)
