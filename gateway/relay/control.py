"""The relay as other processes call it: a client of ``run/relay.sock``.

Web's routers and playback use this; errors come back as the `TiergateError`s that the relay raised.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from config.errors import Kind, TiergateError
from gateway.relay.pulls import INDEX_PAGES_MAX, PullOrder
from tiering.client import refusal_of
from tiering.lease import Person, canonical_json
from tiering.wire import FootageIndex

_TIMEOUT = httpx.Timeout(60.0, connect=2.0)  #: a range may wait for its turn on a thin line


class RelayControl:
    """`socket` is ``<data>/run/relay.sock``. One per process; `close` at its end."""

    def __init__(self, socket: Path) -> None:
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket)),
            base_url="http://relay",
            timeout=_TIMEOUT,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None, **query: str) -> bytes:
        content = canonical_json(body).encode() if body is not None else None
        try:
            answer = await self._http.request(method, f"/local/v1{path}", content=content, params=query)
        except httpx.HTTPError as exc:
            raise TiergateError(Kind.UNAVAILABLE, "tier.relay_away") from exc
        if answer.status_code != 200:
            raise refusal_of(answer.status_code, answer.content)
        return answer.content

    async def _json(self, method: str, path: str, body: dict[str, Any] | None = None, **query: str) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(await self._call(method, path, body, **query))
        return value

    async def pull(self, order: PullOrder) -> dict[str, Any]:
        """``{"leases": [id], "narrowed": [reason], "refused": [{"link_id", "cameras", "reason"}]}``"""
        body: dict[str, Any] = {
            "mechanism": order.mechanism, "case": order.case_no, "reason": order.reason,
            "requester": _person(order.requester), "persons": [_person(p) for p in order.persons],
            "cameras": list(order.cameras), "minutes": order.minutes, "actor": order.actor,
            "functions": None if order.functions is None else list(order.functions), "max_stream": order.max_stream,
            "approver": None if order.approver is None else _person(order.approver),
            "from_ms": order.from_ms, "to_ms": order.to_ms, "cache_minutes": order.cache_minutes,
        }  # fmt: skip
        return await self._json("POST", "/pulls", body)

    async def confirm(self, lease: str, who: Person, actor: str) -> dict[str, Any]:
        return await self._json("POST", f"/leases/{lease}/confirm", {"person": _person(who), "actor": actor})

    async def renew(self, lease: str, reason: str, minutes: int, actor: str) -> dict[str, Any]:
        body = {"reason": reason, "minutes": minutes, "actor": actor}
        return await self._json("POST", f"/leases/{lease}/renew", body)

    async def end(self, lease: str, reason: str, actor: str) -> dict[str, Any]:
        return await self._json("POST", f"/leases/{lease}/end", {"reason": reason, "actor": actor})

    async def accept_link(self, code: str, actor: str, url: str | None = None) -> str:
        """The new link's id. `url` where the inviting node is reached, if not as its code says."""
        return str((await self._json("POST", "/links/accept", {"code": code, "actor": actor, "url": url}))["id"])

    async def status(self) -> dict[str, Any]:
        return await self._json("GET", "/status")

    async def index(self, lease: str, camera: str, stream: str, from_ms: int, to_ms: int) -> FootageIndex:
        """Segments (with init, fragments, hashes) and gaps of a lower node's camera."""
        path = f"/leases/{lease}/index/{camera}"
        query = {"from": str(from_ms), "to": str(to_ms), "stream": stream}
        return FootageIndex.from_json(await self._json("GET", path, None, **query), INDEX_PAGES_MAX)

    async def read(self, lease: str, segment: str, camera: str, stream: str, offset: int, length: int) -> bytes:
        """Bytes of a lower node's segment, from the cache or over the line; shorter only at its end."""
        query = {"camera": camera, "stream": stream, "offset": str(offset), "length": str(length)}
        return await self._call("GET", f"/leases/{lease}/segments/{segment}", None, **query)


def _person(person: Person) -> dict[str, str]:
    return {"name": person.name, "unit": person.unit}
