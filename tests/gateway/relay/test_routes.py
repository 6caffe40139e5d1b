"""The routes that people and the command line use: pair, pull, banner below, confirm, timeline, playback window,
stop.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway.relay.adapters import KeySigner, LooksRegister
from gateway.relay.lower import RelayFootage
from gateway.relay.service import RelayService
from gateway.web.routers.links import relay_of
from storage.catalog.segments import SegmentRow
from storage.objects.folder import FolderStore
from tests.gateway.relay.pair import Node, Pictures, StoreFootage
from tests.gateway.web.site import Site, add_camera
from tests.parts.process import free_port
from tests.parts.wait import until_async
from tiering.ports import FootageReader


@dataclass
class Half:
    """One node with both its processes' parts: web routes and relay."""

    site: Site
    relay: RelayService
    store: FolderStore
    cache: FolderStore


@contextlib.asynccontextmanager
async def half(folder: Path, tier: str, region: str) -> AsyncIterator[Half]:
    site = Site(
        folder,
        node={"name": f"{tier} node", "tier": tier, "region": region},
        relay={"listen": f"127.0.0.1:{free_port()}", "allowed_networks": ["127.0.0.0/8"]},
    )
    store, cache = FolderStore(folder / "objects", name="video"), FolderStore(folder / "cache", name="cache")
    store.ensure()
    cache.ensure()
    footage: FootageReader = StoreFootage(store)
    services = site.services
    relay = RelayService(
        site.settings, site.catalog, site.clock, KeySigner(services.keys), LooksRegister(services.looks), Pictures(),
        footage, store, cache,
    )  # fmt: skip
    async with site.running(), relay.running():
        try:
            yield Half(site, relay, store, cache)
        finally:
            await relay_of(services).close()
    site.close()


async def test_the_sentence_of_the_pull_by_its_routes(tmp_path: Path) -> None:
    async with (
        half(tmp_path / "upper", "street", "210211001") as upper,
        half(tmp_path / "lower", "community", "210211001003") as lower,
    ):
        for side in (upper, lower):
            side.site.user("admin", ("system_admin", "security_admin"))
            side.site.user("duty", ("duty",))
            side.site.user("second", ("duty",))
            side.site.user("guest", ("auxiliary",))
            side.site.user("inspector", ("inspection",))
        up, down = await upper.site.sign_in("admin"), await lower.site.sign_in("admin")
        camera = await add_camera(down, 7)
        invite = await down.post("/api/v1/links/invite", json={"peer_role": "upper"})
        assert invite.status_code == 201, invite.text
        accepted = await up.post("/api/v1/links/accept", json={"code": invite.json()["code"]})
        assert accepted.status_code == 201, accepted.text
        assert accepted.json()["peer_role"] == "lower" and accepted.json()["peer_tier"] == "community"
        again = await up.post("/api/v1/links/accept", json={"code": invite.json()["code"]})
        assert (again.status_code, again.json()["code"]) == (403, "tier.invite_over")

        duty, second, guest = [await upper.site.sign_in(n) for n in ("duty", "second", "guest")]
        body = {
            "mechanism": "emergency",
            "cameras": [camera],
            "case": "A-9",
            "reason": "fire at the gate",
            "minutes": 20,
        }
        assert (await guest.post("/api/v1/pulls", json=body)).status_code == 403
        missing = await duty.post("/api/v1/pulls", json={**body, "cameras": ["21021100001326999999"]})
        assert missing.status_code in (404, 422), missing.text
        pulled = await duty.post("/api/v1/pulls", json=body)
        assert pulled.status_code == 201, pulled.text
        lease = pulled.json()["id"]
        assert (pulled.json()["state"], pulled.json()["cameras"]) == ("active", [camera])

        below = (await down.get("/api/v1/leases", params={"side": "granted", "active": "true"})).json()["items"]
        assert [(b["id"], b["case_no"], b["reason"], b["requester"]) for b in below] == [
            (lease, "A-9", "fire at the gate", {"name": "Duty", "unit": "street node"})
        ]
        assert (await duty.post(f"/api/v1/leases/{lease}/confirm")).status_code == 409
        confirmed = await second.post(f"/api/v1/leases/{lease}/confirm")
        assert confirmed.status_code == 200 and confirmed.json()["confirmed_by"] == "Second", confirmed.text
        renewed = await duty.post(f"/api/v1/pulls/{lease}/renew", json={"reason": "still burning", "minutes": 90})
        assert renewed.status_code == 200 and renewed.json()["renewals"] == 1, renewed.text

        now_ms = lower.site.now_ms()
        row = record(lower, camera, now_ms - 60_000)
        query = {"camera": camera, "from": str(now_ms - 120_000), "to": str(now_ms)}
        line = await duty.get(f"/api/v1/leases/{lease}/timeline", params=query)
        assert line.status_code == 200, line.text
        footage = [s for s in line.json()["spans"] if s["kind"] == "footage"]
        assert [(s["from_ms"], s["to_ms"]) for s in footage] == [(row.start_ms, row.end_ms)]
        reader = RelayFootage(relay_of(upper.site.services))
        (piece,) = await reader.window(lease, camera, "main", now_ms - 120_000, now_ms)
        assert (await reader.config(piece)).video.width == 320
        assert await reader.read(piece, 5, 50) == lower.store.read(row.object_key)[5:55]

        assert (await duty.delete(f"/api/v1/pulls/{lease}")).status_code == 204
        ended = (await down.get(f"/api/v1/leases/{lease}")).json()
        assert ended["ended_ms"] is not None and ended["end_reason"] == "released"

        async def purged() -> bool:
            return bool((await down.get(f"/api/v1/leases/{lease}")).json()["purged_ms"])

        await until_async(purged, 10, "the purge statement arrives")
        await _incidents(duty, camera)

        inspector = await upper.site.sign_in("inspector")
        refused = await inspector.post("/api/v1/pulls", json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "access.role_needed")
        check = {**body, "mechanism": "supervision", "case": "P-1", "reason": "monthly check", "approver": "duty"}
        kept = await inspector.post("/api/v1/pulls", json=check)
        assert (kept.status_code, kept.json()["code"]) == (403, "tier.camera_not_shared")  # the lower node's veto
        assert (await down.patch(f"/api/v1/cameras/{camera}", json={"sharing": "upper"})).status_code == 200
        looked_at = await inspector.post("/api/v1/pulls", json=check)
        assert looked_at.status_code == 201, looked_at.text
        assert (await inspector.delete(f"/api/v1/pulls/{looked_at.json()['id']}")).status_code == 204
        assert (await inspector.get("/api/v1/register")).status_code == 200
        for client in (up, down, duty, second, guest, inspector):
            await client.aclose()


