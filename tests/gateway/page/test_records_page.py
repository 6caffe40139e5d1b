"""Audit log and register on the page: what is filtered for is what is asked."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page

from tests.gateway.page.site import PageSite
from tests.parts.browser import Chromium

pytestmark = pytest.mark.real

FROM, TO = "2026-11-20T08:00:00", "2026-11-20T09:00:00"


def asked(page: Page, path: str) -> dict[str, list[str]]:
    """What the filter asks of the API when it is sent."""
    with page.expect_request(lambda r: urlsplit(r.url).path == f"/api/v1{path}") as request:
        page.click(".filter button[type=submit]")
    return parse_qs(urlsplit(request.value.url).query)


@pytest.mark.parametrize("section", ["register", "audit"])
def test_a_filter_keeps_its_times_from_one_question_to_the_next(
    place: PageSite, english: Chromium, section: str
) -> None:
    page = english.page
    place.show(page, section)
    page.fill(".filter [name=from]", FROM)
    page.fill(".filter [name=to]", TO)
    first = asked(page, f"/{section}")
    page.fill(".filter input:not([type]) >> nth=0", "nobody")
    page.wait_for_selector(".none")
    second = asked(page, f"/{section}")
    assert (second["from"], second["to"]) == (first["from"], first["to"])
    assert int(first["to"][0]) - int(first["from"][0]) == 3_600_000


def test_a_time_that_ends_before_it_begins_is_refused_and_not_shown_as_nothing(
    place: PageSite, english: Chromium
) -> None:
    page = english.page
    place.show(page, "register")
    page.wait_for_selector(".none")
    page.fill(".filter [name=from]", TO)
    page.fill(".filter [name=to]", FROM)
    requests: list[str] = []
    page.on("request", lambda r: requests.append(r.url))
    page.click(".filter button[type=submit]")
    page.wait_for_selector("[role=alert]:has-text('The end must lie after the start.')")
    assert not [url for url in requests if "/register" in url]
    page.fill(".filter [name=from]", FROM)
    page.fill(".filter [name=to]", TO)
    asked(page, "/register")
    page.wait_for_selector("[role=alert]", state="detached")
