"""RTSP 1.0 messages as bytes and back (RFC 2326). (pure)

Belongs here: requests taken apart, frames of RTP and RTCP between them, responses, the names in a URL, `Transport`.
Does not belong here: sockets and sessions (`gateway.rtsp.connection`), what a method does.

`Parser` is total: whatever comes, it answers messages or one `Malformed` and is dead then, holds at most one head and
one body, and works in time linear in what came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

HEAD_BYTES = 8 * 1024  #: request line and headers
HEADERS = 64
BODY_BYTES = 4 * 1024  #: of SET_PARAMETER; nobody needs more
_FRAME = 0x24  #: "$" begins an interleaved frame (§10.12)

_LINE_ENDS = b"\r\n"
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_REQUEST = re.compile(r"([A-Z_]{1,20}) ([!-~]{1,2000}) (RTSP/[0-9.]{1,8})")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,60})[ \t]*:[ \t]*([ -~\t]*)")
_ONCE = frozenset({"cseq", "session", "authorization", "content-length", "transport"})

#: Phrases of the codes that are used here (RFC 2326 §7.1.1).
PHRASES: Mapping[int, str] = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request Entity Too Large",
    453: "Not Enough Bandwidth",
    454: "Session Not Found",
    455: "Method Not Valid in This State",
    459: "Aggregate Operation Not Allowed",
    461: "Unsupported Transport",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "RTSP Version not supported",
    551: "Option not supported",
}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    uri: str  #: as it came; it may hold a password and is never logged
    cseq: int
    headers: Mapping[str, str]  #: names in lower case
    body: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """RTP or RTCP from the client. What is in it is not kept: a viewer has nothing to say but that they are there."""

    channel: int
    size: int


@dataclass(frozen=True, slots=True)
class Malformed:
    """What is to be answered before the connection is closed."""

    status: int
    cseq: int | None


Message = Request | Frame | Malformed


class Parser:
    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  #: so far no head ends in the buffer
        self._skip = 0  #: of the frame that is being passed over
        self._frame: tuple[int, int] = (0, 0)
        self._head: Request | None = None  #: its body is still coming
        self._dead = False

    @property
    def partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._buffer) or self._skip > 0 or self._head is not None

    def feed(self, data: bytes) -> list[Message]:
        found: list[Message] = []
        if self._dead:
            return found
        self._buffer += data
        while (message := self._next()) is not None:
            found.append(message)
            if type(message) is Malformed:
                self._dead = True
                self._buffer.clear()
                break
        return found

    def _next(self) -> Message | None:
        if self._skip:
            passed = min(self._skip, len(self._buffer))
            del self._buffer[:passed]
            self._skip -= passed
            return Frame(*self._frame) if not self._skip else None
        if self._head is not None:
            return self._body(self._head)
        while self._buffer and self._buffer[0] in _LINE_ENDS:  # between messages (RFC 9112 §2.2)
            del self._buffer[:1]
            self._searched = 0
        if not self._buffer:
            return None
        if self._buffer[0] == _FRAME:
            return self._begin_frame()
        return self._begin_request()

    def _begin_frame(self) -> Message | None:
        if len(self._buffer) < 4:
            return None
        size = int.from_bytes(self._buffer[2:4], "big")
        self._frame = (self._buffer[1], size)
        del self._buffer[:4]
        self._skip = size
        return self._next() if size else Frame(*self._frame)

    def _begin_request(self) -> Message | None:
        end = _HEAD_END.search(self._buffer, max(0, self._searched - 3), HEAD_BYTES)
        if end is None:
            self._searched = len(self._buffer)
            return Malformed(413, None) if len(self._buffer) >= HEAD_BYTES else None
        head = bytes(self._buffer[: end.start()]).decode("latin-1")
        del self._buffer[: end.end()]
        self._searched = 0
        request = _parse_head(head)
        if isinstance(request, Malformed):
            return request
        length = request.headers.get("content-length", "0")
        if not re.fullmatch("[0-9]{1,9}", length):
            return Malformed(400, request.cseq)
        if int(length) > BODY_BYTES:
            return Malformed(413, request.cseq)
        self._head = request
        return self._body(request)

    def _body(self, request: Request) -> Message | None:
        size = int(request.headers.get("content-length", "0"))
        if len(self._buffer) < size:
            return None
        body = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._head = None
        return Request(request.method, request.uri, request.cseq, request.headers, body)


def _parse_head(head: str) -> Request | Malformed:
    lines = re.split(r"\r?\n", head)
    headers: dict[str, str] = {}
    bad = len(lines) - 1 > HEADERS
    for line in lines[1 : HEADERS + 1]:
        match = _HEADER.fullmatch(line)
        if match is None:
            bad = True
            continue
        name = match[1].lower()
        if name in headers and name in _ONCE:
            bad = True
            continue
        headers[name] = match[2].rstrip()
    number = headers.get("cseq", "")
    cseq = int(number) if re.fullmatch("[0-9]{1,10}", number) else None
    first = _REQUEST.fullmatch(lines[0])
    if first is None or bad or cseq is None:
        return Malformed(400, cseq)
    if first[3] != "RTSP/1.0":
        return Malformed(505, cseq)
    return Request(first[1], first[2], cseq, headers, b"")


def response(status: int, cseq: int | None, headers: Iterable[tuple[str, str]] = (), body: bytes = b"") -> bytes:
    """Raises ValueError for a header that would begin a line of its own."""
    lines = [f"RTSP/1.0 {status} {PHRASES[status]}"]
    if cseq is not None:
        lines.append(f"CSeq: {cseq}")
    for name, value in headers:
        if "\r" in value or "\n" in value:
            raise ValueError("a header in two lines")
        lines.append(f"{name}: {value}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join((*lines, "", "")).encode() + body


# --- names in a URL ---------------------------------------------------------------------------------------------------

_TARGET = re.compile(
    r"(?P<scheme>rtsps?)://(?:[^/@?#]*@)?(?P<host>[^/@?#]+)/(?P<camera>[0-9]{20})/(?P<stream>main|sub)"
    r"(?:/trackID=(?P<track>[12]))?/?(?:\?[^#]*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL names. Two that differ in the track alone name the same stream."""

    camera: str
    stream: str  #: main, sub
    track: int | None  #: 1 pictures, 2 sound; None: both
    base: str  #: the stream's own URL, without any password

    @property
    def key(self) -> tuple[str, str]:
        return self.camera, self.stream


