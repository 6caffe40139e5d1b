"""Pairing of two nodes: our card, invitations, and redeeming somebody else's."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection

from config.clock import Clock
from config.crypto import DEFAULT_SUITE
from config.errors import Kind, TiergateError
from config.settings import Settings, split_listen
from gateway.access.ids import fresh_id
from gateway.relay.http import peer_http
from storage.audit import log as audit
from storage.catalog import links
from storage.catalog.engine import Catalog
from storage.catalog.links import InviteRow
from tiering.client import PeerClient
from tiering.server import add_link, refused
from tiering.signing import Signer
from tiering.topology import refuse_link
from tiering.wire import Card, Invite, checked_url

INVITE_MS = 15 * 60_000


def own_card(
    settings: Settings, node_id: str, public_key: bytes, port: int | None = None, certificate: bytes | None = None
) -> Card:
    """How this node introduces itself; `port` is the real one when the settings ask the kernel to choose,
    `certificate` the digest of the certificate that its relay shows."""
    host, listed = split_listen(settings.relay.listen)
    shown = f"[{host}]" if ":" in host else host
    url = settings.relay.public_url or f"{settings.relay.scheme}://{shown}:{port or listed}"
    node = settings.node
    return Card(node_id, node.name, node.region, node.tier, url.rstrip("/"), public_key, certificate)


async def invite(catalog: Catalog, card: Card, peer_role: str, actor: str, now_ms: int) -> tuple[str, int]:
    """(one-time code, when it is over). `peer_role` is what the accepting node becomes to us."""
    if peer_role not in ("upper", "lower"):
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field="peer_role")
    made = Invite(
        card.url, card.node, DEFAULT_SUITE.digest(card.public_key), card.tls_sha256, peer_role,
        secrets.token_bytes(20), now_ms + INVITE_MS,
    )  # fmt: skip
    code_hash = DEFAULT_SUITE.digest(made.secret)

    def change(connection: Connection) -> None:
        links.add_invite(connection, InviteRow(code_hash, peer_role, now_ms, actor, made.expires_ms))
        audit.append(connection, now_ms, actor, "link.invite", peer_role, {"expires_ms": made.expires_ms})

    await catalog.awrite(change)
    return made.as_code(), made.expires_ms


async def accept(
    catalog: Catalog, clock: Clock, signer: Signer, card: Card, code: str, actor: str, url: str | None,
    networks: Sequence[str],
) -> str:  # fmt: skip
    """Redeems a code at the node that made it; the new link's id. Raises with that node's reason."""
    offer = Invite.from_code(code)
    now_ms = clock.wall_ns() // 1_000_000
    if offer.node == card.node:
        raise TiergateError(Kind.CONFLICT, "tier.invite_own")
    if now_ms >= offer.expires_ms:
        raise TiergateError(Kind.FORBIDDEN, "tier.invite_over")
    if url is not None:
        offer = replace(offer, url=checked_url(url))
    async with peer_http(offer.tls_sha256, networks) as http:
        client = PeerClient(
            offer.url, offer.node, b"", signer, http, lambda: clock.wall_ns() // 1_000_000, secrets.token_bytes
        )
        peer = await client.accept_invite(offer, card)
    if url is not None:
        peer = replace(peer, url=offer.url)
    role = "lower" if offer.role == "upper" else "upper"  # we are upper to it, so it is lower to us
    unfit = refuse_link(card.tier, peer.tier, role)
    if unfit is not None:
        raise refused(unfit, Kind.CONFLICT)
    change = functools.partial(add_link, card=peer, role=role, now_ms=now_ms, link_id=fresh_id(clock), actor=actor)
    return await catalog.awrite(change)
