"""A stream password made, seen once and revoked on the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.page.test_pair import sign_in
from tests.parts.browser import Chromium
from tests.parts.node import QUICK, Node
from tests.parts.wait import until

pytestmark = pytest.mark.real


def test_a_stream_password_is_made_shown_once_and_revoked(tmp_path: Path, browser: Chromium) -> None:
    node = Node(tmp_path / "node", settings=QUICK).init()
    with node.start():
        with node.client() as client:
            camera = client.post("/api/v1/cameras", json={"url": "rtsp://127.0.0.1:9/main", "name": "口岸"})
            assert camera.status_code == 201, camera.text
        page = browser.page
        sign_in(page, node, node.user, node.password)
        page.click("#view-admin")
        page.click("[data-section=tokens]")
        page.click("#stream-password-create")
        page.wait_for_selector("dialog input[name=label]")
        page.fill("dialog input[name=label]", "交警录像机")
        page.check("dialog input[type=checkbox]")
        page.fill("dialog input[name=networks]", "10.1.2.0/24, 10.1.3.0/24")
        page.click("dialog button[type=submit]")
        page.wait_for_selector("dialog .once textarea")
        shown = page.input_value("dialog .once textarea")
        (made,) = node.get("/stream-passwords")["items"]
        assert (made["label"], made["networks"]) == ("交警录像机", ["10.1.2.0/24", "10.1.3.0/24"])
        assert made["cameras"] == [camera.json()["id"]] and made["id"] in shown
        secret = shown.splitlines()[1].rpartition(" ")[2]
        assert len(secret) == 26
        page.keyboard.press("Escape")
        until(lambda: page.locator("dialog").count() == 0, 20, "the dialog is closed")
        page.reload()
        page.wait_for_selector("#view-admin")
        assert secret not in page.content()
        page.click("#view-admin")
        page.click("[data-section=tokens]")
        page.click("section.panel td.acts button.danger")
        page.click("dialog button.danger")
        until(lambda: node.get("/stream-passwords")["items"][0]["state"] == "revoked", 20, "it is revoked")
        until(lambda: page.locator("section.panel td.acts button.danger").count() == 0, 20, "the page says so")
        in_nav = "document.activeElement.closest('.admin-nav') !== null"
        until(lambda: page.evaluate(in_nav), 5, "what was pressed is gone: the next Tab goes on in this section")
        assert browser.complaints == []
