"""Sealed camera accounts: AES-256-GCM, bound to the row's id, so that no row's password can be moved to another."""

from __future__ import annotations

import secrets

from config.clock import Clock, wall_ms
from config.crypto import DEFAULT_SUITE
from config.errors import Kind, TiergateError
from config.redact import Secret
from gateway.access.keys import NodeKeys
from storage.catalog.cameras import CredentialRow

_NONCE_BYTES = 12


class Secrets:
    def __init__(self, keys: NodeKeys) -> None:
        self._keys = keys

    def seal(self, clock: Clock, credential_id: str, username: str, password: Secret) -> CredentialRow:
        """A row ready for `put_credential`."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = DEFAULT_SUITE.seal(self._keys.sealing, nonce, password.reveal().encode(), credential_id.encode())
        return CredentialRow(credential_id, username, nonce + sealed, self._keys.sealing_id, 1, wall_ms(clock))

    def open(self, row: CredentialRow) -> Secret:
        """Raises crypto.sealed_broken for another node's key, a moved or a changed row."""
        if row.key_id != self._keys.sealing_id:
            raise TiergateError(Kind.ENVIRONMENT, "crypto.sealed_broken")
        nonce, sealed = row.sealed[:_NONCE_BYTES], row.sealed[_NONCE_BYTES:]
        return Secret(DEFAULT_SUITE.open(self._keys.sealing, nonce, sealed, row.id.encode()).decode())
