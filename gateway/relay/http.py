"""Connections to other nodes: TLS pinned by the certificate's SHA-256, no redirects, no proxy of the environment."""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from pathlib import Path
from typing import Any

import httpx

from config.errors import Kind, TiergateError

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


def peer_http(pin: bytes | None) -> httpx.AsyncClient:
    """A client for one peer. Without a pin TLS is verified as usual (a proxy with a public certificate)."""
    verify: Any = pinned_context(pin) if pin is not None else True
    return httpx.AsyncClient(
        verify=verify,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
        limits=httpx.Limits(max_connections=40, max_keepalive_connections=4, keepalive_expiry=30.0),
        headers={"user-agent": "tiergate", "accept-encoding": "identity"},
    )
