"""`Site`: a web process in this process, with a real catalog in a folder, people, cameras and tokens; no network."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher
from fastapi import FastAPI

from config.clock import ManualClock
from config.redact import Secret
from config.settings import Settings, build
from gateway.access.ids import fresh_id
from gateway.access.keys import ensure_keys
from gateway.access.passwords import Passwords
from gateway.web.app import build as build_app
from gateway.web.compose import make_services
from gateway.web.services import Services
from storage.catalog import people, places
from storage.catalog.engine import Catalog
from storage.catalog.people import User
from tests.parts.catalog import new_catalog

PASSWORD = "a good password 1"
ALL_ROLES = ("system_admin", "security_admin", "audit_admin", "duty")
REGION = "210211001003"


def settings_in(folder: Path, **tables: Any) -> Settings:
    base: dict[str, Any] = {
        "paths": {"data": str(folder)},
        "node": {"name": "测试社区", "region": REGION, "tier": "community"},
        "cameras": {"allowed_networks": ["10.0.0.0/8", "127.0.0.0/8"]},
        # The clock stands here: what was asked would never be forgotten.
        "web": {"requests_per_s": 100_000, "media_requests_per_s": 100_000, "anonymous_requests_per_s": 100_000},
    }
    for name, table in tables.items():
        base[name] = base.get(name, {}) | table
    return build(base)


class Site:
    def __init__(self, folder: Path, **tables: Any) -> None:
        self.clock = ManualClock()
        self.settings = settings_in(folder, **tables)
        for part in ("catalog", "run", "keys"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        new_catalog(self.settings.catalog_url)
        self.catalog = Catalog(self.settings.catalog_url)
        self.passwords = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        self.services: Services = make_services(
            self.settings, self.clock, self.catalog, ensure_keys(self.settings), passwords=self.passwords
        )
        node = self.settings.node
        self.catalog.write(lambda c: places.seed_regions(c, node.region, node.tier, node.name, self.now_ms()))
        self.app: FastAPI = build_app(self.services)

    def now_ms(self) -> int:
        return self.clock.wall_ns() // 1_000_000

    def user(self, login: str, roles: tuple[str, ...] = (), department_id: str | None = None) -> str:
        id_ = fresh_id(self.clock)
        digest = self.passwords.hash_now(Secret(PASSWORD))
        row = User(id_, login, login.title(), department_id, "", roles, digest, False, self.now_ms(), None)
        self.catalog.write(lambda c: people.add_user(c, row))
        self.services.watch.bump()
        return id_

    def client(self, bearer: str | None = None, address: str = "127.0.0.1") -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        transport = httpx.ASGITransport(app=self.app, client=(address, 40000), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://node.test", headers=headers)

    async def sign_in(self, login: str) -> httpx.AsyncClient:
        async with self.client() as nobody:
            answer = await nobody.post("/api/v1/session", json={"login": login, "password": PASSWORD, "bearer": True})
        assert answer.status_code == 200, answer.text
        return self.client(answer.json()["session"])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.app.router.lifespan_context(self.app):
            yield

    def close(self) -> None:
        self.catalog.close()


@contextlib.contextmanager
def site_in(folder: Path, **tables: Any) -> Iterator[Site]:
    site = Site(folder, **tables)
    try:
        yield site
    finally:
        site.close()


async def add_camera(client: httpx.AsyncClient, number: int, **more: Any) -> str:
    body = {"url": f"rtsp://10.0.0.{number}/main", "name": f"口岸 {number}"}
    answer = await client.post("/api/v1/cameras", json=body | more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])
