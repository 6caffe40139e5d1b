"""What the dialog of clips and packages says of a file that it has saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Route

from tests.gateway.page.site import page_site
from tests.gateway.page.test_pair import act
from tests.parts.browser import Chromium

pytestmark = pytest.mark.real


def test_a_package_with_gaps_says_so_and_how_many_more_there_are(tmp_path: Path, english: Chromium) -> None:
    page = english.page
    with page_site(tmp_path, page) as site:
        camera, now_ms = site.add_camera(1), site.site.now_ms()
        gap = {"camera": camera, "from_ms": now_ms - 40_000, "to_ms": now_ms - 30_000}
        told = {"X-Tiergate-Gaps": json.dumps([gap]), "X-Tiergate-Damaged": "[]", "X-Tiergate-Not-Listed": "7"}

        def answer(route: Route) -> None:
            route.fulfill(body=b"PK", content_type="application/zip", headers=told)

        page.route("**/api/v1/exports/evidence.zip*", answer)
        site.show(page, "holds")
        page.wait_for_selector(".none")
        act(page, "refreshCameras")
        act(page, "openDialog", "clip", {"camera": camera, "from_ms": now_ms - 60_000, "to_ms": now_ms})
        page.fill("dialog textarea[name=reason]", "fight at the gate")
        page.check("dialog input[name=evidence]")
        with page.expect_download():
            page.click("dialog button[type=submit]")
        page.wait_for_selector("dialog [role=alert]:has-text('7 more: see the package')")
        assert page.locator("dialog [role=alert] li").count() == 1
        assert english.complaints == []
