"""What is saved to the operator's disk: whole, or not at all and said so; without a browser and with one."""

from __future__ import annotations

import pytest

from tests.gateway.page.alone import Alone, camera
from tests.gateway.page.test_modules import needs_node, run_js
from tests.parts.browser import Chromium
from tests.parts.wait import until

#: A transfer that ends in the middle, as a browser tells it; how often something was saved.
BROKEN = """
    globalThis.location = { protocol: "http:", host: "x", href: "http://x/" };
    globalThis.localStorage = { getItem: () => null, setItem() {} };
    globalThis.document = { createElement: () => ({ click() { saved += 1; } }), documentElement: {} };
    let saved = 0;
    globalThis.fetch = async (url, { signal }) => new Response(new ReadableStream({
      start(controller) {
        controller.enqueue(new Uint8Array(4));
        signal?.addEventListener("abort", () => controller.error(signal.reason));
        if (!waits) setTimeout(() => controller.error(new TypeError("network error")), 5);
      },
    }));
    let waits = false;
    const { saveClip, saveEvidence, saveSnapshot } = await import("./save.js");
    const { store } = await import("./state.js");
    const camera = { id: "c1", name: "gate" }, query = { from: 0, to: 9, reason: "r", case_no: "", watermark: false };
    const why = (error) => error.words ? [error.code, error.words.en !== error.words.zh] : error.name;
"""


@needs_node
def test_a_transfer_that_breaks_off_is_said_in_both_languages_and_saves_nothing() -> None:
    said = run_js(
        BROKEN
        + """
        const said = [];
        for (const one of [saveClip, saveEvidence]) said.push(await one(camera, query).catch(why));
        await saveSnapshot(camera);
        said.push(why(store.get().toasts[0].text), saved);
        waits = true;
        const leaving = new AbortController();
        setTimeout(() => leaving.abort(), 5);
        said.push(await saveClip(camera, query, { signal: leaving.signal }).catch(why));
        console.log(JSON.stringify(said)); process.exit();
        """
    )
    assert said == [*[["page.broken_off", True]] * 3, 0, "AbortError"]


@pytest.mark.real
def test_a_dialog_is_not_closed_over_a_running_transfer_without_a_word(browser: Chromium) -> None:
    never = {"GET /cameras/gate/clip.mp4": lambda _: None}
    alone = Alone(browser.page, {"GET /cameras": [camera("gate")]} | never)
    page = alone.open()
    page.click(".row.camera")
    page.keyboard.press("Enter")
    page.click('[data-tile="0"]')
    page.keyboard.press("c")
    page.fill("dialog textarea[name=reason]", "fight at the gate")
    page.click("dialog button[type=submit]")
    until(lambda: alone.said("GET /cameras/gate/clip.mp4"), 10, "the clip is asked for")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog [role=alert]:has-text('still runs')")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert page.locator(".toast").count() == 0
