"""Who stands in an area, and since when: cameras named one by one, or all cameras of a region and below."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from config.errors import TiergateError
from config.ids import ulid
from config.units import DAY_MS, parse_time_ms
from storage.catalog import facts, places, retention_rows, segments
from storage.catalog.cameras import NewCamera, change_camera, create_camera
from storage.catalog.engine import Catalog
from storage.catalog.places import Area, Region
from storage.catalog.segments import SegmentRow
from storage.catalog.tables import camera as camera_table
from storage.classes import Membership
from storage.clock_trust import HIGH_WATER
from storage.sweeper import Policies
from tests.storage.retention_machine import load, prepared

NOW_MS = parse_time_ms("2027-03-15T12:00:00+08:00")
STREET, HERE, BESIDE, FAR = "210211001", "210211001003", "210211001004", "210211002001"
AREA = "KEYAREA".ljust(26, "0")


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    made = Catalog(catalog_url)
    made.write(furnish)
    yield made
    made.close()


def furnish(connection: Connection) -> None:
    for code in (HERE, BESIDE, FAR):
        places.seed_regions(connection, code, "community", "社区", 0)


def camera(connection: Connection, region: str, number: int, now_ms: int) -> str:
    new = NewCamera("门", region, (("main", f"rtsp://10.0.{number // 250}.{number % 250}/a", None),))
    return create_camera(connection, new, "community", 32, now_ms).id


def key_area(connection: Connection, regions: tuple[str, ...], from_ms: int, id_: str = AREA) -> str:
    places.add_area(connection, Area(id_, "学校周边", "key", "文 1", from_ms, None, (), regions))
    return id_


def stretches(catalog: Catalog, id_: str) -> list[tuple[int, int | None]]:
    found: list[Membership] = catalog.read(retention_rows.memberships).get(id_, [])
    return [(one.from_ms, one.to_ms) for one in found]


def test_a_region_brings_its_cameras_and_those_below_from_the_areas_beginning(catalog: Catalog) -> None:
    here, beside, far = catalog.write(lambda c: [camera(c, r, n, 0) for n, r in enumerate((HERE, BESIDE, FAR))])
    area = catalog.write(lambda c: key_area(c, (STREET,), NOW_MS - 40 * DAY_MS))
    assert stretches(catalog, here) == stretches(catalog, beside) == [(NOW_MS - 40 * DAY_MS, None)]
    assert stretches(catalog, far) == []
    found = catalog.read(lambda c: places.areas(c, NOW_MS))[area]
    assert (found.regions, set(found.cameras)) == ((STREET,), {here, beside})
    assert catalog.read(lambda c: places.areas_of(c, NOW_MS)).keys() == {here, beside}


def test_a_camera_that_comes_later_or_moves_stands_from_then_and_its_past_stays(catalog: Catalog) -> None:
    catalog.write(lambda c: key_area(c, (STREET,), NOW_MS))
    late = catalog.write(lambda c: camera(c, HERE, 1, NOW_MS + 5))
    assert stretches(catalog, late) == [(NOW_MS + 5, None)]
    catalog.write(lambda c: change_camera(c, late, {"region": FAR}, NOW_MS + 10))
    assert stretches(catalog, late) == [(NOW_MS + 5, NOW_MS + 10)]
    catalog.write(lambda c: change_camera(c, late, {"region": BESIDE}, NOW_MS + 20))
    catalog.write(lambda c: change_camera(c, late, {"name": "西门"}, NOW_MS + 25))
    catalog.write(lambda c: change_camera(c, late, {"region": HERE}, NOW_MS + 30))
    assert stretches(catalog, late) == [(NOW_MS + 5, NOW_MS + 10), (NOW_MS + 20, None)]


def test_a_region_that_is_put_under_another_takes_its_cameras_along(catalog: Catalog) -> None:
    far = catalog.write(lambda c: camera(c, FAR, 1, 0))
    catalog.write(lambda c: key_area(c, (STREET,), NOW_MS))
    moved = Region(FAR, "开发区", "community", STREET)
    catalog.write(lambda c: places.put_regions(c, [moved], NOW_MS + 7))
    assert stretches(catalog, far) == [(NOW_MS + 7, None)]
    back = Region(FAR, "开发区", "community", "210211002")
    catalog.write(lambda c: places.put_regions(c, [back], NOW_MS + 9))
    assert stretches(catalog, far) == [(NOW_MS + 7, NOW_MS + 9)]


def test_an_area_that_is_over_or_names_cameras_again_takes_nobody_who_comes(catalog: Catalog) -> None:
    over = catalog.write(lambda c: key_area(c, (HERE,), NOW_MS))
    named = catalog.write(lambda c: key_area(c, (HERE,), NOW_MS, "B" * 26))
    old = catalog.write(lambda c: camera(c, HERE, 1, NOW_MS + 1))

    def end(connection: Connection) -> None:
        places.set_area_end(connection, over, NOW_MS + 2, NOW_MS + 2)
        places.set_area_cameras(connection, named, [old], NOW_MS + 2)

    catalog.write(end)
    late = catalog.write(lambda c: camera(c, HERE, 2, NOW_MS + 3))
    assert stretches(catalog, late) == []
    assert sorted(stretches(catalog, old), key=str) == [(NOW_MS + 1, NOW_MS + 2), (NOW_MS + 1, None)]
    assert catalog.read(lambda c: places.areas(c, NOW_MS + 3))[named].regions == ()


def test_an_area_that_goes_on_after_its_end_takes_who_came_meanwhile(catalog: Catalog) -> None:
    area = catalog.write(lambda c: key_area(c, (HERE,), NOW_MS))
    stays, moves = (catalog.write(lambda c, n=n: camera(c, HERE, n, NOW_MS)) for n in (1, 2))  # type: ignore[misc]  # bound defaults
    catalog.write(lambda c: places.set_area_end(c, area, NOW_MS + 10, NOW_MS + 1))
    late = catalog.write(lambda c: camera(c, HERE, 3, NOW_MS + 20))
    catalog.write(lambda c: change_camera(c, moves, {"region": FAR}, NOW_MS + 30))
    catalog.write(lambda c: places.set_area_end(c, area, None, NOW_MS + 40))
    assert stretches(catalog, stays) == [(NOW_MS, None)]
    assert stretches(catalog, late) == [(NOW_MS + 40, None)]
    assert stretches(catalog, moves) == [(NOW_MS, NOW_MS + 40)]


def test_an_area_has_cameras_or_regions_and_only_such_as_there_are(catalog: Catalog) -> None:
    here = catalog.write(lambda c: camera(c, HERE, 1, 0))
    for regions, cameras, code in (
        ((HERE,), (here,), "access.area_mixed"),
        (("999999",), (), "access.region_unknown"),
        (("x",), (), "id.region_malformed"),
        ((), ("21021100011326999999",), "access.camera_unknown"),
    ):
        wrong = Area("C" * 26, "学校", "key", "文 1", NOW_MS, None, cameras, regions)
        with pytest.raises(TiergateError) as caught:
            catalog.write(lambda c, wrong=wrong: places.add_area(c, wrong))  # type: ignore[misc]  # bound defaults
        assert caught.value.reason.code == code
    assert catalog.read(lambda c: places.areas(c, NOW_MS)) == {}


def footage(camera_id: str, end_ms: int, time_trust: str = "synchronised") -> SegmentRow:
    id_ = ulid(end_ms, camera_id[-10:].encode())
    return SegmentRow(
        id=id_, camera_id=camera_id, stream="main", run_id="R", kind="own", state="stored", start_ms=end_ms - 60_000,
        end_ms=end_ms, start_wall_ns=0, time_trust=time_trust, bytes=1, sha256=bytes(32), init_bytes=0, fragments=b"",
        object_key=id_, volume=None, class_="default", created_ms=end_ms,
    )  # fmt: skip


def kept(catalog: Catalog, camera_id: str, *ends_ms: int) -> list[str]:
    """The class of a minute of footage that ended then."""
    policies = catalog.read(Policies.read)
    return [policies.planner.class_of(camera_id, end_ms - 60_000, end_ms).name for end_ms in ends_ms]


@pytest.mark.parametrize("to_ms", [0, NOW_MS - 100 * DAY_MS, NOW_MS - 40 * DAY_MS, NOW_MS - 1])
def test_an_end_in_the_past_is_refused_for_it_would_take_footage_its_class(catalog: Catalog, to_ms: int) -> None:
    here = catalog.write(lambda c: camera(c, HERE, 1, 0))
    area = catalog.write(lambda c: key_area(c, (HERE,), NOW_MS - 95 * DAY_MS))
    with pytest.raises(TiergateError) as caught:
        catalog.write(lambda c: places.set_area_end(c, area, to_ms, NOW_MS))
    assert caught.value.reason.code == "access.area_end_past"
    assert stretches(catalog, here) == [(NOW_MS - 95 * DAY_MS, None)]


@pytest.mark.parametrize("ends_ms", [NOW_MS, NOW_MS + DAY_MS])
def test_an_end_from_now_on_leaves_earlier_footage_and_what_crosses_it_in_its_class(
    catalog: Catalog, ends_ms: int
) -> None:
    here = catalog.write(lambda c: camera(c, HERE, 1, 0))
    area = catalog.write(lambda c: key_area(c, (HERE,), NOW_MS - 95 * DAY_MS))
    catalog.write(lambda c: places.set_area_end(c, area, ends_ms, NOW_MS))
    moments = (NOW_MS - 80 * DAY_MS, NOW_MS, ends_ms + 1, ends_ms + 59_999, ends_ms + 60_000, ends_ms + DAY_MS)
    assert kept(catalog, here, *moments) == ["key", "key", "key", "key", "default", "default"]
    catalog.write(lambda c: places.set_area_end(c, area, None, NOW_MS + DAY_MS))
    assert kept(catalog, here, NOW_MS + 9 * DAY_MS) == ["key"]


def end_it(connection: Connection, area: str, now_ms: int) -> None:
    places.end_area(connection, area, now_ms)


def let_go(connection: Connection, area: str, now_ms: int) -> None:
    places.set_area_cameras(connection, area, (), now_ms)


def move_away(connection: Connection, _area: str, now_ms: int) -> None:
    for row in connection.execute(select(camera_table.c.id)).all():
        change_camera(connection, row.id, {"region": FAR}, now_ms)


@pytest.mark.parametrize("ends", [end_it, let_go, move_away])
@pytest.mark.parametrize("seen", ["nothing", "sweep", "footage"])
def test_no_end_on_a_clock_that_is_behind_takes_back_what_was(
    catalog: Catalog, ends: Callable[[Connection, str, int], None], seen: str
) -> None:
    """A dead battery says last year. What shows better is the sweep's own mark, or footage of the camera."""
    here = catalog.write(lambda c: camera(c, HERE, 1, 0))
    area = catalog.write(lambda c: key_area(c, (HERE,), NOW_MS))
    if seen == "sweep":
        catalog.write(lambda c: facts.set(c, HIGH_WATER, NOW_MS + 20 * DAY_MS))
    if seen == "footage":
        rows = [footage(here, NOW_MS + n * DAY_MS) for n in (1, 20)] + [footage(here, NOW_MS + 99 * DAY_MS, "unknown")]
        catalog.write(lambda c: segments.insert_segments(c, rows))
    catalog.write(lambda c: ends(c, area, NOW_MS - 365 * DAY_MS))
    ((from_ms, to_ms),) = stretches(catalog, here)
    assert (from_ms, to_ms) == (NOW_MS, NOW_MS + 1 if seen == "nothing" else NOW_MS + 20 * DAY_MS)
    assert kept(catalog, here, NOW_MS) == ["key"]


