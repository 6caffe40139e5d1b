"""Connections to other nodes: TLS pinned by the certificate's SHA-256, no redirects, no proxy of the environment, and
only to addresses at which nodes may be (FAULTS S6).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from config.errors import Kind, TiergateError
from gateway.cameras.address import address_is_allowed
from gateway.relay.lookups import Lookups

CONNECT_S = 5.0
ANSWER_S = 30.0  #: a range may wait for its turn on a thin line

_lookups = Lookups()
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.S)


def certificate_sha256(pem: Path) -> bytes:
    """Digest of the first certificate of a chain: what the other node pins."""
    return digest_of_chain(pem.read_bytes())


def digest_of_chain(pem: bytes) -> bytes:
    """The same of the file's content."""
    found = _PEM.search(pem.decode("ascii", "replace"))
    if found is None:
        raise TiergateError(
            Kind.ENVIRONMENT, "settings.bad_value", key="relay.tls_cert", problem="no certificate in it"
        )
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found.group())).digest()


Pins = tuple[bytes, ...] | None  #: None: TLS is verified as usual (a proxy with a public certificate)


class PinMismatch(ssl.SSLError):
    """Raised inside the handshake: nothing was sent yet."""

    def __init__(self) -> None:
        super().__init__("certificate is not the pinned one")
        self.__cause__ = TiergateError(Kind.FORBIDDEN, "tier.tls_pin")


def pinned_context(pins: Callable[[], Pins]) -> ssl.SSLContext:
    """A context that trusts these certificates, whoever signed them and whatever name they carry. They are asked for
    when a handshake ends: what was said while it ran counts already."""

    class Pinned(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            certificate = self.getpeercert(binary_form=True) or b""
            shown = hashlib.sha256(certificate).digest()
            if not any([hmac.compare_digest(shown, pin) for pin in pins() or ()]):
                raise PinMismatch

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the pin is stricter: exactly this certificate, two while one is changed
    context.sslobject_class = Pinned
    return context


_ANYWHERE = ("0.0.0.0/0", "::/0")


def _may_be_a_node(address: str, networks: Sequence[str]) -> bool:
    if networks:
        return address_is_allowed(address, networks)
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return not (mapped or ip).is_loopback and address_is_allowed(address, _ANYWHERE)


class _Way:
    """Connections that were made under the same pins."""

    def __init__(self, pins: Pins, current: Callable[[], Pins], limits: httpx.Limits) -> None:
        verify: Any = pinned_context(current) if pins is not None else True
        self.pins, self.running = pins, 0
        self.transport = httpx.AsyncHTTPTransport(verify=verify, limits=limits, trust_env=False)


class _Counted(httpx.AsyncByteStream):
    """An answer's body; the request runs until it is closed."""

    def __init__(self, stream: httpx.AsyncByteStream, way: _Way) -> None:
        self._stream, self._way = stream, way
        self._over = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        if not self._over:
            self._over = True
            self._way.running -= 1
        await self._stream.aclose()


class PeerTransport(httpx.AsyncBaseTransport):
    """Resolves the peer's name once per request, judges every address it has, and connects to the one it judged: an
    invitation may name any machine, and a name may mean another one the next time.

    When other pins hold (`trust`), what runs goes on over the connections it has, and nothing new goes over them: a
    certificate that is no longer taken opens no request, however long its connections would have lived.
    """

    def __init__(self, networks: Sequence[str], pins: Pins) -> None:
        self._networks = tuple(networks)
        self._limits = httpx.Limits(max_connections=40, max_keepalive_connections=4, keepalive_expiry=30.0)
        self._way = _Way(pins, self._pins, self._limits)
        self._before: list[_Way] = []

    def _pins(self) -> Pins:
        return self._way.pins

    def trust(self, pins: Pins) -> None:
        if pins != self._way.pins:
            self._before.append(self._way)
            self._way = _Way(pins, self._pins, self._limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        address = await self._address(host, request)
        pinned = httpx.Request(
            request.method, request.url.copy_with(host=address), headers=request.headers, stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host},
        )  # fmt: skip
        await self._close_idle()
        way = self._way
        way.running += 1
        try:
            answer = await way.transport.handle_async_request(pinned)
        except BaseException:
            way.running -= 1
            raise
        assert isinstance(answer.stream, httpx.AsyncByteStream)  # noqa: S101 - what httpx's own transport gives
        answer.stream = _Counted(answer.stream, way)
        return answer

    async def _close_idle(self) -> None:
        idle = [way for way in self._before if not way.running]
        self._before = [way for way in self._before if way.running]
        for way in idle:
            await way.transport.aclose()

    async def aclose(self) -> None:
        for way in (*self._before, self._way):
            await way.transport.aclose()

    async def _address(self, host: str, request: httpx.Request) -> str:
        try:
            found = await _lookups.addresses(host, CONNECT_S)
        except TimeoutError as exc:
            raise httpx.ConnectTimeout("nobody says what address the name has", request=request) from exc
        if not found:
            raise httpx.ConnectError("the name has no address", request=request)
        if not all(_may_be_a_node(address, self._networks) for address in found):
            raise TiergateError(Kind.INVALID, "tier.address_not_allowed", host=host[:120])
        return found[0]


def peer_http(pin: bytes | None, networks: Sequence[str] = ()) -> httpx.AsyncClient:
    """A client for one peer. Without a pin TLS is verified as usual (a proxy with a public certificate). A request to
    an address outside `networks` (none: a loopback or link-local one) raises tier.address_not_allowed."""
    return http_over(PeerTransport(networks, None if pin is None else (pin,)))


def http_over(transport: PeerTransport) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
        headers={"user-agent": "tiergate", "accept-encoding": "identity"},
    )
