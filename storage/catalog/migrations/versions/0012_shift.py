"""Shared accounts of walls, and who is on duty there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012_shift"
down_revision = "0011_area_regions"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user", sa.Column("wall", sa.Boolean(), server_default="0", nullable=False))
    op.create_table(
        "shift",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("session_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("wall_id", sa.String(length=26), nullable=False),
        sa.Column("user_id", sa.String(length=26), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("ended_why", sa.String(length=12), nullable=True),
        sa.Column("client", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name=op.f("fk_shift_user_id_user")),
        sa.ForeignKeyConstraint(["wall_id"], ["user.id"], name=op.f("fk_shift_wall_id_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shift")),
    )
    op.create_index(op.f("ix_shift_session_hash_ended_ms"), "shift", ["session_hash", "ended_ms"])
    op.create_index(op.f("ix_shift_user_id_ended_ms"), "shift", ["user_id", "ended_ms"])
