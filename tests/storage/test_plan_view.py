"""The plan that people read says the same as judging every segment by itself."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select

from config.units import DAY_MS
from storage.catalog import places, retention_rows
from storage.catalog.engine import Catalog
from storage.catalog.tables import area, area_camera, camera, segment
from storage.plan_view import plan_view, what_if
from storage.sweeper import Policies
from tests.storage.sweep_place import CAMERA, OTHER, Place


@pytest.fixture
def place(tmp_path: Path, catalog_url: str) -> Iterator[Place]:
    made = Place(tmp_path, catalog_url)
    yield made
    made.catalog.close()


def fill(place: Place, chance: random.Random) -> None:
    """Footage of 45 days with every kind of boundary inside an hour: class, hold, area, state, date."""
    now_ms = place.now_ms
    rows = []
    for number in range(600):
        end_ms = now_ms - chance.randrange(45 * DAY_MS) if number % 2 else now_ms - 31 * DAY_MS - number * 17_000
        row = place._segment(
            end_ms, chance.choice([CAMERA, OTHER]), chance.choice(["stored"] * 5 + ["spooled", "condemned"])
        )
        values = {name: getattr(row, name) for name in row.__dataclass_fields__}
        doubt = {"time_trust": "unknown", "aged_from_ms": chance.choice([None, now_ms - 31 * DAY_MS, now_ms])}
        known = {"time_trust": "synchronised", "aged_from_ms": None}
        values |= {"class_": chance.choice(["default"] * 5 + ["key", "unheard_of"])}
        rows.append(values | (doubt if number % 7 == 0 else known))

    def write(connection: Connection) -> None:

        connection.execute(insert(segment), rows)

    place.catalog.write(write)
    place.hold(now_ms - 31 * DAY_MS - 6_500_000, now_ms - 31 * DAY_MS - 5_500_000, CAMERA)

    def areas(connection: Connection) -> None:
        places.seed_regions(connection, "210211001003", "community", "社区", now_ms)
        connection.execute(
            insert(camera).values(
                id=OTHER, name="x", tier="community", region="210211001003", recorded_by="self", enabled=True,
                created_ms=0, changed_ms=0,
            )
        )  # fmt: skip
        ends_ms = now_ms - 31 * DAY_MS - 1_000_000
        connection.execute(
            insert(area).values(
                id="A", name="A", class_="key", document_no="1", valid_from_ms=0, valid_to_ms=ends_ms
            )
        )  # fmt: skip
        connection.execute(insert(area_camera).values(area_id="A", camera_id=OTHER, from_ms=now_ms - 35 * DAY_MS))

    place.catalog.write(areas)


@pytest.mark.parametrize("seed", range(4))
def test_grouping_changes_nothing(place: Place, seed: int) -> None:
    fill(place, random.Random(seed))

    def each(catalog: Catalog, policies: Policies, at_ms: int) -> dict[tuple[str, str, bool, str], tuple[int, int]]:
        found: dict[tuple[str, str, bool, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
        rows = catalog.read(lambda c: retention_rows.segments_by_id(c, list(c.execute(select(segment.c.id)).scalars())))
        for v in policies.plan(rows, at_ms):
            key = (v.segment.camera_id, v.class_name, v.keep, v.reason.code)
            found[key] = (found[key][0] + 1, found[key][1] + v.segment.bytes)
        return dict(found)

    policies = place.catalog.read(Policies.read)
    for variant in (policies, what_if(policies, "default", 2), what_if(policies, "key", 1)):
        for at_ms in (place.now_ms, place.now_ms + 3 * DAY_MS + 12_345, place.now_ms + 70 * DAY_MS):
            items = place.catalog.read(lambda c, v=variant, t=at_ms: plan_view(c, v, t))  # type: ignore[misc]  # bound defaults
            seen = {(i.camera_id, i.class_name, i.keep, i.reason.code): (i.segments, i.bytes) for i in items}
            assert seen == each(place.catalog, variant, at_ms)


def test_only_the_cameras_asked_for(place: Place) -> None:
    fill(place, random.Random(9))
    policies = place.catalog.read(Policies.read)
    items = place.catalog.read(lambda c: plan_view(c, policies, place.now_ms, {OTHER}))
    assert {i.camera_id for i in items} == {OTHER}
    assert place.catalog.read(lambda c: plan_view(c, policies, place.now_ms, ())) == []
