"""Sign-ins on the page: one's own in the menu, everybody's in the administration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.page.test_approvals_page import sign_in_alone
from tests.parts.browser import Chromium
from tests.parts.node import QUICK, Node
from tests.parts.wait import until

pytestmark = pytest.mark.real


def test_a_sign_in_that_one_does_not_know_is_ended_and_ones_own_is_signing_out(
    tmp_path: Path, english: Chromium
) -> None:
    with Node(tmp_path / "node", settings=QUICK).init().start() as node:
        page = english.page
        sign_in_alone(page, node, node.user, node.password)
        with node.client() as elsewhere:
            before = elsewhere.get("/api/v1/sessions").json()["items"]
            page.click(".menu summary:has-text('管理员')")
            page.click("button[role=menuitem]:has-text('My sign-ins')")
            rows = page.locator("dialog tbody tr")
            until(lambda: rows.count() == len(before), 10, "every sign-in of the person is shown")
            assert rows.locator(".chip:has-text('this one')").count() == 1
            while rows.locator("button:has-text('End')").count():
                count = rows.count()
                rows.locator("button:has-text('End')").first.click()
                until(lambda count=count: rows.count() == count - 1, 10, "one less")  # type: ignore[misc]  # a bound default
            assert elsewhere.get("/api/v1/cameras").status_code == 401
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")
        focused = "document.activeElement === document.querySelector('#user-menu summary')"
        until(lambda: page.evaluate(focused), 5, "the focus is back where the dialog was asked for")
        page.keyboard.press("Enter")
        page.wait_for_selector("#user-menu[open]")
        page.keyboard.press("Escape")
        page.wait_for_selector("#user-menu:not([open])")
        assert page.evaluate(focused)
        page.keyboard.press("Enter")
        page.wait_for_selector("#user-menu[open]")
        page.click(".brand")
        page.wait_for_selector("#user-menu:not([open])")
        page.click("#view-admin")
        page.click("[data-section=sessions]")
        row = page.locator("tbody tr:has-text('this one')")
        row.wait_for()
        row.locator("button:has-text('Sign out')").click()
        page.wait_for_selector("input[name=password]")
        assert english.complaints == []
