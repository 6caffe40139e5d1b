"""Whether a log still holds a head, asked of the table itself: what the tests of logs compare the judges with."""

from __future__ import annotations

from sqlalchemy import Connection, select

from storage.audit.log import GENESIS, Checkpoint, signature_holds
from storage.catalog.tables import audit


def holds(connection: Connection, made: Checkpoint, trusted_key: bytes) -> bool:
    """Whether `trusted_key` signed the head and the log still contains it."""
    if not signature_holds(made, trusted_key):
        return False
    if made.seq == 0:
        return made.digest == GENESIS
    found = connection.execute(select(audit.c.digest).where(audit.c.seq == made.seq)).scalar_one_or_none()
    return found == made.digest
