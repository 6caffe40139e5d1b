"""Passwords by which devices and departments' own software read live streams over RTSP."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014_stream_password"
down_revision = "0013_owner_check"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stream_password",
        sa.Column("id", sa.String(26), nullable=False),
        sa.Column("owner_kind", sa.String(5), nullable=False),
        sa.Column("owner", sa.String(26), nullable=False),
        sa.Column("label", sa.String(120), nullable=False),
        sa.Column("cameras", sa.JSON(), nullable=False),
        sa.Column("max_stream", sa.String(4), nullable=False),
        sa.Column("networks", sa.JSON(), nullable=True),
        sa.Column("unmarked_basis", sa.Text(), nullable=False),
        sa.Column("credential_id", sa.String(26), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.Column("revoked_by", sa.String(120), nullable=True),
        sa.CheckConstraint("owner_kind IN ('token','user')", name=op.f("ck_stream_password_owner_kind")),
        sa.ForeignKeyConstraint(
            ["credential_id"], ["credential.id"], name=op.f("fk_stream_password_credential_id_credential")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stream_password")),
    )
