"""The plan that people read says the same as judging every segment by itself."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from sqlalchemy import select

from config.units import DAY_MS
from storage.catalog import retention_rows
from storage.catalog.engine import Catalog
from storage.catalog.tables import segment
from storage.plan_view import plan_view, what_if
from storage.sweeper import Policies
from tests.storage.sweep_place import OTHER, Place, mixed_footage, place

__all__ = ["place"]  # fixture


@pytest.mark.parametrize("seed", range(4))
def test_grouping_changes_nothing(place: Place, seed: int) -> None:
    mixed_footage(place, random.Random(seed))

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
    mixed_footage(place, random.Random(9))
    policies = place.catalog.read(Policies.read)
    items = place.catalog.read(lambda c: plan_view(c, policies, place.now_ms, {OTHER}))
    assert {i.camera_id for i in items} == {OTHER}
    assert place.catalog.read(lambda c: plan_view(c, policies, place.now_ms, ())) == []
