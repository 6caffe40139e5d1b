"""Tokens on the page: what has to be there first is said where it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.page.test_approvals_page import sign_in_alone
from tests.parts.browser import Chromium
from tests.parts.node import QUICK, Node

pytestmark = pytest.mark.real


def test_a_token_is_for_a_department_that_is_there(tmp_path: Path, english: Chromium) -> None:
    with Node(tmp_path / "node", settings=QUICK).init().start() as node:
        page = english.page
        sign_in_alone(page, node, node.user, node.password)
        page.click("#view-admin")
        page.click("[data-section=tokens]")
        page.click("#token-issue")
        page.wait_for_selector("dialog label:has-text('Department') small:has-text('add one under Departments')")
        page.fill("dialog input[name=label]", "education bureau")
        page.click("dialog button.primary")
        page.wait_for_selector("dialog [role=alert]:has-text('add one under Departments')")
        with node.client() as api:
            gone, there = (
                api.post("/api/v1/departments", json={"name": name}).json()["id"] for name in ("old bureau", "bureau")
            )
            assert api.delete(f"/api/v1/departments/{gone}").status_code < 300
        page.keyboard.press("Escape")
        page.click("#token-issue")
        chosen = page.locator("dialog select[name=department]")
        chosen.wait_for()
        assert chosen.input_value() == there and chosen.locator("option").all_inner_texts() == ["bureau"]
        assert page.locator("dialog small:has-text('add one under')").count() == 0
        assert english.complaints == []
