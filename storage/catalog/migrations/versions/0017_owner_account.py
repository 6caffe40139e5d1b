"""Cameras that their owners record say so in their account of time, from where footage of ours ends.

Who recorded a camera was read from its row alone: the day on which that changed, all of its past did.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017_owner_account"
down_revision = "0016_segment_upkeep"
branch_labels = None
depends_on = None

_CAMERAS = sa.text("SELECT id, created_ms FROM camera WHERE recorded_by = 'owner' AND removed_ms IS NULL")
_FOOTAGE = sa.text("SELECT max(end_ms) FROM segment WHERE camera_id = :camera AND stream = 'main'")
_CLOSE = sa.text(
    "UPDATE gap SET to_ms = CASE WHEN from_ms > :at_ms THEN from_ms ELSE :at_ms END "
    "WHERE camera_id = :camera AND stream = 'main' AND to_ms IS NULL"
)
_REASON = {
    "code": "camera.owner_records",
    "params": {},
    "en": "The camera is recorded by its owner.",
    "zh": "该摄像机由其产权单位录像。",
}
_GAP = sa.table(
    "gap",
    *(sa.column(name, sa.String()) for name in ("id", "camera_id", "stream", "cause")),
    *(sa.column(name, sa.BigInteger()) for name in ("from_ms", "to_ms", "detected_ms")),
    sa.column("reason", sa.JSON()),
)


def upgrade() -> None:
    connection = op.get_bind()
    for camera, created_ms in connection.execute(_CAMERAS).all():
        footage_ms = connection.execute(_FOOTAGE, {"camera": camera}).scalar_one()
        from_ms = max(created_ms, footage_ms or 0)
        connection.execute(_CLOSE, {"camera": camera, "at_ms": from_ms})
        row = {"id": f"01K000{camera}", "camera_id": camera, "stream": "main", "cause": "disabled"}
        told = {"from_ms": from_ms, "to_ms": None, "detected_ms": from_ms, "reason": _REASON}
        connection.execute(sa.insert(_GAP).values(row | told))
