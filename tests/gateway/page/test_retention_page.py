"""Retention on the page: plans that are long, sweeps that refuse, changes that are tried out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.page.site import PageSite, page_site
from tests.parts.browser import Chromium

pytestmark = pytest.mark.real


@pytest.fixture
def place(tmp_path: Path, english: Chromium) -> Iterator[PageSite]:
    with page_site(tmp_path, english.page) as site:
        yield site
        assert english.complaints == []


def test_a_long_plan_begins_with_what_goes_names_cameras_and_says_that_it_is_cut(
    place: PageSite, english: Chromium
) -> None:
    page, camera = english.page, place.add_camera(1, name="Gate")
    item: dict[str, Any] = {"camera_id": camera, "class": "key", "keep": True, "segments": 1, "bytes": 1}
    total = {"segments": 250, "bytes": 250, "remove_segments": 1}
    plan = {"items": [item] * 249 + [item | {"keep": False}], "next": None, "at_ms": 1, "total": total}
    page.route("**/api/v1/retention/plan*", lambda route: route.fulfill(json=plan))
    place.show(page, "retention")
    page.click(".admin-head button >> nth=0")
    page.wait_for_selector(".cut:has-text('200 are shown; the list is longer.')")
    first = page.inner_text(".told li >> nth=0").split("\n")
    assert ["Gate", "no"] == [first[i] for i in (1, 5)], first
    assert camera not in page.inner_text(".told")
    assert page.inner_text(".panel .facts dt >> nth=0") == "moment", "sums before the list"
