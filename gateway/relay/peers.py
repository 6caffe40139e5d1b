"""One client per link, made when first needed and thrown away when the link's row changes its address or pin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httpx

from config.errors import Kind, TiergateError
from gateway.relay.http import peer_http
from storage.catalog import links
from storage.catalog.engine import Catalog
from storage.catalog.links import LinkRow
from tiering.client import PeerClient
from tiering.signing import Signer

Entropy = Callable[[int], bytes]


class PeerPool:
    def __init__(
        self, catalog: Catalog, signer: Signer, now_ms: Callable[[], int], entropy: Entropy, networks: Sequence[str]
    ) -> None:
        self._networks = networks
        self._catalog = catalog
        self._signer = signer
        self._now_ms = now_ms
        self._entropy = entropy
        self._http: dict[tuple[str, str, bytes | None], httpx.AsyncClient] = {}

    def of(self, link: LinkRow) -> PeerClient:
        key = (link.id, link.url, link.tls_sha256)
        if key not in self._http:
            self._http[key] = peer_http(link.tls_sha256, self._networks)
        return PeerClient(
            link.url, link.peer_node, link.public_key, self._signer, self._http[key], self._now_ms, self._entropy
        )

    async def usable(self, link_id: str) -> LinkRow:
        """Raises tier.link_unknown, tier.link_suspended."""
        link = await self._catalog.aread(lambda c: links.get(c, link_id))
        if link is None:
            raise TiergateError(Kind.NOT_FOUND, "tier.link_unknown")
        if not link.usable:
            raise TiergateError(Kind.FORBIDDEN, "tier.link_suspended")
        return link

    async def close(self) -> None:
        for client in self._http.values():
            await client.aclose()
        self._http.clear()
