"""Signed requests and answers between nodes. (pure)

Each request names its node, time and nonce and is signed over method, target, body digest and the *receiver*: a request
caught on one link is worth nothing on another (FAULTS S14). Answers with a body of known length are signed over the
request's nonce. Times may differ by 30 s; a nonce is taken once (`tiering.nonces`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from config.crypto import Signed, b64, key_id, unb64, verify
from config.errors import Kind, TiergateError

SKEW_MS = 30_000
NODE, TIME, NONCE, SIGNATURE = "tiergate-node", "tiergate-time", "tiergate-nonce", "tiergate-signature"


class Signer(Protocol):
    """Our node's identity; the private key stays behind it."""

    @property
    def node_id(self) -> str: ...

    @property
    def public_key(self) -> bytes: ...

    def sign(self, message: bytes) -> Signed: ...


def _message(kind: str, *parts: str) -> bytes:
    return "\n".join((f"tiergate-{kind}-v1", *parts)).encode()


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def sign_request(
    signer: Signer, receiver: str, method: str, target: str, body: bytes, now_ms: int, nonce: bytes
) -> dict[str, str]:
    """The headers of a request to the node `receiver`. `target` is path and query as sent."""
    text = b64(nonce)
    signed = signer.sign(_message("request", receiver, method, target, _digest(body), str(now_ms), text))
    return {NODE: signer.node_id, TIME: str(now_ms), NONCE: text, SIGNATURE: signed.as_text()}


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says about itself, before anything of it is believed."""

    node: str
    time_ms: int
    nonce: str
    signature: Signed


def read_claim(headers: Mapping[str, str]) -> Claim:
    """Raises tier.unsigned."""
    try:
        time_ms, nonce = headers[TIME], headers[NONCE]
        if not time_ms.isascii() or not time_ms.isdigit() or len(time_ms) > 16 or len(unb64(nonce)) != 16:
            raise ValueError("malformed")
        return Claim(headers[NODE][:64], int(time_ms), nonce, Signed.from_text(headers[SIGNATURE]))
    except (KeyError, ValueError) as exc:
        raise TiergateError(Kind.UNAUTHENTICATED, "tier.unsigned") from exc


def check_request(
    claim: Claim, public_key: bytes, receiver: str, method: str, target: str, body: bytes, now_ms: int
) -> None:
    """Raises tier.clock_skew, tier.signature_bad. The nonce is the caller's to check, after this."""
    if abs(now_ms - claim.time_ms) > SKEW_MS:
        raise TiergateError(Kind.UNAUTHENTICATED, "tier.clock_skew", seconds=round((claim.time_ms - now_ms) / 1000))
    message = _message("request", receiver, method, target, _digest(body), str(claim.time_ms), claim.nonce)
    if claim.node != key_id(public_key) or not verify(public_key, message, claim.signature):
        raise TiergateError(Kind.UNAUTHENTICATED, "tier.signature_bad")


def sign_answer(signer: Signer, nonce: str, status: int, body: bytes) -> str:
    return signer.sign(_message("answer", nonce, str(status), _digest(body))).as_text()


def check_answer(public_key: bytes, nonce: str, status: int, body: bytes, signature: str | None) -> None:
    """Raises tier.answer_signature."""
    try:
        signed = Signed.from_text(signature or "")
    except ValueError as exc:
        raise TiergateError(Kind.UNAVAILABLE, "tier.answer_signature") from exc
    if not verify(public_key, _message("answer", nonce, str(status), _digest(body)), signed):
        raise TiergateError(Kind.UNAVAILABLE, "tier.answer_signature")
