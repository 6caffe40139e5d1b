"""The web process: the public API and the page on the listening socket, and on ``run/admin.sock`` for this machine.

It never writes footage. Two servers share one application: the life of the application belongs to the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI

from config.settings import split_listen
from gateway.compose.web import build_web
from gateway.processes import child
from gateway.rtsp.server import RtspServer
from gateway.web.app import build
from gateway.web.certificate import LiveCertificate

GRACE_S = 3  #: an endless picture must not hold a stop for minutes (MEASUREMENTS C)
_MOST_WS_BYTES = 64 * 1024  #: viewers send words, never media


class _Server(uvicorn.Server):
    """Signals belong to the process, not to the server."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def config_of(app: FastAPI, lifespan: bool, certificate: LiveCertificate | None = None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="gateway.web.http:BoundedProtocol",
        ws="gateway.web.frames:FrameProtocol",  # frames made once for all viewers of a stream
        ws_per_message_deflate=False,  # video does not shrink, and it would cost a core
        ws_max_size=_MOST_WS_BYTES,
        lifespan="on" if lifespan else "off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=None if certificate is None else str(certificate.file),
        ssl_keyfile=None if certificate is None else str(certificate.key),
        ssl_context_factory=None if certificate is None else certificate.context,
    )


def bind_admin(path: Path) -> socket.socket:
    """Only this machine's owner of the node may knock; inside, the same sign-in as anywhere."""
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        bound.bind(str(path))
    finally:
        os.umask(before)
    bound.listen(128)
    bound.setblocking(False)
    return bound


def _bind(listen: str) -> socket.socket:
    """When started by hand."""
    host, port = split_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((host, port))
    bound.listen(1024)
    bound.setblocking(False)
    return bound


def _quiet(record: logging.LogRecord) -> bool:
    """uvicorn 0.54 calls every WebSocket that was refused during its handshake an unfinished one."""
    return "without completing handshake" not in record.getMessage()


async def run(process: child.Child) -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_quiet)
    settings = process.settings
    services = build_web(settings, process.name)
    app = build(services)
    web, certificate = settings.web, None
    if web.tls_cert is not None and web.tls_key is not None:
        certificate = LiveCertificate(web.tls_cert, web.tls_key)
        services.background.append(certificate.watching)
    rtsp = services.parts.get("rtsp")
    if isinstance(rtsp, RtspServer):
        given = process.more_listeners()
        sockets = {scheme: given.get(scheme) or _bind(listen) for scheme, listen in settings.rtsp.listeners.items()}
        services.background.append(partial(rtsp.serving, sockets))
    public = _Server(config_of(app, lifespan=True, certificate=certificate))
    servers = [(public, process.listener() or _bind(web.listen))]
    if process.shard == 0:
        admin = _Server(config_of(app, lifespan=False))
        servers.append((admin, bind_admin(settings.paths.run_dir / "admin.sock")))
    tasks = [asyncio.create_task(server.serve([bound]), name="uvicorn") for server, bound in servers]
    try:
        stopping = asyncio.create_task(process.stopping.wait())
        ready = asyncio.gather(*(server.ready.wait() for server, _ in servers))
        ends: set[asyncio.Future[Any]] = {stopping, *tasks}
        await asyncio.wait({ready, *ends}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            process.ready()
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        stopping.cancel()
    finally:
        for server, _ in reversed(servers):
            server.should_exit = True
        await asyncio.gather(*tasks)
        services.catalog.close()


def main() -> None:
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    child.main("web", run)


if __name__ == "__main__":
    main()
