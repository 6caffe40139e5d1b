"""The page's own files in a real browser, with a table in place of a node: for what needs a screen and no pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, Route

from tests.gateway.page.test_modules import PAGE

URL = "https://page.test"
TYPES = {"html": "text/html", "js": "text/javascript", "mjs": "text/javascript", "css": "text/css"}
NOW_MS = 1_795_449_600_000  #: 2026-11-24 00:00 in China
PERSON = {
    "kind": "user", "login": "li", "name": "李值班", "roles": ["duty"], "must_change": False, "functions": [],
}  # fmt: skip

Answer = Any | Callable[["Asked"], Any]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str  #: behind /api/v1
    query: dict[str, str]
    body: Any


def camera(name: str, **more: Any) -> dict[str, Any]:
    functions = ["live", "playback", "export", "snapshot", "status"]
    return {
        "id": name, "name": name, "tier": "street", "region": "1", "enabled": True, "origin": "own", "original": True,
        "functions": functions, "streams": {"main": {"state": "online"}, "sub": {"state": "online"}},
    } | more  # fmt: skip


@dataclass
class Alone:
    """Answers by "METHOD /path"; lists are wrapped, whatever is not named is an empty list."""

    page: Page
    answers: dict[str, Answer]
    now_ms: int = NOW_MS
    asked: list[Asked] = field(default_factory=list)

    def open(self) -> Page:
        self.page.route(f"{URL}/**", self._answer)
        self.page.goto(URL)
        self.page.wait_for_selector(".row.camera")
        return self.page

    def said(self, wanted: str) -> list[Any]:
        """Bodies of the questions of a kind."""
        return [one.body for one in self.asked if f"{one.method} {one.path}" == wanted]

    def _answer(self, route: Route) -> None:
        parts = urlsplit(route.request.url)
        if not parts.path.startswith("/api/v1"):
            name = parts.path.removeprefix("/page/").lstrip("/") or "index.html"
            file = PAGE / name
            if not file.is_file():
                return route.fulfill(status=404)
            return route.fulfill(body=file.read_bytes(), content_type=TYPES.get(file.suffix[1:], "image/svg+xml"))
        asked = Asked(
            route.request.method,
            parts.path.removeprefix("/api/v1"),
            {key: values[0] for key, values in parse_qs(parts.query).items()},
            route.request.post_data_json if route.request.post_data else None,
        )
        self.asked.append(asked)
        known: dict[str, Answer] = {
            "GET /session": PERSON, "GET /node": {"name": "street", "now_ms": self.now_ms},
            "GET /events": lambda _: route.fulfill(status=503),
        } | self.answers  # fmt: skip
        answer = known.get(f"{asked.method} {asked.path}", [])
        if callable(answer):
            answer = answer(asked)
        if answer is None:
            return None  # it has answered by itself, or never does
        if isinstance(answer, list):
            answer = {"items": answer}
        return route.fulfill(body=json.dumps(answer), content_type="application/json")
