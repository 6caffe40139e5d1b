"""The dialog that orders a pull, and what stands about running ones; the node below is a table."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

from tests.gateway.page.alone import NOW_MS, Alone, camera
from tests.parts.browser import Chromium
from tests.parts.wait import until

pytestmark = pytest.mark.real

INCIDENTS = [
    {"id": "i1", "number": "A-1", "place": "school", "at_ms": NOW_MS, "closed_ms": None, "cameras": ["hall", "gate"]},
    {"id": "i2", "number": "A-2", "place": "bridge", "at_ms": NOW_MS, "closed_ms": None, "cameras": ["bridge"]},
]


def street(browser: Chromium, **answers: object) -> Alone:
    """One camera of its own, three of the node below."""
    cameras = [camera("hall"), *(camera(name, origin="lower", lease_id=None) for name in ("gate", "bridge", "park"))]
    return Alone(browser.page, {"GET /cameras": cameras, "GET /incidents": INCIDENTS} | answers)


def chosen(page: Page) -> list[str]:
    return page.locator("dialog .choose li:has(input:checked) b").all_inner_texts()


def test_an_incident_brings_its_lower_cameras_and_its_number_and_nothing_else(browser: Chromium) -> None:
    alone = street(browser)
    page = alone.open()
    page.click("#open-pull")
    page.check("dialog input[name=mechanism][value=supervision]")
    page.fill("dialog textarea[name=reason]", "a lost child")
    page.fill("dialog input[name=minutes]", "15")
    page.check("dialog .choose li:has-text('park') input")
    page.select_option("dialog select", "i1")
    assert sorted(chosen(page)) == ["gate", "park"], "the hall's camera is our own"
    assert page.input_value("dialog input[name=case]") == "A-1"
    page.select_option("dialog select", "i2")
    assert sorted(chosen(page)) == ["bridge", "park"]
    page.select_option("dialog select", "")
    assert chosen(page) == ["park"] and page.input_value("dialog input[name=case]") == ""
    page.select_option("dialog select", "i1")
    assert page.is_checked("dialog input[name=mechanism][value=supervision]")
    page.click("dialog button[type=submit]")
    until(lambda: alone.said("POST /pulls"), 10, "the order")
    (body,) = alone.said("POST /pulls")
    assert (body["mechanism"], body["case"], body["reason"], body["minutes"]) == (
        "supervision", "A-1", "a lost child", 15,
    )  # fmt: skip
    assert sorted(body["cameras"]) == ["gate", "park"]


def test_a_pull_opened_from_an_incident_orders_lower_cameras_only(browser: Chromium) -> None:
    page = street(browser).open()
    page.click("#view-admin")
    page.click("[data-section=incidents]")
    page.click("tbody tr:has-text('A-1') button:has-text('Pull')")
    page.wait_for_selector("dialog select option[value=i1]", state="attached")
    until(lambda: page.input_value("dialog select") == "i1", 10, "the incident is named")
    assert chosen(page) == ["gate"] and page.input_value("dialog input[name=case]") == "A-1"


def test_a_running_pull_is_extended_with_a_reason_by_keyboard(browser: Chromium) -> None:
    held = {
        "id": "l1", "kind": "emergency", "case": "A-1", "reason": "a lost child", "persons": [], "cameras": ["gate"],
        "issued_ms": NOW_MS - 600_000, "expires_ms": NOW_MS + 600_000, "confirm_by_ms": None,
    }  # fmt: skip
    longer = held | {"expires_ms": NOW_MS + 2_400_000}
    answers = {"GET /pulls": [held], "POST /pulls/l1/renew": longer}
    alone = Alone(browser.page, {"GET /cameras": [camera("gate", origin="lower", lease_id="l1")]} | answers)
    page = alone.open()
    page.focus(".banner.pulling button:has-text('Extend')")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog textarea[name=reason]:focus")
    page.keyboard.type("lost")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog .field-problem")
    assert alone.said("POST /pulls/l1/renew") == [], "no reason"
    page.focus("dialog textarea[name=reason]")
    page.keyboard.type(", and still not found")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog", state="detached")
    assert alone.said("POST /pulls/l1/renew") == [{"reason": "lost, and still not found", "minutes": 40}]
    assert "00:40" in page.inner_text(".toast.good")


def test_who_may_not_extend_a_pull_is_not_offered_it(browser: Chromium) -> None:
    held = {"id": "l1", "kind": "emergency", "case": "A-1", "cameras": ["gate"], "expires_ms": NOW_MS + 600_000}
    watching = held | {"id": "l2", "kind": "supervision", "case": "B-2"}
    operator = {"kind": "user", "login": "wang", "name": "王", "roles": ["operator"], "must_change": False}
    answers: dict[str, Any] = {"GET /cameras": [camera("gate", origin="lower", lease_id="l1")]}
    page = Alone(browser.page, answers | {"GET /pulls": [held, watching]}).open()
    page.wait_for_selector(".banner.pulling:has-text('B-2')")
    assert page.locator(".banner button:has-text('Extend')").count() == 1, "a supervision is asked for anew"
    page = Alone(browser.another_person(), answers | {"GET /pulls": [held], "GET /session": operator}).open()
    page.wait_for_selector(".banner.pulling:has-text('A-1')")
    assert page.locator(".banner button:has-text('Extend')").count() == 0
