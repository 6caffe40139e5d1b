"""What all tables share: the metadata with its names, and kinds of columns."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, String, text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Ms = BigInteger  #: UTC epoch milliseconds
TIERS = ("city", "district", "street", "community")
TIER_CHECK = "tier IN ('city','district','street','community')"


def only(condition: str) -> dict[str, Any]:
    """Of an index that holds but these rows."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def ulid_column() -> Column[str]:
    """The usual key: a ULID."""
    return Column("id", String(26), primary_key=True)
