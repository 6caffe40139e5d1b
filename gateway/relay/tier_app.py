"""The HTTP rim that other nodes see: `/tier/v1/…` on the relay's own listener.

Belongs here: paths, bodies with their bound, signatures of answers, problem+json, streaming. What is done with a
request is `tiering.server` and `tiering.live_server`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from config.errors import Kind, TiergateError
from config.units import parse_time_ms
from gateway.relay.agreement import Agreement
from gateway.relay.limits import LinkLimits, Of
from storage.catalog.links import LinkRow
from tiering import wire
from tiering.live_server import LiveSession
from tiering.ports import LiveFrames
from tiering.server import TierServer
from tiering.signing import NONCE, SIGNATURE, sign_answer

_log = logging.getLogger(__name__)

ABORT = "abort"  #: in the scope's state: cuts the connection
STALLED_S = 10.0
#: With what waits before it: a client that takes so much in `STALLED_S` has a sixth of what a small stream needs.
PIECE_BYTES = 64 * 1024

T = TypeVar("T")
Handler = Callable[[LinkRow, Request, dict[str, Any]], Awaitable[dict[str, Any] | bytes]]


def problem(error: TiergateError) -> Response:
    """RFC 9457 with our reason code; the same shape as the public API's."""
    body = {"type": "about:blank", "title": error.kind.value, "status": error.http_status, **error.reason.as_json()}
    headers = {"Retry-After": str(error.reason.params.get("seconds", 5))} if error.kind is Kind.RATE_LIMITED else None
    return Response(json.dumps(body), error.http_status, headers, media_type="application/problem+json")


async def read_body(request: Request, limit: int = wire.BODY_MAX_BYTES) -> bytes:
    """Raises tier.body_too_large before the rest is read."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise TiergateError(Kind.TOO_LARGE, "tier.body_too_large", limit_bytes=limit)
    return bytes(body)


def target_of(request: Request) -> str:
    """Path and query as they were sent: what the signature is over."""
    raw: bytes = request.scope.get("raw_path") or request.url.path.encode()
    query: bytes = request.scope.get("query_string", b"")
    return (raw + (b"?" + query if query else b"")).decode("ascii", "replace")


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What `work` answers, or its end when the asker goes: nothing is done, and nothing waits, for nobody. The body of
    the request was read. Raises ClientDisconnect."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_until_left(request), name="until the asker leaves")
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _until_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def guarded(work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Errors become problems; what we did not foresee becomes an id that stands in the log."""

    async def endpoint(request: Request) -> Response:
        try:
            return await work(request)
        except TiergateError as exc:
            return problem(exc)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            error_id = secrets.token_hex(6)
            _log.exception("request failed", extra={"error_id": error_id})
            return problem(TiergateError(Kind.ENVIRONMENT, "internal", error_id=error_id))

    return endpoint


