"""``/audit`` and ``/register``: who did what, who looked at what."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection

from config.errors import TiergateError
from gateway.web.policy import policy
from gateway.web.routers.checkpoints import standing_of
from gateway.web.services import services_of
from gateway.web.wire import Cursor, Limit, TimeMs, page, paged, seq_cursor
from storage.audit import log
from storage.catalog import cameras
from storage.catalog import register as rows
from storage.catalog.register import RegisterRow
from tiering.access import Principal

router = APIRouter(prefix="/api/v1", tags=["audit"])
_READERS = ("audit_admin", "inspection")
Text = Annotated[str | None, Query(max_length=120)]


@router.get("/audit")
async def list_audit(
    request: Request,
    principal: Annotated[Principal, policy(role=_READERS)],
    action: Text = None,
    actor: Text = None,
    subject: Text = None,
    from_ms: Annotated[TimeMs | None, Query(alias="from")] = None,
    to_ms: Annotated[TimeMs | None, Query(alias="to")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Newest first; `action` may end with a dot to mean all of a noun (``token.``), `subject` may be a part of it."""
    before = seq_cursor(cursor)
    wanted = log.Filter(action, actor, subject, from_ms, to_ms)
    found = await services_of(request).read(lambda c: log.tail(c, limit + 1, before, wanted=wanted))
    shown, next_ = paged(found, limit, "seq")
    return page([entry.as_json() for entry in shown], next_)


@router.get("/audit/verify")
async def verify(request: Request, principal: Annotated[Principal, policy(role="audit_admin")]) -> dict[str, Any]:
    """Walks the whole chain: where it is first broken, or that it is whole. `end`: whether the log holds the newest
    head that was signed into the store (`state`: ``holds``, ``cut``, ``unknown``)."""
    services = services_of(request)
    broken = await services.read(log.verify_catalog)
    try:
        end = (await standing_of(services)).as_json()
    except TiergateError as exc:
        end = {"state": "unknown", "problem": exc.reason.as_json()}
    return {"whole": broken is None, "broken_at_seq": broken, "end": end}


def as_json(row: RegisterRow, camera_name: str | None) -> dict[str, Any]:
    return {
        "id": row.id,
        "opened_ms": row.opened_ms,
        "closed_ms": row.closed_ms,
        "person": row.person,
        "unit": row.unit,
        "kind": row.principal.get("kind"),
        "login": row.principal.get("login"),
        "wall": row.principal.get("wall", {}).get("name"),
        "purpose": row.purpose,
        "reason": row.reason,
        "camera": row.camera_id,
        "camera_name": camera_name,
        "stream": row.stream,
        "function": row.function,
        "from_ms": row.from_ms,
        "to_ms": row.to_ms,
        "lease": row.lease_id,
        "case": row.case_no,
        "client": row.client,
        "bytes": row.bytes,
        "result": row.result,
        "watermark": row.watermark,
        "stream_password": row.principal.get("stream_password"),
    }


@router.get("/register")
async def list_register(
    request: Request,
    principal: Annotated[Principal, policy(role=_READERS)],
    camera: Text = None,
    unit: Text = None,
    person: Text = None,
    lease: Text = None,
    from_ms: Annotated[TimeMs | None, Query(alias="from")] = None,
    to_ms: Annotated[TimeMs | None, Query(alias="to")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """The call register (Order 799 art. 16(2)(3)), newest first."""

    def read(connection: Connection) -> tuple[list[RegisterRow], dict[str, str]]:
        found = rows.rows(
            connection, camera_id=camera, unit=unit, person=person, lease_id=lease,
            from_ms=from_ms, to_ms=to_ms, after=cursor, limit=limit + 1,
        )  # fmt: skip
        known = cameras.cameras(connection, {r.camera_id for r in found}, include_removed=True)
        return found, {i: c.name for i, c in known.items()}

    found, names = await services_of(request).read(read)
    shown, next_ = paged(found, limit, "id")
    return page([as_json(r, names.get(r.camera_id)) for r in shown], next_)
