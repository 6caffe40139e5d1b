"""What the register counts: open rows of a principal under the grants that count them, on each database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from storage.catalog import register
from storage.catalog.engine import Catalog
from storage.catalog.register import RegisterRow


def row(id_: str, principal: dict[str, Any]) -> RegisterRow:
    return RegisterRow(
        id_, 1, "李", "x", principal, "daily_watch", "", "c", "main", "live", None, None, None, None, None, "web:1:1",
    )  # fmt: skip


def _open(connection: Connection, some: list[RegisterRow]) -> None:
    for one in some:
        register.open_row(connection, one)


def test_open_rows_of_one_principal_are_counted_under_each_grant_whatever_the_sign_in(catalog_url: str) -> None:
    catalog = Catalog(catalog_url)
    user = {"kind": "user", "id": "u1", "session": "aa", "under": ["g1"]}
    some = [
        row("1", user),
        row("2", user | {"session": "bb", "under": ["g1", "g2"]}),
        row("3", user | {"id": "u2"}),
        row("4", user | {"kind": "token"}),
        row("5", {"kind": "user", "id": "u1"}),
        replace(row("6", user), closed_ms=2),
    ]
    try:
        catalog.write(lambda c: _open(c, some))
        assert catalog.read(lambda c: register.open_under(c, "user", "u1")) == {"g1": 2, "g2": 1}
        catalog.write(lambda c: register.close_row(c, "2", 3, 0, "ended"))
        assert catalog.read(lambda c: register.open_under(c, "user", "u1")) == {"g1": 1}
        assert catalog.read(lambda c: register.open_under(c, "node", "u1")) == {}
    finally:
        catalog.close()
