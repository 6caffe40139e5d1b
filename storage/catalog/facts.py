"""Facts of this installation that change: small JSON values by key.

Asked at each turn of everything, so what is asked is built once: SQLAlchemy takes three times as long to build and to
recognise a question as SQLite takes to answer it.

Belongs here: get, set, forget. Does not belong here: what a key means (its owner says so beside its name), settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from storage.catalog.tables import fact

_VALUE = select(fact.c.value).where(fact.c.key == bindparam("of"))
_CHANGE = update(fact).where(fact.c.key == bindparam("of")).values(value=bindparam("to"))
_ADD = insert(fact)
_KNOWN = select(fact.c.key).where(fact.c.key.in_(bindparam("among", expanding=True)))


def get(connection: Connection, key: str) -> Any:
    """The value, or None when nobody has set one."""
    return connection.execute(_VALUE, {"of": key}).scalar_one_or_none()


def set(connection: Connection, key: str, value: Any) -> None:
    """`value` must be JSON; None is stored and reads like an absent fact."""
    if connection.execute(_CHANGE, {"of": key, "to": value}).rowcount == 0:
        connection.execute(_ADD, {"key": key, "value": value})


def set_all(connection: Connection, values: Mapping[str, Any]) -> None:
    """As `set`, for several keys by few statements."""
    known = frozenset(connection.execute(_KNOWN, {"among": list(values)}).scalars())
    if known:
        connection.execute(_CHANGE, [{"of": key, "to": values[key]} for key in known])
    if len(known) < len(values):
        connection.execute(_ADD, [{"key": k, "value": v} for k, v in values.items() if k not in known])


def forget(connection: Connection, key: str) -> None:
    connection.execute(delete(fact).where(fact.c.key == key))


def keys(connection: Connection, prefix: str) -> list[str]:
    """The keys that begin with `prefix`, in order."""
    query = select(fact.c.key).where(fact.c.key.startswith(prefix, autoescape=True)).order_by(fact.c.key)
    return list(connection.execute(query).scalars())
