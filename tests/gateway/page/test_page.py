"""The page in a real browser, on a real node with real cameras."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.gateway.page.conftest import TILES, PageNode
from tests.parts.browser import Chromium
from tests.parts.wait import until

pytestmark = pytest.mark.real


def sign_in(page: Page, node: PageNode) -> None:
    page.goto(node.url)
    page.fill("input[name=login]", node.node.user)
    page.fill("input[name=password]", node.node.password)
    page.click("button[type=submit]")
    page.wait_for_selector(".row.camera")


def arrange(page: Page, layout: str, cameras: list[str]) -> None:
    """The wall as somebody left it."""
    page.evaluate(
        "(kept) => localStorage.setItem('tiergate.wall', JSON.stringify(kept))", {"layout": layout, "cameras": cameras}
    )
    page.reload()
    page.wait_for_selector(".row.camera")


def states(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.eval_on_selector_all(
        ".tile",
        """(tiles) => tiles.map((one) => { const video = one.querySelector("video:not(.behind)");
          return { ...one.dataset, at: video ? video.currentTime : null, width: video ? video.videoWidth : 0 }; })""",
    )
    return found


def put(page: Page, camera: str) -> None:
    """Found by name in the tree, put into the first tile by Enter."""
    page.click('[data-tile="0"]')
    page.fill("#camera-search", camera)
    page.keyboard.press("Enter")
    page.wait_for_selector(f'[data-tile="0"][data-camera="{camera}"]')


def place(page: Page, at_ms: int) -> tuple[float, float]:
    """Where on the screen the timeline shows a moment."""
    x, y = page.evaluate(
        """(ms) => {
          const box = document.querySelector(".timeline-box"), area = box.getBoundingClientRect();
          const from = Number(box.getAttribute("aria-valuemin")), to = Number(box.getAttribute("aria-valuemax"));
          return [area.x + (area.width * (ms - from)) / (to - from), area.y + 32];
        }""",
        at_ms,
    )
    return x, y


def test_sixteen_tiles_play(page_node: PageNode, english: Chromium) -> None:
    page = english.page
    sign_in(page, page_node)
    arrange(page, "16", page_node.cameras)
    until(lambda: [s["state"] for s in states(page)] == ["playing"] * TILES, 60, "sixteen tiles playing")
    before = states(page)
    assert {s["stream"] for s in before} == {"sub"}
    assert all(s["width"] > 0 for s in before)
    until(lambda: all(b["at"] > a["at"] for a, b in zip(before, states(page), strict=True)), 30, "each picture goes on")
    assert english.complaints == []


def test_a_large_tile_takes_the_main_stream_by_webrtc(page_node: PageNode, english: Chromium) -> None:
    page = english.page
    sign_in(page, page_node)
    arrange(page, "1", [])
    put(page, page_node.cameras[2])
    wanted = {"state": "playing", "stream": "main", "method": "whep"}
    until(lambda: states(page)[0].items() >= wanted.items(), 60, "main by WebRTC")
    before = states(page)[0]["at"]
    until(lambda: states(page)[0]["at"] > before, 20, "the picture goes on")
    assert english.complaints == []


def test_timeline_jump_plays_and_live_comes_back(page_node: PageNode, english: Chromium) -> None:
    page, camera = english.page, page_node.cameras[0]
    until(
        lambda: sum(s["to_ms"] - s["from_ms"] for s in page_node.node.footage(camera)) > 15_000, 60, "15 s of footage"
    )
    sign_in(page, page_node)
    arrange(page, "1", [])
    put(page, camera)
    span = page_node.node.footage(camera)[-1]
    wanted_ms = span["to_ms"] - 10_000
    page.click("#time-field")
    text = page.evaluate("async (ms) => (await import('/page/time.js')).stamp(ms)", wanted_ms)
    page.fill("#time-field", text)
    page.keyboard.press("Enter")
    until(lambda: states(page)[0]["state"] == "replay", 30, "the recording plays")
    first = states(page)[0]
    until(lambda: states(page)[0]["at"] > first["at"], 20, "it goes on")
    at_ms = page.evaluate("async () => (await import('/page/state.js')).position(0)")
    assert wanted_ms - 2_000 <= at_ms <= wanted_ms + 60_000
    page.click("#back-to-live")
    until(lambda: states(page)[0]["state"] == "playing", 30, "live again")
    assert english.complaints == []


def test_footage_is_shown_to_a_person_concerned_and_nothing_is_taken(page_node: PageNode, english: Chromium) -> None:
    page, camera, node = english.page, page_node.cameras[0], page_node.node
    until(lambda: sum(s["to_ms"] - s["from_ms"] for s in node.footage(camera)) > 15_000, 60, "15 s of footage")
    sign_in(page, page_node)
    arrange(page, "4", page_node.cameras[:4])
    page.click('[data-tile="0"]')
    page.keyboard.press("a")
    began_ms = node.footage(camera)[-1]["to_ms"] - 12_000
    inputs = page.evaluate("async (ms) => (await import('/page/time.js')).inputStamp(ms)", began_ms)
    page.fill("dialog input[name=at]", inputs)
    page.fill("dialog input[name=case_no]", "REQ-12")
    page.fill("dialog input[name=person]", "张三, the driver")
    page.fill("dialog textarea[name=about]", "the parking place")
    page.click("dialog button[type=submit]")
    until(lambda: states(page)[0]["state"] == "replay", 30, "the recording plays")
    assert page.locator(".wall.single .tile.is-single").count() == 1, "nobody else's street beside it"
    assert page.inner_text('[data-tile="0"] .badge.assist') == "SHOWN · REQ-12"
    off = page.locator(".timeline-tools button:disabled [class=label]").all_inner_texts()
    assert off == ["Snapshot", "Clip"]
    page.keyboard.press("s")
    page.keyboard.press("c")
    assert page.locator("dialog").count() == 0
    page.keyboard.press("Shift+ArrowLeft")  # somewhere else in it: still the same request
    page.wait_for_selector('[data-tile="0"] .badge.assist')

    def looks() -> list[tuple[str, str, str]]:
        with node.client() as client:
            listed = client.get("/api/v1/register", params={"camera": camera}).json()["items"]
        return [(r["purpose"], r["case"], r["reason"]) for r in listed if r["function"] == "playback"]

    shown = ("person_request", "REQ-12", "张三, the driver: the parking place")
    until(lambda: shown in looks(), 20, "the register has the request")
    page.click("#back-to-live")
    until(lambda: states(page)[0]["state"] == "playing", 30, "live again")
    page.wait_for_selector(".badge.assist", state="detached")
    assert english.complaints == []


def test_clicking_the_timeline_seeks(page_node: PageNode, english: Chromium) -> None:
    page = english.page
    sign_in(page, page_node)
    arrange(page, "1", [])
    put(page, page_node.cameras[0])
    page.click(".zooms button >> nth=0")  # ten minutes
    span = page_node.node.footage(page_node.cameras[0])[-1]
    page.mouse.click(*place(page, span["to_ms"] - 6_000))
    until(
        lambda: states(page)[0]["state"] in ("replay", "playing") and states(page)[0]["width"] > 0,
        30,
        "a picture of then",
    )
    assert english.complaints == []


def test_stopped_camera_says_why_on_tile_and_timeline(page_node: PageNode, english: Chromium) -> None:
    page = english.page
    sign_in(page, page_node)
    arrange(page, "1", [])
    put(page, page_node.stopped)
    until(lambda: states(page)[0]["state"] == "playing", 30, "its live picture")
    stopped_ms = time.time_ns() // 1_000_000
    page_node.rtsp.unplug("fading")
    try:
        until(lambda: page.query_selector(".tile-words strong") is not None, 60, "a sentence instead of the picture")

        def explained() -> dict[str, Any] | None:
            """The newest gap, once the recorder has written its cause."""
            gaps = page_node.node.footage(page_node.stopped, "gap")
            return next((gap for gap in gaps if gap["to_ms"] > stopped_ms and gap["cause"] != "unknown"), None)

        gap = until(explained, 60, "a gap with its cause on the timeline")
        until(
            lambda: page.query_selector(f'.row.camera[data-camera="{page_node.stopped}"] .cause') is not None,
            60,
            "its cause in the tree",
        )

        def tip() -> str:
            now = page_node.node.footage(page_node.stopped, "gap")[-1]
            x, y = place(page, (gap["from_ms"] + now["to_ms"]) // 2)
            page.mouse.move(x, y)
            page.mouse.move(x + 1, y)
            found = page.query_selector(".timeline-tip")
            return found.inner_text() if found else ""

        page.click(".zooms button >> nth=0")
        words = until(
            lambda: next((text for text in [tip()] if "No footage" in text), None), 60, "the tooltip names the gap"
        )
        assert gap["reason"]["en"] in words
    finally:
        page_node.rtsp.plug("fading")
    until(lambda: states(page)[0]["state"] == "playing", 90, "the picture comes back by itself")


def test_a_department_sees_its_share_in_plain_words(page_node: PageNode, english: Chromium) -> None:
    page = english.page
    page.goto(page_node.url)
    page.click("#way-token")
    page.fill("textarea[name=token]", page_node.token)
    page.click("button[type=submit]")
    page.wait_for_selector("#share-words .plain")
    until(lambda: page.locator(".share-cameras li").count() == 2, 20, "exactly its two cameras")
    assert set(page.locator("#share-words .chip").all_inner_texts()) >= {"live", "playback"}
    page.click("#enter")
    page.wait_for_selector(".row.camera")
    assert page.locator(".row.camera").count() == 2
    assert page.locator("#view-admin").count() == 0
    arrange(page, "1", [page_node.cameras[0]])
    until(lambda: states(page)[0]["state"] == "playing", 30, "its picture")
    assert page.locator(".watermark").count() == 1
    assert page.locator(".tile button[aria-label='Snapshot']").count() == 0
    kept = page.evaluate("() => JSON.stringify(Object.entries(localStorage))")
    assert page_node.token not in kept and set(dict(json.loads(kept))) <= {"tiergate.wall", "tiergate.language"}
    assert english.complaints == []


def test_language_switches_and_stays(page_node: PageNode, english: Chromium) -> None:
    page = english.page
    page.goto(page_node.url)
    page.wait_for_selector("#language")
    if page.locator("html[lang=en]").count():
        page.click("#language")
    page.wait_for_selector("html[lang=zh-CN]")
    assert "登录" in page.inner_text("button[type=submit]")
    sign_in(page, page_node)
    assert "电视墙" in page.inner_text(".views")
    page.click("#language")
    page.wait_for_selector("html[lang=en]")
    assert "Wall" in page.inner_text(".views")
    page.reload()
    page.wait_for_selector(".row.camera")
    assert "Administration" in page.inner_text("#view-admin")
    assert english.complaints == []


def test_every_administration_view_opens(page_node: PageNode, english: Chromium) -> None:
    page = english.page
    sign_in(page, page_node)
    page.click("#view-admin")
    names = page.eval_on_selector_all(".admin-nav button", "(all) => all.map((one) => one.dataset.section)")
    assert {"cameras", "tokens", "users", "links", "retention", "holds", "register", "audit"} <= set(names)
    for name in names:
        page.click(f"[data-section={name}]")
        page.wait_for_selector(".admin-page h1")
        until(lambda: page.locator(".admin-page [role=status]").count() == 0, 20, f"{name} loaded")
        assert page.locator(".admin-page .form-problem").count() == 0, name
    page.click("[data-section=audit]")
    until(lambda: page.locator("tbody tr").count() > 5, 20, "the audit log")
    assert english.complaints == []


def test_refusals_stand_beside_the_field(page_node: PageNode, english: Chromium) -> None:
    page = english.page
    sign_in(page, page_node)
    page.click("#view-admin")
    page.click("#camera-add")
    page.fill("dialog input[name=address]", "http://192.0.2.1/picture")
    page.fill("dialog input[name=name]", "x")
    page.click("dialog button[type=submit]")
    problem = page.wait_for_selector(".field.bad .field-problem")
    assert problem is not None and "http" in problem.inner_text()
    assert page.evaluate("document.activeElement.name") == "address"


def test_keyboard_alone(page_node: PageNode, english: Chromium) -> None:
    """Layout, search, camera, single, help: without the mouse."""
    page = english.page
    sign_in(page, page_node)
    page.keyboard.press("9")
    until(lambda: page.locator(".tile").count() == 9, 5, "nine tiles")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("/")
    page.keyboard.type("路口 02")
    page.keyboard.press("Enter")
    page.wait_for_selector(f'.tile.focused[data-camera="{page_node.cameras[1]}"]')
    page.eval_on_selector("#camera-search", "(one) => one.blur()")
    page.keyboard.press("Enter")
    page.wait_for_selector(".wall.single .tile.is-single")
    page.keyboard.press("?")
    page.wait_for_selector("dialog .keys")
    page.keyboard.press("Escape")
    until(lambda: page.locator("dialog").count() == 0, 5, "help closed")
    page.keyboard.press("ArrowLeft")  # the keys act on what is seen: what is enlarged walks along
    page.wait_for_selector('.wall.single .tile.is-single.focused[data-tile="0"]')
    for key in ("Enter", " "):
        page.focus("#user-menu summary")
        page.keyboard.press(key)
        page.wait_for_selector("#user-menu[open]")
        page.keyboard.press(key)
        page.wait_for_selector("#user-menu:not([open])")
    assert english.complaints == []


def test_a_click_beside_the_boxes_of_a_list_ticks_none(page_node: PageNode, english: Chromium) -> None:
    """The first box of a new user's roles makes an administrator."""
    page = english.page
    sign_in(page, page_node)
    page.click("#view-admin")
    page.click("[data-section=users]")
    page.click(".admin-head button.primary")
    roles = page.get_by_role("group", name="Roles")
    ticked = "(all) => all.filter((one) => one.checked).map((one) => one.parentElement.textContent)"
    roles.locator("input").first.wait_for()
    before = roles.locator("input").evaluate_all(ticked)
    assert before == ["operator"]
    roles.locator("span").first.click()
    edge = roles.locator(".checks").bounding_box()
    assert edge is not None
    page.mouse.click(edge["x"] + edge["width"] - 3, edge["y"] + edge["height"] - 3)
    assert roles.locator("input").evaluate_all(ticked) == before
