"""Live pictures: WebSocket and chunked fMP4 for MSE, WHEP for the focused tile.

Belongs here: the three ways out and their end. Each passes under a look from before its first byte; expiry and
revocation end it within seconds, with a closing word where the protocol has one. Does not belong here: what is sent
(`gateway.live`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request, Response
from fastapi.websockets import WebSocket, WebSocketDisconnect
from starlette.types import Receive, Scope, Send

from config.errors import Kind, TiergateError
from config.reasons import Reason
from gateway.access.looks import Look
from gateway.live import fmp4_stream, whep
from gateway.live.choice import Choice, Codec, Offered, Path, Refusal, Transport, choose, parse_can
from gateway.live.hub import Entry, Notice, Picture, Started, StreamKey, Viewer
from gateway.live.service import HeldSession, LiveService
from gateway.web.downloads import SENT_BYTES
from gateway.web.frames import EXTENSION
from gateway.web.policy import client_of, policy
from gateway.web.services import Services, services_of
from gateway.web.wire import CaseNo, Why
from tiering.access import Function, Principal, Stream

router = APIRouter(prefix="/api/v1/cameras/{camera_id}", tags=["live"])
_log = logging.getLogger(__name__)

FIRST_PICTURE_S = 10.0  #: a camera that is being opened; MEASUREMENTS B2c: 2.2 s for a slow one
CLOSING_S = 1.0
ENDED, REFUSED = 4000, 4403  #: WebSocket close codes of our own range (RFC 6455 §7.4.2)
_TRIES = 3  #: a choice rests on what is known; a stream never opened may turn out to be another codec

Viewing = Annotated[Principal, policy(function=Function.LIVE)]
StreamName = Annotated[str, Query(alias="stream", pattern="^(main|sub)$")]
Can = Annotated[str | None, Query(max_length=80)]
Purpose = Annotated[str, Query(max_length=40)]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a viewer asked for."""

    services: Services
    live: LiveService
    principal: Principal
    camera_id: str
    stream: str
    transport: Transport
    can: frozenset[Codec]
    client: str
    purpose: str
    reason: str
    case_no: str | None
    audio: bool

    async def choose(self, learnt: Mapping[str, Offered]) -> tuple[Choice | Refusal, str | None]:
        """(what to serve, the lease it rests on). Raises NOT_FOUND or FORBIDDEN."""
        _, decision = await self.services.looks.decide(
            self.principal, Function.LIVE, self.camera_id, purpose=self.purpose, client=self.client
        )
        offered = await self.live.offered(self.camera_id, decision.lease_id) | dict(learnt)
        choice = choose(
            self.stream,
            offered,
            max_stream=decision.max_stream,
            can=self.can,
            transport=self.transport,
            transcoder=self.live.worker is not None,
        )
        return choice, decision.lease_id

    def look(self, choice: Choice) -> contextlib.AbstractAsyncContextManager[Look]:
        return self.services.looks.open(
            self.principal,
            Function.LIVE,
            self.camera_id,
            stream=cast("Stream", choice.stream),
            purpose=self.purpose,
            reason=self.reason,
            case_no=self.case_no,
            client=self.client,
        )

    def key(self, choice: Choice, lease_id: str | None) -> StreamKey:
        return StreamKey(self.camera_id, choice.stream, lease_id, choice.path is Path.TRANSCODE)

    def mismatch(self, started: Started, pictures: list[Picture]) -> Offered | None:
        """What the stream turned out to be, when this viewer cannot take it."""
        codec = started.config.video.codec
        b_frames = any(picture.unit.pts != picture.unit.dts for picture in pictures)
        if codec not in self.can or (self.transport == "whep" and b_frames):
            return Offered(codec, b_frames)
        return None


def _live(services: Services) -> LiveService:
    part = services.parts["live"]
    assert isinstance(part, LiveService)  # noqa: S101 - the composition put it there
    return part


# -- WebSocket -------------------------------------------------------------------------------------------------------


