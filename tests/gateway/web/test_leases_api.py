"""The list of leases as its callers page through it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from config.ids import ulid
from config.units import HOUR_MS
from storage.catalog import leases
from storage.catalog.tables import link
from tests.gateway.web.site import ALL_ROLES, REGION, Site, site_in
from tiering.lease import LeaseTerms, Person, to_document
from tiering.server import row_of


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        made.user("admin", ALL_ROLES)
        link_up(made)
        yield made


def link_up(site: Site) -> None:
    peer = {
        "id": "L", "peer_node": "N", "peer_name": "上级", "peer_region": REGION, "peer_tier": "street",
        "peer_role": "upper", "url": "https://x", "public_key": bytes(32), "created_ms": 0, "last_seen_ms": 0,
    }  # fmt: skip
    site.catalog.write(lambda c: c.execute(insert(link).values(**peer)))


def grant(site: Site, count: int, issued_ms: int) -> list[str]:
    """So many leases of one moment that we have granted and that are over; their ids, newest first."""
    who = Person("王", "街道")
    ids = sorted((ulid(issued_ms, bytes([0] * 8 + [i // 256, i % 256])) for i in range(count)), reverse=True)

    def write(connection: Connection) -> None:
        for id_ in ids:
            terms = LeaseTerms(
                id=id_, lower_node="A", upper_node="N", mechanism="emergency", mechanism_version=1, kind="emergency",
                case_no="A-1", reason="smoke", requester=who, approver=None, persons=(who,),
                cameras=("1" * 20,), functions=("live",), max_stream="main", from_ms=None, to_ms=None,
                first_issued_ms=issued_ms, issued_ms=issued_ms, expires_ms=issued_ms + HOUR_MS, confirm_by_ms=None,
                cache_until_ms=issued_ms + HOUR_MS, renewals=0,
            )  # fmt: skip
            leases.add(connection, row_of(terms, "granted", "L", to_document(terms), ""))

    site.catalog.write(write)
    return ids


async def test_leases_come_page_by_page_newest_first_and_none_is_left_out(site: Site) -> None:
    now_ms = site.now_ms()
    # By the time of issue and not by the id, which each lower node gives by a clock of its own.
    old = grant(site, 3, now_ms - 3 * HOUR_MS)
    new = grant(site, 3, now_ms - 2 * HOUR_MS)
    async with await site.sign_in("admin") as admin:
        found: list[str] = []
        query: dict[str, str | int] = {"limit": 2}
        while True:
            answer = (await admin.get("/api/v1/leases", params=query)).json()
            found += [row["id"] for row in answer["items"]]
            if answer["next"] is None:
                break
            query["cursor"] = answer["next"]
        assert found == new + old
        assert (await admin.get("/api/v1/leases", params={"active": True})).json()["items"] == []
        for wrong in ("x", "x.y.z", "12"):
            refused = await admin.get("/api/v1/leases", params={"cursor": wrong})
            assert (refused.status_code, refused.json()["code"]) == (422, "web.cursor")
