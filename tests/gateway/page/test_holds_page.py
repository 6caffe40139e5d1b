"""Holds on the page: what each really protects, and what of it waits for whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from config.units import DAY_MS, HOUR_MS
from tests.gateway.page.site import PageSite, page_site
from tests.gateway.page.test_evidence_page import FIELD
from tests.gateway.web.test_retention_api import footage
from tests.parts.browser import Chromium

pytestmark = pytest.mark.real


@pytest.fixture
def office(tmp_path: Path, english: Chromium) -> Iterator[PageSite]:
    """Under full governance, with a person who may hold and may not read the queue of the second person."""
    with page_site(tmp_path, english.page, node={"governance": "full"}) as site:
        site.site.user("analyst", ("analysis",))
        yield site
        assert english.complaints == []


def place(page: Page, from_ms: int, to_ms: int) -> None:
    page.click("#hold-add")
    page.check("dialog .choose li input >> nth=0")
    page.fill("dialog [name=from]", page.evaluate(FIELD, from_ms))
    page.fill("dialog [name=to]", page.evaluate(FIELD, to_ms))
    page.fill("dialog [name=case]", "A-7")
    page.fill("dialog [name=reason]", "fight at the gate")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog", state="detached")


def test_a_new_hold_says_what_it_protects_and_a_list_how_it_stands(office: PageSite, english: Chromium) -> None:
    page, now_ms = english.page, office.site.now_ms()
    camera = office.add_camera(1)
    footage(office.site, camera, now_ms - 2 * HOUR_MS, now_ms - 3 * HOUR_MS)
    footage(office.site, camera, now_ms - 4 * HOUR_MS, state="deleted")
    office.show(page, "holds", "analyst")
    page.wait_for_selector(".none")

    place(page, now_ms - 5 * HOUR_MS, now_ms - HOUR_MS)
    page.wait_for_selector(".toast.info:has-text('protects 2 segments, 0.0 MB.'):has-text('gone already: 1')")
    row = page.wait_for_selector("tbody tr")
    assert row is not None
    assert "Second copy on its way\n0 of 2 segments" in row.inner_text() and "waiting: 2, since" in row.inner_text()
    assert "Provisional second person until" in row.inner_text()

    place(page, now_ms - 40 * DAY_MS, now_ms - 39 * DAY_MS)
    page.wait_for_selector(".toast.bad:has-text('protects nothing')")
    page.wait_for_selector("tbody .chip.bad:has-text('Protects nothing')")
    place(page, now_ms + HOUR_MS, now_ms + 2 * HOUR_MS)
    page.wait_for_selector(".toast.good:has-text('No finished segment lies in this time yet')")
    page.wait_for_selector("tbody td:has-text('Nothing recorded yet')")


def test_a_hold_says_that_its_review_is_overdue_and_its_release_waits(office: PageSite, english: Chromium) -> None:
    page, now_ms = english.page, office.site.now_ms()
    camera = office.add_camera(1)
    body = {"cameras": [camera], "from": now_ms - DAY_MS, "to": now_ms, "case_no": "A-1", "reason": "x", "review": "1s"}
    with office.api() as api:
        made = api.post("/holds", json=body).raise_for_status().json()
        api.post(f"/holds/{made['id']}/release", json={"reason": "closed"}).raise_for_status()
    office.site.clock.advance(60)
    office.show(page, "holds", "analyst")
    page.wait_for_selector("tbody .chip.bad:has-text('overdue')")
    page.wait_for_selector("tbody .chip.warn:has-text('Provisional')")
    page.wait_for_selector("tbody .chip.warn:has-text('Release asked for')")
    assert page.locator("tbody .acts button").count() == 0
