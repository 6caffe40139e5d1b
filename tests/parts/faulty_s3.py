"""An HTTP proxy in front of a real S3 server that fails as stores and networks do. Counts every hit.

Without a fault it changes nothing: the conformance suite of stores passes through it. Each `Fault` is tried on each
request in the order they were added, with its share of luck; the first that strikes is the request's fate.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3

from tests.parts.s3 import S3Server

_CHUNK_BYTES = 64 * 1024
_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}
_SKEW_ALLOWED = timedelta(minutes=15)  #: as S3 does


class Kind(Enum):
    ERROR = "error"  #: 503 SlowDown; the server hears nothing
    UNKNOWN = "unknown"  #: 501 NotImplemented, of a server that lacks this kind of request
    RESET = "reset"  #: RST in the middle of the body
    DROP_ANSWER = "drop_answer"  #: the server takes it all; its answer is lost, by RST
    FORGET = "forget"  #: 200 and an ETag; the server hears nothing
    STALL = "stall"  #: the body is taken to its middle, then nothing, until `flow` or the client goes
    THROTTLE = "throttle"  #: the body is taken at `rate_bps`
    DUPLICATE = "duplicate"  #: the server gets the request twice; the second answer counts


@dataclass(eq=False)
class Fault:
    kind: Kind
    methods: frozenset[str] = frozenset({"PUT"})
    share: float = 1.0
    times: int | None = None  #: how often it may strike; None: no limit
    rate_bps: float = 0.0
    hits: int = 0

    def strikes(self, method: str, dice: random.Random) -> bool:
        if method not in self.methods or (self.times is not None and self.hits >= self.times):
            return False
        return self.share >= 1.0 or dice.random() < self.share


@dataclass
class FaultyS3:
    """In front of `server`; connect to `port`. `skew`: the store's clock goes wrong by so much."""

    server: S3Server
    seed: int = 1
    skew: timedelta | None = None
    hits: Counter[str] = field(default_factory=Counter)  #: of faults by kind, and `skewed` refusals
    requests: Counter[str] = field(default_factory=Counter)  #: by method, all of them
    away: bool = False  #: every connection is reset at once

    def __post_init__(self) -> None:
        self._faults: list[Fault] = []
        self._dice = random.Random(self.seed)
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, prefix: str) -> dict[str, str]:
        """A node's ``[store]`` table for the server behind this proxy."""
        return {**self.server.settings(prefix), "endpoint": self.url}

    def add(self, kind: Kind, methods: str = "PUT", **more: Any) -> Fault:
        self._flowing.clear()
        fault = Fault(kind, frozenset(methods.split()), **more)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """No faults any more; what is stalled goes."""
        with self._lock:
            self._faults.clear()
        self._flowing.set()

    def fate_of(self, method: str) -> Fault | None:
        with self._lock:
            self.requests[method] += 1
            for fault in self._faults:
                if fault.strikes(method, self._dice):
                    fault.hits += 1
                    self.hits[fault.kind.value] += 1
                    return fault
        return None

    def wait_for_flow(self, seconds: float) -> None:
        self._flowing.wait(seconds)

    def start(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self.clear()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: FaultyS3

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(self._now(), usegmt=True)

    def _now(self) -> datetime:
        return datetime.now(UTC) + (self.server.proxy.skew or timedelta())

    def do_ANY(self) -> None:
        proxy = self.server.proxy
        if proxy.away:
            proxy.hits["away"] += 1
            return self._reset()
        length = int(self.headers.get("Content-Length") or 0)
        fault = proxy.fate_of(self.command)
        kind = fault.kind if fault is not None else None
        if self._is_skewed():
            proxy.hits["skewed"] += 1
            self._swallow(length)
            return self._refuse(403, "RequestTimeTooSkewed")
        if kind is Kind.RESET:
            self._swallow(length // 2)
            return self._reset()
        if kind is Kind.STALL:
            self._swallow(length // 2)
            proxy.wait_for_flow(60)
            return self._reset()
        body = self._swallow(length, fault.rate_bps if fault is not None and kind is Kind.THROTTLE else 0.0)
        if kind is Kind.ERROR:
            return self._refuse(503, "SlowDown")
        if kind is Kind.UNKNOWN:
            return self._refuse(501, "NotImplemented")
        if kind is Kind.FORGET:
            return self._answer(200, [("ETag", '"d41d8cd98f00b204e9800998ecf8427e"')], b"")
        if kind is Kind.DUPLICATE:
            self._forward(body)
        try:
            status, headers, data = self._forward(body)
        except OSError:  # the server behind is gone: so is this connection
            return self._reset()
        if kind is Kind.DROP_ANSWER:
            return self._reset()
        return self._answer(status, headers, data)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = do_ANY  # the names of http.server

    def _is_skewed(self) -> bool:
        signed = self.headers.get("x-amz-date")
        if self.server.proxy.skew is None or signed is None:
            return False
        told = datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return abs(told - self._now()) > _SKEW_ALLOWED

    def _swallow(self, length: int, rate_bps: float = 0.0) -> bytes:
        pieces: list[bytes] = []
        while length > 0:
            piece = self.rfile.read(min(length, 4096 if rate_bps else _CHUNK_BYTES))
            if not piece:
                raise ConnectionError("the client went away")
            if rate_bps:
                time.sleep(len(piece) * 8 / rate_bps)  # the throttle itself
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        proxy = self.server.proxy
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP}
        if proxy.skew is not None and "Authorization" in headers:
            headers = self._signed_for_now(headers)
        upstream = http.client.HTTPConnection("127.0.0.1", proxy.server.port, timeout=60)
        with contextlib.closing(upstream):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            told = [(k, v) for k, v in answer.getheaders() if k.lower() not in _HOP]
            return answer.status, told, answer.read()

    def _signed_for_now(self, headers: dict[str, str]) -> dict[str, str]:
        """The server behind has a right clock; a signature for another time would be refused there."""
        now = datetime.now(UTC)
        kept = {k: v for k, v in headers.items() if k.lower() not in ("authorization", "x-amz-date")}
        content = next(v for k, v in kept.items() if k.lower() == "x-amz-content-sha256")
        server = self.server.proxy.server
        return {
            str(name): str(value)
            for name, value in sign_v4_s3(
                method=self.command,
                url=urlsplit(f"http://{self.headers['Host']}{self.path}"),
                region=server.region,
                headers={**kept, "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ")},
                credentials=Credentials(server.access_key, server.secret_key),
                content_sha256=content,
                date=now,
            ).items()
        }

    def _refuse(self, status: int, code: str) -> None:
        data = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self._answer(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(data)))], data)

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response_only(status)
        skewed = self.server.proxy.skew is not None
        names = {name.lower() for name, _ in headers}
        for name, value in headers:
            if not (skewed and name.lower() == "date"):
                self.send_header(name, value)
        if skewed or "date" not in names:
            self.send_header("Date", self.date_time_string())
        if "content-length" not in names and status not in (204, 304):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _reset(self) -> None:
        """RST instead of an answer."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The files that http.server made of the socket keep it open; the kernel's descriptor is what must go.
        with contextlib.suppress(OSError):
            self.rfile.close()
        self.connection.close()
