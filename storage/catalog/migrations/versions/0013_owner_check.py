"""What owners' recorders answer when they are asked for footage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013_owner_check"
down_revision = "0012_shift"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "owner_check",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("camera_id", sa.String(20), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("asked_ms", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.String(8), nullable=False),
        sa.Column("reason", sa.JSON(), nullable=False),
        sa.Column("clock_offset_ms", sa.BigInteger(), nullable=True),
        sa.Column("asked_by", sa.String(120), nullable=False),
        sa.CheckConstraint("verdict IN ('present','absent','unknown')", name=op.f("ck_owner_check_verdict")),
        sa.ForeignKeyConstraint(["camera_id"], ["camera.id"], name=op.f("fk_owner_check_camera_id_camera")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_owner_check")),
    )
    op.create_index(op.f("ix_owner_check_camera_id_asked_ms"), "owner_check", ["camera_id", "asked_ms"])
    op.create_index(op.f("ix_owner_check_asked_ms"), "owner_check", ["asked_ms"])
