"""How many bytes of pictures a link may carry upward in a day, and how many it carried in each hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009_link_quota"
down_revision = "0008_register_watermark"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("link", sa.Column("bytes_per_day", sa.BigInteger(), server_default="72000000000", nullable=False))
    op.create_table(
        "link_use",
        sa.Column("link_id", sa.String(26), nullable=False),
        sa.Column("hour_ms", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["link_id"], ["link.id"], name=op.f("fk_link_use_link_id_link")),
        sa.PrimaryKeyConstraint("link_id", "hour_ms", name=op.f("pk_link_use")),
    )
