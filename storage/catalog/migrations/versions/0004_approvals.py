"""A queue of requests that wait for a second person. Nothing that is there changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_approvals"
down_revision = "0003_aged_from"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "approval",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=120), nullable=False),
        sa.Column("params", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requester_id", sa.String(length=26), nullable=False),
        sa.Column("requester", sa.String(length=60), nullable=False),
        sa.Column("requester_name", sa.String(length=120), nullable=False),
        sa.Column("client", sa.String(length=64), nullable=False),
        sa.Column("requested_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("decided_by", sa.String(length=120), nullable=True),
        sa.Column("decided_name", sa.String(length=120), nullable=True),
        sa.Column("decided_ms", sa.BigInteger(), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("outcome", sa.JSON(), nullable=True),
        sa.CheckConstraint("state IN ('pending','given','refused','expired','used')", name=op.f("ck_approval_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
    )
    op.create_index("ix_approval_state_expires_ms", "approval", ["state", "expires_ms"], unique=False)
