"""The node and its places: facts, regions, departments."""

from __future__ import annotations

from sqlalchemy import JSON, CheckConstraint, Column, ForeignKey, String, Table

from storage.catalog.tables.base import TIER_CHECK, Ms, metadata, ulid_column

#: Facts of this installation that change: clock high-water mark, node id, schema of the store, …
fact = Table("fact", metadata, Column("key", String(80), primary_key=True), Column("value", JSON, nullable=False))

region = Table(
    "region",
    metadata,
    Column("code", String(12), primary_key=True),  # significant digits (config.ids.region_code)
    Column("name", String(120), nullable=False),
    Column("tier", String(10), CheckConstraint(TIER_CHECK, name="tier"), nullable=True),  # NULL: province
    Column("parent", String(12), ForeignKey("region.code"), nullable=True),
    Column("code_source", String(8), nullable=False, server_default="gb2260"),  # gb2260, stats12, local
    Column("valid_from_ms", Ms, nullable=False),
    Column("valid_to_ms", Ms, nullable=True),
)

department = Table(
    "department",
    metadata,
    ulid_column(),
    Column("name", String(120), nullable=False, unique=True),
    Column("region", String(12), ForeignKey("region.code"), nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("removed_ms", Ms, nullable=True),
)
