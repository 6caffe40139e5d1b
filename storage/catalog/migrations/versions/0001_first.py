"""The first schema: everything in `storage.catalog.tables`, and the retention classes that the law names.

What changes later comes in a revision of its own. A test compares the sum of all revisions with the tables.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

#: name, rank, months, min_days, ceiling_months, for_hold: Order 799 art. 17 and R12, R13; then holds.
CLASSES = (
    ("default", 0, 1, 30, 1, False),
    ("key", 10, 3, 90, 3, False),
    ("3_months", 100, 3, 90, None, True),
    ("1_year", 110, 12, 365, None, True),
    ("permanent", 120, None, None, None, True),
)


def upgrade() -> None:
    op.create_table(
        "area",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("class", sa.String(length=20), nullable=False),
        sa.Column("document_no", sa.String(length=120), nullable=False),
        sa.Column("valid_from_ms", sa.BigInteger(), nullable=False),
        sa.Column("valid_to_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_area")),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("previous", sa.LargeBinary(length=32), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_table(
        "cache_object",
        sa.Column("object_key", sa.String(length=200), nullable=False),
        sa.Column("lease_id", sa.String(length=26), nullable=False),
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("segment_id", sa.String(length=26), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("cache_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("purged_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("object_key", name=op.f("pk_cache_object")),
    )
    op.create_index("ix_cache_object_lease_id", "cache_object", ["lease_id"], unique=False)
    op.create_table(
        "credential",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("username", sa.String(length=120), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential")),
    )
    op.create_table(
        "exchange_rule",
        sa.Column("peer", sa.String(length=26), nullable=False),
        sa.Column("grade", sa.String(length=20), nullable=False),
        sa.Column("nature", sa.String(length=20), nullable=False),
        sa.Column("mode", sa.String(length=12), nullable=False),
        sa.PrimaryKeyConstraint("peer", "grade", "nature", name=op.f("pk_exchange_rule")),
    )
    op.create_table(
        "fact",
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_fact")),
    )
    op.create_table(
        "gap",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("stream", sa.String(length=4), server_default="main", nullable=False),
        sa.Column("cause", sa.String(length=20), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_ms", sa.BigInteger(), nullable=True),
        sa.Column("detected_ms", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gap")),
    )
    op.create_index("ix_gap_camera_id_from_ms", "gap", ["camera_id", "from_ms"], unique=False)
    op.create_table(
        "grant",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("subject_kind", sa.String(length=12), nullable=False),
        sa.Column("subject", sa.String(length=60), nullable=False),
        sa.Column("effect", sa.String(length=5), server_default="allow", nullable=False),
        sa.Column("resources", sa.JSON(), nullable=False),
        sa.Column("functions", sa.JSON(), nullable=False),
        sa.Column("conditions", sa.JSON(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=120), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grant")),
    )
    op.create_index("ix_grant_subject_kind_subject", "grant", ["subject_kind", "subject"], unique=False)
    op.create_table(
        "hold",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_ms", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.String(length=120), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("case_no", sa.String(length=120), nullable=False),
        sa.Column("approver", sa.String(length=120), nullable=True),
        sa.Column("class", sa.String(length=20), nullable=False),
        sa.Column("review_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("released_ms", sa.BigInteger(), nullable=True),
        sa.Column("released_by", sa.String(length=120), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hold")),
        sa.CheckConstraint("to_ms > from_ms", name=op.f("ck_hold_order")),
    )
    op.create_table(
        "incident",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("number", sa.String(length=80), nullable=False),
        sa.Column("place", sa.String(length=200), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("cameras", sa.JSON(), nullable=False),
        sa.Column("closed_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident")),
        sa.UniqueConstraint("number", name=op.f("uq_incident_number")),
    )
    op.create_table(
        "link",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("peer_node", sa.String(length=16), nullable=False),
        sa.Column("peer_name", sa.String(length=80), nullable=False),
        sa.Column("peer_region", sa.String(length=12), nullable=False),
        sa.Column("peer_tier", sa.String(length=10), nullable=False),
        sa.Column("peer_role", sa.String(length=5), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tls_sha256", sa.LargeBinary(length=32), nullable=True),
        sa.Column("kind", sa.String(length=10), server_default="shared", nullable=False),
        sa.Column("capacity_bps", sa.BigInteger(), server_default="10000000", nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("suspended_ms", sa.BigInteger(), nullable=True),
        sa.Column("removed_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_seen_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_link")),
        sa.UniqueConstraint("peer_node", name=op.f("uq_link_peer_node")),
    )
    op.create_table(
        "link_invite",
        sa.Column("code_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("peer_role", sa.String(length=5), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(length=120), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_link_invite")),
    )
    op.create_table(
        "mechanism",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name=op.f("pk_mechanism")),
    )
    op.create_table(
        "media_session",
        sa.Column("id_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("principal", sa.JSON(), nullable=False),
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("stream", sa.String(length=4), nullable=False),
        sa.Column("function", sa.String(length=10), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=True),
        sa.Column("to_ms", sa.BigInteger(), nullable=True),
        sa.Column("lease_id", sa.String(length=26), nullable=True),
        sa.Column("register_id", sa.String(length=26), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id_hash", name=op.f("pk_media_session")),
    )
    op.create_table(
        "region",
        sa.Column("code", sa.String(length=12), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("tier", sa.String(length=10), nullable=True),
        sa.Column("parent", sa.String(length=12), nullable=True),
        sa.Column("code_source", sa.String(length=8), server_default="gb2260", nullable=False),
        sa.Column("valid_from_ms", sa.BigInteger(), nullable=False),
        sa.Column("valid_to_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["parent"], ["region.code"], name=op.f("fk_region_parent_region")),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_region")),
        sa.CheckConstraint("tier IN ('city','district','street','community')", name=op.f("ck_region_tier")),
    )
    op.create_table(
        "register",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("opened_ms", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.String(length=120), nullable=False),
        sa.Column("unit", sa.String(length=120), nullable=False),
        sa.Column("principal", sa.JSON(), nullable=False),
        sa.Column("purpose", sa.String(length=30), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("stream", sa.String(length=4), nullable=False),
        sa.Column("function", sa.String(length=10), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=True),
        sa.Column("to_ms", sa.BigInteger(), nullable=True),
        sa.Column("lease_id", sa.String(length=26), nullable=True),
        sa.Column("case_no", sa.String(length=120), nullable=True),
        sa.Column("client", sa.String(length=80), nullable=True),
        sa.Column("process", sa.String(length=40), nullable=False),
        sa.Column("closed_ms", sa.BigInteger(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_register")),
    )
    op.create_index("ix_register_camera_id_opened_ms", "register", ["camera_id", "opened_ms"], unique=False)
    op.create_index("ix_register_closed_ms", "register", ["closed_ms"], unique=False)
    op.create_table(
        "retention_class",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("months", sa.Integer(), nullable=True),
        sa.Column("min_days", sa.Integer(), nullable=True),
        sa.Column("ceiling_months", sa.Integer(), nullable=True),
        sa.Column("for_hold", sa.Boolean(), nullable=False),
        sa.Column("effective_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_retention_class")),
        sa.UniqueConstraint("rank", name=op.f("uq_retention_class_rank")),
    )
    op.create_table(
        "run",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("stream", sa.String(length=4), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("end_reason", sa.String(length=40), nullable=True),
        sa.Column("codec", sa.String(length=40), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("audio_codec", sa.String(length=40), nullable=True),
        sa.Column("init", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index("ix_run_camera_id_started_ms", "run", ["camera_id", "started_ms"], unique=False)
    op.create_table(
        "segment",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("stream", sa.String(length=4), nullable=False),
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("start_ms", sa.BigInteger(), nullable=False),
        sa.Column("end_ms", sa.BigInteger(), nullable=False),
        sa.Column("start_wall_ns", sa.BigInteger(), nullable=False),
        sa.Column("time_trust", sa.String(length=12), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("init_bytes", sa.Integer(), nullable=False),
        sa.Column("fragments", sa.LargeBinary(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("volume", sa.String(length=36), nullable=True),
        sa.Column("salvaged", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("class", sa.String(length=20), server_default="default", nullable=False),
        sa.Column("lease_id", sa.String(length=26), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("stored_ms", sa.BigInteger(), nullable=True),
        sa.Column("condemned_ms", sa.BigInteger(), nullable=True),
        sa.Column("deleted_ms", sa.BigInteger(), nullable=True),
        sa.Column("delete_reason", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segment")),
        sa.UniqueConstraint("object_key", name=op.f("uq_segment_object_key")),
        sa.CheckConstraint("end_ms >= start_ms", name=op.f("ck_segment_order")),
        sa.CheckConstraint("kind IN ('own','cache','necessity','evidence')", name=op.f("ck_segment_kind")),
        sa.CheckConstraint(
            "state IN ('spooled', 'stored', 'condemned', 'deleting', 'deleted', 'lost')", name=op.f("ck_segment_state")
        ),
    )
    op.create_index("ix_segment_state_end", "segment", ["state", "end_ms"], unique=False)
    op.create_index(
        "ix_segment_timeline",
        "segment",
        ["camera_id", "stream", "start_ms", "end_ms", "state", "class", "run_id", "id"],
        unique=False,
    )
    op.create_index(
        "ix_segment_volume",
        "segment",
        ["volume", "id"],
        unique=False,
        sqlite_where=sa.text("volume IS NOT NULL"),
        postgresql_where=sa.text("volume IS NOT NULL"),
    )
    op.create_table(
        "department",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("region", sa.String(length=12), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("removed_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["region"], ["region.code"], name=op.f("fk_department_region_region")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_department")),
        sa.UniqueConstraint("name", name=op.f("uq_department_name")),
    )
    op.create_table(
        "hold_camera",
        sa.Column("hold_id", sa.String(length=26), nullable=False),
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(["hold_id"], ["hold.id"], name=op.f("fk_hold_camera_hold_id_hold")),
        sa.PrimaryKeyConstraint("hold_id", "camera_id", name=op.f("pk_hold_camera")),
    )
    op.create_index("ix_hold_camera_camera_id", "hold_camera", ["camera_id"], unique=False)
    op.create_table(
        "lease",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("side", sa.String(length=7), nullable=False),
        sa.Column("link_id", sa.String(length=26), nullable=False),
        sa.Column("mechanism", sa.String(length=40), nullable=False),
        sa.Column("mechanism_version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("case_no", sa.String(length=120), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("persons", sa.JSON(), nullable=False),
        sa.Column("cameras", sa.JSON(), nullable=False),
        sa.Column("functions", sa.JSON(), nullable=False),
        sa.Column("max_stream", sa.String(length=4), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=True),
        sa.Column("to_ms", sa.BigInteger(), nullable=True),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("cache_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("confirm_by_ms", sa.BigInteger(), nullable=True),
        sa.Column("confirmed_ms", sa.BigInteger(), nullable=True),
        sa.Column("confirmed_by", sa.String(length=120), nullable=True),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("end_reason", sa.String(length=40), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("purged_ms", sa.BigInteger(), nullable=True),
        sa.Column("purge_statement", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["link_id"], ["link.id"], name=op.f("fk_lease_link_id_link")),
        sa.PrimaryKeyConstraint("id", "side", name=op.f("pk_lease")),
        sa.CheckConstraint("side IN ('granted','held')", name=op.f("ck_lease_side")),
    )
    op.create_table(
        "peer_camera",
        sa.Column("link_id", sa.String(length=26), nullable=False),
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("tier", sa.String(length=10), nullable=False),
        sa.Column("region", sa.String(length=12), nullable=False),
        sa.Column("region_name", sa.String(length=120), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.Column("removed_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["link_id"], ["link.id"], name=op.f("fk_peer_camera_link_id_link")),
        sa.PrimaryKeyConstraint("link_id", "camera_id", name=op.f("pk_peer_camera")),
    )
    op.create_table(
        "camera",
        sa.Column("id", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("tier", sa.String(length=10), nullable=False),
        sa.Column("region", sa.String(length=12), nullable=False),
        sa.Column("department_id", sa.String(length=26), nullable=True),
        sa.Column("site_type", sa.String(length=40), server_default="street", nullable=False),
        sa.Column("recorded_by", sa.String(length=8), nullable=False),
        sa.Column("sharing", sa.String(length=12), server_default="none", nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("audio", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("audio_basis", sa.Text(), nullable=True),
        sa.Column("secrecy", sa.Integer(), server_default="0", nullable=False),
        sa.Column("longitude", sa.String(length=20), nullable=True),
        sa.Column("latitude", sa.String(length=20), nullable=True),
        sa.Column("place", sa.String(length=200), nullable=True),
        sa.Column("onvif_url", sa.Text(), nullable=True),
        sa.Column("ptz", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("serial", sa.String(length=120), nullable=True),
        sa.Column("model", sa.String(length=120), nullable=True),
        sa.Column("credential_id", sa.String(length=26), nullable=True),
        sa.Column("host", sa.String(length=80), server_default="local", nullable=False),
        sa.Column("shard", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.Column("removed_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["credential_id"], ["credential.id"], name=op.f("fk_camera_credential_id_credential")),
        sa.ForeignKeyConstraint(["department_id"], ["department.id"], name=op.f("fk_camera_department_id_department")),
        sa.ForeignKeyConstraint(["region"], ["region.code"], name=op.f("fk_camera_region_region")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_camera")),
        sa.CheckConstraint("recorded_by IN ('self','owner')", name=op.f("ck_camera_recorded_by")),
        sa.CheckConstraint("tier IN ('city','district','street','community')", name=op.f("ck_camera_tier")),
    )
    op.create_index("ix_camera_region", "camera", ["region"], unique=False)
    op.create_table(
        "token",
        sa.Column("jti", sa.String(length=26), nullable=False),
        sa.Column("department_id", sa.String(length=26), nullable=False),
        sa.Column("label", sa.String(length=120), nullable=False),
        sa.Column("grant", sa.JSON(), nullable=False),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("issued_by", sa.String(length=120), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_by", sa.String(length=120), nullable=True),
        sa.ForeignKeyConstraint(["department_id"], ["department.id"], name=op.f("fk_token_department_id_department")),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_token")),
    )
    op.create_table(
        "user",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("login", sa.String(length=60), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("department_id", sa.String(length=26), nullable=True),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("must_change", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("disabled_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["department_id"], ["department.id"], name=op.f("fk_user_department_id_department")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user")),
        sa.UniqueConstraint("login", name=op.f("uq_user_login")),
    )
    op.create_table(
        "area_camera",
        sa.Column("area_id", sa.String(length=26), nullable=False),
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("from_ms", sa.BigInteger(), nullable=False),
        sa.Column("to_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["area_id"], ["area.id"], name=op.f("fk_area_camera_area_id_area")),
        sa.ForeignKeyConstraint(["camera_id"], ["camera.id"], name=op.f("fk_area_camera_camera_id_camera")),
        sa.PrimaryKeyConstraint("area_id", "camera_id", "from_ms", name=op.f("pk_area_camera")),
    )
    op.create_index("ix_area_camera_camera_id", "area_camera", ["camera_id"], unique=False)
    op.create_table(
        "camera_health",
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("verdict", sa.String(length=12), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("checked_ms", sa.BigInteger(), nullable=False),
        sa.Column("mean_luma", sa.String(length=12), nullable=True),
        sa.Column("difference", sa.String(length=12), nullable=True),
        sa.ForeignKeyConstraint(["camera_id"], ["camera.id"], name=op.f("fk_camera_health_camera_id_camera")),
        sa.PrimaryKeyConstraint("camera_id", name=op.f("pk_camera_health")),
    )
    op.create_table(
        "camera_status",
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("stream", sa.String(length=4), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("cause", sa.String(length=20), nullable=True),
        sa.Column("reason", sa.JSON(), nullable=True),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("last_media_ms", sa.BigInteger(), nullable=True),
        sa.Column("codec", sa.String(length=40), nullable=True),
        sa.Column("audio_codec", sa.String(length=40), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("fps", sa.String(length=12), nullable=True),
        sa.Column("bit_rate_bps", sa.Integer(), nullable=True),
        sa.Column("gop_ms", sa.Integer(), nullable=True),
        sa.Column("b_frames", sa.Boolean(), nullable=True),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["camera.id"], name=op.f("fk_camera_status_camera_id_camera")),
        sa.PrimaryKeyConstraint("camera_id", "stream", name=op.f("pk_camera_status")),
    )
    op.create_table(
        "camera_stream",
        sa.Column("camera_id", sa.String(length=20), nullable=False),
        sa.Column("stream", sa.String(length=4), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("transport", sa.String(length=4), server_default="tcp", nullable=False),
        sa.Column("warm", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("profile", sa.String(length=80), nullable=True),
        sa.ForeignKeyConstraint(["camera_id"], ["camera.id"], name=op.f("fk_camera_stream_camera_id_camera")),
        sa.PrimaryKeyConstraint("camera_id", "stream", name=op.f("pk_camera_stream")),
        sa.CheckConstraint("stream IN ('main','sub')", name=op.f("ck_camera_stream_stream")),
    )
    op.create_table(
        "session",
        sa.Column("id_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=True),
        sa.Column("token_jti", sa.String(length=26), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("client", sa.String(length=80), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_session_user_id_user")),
        sa.PrimaryKeyConstraint("id_hash", name=op.f("pk_session")),
    )

    op.bulk_insert(
        sa.table(
            "retention_class",
            *(sa.column(name) for name in ("name", "rank", "months", "min_days", "ceiling_months")),
            sa.column("for_hold", sa.Boolean),
            sa.column("effective_ms"),
        ),
        [
            {
                "name": name, "rank": rank, "months": months, "min_days": min_days, "ceiling_months": ceiling,
                "for_hold": for_hold, "effective_ms": 0,
            }
            for name, rank, months, min_days, ceiling, for_hold in CLASSES
        ],
    )  # fmt: skip
