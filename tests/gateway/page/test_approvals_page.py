"""The second person's queue as two persons use it: asked for on the command line, given on the page by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.gateway.page.test_pair import sign_in
from tests.parts.browser import Chromium
from tests.parts.node import QUICK, Node
from tests.parts.wait import until

pytestmark = pytest.mark.real

SECOND, PASSWORD = "zhang", "a quiet night on duty"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, str]]:
    """A node under full governance with two persons, and a camera that nobody has to reach."""
    settings = QUICK | {"node": {"governance": "full"}}
    node = Node(tmp_path_factory.mktemp("office") / "node", settings=settings).init()
    with node.start():
        with node.client() as client:
            body = {"login": SECOND, "name": "张值班", "roles": ["duty"], "password": PASSWORD, "must_change": False}
            assert client.post("/api/v1/users", json=body).status_code == 201
            camera = client.post("/api/v1/cameras", json={"url": "rtsp://127.0.0.1:9/main", "name": "口岸"})
            assert camera.status_code == 201, camera.text
        yield node, str(camera.json()["id"])


def test_a_hold_asked_for_by_command_is_given_on_the_page(office: tuple[Node, str], browser: Chromium) -> None:
    node, camera = office
    order = ("hold", "add", camera, "--from", "2026-11-20T08:00:00+08:00", "--to", "2026-11-20T09:00:00+08:00")
    told = node.run(*order, "--case", "A-7", "--reason", "打架", "--lang", "zh")
    assert told.returncode == 0 and "第二人" in told.stderr, told.stderr
    (waiting,) = node.cli("approval", "list")["items"]
    own: dict[str, Any] = node.cli("approval", "give", waiting["id"], expect=1)["error"]
    assert own["code"] == "approval.own"

    page = browser.page
    sign_in(page, node, SECOND, PASSWORD)
    until(lambda: page.locator("#view-admin .waiting").inner_text() == "1", 20, "the count where a decider sees it")
    page.focus("#view-admin")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-act=give]")
    row = page.inner_text("tbody tr")
    assert "A-7" in row and "打架" in row
    page.focus("[data-act=give]")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog textarea[name=words]:focus")
    assert "口岸" in page.inner_text("dialog")
    page.keyboard.type("同意")
    page.keyboard.press("Tab")  # cancel
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    until(lambda: page.locator("[data-act=give]").count() == 0, 20, "decided")
    until(lambda: page.locator(".waiting").count() == 0, 20, "nothing waits any more")
    (hold,) = node.cli("hold", "list")["items"]
    assert hold["approver"] == "张值班"
    (done,) = node.cli("approval", "list", "--all")["items"]
    assert (done["state"], done["words"]) == ("used", "同意")
    assert browser.complaints == []


def test_the_commands_of_classes_say_it_in_both_languages(office: tuple[Node, str]) -> None:
    node, _ = office
    for language, basis, second, floor in (
        ("en", "legal basis", "second person", "the law's floor is 1 month"),
        ("zh", "法律依据", "第二人", "法定下限为 1 个月"),
    ):
        say = ("--lang", language)
        planned = node.run("retention", "plan", "--class", "key", "--months", "4", *say, plain=True)
        assert planned.returncode == 1 and basis in planned.stdout and second in planned.stdout, planned.stdout
        bare = node.run("retention", "set", "key", "--months", "4", *say, plain=True)
        assert bare.returncode == 2 and basis in bare.stderr and second in bare.stderr, bare.stderr
        planned = node.run("retention", "plan", "--class", "default", "--days", "20", *say, plain=True)
        assert planned.returncode == 1 and floor in planned.stdout, planned.stdout
        short = node.run("retention", "set", "default", "--days", "20", *say, plain=True)
        assert short.returncode == 2 and floor in short.stderr, short.stderr
    asked = node.cli("retention", "set", "key", "--months", "4", "--legal-basis", "市令 5")
    assert asked["reason"]["code"] == "approval.queued"
    assert [one["id"] for one in node.cli("approval", "list")["items"]] == [asked["approval"]]


def test_the_glass_is_broken_on_the_page_and_reviewed_there(office: tuple[Node, str], browser: Chromium) -> None:
    node, _ = office
    with node.client() as client:
        body = {"login": "li", "name": "李社工", "roles": [], "password": PASSWORD, "must_change": False}
        assert client.post("/api/v1/users", json=body).status_code == 201
    page = browser.page
    sign_in_alone(page, node, node.user, node.password)
    page.click("#view-admin")
    page.click("[data-section=seals]")
    page.click(".admin-head button.primary")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog .once textarea")
    seal = page.input_value("dialog .once textarea")
    assert seal.count("-") == 4
    page.keyboard.press("Escape")

    below = browser.another_person("en")
    sign_in_alone(below, node, "li", PASSWORD)
    assert below.locator("#view-admin").count() == 0
    below.click(".menu summary")
    below.click(".menu-body button:has-text('Break the glass')")
    below.fill("dialog input[name=seal]", seal.lower())
    below.fill("dialog textarea[name=reason]", "nobody answers")
    below.click("dialog button[type=submit]")
    banner = below.wait_for_selector("#broken-glass")
    assert banner is not None and "left" in banner.inner_text()
    below.wait_for_selector("#view-admin")
    below.click("#broken-glass button")
    below.wait_for_selector("#broken-glass", state="detached")
    below.wait_for_selector("#view-admin", state="detached")

    page.reload()
    page.click("#view-admin")
    page.click("[data-section=seals]")
    page.click("tbody button.primary")
    page.fill("dialog textarea[name=words]", "the register shows nothing else")
    page.click("dialog button[type=submit]")
    until(lambda: page.locator("tbody button").count() == 0, 20, "reviewed")
    assert "the register shows nothing else" in page.inner_text("tbody") and "李社工" in page.inner_text("tbody")
    # The camera that is not theirs any more is asked for once, and gone.
    assert all("404" in said and "/cameras/" in said for said in browser.complaints), browser.complaints


def test_a_person_is_posted_on_the_page(office: tuple[Node, str], browser: Chromium) -> None:
    node, _ = office
    with node.client() as client:
        region = client.get("/api/v1/node").json()["region"]
        assert client.post("/api/v1/departments", json={"name": "应急局", "region": region}).status_code == 201
    page = browser.page
    sign_in_alone(page, node, node.user, node.password)
    page.click("#view-admin")
    page.click("[data-section=users]")
    page.click(f"tbody tr:has-text('{SECOND}') button:first-child")
    page.select_option("dialog select[name=posted_to]", label="应急局")
    page.fill("dialog input[name=posted_until]", "2099-01-01T08:00:00")
    page.click("dialog button[type=submit]")
    page.wait_for_selector("dialog .field.bad .field-problem")
    soon = page.evaluate("""async () => {
      const { inputStamp } = await import('/page/time.js'), { now } = await import('/page/clock.js');
      return inputStamp(now() + 3600e3);
    }""")
    page.fill("dialog input[name=posted_until]", soon)
    page.click("dialog button[type=submit]")
    page.wait_for_selector(f"tbody tr:has-text('{SECOND}'):has-text('→ 应急局')")
    (posted,) = [u for u in node.cli("user", "list")["items"] if u["login"] == SECOND]
    assert posted["posted_unit"] == "应急局"
    node.cli("user", "post", posted["id"])
    page.reload()
    page.click("#view-admin")
    page.click("[data-section=users]")
    page.wait_for_selector(f"tbody tr:has-text('{SECOND}')")
    assert page.locator("tbody tr:has-text('→')").count() == 0
    assert all("422" in said for said in browser.complaints), browser.complaints


def sign_in_alone(page: Page, node: Node, login: str, password: str) -> None:
    """As `sign_in`, of somebody who may see no camera."""
    page.context.clear_cookies()
    page.goto(node.url)
    page.fill("input[name=login]", login)
    page.fill("input[name=password]", password)
    page.click("button[type=submit]")
    page.wait_for_selector(".menu summary")
