"""When a camera is recorded: windows of the week. Cameras that are there are recorded always, as before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_schedule"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("camera", sa.Column("schedule", sa.String(length=400), nullable=True))
