"""The upper node's side of a link, without knowing how connections are made: an `httpx.AsyncClient` is injected.

Belongs here: signing requests, checking answers, turning a peer's refusal back into a `TiergateError`. Does not belong
here: TLS pins and pools (`gateway.relay.http`), rows, caches.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

from config.errors import HTTP_STATUS, Kind, TiergateError
from config.reasons import TABLE
from config.redact import redact_text
from storage.media.access_unit import AccessUnit, StreamConfig
from tiering.certificates import Said
from tiering.cmaf import CmafReader, Notice
from tiering.lease import LeaseRequest, Person, canonical_json
from tiering.signing import NONCE, SIGNATURE, Signer, check_answer, sign_request
from tiering.wire import (
    ANSWER_MAX_BYTES,
    RANGE_MAX_BYTES,
    Card,
    Directory,
    FootageIndex,
    Invite,
    lease_request_to_json,
    parse,
    text_field,
    use_report_from_json,
)

_KIND_OF_STATUS = {status: kind for kind, status in HTTP_STATUS.items()}
SILENCE_S = 15.0  #: three missed signs of life: the line is dead
CALL_S = 35.0  #: a whole call but for its bytes: 5 s to connect, 30 s for an answer that waits its turn on a line
CALL_BYTES_PER_S = 8 * 1024  #: of what goes and comes; a line that is slower carries no picture either
REFUSAL_MAX_BYTES = 64 * 1024


class PeerClient:
    """Talks to one peer. `public_key` is the pinned one of the link."""

    def __init__(
        self,
        base_url: str,
        node: str,
        public_key: bytes,
        signer: Signer,
        http: httpx.AsyncClient,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        call_s: float = CALL_S,
    ) -> None:
        """However an answer trickles, a call ends after `call_s` and what its bytes take at `CALL_BYTES_PER_S`."""
        self._base = base_url.rstrip("/")
        self._path = urlsplit(self._base).path
        self._node = node
        self._public_key = public_key
        self._signer = signer
        self._http = http
        self._now_ms = now_ms
        self._entropy = entropy
        self._call_s = call_s

    # -- calls -------------------------------------------------------------------------------------------------------

    async def directory(self, known_digest: str | None) -> Directory:
        query = {"known": known_digest} if known_digest else {}
        return Directory.from_json(await self._json("GET", "/tier/v1/directory", query))

    async def use_report(self, month: str) -> dict[str, Any]:
        """What our people saw of the lower node's cameras in that month, as that node has it."""
        return use_report_from_json(await self._json("GET", "/tier/v1/reports/use", {"month": month}), month)

    async def request_lease(self, request: LeaseRequest) -> tuple[str, str, list[dict[str, Any]]]:
        """(document, signature, in what it is less than asked)."""
        return self._document(await self._json("POST", "/tier/v1/leases", body=lease_request_to_json(request)))

    async def renew(self, lease_id: str, reason: str, minutes: int) -> tuple[str, str, list[dict[str, Any]]]:
        body = {"reason": reason, "minutes": minutes}
        return self._document(await self._json("POST", f"/tier/v1/leases/{lease_id}/renew", body=body))

    @staticmethod
    def _document(value: dict[str, Any]) -> tuple[str, str, list[dict[str, Any]]]:
        narrowed = [n for n in value.get("narrowed", []) if isinstance(n, dict)]
        return text_field(value, "document", 1 << 20), text_field(value, "signature", 400), narrowed

    async def confirm(self, lease_id: str, person: Person) -> dict[str, Any]:
        body = {"person": {"name": person.name, "unit": person.unit}}
        return await self._json("POST", f"/tier/v1/leases/{lease_id}/confirm", body=body)

    async def end(self, lease_id: str, reason: str) -> dict[str, Any]:
        return await self._json("POST", f"/tier/v1/leases/{lease_id}/end", body={"reason": reason})

    async def index(self, lease_id: str, camera: str, stream: str, from_ms: int, to_ms: int) -> FootageIndex:
        query = {"from": str(from_ms), "to": str(to_ms), "stream": stream}
        return FootageIndex.from_json(await self._json("GET", f"/tier/v1/leases/{lease_id}/index/{camera}", query))

    async def segment(self, lease_id: str, segment: str, offset: int, length: int) -> bytes:
        query = {"offset": str(offset), "length": str(length)}
        return await self._bytes("GET", f"/tier/v1/leases/{lease_id}/segments/{segment}", query, b"", RANGE_MAX_BYTES)

    async def purge_statement(self, statement: str, signature: str) -> dict[str, Any]:
        return await self._json(
            "POST", "/tier/v1/purge-statements", body={"statement": statement, "signature": signature}
        )

    async def heads(self, ours: dict[str, Any]) -> dict[str, Any]:
        """Gives the signed head of our audit log; the answer holds the peer's."""
        return await self._json("POST", "/tier/v1/heads", body={"checkpoint": ours})

    async def certificates(self, ours: Said) -> Said:
        """What each of the two says of its relay's certificate, and which word of the other's it holds."""
        return Said.from_json(await self._json("POST", "/tier/v1/certificates", body=ours.as_json()))

    async def notice(self, topic: str, text: str) -> dict[str, Any]:
        return await self._json("POST", "/tier/v1/notices", body={"topic": topic, "text": text})

    async def accept_invite(self, invite: Invite, card: Card) -> Card:
        """Redeems an invitation; the inviter's card, whose key must be the one the code named."""
        from config.crypto import DEFAULT_SUITE, b64

        target = self._path + "/tier/v1/links/accept"
        body = canonical_json({"secret": b64(invite.secret), "card": card.as_json()}).encode()
        headers, nonce = self._headers("POST", target, body)
        answer = await self._send("POST", target, headers, body, ANSWER_MAX_BYTES)
        peer = Card.from_json(parse(answer.content).get("card"))
        if DEFAULT_SUITE.digest(peer.public_key) != invite.key_sha256 or peer.node != invite.node:
            raise TiergateError(Kind.FORBIDDEN, "tier.card_key")
        check_answer(peer.public_key, nonce, answer.status_code, answer.content, answer.headers.get(SIGNATURE))
        return peer

    async def live(
        self, lease_id: str, camera: str, stream: str
    ) -> AsyncGenerator[StreamConfig | AccessUnit | Notice, None]:
        """The lower node's stream as access units; ends with a `Notice("ended", reason)` or an error. Never on disk."""
        target = f"{self._path}/tier/v1/leases/{lease_id}/live/{camera}?{urlencode({'stream': stream})}"
        headers, _ = self._headers("GET", target, b"")
        reader = CmafReader()
        timeout = httpx.Timeout(10.0, read=SILENCE_S)
        try:
            async with self._http.stream("GET", self._origin() + target, headers=headers, timeout=timeout) as answer:
                if answer.status_code != 200:
                    async with asyncio.timeout(self._call_s) as until:
                        refusal = await self._whole(answer, REFUSAL_MAX_BYTES, until)
                    raise refusal_of(answer.status_code, refusal)
                async for data in answer.aiter_raw():
                    for item in reader.feed(data):
                        yield item
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as exc:
            raise _away(exc) from exc
        except ValueError as exc:
            raise TiergateError(Kind.UNAVAILABLE, "tier.peer_garbled") from exc

    # -- plumbing ----------------------------------------------------------------------------------------------------

    def _origin(self) -> str:
        return self._base.removesuffix(self._path) if self._path else self._base

    def _headers(self, method: str, target: str, body: bytes) -> tuple[dict[str, str], str]:
        headers = sign_request(self._signer, self._node, method, target, body, self._now_ms(), self._entropy(16))
        return {**headers, "content-type": "application/json"}, headers[NONCE]

    async def _json(
        self, method: str, path: str, query: dict[str, str] | None = None, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        encoded = b"" if body is None else canonical_json(body).encode()
        return parse(await self._bytes(method, path, query or {}, encoded, ANSWER_MAX_BYTES), ANSWER_MAX_BYTES)

    async def _bytes(self, method: str, path: str, query: dict[str, str], body: bytes, limit: int) -> bytes:
        target = self._path + path + (f"?{urlencode(query)}" if query else "")
        headers, nonce = self._headers(method, target, body)
        answer = await self._send(method, target, headers, body, limit)
        check_answer(self._public_key, nonce, answer.status_code, answer.content, answer.headers.get(SIGNATURE))
        return answer.content

    async def _send(self, method: str, target: str, headers: dict[str, str], body: bytes, limit: int) -> httpx.Response:
        try:
            async with (
                asyncio.timeout(self._call_s + len(body) / CALL_BYTES_PER_S) as until,
                self._http.stream(method, self._origin() + target, headers=headers, content=body) as answer,
            ):
                content = await self._whole(answer, limit if answer.status_code == 200 else REFUSAL_MAX_BYTES, until)
                whole = httpx.Response(answer.status_code, headers=_plain(answer.headers), content=content)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as exc:
            raise _away(exc) from exc
        if whole.status_code != 200:
            raise refusal_of(whole.status_code, whole.content)
        return whole

    @staticmethod
    async def _whole(answer: httpx.Response, limit: int, until: asyncio.Timeout) -> bytes:
        """The body. Each byte that came moves the end of the call by what it may take and no more: whoever sends one
        a second keeps nobody waiting for days."""
        content = bytearray()
        async for piece in answer.aiter_raw():
            content += piece
            if len(content) > limit:
                raise TiergateError(Kind.UNAVAILABLE, "tier.peer_garbled")
            until.reschedule((until.when() or 0.0) + len(piece) / CALL_BYTES_PER_S)
        return bytes(content)


def _plain(headers: httpx.Headers) -> dict[str, str]:
    return {SIGNATURE: headers[SIGNATURE]} if SIGNATURE in headers else {}


def _away(exc: Exception) -> TiergateError:
    cause: BaseException | None = exc
    while cause is not None:  # the pin check, deep in the handshake, speaks for itself
        if isinstance(cause, TiergateError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return TiergateError(Kind.UNAVAILABLE, "tier.peer_away", problem=redact_text(type(exc).__name__))


def refusal_of(status: int, content: bytes) -> TiergateError:
    """The peer's refusal in our words, when it is one we know."""
    kind = _KIND_OF_STATUS.get(status, Kind.UNAVAILABLE)
    if kind is Kind.UNAUTHENTICATED:
        kind = Kind.FORBIDDEN  # it is this node that was not believed, not the person who asked us
    try:
        value = parse(content)
        code, params = value.get("code"), value.get("params")
    except TiergateError:
        code, params = None, None
    if isinstance(code, str) and code in TABLE and isinstance(params, dict):
        plain = {str(k): v if isinstance(v, (int, float, bool)) else str(v)[:200] for k, v in params.items()}
        plain = {k: v for k, v in plain.items() if k not in ("kind", "code", "self")}
        return TiergateError(kind, code, **plain)
    return TiergateError(kind, "tier.peer_refused", status=status)