def build(server: TierServer, frames: LiveFrames, agreement: Agreement, limits: LinkLimits) -> Starlette:
    running: WeakValueDictionary[tuple[str, str, str, str], LiveSession] = WeakValueDictionary()

    async def authenticated(request: Request, of: Of | None) -> tuple[LinkRow, bytes]:
        body = await read_body(request)
        headers, before = dict(request.headers), agreement.sighting()
        link = await server.authenticate(request.method, target_of(request), headers, body)
        if of is not None:
            limits.call(of, link)
        await agreement.heard(before)
        return link, body

    def signed(request: Request, content: bytes, media_type: str) -> Response:
        signature = sign_answer(server.signer, request.headers.get(NONCE, ""), 200, content)
        return Response(content, 200, {SIGNATURE: signature}, media_type)

    def call(handler: Handler, of: Of | None = "asked") -> Callable[[Request], Awaitable[Response]]:
        async def work(request: Request) -> Response:
            link, body = await authenticated(request, of)
            answer = await handler(link, request, wire.parse(body) if body else {})
            if isinstance(answer, bytes):
                return signed(request, answer, "application/octet-stream")
            return signed(request, json.dumps(answer).encode(), "application/json")

        return guarded(work)

    async def accept(request: Request) -> Response:
        limits.stranger(request.client.host if request.client is not None else "")
        body = await read_body(request)
        answer = await server.accept_link(target_of(request), dict(request.headers), body)
        return signed(request, json.dumps(answer).encode(), "application/json")

    async def directory(link: LinkRow, request: Request, _: dict[str, Any]) -> dict[str, Any]:
        return await server.directory(link, request.query_params.get("known"))

    async def use_report(link: LinkRow, request: Request, _: dict[str, Any]) -> dict[str, Any]:
        return await server.use_report(link, request.query_params.get("month", ""))

    async def lease(link: LinkRow, _: Request, value: dict[str, Any]) -> dict[str, Any]:
        return await server.request_lease(link, value)

    async def confirm(link: LinkRow, request: Request, value: dict[str, Any]) -> dict[str, Any]:
        return await server.confirm(link, request.path_params["lease"], value)

    async def renew(link: LinkRow, request: Request, value: dict[str, Any]) -> dict[str, Any]:
        return await server.renew(link, request.path_params["lease"], value)

    async def end(link: LinkRow, request: Request, value: dict[str, Any]) -> dict[str, Any]:
        return await server.end(link, request.path_params["lease"], value)

    async def index(link: LinkRow, request: Request, _: dict[str, Any]) -> dict[str, Any]:
        query = request.query_params
        return await server.index(
            link, request.path_params["lease"], request.path_params["camera"], query.get("stream", "main"),
            parse_time_ms(query.get("from", "")), parse_time_ms(query.get("to", "")),
        )  # fmt: skip

    async def segment(link: LinkRow, request: Request, _: dict[str, Any]) -> bytes:
        offset, length = number(request, "offset", 0), number(request, "length", wire.RANGE_MAX_BYTES)
        lease_id, segment_id = request.path_params["lease"], request.path_params["segment"]
        return await while_there(request, server.segment(link, lease_id, segment_id, offset, length))

    async def purged(link: LinkRow, _: Request, value: dict[str, Any]) -> dict[str, Any]:
        return await server.purge_statement(link, value)

    async def heads(link: LinkRow, _: Request, value: dict[str, Any]) -> dict[str, Any]:
        return await server.heads(link, value)

    async def certificates(link: LinkRow, _: Request, value: dict[str, Any]) -> dict[str, Any]:
        return await server.certificates(link, value)

    async def notice(link: LinkRow, _: Request, value: dict[str, Any]) -> dict[str, Any]:
        return await server.notice(link, value)

    async def live(request: Request) -> Response:
        link, _ = await authenticated(request, "asked")
        params = request.path_params
        wanted = request.query_params.get("stream", "main")
        key = (link.id, params["lease"], params["camera"], wanted)
        if (before := running.get(key)) is not None:  # its connection broke, and here nobody has noticed yet
            await before.give_way()
        session = LiveSession(server, frames, link, params["lease"], params["camera"], wanted)
        await session.start()
        running[key] = session
        headers = {"cache-control": "no-store", "x-stream": session.stream}
        return LiveResponse(session.chunks(), session, headers)

    return Starlette(
        routes=[
            Route("/tier/v1/links/accept", guarded(accept), methods=["POST"]),
            Route("/tier/v1/directory", call(directory), methods=["GET"]),
            Route("/tier/v1/reports/use", call(use_report), methods=["GET"]),
            Route("/tier/v1/leases", call(lease, "written"), methods=["POST"]),
            Route("/tier/v1/leases/{lease}/confirm", call(confirm), methods=["POST"]),
            Route("/tier/v1/leases/{lease}/renew", call(renew), methods=["POST"]),
            Route("/tier/v1/leases/{lease}/end", call(end), methods=["POST"]),
            Route("/tier/v1/leases/{lease}/live/{camera}", guarded(live), methods=["GET"]),
            Route("/tier/v1/leases/{lease}/index/{camera}", call(index), methods=["GET"]),
            Route("/tier/v1/leases/{lease}/segments/{segment}", call(segment, None), methods=["GET"]),
            Route("/tier/v1/purge-statements", call(purged, "written"), methods=["POST"]),
            Route("/tier/v1/heads", call(heads, "heads"), methods=["POST"]),
            Route("/tier/v1/certificates", call(certificates, "written"), methods=["POST"]),
            Route("/tier/v1/notices", call(notice, "written"), methods=["POST"]),
            Route("/{rest:path}", guarded(unknown), methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]),
        ]
    )


async def unknown(_: Request) -> Response:
    raise TiergateError(Kind.NOT_FOUND, "tier.route_unknown")


def number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field=name)
    return int(text)


class LiveResponse(StreamingResponse):
    """Streams a session; its place on the line is given back even if the client left before the first byte.

    A client that stops reading keeps its connection, and what was sent to it on its way, for ever. Its session ends
    when it must (`LiveSession.overstayed`) and when `PIECE_BYTES` do not leave within `STALLED_S`. The connection is
    cut then: closing it would wait for the client.
    """

    def __init__(self, chunks: AsyncGenerator[bytes, None], session: LiveSession, headers: dict[str, str]) -> None:
        super().__init__(chunks, 200, headers, "video/mp4")
        self._chunks = chunks
        self._session = session
        self._sending_since_s: float | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def in_pieces(message: Any) -> None:
            for piece in _pieces(message):
                self._sending_since_s = asyncio.get_running_loop().time()
                await send(piece)
            self._sending_since_s = None

        streaming = asyncio.create_task(super().__call__(scope, receive, in_pieces), name="live stream")
        endings = [
            asyncio.create_task(self._session.overstayed(), name="until the session must end"),
            asyncio.create_task(self._stalled(), name="until the client stops reading"),
        ]
        try:
            await asyncio.wait({streaming, *endings}, return_when=asyncio.FIRST_COMPLETED)
            if not streaming.done():
                scope["state"][ABORT]()
            for task in (streaming, *endings):
                if task.done():
                    task.result()
        finally:
            for task in (streaming, *endings):
                task.cancel()
            await asyncio.gather(streaming, *endings, return_exceptions=True)
            await self._chunks.aclose()
            await self._session.close()

    async def _stalled(self) -> None:
        time = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(STALLED_S / 10)
            if self._sending_since_s is not None and time() - self._sending_since_s >= STALLED_S:
                return


def _pieces(message: Any) -> Iterator[Any]:
    body = message.get("body", b"")
    if len(body) <= PIECE_BYTES:
        yield message
        return
    for begin in range(0, len(body), PIECE_BYTES):
        end = begin + PIECE_BYTES
        yield {**message, "body": body[begin:end], "more_body": message["more_body"] or end < len(body)}
