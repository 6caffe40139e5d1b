"""The page of a `Site` in a browser: no recorder and no camera, and what a test writes into the catalog is shown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.gateway.web.conftest import served
from tests.gateway.web.site import ALL_ROLES, PASSWORD, Site, site_in

LOGIN = "admin"


@contextlib.contextmanager
def signed_in_site(folder: Path, page: Page, **tables: Any) -> Iterator[Site]:
    """A person of every role is signed in."""
    with site_in(folder, **tables) as site:
        site.user(LOGIN, ALL_ROLES)
        with served(site) as url:
            page.goto(url)
            page.wait_for_selector("input[name=login]")
            page.fill("input[name=login]", LOGIN)
            page.fill("input[name=password]", PASSWORD)
            page.keyboard.press("Enter")
            page.wait_for_selector("#view-admin")
            yield site
            page.goto("about:blank")  # the page asks no server that is going
