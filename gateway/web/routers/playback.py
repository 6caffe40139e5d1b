"""Recorded pictures of a camera: HLS playlist, clip, snapshot.

Belongs here: parameters, permission, register, headers. Does not belong here: the pieces of a playlist
(`gateway.web.routers.media`), how footage is found and cut (`gateway.playback`).
"""

from __future__ import annotations

import contextlib
import json
from typing import Annotated, cast

from fastapi import APIRouter, Query, Request, Response

from config.errors import Kind, TiergateError
from config.units import parse_time_ms
from gateway.access.looks import Look
from gateway.access.purposes import REASON_MINIMUM
from gateway.live.hub import StreamKey
from gateway.playback import burnt, clip, hls
from gateway.playback.service import PlaybackService
from gateway.web.downloads import Download, counted
from gateway.web.policy import client_of, policy
from gateway.web.services import Services, services_of
from gateway.web.wire import CaseNo, Why
from tiering.access import Facts, Function, Principal, Stream, allowed_ranges, marks_export

router = APIRouter(prefix="/api/v1/cameras/{camera_id}", tags=["playback"])

StreamName = Annotated[str, Query(alias="stream", pattern="^(main|sub)$")]
From = Annotated[str, Query(alias="from", max_length=40)]
To = Annotated[str, Query(alias="to", max_length=40)]
Purpose = Annotated[str, Query(max_length=40)]
Width = Annotated[int | None, Query(ge=16, le=4096)]

PLAYLIST = "application/vnd.apple.mpegurl"
_LOOK_BACK_MARGIN_MS = 2_000


def playback_of(services: Services) -> PlaybackService:
    part = services.parts["footage"]
    assert isinstance(part, PlaybackService)  # noqa: S101 - the composition put it there
    return part


@router.get("/playback.m3u8", response_class=Response)
async def playlist(
    request: Request,
    camera_id: str,
    principal: Annotated[Principal, policy(function=Function.PLAYBACK)],
    from_: From,
    to: To,
    speed: Annotated[str, Query(max_length=20)] = "1",
    around: Annotated[str | None, Query(max_length=40)] = None,
    stream: StreamName = "main",
    purpose: Purpose = "daily_watch",
    reason: Why = "",
    case_no: CaseNo = None,
) -> Response:
    """VOD playlist of a window of at most 24 h; above double speed of its key frames alone. Entries lie under a session
    path that ends with the caller's right, when idle, or by ``DELETE /m/<session>``.

    With `around`, a time inside the window, the window is cut to what the caller may see around it: a player asks for
    more than is needed at once, and a lease or a token may allow less.
    """
    from_ms, to_ms = parse_time_ms(from_), parse_time_ms(to)
    hls.check_window(from_ms, to_ms)
    wanted_speed = hls.parse_speed(speed)
    services = services_of(request)
    footage = playback_of(services).footage
    asked = cast("Stream", stream)
    if around is not None:
        facts = Facts(asked, from_ms, to_ms, purpose, client_of(request))
        from_ms, to_ms = await _narrowed(services, principal, camera_id, facts, parse_time_ms(around))
    # The decision before the footage is looked for: what may not be seen must not be timed either.
    _, decision = await services.looks.decide(
        principal, Function.PLAYBACK, camera_id,
        stream=asked, from_ms=from_ms, to_ms=to_ms, purpose=purpose, client=client_of(request),
    )  # fmt: skip
    pieces = await footage.window(camera_id, stream, from_ms, to_ms, decision.lease_id)
    hls.playlist(pieces, from_ms, to_ms, wanted_speed, "")  # nothing to play: no session, no register row
    secret, look = await services.media_sessions.open(
        principal, Function.PLAYBACK, camera_id,
        stream=asked, from_ms=from_ms, to_ms=to_ms, purpose=purpose, reason=reason, case_no=case_no,
        client=client_of(request),
    )  # fmt: skip
    text = hls.playlist(pieces, from_ms, to_ms, wanted_speed, f"/m/{secret}")
    look.add_bytes(len(text))
    headers = {"Cache-Control": "no-store", "X-Tiergate-Session": f"/m/{secret}"}
    return Response(text, headers=headers, media_type=PLAYLIST)


async def _narrowed(
    services: Services, principal: Principal, camera_id: str, facts: Facts, around_ms: int
) -> tuple[int, int]:
    """The allowed part of the window that holds `around_ms`; the whole window when none does, for the decision to
    refuse with its reason."""
    from_ms, to_ms = facts.from_ms or 0, facts.to_ms or 0
    camera = await services.looks.require_visible(principal, camera_id)
    for low, high in allowed_ranges(principal, Function.PLAYBACK, camera, services.now_ms(), facts):
        if low <= around_ms < high:
            # A look-back moves with the clock: it must still hold when the look is opened.
            return min(low + _LOOK_BACK_MARGIN_MS, around_ms) if low > from_ms else low, high
    return from_ms, to_ms


