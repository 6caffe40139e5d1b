"""Tables of the catalog. Every column's unit is in its name; times are UTC epoch milliseconds.

Belongs here: columns, keys, indices, checks. The first migration creates exactly this (a test compares them).
Rows about footage are never deleted: a `segment` row outlives its bytes as the manifest (I4), also of removed cameras.
"""

from __future__ import annotations

from typing import Any

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
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=_NAMES)

Ms = BigInteger  #: UTC epoch milliseconds
TIERS = ("city", "district", "street", "community")
_TIER_CHECK = "tier IN ('city','district','street','community')"


def _only(condition: str) -> dict[str, Any]:
    """Of an index that holds but these rows."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def _id() -> Column[str]:
    return Column("id", String(26), primary_key=True)  # ULID


# --- the node and its places -----------------------------------------------------------------------------------------

#: Facts of this installation that change: clock high-water mark, node id, schema of the store, …
fact = Table("fact", metadata, Column("key", String(80), primary_key=True), Column("value", JSON, nullable=False))

region = Table(
    "region",
    metadata,
    Column("code", String(12), primary_key=True),  # significant digits (config.ids.region_code)
    Column("name", String(120), nullable=False),
    Column("tier", String(10), CheckConstraint(_TIER_CHECK, name="tier"), nullable=True),  # NULL: province
    Column("parent", String(12), ForeignKey("region.code"), nullable=True),
    Column("code_source", String(8), nullable=False, server_default="gb2260"),  # gb2260, stats12, local
    Column("valid_from_ms", Ms, nullable=False),
    Column("valid_to_ms", Ms, nullable=True),
)

department = Table(
    "department",
    metadata,
    _id(),
    Column("name", String(120), nullable=False, unique=True),
    Column("region", String(12), ForeignKey("region.code"), nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("removed_ms", Ms, nullable=True),
)

# --- cameras ---------------------------------------------------------------------------------------------------------

#: Sealed camera accounts; one may serve all channels of a recorder. `sealed`: nonce + AES-256-GCM, bound to the id.
credential = Table(
    "credential",
    metadata,
    _id(),
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
    Column("tier", String(10), CheckConstraint(_TIER_CHECK, name="tier"), nullable=False),
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

area = Table(
    "area",
    metadata,
    _id(),
    Column("name", String(120), nullable=False),
    Column("class", String(20), nullable=False, key="class_"),  # retention class name
    Column("document_no", String(120), nullable=False),
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

# --- footage ---------------------------------------------------------------------------------------------------------

run = Table(
    "run",
    metadata,
    _id(),
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

SEGMENT_STATES = ("spooled", "stored", "condemned", "deleting", "deleted", "lost")

segment = Table(
    "segment",
    metadata,
    _id(),
    Column("camera_id", String(20), nullable=False),
    Column("stream", String(4), nullable=False),
    Column("run_id", String(26), nullable=False),
    Column(
        "kind",
        String(10),
        CheckConstraint("kind IN ('own','cache','necessity','evidence')", name="kind"),
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
    Column("time_trust", String(12), nullable=False),  # synchronised, unknown, held, restamped
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
    # Covers the timeline of a day: `storage.catalog.segments.spans_between` reads no row and no blob.
    Index("ix_segment_timeline", "camera_id", "stream", "start_ms", "end_ms", "state", "class_", "run_id", "id"),
    Index("ix_segment_state_end", "state", "end_ms"),
    # Only the few that have a spool copy.
    Index("ix_segment_volume", "volume", "id", **_only("volume IS NOT NULL")),
    Index("ix_segment_aged", "aged_from_ms", "id", **_only("time_trust = 'unknown'")),
    UniqueConstraint("object_key"),
)

gap = Table(
    "gap",
    metadata,
    _id(),
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
    _id(),
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

#: Requests that wait for a second person, and what became of them; never deleted.
approval = Table(
    "approval",
    metadata,
    _id(),
    Column("action", String(40), nullable=False),  # storage.approval_rules.ACTIONS
    Column("subject", String(120), nullable=False),
    Column("params", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requester_id", String(26), nullable=False),
    Column("requester", String(60), nullable=False),
    Column("requester_name", String(120), nullable=False),
    Column("client", String(64), nullable=False),
    Column("requested_ms", Ms, nullable=False),
    Column("expires_ms", Ms, nullable=False),
    Column("state", String(8), nullable=False),
    Column("decided_by", String(120), nullable=True),
    Column("decided_name", String(120), nullable=True),
    Column("decided_ms", Ms, nullable=True),
    Column("words", Text, nullable=False),
    Column("outcome", JSON, nullable=True),
    CheckConstraint("state IN ('pending','given','refused','expired','used')", name="state"),
    Index(None, "state", "expires_ms"),
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

# --- people, rights, registers ---------------------------------------------------------------------------------------

user = Table(
    "user",
    metadata,
    _id(),
    Column("login", String(60), nullable=False, unique=True),
    Column("name", String(120), nullable=False),  # a natural person (R38)
    Column("department_id", String(26), ForeignKey("department.id"), nullable=True),
    Column("roles", JSON, nullable=False),  # list of role names (tiering.access)
    Column("password_hash", Text, nullable=False),  # argon2id
    Column("must_change", Boolean, nullable=False, server_default="0"),
    Column("created_ms", Ms, nullable=False),
    Column("disabled_ms", Ms, nullable=True),
)

session = Table(
    "session",
    metadata,
    Column("id_hash", LargeBinary(32), primary_key=True),  # SHA-256 of the cookie: a stolen catalog signs nobody in
    Column("user_id", String(26), ForeignKey("user.id"), nullable=True),
    Column("token_jti", String(26), nullable=True),  # a department's token turned into a page session
    Column("created_ms", Ms, nullable=False),
    Column("expires_ms", Ms, nullable=False),
    Column("ended_ms", Ms, nullable=True),
    Column("client", String(80), nullable=True),
)

grant = Table(
    "grant",
    metadata,
    _id(),
    Column("subject_kind", String(12), nullable=False),  # user, department, role
    Column("subject", String(60), nullable=False),
    Column("effect", String(5), nullable=False, server_default="allow"),  # allow, deny
    Column("resources", JSON, nullable=False),  # tiering.access.Resources
    Column("functions", JSON, nullable=False),
    Column("conditions", JSON, nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("created_by", String(120), nullable=False),
    Column("revoked_ms", Ms, nullable=True),
    Index(None, "subject_kind", "subject"),
)

token = Table(
    "token",
    metadata,
    Column("jti", String(26), primary_key=True),
    Column("department_id", String(26), ForeignKey("department.id"), nullable=False),
    Column("label", String(120), nullable=False),
    Column("grant", JSON, nullable=False, key="grant_"),  # exactly what was signed
    Column("issued_ms", Ms, nullable=False),
    Column("expires_ms", Ms, nullable=False),
    Column("issued_by", String(120), nullable=False),
    Column("revoked_ms", Ms, nullable=True),
    Column("revoked_by", String(120), nullable=True),
)

#: Session paths `/m/<128 bit>/…`: one camera, one function, one window, re-decided each 5 s.
media_session = Table(
    "media_session",
    metadata,
    Column("id_hash", LargeBinary(32), primary_key=True),
    Column("principal", JSON, nullable=False),
    Column("camera_id", String(20), nullable=False),
    Column("stream", String(4), nullable=False),
    Column("function", String(10), nullable=False),
    Column("from_ms", Ms, nullable=True),
    Column("to_ms", Ms, nullable=True),
    Column("lease_id", String(26), nullable=True),
    Column("register_id", String(26), nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("expires_ms", Ms, nullable=False),
    Column("ended_ms", Ms, nullable=True),
)

#: The call register (Order 799 art. 16(2)(3)): one row per look, opened before the first byte.
register = Table(
    "register",
    metadata,
    _id(),
    Column("opened_ms", Ms, nullable=False),
    Column("person", String(120), nullable=False),
    Column("unit", String(120), nullable=False),
    Column("principal", JSON, nullable=False),
    Column("purpose", String(30), nullable=False),
    Column("reason", Text, nullable=False),
    Column("camera_id", String(20), nullable=False),
    Column("stream", String(4), nullable=False),
    Column("function", String(10), nullable=False),
    Column("from_ms", Ms, nullable=True),  # footage range, NULL for live
    Column("to_ms", Ms, nullable=True),
    Column("lease_id", String(26), nullable=True),
    Column("case_no", String(120), nullable=True),
    Column("client", String(80), nullable=True),
    Column("process", String(40), nullable=False),
    Column("closed_ms", Ms, nullable=True),
    Column("bytes", BigInteger, nullable=True),
    Column("result", String(40), nullable=True),  # ended, expired, revoked, crashed, error
    Column("watermark", Boolean, nullable=True),  # of an export: whether the person's name was burnt in
    Index(None, "camera_id", "opened_ms"),
    Index(None, "closed_ms"),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at_ms", Ms, nullable=False),
    Column("actor", String(120), nullable=False),  # user:<login>, token:<jti>, node:<id>, os:<login>, system:<process>
    Column("action", String(60), nullable=False),  # noun.verb
    Column("subject", String(200), nullable=False),
    Column("details", JSON, nullable=False),
    Column("previous", LargeBinary(32), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
)

# --- tiers -----------------------------------------------------------------------------------------------------------

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
    _id(),
    Column("peer_node", String(16), nullable=False, unique=True),  # key id of the peer's public key
    Column("peer_name", String(80), nullable=False),
    Column("peer_region", String(12), nullable=False),
    Column("peer_tier", String(10), nullable=False),
    Column("peer_role", String(5), nullable=False),  # upper, lower
    Column("url", Text, nullable=False),
    Column("public_key", LargeBinary(32), nullable=False),
    Column("tls_sha256", LargeBinary(32), nullable=True),  # pinned certificate; NULL on loopback without TLS
    Column("kind", String(10), nullable=False, server_default="shared"),  # dedicated, shared, diode
    Column("capacity_bps", BigInteger, nullable=False, server_default="10000000"),
    Column("created_ms", Ms, nullable=False),
    Column("suspended_ms", Ms, nullable=True),
    Column("removed_ms", Ms, nullable=True),
    Column("last_seen_ms", Ms, nullable=True),
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
    Column("issued_ms", Ms, nullable=False),
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
    _id(),
    Column("number", String(80), nullable=False, unique=True),
    Column("place", String(200), nullable=False),
    Column("at_ms", Ms, nullable=False),
    Column("cameras", JSON, nullable=False),
    Column("closed_ms", Ms, nullable=True),
)
