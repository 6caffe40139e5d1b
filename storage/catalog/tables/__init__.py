"""Tables of the catalog. Every column's unit is in its name; times are UTC epoch milliseconds.

Belongs here: columns, keys, indices, checks. The migrations create exactly this (a test compares them).
"""

from __future__ import annotations

from storage.catalog.tables.base import TIERS, Ms, metadata
from storage.catalog.tables.cameras import (
    area,
    area_camera,
    attestation,
    camera,
    camera_health,
    camera_status,
    camera_stream,
    credential,
    owner_check,
)
from storage.catalog.tables.footage import (
    EVIDENCE_STATES,
    SEGMENT_STATES,
    evidence_copy,
    gap,
    hold,
    hold_camera,
    retention_class,
    run,
    segment,
)
from storage.catalog.tables.people import (
    approval,
    audit,
    break_glass,
    grant,
    media_session,
    register,
    session,
    shift,
    stream_password,
    token,
    user,
)
from storage.catalog.tables.places import department, fact, region
from storage.catalog.tables.tiers import (
    cache_object,
    exchange_rule,
    incident,
    lease,
    link,
    link_invite,
    link_use,
    mechanism,
    peer_camera,
)

__all__ = [
    "EVIDENCE_STATES",
    "SEGMENT_STATES",
    "TIERS",
    "Ms",
    "approval",
    "area",
    "area_camera",
    "attestation",
    "audit",
    "break_glass",
    "cache_object",
    "camera",
    "camera_health",
    "camera_status",
    "camera_stream",
    "credential",
    "department",
    "evidence_copy",
    "exchange_rule",
    "fact",
    "gap",
    "grant",
    "hold",
    "hold_camera",
    "incident",
    "lease",
    "link",
    "link_invite",
    "link_use",
    "mechanism",
    "media_session",
    "metadata",
    "owner_check",
    "peer_camera",
    "region",
    "register",
    "retention_class",
    "run",
    "segment",
    "session",
    "shift",
    "stream_password",
    "token",
    "user",
]
