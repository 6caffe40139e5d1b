"""The second person's queue as two persons use it: asked for on the command line, given on the page by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

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
