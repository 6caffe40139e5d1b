"""What an owner attests of its recorder is worth something until it lapses, and only above the floor of the class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, insert

from config.reasons import text
from config.units import DAY_MS, parse_time_ms
from storage.attested import LONGEST_MS, Attestation, Standing, floor_days, judge, judge_until
from storage.catalog import attestations, places
from storage.catalog.cameras import NewCamera, change_camera, create_camera
from storage.catalog.engine import Catalog
from storage.catalog.tables import area, area_camera
from storage.classes import RetentionClass
from storage.reach_view import kept_elsewhere
from storage.sweeper import Policies

DEFAULT = RetentionClass("default", 0, 1, 30, 1, False)
KEY = RetentionClass("key", 10, 3, 90, 3, False)
NOW_MS = parse_time_ms("2027-03-15T12:00:00+08:00")
CAMERA = "21021100011326000001"
REGION = "210211001003"
LANGUAGES: tuple[Literal["en", "zh"], ...] = ("en", "zh")


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    made = Catalog(catalog_url)
    yield made
    made.close()


def said(days: int, until_ms: int = NOW_MS + DAY_MS) -> Attestation:
    return Attestation("A", CAMERA, days, "教育局 王", "教函 12 号", until_ms, NOW_MS - DAY_MS, "user:li")


@pytest.mark.parametrize(
    ("newest", "class_", "state"),
    [
        (None, DEFAULT, "none"),
        (said(30), DEFAULT, "attested"),
        (said(29), DEFAULT, "short"),
        (said(0), DEFAULT, "short"),
        (said(89), KEY, "short"),
        (said(90), KEY, "attested"),
        (said(90, NOW_MS + 1), KEY, "attested"),
        (said(90, NOW_MS), KEY, "lapsed"),
        (said(10, NOW_MS), KEY, "lapsed"),
        (said(30), RetentionClass("1_year", 50, 12, 360, None, True), "attested"),
    ],
)
def test_every_state_has_its_edge_and_its_sentence(
    newest: Attestation | None, class_: RetentionClass, state: str
) -> None:
    found = judge(CAMERA, newest, class_, NOW_MS)
    assert (found.state, found.class_name, found.floor_days) == (state, class_.name, floor_days(class_.name))
    for language in LANGUAGES:
        sentence = text(found.reason, language)
        assert "{" not in sentence
        if newest is not None:
            assert "教育局 王" in sentence and "教函 12 号" in sentence and str(newest.days) in sentence
        if state in ("short", "none"):
            assert str(found.floor_days) in sentence


@given(st.integers(-10 * DAY_MS, 800 * DAY_MS))
def test_an_attestation_ends_in_the_future_and_within_a_year(ahead_ms: int) -> None:
    assert (judge_until(NOW_MS + ahead_ms, NOW_MS) is None) == (0 < ahead_ms <= LONGEST_MS)


@given(st.integers(0, 400), st.integers(-DAY_MS, DAY_MS), st.sampled_from([DEFAULT, KEY]))
def test_more_days_and_a_later_end_never_make_it_worse(days: int, ahead_ms: int, class_: RetentionClass) -> None:
    def is_good(days: int, ahead_ms: int) -> bool:
        return judge(CAMERA, said(days, NOW_MS + ahead_ms), class_, NOW_MS).state == "attested"

    if is_good(days, ahead_ms):
        assert is_good(days + 1, ahead_ms) and is_good(days, ahead_ms + 1)


def test_the_newest_counts_and_only_of_cameras_that_their_owners_record(catalog: Catalog) -> None:
    def add(connection: Connection, host: str, by: str) -> str:
        places.seed_regions(connection, REGION, "community", "社区", NOW_MS)
        new = NewCamera("门", REGION, (("main", f"rtsp://{host}/a", None),), recorded_by=by)
        return create_camera(connection, new, "community", 32, 0).id

    theirs = catalog.write(lambda c: add(c, "10.0.0.1", "owner"))
    ours = catalog.write(lambda c: add(c, "10.0.0.2", "self"))

    def standing(now_ms: int = NOW_MS, only: list[str] | None = None) -> list[Standing]:
        return catalog.read(lambda c: kept_elsewhere(c, Policies.read(c), now_ms, only))

    def attest(days: int, made_ms: int, id_: str) -> None:
        row = Attestation(id_, theirs, days, "甲", "乙", NOW_MS + DAY_MS, made_ms, "user:li")
        catalog.write(lambda c: attestations.add(c, row))

    assert [(one.camera_id, one.state) for one in standing()] == [(theirs, "none")]
    attest(60, NOW_MS - 2, "B")
    attest(10, NOW_MS - 1, "A")
    assert [(one.state, one.attestation and one.attestation.days) for one in standing()] == [("short", 10)]
    attest(40, NOW_MS, "C")
    assert [one.state for one in standing()] == ["attested"]
    assert [one.state for one in standing(NOW_MS + DAY_MS)] == ["lapsed"]
    assert standing(only=[ours]) == []
    assert [row.days for row in catalog.read(lambda c: attestations.of(c, theirs))] == [40, 10, 60]

    def make_key(connection: Connection) -> None:
        values = {"name": "广场", "class_": "key", "document_no": "1", "valid_from_ms": NOW_MS - DAY_MS}
        connection.execute(insert(area).values(id="A", **values))
        connection.execute(insert(area_camera).values(area_id="A", camera_id=theirs, from_ms=NOW_MS - DAY_MS))

    catalog.write(make_key)
    assert [(one.state, one.class_name, one.floor_days) for one in standing()] == [("short", "key", 90)]
    catalog.write(lambda c: change_camera(c, theirs, {"recorded_by": "self"}, NOW_MS))
    assert standing() == []
