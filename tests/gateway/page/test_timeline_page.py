"""Times typed under the wall, by a clock that a table gives."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.gateway.page.alone import NOW_MS, Alone, camera
from tests.parts.browser import Chromium
from tests.parts.wait import until

pytestmark = pytest.mark.real

DAY_MS = 86_400_000
AT = "async (ms) => (await import('/page/time.js')).stamp(ms)"


def typed(page: Page, text: str) -> str:
    """Which moment is asked for; the camera's footage need not be there."""
    page.fill("#time-field", text)
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#time-field').value === ''")
    at_ms = page.evaluate("async () => (await import('/page/state.js')).store.get().tiles[0].playback.at_ms")
    return str(page.evaluate(AT, at_ms))


def test_a_typed_time_is_of_the_day_where_the_tile_is(browser: Chromium) -> None:
    gap = {"kind": "gap", "cause": "network", "from_ms": NOW_MS - 3 * DAY_MS, "to_ms": NOW_MS, "reason": None}
    timeline = {"spans": [gap], "now_ms": NOW_MS + 600_000}
    page = Alone(
        browser.page,
        {"GET /cameras": [camera("gate")], "GET /cameras/gate/timeline": timeline},
        now_ms=NOW_MS + 600_000,  # ten minutes past midnight
    ).open()
    page.click(".row.camera")
    page.keyboard.press("Enter")
    page.click('[data-tile="0"]')
    until(lambda: page.input_value("input.day") == "2026-11-24", 10, "today, by the node's clock")
    foot = page.locator(".timeline-foot .dim").last
    until(lambda: foot.inner_text().startswith("2026-11-23 23:1"), 10, "the view follows the node's clock")
    assert " – 2026-11-24 00:1" in foot.inner_text()
    assert typed(page, "00:05") == "2026-11-24 00:05:00"
    assert typed(page, "23:50") == "2026-11-23 23:50:00", "it would lie ahead"
    assert typed(page, "00:20") == "2026-11-23 00:20:00", "the tile is at yesterday now"

    page.click("#back-to-live")
    page.click(".zooms button:has-text('7')")
    assert typed(page, "00:05") == "2026-11-24 00:05:00", "however much is in view"

    page.fill("input.day", "2026-11-20")
    page.dispatch_event("input.day", "change")
    until(lambda: page.input_value("input.day") == "2026-11-20", 5, "the day is picked")
    assert typed(page, "00:05") == "2026-11-20 00:05:00"
    page.click("#back-to-live")
    until(lambda: page.input_value("input.day") == "2026-11-24", 5, "live is of today")

    box = page.locator(".timeline-box").bounding_box()
    assert box is not None
    page.click(".zooms button:has-text('7')")
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 30)
    tip = page.wait_for_selector(".timeline-tip span.dim")
    assert tip is not None and "2026-11-21 00:00:00 – 2026-11-24 00:00:00" in tip.inner_text()
