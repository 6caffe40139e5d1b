"""What may sit at a camera's address and is none: a canary nobody should touch, and servers that mislead."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

Answer = Callable[[bytes], bytes]


class Impostor:
    """A TCP server that gives `answer(request)` to whatever comes; counts who knocked."""

    def __init__(self, answer: Answer = lambda request: b"", host: str = "127.0.0.1") -> None:
        self.host = host
        self._answer = answer
        self.knocks = 0
        self._socket = socket.create_server((host, 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, name=f"impostor-{self.port}", daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.knocks += 1
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with connection, contextlib.suppress(OSError):
            while request := connection.recv(65_536):
                connection.sendall(self._answer(request))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._socket.close()
        self._thread.join(5)


def plain_http(request: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<h1>hello</h1>"[:-1]


def garbage(request: bytes) -> bytes:
    return bytes(range(256)) * 16


def rtsp_redirect(target: str, login_first: bool = False) -> Answer:
    """Sends every RTSP client on to `target`; `login_first` asks for a password before, so that a look at the first
    answer does not give it away."""

    def answer(request: bytes) -> bytes:
        lines = request.decode(errors="replace").split("\r\n")
        sequence = next((line for line in lines if line.lower().startswith("cseq")), "CSeq: 1")
        if lines[0].startswith("OPTIONS"):
            return f"RTSP/1.0 200 OK\r\n{sequence}\r\nPublic: DESCRIBE\r\n\r\n".encode()
        if login_first and "authorization" not in request.decode(errors="replace").lower():
            return f'RTSP/1.0 401 Unauthorized\r\n{sequence}\r\nWWW-Authenticate: Basic realm="x"\r\n\r\n'.encode()
        return f"RTSP/1.0 302 Found\r\n{sequence}\r\nLocation: {target}\r\n\r\n".encode()

    return answer


def http_redirect(target: str) -> Answer:
    return lambda request: f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()
