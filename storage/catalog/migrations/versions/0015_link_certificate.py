"""A second certificate that a linked node may show while it changes its own, and what it knows of ours."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015_link_certificate"
down_revision = "0014_stream_password"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("link", sa.Column("tls_other_sha256", sa.LargeBinary(32), nullable=True))
    for name in ("tls_other_until_ms", "tls_issued_ms", "tls_told_ms"):
        op.add_column("link", sa.Column(name, sa.BigInteger(), nullable=True))