def test_an_area_that_was_to_come_and_is_called_off_was_never(catalog: Catalog) -> None:
    catalog.write(lambda c: facts.set(c, HIGH_WATER, NOW_MS - 60_000))
    here = catalog.write(lambda c: camera(c, HERE, 1, 0))
    area = catalog.write(lambda c: key_area(c, (HERE,), NOW_MS + DAY_MS))
    with pytest.raises(TiergateError) as caught:
        catalog.write(lambda c: places.set_area_end(c, area, NOW_MS + 1, NOW_MS))
    assert caught.value.reason.code == "access.area_end_past"
    catalog.write(lambda c: places.end_area(c, area, NOW_MS))
    assert stretches(catalog, here) == []
    assert kept(catalog, here, NOW_MS) == ["default"]


def test_an_area_that_is_over_is_not_ended_later_again(catalog: Catalog) -> None:
    here = catalog.write(lambda c: camera(c, HERE, 1, 0))
    area = catalog.write(lambda c: key_area(c, (HERE,), NOW_MS))
    catalog.write(lambda c: places.set_area_end(c, area, NOW_MS + 5, NOW_MS))
    catalog.write(lambda c: places.end_area(c, area, NOW_MS + DAY_MS))
    assert stretches(catalog, here) == [(NOW_MS, NOW_MS + 5)]
    for call in (lambda c: places.end_area(c, "X" * 26, 0), lambda c: places.set_area_end(c, "X" * 26, None, 0)):
        with pytest.raises(TiergateError) as caught:
            catalog.write(call)
        assert caught.value.reason.code == "access.area_unknown"


