"""The second copy of held footage: one row per segment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_evidence_copy"
down_revision = "0004_approvals"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evidence_copy",
        sa.Column("segment_id", sa.String(length=26), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("version_id", sa.String(length=200), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_ms", sa.BigInteger(), nullable=False),
        sa.Column("problem", sa.String(length=60), nullable=True),
        sa.Column("read_ms", sa.BigInteger(), nullable=True),
        sa.Column("locked_until_ms", sa.BigInteger(), nullable=True),
        sa.Column("legal_hold", sa.Boolean(), server_default="0", nullable=False),
        sa.CheckConstraint("state IN ('wanted', 'verified', 'releasing', 'gone')", name=op.f("ck_evidence_copy_state")),
        sa.ForeignKeyConstraint(["segment_id"], ["segment.id"], name=op.f("fk_evidence_copy_segment_id_segment")),
        sa.PrimaryKeyConstraint("segment_id", name=op.f("pk_evidence_copy")),
    )
    op.create_index(op.f("ix_evidence_copy_state_next_ms"), "evidence_copy", ["state", "next_ms"])
