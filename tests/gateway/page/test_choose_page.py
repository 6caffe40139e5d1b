"""Choosing cameras in a form: among many, by a few words of the name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.page.site import page_site
from tests.parts.browser import Chromium

pytestmark = pytest.mark.real


def test_a_camera_among_many_is_found_by_its_name_and_what_was_chosen_before_stays(
    tmp_path: Path, english: Chromium
) -> None:
    page = english.page
    with page_site(tmp_path, page) as site:
        with site.api() as api:
            camera = api.get(f"/cameras/{site.add_camera(1)}").json()
        many = [camera | {"id": f"{n:020}", "name": f"Gate {n}"} for n in range(150)]
        page.route("**/api/v1/cameras?*", lambda route: route.fulfill(json={"items": many, "next": None}))
        site.show(page, "incidents")
        page.click(".admin-head button.primary")
        page.fill("dialog [name=number]", "A-7")
        page.fill("dialog [name=place]", "market")
        page.wait_for_selector("dialog .choose .cut:has-text('100 are shown')")
        for number in (149, 120):
            page.fill("dialog .choose [type=search]", f"gate {number}")
            page.press("dialog .choose [type=search]", "Enter")
            page.check("dialog .choose li input")
        page.wait_for_selector("dialog .choose legend:has-text('2 chosen')")
        with page.expect_request("**/api/v1/incidents") as sent:
            page.click("dialog button[type=submit]")
        body = sent.value.post_data_json
        assert body is not None and body["cameras"] == [f"{n:020}" for n in (149, 120)]


def test_a_pull_is_of_cameras_of_the_lower_tier_alone(tmp_path: Path, english: Chromium) -> None:
    page = english.page
    with page_site(tmp_path, page) as site:
        with site.api() as api:
            camera = api.get(f"/cameras/{site.add_camera(1)}").json()
        lower = camera | {"id": f"{7:020}", "name": "Below", "origin": "lower"}
        page.route("**/api/v1/cameras?*", lambda route: route.fulfill(json={"items": [camera, lower], "next": None}))
        site.show(page, "pulls")
        page.click(".admin-head button.primary")
        page.check("dialog .choose li:has-text('Below') input")
        page.wait_for_selector("dialog .choose legend:has-text('lower tier (1 chosen)')")
        assert page.locator("dialog .choose li").count() == 1
        assert english.complaints == []
