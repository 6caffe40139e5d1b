"""Sealed camera accounts: AES-256-GCM, bound to the row's id, so that no row's password can be moved to another.

The key can be exchanged while the node runs (`gateway.ops.rotation`): a row names the key that opens it, a fact of the
catalog the one to seal with, and a key that this process has not met is read from the folder. What it has met it keeps:
a row that was read before the exchange opens after it.
"""

from __future__ import annotations

import secrets

from sqlalchemy import Connection

from config.clock import Clock, wall_ms
from config.crypto import DEFAULT_SUITE
from config.errors import Kind, TiergateError
from config.redact import Secret
from gateway.access.keys import NodeKeys, read_both, sealing_id
from storage.catalog import facts
from storage.catalog.cameras import CredentialRow

#: fact: {"key", "before", "done"}: id of the key to seal with, of the one before it, whether nothing that the latter
#: sealed is left. Absent until the first exchange.
SEALING = "keys.sealing"
_NONCE_BYTES = 12


class Secrets:
    """Safe to use from several threads."""

    def __init__(self, keys: NodeKeys) -> None:
        self._folder = keys.folder
        self._own_id = keys.sealing_id
        self._known = {keys.sealing_id: keys.sealing}

    def seal(
        self, connection: Connection, clock: Clock, credential_id: str, username: str, password: Secret
    ) -> CredentialRow:
        """A row ready for `put_credential` in the same transaction: between the two no exchange may pass.

        Raises access.sealing_key_gone.
        """
        state = facts.get(connection, SEALING)
        key_id = self._own_id if state is None else state["key"]
        sealed = self.sealed(key_id, credential_id, password)
        return CredentialRow(credential_id, username, sealed, key_id, 1, wall_ms(clock))

    def sealed(self, key_id: str, credential_id: str, password: Secret) -> bytes:
        """Raises access.sealing_key_gone."""
        key = self._key(key_id)
        if key is None:
            raise TiergateError(Kind.ENVIRONMENT, "access.sealing_key_gone", key=key_id, folder=self._folder)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + DEFAULT_SUITE.seal(key, nonce, password.reveal().encode(), credential_id.encode())

    def open(self, row: CredentialRow) -> Secret:
        """Raises crypto.sealed_broken for another node's key, a moved or a changed row."""
        key = self._key(row.key_id)
        if key is None:
            raise TiergateError(Kind.ENVIRONMENT, "crypto.sealed_broken")
        nonce, sealed = row.sealed[:_NONCE_BYTES], row.sealed[_NONCE_BYTES:]
        return Secret(DEFAULT_SUITE.open(key, nonce, sealed, row.id.encode()).decode())

    def _key(self, key_id: str) -> bytes | None:
        if key_id not in self._known:
            found = [key for key in read_both(self._folder, "sealing") if key is not None]
            self._known = self._known | {sealing_id(key): key for key in found}
        return self._known.get(key_id)
