"""Rows about relays' certificates: this node's own as they change, and what linked nodes say of theirs.

Both nodes of a link call these with what came over it. What the other node says is taken only from a statement that its
key signed (`tiering.certificates`), and only when it is newer than the one before; that it holds ours is believed
because its request or answer is signed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from storage.audit import log as audit
from storage.catalog import facts, links
from storage.catalog.links import LinkRow
from tiering.certificates import Certificates, Said, Statement
from tiering.signing import Signer

#: fact: `Certificates.as_json`. Absent while the relay never ran with TLS.
OWN = "relay.certificates"


def own(connection: Connection) -> Certificates | None:
    value = facts.get(connection, OWN)
    return None if value is None else Certificates.from_json(value)


def put(connection: Connection, state: Certificates) -> None:
    facts.set(connection, OWN, state.as_json())


def issued_ms(connection: Connection) -> int:
    """Of our newest statement; 0: there is none."""
    state = own(connection)
    return 0 if state is None else state.issued_ms


def ours(connection: Connection, signer: Signer, held_ms: int | None) -> Said:
    """What we say to a node whose statement of `held_ms` we hold."""
    state = own(connection)
    statement = None if state is None else state.statement(signer.node_id)
    text, signature = (None, None) if statement is None else statement.signed(signer)
    return Said(text, signature, held_ms)


def judged(link: LinkRow, theirs: Said) -> Statement | None:
    """What the other node says of its certificate. Raises tier.certificate_statement, tier.body_malformed."""
    if theirs.statement is None:
        return None
    return Statement.read(theirs.statement, theirs.signature or "", link.peer_node, link.public_key)


def is_news(link: LinkRow, theirs: Said, statement: Statement | None) -> bool:
    """Whether `take` would change the row: each transaction wakes every process of the node."""
    newer = statement is not None and statement.issued_ms > (link.tls_issued_ms or 0)
    return newer or theirs.held_ms != link.tls_told_ms


def take(connection: Connection, link: LinkRow, theirs: Said, statement: Statement | None, now_ms: int) -> LinkRow:
    """Into the link's row, which is as it is after it.

    An older statement than the one we hold is left alone. A link that was paired without a certificate gets none by a
    statement.
    """
    row = links.get(connection, link.id) or link
    values: dict[str, Any] = {}
    if statement is not None and statement.issued_ms > (row.tls_issued_ms or 0):
        values["tls_issued_ms"] = statement.issued_ms
        if row.tls_sha256 is not None:
            values |= {
                "tls_sha256": statement.shown, "tls_other_sha256": statement.other,
                "tls_other_until_ms": statement.until_ms,
            }  # fmt: skip
        details = {
            "issued_ms": statement.issued_ms, "shown": statement.shown.hex(),
            "other": statement.other and statement.other.hex(), "until_ms": statement.until_ms,
        }  # fmt: skip
        audit.append(connection, now_ms, f"node:{link.peer_node}", "link.certificate", link.id, details)
    if theirs.held_ms != row.tls_told_ms:
        values["tls_told_ms"] = theirs.held_ms
    if values:
        links.change(connection, link.id, values)
    return replace(row, **values)


def waiting(connection: Connection, state: Certificates) -> list[LinkRow]:
    """Linked nodes that call this one and do not know yet what they must. It is the upper one that calls."""
    above = links.all_of(connection, "upper")
    return [row for row in above if state.is_taken(row.tls_told_ms, row.created_ms) is False]
