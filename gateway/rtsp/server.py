"""The RTSP side of a web process: listening, how many may connect, counting.

Off unless `rtsp.listen` or `rtsp.tls_listen` says where. Belongs here: connections as a whole. Does not belong here:
one client's talk (`gateway.rtsp.connection`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from config.errors import TiergateError
from gateway.access import digest, stream_passwords
from gateway.access.passwords import LoginLimit
from gateway.live.service import LiveService
from gateway.ops.tasks import Tasks
from gateway.rtsp.connection import Connection, Limits, declared
from gateway.web.certificate import LiveCertificate
from gateway.web.services import Services
from storage.audit import log as audit
from tiering.access import Principal

_log = logging.getLogger(__name__)

#: Connections from one address that have not signed in yet. A recorder with many cameras signs in at once.
STRANGERS = 32
GRACE_S = 2.0  #: in which a connection that was hung up on has ended by itself


@dataclass(slots=True)
class RtspCounters:
    """Since the process began."""

    malformed: int = 0  #: connections closed for what is no RTSP
    turned_away: int = 0  #: connections closed unheard, because there were too many
    refused: Counter[str] = field(default_factory=Counter)  #: requests refused, by reason code


class RtspServer:
    """One per web process."""

    def __init__(self, services: Services, live: LiveService, limits: Limits | None = None) -> None:
        """Raises LookupError for a method without a policy."""
        self.services = services
        self.live = live
        self.limits = limits or Limits()
        self.methods = declared(Connection)
        self.public = ", ".join(sorted(self.methods))
        self.counters = RtspCounters()
        self.tasks = Tasks()
        #: Not the one of sign-ins: a recorder that goes on with an old password must not keep people out.
        self._login_limit = LoginLimit(services.clock)
        self._judging = asyncio.Lock()
        self._connections: set[Connection] = set()

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def streams(self) -> int:
        return sum(connection.playing for connection in self._connections)

    @contextlib.asynccontextmanager
    async def serving(self, sockets: Mapping[str, socket.socket]) -> AsyncIterator[None]:
        """Takes connections on `sockets` (by scheme, rtsp and rtsps) until the block ends; then all are closed. Raises
        what loading web's certificate raises."""
        async with contextlib.AsyncExitStack() as stack:
            servers: list[asyncio.Server] = []
            for scheme, bound in sockets.items():
                secured: dict[str, Any] = {}
                if scheme == "rtsps":
                    certificate = self._certificate()
                    await stack.enter_async_context(certificate.watching())
                    context = certificate.context(None, partial(_context, certificate))
                    secured = {"ssl": context, "ssl_handshake_timeout": self.limits.sign_in_s}
                servers.append(await asyncio.start_server(self._accept, sock=bound, limit=64 * 1024, **secured))
            try:
                yield
            finally:
                for server in servers:
                    server.close()
                for connection in self._connections:
                    connection.hang_up()
                await self.tasks.finished(GRACE_S)  # registers are closed by them
                await self.tasks.cancel()

    def _certificate(self) -> LiveCertificate:
        """Web's own; it is watched for changes here as well."""
        web = self.services.settings.web
        assert web.tls_cert is not None and web.tls_key is not None  # noqa: S101 - settings refuse rtsps without
        return LiveCertificate(web.tls_cert, web.tls_key)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        strangers = sum(not c.signed_in and c.client == connection.client for c in self._connections)
        if self.connections >= self.services.settings.rtsp.max_connections or strangers >= STRANGERS:
            self.counters.turned_away += 1
            writer.transport.abort()
            return
        self._connections.add(connection)
        self.tasks.start(self._run(connection), "rtsp connection")

    async def _run(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def judge(self, client: str, answer: digest.Answer, method: str) -> Principal:
        """Whose password `answer` was made with. Raises access.too_many_tries, access.too_many_tries_account,
        access.bad_login, and why a right password does not work.

        One at a time: a try is counted before it is looked at, and many cameras of one recorder sign in at once.
        """
        services = self.services
        guessed = False
        try:
            async with self._judging:
                begun = self._login_limit.begin(client, answer.username)
                try:
                    found = await services.read(
                        lambda c: stream_passwords.judge(
                            c, services.clock, services.secrets, services.principals, answer, method
                        )
                    )
                except BaseException as error:
                    guessed = isinstance(error, TiergateError) and error.reason.code == "access.bad_login"
                    if not guessed:
                        begun.forget()
                    raise
                begun.right()
                return found
        finally:
            if guessed:
                await self._note_refused(client, answer.username)

    async def _note_refused(self, client: str, username: str) -> None:
        """As a refused sign-in; at most as often as `LoginLimit` lets one address try."""
        services, now_ms = self.services, self.services.now_ms()
        shown = "".join(c for c in username if c.isascii() and c.isprintable())[:60]
        await services.write(lambda c: audit.append(c, now_ms, f"client:{client}", "stream_password.refuse", shown, {}))


def _context(certificate: LiveCertificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate.file, certificate.key)
    return context
