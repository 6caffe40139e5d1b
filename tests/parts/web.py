"""A small web server on loopback, answered by a handler of the test's own, for as long as the test wants it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class QuietHandler(BaseHTTPRequestHandler):
    """Answers 501 to every method that a subclass does not have; prints nothing."""

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_server(handler: type[QuietHandler] = QuietHandler) -> Iterator[int]:
    """The server's port. The server is gone when the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    # How often it looks whether it is to end, in seconds: by itself each end would take up to half a second.
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="web-server", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
