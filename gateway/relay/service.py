"""The relay as one object: parts put together, listeners opened, loops running. `gateway.processes.relay` runs it.

Belongs here: wiring and life. Parts of other rooms (looks, live client, footage) are arguments, so that tests put two
whole relays into one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from config.clock import Clock
from config.settings import Settings, split_listen
from gateway.ops import clock_evidence
from gateway.relay import local_app, pairing, tier_app
from gateway.relay.agreement import Agreement
from gateway.relay.certificate import RelayCertificate
from gateway.relay.keeping import Keeping
from gateway.relay.limits import LinkLimits
from gateway.relay.live_socket import RelayLiveSocket
from gateway.relay.peers import PeerPool
from gateway.relay.pulls import Pulls
from gateway.relay.set_back import SettingBack
from gateway.relay.upstream import Upstreams
from storage.audit.signed import HeadSigner
from storage.catalog.engine import Catalog
from storage.media.access_unit import AccessUnit, StreamConfig
from storage.objects.asked import AskedStore
from storage.objects.base import ObjectStore
from tiering.cache import Cache, LeaseKeys
from tiering.cmaf import Notice
from tiering.lines import Lines
from tiering.nonces import NonceJournal
from tiering.ports import FootageReader, LiveFrames, Register
from tiering.server import TierServer
from tiering.signing import Signer

#: Unsent bytes the kernel may hold per connection: more would hide a full line from us for seconds (MEASUREMENTS B4).
NOTSENT_LOWAT_BYTES = 16_384
STOP_S = 3.0
_EVER_MS = 1 << 53  #: before this everything was


class RelayService:
    def __init__(
        self,
        settings: Settings,
        catalog: Catalog,
        clock: Clock,
        signer: Signer,
        register: Register,
        frames: LiveFrames,
        footage: FootageReader,
        store: ObjectStore,
        cache_store: ObjectStore,
        listener: socket.socket | None = None,
    ) -> None:
        """`store`: where the keeper puts the signed heads of the audit log. `listener`: a bound socket that the
        supervisor hands down; else the settings' address is bound here."""
        self._settings = settings
        self._clock = clock
        self._run_dir = settings.paths.run_dir
        self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._socket = listener or listening_socket(settings.relay.listen)
        _keep_queue_short(self._socket)
        port = int(self._socket.getsockname()[1])
        self.card = pairing.own_card(settings, signer.node_id, signer.public_key, port)
        self.certificate = (
            RelayCertificate(settings, catalog, clock, self._introduce) if settings.relay.tls_cert is not None else None
        )
        self.lines = Lines(settings.relay.max_main, settings.relay.max_sub)
        self.limits = LinkLimits(clock)
        nonces = NonceJournal(self._run_dir / "relay.nonces", clock.wall_ns() // 1_000_000)
        heads = HeadSigner(catalog, AskedStore(store), signer.node_id, signer.public_key, signer.sign)
        self.server = TierServer(
            self.card, signer, catalog, clock, register, footage, self.lines, nonces, secrets.token_bytes, heads
        )
        keys = LeaseKeys(settings.paths.keys_dir / "leases", secrets.token_bytes)
        self.cache = Cache(cache_store, keys, catalog, secrets.token_bytes)
        steady = self.server.steady
        self._pool = PeerPool(catalog, signer, steady.wall_ms, secrets.token_bytes, settings.relay.allowed_networks)
        self.pulls = Pulls(catalog, steady, signer, self._pool, self.cache, settings.relay.cache_max_bytes)
        self.upstreams = Upstreams(self._open_upstream, self.pulls.live_check, settings.live.linger_s)
        self.pulls.ended = self.upstreams.end_lease
        self._agreement = Agreement(catalog, clock)
        is_assumed = settings.retention.clock_source == "trusted"
        evidence = partial(clock_evidence.gather, clock, cache_store, catalog, is_assumed)
        self.setting_back = SettingBack(catalog, steady, evidence, self.upstreams.end_lease)
        self.keeping = Keeping(self.pulls, self.server, signer, self._agreement, self.setting_back)
        self._signer = signer
        self._catalog = catalog
        self._frames = frames
        self._cache_store = cache_store

    def ensure_cache(self) -> None:
        """Makes the cache's folder or bucket; what a relay that was killed left half written in it goes. Nobody else
        writes there. Raises media.store_unavailable."""
        self._cache_store.ensure()
        self._cache_store.drop_unfinished("", _EVER_MS, lambda keys: set())

    @property
    def url(self) -> str:
        return self.card.url

    @property
    def control_socket(self) -> Path:
        return self._run_dir / "relay.sock"

    async def _open_upstream(
        self, lease: str, camera: str, stream: str
    ) -> AsyncGenerator[StreamConfig | AccessUnit | Notice, None]:
        row = await self.pulls.row(lease)
        link = await self._pool.usable(row.link_id)
        async with contextlib.aclosing(self._pool.of(link).live(lease, camera, stream)) as items:
            async for item in items:
                yield item

    async def _accept(self, code: str, actor: str, url: str | None) -> str:
        networks = self._settings.relay.allowed_networks
        return await pairing.accept(self._catalog, self._clock, self._signer, self.card, code, actor, url, networks)

    def _introduce(self, shown: bytes) -> None:
        """From here on this certificate is on our card."""
        self.card = self.server.card = replace(self.card, tls_sha256=shown)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Purges what is overdue, then serves until the block ends. Raises what loading the certificate raises."""
        await self.setting_back.look()
        await self.keeping.purge_due()
        outside = _server(tier_app.build(self.server, self._frames, self._agreement, self.limits))
        if self.certificate is not None:
            await asyncio.to_thread(self.certificate.open)
            outside.config.ssl_context_factory = self.certificate.context
        inside = _server(local_app.build(self.pulls, self.keeping, self.upstreams, self.limits, self._accept))
        local = unix_socket(self.control_socket)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._pool.close)
            await stack.enter_async_context(_serving(outside, self._socket))
            await stack.enter_async_context(_serving(inside, local))
            if self.certificate is not None:
                await stack.enter_async_context(self.certificate.watching())
            live = RelayLiveSocket(self._run_dir / "live" / "relay.sock", self.upstreams)
            await stack.enter_async_context(live.serving())
            stack.push_async_callback(self.upstreams.stop)
            await stack.enter_async_context(self.keeping.running())
            yield
        with contextlib.suppress(FileNotFoundError):
            self.control_socket.unlink()


def listening_socket(listen: str) -> socket.socket:
    host, port = split_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    return made


def _keep_queue_short(sock: socket.socket) -> None:
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)  # inherited by accept


def unix_socket(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    path.chmod(0o700)
    return made


def _server(app: Starlette) -> uvicorn.Server:
    config = uvicorn.Config(
        app, http=_Cuttable, log_config=None, access_log=False, lifespan="off", server_header=False, date_header=False,
        timeout_graceful_shutdown=1, timeout_keep_alive=35, h11_max_incomplete_event_size=64 * 1024,
        proxy_headers=False,
    )  # fmt: skip
    return _Quiet(config)


class _Cuttable(HttpToolsProtocol):
    """An answer may cut its connection: closing one waits until the peer has taken what is on its way."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        transport.set_write_buffer_limits(tier_app.PIECE_BYTES)  # under TLS eight times that waits, and grows old
        self.app_state = {**self.app_state, tier_app.ABORT: transport.abort}


class _Quiet(uvicorn.Server):
    """Signals belong to the process, not to one of its two servers."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # uvicorn's own signature differs by version
        yield


@contextlib.asynccontextmanager
async def _serving(server: uvicorn.Server, sock: socket.socket) -> AsyncIterator[None]:
    task = asyncio.create_task(server.serve(sockets=[sock]), name="uvicorn")
    while not server.started:
        if task.done():
            await task  # its exception says why
            raise RuntimeError("the listener ended before it began")
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        try:
            await asyncio.wait_for(task, STOP_S + 1)
        except TimeoutError:
            server.force_exit = True
            await task
