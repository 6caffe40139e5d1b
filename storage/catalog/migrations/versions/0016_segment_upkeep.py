"""PostgreSQL tends the table of segments after each hundredth part that is new, not after each fifth.

A timeline reads the index alone (ix_segment_timeline), which PostgreSQL only does for pages that a vacuum has seen
since they were written. By its own rule it comes by after a fifth of the table is new: at a month of 230 cameras the
last six days were read row by row, all over the disk.
"""

from __future__ import annotations

from alembic import op

revision = "0016_segment_upkeep"
down_revision = "0015_link_certificate"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "ALTER TABLE segment SET ("
            "autovacuum_vacuum_insert_scale_factor = 0.01,"
            "autovacuum_vacuum_scale_factor = 0.02,"
            "autovacuum_analyze_scale_factor = 0.02)"
        )
