"""Who is at the page, and what it says while the server does not answer: nothing of one person is the next one's."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, Route

from tests.gateway.page.conftest import PageNode
from tests.gateway.page.test_page import arrange, put, sign_in
from tests.parts.browser import Chromium
from tests.parts.wait import until

pytestmark = pytest.mark.real

PASSWORD = "a quiet night on duty"
STORE = """async ([name, ...given]) => {
  const state = await import('/page/state.js');
  if (name in state) return (await state[name](...given)) ?? null;
  return JSON.parse(JSON.stringify(state.store.get()[name] ?? null));
}"""


def of_page(page: Page, name: str, *given: Any) -> Any:
    """A value of the page's store, or what one of its acts answers."""
    return page.evaluate(STORE, [name, *given])


def cameras(page: Page) -> dict[str, str]:
    """id -> name, as the page has them."""
    told: dict[str, str] = page.evaluate(
        """async () => {
          const { store } = await import('/page/state.js');
          return Object.fromEntries([...store.get().cameras].map(([id, c]) => [id, c.name]));
        }"""
    )
    return told


def refusing(status: int) -> Any:
    def answer(route: Route) -> None:
        route.fulfill(status=status, json={"code": "http.away", "en": "Away.", "zh": "不在。"})

    return answer


def test_cameras_that_change_at_once_all_reach_the_page(page_node: PageNode, english: Chromium) -> None:
    page, some = english.page, page_node.cameras[:5]
    page.route("**/api/v1/events", lambda route: route.abort())
    sign_in(page, page_node)
    until(lambda: len(cameras(page)) > len(some), 10, "the cameras are known")
    with page_node.node.client() as client:
        before = {id_: client.get(f"/api/v1/cameras/{id_}").json()["name"] for id_ in some}
        try:
            for id_ in some:
                assert client.patch(f"/api/v1/cameras/{id_}", json={"name": f"{before[id_]} 新"}).status_code == 200
            page.evaluate("async (ids) => Promise.all(ids.map((await import('/page/state.js')).refreshCamera))", some)
            assert {id_: cameras(page)[id_] for id_ in some} == {id_: f"{name} 新" for id_, name in before.items()}
        finally:
            for id_, name in before.items():
                client.patch(f"/api/v1/cameras/{id_}", json={"name": name})


def test_what_cannot_be_asked_stays_and_the_page_says_of_when_it_is(page_node: PageNode, english: Chromium) -> None:
    page = english.page
    sign_in(page, page_node)
    page.evaluate(
        """async (alarms) => (await import('/page/state.js')).store.set({ alarms })""",
        [{"check": "disk", "level": "bad", "since_ms": 0, "reason": {"en": "Full.", "zh": "满。"}, "next": None}],
    )
    page.wait_for_selector("#alarms")
    page.route("**/api/v1/alarms*", refusing(503))
    of_page(page, "refreshAll")
    said = page.wait_for_selector(".topbar .chip.bad")
    assert said is not None and "shown as of" in said.inner_text()
    assert [one["check"] for one in of_page(page, "alarms")] == ["disk"]
    page.unroute("**/api/v1/alarms*")
    of_page(page, "refreshAll")
    page.wait_for_selector(".topbar .chip.bad", state="detached")
    assert "disk" not in [one["check"] for one in of_page(page, "alarms")]
    page.route("**/api/v1/alarms*", refusing(403))
    of_page(page, "refreshAll")
    assert of_page(page, "alarms") == [] and of_page(page, "reachable") is True


def test_signing_out_is_not_done_before_the_server_says_so(page_node: PageNode, english: Chromium) -> None:
    page = english.page
    sign_in(page, page_node)
    page.route(
        "**/api/v1/session", lambda route: route.abort() if route.request.method == "DELETE" else route.continue_()
    )
    of_page(page, "signOut")
    page.wait_for_selector("#still-in")
    page.reload()
    page.wait_for_selector("#still-in")  # and nobody is let in by the cookie that is still good
    assert page.locator(".row.camera").count() == 0
    page.unroute("**/api/v1/session")
    page.click("#still-in button")
    page.wait_for_selector("#still-in", state="detached")
    page.reload()
    page.wait_for_selector("input[name=password]")
    assert page.evaluate("async () => (await (await fetch('/api/v1/session')).json()).kind") is None


def test_what_one_person_opened_ends_when_another_one_signs_in_beside(page_node: PageNode, english: Chromium) -> None:
    """Two windows share the cookie: the first one is the second person's from then on."""
    page, camera = english.page, page_node.cameras[0]
    body = {"login": "bob", "name": "值班二", "roles": ["operator"], "password": PASSWORD, "must_change": False}
    with page_node.node.client() as client:
        assert client.post("/api/v1/users", json=body).status_code == 201
    sign_in(page, page_node)
    arrange(page, "4", [])
    put(page, camera)
    footage = page_node.node.footage(camera)[0]
    of_page(page, "assist", 0, footage["from_ms"] + 500, {"case_no": "REQ-12", "reason": "Li Ming: my bicycle"})
    page.wait_for_selector(".wall.single .tile.is-single")
    assert "REQ-12" in str(of_page(page, "tiles"))

    beside = english.another_page()
    beside.goto(page_node.url)
    signed_in = beside.evaluate(
        """async (body) => (await fetch('/api/v1/session', { method: 'POST', body: JSON.stringify(body),
          headers: { 'Content-Type': 'application/json' } })).status""",
        {"login": "bob", "password": PASSWORD},
    )
    assert signed_in == 200
    of_page(page, "checkSession")
    until(lambda: "值班二" in page.inner_text(".topbar"), 10, "the page is the second person's")
    assert "REQ-12" not in str(of_page(page, "tiles")) and of_page(page, "single") is None
    assert of_page(page, "tiles")[0]["camera"] == camera  # how the screen is arranged stays
    until(lambda: len(cameras(page)) > 0, 10, "what the second person may see is asked for")
