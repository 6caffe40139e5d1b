"""People who are posted to another unit for a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006_posting"
down_revision = "0005_evidence_copy"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("user", sa.Column("posted_to", sa.String(length=26), nullable=True))
    op.add_column("user", sa.Column("posted_until_ms", sa.BigInteger(), nullable=True))
