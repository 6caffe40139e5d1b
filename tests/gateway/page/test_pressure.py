"""A disk that runs short, as the people in the control room see it: on the timeline, and as a fault of the node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.gateway.page.test_page import arrange, place, put
from tests.gateway.page.test_pair import act, sign_in
from tests.parts.browser import Chromium
from tests.parts.node import QUICK, Node
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until

pytestmark = pytest.mark.real

PASSWORD = "a quiet night on duty"
SHED_COLOUR = "rgb(138, 154, 84)"
#: What the kernel says of every disk while the file is there.
SHORT = """
import os
_statvfs = os.statvfs
def statvfs(path):
    found = list(_statvfs(path))
    if os.path.exists({low!r}):
        found[3] = found[4] = found[2] // 10
    else:
        found[3] = found[4] = max(found[4], found[2] // 2)
    return os.statvfs_result(found)
os.statvfs = statvfs
"""


class Site:
    def __init__(self, node: Node, camera: str, low: Path) -> None:
        self.node, self.camera, self.low = node, camera, low

    def shed(self) -> list[dict[str, Any]]:
        return [gap for gap in self.node.footage(self.camera, "gap") if gap["cause"] == "shed"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    low = tmp_path / "low"
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "sitecustomize.py").write_text(SHORT.format(low=str(low)))
    settings = QUICK | {"spool": {"min_free_percent": 20.0, "critical_free_percent": 5.0}}
    node = Node(tmp_path / "node", settings=settings, python_path=[tmp_path / "early"]).init()
    with RtspServer() as rtsp:
        rtsp.add("gate", "tiny")
        with node.start():
            camera = node.add_camera(rtsp.url("gate"), "--name", "北门")
            with node.client() as client:
                for role in ("duty", "operator"):
                    body = {"login": role, "name": role, "roles": [role], "password": PASSWORD, "must_change": False}
                    assert client.post("/api/v1/users", json=body).status_code == 201
            until(lambda: node.footage(camera), 60, "footage")
            yield Site(node, camera, low)


def legend(page: Page, words: str) -> str | None:
    """The colour beside the words under the timeline."""
    found = page.locator(".legend", has_text=words)
    if not found.count():
        return None
    return str(found.first.locator("i").evaluate("(one) => getComputedStyle(one).backgroundColor"))


def test_room_that_runs_short_is_on_the_timeline_and_in_the_top_line(site: Site, english: Chromium) -> None:
    page = english.page
    sign_in(page, site.node, "duty", PASSWORD)
    arrange(page, "1", [])
    put(page, site.camera)
    assert page.locator("#alarms").count() == 0

    site.low.touch()
    gap = until(lambda: next(iter(site.shed()), None), 60, "the camera in no key area is not admitted")
    page.click(".zooms button >> nth=0")
    until(
        lambda: legend(page, "Too little room to record") == SHED_COLOUR, 60, "the cause has its words and its colour"
    )

    def tip() -> str:
        newest = site.shed()[-1]
        x, y = place(page, (newest["from_ms"] + newest["to_ms"]) // 2)
        page.mouse.move(x, y)
        page.mouse.move(x + 1, y)
        found = page.query_selector(".timeline-tip")
        return found.inner_text() if found else ""

    words = until(lambda: next((t for t in [tip()] if gap["reason"]["en"] in t), None), 60, "the tooltip says why")
    assert "only key areas are recorded" in words

    until(lambda: page.locator("#alarms").count() == 1, 120, "what stands is told")
    page.click("#alarms summary")
    (row, *_) = page.locator('#alarms [data-check="disks"]').all()
    assert "10" in row.inner_text() and "warning" in row.inner_text() and "since" in row.inner_text()
    with site.node.client() as client:
        items = client.get("/api/v1/alarms").json()["items"]
    spool = next(one for one in items if one["reason"]["params"].get("volume") == "spool")
    assert (spool["check"], spool["level"], spool["reason"]["code"]) == ("disks", "warn", "ops.disk_low")
    assert spool["reason"]["en"] in page.inner_text("#alarms") and spool["next"]["en"] in page.inner_text("#alarms")

    page.click("#language")
    until(lambda: legend(page, "空间不足，未录像") == SHED_COLOUR, 20, "in Chinese as well")
    page.click("#alarms summary")  # a press elsewhere has closed it
    assert spool["reason"]["zh"] in page.inner_text("#alarms") and "本机" in page.inner_text("#alarms summary")

    other = english.another_person()
    sign_in(other, site.node, "operator", PASSWORD)
    act(other, "refreshAlarms")
    assert other.locator("#alarms").count() == 0, "who can do nothing about it is not told"

    site.low.unlink()
    until(lambda: page.locator("#alarms").count() == 0, 180, "it goes by itself")
    until(lambda: site.node.footage(site.camera)[-1]["from_ms"] > gap["from_ms"], 60, "recorded again")
    assert english.complaints == []
