"""What owners attest of footage that their own recorders keep."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010_attestation"
down_revision = "0009_link_quota"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "attestation",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("camera_id", sa.String(20), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("attested_by", sa.String(120), nullable=False),
        sa.Column("document", sa.String(120), nullable=False),
        sa.Column("valid_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.String(120), nullable=False),
        sa.CheckConstraint("days >= 0", name=op.f("ck_attestation_days")),
        sa.ForeignKeyConstraint(["camera_id"], ["camera.id"], name=op.f("fk_attestation_camera_id_camera")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attestation")),
    )
    op.create_index(op.f("ix_attestation_camera_id"), "attestation", ["camera_id"])
