"""One client per link, made when first needed; a row with another address gets another one, and one with other
certificates of the peer decides about connections from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import httpx

from config.errors import Kind, TiergateError
from gateway.relay.http import PeerTransport, Pins, http_over
from storage.catalog import links
from storage.catalog.engine import Catalog
from storage.catalog.links import LinkRow
from tiering.certificates import taken
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
        self._http: dict[tuple[str, str], tuple[PeerTransport, httpx.AsyncClient]] = {}
        self._newest: dict[str, LinkRow] = {}

    def of(self, link: LinkRow) -> PeerClient:
        pins = self._pins(link)
        key = (link.id, link.url)
        if key not in self._http:
            transport = PeerTransport(self._networks, pins)
            self._http[key] = transport, http_over(transport)
        transport, http = self._http[key]
        transport.trust(pins)
        return PeerClient(link.url, link.peer_node, link.public_key, self._signer, http, self._now_ms, self._entropy)

    def _pins(self, link: LinkRow) -> Pins:
        """Of the newest row that was met: who read the link before it changed must not bring the old pins back."""
        known = self._newest.get(link.id)
        if known is None or link.created_ms != known.created_ms or _issued(link) >= _issued(known):
            self._newest[link.id] = known = link
        return taken(known.tls_sha256, known.tls_other_sha256, known.tls_other_until_ms, self._now_ms())

    async def usable(self, link_id: str) -> LinkRow:
        """Raises tier.link_unknown, tier.link_suspended."""
        link = await self._catalog.aread(lambda c: links.get(c, link_id))
        if link is None:
            raise TiergateError(Kind.NOT_FOUND, "tier.link_unknown")
        if not link.usable:
            raise TiergateError(Kind.FORBIDDEN, "tier.link_suspended")
        return link

    async def close(self) -> None:
        for _, client in self._http.values():
            await client.aclose()
        self._http.clear()


def _issued(link: LinkRow) -> int:
    return link.tls_issued_ms or 0
