"""``/cameras/{id}/owner-checks``: what an owner's recorder answered when it was asked for footage; asking it now."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.units import format_time_ms
from gateway.cameras.owner_recorder import OwnerRecorders, Target
from gateway.ingest.logins import Logins
from gateway.ops import owner_checks as checks
from gateway.web.policy import policy
from gateway.web.services import Services, services_of
from gateway.web.wire import Body, Cursor, Limit, TimeMs, page
from storage.catalog import cameras, owner_checks
from storage.reach_view import kept_elsewhere
from storage.sampled_view import assessments
from storage.sweeper import Policies
from tiering.access import Function, Principal

router = APIRouter(prefix="/api/v1/cameras/{camera_id}/owner-checks", tags=["cameras"])


class Ask(Body):
    at: TimeMs | None = None  #: default: instants drawn over what is promised


@router.get("")
async def show(
    request: Request,
    camera_id: str,
    principal: Annotated[Principal, policy(function=Function.MANAGE)],
    limit: Limit = 100,
    cursor: Cursor = None,
) -> dict[str, Any]:
    """All questions of the last 400 days and their answers, the newest first."""
    before = _before(cursor)
    rows = await services_of(request).read(lambda c: owner_checks.newest(c, camera_id, limit + 1, before))
    following = f"{rows[limit - 1].asked_ms}:{rows[limit - 1].id}" if len(rows) > limit else None
    return page([row.as_json() for row in rows[:limit]], following)


def _before(cursor: str | None) -> tuple[int, str] | None:
    """Raises web.cursor."""
    if cursor is None:
        return None
    asked_ms, _, id_ = cursor.partition(":")
    if not (asked_ms.isascii() and asked_ms.isdigit()) or len(asked_ms) > 18 or not id_.isalnum() or len(id_) > 26:
        raise TiergateError(Kind.INVALID, "web.cursor")
    return int(asked_ms), id_


@router.post("", status_code=201)
async def ask(
    request: Request,
    camera_id: str,
    body: Ask,
    principal: Annotated[Principal, policy(function=Function.MANAGE)],
) -> dict[str, Any]:
    """Asks the recorder of a camera with `recorded_by=owner` now; takes seconds. `items` are the answers, the rest is
    what all answers come to (`state`, `missing`, `completeness`, `reason`). A first "not there" is asked again by the
    node itself, 10 minutes later."""
    services = services_of(request)

    def read(connection: Connection) -> tuple[Target, tuple[int, ...]]:
        now_ms = services.now_ms()
        if cameras.cameras(connection, [camera_id])[camera_id].recorded_by != "owner":
            raise TiergateError(Kind.CONFLICT, "retention.check_recorded_here", camera=camera_id)
        if body.at is not None and body.at >= now_ms:
            shown = format_time_ms(body.at, local=True)
            raise TiergateError(Kind.INVALID, "retention.check_at", field="at", at=shown)
        target = checks.target_of(connection, services.secrets, camera_id)
        if body.at is not None:
            return target, (body.at,)
        drawn = checks.drawn_now(connection, services.settings, camera_id, now_ms, seed)
        if drawn is None:
            raise TiergateError(Kind.CONFLICT, "retention.check_nothing_due", camera=camera_id)
        return target, drawn.instants

    seed = await services.write(checks.seed_of) if body.at is None else b""
    target, instants = await services.read(read)
    answers = await _recorders(services).ask(target, instants)
    rows = await services.write(
        partial(checks.keep, clock=services.clock, camera_id=camera_id, answers=answers, actor=principal.actor)
    )

    def told(connection: Connection) -> dict[str, Any]:
        now_ms = services.now_ms()
        standing = kept_elsewhere(connection, Policies.read(connection), now_ms, [camera_id])
        return assessments(connection, standing, now_ms)[camera_id].as_json()

    return page([row.as_json() for row in rows]) | await services.read(told)


def _recorders(services: Services) -> OwnerRecorders:
    known = services.parts.get("owner_recorders")
    if known is None:
        logins = Logins(services.clock, services.settings.paths.run_dir / "logins")
        known = services.parts["owner_recorders"] = OwnerRecorders(services.settings, services.clock, logins)
    assert isinstance(known, OwnerRecorders)  # noqa: S101 - put there above
    return known
