"""What every request passes: origin, body limit, headers of protection, and the last net for unforeseen errors.

Plain ASGI, so that a WebSocket or an endless picture costs one function call and no buffering.
"""

from __future__ import annotations

import logging
import re
from urllib.parse import parse_qsl, urlsplit

from fastapi.requests import HTTPConnection
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from config.errors import Kind, TiergateError
from config.names import made_visible
from config.settings import Settings
from gateway.web import problems

_log = logging.getLogger(__name__)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CONTENT_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self' {sockets}; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class Guard:
    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._tls = settings.web.tls_cert is not None
        public = settings.web.public_url
        self._public = None if public is None else _origin(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        began = False

        async def guarded_send(message: Message) -> None:
            nonlocal began
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                began = True
                self._protect(scope, headers, MutableHeaders(scope=message))
            elif message["type"] == "websocket.accept":
                began = True
            await send(message)

        try:
            self._check_origin(scope, headers)
            _check_nul(scope)
            await self._app(scope, self._limited(scope, headers, receive), guarded_send)
        except TiergateError as error:
            if began:
                raise
            await problems.of_error(error)(scope, receive, guarded_send)
        except Exception as error:
            if began:
                _log.exception("error after the answer had begun in %s", scope["path"])
                raise
            await problems.internal(HTTPConnection(scope), error)(scope, receive, guarded_send)

    # --- other sites (FAULTS S25) ------------------------------------------------------------------------------------

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """A browser names the page's origin on WebSockets and unsafe methods; other programs name none."""
        if scope["type"] == "http" and scope["method"] in _SAFE:
            return
        origin = headers.get("origin")
        if origin is None:
            if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                raise TiergateError(Kind.FORBIDDEN, "web.origin", origin="-")
            return
        host = headers.get("host", "")
        scheme = "https" if scope["scheme"] in ("https", "wss") else "http"
        if _origin(origin) not in (self._public, f"{scheme}://{host}".lower()):
            raise TiergateError(Kind.FORBIDDEN, "web.origin", origin=origin[:100])

    # --- size (FAULTS S23) -------------------------------------------------------------------------------------------

    def _limited(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        too_large = TiergateError(Kind.TOO_LARGE, "web.body_too_large", limit_bytes=problems.BODY_LIMIT_BYTES)
        length = headers.get("content-length", "0")
        if scope["type"] == "websocket":
            return receive
        if not length.isascii() or not length.isdigit() or int(length) > problems.BODY_LIMIT_BYTES:
            raise too_large
        seen = 0

        async def limited() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > problems.BODY_LIMIT_BYTES:
                    raise HTTPException(413)  # the one exception that FastAPI lets through while it reads a body
            return message

        return limited

    # --- headers -----------------------------------------------------------------------------------------------------

    def _protect(self, scope: Scope, asked: Headers, headers: MutableHeaders) -> None:
        host = asked.get("host", "")
        safe = host if re.fullmatch(r"[A-Za-z0-9.:\[\]-]+", host) else ""
        sockets = f"ws://{safe} wss://{safe}" if safe else ""
        headers.setdefault("Content-Security-Policy", _CONTENT_POLICY.format(sockets=sockets))
        headers.setdefault("Referrer-Policy", "no-referrer")
        headers.setdefault("X-Content-Type-Options", "nosniff")
        headers.setdefault("X-Frame-Options", "DENY")
        headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        headers.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        if self._tls:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        # Pictures on the disk of whoever watches would outlive the footage and the right to see it (I11).
        if not scope["path"].startswith("/page/"):
            headers["Cache-Control"] = "no-store"


def _check_nul(scope: Scope) -> None:
    """No name, filter or reason has one, and PostgreSQL can neither store it nor compare with it."""
    if "\0" in scope["path"]:
        raise TiergateError(Kind.NOT_FOUND, "web.route_unknown")
    query: bytes = scope["query_string"]
    if b"%00" in query:
        named = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        field = next((name for name, value in named if "\0" in value), "query")
        raise TiergateError(Kind.INVALID, "web.body_malformed.controls", field=made_visible(field)[:120])


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()
