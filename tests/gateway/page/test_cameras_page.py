"""Registering on the page: an account as the maker delivers it, and a camera that its owner records."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import update

from config.load import load
from config.units import DAY_MS
from storage.catalog.engine import Catalog
from storage.catalog.tables import camera as camera_table
from tests.gateway.page.test_approvals_page import sign_in_alone
from tests.parts.browser import Chromium
from tests.parts.node import QUICK, Node
from tests.parts.wait import until

pytestmark = pytest.mark.real


def test_a_camera_of_somebody_else_is_registered_and_answered_for(tmp_path: Path, english: Chromium) -> None:
    with Node(tmp_path / "node", settings=QUICK).init().start() as node:
        page = english.page
        sign_in_alone(page, node, node.user, node.password)
        page.click("#view-admin")
        page.click("#camera-add")
        page.fill("dialog input[name=address]", "rtsp://127.0.0.1:9/main")
        page.fill("dialog input[name=username]", "admin")
        page.fill("dialog input[name=password]", "12345")
        page.fill("dialog input[name=name]", "Market")
        page.click("dialog button[type=submit]")
        page.wait_for_selector(".toast:has-text('has the account with which its maker delivers it')")
        row = page.locator("tbody tr:has-text('Market')")
        assert row.locator("button:has-text('Attest')").count() == 0, "this node records it"

        row.locator("button:has-text('Edit')").click()
        page.select_option("dialog select[name=recorded_by]", "owner")
        page.click("dialog button[type=submit]")
        row.locator("button:has-text('Attest')").click()
        page.wait_for_selector("dialog [role=status]:has-text('Nothing has been attested')")
        end = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 100 * DAY_MS / 1000))
        page.fill("dialog input[name=attested_by]", "Market office, Zhang")
        page.fill("dialog input[name=document]", "No. 7")
        page.fill("dialog input[name=valid_until]", end)
        for days, word in (("20", "20 days"), ("30", "30 days")):
            page.fill("dialog input[name=days]", days)
            page.click("dialog button[type=submit]")
            page.wait_for_selector(f"dialog [role=status]:has-text('Market office, Zhang: {word}, No. 7, until {end}')")
        page.wait_for_selector("#owner-checks:has-text('has not been asked')")
        (camera,) = node.cli("camera", "list")["items"]
        a_month_ago_ms = int(time.time() * 1000) - 30 * DAY_MS
        catalog = Catalog(load(node.config).catalog_url)
        catalog.write(lambda c: c.execute(update(camera_table).values(created_ms=a_month_ago_ms)))
        catalog.close()
        page.click("#owner-checks button")
        page.wait_for_selector("#owner-checks li[data-verdict=unknown]:has-text('not known')")
        page.wait_for_selector("#owner-checks li:has-text('no ONVIF address of a recorder')")
        assert [a["days"] for a in node.cli("camera", "attest", camera["id"])["items"]] == [30, 20]
        (said,) = node.get("/reports/retention")["recorded_by_owner"]
        assert (said["state"], said["attested_by"]) == ("attested", "Market office, Zhang")
        page.keyboard.press("Escape")
        until(lambda: page.locator("dialog").count() == 0, 5, "closed")
        assert english.complaints == []


def test_an_area_of_a_region_is_made_and_becomes_one_of_names(tmp_path: Path, english: Chromium) -> None:
    with Node(tmp_path / "node", settings=QUICK).init().start() as node:
        first, second = (
            node.cli("camera", "add", f"rtsp://127.0.0.1:9/{name}", "--name", name, "--wait", "0")["id"]
            for name in ("Gate", "Yard")
        )
        page = english.page
        sign_in_alone(page, node, node.user, node.password)
        page.click("#view-admin")
        page.click("[data-section=areas]")
        page.click("button:has-text('New area')")
        page.fill("dialog input[name=name]", "School")
        page.fill("dialog input[name=document_no]", "No. 8")
        region = node.get("/node")["region"]
        page.locator(f"dialog .checks label:has-text('{region}')").locator("input").check()
        page.locator("dialog .choose label:has-text('Yard')").locator("input").check()
        page.click("dialog button[type=submit]")
        page.wait_for_selector("dialog [role=alert]:has-text('cameras or regions, not both')")
        page.locator("dialog .choose label:has-text('Yard')").locator("input").uncheck()
        page.click("dialog button[type=submit]")
        row = page.locator("tbody tr:has-text('School')")
        row.wait_for()
        (area,) = node.cli("area", "list")["items"]
        assert (area["regions"], set(area["cameras"])) == ([region], {first, second})

        row.locator("button:has-text('Edit')").click()
        page.locator(f"dialog .checks label:has-text('{region}')").locator("input").uncheck()
        page.locator("dialog .choose label:has-text('Gate')").locator("input").check()
        page.click("dialog button[type=submit]")
        until(lambda: page.locator("dialog").count() == 0, 5, "saved")
        (area,) = node.cli("area", "list")["items"]
        assert (area["regions"], area["cameras"]) == ([], [first])
        assert all("422" in said for said in english.complaints), english.complaints
