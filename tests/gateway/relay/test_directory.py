"""What a lower node may say of cameras: its own, in its own region, and never another node's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from config.clock import ManualClock
from config.errors import TiergateError
from gateway.access import resources
from gateway.relay import pairing
from storage.catalog import cameras as camera_rows
from storage.catalog import leases, links, peers, places
from storage.catalog.tables import audit
from tests.gateway.relay.pair import CAMERA, OTHER, Node, add_camera, add_cameras, node, pair
from tests.gateway.relay.test_pull import pull
from tests.parts.wait import until_async
from tiering import directory
from tiering.wire import Directory, DirectoryCamera

REGION = "210102001001"


def below(upper: Node) -> list[links.LinkRow]:
    return upper.catalog.read(lambda c: links.all_of(c, "lower"))


def having(upper: Node, camera: str) -> list[str]:
    return [row.link_id for row in upper.catalog.read(lambda c: peers.listed(c, [camera]))]


@pytest.mark.fault("S14")
async def test_a_node_that_names_another_nodes_cameras_does_not_get_them(tmp_path: Path) -> None:
    async with pair(tmp_path) as (upper, lower), node(tmp_path / "third", lower.clock, "community", REGION) as third:
        add_cameras(third)
        [first] = below(upper)
        code, _ = await pairing.invite(third.catalog, third.service.card, "upper", "user:test", third.now_ms)
        await upper.control.accept_link(code, "user:duty")
        [other] = [link for link in below(upper) if link.id != first.id]
        lease = await pull(upper)
        row = upper.catalog.read(lambda c: leases.get(c, lease, "held"))
        assert row is not None and row.link_id == first.id
        assert having(upper, CAMERA) == having(upper, OTHER) == [first.id]
        problems = (await upper.control.status())["problems"]
        assert {i: (p["code"], p["params"]) for i, p in problems.items()} == {
            other.id: ("tier.cameras_aside", {"count": 2, "camera": CAMERA})
        }
        told = select(audit.c.subject, audit.c.details).where(audit.c.action == "link.cameras_aside")
        assert [tuple(entry) for entry in upper.catalog.read(lambda c: c.execute(told).all())] == [
            (other.id, {"count": 2, "cameras": [CAMERA, OTHER]})
        ]

        upper.catalog.write(lambda c: links.change(c, first.id, {"removed_ms": upper.now_ms}))
        upper.clock.advance(61)

        async def changed_hands() -> bool:
            return having(upper, CAMERA) == [other.id] and not (await upper.control.status())["problems"]

        await until_async(changed_hands, 15, "the camera is the other node's once the first has it no more")


def camera(**more: Any) -> DirectoryCamera:
    values = {"id": CAMERA, "name": "gate", "tier": "community", "region": REGION, "region_name": "", "state": "ok"}
    return DirectoryCamera(**{**values, "details": {}, **more})


@pytest.mark.fault("S14")
async def test_only_cameras_of_its_own_tier_and_region_are_taken(tmp_path: Path) -> None:
    async with node(tmp_path / "upper", ManualClock(), "street", "210102001") as upper:
        link = links.LinkRow(
            "01K000000000000000000000LK", "n" * 16, "below", REGION, "community", "lower", "http://127.0.0.1:9",
            bytes(32), None, "shared", 10_000_000, upper.now_ms,
        )  # fmt: skip
        own = camera_rows.NewCamera(
            name="ours", region="210102001", streams=(("main", "rtsp://10.0.0.9/a", None),), id=OTHER
        )
        moved = places.make_region("210102009001", "zone", "community", REGION, "local")

        def prepare(connection: Any) -> None:
            links.add(connection, link)
            add_camera(connection, own, upper)
            places.put_regions(connection, [places.make_region(REGION, "r", "community", "210102001", "gb2260")], 1)
            places.put_regions(connection, [moved], upper.now_ms)

        upper.catalog.write(prepare)
        for told, is_taken in (
            (camera(), True),
            (camera(region=moved.code), True),  # a zone whose parent stands in our table
            (camera(region="210102001"), False),
            (camera(region="210102001002"), False),
            (camera(region="210102009"), False),
            (camera(tier="street"), False),
            (camera(id=OTHER), False),
        ):
            said = Directory("d", {}, (told,), ())
            stored = upper.catalog.write(lambda c, said=said: directory.store(c, link, said, upper.now_ms))  # type: ignore[misc]  # bound now
            assert (stored.aside, having(upper, told.id)) == (((), [link.id]) if is_taken else ((told.id,), [])), told


@pytest.mark.fault("S14")
async def test_a_camera_that_stands_under_two_links_is_pulled_from_neither(tmp_path: Path) -> None:
    """As it could be entered once: the older link has it, and the other loses it with its next directory."""
    async with pair(tmp_path) as (upper, _lower):
        [first] = below(upper)
        second = replace(first, id="01K000000000000000000000LK", peer_node="x" * 16, created_ms=first.created_ms + 1)
        [row] = upper.catalog.read(lambda c: peers.listed(c, [CAMERA]))
        twice = replace(row, link_id=second.id, region="210102001002")

        def enter(connection: Any) -> None:
            links.add(connection, second)
            peers.replace_all(connection, second.id, [twice], upper.now_ms)

        upper.catalog.write(enter)
        with pytest.raises(TiergateError) as refused:
            await pull(upper)
        assert refused.value.reason.code == "tier.camera_ambiguous"
        known = upper.catalog.read(lambda c: resources.load(c, [CAMERA], upper.now_ms))
        assert row.region in known[CAMERA].regions and twice.region not in known[CAMERA].regions
        older, younger = upper.catalog.read(lambda c: (peers.elsewhere(c, first), peers.elsewhere(c, second)))
        assert CAMERA not in older and CAMERA in younger