@router.get("/clip.mp4", response_class=Response)
async def clip_file(
    request: Request,
    camera_id: str,
    principal: Annotated[Principal, policy(function=Function.EXPORT, purpose="evidence")],
    from_: From,
    to: To,
    reason: Why = "",
    stream: StreamName = "main",
    purpose: Purpose = "evidence",
    case_no: CaseNo = None,
    watermark: bool | None = None,
) -> Response:
    """The original pictures and sound of a window, from the key frame before it on, as one MP4 that starts at 0.

    With a watermark the caller's unit and name, the time, the case number and the running time of the footage are
    burnt into the pictures, which are encoded anew (H.264, no ``Content-Length``). It is on unless the purpose is
    ``evidence``, the camera is this node's own and the caller is a person who may hold footage of it; ``false`` is
    for people who may hold footage. ``X-Tiergate-Watermark`` tells which it is.

    ``X-Tiergate-Start`` and ``-End`` are epoch ms of the first and last picture; ``X-Tiergate-Gaps`` lists what is
    missing: ``[{"from_ms", "to_ms", "at_s"}]``. Every segment is compared with the digest of its recording;
    ``X-Tiergate-Damaged`` lists those that differ: ``[{"from_ms", "to_ms"}]``. One that is found only while it is sent
    breaks the transfer, and is listed when the clip is asked for again.
    """
    if len(reason.strip()) < REASON_MINIMUM:
        raise TiergateError(Kind.INVALID, "media.play_reason_short", minimum=REASON_MINIMUM)
    from_ms, to_ms = parse_time_ms(from_), parse_time_ms(to)
    if to_ms - from_ms > clip.LIMIT_MINUTES * 60_000:
        raise TiergateError(Kind.TOO_LARGE, "media.play_clip_too_long", limit_minutes=clip.LIMIT_MINUTES)
    hls.check_window(from_ms, to_ms)
    services = services_of(request)
    part, asked, client = playback_of(services), cast("Stream", stream), client_of(request)
    if watermark is None:
        camera, _ = await services.looks.decide(
            principal, Function.EXPORT, camera_id,
            stream=asked, from_ms=from_ms, to_ms=to_ms, purpose=purpose, client=client,
        )  # fmt: skip
        facts = Facts(asked, from_ms, to_ms, purpose, client)
        watermark = marks_export(principal, camera, services.now_ms(), facts)
    async with contextlib.AsyncExitStack() as stack:
        look = await stack.enter_async_context(
            services.looks.open(
                principal, Function.EXPORT, camera_id,
                stream=asked, from_ms=from_ms, to_ms=to_ms, purpose=purpose, reason=reason.strip(),
                case_no=case_no, client=client, watermark=watermark,
            )
        )  # fmt: skip
        pieces = await part.footage.window(camera_id, stream, from_ms, to_ms, look.constraints.lease_id)
        planned = await clip.plan(part.footage, await clip.examined(part.footage, pieces), from_ms, to_ms)
        gaps = [{"from_ms": g.from_ms, "to_ms": g.to_ms, "at_s": round(g.at_s, 3)} for g in planned.gaps]
        headers = {
            "Content-Disposition": f'attachment; filename="{clip.file_name(camera_id, planned, watermark)}"',
            "Cache-Control": "no-store",
            "X-Tiergate-Start": str(planned.start_ms),
            "X-Tiergate-End": str(planned.end_ms),
            "X-Tiergate-Gaps": json.dumps(gaps),
            "X-Tiergate-Watermark": str(watermark).lower(),
            "X-Tiergate-Damaged": json.dumps([{"from_ms": a, "to_ms": b} for a, b in planned.damaged]),
        }
        if watermark:
            mark = _words(services, look, case_no).as_mark(services.settings.node.language)
            chunks = burnt.send(part.footage, planned, part.worker, mark)
        else:
            headers["Content-Length"] = str(planned.size)
            chunks = clip.send(part.footage, planned)
        stack.push_async_callback(chunks.aclose)
        first = await anext(chunks)  # what cannot begin is said with a reason
        return Download(counted(look, first, chunks), [look], headers, "video/mp4", stack.pop_all())
    raise AssertionError("not reached")


def _words(services: Services, look: Look, case_no: str | None) -> burnt.Words:
    who, lease = look.principal, look.camera.lease(look.constraints.lease_id)
    case = case_no or (lease.case_no if lease is not None else None)
    return burnt.Words(who.unit or services.settings.node.name, who.name, services.now_ms(), case)


@router.get("/snapshot.jpg", response_class=Response)
async def snapshot(
    request: Request,
    camera_id: str,
    principal: Annotated[Principal, policy(function=Function.SNAPSHOT)],
    at: Annotated[str | None, Query(max_length=40)] = None,
    width: Width = None,
    stream: StreamName | None = None,
    purpose: Purpose = "daily_watch",
    reason: Why = "",
    case_no: CaseNo = None,
) -> Response:
    """A JPEG of now, or of a time: the key frame shown then. ``X-Tiergate-At`` is its own time."""
    at_ms = parse_time_ms(at) if at is not None else None
    services = services_of(request)
    part = playback_of(services)
    client = client_of(request)
    if stream is None:
        _, decision = await services.looks.decide(
            principal, Function.SNAPSHOT, camera_id, purpose=purpose, client=client
        )
        stream = decision.max_stream
    async with services.looks.open(
        principal, Function.SNAPSHOT, camera_id,
        stream=cast("Stream", stream), from_ms=at_ms, to_ms=at_ms + 1 if at_ms is not None else None,
        purpose=purpose, reason=reason, case_no=case_no, client=client,
    ) as look:  # fmt: skip
        lease_id = look.constraints.lease_id
        if at_ms is None:
            shot = await part.snapshots.now(StreamKey(camera_id, stream, lease_id), width)
        else:
            shot = await part.snapshots.at(camera_id, stream, at_ms, lease_id, width)
        look.add_bytes(len(shot.jpeg))
    headers = {"Cache-Control": "no-store", "X-Tiergate-At": str(shot.at_ms)}
    return Response(shot.jpeg, headers=headers, media_type="image/jpeg")
