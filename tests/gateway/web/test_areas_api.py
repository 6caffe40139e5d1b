"""Key areas over the API and the command line: of named cameras, or of whole regions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.units import DAY_MS
from storage.catalog import facts, retention_rows
from storage.clock_trust import HIGH_WATER
from tests.gateway.web.site import ALL_ROLES, Site, add_camera, site_in

REGION = "210211001003"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_in(tmp_path) as made:
        made.user("admin", ALL_ROLES)
        yield made


async def test_an_area_of_a_region_takes_cameras_as_they_come_until_it_is_given_names(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        first = await add_camera(admin, 1)
        body = {"name": "学校周边", "document_no": "文 1", "regions": [REGION[:9]]}
        made = (await admin.post("/api/v1/areas", json=body)).json()
        assert (made["regions"], made["cameras"]) == ([REGION[:9]], [first])
        second = await add_camera(admin, 2)
        (listed,) = (await admin.get("/api/v1/areas")).json()["items"]
        assert set(listed["cameras"]) == {first, second}
        shown = (await admin.get(f"/api/v1/cameras/{second}")).json()
        assert shown["area_class"] == "key"
        path = f"/api/v1/areas/{made['id']}"
        renamed = (await admin.patch(path, json={"name": "学校"})).json()
        assert (renamed["name"], renamed["regions"]) == ("学校", [REGION[:9]])
        named = (await admin.patch(path, json={"cameras": [first]})).json()
        assert (named["regions"], named["cameras"]) == ([], [first])
        third = await add_camera(admin, 3)
        again = (await admin.patch(path, json={"regions": [REGION]})).json()
        assert (again["regions"], set(again["cameras"])) == ([REGION], {first, second, third})


async def test_cameras_and_regions_together_are_refused_and_change_nothing(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        camera = await add_camera(admin, 1)
        both = {"cameras": [camera], "regions": [REGION]}
        answer = await admin.post("/api/v1/areas", json={"name": "甲", "document_no": "文 1", **both})
        assert (answer.status_code, answer.json()["code"]) == (422, "access.area_mixed")
        made = (await admin.post("/api/v1/areas", json={"name": "甲", "document_no": "文 1"})).json()
        answer = await admin.patch(f"/api/v1/areas/{made['id']}", json=both)
        assert (answer.status_code, answer.json()["code"]) == (422, "access.area_mixed")
        answer = await admin.post("/api/v1/areas", json={"name": "乙", "document_no": "文 1", "regions": ["99"]})
        assert answer.json()["code"] == "access.region_unknown"
        (listed,) = (await admin.get("/api/v1/areas")).json()["items"]
        assert (listed["id"], listed["cameras"], listed["regions"]) == (made["id"], [], [])


async def test_what_is_given_as_nothing_stays_as_it_is(site: Site) -> None:
    async with await site.sign_in("admin") as admin:
        made = (await admin.post("/api/v1/areas", json={"name": "甲", "document_no": "文 1"})).json()
        nothing = {"name": None, "document_no": None, "cameras": None, "regions": None}
        answer = await admin.patch(f"/api/v1/areas/{made['id']}", json=nothing)
        assert (answer.status_code, answer.json()) == (200, made)


async def test_whoever_ends_an_area_takes_no_class_from_what_was_recorded(site: Site) -> None:
    site.user("duty", ("duty",))
    now_ms = site.now_ms()
    async with await site.sign_in("admin") as admin, await site.sign_in("duty") as duty:
        camera = await add_camera(admin, 1)
        body = {"name": "广场", "document_no": "文 1", "cameras": [camera], "from": now_ms - 95 * DAY_MS}
        path = f"/api/v1/areas/{(await admin.post('/api/v1/areas', json=body)).json()['id']}"
        for to_ms in (now_ms - 95 * DAY_MS, now_ms - 96 * DAY_MS, now_ms - 1):
            answer = await duty.patch(path, json={"to": to_ms, "name": "北"})
            assert (answer.status_code, answer.json()["code"]) == (422, "access.area_end_past")
        (listed,) = (await admin.get("/api/v1/areas")).json()["items"]
        assert (listed["name"], listed["valid_to_ms"]) == ("广场", None)
        later = (await duty.patch(path, json={"to": now_ms + DAY_MS})).json()
        assert later["valid_to_ms"] == now_ms + DAY_MS
        assert (await duty.patch(path, json={"to": None})).json()["valid_to_ms"] is None
        # The clock has gone back behind a time that a sweep has trusted.
        site.catalog.write(lambda c: facts.set(c, HIGH_WATER, now_ms + 40 * DAY_MS))
        assert (await admin.delete(path)).status_code == 204
    ((stretch,),) = site.catalog.read(retention_rows.memberships).values()
    assert (stretch.from_ms, stretch.to_ms) == (now_ms - 95 * DAY_MS, now_ms + 40 * DAY_MS)
