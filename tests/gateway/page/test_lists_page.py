"""Long lists on the page: what is not shown of them is said, and what matters most is never what is left out."""

from __future__ import annotations

import itertools

import pytest
from playwright.sync_api import Route

from config.units import DAY_MS, HOUR_MS
from tests.gateway.page.site import PageSite
from tests.gateway.page.test_pair import act
from tests.gateway.web.test_leases_api import grant, link_up
from tests.parts.browser import Chromium

pytestmark = pytest.mark.real


def test_a_list_and_a_tree_that_are_longer_than_what_is_shown_say_so(place: PageSite, english: Chromium) -> None:
    page, numbers = english.page, itertools.count()
    with place.api() as api:
        camera = api.get(f"/cameras/{place.add_camera(1)}").json()
        (user,) = api.get("/users").json()["items"]

    def endless(route: Route) -> None:
        one, rows = (camera, 500) if "/cameras" in route.request.url else (user, 1000)
        items = [one | {"id": f"{next(numbers):020}"} for _ in range(rows)]
        route.fulfill(json={"items": items, "next": "x"})

    page.route("**/api/v1/users*", endless)
    place.show(page, "users")
    page.wait_for_selector("[role=status]:has-text('2000 are shown; the list is longer.')")
    assert page.locator("tbody tr").count() == 2000
    page.route("**/api/v1/cameras?*", endless)
    act(page, "refreshCameras")
    page.click("[data-section=cameras]")
    page.wait_for_selector("[role=status]:has-text('500 are shown; the list is longer.')")
    page.evaluate("async () => (await import('/page/state.js')).store.set({ view: 'wall' })")
    page.wait_for_selector(".tree-foot [role=status]:has-text('only 5000 cameras shown')")


def test_every_pull_that_was_is_listed(place: PageSite, english: Chromium) -> None:
    link_up(place.site)
    grant(place.site, 230, place.site.now_ms() - DAY_MS)
    place.show(english.page, "pulls")
    english.page.wait_for_selector("tbody tr >> nth=229")
    assert english.page.locator(".cut").count() == 0


def test_standing_holds_come_first_and_the_newest_first_of_all(place: PageSite, english: Chromium) -> None:
    camera, now_ms = place.add_camera(1), place.site.now_ms()
    with place.api() as api:
        for case in ("old", "released", "new"):
            body = {"cameras": [camera], "from": now_ms - HOUR_MS, "to": now_ms, "case_no": case, "reason": "x"}
            made = api.post("/holds", json=body).raise_for_status().json()
            if case == "released":
                api.post(f"/holds/{made['id']}/release", json={"reason": "closed"}).raise_for_status()
            place.site.clock.advance(1)
    place.show(english.page, "holds")
    english.page.wait_for_selector("tbody tr >> nth=2")
    assert english.page.locator("tbody td:first-child").all_inner_texts() == ["new", "old", "released"]
