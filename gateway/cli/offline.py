"""What works on this machine's files without a running node, audited as ``os:<login>``.

Whoever can write these files can do it anyway; the record says that it was done this way.
"""

from __future__ import annotations

import getpass

from sqlalchemy import Connection

from config.clock import make_clock, wall_ms
from config.errors import Kind, TiergateError
from config.redact import Secret
from config.settings import Settings
from gateway.access.passwords import Passwords, check_strength
from gateway.ops import own_catalog
from storage.audit import log as audit
from storage.catalog import people, sessions
from storage.catalog.engine import Catalog


def operator() -> str:
    """The actor of offline commands."""
    try:
        return f"os:{getpass.getuser()}"
    except (KeyError, OSError):
        return "os:unknown"


def reset_password(settings: Settings, login: str, password: Secret | str) -> None:
    """Sets a password, ends the user's sessions. Raises cli.unknown_user, access.password_weak, ops.catalog_missing."""
    secret = password if isinstance(password, Secret) else Secret(password)
    check_strength(secret, login)
    digest = Passwords().hash_now(secret)
    now_ms = wall_ms(make_clock(settings))
    own_catalog.require(settings)
    catalog = Catalog(settings.catalog_url)

    def write(connection: Connection) -> None:
        user = people.user_by_login(connection, login)
        if user is None:
            raise TiergateError(Kind.NOT_FOUND, "cli.unknown_user", login=login[:60])
        people.change_user(connection, user.id, {"password_hash": digest, "must_change": False})
        sessions.end_sessions_of(connection, user.id, now_ms)
        audit.append(connection, now_ms, operator(), "user.reset_password", f"user:{login}", {})

    try:
        catalog.write(write)
    finally:
        catalog.close()
