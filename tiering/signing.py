"""Signed requests and answers between nodes. (pure, save `NonceJournal`'s file)

Each request names its node, time and nonce and is signed over method, target, body digest and the *receiver*: a request
caught on one link is worth nothing on another (FAULTS S14). Answers with a body of known length are signed over the
request's nonce. Times may differ by 30 s; a nonce is taken once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
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


class NonceJournal:
    """Nonces seen in the last minute, in memory and in a small file: a restart does not open the door to a replay.

    The file is written before the request is answered and not synced: it must survive a kill, and after a power loss
    the machine is back later than the 30 s for which a request is good.
    """

    def __init__(self, path: Path, now_ms: int) -> None:
        self._path = path
        self._seen: dict[str, int] = {}
        if path.exists():
            for line in path.read_text(encoding="ascii", errors="replace").splitlines():
                time_ms, _, nonce = line.partition(" ")
                if time_ms.isdigit() and nonce:
                    self._seen[nonce] = int(time_ms)
        self._lines = 0
        self._rewrite(now_ms)

    def take(self, node: str, nonce: str, time_ms: int, now_ms: int) -> None:
        """Raises tier.replayed when `nonce` was taken before."""
        name = f"{node}:{nonce}"
        if name in self._seen:
            raise TiergateError(Kind.UNAUTHENTICATED, "tier.replayed")
        self._seen[name] = time_ms
        with self._path.open("a", encoding="ascii") as file:
            file.write(f"{time_ms} {name}\n")
        self._lines += 1
        if self._lines > 20_000:
            self._rewrite(now_ms)

    def _rewrite(self, now_ms: int) -> None:
        self._seen = {n: t for n, t in self._seen.items() if t >= now_ms - 2 * SKEW_MS}
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(f"{t} {n}\n" for n, t in self._seen.items()), encoding="ascii")
        fresh.replace(self._path)
        self._lines = len(self._seen)
