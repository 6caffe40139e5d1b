"""Sign-ins: 256 random bits in the browser's cookie or the command line's file, their SHA-256 in the catalog."""

from __future__ import annotations

from sqlalchemy import Connection

from config.clock import Clock, wall_ms
from gateway.access.ids import fresh_secret, hash_of
from storage.catalog import sessions as rows

#: Tells a session from a department's token in an ``Authorization`` header.
PREFIX = "tgs_"


class Sessions:
    def __init__(self, clock: Clock, hours: int) -> None:
        self._clock = clock
        self._hours = hours

    def start(
        self, connection: Connection, *, user_id: str | None = None, token_jti: str | None = None,
        not_after_ms: int | None = None, client: str | None = None,
    ) -> tuple[str, int]:  # fmt: skip
        """(the secret, when it ends). A token's page session does not outlive the token."""
        now_ms, secret = wall_ms(self._clock), PREFIX + fresh_secret()
        expires_ms = now_ms + self._hours * 3_600_000
        if not_after_ms is not None:
            expires_ms = min(expires_ms, not_after_ms)
        rows.add_session(
            connection, rows.SessionRow(hash_of(secret), user_id, token_jti, now_ms, expires_ms, None, client)
        )
        return secret, expires_ms

    def end(self, connection: Connection, id_hash: bytes) -> None:
        rows.end_session(connection, id_hash, wall_ms(self._clock))
