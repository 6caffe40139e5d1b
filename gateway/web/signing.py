"""Whose password it is: the one way by which a person proves it, whatever for (FAULTS S22).

Belongs here: the limit of tries, the same work for whoever is named, the line about a refusal. Does not belong here:
what is opened by it (`gateway.web.routers.session`, `gateway.web.routers.shifts`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from config.errors import Kind, TiergateError
from config.redact import Secret
from gateway.web.services import Services
from storage.audit import log as audit
from storage.catalog import people
from storage.catalog.people import User


@contextlib.contextmanager
def one_try(services: Services, client: str, login: str | None) -> Iterator[None]:
    """Counted before it is looked at, forgotten when it was right. `login`: the name that is tried, where one is.
    Raises access.too_many_tries, access.too_many_tries_account."""
    begun = services.login_limit.begin(client, login)
    yield
    begun.right()


async def whose(
    services: Services, login: str, password: Secret, client: str, *, refused: str, kind: Kind, walls: bool
) -> User:
    """The enabled account of this login and password; a wall's only where `walls`. `refused`: action of the audit log
    for one that is not. Raises access.bad_login, of that `kind`, after the same work whoever was named."""
    user = await services.read(lambda c: people.user_by_login(c, login))
    usable = user is not None and user.disabled_ms is None and (walls or not user.wall)
    right = await services.passwords.verify(user.password_hash if user is not None and usable else None, password)
    if user is None or not usable or not right:
        now_ms = services.now_ms()
        await services.write(lambda c: audit.append(c, now_ms, f"client:{client}", refused, login[:60], {}))
        raise TiergateError(kind, "access.bad_login")
    return user
