"""Connections to other nodes: TLS pinned by the certificate's SHA-256, no redirects, no proxy of the environment, and
only to addresses at which nodes may be (FAULTS S6).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from config.errors import Kind, TiergateError
from gateway.cameras.address import address_is_allowed

CONNECT_S = 5.0
ANSWER_S = 30.0  #: a range may wait for its turn on a thin line

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.S)


def certificate_sha256(pem: Path) -> bytes:
    """Digest of the first certificate of a chain: what the other node pins."""
    found = _PEM.search(pem.read_text(encoding="ascii", errors="replace"))
    if found is None:
        raise TiergateError(
            Kind.ENVIRONMENT, "settings.bad_value", key="relay.tls_cert", problem="no certificate in it"
        )
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found.group())).digest()


class PinMismatch(ssl.SSLError):
    """Raised inside the handshake: nothing was sent yet."""

    def __init__(self) -> None:
        super().__init__("certificate is not the pinned one")
        self.__cause__ = TiergateError(Kind.FORBIDDEN, "tier.tls_pin")


def pinned_context(pin: bytes) -> ssl.SSLContext:
    """A context that trusts one certificate, whoever signed it and whatever name it carries."""

    class Pinned(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            certificate = self.getpeercert(binary_form=True) or b""
            if not hmac.compare_digest(hashlib.sha256(certificate).digest(), pin):
                raise PinMismatch

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the pin is stricter: exactly this certificate
    context.sslobject_class = Pinned
    return context


_ANYWHERE = ("0.0.0.0/0", "::/0")


def _may_be_a_node(address: str, networks: Sequence[str]) -> bool:
    if networks:
        return address_is_allowed(address, networks)
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return not (mapped or ip).is_loopback and address_is_allowed(address, _ANYWHERE)


class _GuardedTransport(httpx.AsyncHTTPTransport):
    """Resolves the peer's name once per request, judges every address it has, and connects to the one it judged: an
    invitation may name any machine, and a name may mean another one the next time."""

    def __init__(self, networks: Sequence[str], **more: Any) -> None:
        super().__init__(trust_env=False, **more)
        self._networks = tuple(networks)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        address = await asyncio.to_thread(self._address, host, request)
        pinned = httpx.Request(
            request.method, request.url.copy_with(host=address), headers=request.headers, stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host},
        )  # fmt: skip
        return await super().handle_async_request(pinned)

    def _address(self, host: str, request: httpx.Request) -> str:
        try:
            found = sorted({str(i[4][0]) for i in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
        except (OSError, UnicodeError) as exc:
            raise httpx.ConnectError("the name has no address", request=request) from exc
        if not found or not all(_may_be_a_node(address, self._networks) for address in found):
            raise TiergateError(Kind.INVALID, "tier.address_not_allowed", host=host[:120])
        return found[0]


def peer_http(pin: bytes | None, networks: Sequence[str] = ()) -> httpx.AsyncClient:
    """A client for one peer. Without a pin TLS is verified as usual (a proxy with a public certificate). A request to
    an address outside `networks` (none: a loopback or link-local one) raises tier.address_not_allowed."""
    verify: Any = pinned_context(pin) if pin is not None else True
    limits = httpx.Limits(max_connections=40, max_keepalive_connections=4, keepalive_expiry=30.0)
    return httpx.AsyncClient(
        transport=_GuardedTransport(networks, verify=verify, limits=limits),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
        headers={"user-agent": "tiergate", "accept-encoding": "identity"},
    )
