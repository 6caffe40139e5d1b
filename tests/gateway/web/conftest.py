"""The command line against the application of a module's own `site`, on a real port."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from gateway.cli.app import run
from tests.gateway.web.site import PASSWORD, Site
from tests.parts.wait import until


@contextlib.contextmanager
def served(site: Site) -> Iterator[str]:
    """The same application on a real port, for the command line."""
    server = uvicorn.Server(uvicorn.Config(site.app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        until(lambda: server.started, 20, "the application listens")
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def told(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Runs `tiergate` with some words; what it printed."""
    with served(site) as url:
        body = {"login": "admin", "password": PASSWORD, "bearer": True}
        monkeypatch.setenv("TIERGATE_TOKEN", httpx.post(f"{url}/api/v1/session", json=body).json()["session"])

        def tell(*words: str) -> str:
            code = run([*words, "--url", url])
            out, err = capsys.readouterr()
            assert code == 0, err
            return out

        tell.url = url  # type: ignore[attr-defined]  # the fixture's own function
        yield tell
