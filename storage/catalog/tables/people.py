"""People and their rights, and what remembers what they did: register, audit, requests for a second person."""

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
)

from storage.catalog.tables.base import Ms, metadata, ulid_column

user = Table(
    "user",
    metadata,
    ulid_column(),
    Column("login", String(60), nullable=False, unique=True),
    Column("name", String(120), nullable=False),  # a natural person (R38)
    Column("department_id", String(26), ForeignKey("department.id"), nullable=True),
    Column("roles", JSON, nullable=False),  # list of role names (tiering.access)
    Column("password_hash", Text, nullable=False),  # argon2id
    Column("must_change", Boolean, nullable=False, server_default="0"),
    Column("created_ms", Ms, nullable=False),
    Column("disabled_ms", Ms, nullable=True),
    Column("posted_to", String(26), nullable=True),  # a department; without it nobody is posted
    Column("posted_until_ms", Ms, nullable=True),
    Column("wall", Boolean, nullable=False, server_default="0"),  # no person: the shared account of a wall of screens
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

#: Who is on duty at a shared wall: a person, on one sign-in of the wall's account, until a time.
shift = Table(
    "shift",
    metadata,
    ulid_column(),
    Column("session_hash", LargeBinary(32), nullable=False),  # of a session; a backup has shifts and no sessions
    Column("wall_id", String(26), ForeignKey("user.id"), nullable=False),
    Column("user_id", String(26), ForeignKey("user.id"), nullable=False),
    Column("started_ms", Ms, nullable=False),
    Column("until_ms", Ms, nullable=False),
    Column("ended_ms", Ms, nullable=True),
    Column("ended_why", String(12), nullable=True),  # signed_off, replaced, ended, signed_out, account
    Column("client", String(80), nullable=False),
    Index(None, "session_hash", "ended_ms"),
    Index(None, "user_id", "ended_ms"),
)

grant = Table(
    "grant",
    metadata,
    ulid_column(),
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

#: What software that knows no token signs in with over RTSP; the secret is a row of `credential`, sealed.
stream_password = Table(
    "stream_password",
    metadata,
    ulid_column(),  # also the name that software gives
    Column("owner_kind", String(5), nullable=False),
    Column("owner", String(26), nullable=False),  # a token's jti or a user's id
    Column("label", String(120), nullable=False),
    Column("cameras", JSON, nullable=False),
    Column("max_stream", String(4), nullable=False),  # main, sub
    Column("networks", JSON, nullable=True),  # NULL: those of its owner
    Column("unmarked_basis", Text, nullable=False),  # why pictures may leave without the owner's name in them, or ""
    Column("credential_id", String(26), ForeignKey("credential.id"), nullable=False),
    Column("created_ms", Ms, nullable=False),
    Column("created_by", String(120), nullable=False),
    Column("expires_ms", Ms, nullable=False),
    Column("revoked_ms", Ms, nullable=True),
    Column("revoked_by", String(120), nullable=True),
    CheckConstraint("owner_kind IN ('token','user')", name="owner_kind"),
)

#: Session paths `/m/<128 bit>/…`: one camera, one function, one window, re-decided each 5 s.
#: Rights in a sealed envelope: the code's hash, who opened it and why, and what somebody else found afterwards.
break_glass = Table(
    "break_glass",
    metadata,
    ulid_column(),
    Column("seal_hash", LargeBinary(32), nullable=False, unique=True),
    Column("sealed_ms", Ms, nullable=False),
    Column("sealed_by", String(120), nullable=False),
    Column("hours", Integer, nullable=False),
    Column("void_ms", Ms, nullable=True),
    Column("used_ms", Ms, nullable=True),
    Column("user_id", String(26), ForeignKey("user.id"), nullable=True),
    Column("reason", Text, nullable=False),
    Column("until_ms", Ms, nullable=True),
    Column("reviewed_ms", Ms, nullable=True),
    Column("reviewed_by", String(120), nullable=True),
    Column("words", Text, nullable=False),
    Index(None, "user_id", "until_ms"),
)

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
    ulid_column(),
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

#: Requests that wait for a second person, and what became of them; never deleted.
approval = Table(
    "approval",
    metadata,
    ulid_column(),
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
