"""Accounts as cameras leave the factory: whoever can reach such a camera can see through it, or turn it (FAULTS S9).

Sources: the manuals and initial-set-up guides that makers publish themselves. Makers change what they deliver, so an
account that is missing here is not thereby a good one.

Belongs here: the list, and which cameras have an account on it. Does not belong here: what is said of it (`doctor`,
the routes of cameras).
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from config.errors import TiergateError
from config.redact import Secret
from gateway.access.secrets import Secrets
from storage.catalog import cameras

#: By password, as few as they are; user names in lower case.
_FACTORY: dict[str, frozenset[str]] = {
    password: frozenset(names.split())
    for password, names in {
        "0000": "admin",
        "1111": "admin",
        "111111": "admin",
        "1111111": "admin",
        "1234": "admin root user",
        "12345": "admin root",
        "123456": "admin root supervisor",
        "12345678": "admin",
        "4321": "admin root",
        "9999": "admin",
        "admin": "root administrator",
        "admin123": "admin",
        "admin1234": "admin",
        "camera": "root",
        "fliradmin": "admin",
        "ikwb": "root",
        "jvc": "admin",
        "meinsm": "admin",
        "ms1234": "admin",
        "pass": "root admin",
        "password": "admin root",
        "system": "root",
        "tluafed": "default",
        "wbox123": "admin",
    }.items()
}


def is_factory(username: str, password: Secret) -> bool:
    """A name without a password, the name as password, or a pair that makers deliver."""
    name, word = username.casefold(), password.reveal()
    if not name:
        return False  # the device asks for no account
    return not word or word.casefold() == name or name in _FACTORY.get(word, ())


def cameras_with(connection: Connection, secrets: Secrets, only: Iterable[str] | None = None) -> list[str]:
    """Ids of cameras in service whose account is one, in order. One that cannot be opened says nothing here."""
    known = [row for row in cameras.cameras(connection, only).values() if row.enabled and row.credential_id]
    accounts = cameras.credentials(connection, {row.credential_id or "" for row in known})
    bad = set()
    for id_, account in accounts.items():
        try:
            if is_factory(account.username, secrets.open(account)):
                bad.add(id_)
        except TiergateError:
            continue
    return sorted(row.id for row in known if row.credential_id in bad)