MOVES = st.lists(
    st.tuples(st.sampled_from(["come", "move", "area"]), st.integers(0, 4), st.integers(0, 2)), max_size=12
)


@given(moves=MOVES)
@settings(max_examples=40)
def test_whatever_the_order_exactly_the_cameras_of_the_regions_stand(moves: list[tuple[str, int, int]]) -> None:
    """Looked up anew from where the cameras are, after cameras and areas have come and moved in any order."""
    where: dict[str, str] = {}
    area: tuple[str, ...] = ()
    catalog = Catalog("sqlite://")
    try:
        catalog.read(lambda c: load(c, prepared()))
        catalog.write(furnish)
        for at, (what, which, place) in enumerate(moves, 1):
            region = (HERE, BESIDE, FAR)[place]
            now_ms = NOW_MS + at
            if what == "come":
                id_ = catalog.write(lambda c, r=region, n=at, t=now_ms: camera(c, r, n, t))  # type: ignore[misc]  # bound defaults
                where[id_] = region
            elif what == "move" and where:
                id_ = sorted(where)[which % len(where)]
                catalog.write(lambda c, i=id_, r=region, t=now_ms: change_camera(c, i, {"region": r}, t))  # type: ignore[misc]  # bound defaults
                where[id_] = region
            elif what == "area":
                wanted = (region,) if which else (STREET,)
                if area:
                    catalog.write(lambda c, w=wanted, t=now_ms: places.set_area_regions(c, AREA, w, t))  # type: ignore[misc]  # bound defaults
                else:
                    catalog.write(lambda c, w=wanted, t=now_ms: key_area(c, w, t))  # type: ignore[misc]  # bound defaults
                area = wanted
        covered = {HERE, BESIDE} if area == (STREET,) else set(area)
        stand = {id_ for id_, region in where.items() if region in covered}
        found = catalog.read(lambda c: places.areas_of(c, NOW_MS + 100))
        assert found.keys() == stand
    finally:
        catalog.close()
