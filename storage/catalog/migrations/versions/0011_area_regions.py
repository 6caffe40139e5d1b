"""Regions whose cameras, all of them and whenever they come, stand in an area."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011_area_regions"
down_revision = "0010_attestation"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("area", sa.Column("regions", sa.JSON(), nullable=True))
