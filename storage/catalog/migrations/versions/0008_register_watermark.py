"""Whether the pictures of an export had the person's name burnt in; NULL of what is no export, and of older rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_register_watermark"
down_revision = "0007_break_glass"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("register", sa.Column("watermark", sa.Boolean(), nullable=True))
