"""Rounds of asking owners' recorders run in a process of their own, which ends with its round or with its keeper."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from config.clock import SystemClock, wall_ms
from config.errors import TiergateError
from config.load import load
from config.redact import Secret
from config.units import DAY_MS
from gateway.access.keys import ensure_keys
from gateway.access.secrets import Secrets
from gateway.compose.keeper import build_keeper
from gateway.ops import job_state
from gateway.processes.asking import Asking
from gateway.processes.keeper import Keeper
from storage.catalog import cameras, facts, owner_checks, places
from storage.catalog.engine import Catalog
from storage.catalog.tables import camera, camera_stream
from storage.sampled import Check
from tests.parts.catalog import new_catalog
from tests.parts.profile_g import OwnerRecorder
from tests.parts.wait import until

pytestmark = pytest.mark.real

CAMERA = "21021100011326000001"
REGION = "210211001003"
CLOCK = SystemClock()


@dataclass(frozen=True)
class Place:
    settings_file: Path
    catalog: Catalog
    recorder: OwnerRecorder

    def rows(self) -> list[Check]:
        return self.catalog.read(lambda c: owner_checks.newest(c, CAMERA, 100))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A camera of a year ago, whose owner's recorder is asked with a sealed account."""
    file, now_ms = tmp_path / "tiergate.toml", wall_ms(CLOCK)
    file.write_text(
        f'[paths]\ndata = "{tmp_path}"\n[cameras]\nallowed_networks = ["127.0.0.0/8"]\nconnect_timeout_s = 5\n'
    )
    settings = load(file)
    for folder in ("catalog", "run"):
        (tmp_path / folder).mkdir(exist_ok=True)
    opener = Secrets(ensure_keys(settings))
    new_catalog(settings.catalog_url)
    catalog = Catalog(settings.catalog_url)
    with OwnerRecorder(now_ms, [(now_ms - 60 * DAY_MS, now_ms)]) as recorder:

        def register(c: Connection) -> None:
            places.seed_regions(c, REGION, "community", "社区", now_ms)
            account = opener.seal(c, CLOCK, "A" * 26, recorder.user, Secret(recorder.password))
            cameras.put_credential(c, account)
            row = {
                "id": CAMERA, "name": "市场", "tier": "community", "region": REGION, "recorded_by": "owner",
                "enabled": True, "created_ms": now_ms - 365 * DAY_MS, "changed_ms": 0, "onvif_url": recorder.url,
                "credential_id": "A" * 26,
            }  # fmt: skip
            c.execute(insert(camera).values(**row))
            stream = {"camera_id": CAMERA, "stream": "main", "url": recorder.stream_url, "profile": "profile"}
            c.execute(insert(camera_stream).values(**stream))

        catalog.write(register)
        yield Place(file, catalog, recorder)
    catalog.close()


def test_a_round_writes_what_recorders_answer_and_ends(place: Place) -> None:
    Asking(place.settings_file).run(60)
    assert [row.verdict for row in place.rows()] == ["present"] * 3
    assert place.recorder.asked.bad_logins == 0


async def test_the_keeper_starts_a_round_when_a_turn_has_come_and_not_before(place: Place) -> None:
    keeper = Keeper(build_keeper(load(place.settings_file), place.settings_file))
    await asyncio.to_thread(keeper.ask_owners)
    assert [row.verdict for row in place.rows()] == ["present"] * 3
    told = place.catalog.read(lambda c: facts.get(c, job_state.OWNERS))
    assert told["cameras"] == {"present": 1} and told["instants"]["present"] == 3
    before = place.recorder.asked.calls.total()
    await asyncio.to_thread(keeper.ask_owners)
    assert place.recorder.asked.calls.total() == before
    keeper.close()


def test_a_round_that_does_not_end_is_ended_and_said_so(place: Place) -> None:
    place.recorder.hangs = "soap"
    with pytest.raises(TiergateError) as caught:
        Asking(place.settings_file).run(0.01)
    assert caught.value.reason.code == "retention.check_round_failed"


def test_a_keeper_that_ends_does_not_wait_for_a_recorder(place: Place) -> None:
    place.recorder.hangs = "soap"
    asking = Asking(place.settings_file)
    round_ = threading.Thread(target=asking.run, args=(600,))
    round_.start()
    until(lambda: place.recorder.asked.calls["GetSystemDateAndTime"] > 0, 60, "it asks")
    asking.end()
    round_.join(60)
    assert not round_.is_alive() and place.rows() == []
    asking.run(600)
    assert place.rows() == [], "no more rounds"
