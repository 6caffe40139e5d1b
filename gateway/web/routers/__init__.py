"""The routers, one per noun. Adding one is one line here; each route declares its policy (`gateway.web.policy`)."""

from __future__ import annotations

from fastapi import APIRouter

from gateway.web.routers import (
    areas,
    audit,
    cameras,
    departments,
    events,
    grants,
    holds,
    live,
    media,
    node,
    onboarding,
    operations,
    page,
    playback,
    regions,
    reports,
    retention,
    session,
    timeline,
    tokens,
    users,
)

ROUTERS: list[APIRouter] = [
    session.router,
    node.router,
    regions.router,
    departments.router,
    areas.router,
    onboarding.router,
    cameras.router,
    timeline.router,
    users.router,
    grants.router,
    tokens.router,
    audit.router,
    events.router,
    retention.router,
    holds.router,
    reports.router,
    operations.router,
    live.router,
    playback.router,
    media.router,
    page.router,
]
