"""A node on real files, to be examined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import Connection, insert

from config.clock import ManualClock, SystemClock, wall_ms
from config.settings import Settings, build
from gateway.access.keys import ensure_keys
from gateway.ops import doctor
from gateway.ops.findings import Finding
from storage import sweeper
from storage.audit import log as audit
from storage.audit.signed import Signer
from storage.catalog import facts, places
from storage.catalog.engine import Catalog
from storage.catalog.tables import camera, camera_status
from storage.objects import make_store
from tests.parts.catalog import new_catalog

CAMERA = "21021100011326000001"
REGION = "210211001003"


class Place:
    TABLES: ClassVar[dict[str, Any]] = {
        "retention": {"clock_source": "trusted"},
        "web": {"listen": "127.0.0.1:0"},
        "relay": {"listen": "127.0.0.1:0"},
        "spool": {"min_free_percent": 0, "critical_free_percent": 0},
    }

    def __init__(self, folder: Path, **tables: dict[str, Any]) -> None:
        self.settings: Settings = build(self.TABLES | {"paths": {"data": str(folder)}} | tables)
        self.keys = ensure_keys(self.settings)
        new_catalog(self.settings.catalog_url)
        self.catalog = Catalog(self.settings.catalog_url)
        self.clock = ManualClock(SystemClock().wall_ns())
        self.store = make_store(self.settings)
        self.store.ensure()
        self.catalog.write(lambda c: places.seed_regions(c, REGION, "community", "社区", self.now_ms))
        self.catalog.write(lambda c: facts.set(c, sweeper.LAST_SUCCESS, self.now_ms))

    @property
    def now_ms(self) -> int:
        return wall_ms(self.clock)

    def wrong(self, quick: bool = False) -> dict[str, Finding]:
        """The last line of each check that found something, the node being down left out."""
        found = doctor.examine(self.settings, self.clock, quick)
        return {f.check: f for f in found if f.level != "ok" and f.reason.code != "ops.node_down"}

    def log(self, count: int) -> None:
        for _ in range(count):
            self.catalog.write(lambda c: audit.append(c, self.now_ms, "user:a", "x.y", "z", {}))

    def sign(self) -> str | None:
        """As a keeper that has just started."""
        return Signer(self.catalog, self.store, self.keys.node_id, self.keys.node).write(self.now_ms)

    def said_of_the_log(self, quick: bool = False) -> list[str]:
        found = doctor.examine(self.settings, self.clock, quick)
        return [f"{f.level} {f.reason.code}" for f in found if f.check == "audit"]

    def add_camera(self, state: str = "online", **more: Any) -> None:
        def write(c: Connection) -> None:
            c.execute(
                insert(camera).values(
                    id=CAMERA, name="东门", tier="community", region=REGION, recorded_by="self", enabled=True,
                    created_ms=0, changed_ms=0,
                )
            )  # fmt: skip
            row = {"camera_id": CAMERA, "stream": "main", "state": state, "since_ms": 0, "updated_ms": 0}
            c.execute(insert(camera_status).values(**row, **more))

        self.catalog.write(write)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.catalog.close()
