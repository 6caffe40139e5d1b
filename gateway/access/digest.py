"""Digest access authentication (RFC 7616) as a server judges it. (pure)

SHA-256, and MD5 for software that has nothing else. Belongs here: challenge, the client's answer taken apart, and
whether it fits. Does not belong here: where the secrets come from (`gateway.access.stream_passwords`), who is told what
of a refusal.

A client that ignores `algorithm` and `qop` (RFC 2069; live555 and with it many recorders) answers with plain MD5, so
the absence of both is taken for that.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Algorithm = Literal["MD5", "SHA-256"]

REALM = "tiergate"  #: part of every stored secret: a change of it would end all of them
_MOST_CHARACTERS = 2_000
#: token = quoted-string or token (RFC 9110 §11.2). No nested repetition: linear in the text.
_PAIR = re.compile(r'\s*([A-Za-z0-9_-]{1,20})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]*))\s*(?:,|$)')


@dataclass(frozen=True, slots=True)
class Secrets:
    """H(username:realm:password) under both algorithms, as hex: all that a server needs, and all that it keeps."""

    md5: str
    sha256: str

    @classmethod
    def of(cls, username: str, password: str) -> Secrets:
        text = f"{username}:{REALM}:{password}".encode()
        return cls(_md5(text), hashlib.sha256(text).hexdigest())


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client sent in `Authorization`."""

    username: str
    nonce: str
    uri: str
    response: str
    algorithm: Algorithm
    qop: str | None
    nc: str
    cnonce: str

    @property
    def count(self) -> int | None:
        """How often the client has used the nonce; None without `qop`."""
        return None if self.qop is None else int(self.nc, 16)


def challenges(nonce: str, stale: bool = False) -> list[str]:
    """Values of `WWW-Authenticate`, the better one first; libavformat takes the last that it knows.

    Only SHA-256 asks for `qop`: what knows no more than MD5 often knows no `qop` either.
    """
    more = ", stale=TRUE" if stale else ""
    return [
        f'Digest realm="{REALM}", nonce="{nonce}", algorithm=SHA-256, qop="auth"{more}',
        f'Digest realm="{REALM}", nonce="{nonce}", algorithm=MD5{more}',
    ]


def parse(value: str) -> Answer | None:
    """None for another scheme, and for what is no answer to one of `challenges`."""
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest" or len(value) > _MOST_CHARACTERS:
        return None
    found = _pairs(rest)
    if found is None or found.get("realm") != REALM:
        return None
    algorithms: Mapping[str, Algorithm] = {"md5": "MD5", "sha-256": "SHA-256"}
    algorithm = algorithms.get(found.get("algorithm", "md5").lower())
    qop, nc = found.get("qop"), found.get("nc", "")
    if algorithm is None or qop not in (None, "auth") or (qop is not None and not re.fullmatch("[0-9a-fA-F]{8}", nc)):
        return None
    try:
        return Answer(
            found["username"], found["nonce"], found["uri"], found["response"].lower(), algorithm, qop, nc,
            found.get("cnonce", ""),
        )  # fmt: skip
    except KeyError:
        return None


def _pairs(text: str) -> dict[str, str] | None:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None or match.end() == at or match[1].lower() in found:
            return None
        quoted, plain = match[2], match[3]
        found[match[1].lower()] = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        at = match.end()
    return found


def fits(answer: Answer, method: str, secrets: Secrets) -> bool:
    """Whether `answer` was made with the password behind `secrets`, for this method and the URI that it names."""
    digest, secret = (_md5, secrets.md5) if answer.algorithm == "MD5" else (_sha256, secrets.sha256)
    request = digest(f"{method}:{answer.uri}".encode())
    middle = answer.nonce if answer.qop is None else f"{answer.nonce}:{answer.nc}:{answer.cnonce}:{answer.qop}"
    wanted = digest(f"{secret}:{middle}:{request}".encode())
    return hmac.compare_digest(wanted.encode(), answer.response.encode())


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()  # the protocol's choice


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