@router.websocket("/live.ws")
async def live_socket(
    socket: WebSocket,
    camera_id: str,
    principal: Viewing,
    stream: StreamName = "main",
    can: Can = None,
    purpose: Purpose = "daily_watch",
    reason: Why = "",
    case_no: CaseNo = None,
    audio: bool = False,
) -> None:
    """JSON texts announce, binaries are `init` and fragments. Ends with ``{"state": "ended", "reason": …}``."""
    services = services_of(socket)
    wish = _Wish(
        services, _live(services), principal, camera_id, stream, "mse", parse_can(can, "mse"), client_of(socket),
        purpose, reason, case_no, audio,
    )  # fmt: skip
    await socket.accept()
    gone = asyncio.create_task(_until_gone(socket), name="live.ws receive")
    try:
        await _serve_socket(socket, wish, gone)
    except TiergateError as error:
        await _close(socket, "refused", error.reason, REFUSED)
    except (WebSocketDisconnect, OSError, RuntimeError):
        pass  # starlette says RuntimeError when the peer left between two sends
    finally:
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)


async def _until_gone(socket: WebSocket) -> None:
    """A socket that nobody reads from would not notice its peer's leaving (MEASUREMENTS B8)."""
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass


async def _serve_socket(socket: WebSocket, wish: _Wish, gone: asyncio.Task[None]) -> None:
    learnt: dict[str, Offered] = {}
    for _ in range(_TRIES):
        choice, lease_id = await wish.choose(learnt)
        if isinstance(choice, Refusal):
            await _close(socket, "refused", choice.reason, REFUSED)
            return
        async with wish.look(choice) as look, wish.live.hub.viewer(wish.key(choice, lease_id), wish.audio) as viewer:
            pump = asyncio.create_task(_pump(socket, wish, choice, viewer, look), name="live.ws send")
            ended = asyncio.create_task(look.ended.wait(), name="live.ws look")
            try:
                await asyncio.wait({pump, ended, gone}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                why = viewer.end_reason
                viewer.end()  # nothing more goes the direct way
                look.add_bytes(viewer.direct_bytes)
                for task in (pump, ended):
                    task.cancel()
                results = await asyncio.gather(pump, ended, return_exceptions=True)
            if gone.done():
                return
            if look.ended.is_set():
                await _close(socket, "ended", look.reason or Reason("access.expired"), ENDED)
                return
            if isinstance(results[0], BaseException):
                raise results[0]
            if results[0] is None:
                await _close(socket, "ended", why, ENDED)
                return
            learnt[choice.stream] = results[0]
    await _close(socket, "refused", Reason("media.live_no_stream", {"stream": wish.stream}), REFUSED)


async def _pump(socket: WebSocket, wish: _Wish, choice: Choice, viewer: Viewer, look: Look) -> Offered | None:
    """Sends until the viewer ends (None) or the stream is one that it cannot decode."""
    extension = socket.scope.get("extensions", {}).get(EXTENSION)
    if extension is not None:
        viewer.direct = extension["write"]
    while entries := await viewer.take():
        if len(entries) == 1 and type(entries[0]) is Picture:
            data = entries[0].fragment
            await socket.send_bytes(data)
            look.add_bytes(len(data))
            continue
        for group in _grouped(entries):
            if isinstance(group, list):
                data = viewer.joined(group)
                await socket.send_bytes(data)
                look.add_bytes(len(data))
            elif isinstance(group, Started):
                if (other := wish.mismatch(group, [])) is not None:
                    return other
                await socket.send_text(_announcement(group, choice, wish.audio))
                await socket.send_bytes(fmp4_stream.init(group.config, wish.audio))
            else:
                await socket.send_text(json.dumps({"state": group.state, "reason": group.reason}))
    return None


def _grouped(entries: list[Entry]) -> list[Started | Notice | list[Picture]]:
    """Pictures that follow each other, together: as many as the server is given at once, and a large one alone."""
    groups: list[Started | Notice | list[Picture]] = []
    group_bytes = 0
    for entry in entries:
        if not isinstance(entry, Picture):
            groups.append(entry)
            continue
        group_bytes += len(entry.fragment)
        if groups and isinstance(groups[-1], list) and group_bytes <= SENT_BYTES:
            groups[-1].append(entry)
        else:
            groups.append([entry])
            group_bytes = len(entry.fragment)
    return groups


def _given(started: Started, choice: Choice) -> tuple[str, dict[str, object] | None]:
    """(the stream that is sent, why it is not the one that was asked for). A lower tier's reason to give less comes
    before ours: it may change while the picture runs."""
    note = started.granted.note or (choice.note.as_json() if choice.note else None)
    return started.granted.stream or choice.stream, note


def _headers(started: Started, choice: Choice) -> dict[str, str]:
    """The same for ways out that have no words of their own."""
    stream, note = _given(started, choice)
    return {"X-Tiergate-Stream": stream} | ({} if note is None else {"X-Tiergate-Note": json.dumps(note)})


def _announcement(started: Started, choice: Choice, audio: bool) -> str:
    stream, note = _given(started, choice)
    return json.dumps(
        fmp4_stream.announcement(started.config, stream, started.epoch, audio, path=choice.path.value, note=note),
        ensure_ascii=False,
    )


async def _close(socket: WebSocket, state: str, reason: Reason | None, code: int) -> None:
    """The closing word, if the peer still takes it."""
    with contextlib.suppress(TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
        async with asyncio.timeout(CLOSING_S):
            words = json.dumps({"state": state, "reason": reason.as_json() if reason else None}, ensure_ascii=False)
            await socket.send_text(words)
            await socket.close(code)


# -- chunked fMP4 ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Served:
    """A look and a viewer that have begun; `first` is what was taken to find that out."""

    choice: Choice
    look: Look
    viewer: Viewer
    started: Started
    first: list[Entry]


@contextlib.asynccontextmanager
async def _begun(wish: _Wish) -> AsyncIterator[_Served]:
    """Waits for the stream's parameters. Raises the refusal, or media.live_no_picture."""
    learnt: dict[str, Offered] = {}
    for _ in range(_TRIES):
        choice, lease_id = await wish.choose(learnt)
        if isinstance(choice, Refusal):
            raise TiergateError(Kind.CONFLICT, choice.reason.code, **choice.reason.params)
        async with wish.look(choice) as look, wish.live.hub.viewer(wish.key(choice, lease_id), wish.audio) as viewer:
            started, entries = await _first(viewer, look)
            other = wish.mismatch(started, [entry for entry in entries if isinstance(entry, Picture)])
            if other is None:
                yield _Served(choice, look, viewer, started, entries)
                return
            learnt[choice.stream] = other
    raise TiergateError(Kind.CONFLICT, "media.live_no_stream", stream=wish.stream)


async def _first(viewer: Viewer, look: Look) -> tuple[Started, list[Entry]]:
    """The stream's start and a picture; what came before the start is left out."""
    entries: list[Entry] = []
    try:
        async with asyncio.timeout(FIRST_PICTURE_S):
            while not any(isinstance(entry, Picture) for entry in entries):
                taken = await viewer.take()
                if not taken:
                    raise _no_picture(entries)
                entries += taken
    except TimeoutError:
        raise _no_picture(entries) from None
    if look.ended.is_set():
        reason = look.reason or Reason("access.expired")
        raise TiergateError(Kind.UNAUTHENTICATED, reason.code, **reason.params)
    at = max(index for index, entry in enumerate(entries) if isinstance(entry, Started))
    started = entries[at]
    assert isinstance(started, Started)  # noqa: S101 - by the line above
    return started, entries[at:]


def _no_picture(entries: list[Entry]) -> TiergateError:
    """With the camera's own reason when it gave one."""
    for entry in reversed(entries):
        if isinstance(entry, Notice) and entry.reason is not None and "code" in entry.reason:
            params = cast("dict[str, Any]", entry.reason.get("params") or {})
            return TiergateError(Kind.UNAVAILABLE, str(entry.reason["code"]), **params)
    return TiergateError(Kind.UNAVAILABLE, "media.live_no_picture", seconds=int(FIRST_PICTURE_S))


class _LiveFile(Response):
    """A response without end: pictures until the viewer leaves or the look is over."""

    media_type = "video/mp4"

    def __init__(self, served: _Served, stack: contextlib.AsyncExitStack, audio: bool) -> None:
        super().__init__(
            headers={
                "Cache-Control": "no-store",
                "X-Tiergate-Mime": fmp4_stream.mime(served.started.config, audio),
                **_headers(served.started, served.choice),
            }
        )
        del self.headers["content-length"]
        self._served = served
        self._stack = stack
        self._audio = audio

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            look = self._served.look
            tasks = {
                asyncio.create_task(self._send(send), name="live.mp4 send"),
                asyncio.create_task(look.ended.wait(), name="live.mp4 look"),
                asyncio.create_task(_until_left(receive), name="live.mp4 receive"),
            }
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSING_S):
                    await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send) -> None:
        served = self._served
        entries = served.first
        while entries:
            for group in _grouped(entries):
                if isinstance(group, list):
                    data = served.viewer.joined(group)
                elif isinstance(group, Started):
                    data = fmp4_stream.init(group.config, self._audio)
                else:
                    continue
                await send({"type": "http.response.body", "body": data, "more_body": True})
                served.look.add_bytes(len(data))
            entries = await served.viewer.take()


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@router.get("/live.mp4", response_class=Response)
async def live_file(
    request: Request,
    camera_id: str,
    principal: Viewing,
    stream: StreamName = "main",
    can: Can = None,
    purpose: Purpose = "daily_watch",
    reason: Why = "",
    case_no: CaseNo = None,
    audio: bool = False,
) -> Response:
    """Fragmented MP4 in chunks, from the last key frame on, until the reader leaves.

    ``X-Tiergate-Stream`` is the stream that is sent, ``X-Tiergate-Note`` why that is not the one that was asked for, as
    a reason in JSON; a lower tier may give another one while it runs.
    """
    services = services_of(request)
    wish = _Wish(
        services, _live(services), principal, camera_id, stream, "file", parse_can(can, "file"), client_of(request),
        purpose, reason, case_no, audio,
    )  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        served = await stack.enter_async_context(_begun(wish))
        return _LiveFile(served, stack.pop_all(), audio)
    raise AssertionError("not reached")


