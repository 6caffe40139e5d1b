"""`RtspGate`: stands between an RTSP client and a real server and understands what they say.

It passes requests, answers and interleaved frames on as they are; a test makes it misbehave by overriding `request`,
`answer` and `frame`, switched by `active`, or by `slow_from`. For faults of the conversation and of single frames;
`TcpRelay` is for faults of the line. Counts connections, requests, frames.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, Self


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer, as it came."""

    raw: bytes

    @property
    def first_line(self) -> str:
        return self.raw.split(b"\r\n", 1)[0].decode(errors="replace")

    @property
    def method(self) -> str:
        """Of a request."""
        return self.first_line.split(" ", 1)[0]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.first_line.split(" ")[1])

    def header(self, name: str) -> str | None:
        found = re.search(rb"(?im)^" + re.escape(name.encode()) + rb":\s*(.*?)\r?$", self.raw)
        return found[1].decode(errors="replace") if found else None


def reply(request: Message, status: str, *headers: str) -> bytes:
    """An answer of the gate's own."""
    return "\r\n".join([f"RTSP/1.0 {status}", f"CSeq: {request.header('CSeq')}", *headers, "", ""]).encode()


@dataclass(eq=False)
class Talk:
    """One connection through the gate."""

    near: socket.socket
    far: socket.socket
    asked: dict[str, Message] = field(default_factory=dict)  #: by CSeq
    slow: bool = False  #: a byte a second to the client
    began_s: float = field(default_factory=time.monotonic)
    frames: int = 0
    first_frame_s: float | None = None

    def close(self) -> None:
        for one in (self.near, self.far):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class RtspGate:
    """Forwards to `target_port` on loopback."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        #: From the answer to this method on the client gets a byte a second; "MEDIA": from the first frame on.
        self.slow_from: str | None = None
        self.active = False  #: whether the fault of a subclass is on
        self.hits = 0  #: how often it has struck
        self.connections = 0
        self.requests: Counter[str] = Counter()
        self.frames = 0  #: passed on
        self.slow_bytes = 0
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._socket.getsockname()[1]
        self._talks: set[Talk] = set()
        self._lock = threading.Lock()
        self._over = False
        self._thread = threading.Thread(target=self._serve, name=f"rtsp-gate-{self.port}", daemon=True)

    # --- to be overridden ------------------------------------------------------------------------

    def request(self, talk: Talk, request: Message) -> bytes | None:
        """The gate's own answer; None: the server is asked."""
        return None

    def answer(self, talk: Talk, request: Message, answer: Message) -> bytes:
        """What the client gets instead of `answer`."""
        return answer.raw

    def frame(self, talk: Talk, channel: int, frame: bytes) -> Iterable[bytes]:
        """What the client gets for an interleaved frame, its four bytes of head included."""
        return (frame,)

    # --- life ------------------------------------------------------------------------------------

    def cut(self) -> int:
        """Closes every connection; answers how many."""
        with self._lock:
            talks = list(self._talks)
        for talk in talks:
            talk.close()
        return len(talks)

    @property
    def open_connections(self) -> int:
        return len(self._talks)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._socket.close()
        self.cut()
        self._thread.join(5)

    # --- inside ----------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._over:
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            try:
                far = socket.create_connection(("127.0.0.1", self.target_port), 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            talk = Talk(near, far)
            with self._lock:
                self._talks.add(talk)
            for work in (self._from_client, self._from_server):
                threading.Thread(target=self._guarded, args=(work, talk), daemon=True).start()

    def _guarded(self, work: Callable[[Talk], None], talk: Talk) -> None:
        try:
            work(talk)
        except (OSError, EOFError, ValueError):
            pass
        finally:
            talk.close()
            with self._lock:
                if talk in self._talks:
                    self._talks.discard(talk)
                else:  # the other side has ended before
                    talk.near.close()
                    talk.far.close()

    def _from_client(self, talk: Talk) -> None:
        reader = talk.near.makefile("rb")
        while True:
            head = reader.read(1)
            if not head:
                raise EOFError
            if head == b"$":
                talk.far.sendall(head + _rest_of_frame(reader))
                continue
            request = _rest_of_message(head, reader)
            self.requests[request.method] += 1
            own = self.request(talk, request)
            if own is not None:
                self._send(talk, own)
            else:
                talk.asked[request.header("CSeq") or ""] = request
                talk.far.sendall(request.raw)

    def _from_server(self, talk: Talk) -> None:
        reader = talk.far.makefile("rb")
        while True:
            head = reader.read(1)
            if not head:
                raise EOFError
            if head == b"$":
                rest = _rest_of_frame(reader)
                if self.slow_from == "MEDIA":
                    talk.slow = True
                if rest[0] % 2 == 0:
                    talk.first_frame_s = talk.first_frame_s or time.monotonic()
                    talk.frames += 1
                    self.frames += 1
                for piece in self.frame(talk, rest[0], head + rest):
                    self._send(talk, piece)
                continue
            answer = _rest_of_message(head, reader)
            request = talk.asked.pop(answer.header("CSeq") or "", None)
            if request is not None and request.method == self.slow_from:
                talk.slow = True
            self._send(talk, answer.raw if request is None else self.answer(talk, request, answer))

    def _send(self, talk: Talk, data: bytes) -> None:
        if not talk.slow:
            talk.near.sendall(data)
            return
        for index in range(len(data)):
            talk.near.sendall(data[index : index + 1])
            self.slow_bytes += 1
            time.sleep(1.0)  # the fault itself


def _rest_of_frame(reader: BinaryIO) -> bytes:
    head = _exactly(reader, 3)
    return head + _exactly(reader, struct.unpack(">H", head[1:])[0])


def _rest_of_message(first: bytes, reader: BinaryIO) -> Message:
    raw = first
    while not raw.endswith(b"\r\n\r\n"):
        raw += _exactly(reader, 1)
    length = Message(raw).header("Content-Length")
    return Message(raw + (_exactly(reader, int(length)) if length else b""))


def _exactly(reader: BinaryIO, count: int) -> bytes:
    data = reader.read(count)
    if len(data) < count:
        raise EOFError
    return data
