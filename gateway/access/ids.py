"""Fresh ids and random secrets: the only place of this room that draws randomness."""

from __future__ import annotations

import hashlib
import secrets

from config.clock import Clock, wall_ms
from config.crypto import b64
from config.ids import ulid


def fresh_id(clock: Clock) -> str:
    return ulid(wall_ms(clock), secrets.token_bytes(10))


def fresh_secret(size_bytes: int = 32) -> str:
    return b64(secrets.token_bytes(size_bytes))


def hash_of(secret: str) -> bytes:
    """As rows keep it. The secret has at least 128 random bits, so no salt and no stretching."""
    return hashlib.sha256(secret.encode()).digest()
