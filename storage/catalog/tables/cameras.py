"""Cameras: credentials, streams, what is known of their state, areas."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
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
)

from storage.catalog.tables.base import TIER_CHECK, Ms, metadata, ulid_column

#: Sealed camera accounts; one may serve all channels of a recorder. `sealed`: nonce + AES-256-GCM, bound to the id.
credential = Table(
    "credential",
    metadata,
    ulid_column(),
    Column("username", String(120), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("key_id", String(16), nullable=False),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("changed_ms", Ms, nullable=False),
)

camera = Table(
    "camera",
    metadata,
    Column("id", String(20), primary_key=True),
    Column("name", String(120), nullable=False),
    Column("tier", String(10), CheckConstraint(TIER_CHECK, name="tier"), nullable=False),
    Column("region", String(12), ForeignKey("region.code"), nullable=False),
    Column("department_id", String(26), ForeignKey("department.id"), nullable=True),
    Column("site_type", String(40), nullable=False, server_default="street"),
    Column(
        "recorded_by", String(8), CheckConstraint("recorded_by IN ('self','owner')", name="recorded_by"), nullable=False
    ),
    Column("sharing", String(12), nullable=False, server_default="none"),  # none, departments, upper
    Column("enabled", Boolean, nullable=False),
    Column("audio", Boolean, nullable=False, server_default="0"),
    Column("audio_basis", Text, nullable=True),  # reason and document that allow sound
    Column("secrecy", Integer, nullable=False, server_default="0"),
    Column("longitude", String(20), nullable=True),
    Column("latitude", String(20), nullable=True),
    Column("place", String(200), nullable=True),
    Column("onvif_url", Text, nullable=True),
    Column("ptz", Boolean, nullable=False, server_default="0"),
    Column("serial", String(120), nullable=True),  # duplicates: same device from two sources
    Column("model", String(120), nullable=True),
    Column("credential_id", String(26), ForeignKey("credential.id"), nullable=True),
    Column("host", String(80), nullable=False, server_default="local"),  # machine, for several machines one day
    Column("shard", Integer, nullable=False, server_default="0"),  # recorder process
    Column("created_ms", Ms, nullable=False),
    Column("changed_ms", Ms, nullable=False),
    Column("removed_ms", Ms, nullable=True),
    Column("schedule", String(400), nullable=True),  # when it is recorded (config.weekly); NULL: always
    Index(None, "region"),
)

camera_stream = Table(
    "camera_stream",
    metadata,
    Column("camera_id", String(20), ForeignKey("camera.id"), primary_key=True),
    Column("stream", String(4), CheckConstraint("stream IN ('main','sub')", name="stream"), primary_key=True),
    Column("url", Text, nullable=False),  # without credentials
    Column("transport", String(4), nullable=False, server_default="tcp"),
    Column("warm", Boolean, nullable=False, server_default="0"),  # sub kept open for walls
    Column("profile", String(80), nullable=True),  # ONVIF profile token
)

#: What a recorder last knew of a stream; absent row = never seen.
camera_status = Table(
    "camera_status",
    metadata,
    Column("camera_id", String(20), ForeignKey("camera.id"), primary_key=True),
    Column("stream", String(4), primary_key=True),
    Column("state", String(12), nullable=False),  # connecting, online, offline
    Column("cause", String(20), nullable=True),  # a gap cause while offline
    Column("reason", JSON, nullable=True),  # config.reasons JSON
    Column("since_ms", Ms, nullable=False),
    Column("last_media_ms", Ms, nullable=True),
    Column("codec", String(40), nullable=True),  # RFC 6381 of the video
    Column("audio_codec", String(40), nullable=True),
    Column("width", Integer, nullable=True),
    Column("height", Integer, nullable=True),
    Column("fps", String(12), nullable=True),
    Column("bit_rate_bps", Integer, nullable=True),
    Column("gop_ms", Integer, nullable=True),
    Column("b_frames", Boolean, nullable=True),
    Column("updated_ms", Ms, nullable=False),
)

#: Latest picture check of a camera (gateway.health).
camera_health = Table(
    "camera_health",
    metadata,
    Column("camera_id", String(20), ForeignKey("camera.id"), primary_key=True),
    Column("verdict", String(12), nullable=False),  # ok, black, frozen
    Column("since_ms", Ms, nullable=False),
    Column("checked_ms", Ms, nullable=False),
    Column("mean_luma", String(12), nullable=True),
    Column("difference", String(12), nullable=True),
)

#: What the owner of a camera with `recorded_by` = owner attests of its recorder; the newest counts, none is changed.
attestation = Table(
    "attestation",
    metadata,
    ulid_column(),
    Column("camera_id", String(20), ForeignKey("camera.id"), nullable=False),
    Column("days", Integer, CheckConstraint("days >= 0", name="days"), nullable=False),
    Column("attested_by", String(120), nullable=False),
    Column("document", String(120), nullable=False),
    Column("valid_until_ms", Ms, nullable=False),
    Column("made_ms", Ms, nullable=False),
    Column("made_by", String(120), nullable=False),  # actor
    Index(None, "camera_id"),
)

#: One question for footage of an instant that an owner's recorder should have, and its answer; none is changed.
owner_check = Table(
    "owner_check",
    metadata,
    ulid_column(),
    Column("camera_id", String(20), ForeignKey("camera.id"), nullable=False),
    Column("at_ms", Ms, nullable=False),  # the instant, true time
    Column("asked_ms", Ms, nullable=False),
    Column(
        "verdict",
        String(8),
        CheckConstraint("verdict IN ('present','absent','unknown')", name="verdict"),
        nullable=False,
    ),
    Column("reason", JSON, nullable=False),  # config.reasons JSON
    Column("clock_offset_ms", Ms, nullable=True),  # the recorder's clock minus ours
    Column("asked_by", String(120), nullable=False),  # actor
    Index(None, "camera_id", "asked_ms"),
    Index(None, "asked_ms"),
)

area = Table(
    "area",
    metadata,
    ulid_column(),
    Column("name", String(120), nullable=False),
    Column("class", String(20), nullable=False, key="class_"),  # retention class name
    Column("document_no", String(120), nullable=False),
    Column("regions", JSON(none_as_null=True), nullable=True),  # codes; null for an area of named cameras
    Column("valid_from_ms", Ms, nullable=False),
    Column("valid_to_ms", Ms, nullable=True),
)

#: Membership is effective-dated: nothing about the past is rewritten (R13).
area_camera = Table(
    "area_camera",
    metadata,
    Column("area_id", String(26), ForeignKey("area.id"), primary_key=True),
    Column("camera_id", String(20), ForeignKey("camera.id"), primary_key=True),
    Column("from_ms", Ms, primary_key=True),
    Column("to_ms", Ms, nullable=True),
    Index(None, "camera_id"),
)
