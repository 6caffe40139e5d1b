"""``/cameras/{id}/timeline``: footage, gaps with causes, what expired; clipped to what the caller may know."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.reasons import Reason
from config.units import HOUR_MS
from gateway.web.policy import client_of, policy
from gateway.web.services import services_of
from gateway.web.wire import TimeMs
from storage.catalog import cameras, gaps, segments
from storage.gap_view import open_spans
from storage.media.timeline import (
    MERGE_TOLERANCE_MS,
    Footage,
    Gap,
    Removed,
    Span,
    SpanKind,
    build_timeline,
)
from tiering.access import Facts, Function, Principal, allowed_ranges, decide

router = APIRouter(prefix="/api/v1", tags=["cameras"])
MOST_HOURS = 24 * 31


@router.get("/cameras/{camera_id}/timeline")
async def timeline(
    request: Request,
    camera_id: str,
    principal: Annotated[Principal, policy(camera=True)],
    from_ms: Annotated[TimeMs, Query(alias="from")],
    to_ms: Annotated[TimeMs, Query(alias="to")],
    stream: Annotated[str, Query(pattern="^(main|sub)$")] = "main",
    purpose: Annotated[str, Query(max_length=40)] = "daily_watch",
) -> dict[str, Any]:
    """Facts, not pictures: with `status` all of it, else the times that `playback` covers."""
    services = services_of(request)
    now_ms = services.now_ms()
    if to_ms <= from_ms:
        raise TiergateError(Kind.INVALID, "time.range_empty")
    if to_ms - from_ms > MOST_HOURS * HOUR_MS:
        raise TiergateError(Kind.INVALID, "time.range_too_long", limit_hours=MOST_HOURS)
    camera = await services.looks.require_visible(principal, camera_id)
    facts = Facts(from_ms=from_ms, to_ms=to_ms, purpose=purpose, client=client_of(request))
    status = decide(principal, Function.STATUS, camera, now_ms, facts)
    if status.allow and principal.kind == "user":
        shown = [(from_ms, to_ms)]
    else:
        shown = allowed_ranges(principal, Function.PLAYBACK, camera, now_ms, facts)
        ever = Facts(purpose=purpose, client=facts.client)
        if not shown and not decide(principal, Function.PLAYBACK, camera, now_ms, ever).allow:
            raise TiergateError(Kind.FORBIDDEN, "access.no_function", function=Function.PLAYBACK)
    if camera.origin == "lower":
        # Its own node knows what is there; a lease's timeline tells it.
        shown, spans = [], []
    else:
        spans = await services.read(lambda c: read_spans(c, camera_id, stream, from_ms, to_ms, now_ms))
    return {
        "camera": camera_id,
        "from_ms": from_ms,
        "to_ms": to_ms,
        "now_ms": now_ms,
        "spans": clip(spans, shown, from_ms, to_ms),
    }


def read_spans(
    connection: Connection, camera_id: str, stream: str, from_ms: int, to_ms: int, now_ms: int
) -> list[dict[str, Any]]:
    """Spans of one stream as JSON, with the words of each gap."""
    low, high = from_ms - MERGE_TOLERANCE_MS, to_ms + MERGE_TOLERANCE_MS
    holes = gaps.gaps_between(connection, camera_id, stream, low, high)
    # A damaged segment has a gap row of its own id: it is still shown as footage, and said to be so.
    marked = {g.id: g.cause for g in holes if g.to_ms != g.from_ms}
    found = segments.stretches_between(connection, camera_id, stream, low, high, marked)
    footage = [Footage(s.start_ms, s.end_ms, s.class_, cause=s.mark) for s in found if s.readable]
    removed = [Removed(s.start_ms, s.end_ms) for s in found if not s.readable]
    missing = [Gap(g.from_ms, g.to_ms, g.cause) for g in holes]
    footage += being_recorded(connection, camera_id, stream, now_ms)
    camera = cameras.cameras(connection, [camera_id]).get(camera_id)
    if camera is not None and camera.created_ms > from_ms:
        missing.append(Gap(from_ms, min(camera.created_ms, to_ms), "not_registered"))
    spans = build_timeline(footage, missing, from_ms, to_ms, now_ms, removed)
    return [_span_json(s, holes) for s in spans]


def being_recorded(connection: Connection, camera_id: str, stream: str, now_ms: int) -> list[Footage]:
    return [
        Footage(start_ms, end_ms, None, open=True)
        for start_ms, end_ms in open_spans(connection, camera_id, stream, now_ms)
    ]


def _span_json(span: Span, holes: list[gaps.GapRow]) -> dict[str, Any]:
    kind, cause, reason = span.kind, span.cause, None
    if kind is SpanKind.GAP and cause == "not_registered":
        kind, cause = SpanKind.NONE, None
    elif kind is SpanKind.GAP or (kind is SpanKind.FOOTAGE and cause is not None):
        reason = _words(span, holes)
    elif kind is SpanKind.EXPIRED:
        reason = Reason("web.expired").as_json()
    return {
        "kind": kind.value,
        "from_ms": span.from_ms,
        "to_ms": span.to_ms,
        "cause": cause,
        "reason": reason,
        "class": span.retention_class,
    }


def _words(span: Span, holes: list[gaps.GapRow]) -> dict[str, Any]:
    """What the recorder wrote beside the gap, else the words of its cause."""
    for hole in holes:
        touches = hole.from_ms < span.to_ms and (hole.to_ms is None or hole.to_ms > span.from_ms)
        if touches and hole.cause == span.cause and hole.reason is not None:
            return hole.reason
    return Reason(f"web.gap.{span.cause}").as_json()


def clip(spans: list[dict[str, Any]], shown: list[tuple[int, int]], from_ms: int, to_ms: int) -> list[dict[str, Any]]:
    """The same partition, with everything outside `shown` said to be outside the caller's share."""
    if shown == [(from_ms, to_ms)]:
        return spans
    hidden = Reason("web.outside_share").as_json()
    clipped: list[dict[str, Any]] = []
    at = from_ms
    for low, high in [*shown, (to_ms, to_ms)]:
        if at < low:
            nothing = {"kind": "none", "from_ms": at, "to_ms": low, "cause": None, "reason": hidden, "class": None}
            clipped.append(nothing)
        for span in spans:
            start, end = max(span["from_ms"], low), min(span["to_ms"], high)
            if start < end:
                clipped.append(span | {"from_ms": start, "to_ms": end})
        at = high
    return clipped
