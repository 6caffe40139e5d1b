"""The crypto seam: every signature, digest and sealed box names its algorithm. (pure)

Each operation goes through a `Suite`, so that SM2/SM3/SM4 can stand beside Ed25519/SHA-256/AES-256-GCM as one more
entry of `SUITES`; a value made by one suite says so in its text and is never read by another. Key material and nonces
are arguments: randomness is drawn at the rim (`gateway.access.keys`).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from config.errors import Kind, TiergateError


class Suite(Protocol):
    """One family of algorithms. All methods are deterministic given their arguments."""

    name: str

    def digest(self, data: bytes) -> bytes: ...

    def public_key(self, private_key: bytes) -> bytes: ...

    def sign(self, private_key: bytes, message: bytes) -> bytes: ...

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool: ...

    def seal(self, key: bytes, nonce: bytes, plaintext: bytes, bound_to: bytes) -> bytes:
        """Authenticated encryption; `bound_to` must be given again to open. Never use a (key, nonce) pair twice."""
        ...

    def open(self, key: bytes, nonce: bytes, sealed: bytes, bound_to: bytes) -> bytes:
        """Raises TiergateError crypto.sealed_broken when key, nonce, binding or bytes do not match."""
        ...


class International:
    """Ed25519 (RFC 8032), SHA-256, AES-256-GCM. Keys are 32 raw bytes, nonces 12."""

    name = "ed25519-sha256-aes256gcm"

    def digest(self, data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    def public_key(self, private_key: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()

    def sign(self, private_key: bytes, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(private_key).sign(message)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    def seal(self, key: bytes, nonce: bytes, plaintext: bytes, bound_to: bytes) -> bytes:
        return AESGCM(key).encrypt(nonce, plaintext, bound_to)

    def open(self, key: bytes, nonce: bytes, sealed: bytes, bound_to: bytes) -> bytes:
        try:
            return AESGCM(key).decrypt(nonce, sealed, bound_to)
        except (InvalidTag, ValueError) as exc:
            raise TiergateError(Kind.ENVIRONMENT, "crypto.sealed_broken") from exc


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature with the name of its algorithm and signer."""

    suite: str
    key_id: str  #: first 16 hex digits of the digest of the public key
    signature: bytes

    def as_text(self) -> str:
        return f"{self.suite}:{self.key_id}:{b64(self.signature)}"

    @classmethod
    def from_text(cls, value: str) -> Signed:
        """Raises ValueError when `value` has another shape."""
        suite, key_id, signature = value.split(":")
        return cls(suite, key_id, unb64(signature))


SUITES: dict[str, Suite] = {International.name: International()}
DEFAULT_SUITE: Suite = SUITES[International.name]


def key_id(public_key: bytes, suite: Suite = DEFAULT_SUITE) -> str:
    return suite.digest(public_key).hex()[:16]


def sign(private_key: bytes, message: bytes, suite: Suite = DEFAULT_SUITE) -> Signed:
    return Signed(suite.name, key_id(suite.public_key(private_key), suite), suite.sign(private_key, message))


def verify(public_key: bytes, message: bytes, signed: Signed) -> bool:
    """False for an unknown suite, another key, or a signature that does not fit."""
    suite = SUITES.get(signed.suite)
    return (
        suite is not None
        and signed.key_id == key_id(public_key, suite)
        and suite.verify(public_key, message, signed.signature)
    )


def b64(data: bytes) -> str:
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """Raises ValueError on anything that `b64` would not have written (one value has one text: FAULTS S12)."""
    if not text.isascii():
        raise ValueError("not base64url")
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if b64(data) != text:
        raise ValueError("not canonical base64url")
    return data
