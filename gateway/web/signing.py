"""Whose password it is: the one way by which a person proves it, whatever for (FAULTS S22).

Belongs here: the limit of tries, the same work for whoever is named, the line about a refusal. Does not belong here:
what is opened by it (`gateway.web.routers.session`, `gateway.web.routers.shifts`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.redact import Secret
from gateway.web.services import Services
from storage.audit import log as audit
from storage.catalog import people
from storage.catalog.people import User

T = TypeVar("T")


@contextlib.contextmanager
def one_try(services: Services, client: str, login: str | None) -> Iterator[None]:
    """Counted before it is looked at, forgotten when it was right. `login`: the name that is tried, where one is.
    Raises access.too_many_tries, access.too_many_tries_account."""
    begun = services.login_limit.begin(client, login)
    yield
    begun.right()


async def by_password(
    services: Services,
    login: str,
    password: Secret,
    client: str,
    act: Callable[[Connection, User], T],
    *,
    refused: str,
    kind: Kind,
    walls: bool,
) -> T:
    """What `act` makes of the enabled account of this login and password, in a writing transaction; a wall's only where
    `walls`. `refused`: action of the audit log for one that is not. Raises access.bad_login, of that `kind`, after the
    same work whoever was named."""
    user = await services.read(lambda c: people.user_by_login(c, login))
    usable = user is not None and user.disabled_ms is None and (walls or not user.wall)
    right = await services.passwords.verify(user.password_hash if user is not None and usable else None, password)

    def write(connection: Connection) -> tuple[T] | None:
        again = unchanged(connection, user) if user is not None and right else None
        if again is not None:
            return (act(connection, again),)
        audit.append(connection, services.now_ms(), f"client:{client}", refused, login[:60], {})
        return None

    done = await services.write(write)
    if done is None:
        raise TiergateError(kind, "access.bad_login")
    return done[0]


def unchanged(connection: Connection, proven: User) -> User | None:
    """The account as it is now; None where it was disabled, or given another password, since its password was proven.

    Whoever ends the sign-ins of an account does not see one that is on its way: argon2 takes its time, and waits its
    turn. So what a password opens looks again, in the transaction that opens it.
    """
    now = people.users(connection, [proven.id]).get(proven.id)
    if now is None or now.disabled_ms is not None or now.password_hash != proven.password_hash:
        return None
    return now