def target_of(uri: str) -> Target | None:
    """``rtsp://host/<camera>/<main|sub>[/trackID=<1|2>]``."""
    match = _TARGET.fullmatch(uri)
    if match is None:
        return None
    stream = match["stream"].lower()
    base = f"{match['scheme'].lower()}://{match['host']}/{match['camera']}/{stream}/"
    return Target(match["camera"], stream, None if match["track"] is None else int(match["track"]), base)


# --- transport --------------------------------------------------------------------------------------------------------


def interleaved_channels(transport: str, taken: frozenset[int] = frozenset()) -> tuple[int, int] | None:
    """The channels of RTP and RTCP for the first offer of `transport` (§12.39) that goes over this connection; others
    than asked for when those are `taken`. None: it offers nothing of that kind."""
    for offer in transport.split(","):
        words = [word.strip().lower() for word in offer.split(";")]
        modes = [word.partition("=")[2].strip('"') for word in words if word.startswith("mode=")]
        if words[0] != "rtp/avp/tcp" or "multicast" in words or any(mode != "play" for mode in modes):
            continue
        asked = next((word for word in words if word.startswith("interleaved=")), "")
        match = re.fullmatch(r"interleaved=([0-9]{1,3})(?:-([0-9]{1,3}))?", asked)
        if match is not None:
            first = int(match[1])
            second = int(match[2]) if match[2] else first + 1
            if second == first + 1 <= 255 and not {first, second} & taken:
                return first, second
        free = next(n for n in range(0, 256, 2) if not {n, n + 1} & taken)
        return free, free + 1
    return None
