"""Footage: runs, segments, gaps; classes, holds and second copies.

Rows about footage are never deleted: a `segment` row outlives its bytes as the manifest (I4), also of removed cameras.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from storage.catalog.tables.base import Ms, metadata, only, ulid_column

run = Table(
    "run",
    metadata,
    ulid_column(),
    Column("camera_id", String(20), nullable=False),
    Column("stream", String(4), nullable=False),
    Column("started_ms", Ms, nullable=False),
    Column("ended_ms", Ms, nullable=True),
    Column("end_reason", String(40), nullable=True),
    Column("codec", String(40), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("audio_codec", String(40), nullable=True),
    Column("init", LargeBinary, nullable=False),  # ftyp+moov, as at the head of each segment of the run
    Index(None, "camera_id", "started_ms"),
)

SEGMENT_KINDS = ("own", "cache", "necessity", "evidence")
TIME_TRUSTS = ("synchronised", "unknown", "held", "restamped")
SEGMENT_STATES = ("spooled", "stored", "condemned", "deleting", "deleted", "lost")

segment = Table(
    "segment",
    metadata,
    ulid_column(),
    Column("camera_id", String(20), nullable=False),
    Column("stream", String(4), nullable=False),
    Column("run_id", String(26), nullable=False),
    Column(
        "kind",
        String(10),
        CheckConstraint(f"kind IN ({','.join(map(repr, SEGMENT_KINDS))})", name="kind"),
        nullable=False,
    ),
    Column(
        "state",
        String(10),
        CheckConstraint(f"state IN {SEGMENT_STATES}", name="state"),
        nullable=False,
    ),
    Column("start_ms", Ms, nullable=False),
    Column("end_ms", Ms, nullable=False),
    Column("start_wall_ns", BigInteger, nullable=False),  # exact UTC of the first picture
    Column("time_trust", String(12), nullable=False),  # TIME_TRUSTS
    # Of time_trust unknown: when a sweep on a proven clock first saw it. Its time to be kept counts from then.
    Column("aged_from_ms", Ms, nullable=True),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("init_bytes", Integer, nullable=False),  # length of ftyp+moov(+uuid) before the first fragment
    Column("fragments", LargeBinary, nullable=False),  # storage.media.fragment_index
    Column("object_key", Text, nullable=False),
    Column("volume", String(36), nullable=True),  # spool volume while a spool copy exists, else NULL
    Column("salvaged", Boolean, nullable=False, server_default="0"),
    Column("class", String(20), nullable=False, server_default="default", key="class_"),  # at record time
    Column("lease_id", String(26), nullable=True),  # kind = cache
    Column("created_ms", Ms, nullable=False),
    Column("stored_ms", Ms, nullable=True),
    Column("condemned_ms", Ms, nullable=True),
    Column("deleted_ms", Ms, nullable=True),
    Column("delete_reason", JSON, nullable=True),
    CheckConstraint("end_ms >= start_ms", name="order"),
    # Covers the timeline of a day: `storage.catalog.segments.stretches_between` reads no row and no blob.
    Index("ix_segment_timeline", "camera_id", "stream", "start_ms", "end_ms", "state", "class_", "run_id", "id"),
    Index("ix_segment_state_end", "state", "end_ms"),
    # Only the few that have a spool copy.
    Index("ix_segment_volume", "volume", "id", **only("volume IS NOT NULL")),
    Index("ix_segment_aged", "aged_from_ms", "id", **only("time_trust = 'unknown'")),
    UniqueConstraint("object_key"),
)

gap = Table(
    "gap",
    metadata,
    ulid_column(),
    Column("camera_id", String(20), nullable=False),
    Column("stream", String(4), nullable=False, server_default="main"),
    Column("cause", String(20), nullable=False),
    Column("from_ms", Ms, nullable=False),
    Column("to_ms", Ms, nullable=True),  # NULL: still open
    Column("detected_ms", Ms, nullable=False),
    Column("reason", JSON, nullable=True),
    Index(None, "camera_id", "from_ms"),
)

#: Retention classes are data with floor and ceiling; months are of the Asia/Shanghai calendar.
retention_class = Table(
    "retention_class",
    metadata,
    Column("name", String(20), primary_key=True),
    Column("rank", Integer, nullable=False, unique=True),  # the highest rank of a camera's areas wins
    Column("months", Integer, nullable=True),  # NULL: permanent
    Column("min_days", Integer, nullable=True),
    Column("ceiling_months", Integer, nullable=True),
    Column("for_hold", Boolean, nullable=False),
    Column("effective_ms", Ms, nullable=False),
)

hold = Table(
    "hold",
    metadata,
    ulid_column(),
    Column("from_ms", Ms, nullable=False),
    Column("to_ms", Ms, nullable=False),
    Column("owner", String(120), nullable=False),
    Column("reason", Text, nullable=False),
    Column("case_no", String(120), nullable=False),
    Column("approver", String(120), nullable=True),
    Column("class", String(20), nullable=False, key="class_"),  # 3_months, 1_year, permanent
    Column("review_ms", Ms, nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("released_ms", Ms, nullable=True),
    Column("released_by", String(120), nullable=True),
    CheckConstraint("to_ms > from_ms", name="order"),
)

hold_camera = Table(
    "hold_camera",
    metadata,
    Column("hold_id", String(26), ForeignKey("hold.id"), primary_key=True),
    Column("camera_id", String(20), primary_key=True),
    Index(None, "camera_id"),
)

EVIDENCE_STATES = ("wanted", "verified", "releasing", "gone")

#: The second copy of a held segment. Which holds need it is reckoned from the holds themselves, so no count can drift.
evidence_copy = Table(
    "evidence_copy",
    metadata,
    Column("segment_id", String(26), ForeignKey("segment.id"), primary_key=True),
    Column("state", String(10), CheckConstraint(f"state IN {EVIDENCE_STATES}", name="state"), nullable=False),
    Column("version_id", String(200), nullable=True),  # NULL: not copied yet, or a store without versions
    Column("tries", Integer, nullable=False, server_default="0"),  # since the last success
    Column("next_ms", Ms, nullable=False),  # not looked at before
    Column("problem", String(60), nullable=True),  # reason code, or the name of an exception
    Column("read_ms", Ms, nullable=True),  # last read back whole
    Column("locked_until_ms", Ms, nullable=True),
    Column("legal_hold", Boolean, nullable=False, server_default="0"),
    Index(None, "state", "next_ms"),
)
