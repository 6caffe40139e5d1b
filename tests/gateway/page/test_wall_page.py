"""A shared wall as a control room uses it: nobody on duty, signing on by keyboard, handing over, the end of a shift."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route

from config.clock import SystemClock, wall_ms
from tests.gateway.page.test_approvals_page import sign_in_alone
from tests.gateway.page.test_page import states
from tests.parts.browser import Chromium
from tests.parts.node import QUICK, Node
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until

pytestmark = pytest.mark.real

PASSWORD = "a quiet night on duty"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with one camera, a wall and two operators."""
    with RtspServer() as rtsp:
        rtsp.add("gate", "tiny")
        node = Node(tmp_path_factory.mktemp("room") / "node", settings=QUICK).init()
        with node.start():
            node.add_camera(rtsp.url("gate"), "--name", "口岸")
            with node.client() as client:
                for login, name in (("li", "李值班"), ("wang", "王接班")):
                    body = {"login": login, "name": name, "roles": ["operator"], "must_change": False}
                    assert client.post("/api/v1/users", json=body | {"password": PASSWORD}).status_code == 201
            yield node


def enter(page: Page, node: Node) -> None:
    page.context.clear_cookies()
    page.goto(node.url)
    page.fill("input[name=login]", "hall")
    page.fill("input[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_selector("#off-duty")


def type_in(page: Page, login: str, password: str = PASSWORD) -> None:
    page.wait_for_selector("#duty-form input[name=login]:focus")
    page.keyboard.type(login)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")


def plays(page: Page) -> None:
    until(lambda: states(page)[0]["state"] == "playing" and states(page)[0]["width"] > 0, 40, "the wall shows pictures")


def test_a_wall_is_added_on_the_page_and_people_take_turns_on_it(room: Node, browser: Chromium) -> None:
    page = browser.page
    sign_in_alone(page, room, room.user, room.password)
    page.click("#view-admin")
    page.click("[data-section=users]")
    page.click(".admin-head button.primary")
    page.fill("dialog input[name=login]", "hall")
    page.fill("dialog input[name=name]", "指挥大厅大屏")
    page.check("dialog input[name=wall]")
    page.fill("dialog input[name=password]", PASSWORD)
    page.click("dialog button[type=submit]")
    page.wait_for_selector("tbody tr:has-text('hall'):has-text('Nobody is on duty')")

    wall = browser.another_person("zh-CN")
    enter(wall, room)
    said = wall.inner_text(".card")
    assert "当前无人值班" in said and "指挥大厅大屏" in said
    assert wall.locator("video, .tile").count() == 0
    type_in(wall, "li", "wrong")
    wall.wait_for_selector("#duty-form [role=alert]")
    assert "口令错误" in wall.inner_text("#duty-form")
    assert all("403" in complaint for complaint in browser.complaints), browser.complaints
    browser.complaints.clear()
    wall.focus("#duty-form input[name=password]")
    wall.keyboard.press("Control+a")
    wall.keyboard.type(PASSWORD)
    wall.keyboard.press("Enter")
    wall.wait_for_selector(".row.camera")
    assert "李值班" in wall.inner_text("#duty")
    wall.dblclick(".row.camera")
    plays(wall)
    assert "李值班" in wall.inner_text(".tile .watermark")
    assert wall.locator("#view-admin").count() == 0

    wall.keyboard.press("d")
    type_in(wall, "wang")
    until(lambda: "王接班" in wall.inner_text("#duty"), 20, "the next one is on duty")
    plays(wall)
    assert "王接班" in wall.inner_text(".tile .watermark")
    # A tile that is cut off at the turn asks again: more than one look may be hers.
    until(lambda: persons(room) == ["王接班", "李值班"], 20, "both in the register")
    assert {r["wall"] for r in looks(room)} == {"指挥大厅大屏"}
    until(lambda: all(r["closed_ms"] for r in looks(room) if r["person"] == "李值班"), 20, "the first one's are closed")

    page.click("[data-section=shifts]")
    page.wait_for_selector("tbody tr:has-text('王接班'):has-text('on duty')")
    assert "handed over" in page.inner_text("tbody tr:has-text('李值班')")
    page.click("tbody tr:has-text('王接班') button")
    wall.wait_for_selector("#off-duty")
    assert wall.locator("video, .tile").count() == 0
    # What was asked for while the shift ended was refused.
    assert all("403" in said and "/cameras/" in said for said in browser.complaints), browser.complaints


def looks(node: Node) -> list[dict[str, object]]:
    with node.client() as client:
        found: list[dict[str, object]] = client.get("/api/v1/register").json()["items"]
    return found


def persons(node: Node) -> list[object]:
    """Who looked, each once, the last first; nobody looks again after somebody else has."""
    found = [r["person"] for r in looks(node)]
    return [one for one, before in zip(found, [None, *found], strict=False) if one != before]


def test_the_end_of_a_shift_is_said_before_it_comes_and_one_can_leave_before(room: Node, browser: Chromium) -> None:
    with room.client() as client:
        if not any(u["login"] == "hall" for u in client.get("/api/v1/users").json()["items"]):
            body = {"login": "hall", "name": "指挥大厅大屏", "roles": ["operator"], "password": PASSWORD, "wall": True}
            assert client.post("/api/v1/users", json=body).status_code == 201
    page = browser.page
    enter(page, room)
    type_in(page, "li")
    page.wait_for_selector(".row.camera")
    assert page.locator("#duty-ends").count() == 0

    # Nine minutes before the end, as the page is told whenever it asks.
    def soon(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        if told["wall"]["until_ms"] is not None:
            told["wall"]["until_ms"] = wall_ms(SystemClock()) + 9 * 60_000
        route.fulfill(response=answer, json=told)

    page.route("**/api/v1/session", lambda route: soon(route) if route.request.method == "GET" else route.continue_())
    page.evaluate("async () => (await import('/page/state.js')).checkSession()")
    page.wait_for_selector("#duty-ends")
    assert "ends soon" in page.inner_text("#duty-ends")
    page.click("#duty-ends button")
    page.wait_for_selector("dialog #duty-off")
    page.click("#duty-off")
    page.wait_for_selector("#off-duty")
    assert page.inner_text("#off-duty h1") == "Nobody is on duty"
    assert browser.complaints == []
