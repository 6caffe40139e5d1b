"""WebSocket frames made once and written to many sockets, below uvicorn's per-message work.

One picture to 100 viewers through ASGI is 100 frames serialised, each with three copies of the same 20 kB. What a
server sends is not masked (RFC 6455 §5.1), so one frame fits all. `FrameProtocol` is uvicorn's own protocol with one
more ASGI extension, ``tiergate.frames``: ``{"write": write_frame}``, which puts finished frames on the transport while
it takes them. Texts, pings and closing still go the ordinary way; a frame is written whole, so the two mix. Measured by
``benchmarks/live.py``.

Written against uvicorn 0.54. Without this protocol everything works through ASGI, only dearer.
"""

from __future__ import annotations

from asyncio import BaseTransport

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

EXTENSION = "tiergate.frames"

#: A key frame of 4 Mbit/s fits; what is in here when a right ends is still sent, so it is small.
_WRITE_BUFFER_BYTES = 256 * 1024


class FrameProtocol(WebSocketsSansIOProtocol):
    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        # A refused handshake leaves no scope. The application's task exists, but has not begun to run yet.
        if hasattr(self, "scope") and not self.config.ws_per_message_deflate:
            self.scope["extensions"][EXTENSION] = {"write": self.write_frame}

    def write_frame(self, frame: bytes) -> bool:
        """False when the transport is full, or the connection over: the caller keeps the frame. After `accept` only."""
        if self.disconnected or self.close_sent or not self.writable.is_set():
            return False
        self.transport.write(frame)
        return True
