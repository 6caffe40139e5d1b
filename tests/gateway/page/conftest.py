"""What tests of the page share: a running node with sixteen real cameras, one more that a test stops, and a
department's token; for what needs no picture, a node without recorders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.gateway.page.site import PageSite, page_site
from tests.parts.browser import Chromium, chromium
from tests.parts.node import QUICK, Node
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until

TILES = 16


@dataclass(frozen=True)
class PageNode:
    node: Node
    rtsp: RtspServer
    cameras: list[str]  #: sixteen that stay
    stopped: str  #: the one that `test_page` unplugs
    token: str  #: live and playback of the first two

    @property
    def url(self) -> str:
        return self.node.url


def _add(node: Node, rtsp: RtspServer, mount: str, name: str) -> str:
    """By the API: seventeen starts of the command line would take half a minute."""
    rtsp.add(mount, "tiny")
    rtsp.add(f"{mount}_sub", "tiny2")
    body = {"url": rtsp.url(mount), "sub_url": rtsp.url(f"{mount}_sub"), "name": name, "sharing": "departments"}
    with node.client() as client:
        answer = client.post("/api/v1/cameras", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.fixture
def place(tmp_path: Path, english: Chromium) -> Iterator[PageSite]:
    """The page of a node without recorders; it may complain of nothing."""
    with page_site(tmp_path, english.page) as site:
        yield site
        assert english.complaints == []


@pytest.fixture(scope="module")
def page_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageNode]:
    folder = tmp_path_factory.mktemp("page")
    with RtspServer() as rtsp:
        rtsp.add("fading", "tiny")
        node = Node(folder / "node", settings=QUICK).init()
        with node.start():
            cameras = [_add(node, rtsp, f"crossing{i:02}", f"路口 {i + 1:02}") for i in range(TILES)]
            stopped = node.add_camera(rtsp.url("fading"), "--name", "会停的")
            department = node.cli("department", "add", "城管执法队")["id"]
            token = node.cli(
                "token", "issue", department, "--label", "核查", "--camera", cameras[0], "--camera", cameras[1],
                "--function", "live", "--function", "playback", "--expires", "1d", "--yes",
            )["token"]  # fmt: skip
            until(lambda: all(node.footage(c) for c in [cameras[0], stopped]), 60, "footage of the cameras")
            yield PageNode(node, rtsp, cameras, stopped, token)


@pytest.fixture
def english() -> Iterator[Chromium]:
    with chromium(locale="en") as opened:
        yield opened
