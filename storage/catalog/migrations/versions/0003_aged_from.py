"""Footage of unknown date ages from when a proven clock first saw it. What is there already keeps its date."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_aged_from"
down_revision = "0002_schedule"
branch_labels = None
depends_on = None

_UNKNOWN = sa.text("time_trust = 'unknown'")


def upgrade() -> None:
    op.add_column("segment", sa.Column("aged_from_ms", sa.BigInteger(), nullable=True))
    op.execute("UPDATE segment SET aged_from_ms = end_ms WHERE time_trust = 'unknown'")
    columns = ["aged_from_ms", "id"]
    op.create_index("ix_segment_aged", "segment", columns, sqlite_where=_UNKNOWN, postgresql_where=_UNKNOWN)
