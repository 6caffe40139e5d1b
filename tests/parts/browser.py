"""Debian's Chromium driven by Playwright, with what the page complained about collected.

Playwright's blocking interface keeps an event loop running in its thread, which pytest-asyncio cannot share: open it
for one test, in tests that are not coroutines.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, ViewportSize, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
    # WHEP on one machine: without it Chromium offers no loopback candidate.
    "--allow-loopback-in-peer-connection",
]


@dataclass
class Chromium:
    """One browser with one page. `complaints` holds console errors and uncaught exceptions, newest last."""

    browser: Browser
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)

    def another_page(self) -> Page:
        """A second window of the same person."""
        return self._watched(self.context.new_page())

    def another_person(self, locale: str = "en") -> Page:
        """A window with cookies of its own."""
        return self._watched(self.browser.new_context(locale=locale, ignore_https_errors=True).new_page())

    def _watched(self, page: Page) -> Page:
        def on_console(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.complaints.append(f"{message.text} ({message.location.get('url', '')})")

        page.on("console", on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        return page


@contextmanager
def chromium(*, locale: str = "en", width: int = 1600, height: int = 900) -> Iterator[Chromium]:
    """A running browser that accepts the private CA which `init` makes."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            viewport: ViewportSize = {"width": width, "height": height}
            context = browser.new_context(locale=locale, viewport=viewport, ignore_https_errors=True)
            opened = Chromium(browser, context, context.new_page())
            opened._watched(opened.page)
            yield opened
        finally:
            browser.close()