# -- WHEP ------------------------------------------------------------------------------------------------------------


@router.post("/whep", status_code=201, response_class=Response)
async def whep_open(
    request: Request,
    camera_id: str,
    principal: Viewing,
    stream: StreamName = "main",
    purpose: Purpose = "daily_watch",
    reason: Why = "",
    case_no: CaseNo = None,
) -> Response:
    """An SDP offer in, the answer out; ``DELETE`` of its ``Location`` ends the session.

    ``X-Tiergate-Stream`` is the stream that is sent, ``X-Tiergate-Note`` why that is not the one that was asked for, as
    a reason in JSON. The session ends when a lower tier gives another one, or says another reason.
    """
    services = services_of(request)
    live = _live(services)
    offer = await request.body()
    if not 0 < len(offer) <= whep.OFFER_BYTES:
        raise TiergateError(Kind.INVALID, "media.live_whep_offer")
    wish = _Wish(
        services, live, principal, camera_id, stream, "whep", parse_can(None, "whep"), client_of(request),
        purpose, reason, case_no, audio=True,
    )  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        served = await stack.enter_async_context(_begun(wish))
        # A viewer of its own: what was taken to learn the stream's parameters is older by now.
        viewer = stack.enter_context(contextlib.closing(live.hub.join(_key_of(wish, served), audio=True)))
        served.viewer.close()
        session = whep.WhepSession(viewer, services.clock, served.look.add_bytes)
        try:
            text = offer.decode("utf-8", "replace")
            sdp = await session.answer(text, served.started, wish.client, live.viewer_networks)
        except TiergateError:
            await session.close()
            raise
        held = HeldSession(session, camera_id, _subject(principal))
        name = live.hold(held)
        held.task = asyncio.create_task(
            _run_session(live, name, session, served.look, stack.pop_all()), name="whep session"
        )
        location = f"/api/v1/cameras/{camera_id}/whep/{name}"
        headers = {"Location": location, "Cache-Control": "no-store", **_headers(served.started, served.choice)}
        return Response(sdp, 201, headers, media_type="application/sdp")
    raise AssertionError("not reached")


