"""Session paths ``/m/<session>/…``: the pieces of a playlist, each checked against its session.

Belongs here: init segments, entries, key frames, the playlist again, the end of a session. Does not belong here:
opening a session (`gateway.web.routers.playback`), its life (`gateway.access.media_sessions`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter

from config.errors import Kind, TiergateError
from gateway.access.looks import Look
from gateway.playback import hls
from gateway.playback.footage import Piece
from gateway.web.downloads import Pictures, counted
from gateway.web.policy import client_of, policy
from gateway.web.routers.playback import PLAYLIST, playback_of
from gateway.web.services import services_of
from storage.media.playback_index import PlaybackEntry
from tiering.access import Principal

router = APIRouter(prefix="/m/{session}", tags=["media"])

Session = Annotated[str, PathParameter(max_length=64)]
ByPath = Annotated[Principal | None, policy(path_session=True)]
SegmentId = Annotated[str, PathParameter(pattern="^[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
Ordinal = Annotated[int, PathParameter(ge=0, le=100_000)]

ENTRY = "video/mp4"


async def _look_and_piece(request: Request, session: str, segment_id: str) -> tuple[Look, Piece]:
    """Raises NOT_FOUND for whatever is not of this session: another camera's segment, another time."""
    services = services_of(request)
    look = await services.media_sessions.check(session, client_of(request))
    facts = look.facts
    from_ms, to_ms = facts.from_ms, facts.to_ms
    if from_ms is None or to_ms is None:
        raise TiergateError(Kind.NOT_FOUND, "media.play_session_gone")
    lease_id = look.constraints.lease_id
    piece = await playback_of(services).footage.piece(
        look.camera.id, facts.stream or "main", segment_id, from_ms, to_ms, lease_id
    )  # fmt: skip
    if piece is None or piece.end_ms <= from_ms or piece.start_ms >= to_ms:
        raise TiergateError(Kind.NOT_FOUND, "media.play_nothing")
    return look, piece


def _entry(look: Look, piece: Piece, ordinal: int) -> PlaybackEntry:
    """An entry is of the session when it touches its window: a segment reaches beyond it on both sides."""
    entry = hls.entry_of(piece, ordinal)
    from_ms, to_ms = look.facts.from_ms or 0, look.facts.to_ms or 0
    if entry.end_ms <= from_ms or entry.start_ms >= to_ms:
        raise TiergateError(Kind.NOT_FOUND, "media.play_nothing")
    return entry


@router.get("/index.m3u8", response_class=Response)
async def index(
    request: Request, session: Session, _: ByPath, speed: Annotated[str, Query(max_length=20)] = "1"
) -> Response:
    """The session's playlist again, for another speed."""
    services = services_of(request)
    wanted_speed = hls.parse_speed(speed)
    look = await services.media_sessions.check(session, client_of(request))
    from_ms, to_ms = look.facts.from_ms or 0, look.facts.to_ms or 0
    pieces = await playback_of(services).footage.window(
        look.camera.id, look.facts.stream or "main", from_ms, to_ms, look.constraints.lease_id
    )
    text = hls.playlist(pieces, from_ms, to_ms, wanted_speed, f"/m/{session}")
    return Response(text, headers={"Cache-Control": "no-store"}, media_type=PLAYLIST)


@router.get("/init/{segment_id}.mp4", response_class=Response)
async def init(request: Request, session: Session, segment_id: SegmentId, _: ByPath) -> Response:
    """The video-only init segment of the segment's run."""
    look, piece = await _look_and_piece(request, session, segment_id)
    data = await hls.init(playback_of(services_of(request)).footage, piece)
    look.add_bytes(len(data))
    return Response(data, media_type=ENTRY)


@router.get("/seg/{segment_id}/{ordinal}.m4s", response_class=Response)
async def entry(request: Request, session: Session, segment_id: SegmentId, ordinal: Ordinal, _: ByPath) -> Response:
    """The video fragments from one key frame to the next; byte ranges are served."""
    look, piece = await _look_and_piece(request, session, segment_id)
    found = _entry(look, piece, ordinal)
    headers = {"Accept-Ranges": "bytes"}
    try:
        wanted = hls.parse_range(request.headers.get("range"), found.size)
    except ValueError:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{found.size}"})
    body = hls.entry_body(playback_of(services_of(request)).footage, piece, found, wanted)
    if wanted is not None:
        headers["Content-Range"] = f"bytes {wanted[0]}-{wanted[1]}/{found.size}"
    headers["Content-Length"] = str(body.size)
    # The first chunk before the status line: what cannot be read is an error, not a broken body.
    first = await anext(body.chunks)
    return Pictures(
        counted(look, first, body.chunks), [look], headers, ENTRY, status_code=200 if wanted is None else 206
    )


@router.get("/key/{segment_id}/{ordinal}.m4s", response_class=Response)
async def key(request: Request, session: Session, segment_id: SegmentId, ordinal: Ordinal, _: ByPath) -> Response:
    """The entry's key frame alone, as long as the entry."""
    look, piece = await _look_and_piece(request, session, segment_id)
    footage = playback_of(services_of(request)).footage
    data = await hls.key_frame(footage, piece, _entry(look, piece, ordinal))
    look.add_bytes(len(data))
    return Response(data, media_type=ENTRY)


@router.delete("", status_code=204, response_class=Response)
async def close(request: Request, session: Session, _: ByPath) -> Response:
    """The viewer is done."""
    services = services_of(request)
    await services.media_sessions.check(session, client_of(request))
    await services.media_sessions.end(session)
    return Response(status_code=204)
