"""The page of a `Site` in a browser: no recorder and no camera, and what a test writes into the catalog is shown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page

from storage.objects import make_store
from tests.gateway.web.conftest import served
from tests.gateway.web.site import ALL_ROLES, PASSWORD, Site, site_in

ADMIN = "admin"


@dataclass(frozen=True)
class PageSite:
    """A site on a port. "admin" has every role."""

    site: Site
    url: str

    def api(self, login: str = ADMIN) -> httpx.Client:
        body = {"login": login, "password": PASSWORD, "bearer": True}
        session = httpx.post(f"{self.url}/api/v1/session", json=body).json()["session"]
        return httpx.Client(base_url=f"{self.url}/api/v1", headers={"Authorization": f"Bearer {session}"})

    def add_camera(self, number: int, **more: Any) -> str:
        body = {"url": f"rtsp://10.0.0.{number}/main", "name": f"口岸 {number}"} | more
        with self.api() as api:
            return str(api.post("/cameras", json=body).raise_for_status().json()["id"])

    def show(self, page: Page, section: str, login: str = ADMIN) -> None:
        """Signs somebody in and opens a section of the administration."""
        page.context.clear_cookies()
        page.goto(self.url)
        page.fill("input[name=login]", login)
        page.fill("input[name=password]", PASSWORD)
        page.keyboard.press("Enter")
        page.click("#view-admin")
        page.click(f"[data-section={section}]")


@contextlib.contextmanager
def page_site(folder: Path, page: Page, **tables: Any) -> Iterator[PageSite]:
    tables = {"retention": {"clock_source": "trusted"}} | tables
    with site_in(folder, **tables) as site:
        make_store(site.settings).ensure()
        site.user(ADMIN, ALL_ROLES)
        with served(site) as url:
            yield PageSite(site, url)
            page.goto("about:blank")  # the page asks no server that is going