def _key_of(wish: _Wish, served: _Served) -> StreamKey:
    return wish.key(served.choice, served.look.constraints.lease_id)


async def _run_session(
    live: LiveService, name: str, session: whep.WhepSession, look: Look, stack: contextlib.AsyncExitStack
) -> None:
    async with stack:
        tasks = {asyncio.create_task(look.ended.wait()), asyncio.create_task(session.ended.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            live.forget(name)
            await session.close()


def _subject(principal: Principal) -> str:
    """Who hangs up: of a wall the wall, for whoever was on duty when it opened may have left."""
    return principal.actor if principal.wall is None else f"wall:{principal.wall.login}"


@router.delete("/whep/{session}", status_code=204, response_class=Response)
async def whep_close(
    request: Request,
    camera_id: str,
    session: str,
    principal: Annotated[Principal, policy(signed_in=True, while_off_duty=True)],
) -> Response:
    """Only who opened it, and still when the right to look has ended: hanging up needs none. One that is over already
    is over: the two ends of a call often hang up together."""
    held = _live(services_of(request)).held(session)
    if held is None:
        return Response(status_code=204)
    if held.camera_id != camera_id or held.subject != _subject(principal):
        raise TiergateError(Kind.NOT_FOUND, "media.live_whep_gone")
    await held.session.close()
    if held.task is not None:
        await asyncio.gather(held.task, return_exceptions=True)
    return Response(status_code=204)