def record(side: Half, camera: str, start_ms: int) -> SegmentRow:
    """As the recorder and keeper leave it, by the helper of the pair."""
    site = side.site
    node = Node.__new__(Node)
    node.__dict__.update(
        settings=site.settings,
        clock=site.clock,
        keys=site.services.keys,
        catalog=site.catalog,
        store=side.store,
        segments=[],
    )
    return node.record(camera, start_ms)


async def _incidents(duty: httpx.AsyncClient, camera: str) -> None:
    body = {"number": "2026-1", "place": "gate", "cameras": [camera]}
    made = await duty.post("/api/v1/incidents", json=body)
    assert made.status_code == 201, made.text
    assert (await duty.post("/api/v1/incidents", json=body)).json()["code"] == "tier.incident_exists"
    closed = await duty.patch(f"/api/v1/incidents/{made.json()['id']}", json={"closed": True})
    assert closed.json()["closed_ms"] is not None
    assert (await duty.get("/api/v1/incidents")).json()["items"] == []


@pytest.mark.fault("S15")
async def test_a_suspended_link_ends_its_pulls_and_refuses_new_ones(tmp_path: Path) -> None:
    async with (
        half(tmp_path / "upper", "street", "210211001") as upper,
        half(tmp_path / "lower", "community", "210211001003") as lower,
    ):
        for side in (upper, lower):
            side.site.user("admin", ("system_admin", "security_admin", "duty"))
        up, down = await upper.site.sign_in("admin"), await lower.site.sign_in("admin")
        camera = await add_camera(down, 7)
        code = (await down.post("/api/v1/links/invite", json={"peer_role": "upper"})).json()["code"]
        await up.post("/api/v1/links/accept", json={"code": code})
        body = {"cameras": [camera], "case": "A-9", "reason": "fire at the gate"}
        now_ms = lower.site.now_ms()
        row = record(lower, camera, now_ms - 60_000)
        control = relay_of(upper.site.services)

        async def cached() -> str:
            made = (await up.post("/api/v1/pulls", json=body)).json()["id"]
            await control.read(made, row.id, camera, "main", 0, 1000)
            assert [o.key.split("/")[1] for o in upper.cache.list()] == [made]
            return str(made)

        async def nothing_is_left() -> bool:
            return not list(upper.cache.list())

        async def told() -> bool:
            return bool((await down.get(f"/api/v1/leases/{lease}")).json()["purged_ms"])

        lease = await cached()
        (link,) = (await down.get("/api/v1/links")).json()["items"]
        assert (await down.patch(f"/api/v1/links/{link['id']}", json={"suspended": True})).status_code == 200
        assert (await down.get(f"/api/v1/leases/{lease}")).json()["end_reason"] == "suspended"
        refused = await up.post("/api/v1/pulls", json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "tier.link_suspended")
        await until_async(nothing_is_left, 12, "the cache above ends with the link")
        await until_async(told, 10, "the purge statement goes over the suspended link")
        await down.patch(f"/api/v1/links/{link['id']}", json={"suspended": False})
        lease = await cached()
        assert (await down.delete(f"/api/v1/links/{link['id']}")).status_code == 204
        gone = await up.post("/api/v1/pulls", json=body)
        assert gone.status_code == 403 and gone.json()["code"] == "tier.peer_unknown"
        await until_async(nothing_is_left, 12, "the cache above ends with a link that is removed")
        for client in (up, down):
            await client.aclose()


@pytest.mark.fault("S14", "S26")
async def test_a_wrong_certificate_is_refused_before_a_byte_is_sent(tmp_path: Path) -> None:
    import asyncio
    import hashlib
    import ssl

    from config.errors import TiergateError
    from gateway.relay.http import certificate_sha256, peer_http
    from tests.tiering.test_wire import PUBLIC, Signer
    from tiering.client import PeerClient

    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    good = certificate_sha256(cert)
    for pin, code in ((hashlib.sha256(b"x").digest(), "tier.tls_pin"), (good, "tier.peer_away")):
        async with peer_http(pin, ["127.0.0.0/8"]) as http:
            client = PeerClient(f"https://127.0.0.1:{port}", "n" * 16, PUBLIC, Signer(), http, lambda: 0, bytes)
            with pytest.raises(TiergateError) as refused:
                await client.directory(None)
        assert refused.value.reason.code == code
        assert any(heard) == (code != "tier.tls_pin")
    server.close()
    await server.wait_closed()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of now."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "node")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = (
        builder.serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, private
