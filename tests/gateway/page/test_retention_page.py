"""Retention on the page: plans that are long, sweeps that refuse, changes that are tried out."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from config.units import DAY_MS
from tests.gateway.page.site import PageSite
from tests.gateway.web.test_retention_api import footage, state
from tests.parts.browser import Chromium

pytestmark = pytest.mark.real


def test_a_long_plan_begins_with_what_goes_names_cameras_and_says_that_it_is_cut(
    place: PageSite, english: Chromium
) -> None:
    page, camera = english.page, place.add_camera(1, name="Gate")
    item: dict[str, Any] = {"camera_id": camera, "class": "key", "keep": True, "segments": 1, "bytes": 1}
    total = {"segments": 250, "bytes": 250, "remove_segments": 1}
    plan = {"items": [item] * 249 + [item | {"keep": False}], "next": None, "at_ms": 1, "total": total}
    page.route("**/api/v1/retention/plan*", lambda route: route.fulfill(json=plan))
    place.show(page, "retention")
    page.click(".admin-head button >> nth=0")
    page.wait_for_selector(".cut:has-text('200 are shown; the list is longer.')")
    first = page.inner_text(".told li >> nth=0").split("\n")
    assert ["Gate", "no"] == [first[i] for i in (1, 5)], first
    assert camera not in page.inner_text(".told")
    assert page.inner_text(".panel .facts dt >> nth=0") == "moment", "sums before the list"


def sweep(page: Page) -> None:
    page.click(".admin-head button.danger")
    page.click("dialog .form-acts button.danger")


def test_a_sweep_that_refuses_says_why_and_the_guard_is_answered_by_its_number(
    place: PageSite, english: Chromium
) -> None:
    page, now_ms, camera = english.page, place.site.now_ms(), place.add_camera(1)
    place.show(page, "retention")
    sweep(page)
    page.wait_for_selector(".toast.good:has-text('The sweep has run.')")
    due = footage(place.site, camera, *(now_ms - 40 * DAY_MS - n * 60_000 for n in range(12)))
    sweep(page)
    page.wait_for_selector("dialog:has-text('would mark 12 segments for deletion')")
    page.wait_for_selector(".toast.bad")
    page.wait_for_selector("p.form-problem:has-text('Last sweep')")
    assert {state(place.site, one) for one in due} == {"stored"}
    with page.expect_request("**/retention/sweep*") as confirmed:
        page.click("dialog button:has-text('Mark 12 segments for deletion')")
    assert confirmed.value.url.endswith("?confirm=12")
    page.wait_for_selector("p.fine:has-text('Last sweep')")
    page.wait_for_selector("dialog", state="detached")
    assert {state(place.site, one) for one in due} == {"condemned"}

    place.site.clock.step_wall(3600)
    sweep(page)
    page.wait_for_selector(".toast.bad:has-text('clock')")
    page.wait_for_selector("p.form-problem:has-text('Last sweep')")
    page.wait_for_selector("dialog", state="detached")


def test_what_a_change_would_delete_is_asked_with_its_basis_and_goes_when_the_change_changes(
    place: PageSite, english: Chromium
) -> None:
    page = english.page
    place.show(page, "retention")
    page.click("tbody tr:has-text('KEY') button")
    page.fill("dialog [name=months]", "4")
    page.click("dialog button:has-text('What would it delete?')")
    page.wait_for_selector("dialog dt:has-text('refused because') + dd:has-text('legal basis')")
    page.fill("dialog [name=legal_basis]", "order 5")
    page.wait_for_selector("dialog dt", state="detached")
    page.click("dialog button:has-text('What would it delete?')")
    page.wait_for_selector("dialog dt:has-text('refused because') + dd:has-text('–')")
