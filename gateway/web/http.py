"""HTTP/1.1 as uvicorn's httptools protocol speaks it, with bounds before the application is asked (FAULTS S23).

A request that never ends its head costs a descriptor for ever, and one whose head never ends costs memory without
bound: the parser has a limit for neither, and no middleware is called before the head is whole. So the head has a size
and a deadline, and the rest of a request has a deadline.

Written against uvicorn 0.54. Belongs here: those bounds. Does not belong here: the size of bodies
(`gateway.web.middleware`), WebSockets (`gateway.web.frames`).
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_BYTES = 64 * 1024  #: of the request line and all headers; a department's token is 16 kB at most
HEAD_S = 20.0  #: from the connection, or from the first byte of a later request, to the end of the head
BODY_S = 60.0  #: from there to the end of the body, which is 1 MiB at most


class BoundedProtocol(HttpToolsProtocol):
    _in_head = True
    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        self._until(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._until(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES + len(data):  # what came before this piece was too much already
                self._refuse(b"431 Request Header Fields Too Large")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._until(HEAD_S)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._until(BODY_S)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._head_bytes = True, 0
        self._until(None)
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._until(None)
        super().handle_websocket_upgrade()

    def _until(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._deadline = None
        self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        """Before the application knows of anything; while it answers, the connection is only closed."""
        if self.transport.is_closing():
            return
        begun: RequestResponseCycle | None = self.cycle  # uvicorn declares it without the None that it begins with
        if self._in_head and not self.pipeline and (begun is None or begun.response_complete):
            self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()
