"""Other nodes: links, rules of exchange, leases, their cameras, what is cached of them, incidents."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, ForeignKey, Integer, LargeBinary, String, Table, Text

from storage.catalog.tables.base import Ms, metadata, ulid_column

link_invite = Table(
    "link_invite",
    metadata,
    Column("code_hash", LargeBinary(32), primary_key=True),
    Column("peer_role", String(5), nullable=False),  # upper or lower: what the accepting node becomes to us
    Column("created_ms", Ms, nullable=False),
    Column("created_by", String(120), nullable=False),
    Column("expires_ms", Ms, nullable=False),
    Column("used_ms", Ms, nullable=True),
)

link = Table(
    "link",
    metadata,
    ulid_column(),
    Column("peer_node", String(16), nullable=False, unique=True),  # key id of the peer's public key
    Column("peer_name", String(80), nullable=False),
    Column("peer_region", String(12), nullable=False),
    Column("peer_tier", String(10), nullable=False),
    Column("peer_role", String(5), nullable=False),  # upper, lower
    Column("url", Text, nullable=False),
    Column("public_key", LargeBinary(32), nullable=False),
    Column("tls_sha256", LargeBinary(32), nullable=True),  # pinned certificate; NULL on loopback without TLS
    Column("tls_other_sha256", LargeBinary(32), nullable=True),  # another one that is taken too
    Column("tls_other_until_ms", Ms, nullable=True),  # until then; NULL: until its next statement
    Column("tls_issued_ms", Ms, nullable=True),  # of the peer's statement that these are from; NULL: from pairing
    Column("tls_told_ms", Ms, nullable=True),  # issue of our own statement that the peer holds
    Column("kind", String(10), nullable=False, server_default="shared"),  # dedicated, shared, diode
    Column("capacity_bps", BigInteger, nullable=False, server_default="10000000"),
    Column("bytes_per_day", BigInteger, nullable=False, server_default="72000000000"),  # of pictures, upward
    Column("created_ms", Ms, nullable=False),
    Column("suspended_ms", Ms, nullable=True),
    Column("removed_ms", Ms, nullable=True),
    Column("last_seen_ms", Ms, nullable=True),
)

#: Bytes of our pictures that a link was given, by the hour (`tiering.quota`).
link_use = Table(
    "link_use",
    metadata,
    Column("link_id", String(26), ForeignKey("link.id"), primary_key=True),
    Column("hour_ms", Ms, primary_key=True),  # its beginning
    Column("bytes", BigInteger, nullable=False),
)

mechanism = Table(
    "mechanism",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("kind", String(12), nullable=False),  # emergency, supervision
    Column("rules", JSON, nullable=False),  # tiering.mechanism.Mechanism
    Column("created_ms", Ms, nullable=False),
)

exchange_rule = Table(
    "exchange_rule",
    metadata,
    Column("peer", String(26), primary_key=True),
    Column("grade", String(20), primary_key=True),
    Column("nature", String(20), primary_key=True),
    Column("mode", String(12), nullable=False),
)

#: Both sides keep a row of the same id: `side` = granted (we are the lower node) or held (we are the upper one).
lease = Table(
    "lease",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("side", String(7), CheckConstraint("side IN ('granted','held')", name="side"), primary_key=True),
    Column("link_id", String(26), ForeignKey("link.id"), nullable=False),
    Column("mechanism", String(40), nullable=False),
    Column("mechanism_version", Integer, nullable=False),
    Column("kind", String(12), nullable=False),
    Column("case_no", String(120), nullable=False),
    Column("reason", Text, nullable=False),
    Column("persons", JSON, nullable=False),  # who watches: names and unit
    Column("cameras", JSON, nullable=False),  # 20-digit ids
    Column("functions", JSON, nullable=False),
    Column("max_stream", String(4), nullable=False),
    Column("from_ms", Ms, nullable=True),  # recorded range, NULL: live only
    Column("to_ms", Ms, nullable=True),
    Column("issued_ms", Ms, nullable=False),  # first; renewals do not move it
    Column("expires_ms", Ms, nullable=False),
    Column("cache_until_ms", Ms, nullable=False),
    Column("confirm_by_ms", Ms, nullable=True),
    Column("confirmed_ms", Ms, nullable=True),
    Column("confirmed_by", String(120), nullable=True),
    Column("ended_ms", Ms, nullable=True),
    Column("end_reason", String(40), nullable=True),
    Column("document", Text, nullable=False),  # canonical JSON that the lower node signed
    Column("signature", Text, nullable=False),
    Column("purged_ms", Ms, nullable=True),
    Column("purge_statement", JSON, nullable=True),
)

#: The upper node's copy of what a lower node has: facts, never pictures.
peer_camera = Table(
    "peer_camera",
    metadata,
    Column("link_id", String(26), ForeignKey("link.id"), primary_key=True),
    Column("camera_id", String(20), primary_key=True),
    Column("name", String(120), nullable=False),
    Column("tier", String(10), nullable=False),
    Column("region", String(12), nullable=False),
    Column("region_name", String(120), nullable=False),
    Column("state", String(12), nullable=False),
    Column("details", JSON, nullable=False),  # streams, codec, place, coverage digest
    Column("updated_ms", Ms, nullable=False),
    Column("removed_ms", Ms, nullable=True),
)

#: Bytes of a lower tier that lie in our cache: each belongs to a lease (I6).
cache_object = Table(
    "cache_object",
    metadata,
    Column("object_key", String(200), primary_key=True),
    Column("lease_id", String(26), nullable=False, index=True),
    Column("camera_id", String(20), nullable=False),
    Column("segment_id", String(26), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("cache_until_ms", Ms, nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("purged_ms", Ms, nullable=True),
)

incident = Table(
    "incident",
    metadata,
    ulid_column(),
    Column("number", String(80), nullable=False, unique=True),
    Column("place", String(200), nullable=False),
    Column("at_ms", Ms, nullable=False),
    Column("cameras", JSON, nullable=False),
    Column("closed_ms", Ms, nullable=True),
)
